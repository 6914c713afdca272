/**
 * The kernel by way of programs: changes become nft's text, and lists come from what nft and conntrack
 * print. Needs no more than permission to run them.
 *
 * @module
 */
import type { Config } from "../../config.ts";
import type { Family } from "../../address.ts";
import type {
  CommitResult,
  Kernel,
  KernelState,
  NoteSet,
  ReadResult,
} from "../../kernel/kernel.ts";
import { AddressList, PairList } from "../../kernel/lists.ts";
import type { Change, Pair } from "../../nat/changes.ts";
import { changesToScript, listMapArgs, listNotesArgs, listSetArgs } from "../../nft/script.ts";
import { ConntrackProgram } from "./conntrack.ts";
import type { NftProgram } from "./nft.ts";

/** The kernel as programs reach it. */
export class PortableKernel implements Kernel {
  readonly #table: string;
  readonly #nft: NftProgram;
  readonly #conntrack: ConntrackProgram;

  constructor({ table, prefixes }: Config, nft: NftProgram) {
    this.#table = table;
    this.#nft = nft;
    this.#conntrack = new ConntrackProgram(prefixes);
  }

  /** Finds out whether connections can be deleted; returns what is in the way, or undefined. */
  probeConnections(): Promise<string | undefined> {
    return this.#conntrack.probe();
  }

  async commit(changes: readonly Change[]): Promise<CommitResult> {
    const script = changesToScript(this.#table, changes);
    return script === "" ? { kind: "done" } : await this.#nft.run(script, changes.length);
  }

  /**
   * Lists map and set. A table that is gone is loaded from the rules file first, if there is one: who
   * lists them is about to fill them.
   */
  async read(family: Family): Promise<ReadResult<KernelState>> {
    const result = await this.#read(family);
    if (result.kind !== "refused" || result.reason !== "missing") return result;
    try {
      await this.#nft.loadRules();
    } catch (error) {
      return { ...result, detail: (error as Error).message };
    }
    return await this.#read(family);
  }

  async #read(family: Family): Promise<ReadResult<KernelState>> {
    const pairs = new PairList(family);
    const reals = new AddressList(family);
    const [map, set] = await Promise.all([
      this.#nft.listElements(listMapArgs(this.#table, family), (fake, real, ageS) => {
        if (real !== undefined) pairs.add(fake, real, ageS);
      }),
      this.#nft.listElements(listSetArgs(this.#table, family), (real, _, ageS) => {
        reals.add(real, ageS);
      }),
    ]);
    if (map.kind !== "done") return map;
    if (set.kind !== "done") return set;
    return { kind: "done", value: { pairs, reals, timeoutS: Math.min(map.value, set.value) } };
  }

  async readNotes(family: Family, set: NoteSet): Promise<ReadResult<AddressList>> {
    const notes = new AddressList(family);
    const args = listNotesArgs(this.#table, family, set);
    const listed = await this.#nft.listElements(args, (fake, _, ageS) => notes.add(fake, ageS));
    return listed.kind === "done" ? { kind: "done", value: notes } : listed;
  }

  readConnections(family: Family): Promise<ReadResult<PairList>> {
    return this.#conntrack.read(family);
  }

  disconnect(pairs: readonly Pair[]): Promise<CommitResult> {
    return this.#conntrack.delete(pairs);
  }
}

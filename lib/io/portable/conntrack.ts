/**
 * The conntrack program: lists the connections to fakes, and deletes those of a fake before it stands
 * for another real address, which they would otherwise not be taken to.
 *
 * Each deletion makes conntrack go through all that the kernel knows (0.35 s at 100,000 connections),
 * so who deletes lists first and names only what is there; and no more than a few are deleted at once.
 *
 * @module
 */
import type { Family, Prefix } from "../../address.ts";
import type { CommitResult, ReadResult, Unavailable } from "../../kernel/kernel.ts";
import { PairList } from "../../kernel/lists.ts";
import type { Pair } from "../../nat/changes.ts";
import { keyOf } from "../../nat/net.ts";
import { ConnectionReader } from "../../nft/connections.ts";
import { conntrackProblem } from "../../nft/complaint.ts";
import { disconnectArgs, listConnectionsArgs, probeConnectionArgs } from "../../nft/script.ts";
import { leaveToRun, runProgram } from "../runtime/process.ts";

/** How long conntrack may take to list, or over one file of deletions. */
const TIMEOUT_MS = 5_000;
/** Deletions in a file: as many as it gets through in time with 262,144 connections. */
const DELETED_AT_ONCE = 4;
/** Deletions in all; more would keep every new name waiting for too long. The others stay. */
export const DELETED_MAX = 8;

/** Lists and deletes connections. */
export class ConntrackProgram {
  readonly #prefixes: Readonly<Record<Family, Prefix>>;
  /** Why it cannot be used; undefined where it can. */
  #problem: string | undefined = "conntrack has not been tried";

  /** @param prefixes where fakes are taken from */
  constructor(prefixes: Readonly<Record<Family, Prefix>>) {
    this.#prefixes = prefixes;
  }

  /**
   * Finds out whether connections can be deleted, by making one and deleting it: from and to the first
   * address of a prefix, which is never given as a fake. Where it stays it ends by itself in a second.
   *
   * @returns what is in the way, or undefined
   */
  async probe(): Promise<string | undefined> {
    this.#problem = await this.#findProblem();
    return this.#problem;
  }

  /** Where connections to fakes lead, each pair of fake and real once. */
  async read(family: Family): Promise<ReadResult<PairList>> {
    if (this.#problem !== undefined) return unavailable(this.#problem);
    const pairs = new PairList(family);
    const known = new Set<string>();
    const reader = new ConnectionReader((fake, real) => {
      const key = keyOf(fake) + keyOf(real);
      if (known.size < known.add(key).size) pairs.add(fake, real);
    });
    const args = listConnectionsArgs(this.#prefixes[family]);
    const problem = await run(args, "", (chunk) => reader.push(chunk));
    return problem === undefined ? { kind: "done", value: pairs } : unavailable(problem);
  }

  /** Deletes the connections that lead from fakes to reals, of the first `DELETED_MAX` of them. */
  async delete(pairs: readonly Pair[]): Promise<CommitResult> {
    if (this.#problem !== undefined) return unavailable(this.#problem);
    const due = pairs.slice(0, DELETED_MAX);
    for (let i = 0; i < due.length; i += DELETED_AT_ONCE) {
      const problem = await this.#deleteSome(due.slice(i, i + DELETED_AT_ONCE));
      if (problem !== undefined) return unavailable(problem);
    }
    return { kind: "done" };
  }

  async #deleteSome(pairs: readonly Pair[]): Promise<string | undefined> {
    const lines = pairs.map((pair) => `${disconnectArgs(pair).join(" ")}\n`).join("");
    if (await run(["--load-file", "-"], lines) === undefined) return undefined;
    // Before 1.4.7 it takes one command a process.
    for (const pair of pairs) {
      const problem = await run(disconnectArgs(pair));
      if (problem !== undefined) return problem;
    }
    return undefined;
  }

  async #findProblem(): Promise<string | undefined> {
    const leave = await leaveToRun("conntrack");
    if (leave === "missing") return "conntrack is not there";
    if (leave === "withheld") return "Deno does not let dotp run conntrack";
    for (const { bytes } of Object.values(this.#prefixes)) {
      const pair = { fake: bytes, real: bytes };
      // Where it cannot be made, as conntrack's table is full, that says nothing of deletions.
      await run(probeConnectionArgs(bytes));
      const problem = await run(disconnectArgs(pair));
      if (problem !== undefined) return problem;
    }
    return undefined;
  }
}

/**
 * Runs conntrack to its end; returns what went wrong, or undefined. To have found nothing is its exit
 * status 1 as well, and is no problem.
 */
async function run(
  args: readonly string[],
  input = "",
  onOutput: (chunk: Uint8Array) => void = () => {},
): Promise<string | undefined> {
  try {
    const { success, stderr } = await runProgram("conntrack", args, input, TIMEOUT_MS, {
      onOutput,
    });
    return success ? undefined : conntrackProblem(stderr);
  } catch (error) {
    return (error as Error).message;
  }
}

function unavailable(detail: string): Unavailable {
  return { kind: "unavailable", detail };
}

/**
 * Group commit: takes what the NAT tables have changed, brings it into the kernel in order, one
 * transaction after the other, and tells who waits when their revision is there.
 *
 * What is changed while a batch is under way is the next batch. A batch that fails is halved until
 * the elements that the kernel refuses stand alone; these mappings end, the others do not notice.
 * Where the refusal says that the kernel is not as we left it (someone flushed a map, a leftover is
 * in the way), or nft failed altogether, the kernel is read and brought back to what the tables say
 * before anyone is answered. While that fails too, nobody gets a fake: `isCommitted` is false for
 * every revision, waiting replies are told so at once, and it is tried again after a pause.
 *
 * No `Deno.`, no clock: the nft process and the pause are given.
 *
 * @module
 */
import type { Family } from "../address.ts";
import type { Change, ChangeLog } from "../nat/changes.ts";
import type { Table } from "../nat/table.ts";
import { changesToScript, FAMILIES } from "./script.ts";

/** The most changes in one transaction; Netlink answers a much larger one `Message too long`. */
export const BATCH_CHANGES_MAX = 1_000;

/** Replies that may wait for the kernel; it stops a flood of new names while nft is slow. */
export const WAITING_MAX = 10_000;

/** What nft said of one transaction. */
export type NftResult =
  | { readonly kind: "done" }
  /** The kernel took nothing of it; `message` is what nft wrote. */
  | { readonly kind: "refused"; readonly message: string }
  /** nft could not be run, died or was ended; nobody knows what the kernel took. */
  | { readonly kind: "unavailable"; readonly message: string };

/** What the kernel holds of one IP version. */
export interface KernelState {
  readonly pairs: readonly { fake: Uint8Array; real: Uint8Array }[];
  readonly reals: readonly Uint8Array[];
}

/** The nft program as the committer sees it. */
export interface Nft {
  /** Runs one transaction of about `size` elements. */
  run(script: string, size: number): Promise<NftResult>;
  /** Reads sets and maps; rejects with an `Error` where it cannot. */
  read(family: Family): Promise<KernelState>;
}

/** What a `Committer` is made of. */
export interface CommitterOptions {
  readonly nft: Nft;
  /** Name of the table in family inet. */
  readonly table: string;
  readonly log: ChangeLog;
  readonly tables: Readonly<Record<Family, Table>>;
  /** Resolves when a failed attempt may be repeated; false to give up, at the end of the program. */
  readonly pause: () => Promise<boolean>;
  /** Told what went wrong, in words for an admin; called as often as it happens. */
  readonly report: (problem: string) => void;
}

interface Waiter {
  /** Ascending; the last one is waited for. */
  readonly revisions: readonly number[];
  readonly done: (committed: boolean) => void;
}

/**
 * In step: the kernel holds what the tables say up to the settled revision. In doubt: that must be
 * seen to, and replies wait for it. Failed: that could not be done last time, so none waits.
 */
type State = "in step" | "in doubt" | "failed";

/** Thrown within this file where nft is unavailable. */
class NftUnavailable extends Error {}

/** Brings the tables' changes into the kernel. */
export class Committer {
  readonly #options: CommitterOptions;
  readonly #waiters: Waiter[] = [];
  /** Revisions up to the settled one that the kernel refused and that someone may wait for. */
  readonly #refused = new Set<number>();
  #settled = 0;
  #state: State = "in step";
  #running: Promise<void> | undefined;

  constructor(options: CommitterOptions) {
    this.#options = options;
  }

  /** Whether the kernel is known to hold everything up to a revision. */
  isCommitted(revision: number): boolean {
    return this.#state === "in step" && revision <= this.#settled;
  }

  /**
   * Calls `done` once, when all of the revisions are settled: true where the kernel has them all.
   * Starts a batch where none is under way.
   */
  wait(revisions: readonly number[], done: (committed: boolean) => void): void {
    if (this.#state === "failed" || this.#waiters.length >= WAITING_MAX) {
      done(false);
      return;
    }
    this.#waiters.push({ revisions: revisions.toSorted((a, b) => a - b), done });
    this.start();
  }

  /** Starts bringing over what has changed, unless that is under way or nothing has. */
  start(): void {
    const isQuiet = this.#state === "in step" && this.#options.log.size === 0;
    if (this.#running !== undefined || isQuiet) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when nothing is under way any more. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** Takes it that the kernel may not be as the tables say, and mends that. */
  resync(): void {
    if (this.#state === "in step") this.#state = "in doubt";
    this.start();
  }

  /**
   * Takes over the pairs that the kernel has from an earlier run, and removes what is none of ours.
   * To be called once, before anything else.
   *
   * @throws {Error} where the sets cannot be read, or nft is unavailable
   */
  async adopt(nowMs: number): Promise<number> {
    const states = await this.#read();
    let adopted = 0;
    for (const family of FAMILIES) {
      for (const { fake, real } of states[family].pairs) {
        if (this.#options.tables[family].adopt(fake, real, nowMs)) adopted++;
      }
    }
    await this.#reconcile(states);
    return adopted;
  }

  async #run(): Promise<void> {
    const { log } = this.#options;
    // A turn of the event loop, so that what came in together is committed together.
    await Promise.resolve();
    while (this.#state !== "in step" || log.size > 0) {
      try {
        if (this.#state === "in step") await this.#commitNext();
        if (this.#state !== "in step") await this.#reconcile(await this.#read());
        this.#state = "in step";
      } catch (error) {
        this.#fail(error instanceof Error ? error.message : String(error));
        if (!await this.#options.pause()) return;
      }
    }
  }

  async #commitNext(): Promise<void> {
    const batch = this.#options.log.take(BATCH_CHANGES_MAX);
    const revision = batch.at(-1)?.revision ?? this.#settled;
    if (await this.#apply(batch, true)) this.#settle(revision);
    else this.#state = "in doubt";
  }

  async #read(): Promise<Record<Family, KernelState>> {
    const { nft } = this.#options;
    return { 4: await nft.read(4), 6: await nft.read(6) };
  }

  /** Brings the kernel from the states just read to what the tables say. */
  async #reconcile(states: Record<Family, KernelState>): Promise<void> {
    const { log, tables } = this.#options;
    // The tables already say what the log has, and the difference is to them.
    const upTo = log.revision;
    log.takeAll();
    const changes = FAMILIES.flatMap((family) => difference(tables[family], states[family]));
    for (let i = 0; i < changes.length; i += BATCH_CHANGES_MAX) {
      await this.#apply(changes.slice(i, i + BATCH_CHANGES_MAX), false);
    }
    this.#settle(upTo);
  }

  /**
   * Applies changes as one transaction, or as several where one is refused.
   *
   * @param stopAtDrift whether to stop where the kernel turns out not to be as we left it
   * @returns false where it stopped
   * @throws {NftUnavailable}
   */
  async #apply(changes: readonly Change[], stopAtDrift: boolean): Promise<boolean> {
    const script = changesToScript(this.#options.table, changes);
    if (script === "") return true;
    const result = await this.#options.nft.run(script, changes.length);
    if (result.kind === "done") return true;
    if (result.kind === "unavailable") throw new NftUnavailable(result.message);
    if (stopAtDrift && isDrift(result.message)) {
      this.#options.report(`The kernel's sets are not as dotp left them: ${result.message}`);
      return false;
    }
    if (changes.length === 1) {
      this.#refuse(changes[0]!, result.message);
      return true;
    }
    const middle = changes.length >>> 1;
    return await this.#apply(changes.slice(0, middle), stopAtDrift) &&
      await this.#apply(changes.slice(middle), stopAtDrift);
  }

  #refuse(change: Change, message: string): void {
    this.#options.report(`nft refused to ${change.kind} one mapping: ${message}`);
    if (change.kind === "delete") return;
    this.#refused.add(change.revision);
    this.#options.tables[change.family].drop(change.fake, change.revision);
  }

  /** Answers those who wait for nothing above `revision`. */
  #settle(revision: number): void {
    this.#settled = Math.max(this.#settled, revision);
    let answered = 0;
    for (const { revisions, done } of this.#waiters) {
      if ((revisions.at(-1) ?? 0) > this.#settled) break;
      answered++;
      done(!revisions.some((r) => this.#refused.has(r)));
    }
    this.#waiters.splice(0, answered);
    if (this.#waiters.length === 0) this.#refused.clear();
  }

  /** Tells everyone that there is nothing to wait for now. */
  #fail(problem: string): void {
    this.#state = "failed";
    this.#options.report(`Cannot bring mappings into the kernel: ${problem}`);
    for (const { done } of this.#waiters.splice(0)) done(false);
  }
}

/**
 * Whether a refusal says that the kernel's sets are not what they were: an element that is missing
 * or in the way, or a set or the table gone. All else is about the element itself.
 */
function isDrift(message: string): boolean {
  return /No such file or directory|File exists|does not exist/.test(message);
}

/** What turns the kernel's state into the table's: what is wrong goes, then what is missing comes. */
function difference(table: Table, state: KernelState): Change[] {
  const { family } = table;
  const pairs = [...table.pairs()];
  const realByFake = new Map(pairs.map(({ fake, real }) => [fake.join(), real.join()]));
  const reals = new Set(realByFake.values());
  const keptFakes = new Set<string>();
  const keptReals = new Set<string>();
  const changes: Change[] = [];
  for (const { fake, real } of state.pairs) {
    if (realByFake.get(fake.join()) === real.join()) keptFakes.add(fake.join());
    else changes.push({ kind: "delete", family, fake, real, revision: 0, part: "map" });
  }
  for (const real of state.reals) {
    if (reals.has(real.join())) keptReals.add(real.join());
    else changes.push({ kind: "delete", family, fake: real, real, revision: 0, part: "set" });
  }
  for (const pair of pairs) {
    if (keptFakes.has(pair.fake.join()) && keptReals.has(pair.real.join())) continue;
    // Of both the one that is there is named again, which nft accepts.
    changes.push({ kind: "add", family, ...pair });
  }
  return changes;
}

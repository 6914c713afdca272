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
 * `verify` finds out, between two batches, what someone else has done to the sets.
 *
 * Neither the runtime nor a clock is used here: the nft process and the pauses are given.
 *
 * @module
 */
import type { Family } from "../address.ts";
import type { Change, ChangeLog } from "../nat/changes.ts";
import type { Mappings } from "../nat/mappings.ts";
import type { KernelPair } from "../nft/listing.ts";
import { changesToScript, FAMILIES } from "../nft/script.ts";

/** The most changes in one transaction; Netlink answers a much larger one `Message too long`. */
export const BATCH_CHANGES_MAX = 1_000;

/** Waiting replies that are answered before anyone else has a turn. */
export const ANSWERED_AT_ONCE = 100;

/** Replies that may wait for the kernel; it stops a flood of new names while nft is slow. */
export const WAITING_MAX = 10_000;

/** What nft said of one transaction. */
export type NftResult =
  | { readonly kind: "done" }
  /** The kernel took nothing of it; `message` is what nft wrote. */
  | { readonly kind: "refused"; readonly message: string }
  /** nft could not be run, died or was ended; nobody knows what the kernel took. */
  | { readonly kind: "unavailable"; readonly message: string };

/** What the kernel holds of one IP version; can be gone through more than once. */
export interface KernelState {
  readonly pairs: Iterable<KernelPair>;
  readonly reals: Iterable<Uint8Array>;
  /** After how many seconds the kernel forgets an element; `Infinity` where it does not. */
  readonly timeoutS: number;
}

/** The nft program as the committer sees it. */
export interface Nft {
  /** Runs one transaction of about `size` elements. */
  run(script: string, size: number): Promise<NftResult>;
  /** Reads sets and maps; rejects with an `Error` where it cannot. */
  read(family: Family): Promise<KernelState>;
  /** Makes the kernel forget the connections to these fakes, as far as it can. */
  forget(fakes: readonly Uint8Array[]): Promise<void>;
}

/** What a `Committer` is made of. */
export interface CommitterOptions {
  readonly nft: Nft;
  /** Name of the table in family inet. */
  readonly table: string;
  readonly log: ChangeLog;
  readonly mappings: Mappings;
  /** Resolves when the next batch may be taken: what comes in until then goes with it. */
  readonly pace?: () => Promise<void>;
  /** Resolves after a turn of the event loop, so that many answers do not keep others waiting. */
  readonly breathe?: () => Promise<void>;
  /** Resolves when a failed attempt may be repeated; false to give up, at the end of the program. */
  readonly pause: () => Promise<boolean>;
  /** Told what went wrong, in words for an admin; called as often as it happens. */
  readonly report: (problem: string) => void;
}

interface Waiter {
  readonly revisions: readonly number[];
  /** The highest of them. */
  readonly last: number;
  readonly done: (committed: boolean) => void;
}

/**
 * In step: the kernel holds what the tables say up to the settled revision. In doubt: that must be
 * seen to, and replies wait for it. Mending: it is being seen to, unless doubt arises anew. Failed:
 * that could not be done last time, so none waits.
 */
type State = "in step" | "in doubt" | "mending" | "failed";

/** Thrown within this file where nft is unavailable. */
class NftUnavailable extends Error {}

/** Brings the tables' changes into the kernel. */
export class Committer {
  readonly #options: CommitterOptions;
  readonly #waiters: Waiter[] = [];
  /** Fakes of changes that were never made, whose connections are still to be forgotten. */
  #unforgotten: Uint8Array[] = [];
  /** Renewals that may not have been made. */
  #unrenewed: Change[] = [];
  #settled = 0;
  #state: State = "in step";
  #running: Promise<void> | undefined;
  /** Resolves when the batch or the attempt to mend that is under way has ended. */
  #turn = Promise.withResolvers<void>();
  #isVerifyDue = false;
  /** When what the kernel holds is to be taken over; undefined once that is done. */
  #adoptMs: number | undefined;

  constructor(options: CommitterOptions) {
    this.#options = options;
  }

  /** Whether the kernel is known to hold everything up to a revision. */
  isCommitted(revision: number): boolean {
    return this.#state === "in step" && revision <= this.#settled;
  }

  /**
   * Calls `done` once, when all of the revisions are settled: true where the mappings that became
   * alive with them still are, and are in the kernel. Starts a batch where none is under way.
   */
  wait(revisions: readonly number[], done: (committed: boolean) => void): void {
    if (this.#state === "failed" || this.#waiters.length >= WAITING_MAX) {
      done(false);
      return;
    }
    const waiter = { revisions, last: Math.max(...revisions), done };
    if (this.isCommitted(waiter.last)) return this.#answer(waiter);
    this.#waiters.push(waiter);
    this.start();
  }

  /** Starts bringing over what has changed, unless that is under way or nothing has. */
  start(): void {
    if (this.#running !== undefined || this.#isQuiet) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      this.#endTurn();
    });
  }

  /** Resolves when nothing is under way any more. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /**
   * Resolves when the kernel has what has changed up to now, or nothing is under way. Unlike `idle` it
   * does not wait for what is changed later, so it resolves under any load.
   */
  async caughtUp(): Promise<void> {
    const { revision } = this.#options.log;
    while (this.#running !== undefined && !this.isCommitted(revision)) await this.#turn.promise;
  }

  /** Whether the kernel is as the tables say and nobody wants to know more. */
  get #isQuiet(): boolean {
    return this.#state === "in step" && this.#options.log.size === 0 && !this.#isVerifyDue;
  }

  /** Reads the sets, however large, and mends whatever is not as the tables say. */
  verify(): Promise<void> {
    this.#isVerifyDue = true;
    this.start();
    return this.#mended();
  }

  /**
   * Takes over the pairs that the kernel has from an earlier run, and removes what is none of ours.
   * To be called once, before anything else; until it is done, replies with fakes wait.
   *
   * @returns how many pairs were taken over
   */
  async adopt(nowMs: number): Promise<number> {
    this.#state = "in doubt";
    this.#adoptMs = nowMs;
    this.start();
    await this.#mended();
    return this.#options.mappings.size;
  }

  /** Resolves when the kernel is in step as far as anybody has asked, or nothing is under way. */
  async #mended(): Promise<void> {
    const isDue = () => this.#isVerifyDue || this.#state !== "in step";
    while (this.#running !== undefined && isDue()) await this.#turn.promise;
  }

  async #run(): Promise<void> {
    // A turn of the event loop, so that what came in together is committed together.
    await Promise.resolve();
    while (!this.#isQuiet) {
      try {
        await this.#options.pace?.();
        if (this.#state === "in step" && !this.#isVerifyDue) await this.#commitNext();
        else await this.#mend();
      } catch (error) {
        await this.#fail(error instanceof Error ? error.message : String(error));
        if (!await this.#options.pause()) return;
      }
      this.#endTurn();
    }
  }

  #endTurn(): void {
    this.#turn.resolve();
    this.#turn = Promise.withResolvers();
  }

  async #commitNext(): Promise<void> {
    const batch = this.#options.log.take(BATCH_CHANGES_MAX);
    const revision = batch.at(-1)?.revision ?? this.#settled;
    this.#unrenewed = batch.filter(({ kind }) => kind === "renew");
    if (!await this.#applyReusing(batch, batch, true)) this.#state = "in doubt";
    // Where there is doubt, replies wait until it is gone.
    if (this.#state !== "in step") return;
    this.#unrenewed = [];
    await this.#settle(revision);
  }

  async #mend(): Promise<void> {
    this.#isVerifyDue = false;
    if (this.#state !== "in step") this.#state = "mending";
    const states = await this.#read();
    this.#takeOver(states);
    const upTo = await this.#reconcile(states);
    if (this.#isMended()) await this.#settle(upTo);
  }

  /** Whether no doubt has arisen while the kernel was mended; then it is in step. */
  #isMended(): boolean {
    if (this.#state === "mending") this.#state = "in step";
    return this.#state === "in step";
  }

  /**
   * Applies changes; where fakes get another real, what stands for the old ones goes first, then what
   * conntrack knows of them, and only then comes the new.
   *
   * @param asked the changes that say which fakes are reused
   */
  async #applyReusing(
    changes: readonly Change[],
    asked: readonly Change[],
    stopAtDrift: boolean,
  ): Promise<boolean> {
    const fakes = [...this.#unforgotten, ...reusedIn(asked)];
    this.#unforgotten = [];
    if (fakes.length === 0) return await this.#applyChunks(changes, stopAtDrift);
    const { deletions, additions } = whatRemains(changes);
    if (!await this.#applyChunks(deletions, stopAtDrift)) return false;
    await this.#options.nft.forget(fakes);
    return await this.#applyChunks(additions, stopAtDrift);
  }

  async #applyChunks(changes: readonly Change[], stopAtDrift: boolean): Promise<boolean> {
    for (let i = 0; i < changes.length; i += BATCH_CHANGES_MAX) {
      const chunk = changes.slice(i, i + BATCH_CHANGES_MAX);
      if (!await this.#apply(chunk, stopAtDrift)) return false;
    }
    return true;
  }

  async #read(): Promise<Record<Family, KernelState>> {
    const { nft } = this.#options;
    return { 4: await nft.read(4), 6: await nft.read(6) };
  }

  #takeOver(states: Record<Family, KernelState>): void {
    const nowMs = this.#adoptMs;
    if (nowMs === undefined) return;
    this.#adoptMs = undefined;
    for (const family of FAMILIES) {
      const table = this.#options.mappings.of(family);
      const { pairs, timeoutS } = states[family];
      const remainingS = ({ expiresS = timeoutS }: KernelPair) => expiresS;
      const oldestFirst = [...pairs].sort((a, b) => remainingS(a) < remainingS(b) ? -1 : 1);
      // What was asked for meanwhile may have got a fake that stands for another's real in the
      // kernel. Its replies wait, and will hear that it is gone.
      table.startOver(timeoutS * 1_000);
      for (const pair of oldestFirst) {
        const ageMs = timeoutS === Infinity ? 0 : (timeoutS - remainingS(pair)) * 1_000;
        table.adopt(pair, nowMs, ageMs);
      }
    }
  }

  /**
   * Brings the kernel from the states just read to what the tables say.
   *
   * @returns the revision up to which they say it
   */
  async #reconcile(states: Record<Family, KernelState>): Promise<number> {
    const { log, report, mappings } = this.#options;
    // The tables already say what the log has, and the difference is to them.
    const upTo = log.revision;
    const pending = log.takeAll();
    const changes = FAMILIES.flatMap((family) =>
      mappings.of(family).difference(states[family].pairs, states[family].reals)
    );
    const foreign = foreignTo(changes, pending);
    if (this.#state === "in step" && foreign > 0) {
      report(`Somebody else has changed the kernel's sets: ${foreign} elements are to be mended`);
      this.#state = "mending";
    }
    const renewals = [...this.#unrenewed, ...pending.filter(({ kind }) => kind === "renew")];
    this.#unrenewed = renewals;
    const due = renewals.filter((change) => mappings.of(change.family).leads(change));
    await this.#applyReusing([...changes, ...due], pending, false);
    this.#unrenewed = [];
    return upTo;
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
    const { report, mappings } = this.#options;
    report(`nft refused to ${change.kind} one mapping: ${message}`);
    if (change.kind !== "add") return;
    const isDropped = mappings.drop(change.revision);
    // It has changed meanwhile, by changes that count on this one; or half of it may be there.
    if (!isDropped || this.#state !== "in step") this.#state = "in doubt";
  }

  /** Answers those who wait for nothing above `revision`. */
  async #settle(revision: number): Promise<void> {
    this.#settled = Math.max(this.#settled, revision);
    const settled: Waiter[] = [];
    for (const waiter of this.#waiters.splice(0)) {
      (waiter.last > this.#settled ? this.#waiters : settled).push(waiter);
    }
    await this.#forEach(settled, (waiter) => this.#answer(waiter));
  }

  async #forEach(waiters: readonly Waiter[], tell: (waiter: Waiter) => void): Promise<void> {
    for (let i = 0; i < waiters.length; i++) {
      if (i > 0 && i % ANSWERED_AT_ONCE === 0) await this.#options.breathe?.();
      tell(waiters[i]!);
    }
  }

  #answer({ revisions, done }: Waiter): void {
    done(revisions.every((revision) => this.#options.mappings.holds(revision)));
  }

  /** Tells everyone that there is nothing to wait for now. */
  async #fail(problem: string): Promise<void> {
    const { log, report } = this.#options;
    this.#state = "failed";
    // Everything will be read and compared with the tables, so nothing of the log is missed.
    const pending = log.takeAll();
    this.#unforgotten.push(...reusedIn(pending));
    this.#unrenewed.push(...pending.filter(({ kind }) => kind === "renew"));
    report(`Cannot bring mappings into the kernel: ${problem}`);
    await this.#forEach(this.#waiters.splice(0), ({ done }) => done(false));
  }
}

/** How many of the changes to the kernel do not come from changes of our own that it lacks yet. */
function foreignTo(changes: readonly Change[], pending: readonly Change[]): number {
  const ours = new Set(
    pending.filter(({ kind }) => kind !== "renew")
      .flatMap(({ fake, real }) => [fake.join(), real.join()]),
  );
  return changes.filter(({ fake, real }) => !ours.has(fake.join()) && !ours.has(real.join()))
    .length;
}

/** What remains of changes, pair by pair, when deletions are made first and all else after them. */
function whatRemains(changes: readonly Change[]): { deletions: Change[]; additions: Change[] } {
  const deletions = new Map<string, Change>();
  const additions = new Map<string, Change>();
  for (const change of changes) {
    const key = `${change.fake.join()} ${change.real.join()} ${change.part}`;
    const added = additions.get(key);
    if (change.kind === "add" || (change.kind === "renew" && added === undefined)) {
      additions.set(key, change);
    } else if (change.kind === "delete") {
      additions.delete(key);
      // What was only added here is not in the kernel, so there is nothing to delete.
      if (added?.kind !== "add") deletions.set(key, change);
    }
  }
  return { deletions: [...deletions.values()], additions: [...additions.values()] };
}

function reusedIn(changes: readonly Change[]): Uint8Array[] {
  return changes.filter(({ kind, isReused }) => kind === "add" && isReused).map((c) => c.fake);
}

/**
 * Whether a refusal says that the kernel's sets are not what they were: an element that is missing
 * or in the way, or a set or the table gone. All else is about the element itself.
 */
function isDrift(message: string): boolean {
  return /No such file or directory|File exists|does not exist/.test(message);
}

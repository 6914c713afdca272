/**
 * Who waits for what: a reply that hands out fakes is held back until the kernel has every mapping
 * behind it. Mappings are known by their revision, and the kernel gets revisions in order.
 *
 * The barrier is open while the kernel is known to hold everything up to the settled revision, held
 * while that is in doubt (all replies wait, those with old mappings too), and shut when it could not
 * be seen to, so that nobody waits in vain. It asks the kernel for nothing; the committer moves it.
 *
 * @module
 */
import { settled, type Steps } from "../util/steps.ts";

/** Replies that may wait; it stops a flood of new names while the kernel is slow. */
export const WAITING_MAX = 10_000;

/** Waiting replies that are answered before anyone else has a turn. */
export const ANSWERED_AT_ONCE = 100;

/** What a `Barrier` is made of. */
export interface BarrierOptions {
  /** Whether the mapping that became active with a revision is active since. */
  readonly isActive: (revision: number) => boolean;
  /** Resolves after a turn of the event loop, so that many answers do not keep others waiting. */
  readonly breathe?: () => Promise<void>;
  /** Called when somebody has begun to wait. */
  readonly onWait?: () => void;
}

interface Waiter {
  readonly revisions: readonly number[];
  /** The highest of them. */
  readonly last: number;
  readonly done: (committed: boolean) => void;
}

/** Holds replies back until their mappings are in the kernel. */
export class Barrier {
  readonly #options: BarrierOptions;
  #waiters: Waiter[] = [];
  #settled = 0;
  #state: "open" | "held" | "shut" = "open";

  constructor(options: BarrierOptions) {
    this.#options = options;
  }

  /** The highest revision up to which the kernel has had everything. */
  get settled(): number {
    return this.#settled;
  }

  /** Whether the kernel is known to hold everything up to a revision. */
  isCommitted(revision: number): boolean {
    return this.#state === "open" && revision <= this.#settled;
  }

  /**
   * Calls `done` once, when all of the revisions are settled: true where the mappings that became
   * active with them still are, and are in the kernel. Where the kernel answers at once, so does this.
   */
  wait(revisions: readonly number[], done: (committed: boolean) => void): void {
    if (this.#state === "shut" || this.#waiters.length >= WAITING_MAX) {
      done(false);
      return;
    }
    const waiter = { revisions, last: Math.max(...revisions), done };
    if (this.isCommitted(waiter.last)) return this.#answer(waiter);
    this.#waiters.push(waiter);
    this.#options.onWait?.();
  }

  /** Lets nobody pass until it is opened; who comes waits. */
  hold(): void {
    this.#state = "held";
  }

  /** Lets everybody pass who waits for nothing above `revision`. */
  *open(revision: number): Steps<void> {
    this.#state = "open";
    this.#settled = Math.max(this.#settled, revision);
    const passing: Waiter[] = [];
    const staying: Waiter[] = [];
    for (const waiter of this.#waiters) {
      (waiter.last > this.#settled ? staying : passing).push(waiter);
    }
    this.#waiters = staying;
    yield* this.#forEach(passing, (waiter) => this.#answer(waiter));
  }

  /** Sends everybody away, and who comes until it is opened or held. */
  *shut(): Steps<void> {
    this.#state = "shut";
    yield* this.#forEach(this.#waiters.splice(0), ({ done }) => done(false));
  }

  *#forEach(waiters: readonly Waiter[], tell: (waiter: Waiter) => void): Steps<void> {
    for (let i = 0; i < waiters.length; i++) {
      const isTurnOver = i > 0 && i % ANSWERED_AT_ONCE === 0;
      if (isTurnOver) yield* settled(this.#options.breathe?.());
      tell(waiters[i]!);
    }
  }

  #answer({ revisions, done }: Waiter): void {
    done(revisions.every(this.#options.isActive));
  }
}

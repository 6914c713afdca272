/**
 * One timer for a queue: rings when the queue's next entry is due, at most once in an interval.
 *
 * The queues only ever move their next entry later, so a timer that is set is never too late: `check`
 * after each entry costs a comparison, and a timer that rings too early sets itself again.
 *
 * @module
 */

/** Milliseconds on a clock that never goes back. */
export function nowMs(): number {
  return performance.now();
}

/** Resolves after a turn of the event loop, for work that would keep all else waiting too long. */
export function breathe(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve));
}

/** A timer for one queue. */
export class Alarm {
  readonly #intervalMs: number;
  readonly #nextMs: () => number;
  readonly #ring: () => void | Promise<void>;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isRinging = false;
  #isStopped = false;

  /**
   * @param intervalMs the shortest time between two rings: what is due within it is handled together
   * @param nextMs when the queue's next entry is due, `Infinity` where it is empty
   * @param ring handles what is due
   */
  constructor(intervalMs: number, nextMs: () => number, ring: () => void | Promise<void>) {
    this.#intervalMs = intervalMs;
    this.#nextMs = nextMs;
    this.#ring = ring;
  }

  /** To be called when the queue may no longer be empty. */
  check(): void {
    if (this.#timer !== undefined || this.#isRinging || this.#isStopped) return;
    const next = this.#nextMs();
    if (next === Infinity) return;
    this.#timer = setTimeout(() => this.#onTime(), Math.max(this.#intervalMs, next - nowMs()));
  }

  /** Rings no more. */
  stop(): void {
    this.#isStopped = true;
    clearTimeout(this.#timer);
  }

  async #onTime(): Promise<void> {
    this.#timer = undefined;
    this.#isRinging = true;
    await this.#ring();
    this.#isRinging = false;
    this.check();
  }
}

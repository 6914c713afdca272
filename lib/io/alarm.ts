/**
 * One timer for a queue: rings when the queue's next entry is due, at most every `RING_MS`.
 *
 * The queues only ever move their next entry later, so a timer that is set is never too late: `check`
 * after each entry costs a comparison, and a timer that rings too early sets itself again.
 *
 * @module
 */

/** The shortest time between two rings: what is due within it is handled together. */
export const RING_MS = 50;

/** Milliseconds on a clock that never goes back. */
export function nowMs(): number {
  return performance.now();
}

/** A timer for one queue. */
export class Alarm {
  readonly #nextMs: () => number;
  readonly #ring: (nowMs: number) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param nextMs when the queue's next entry is due, `Infinity` where it is empty
   * @param ring handles what is due
   */
  constructor(nextMs: () => number, ring: (nowMs: number) => void) {
    this.#nextMs = nextMs;
    this.#ring = ring;
  }

  /** To be called when the queue may no longer be empty. */
  check(): void {
    if (this.#timer !== undefined) return;
    const next = this.#nextMs();
    if (next === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#ring(nowMs());
      this.check();
    }, Math.max(RING_MS, next - nowMs()));
  }

  /** Rings no more. */
  stop(): void {
    clearTimeout(this.#timer);
  }
}

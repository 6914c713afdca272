/**
 * The time, and the one timer of dotp.
 *
 * Time is pulled: whatever waits for a time says when, and the timer asks. It asks several times a
 * second, so that nobody has to tell it that a time has come nearer: none is set that is so near.
 *
 * @module
 */
import { setImmediate } from "node:timers";

/** The shortest sleep, so that what is due soon after is handled together, and the longest. */
export const SLEEP_MS = { least: 20, most: 250 } as const;

/** Milliseconds on a clock that never goes back. */
export function nowMs(): number {
  return performance.now();
}

/** Resolves after one turn of the event loop; a timer would take milliseconds. */
export function yieldTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** What waits for times to come. */
export interface Timed {
  /** When it has something to do; `Infinity` if never, and while it is at work. */
  readonly nextDeadlineMs: number;
  /** Does what is due. */
  handleTimeout(nowMs: number): void | Promise<void>;
}

/** Clock and alarm of the runtime. */
export const RUNTIME = {
  now: nowMs,
  /** Calls back after some time, unless what it returns is called before. */
  sleep(ms: number, wake: () => void): () => void {
    const timeout = setTimeout(wake, ms);
    return () => clearTimeout(timeout);
  },
};

/** Calls each part when its time has come. */
export class Timer {
  readonly #parts: readonly Timed[];
  readonly #runtime: typeof RUNTIME;
  readonly #wake = () => this.#handle();
  #cancel: () => void;

  constructor(parts: readonly Timed[], runtime = RUNTIME) {
    this.#parts = parts;
    this.#runtime = runtime;
    this.#cancel = runtime.sleep(SLEEP_MS.least, this.#wake);
  }

  /** Calls nobody any more. */
  stop(): void {
    this.#cancel();
  }

  #handle(): void {
    const { now, sleep } = this.#runtime;
    const wokenMs = now();
    for (const part of this.#parts) {
      if (part.nextDeadlineMs <= wokenMs) void part.handleTimeout(wokenMs);
    }
    const next = Math.min(...this.#parts.map(({ nextDeadlineMs }) => nextDeadlineMs));
    const leftMs = Math.min(SLEEP_MS.most, Math.max(SLEEP_MS.least, next - now()));
    this.#cancel = sleep(leftMs, this.#wake);
  }
}

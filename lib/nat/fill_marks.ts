/**
 * When it is worth a word that a pool fills up: once as a mark is crossed, and not again before the
 * pool fell well below the mark and has not reached it for a while. A pool whose mappings come and go
 * in waves crosses a mark with each of them.
 *
 * @module
 */

/** Shares of a pool, in percent, whose crossing is worth a word. */
export const FILL_MARKS = [80, 95] as const;

/** How far below a mark the pool must fall before it is told again. */
const SLACK_PERCENT = 5;
/** And for how long the mark must not be reached from then on. */
export const CALM_MS = 600_000;

/** Tells of each mark as it is crossed. */
export class FillMarks {
  readonly #tell: (percent: number) => void;
  /** For each mark: since when the pool has been well below it; `Infinity` while it is not. */
  readonly #calmSinceMs = FILL_MARKS.map(() => -Infinity);

  /** @param tell told the highest mark that was crossed */
  constructor(tell: (percent: number) => void) {
    this.#tell = tell;
  }

  /** Notes how full the pool is now. */
  note(percent: number, nowMs: number): void {
    let crossed = 0;
    for (let i = 0; i < FILL_MARKS.length; i++) {
      const mark = FILL_MARKS[i]!;
      const sinceMs = this.#calmSinceMs[i]!;
      if (percent >= mark) {
        if (nowMs - sinceMs >= CALM_MS) crossed = mark;
        this.#calmSinceMs[i] = Infinity;
      } else if (percent < mark - SLACK_PERCENT && sinceMs === Infinity) {
        this.#calmSinceMs[i] = nowMs;
      }
    }
    if (crossed > 0) this.#tell(crossed);
  }
}

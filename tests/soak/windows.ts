/**
 * The times in which something may fail, and what: while a fault lasts and until dotp has recovered.
 * Contract: pure. Whatever touches such a time is excused, as a query that was sent before a fault
 * may fail because of it; so a fault must never last longer than its bound.
 */

/** What is counted apart. */
export const SUBJECTS = ["not configured", "configured", "traffic", "kernel"] as const;

/** DNS answers by kind of name; traffic through a fake; a pair in the kernel's maps. */
export type Subject = typeof SUBJECTS[number];

interface Window {
  readonly excused: readonly Subject[];
  readonly fromMs: number;
  toMs: number;
}

/** The times in which something may fail. */
export class Windows {
  readonly #windows: Window[] = [];

  /**
   * Begins one.
   *
   * @param excused what may fail in it
   * @returns ends it
   */
  open(excused: readonly Subject[], nowMs: number): (nowMs: number) => void {
    const window = { excused, fromMs: nowMs, toMs: Infinity };
    this.#windows.push(window);
    return (nowMs) => window.toMs = nowMs;
  }

  /** Whether something that lasted from one time to another may have failed. */
  excuses(subject: Subject, fromMs: number, toMs: number): boolean {
    return this.#windows.some((window) =>
      window.excused.includes(subject) && window.fromMs <= toMs && fromMs <= window.toMs
    );
  }
}

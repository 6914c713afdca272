/**
 * Counts what happened and says whether that is good enough. Contract: pure.
 */

import { type Subject, SUBJECTS } from "./windows.ts";

/** How something ended. Late is right, but after more than a second. */
export const OUTCOMES = ["right", "late", "servfail", "lost", "wrong"] as const;

/** How something ended. */
export type Outcome = typeof OUTCOMES[number];

/**
 * So much of what is sent outside of faults may be lost, late or answered with SERVFAIL, which is what
 * becomes of a query that is lost between dotp and the upstream. A UDP socket's receive buffer holds
 * about 270 small datagrams: at some thousand queries a second a process that is kept from its
 * processor for a twentieth of a second loses some, be it dotp, the upstream or the soak itself.
 */
export const LOSS_TOLERANCE = 0.002;

/** Words kept for the report; more would only repeat the first ones. */
const EXAMPLES_MAX = 10;

type Row = Record<Outcome, number>;

/** Counts by subject, outcome, and whether a fault excuses it. */
export class Tally {
  readonly #rows = new Map<string, Row>();
  readonly #examples: string[] = [];
  #failures = 0;

  /**
   * Counts one.
   *
   * @param isExcused whether a fault was under way; a wrong one is never excused
   * @param example what it was, for the report
   */
  count(subject: Subject, outcome: Outcome, isExcused: boolean, example?: () => string): void {
    this.row(subject, isExcused)[outcome]++;
    const isFailure = outcome === "wrong" || (!isExcused && outcome !== "right");
    if (isFailure) this.fail(`${subject}: ${outcome}${example ? `: ${example()}` : ""}`);
  }

  /** Notes something worth a line in the report. */
  fail(example: string): void {
    this.#failures++;
    if (this.#examples.length < EXAMPLES_MAX) this.#examples.push(example);
  }

  /** The first of what went wrong, and how much more there was. */
  get examples(): string[] {
    const more = this.#failures - this.#examples.length;
    return more > 0 ? [...this.#examples, `and ${more} more`] : this.#examples;
  }

  /** The counts of one subject. */
  row(subject: Subject, isExcused: boolean): Row {
    const key = `${subject} ${isExcused}`;
    let row = this.#rows.get(key);
    if (row === undefined) {
      row = { right: 0, late: 0, servfail: 0, lost: 0, wrong: 0 };
      this.#rows.set(key, row);
    }
    return row;
  }

  /** One outcome over all, or over what no fault excuses. */
  total(outcome: Outcome, subjects: readonly Subject[] = SUBJECTS, isExcused?: boolean): number {
    const excuses = isExcused === undefined ? [true, false] : [isExcused];
    return subjects.flatMap((subject) => excuses.map((e) => this.row(subject, e)[outcome]))
      .reduce((sum, count) => sum + count, 0);
  }

  /** What is not good enough, in words; nothing where all is well. */
  verdict(): string[] {
    const problems: string[] = [];
    const wrong = this.total("wrong");
    if (wrong > 0) problems.push(`${wrong} wrong`);
    for (const subject of SUBJECTS) {
      const row = this.row(subject, false);
      const all = OUTCOMES.reduce((sum, outcome) => sum + row[outcome], 0);
      for (const outcome of ["lost", "late", "servfail"] as const) {
        if (row[outcome] <= all * LOSS_TOLERANCE) continue;
        problems.push(`${subject}: ${row[outcome]} of ${all} ${outcome} without a fault`);
      }
      if (row.right === 0) problems.push(`${subject}: none right`);
    }
    return problems;
  }

  /** The counts as a table. */
  table(): string[] {
    const cells = (name: string, values: readonly (string | number)[]) =>
      name.padEnd(30) + values.map((value) => value.toLocaleString("en-US").padStart(11)).join("");
    const rows = SUBJECTS.flatMap((subject) =>
      [false, true].map((isExcused) => {
        const row = this.row(subject, isExcused);
        const name = isExcused ? "  during a fault" : subject;
        return cells(name, OUTCOMES.map((outcome) => row[outcome]));
      })
    );
    return [cells("", OUTCOMES), ...rows];
  }
}

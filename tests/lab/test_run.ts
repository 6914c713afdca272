/**
 * Runs of `deno test`: what each came to, read from the line that it closes with, and the closing line
 * of them all. Contract: a run that fails without a failed test, hangs, or ends before that line, counts
 * as one failure; all together end with 0 only if some test ran and none failed.
 */

import { endAll } from "../support/run.ts";
import { within } from "../support/waiting.ts";
import { runChild } from "./namespace.ts";
import { out } from "./out.ts";

/** A run that has not ended by then hangs; on two busy cores the longest takes three minutes. */
const RUN_LIMIT_MS = 900_000;

/** How many tests there were of each kind. */
export interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** The line that `deno test` closes with. */
const SUMMARY = /^(?:ok|FAILED) \| (\d+) passed.*? \| (\d+) failed(?:.*? \| (\d+) ignored)?/;

/** Runs tests, prints what they print, and counts them. */
export async function runTests(
  command: string[],
  hear: (line: string) => void = out,
  limitMs: number = RUN_LIMIT_MS,
): Promise<Count> {
  let summary: Count | undefined;
  const run = runChild(command, (line) => {
    hear(line);
    summary = readSummary(line) ?? summary;
  });
  try {
    const status = await within("the end of these tests", run, limitMs);
    return countOf(summary, status);
  } catch (error) {
    hear((error as Error).message);
    endAll();
    return countOf(summary, 1);
  }
}

/** Reads the line that a run closes with; undefined where it is another line. */
export function readSummary(line: string): Count | undefined {
  const [found, ...counts] = SUMMARY.exec(line) ?? [];
  if (found === undefined) return undefined;
  const [passed = 0, failed = 0, skipped = 0] = counts.map((count) => Number(count ?? 0));
  return { passed, failed, skipped };
}

/** What a run came to, by its closing line, where it got so far, and its exit status. */
export function countOf(summary: Count | undefined, status: number): Count {
  const { passed, failed, skipped } = summary ?? { passed: 0, failed: 0, skipped: 0 };
  const isWell = summary !== undefined && status === 0;
  return { passed, failed: isWell ? failed : Math.max(failed, 1), skipped };
}

/** The closing line of several runs, and the exit status that goes with it. */
export function close(counts: readonly Count[]): { line: string; status: number } {
  const sum = (kind: keyof Count) => counts.reduce((total, count) => total + count[kind], 0);
  const [passed, failed, skipped] = [sum("passed"), sum("failed"), sum("skipped")];
  const line = `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
  return { line, status: passed > 0 && failed === 0 ? 0 : 1 };
}

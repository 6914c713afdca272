/**
 * The English of nft and conntrack, and the only place that understands it: what they complain of, and
 * which of the few reasons for a refusal that is. With the C locale the texts are those of strerror(3)
 * and their own.
 *
 * @module
 */
import type { Refusal } from "../kernel/kernel.ts";

/** Characters of a complaint that are kept: nft repeats the whole line. */
const LENGTH_MAX = 200;

/** What nft writes for a reason, as part of a longer text. */
const REASONS: readonly (readonly [RegExp, Refusal])[] = [
  [/No such file or directory|does not exist/, "missing"],
  [/File exists/, "exists"],
  [/Too many open files in system|Set is full/, "full"],
];

/** The first complaint in what nft wrote, without the line that it repeats. */
export function complaintOf(stderr: string): string {
  const [, text] = /Error: (.*)/.exec(stderr) ?? [];
  return (text ?? stderr).trim().slice(0, LENGTH_MAX);
}

/** Which reason a complaint gives. */
export function reasonOf(complaint: string): Refusal {
  return REASONS.find(([text]) => text.test(complaint))?.[1] ?? "other";
}

/** What went wrong where conntrack ended with an error; undefined where it only found nothing. */
export function conntrackProblem(stderr: string): string | undefined {
  if (/: 0 flow entries have been/.test(stderr)) return undefined;
  const [line = ""] = stderr.trim().split("\n");
  return line.replace(/^conntrack v\S+ \([^)]*\): /, "conntrack: ").slice(0, LENGTH_MAX);
}

/**
 * Judges a domain file: how many rules it has, and which of its lines is none.
 *
 * @module
 */
import type { BadLine } from "../policy/domain_file.ts";
import { error, type Finding, ok, warning } from "./finding.ts";

/** What was read of a file. */
export interface ReadFile {
  readonly path: string;
  /** Rules that it has added. */
  readonly size: number;
  readonly bad: readonly BadLine[];
  readonly badCount: number;
}

/** The finding about a file that could be read. */
export function judgeDomainFile(
  { path, size, bad, badCount }: ReadFile,
  isStrict: boolean,
): Finding {
  const [first] = bad;
  if (first === undefined) return ok("domains", `${path} can be read, rules about names: ${size}`);
  const more = badCount > 1 ? ` (and ${badCount - 1} more such lines)` : "";
  const what = `${path} line ${first.line}: ${first.why}${more}`;
  return isStrict
    ? error("domains", what, "correct it, or do without --domain-file-strict")
    : warning("domains", what, "correct it (dotp skips such a line)");
}

/** What is said of a domain file. */
import { assertEquals, assertMatch } from "@std/assert";
import { judgeDomainFile } from "../../lib/check/domains.ts";
import { lineOf } from "./support.ts";

Deno.test("judgeDomainFile() counts rules or names the first bad line, when it is asked", () => {
  const path = "/etc/dotp/names";
  const well = judgeDomainFile({ path, size: 3, bad: [], badCount: 0 }, true);
  assertEquals(lineOf(well), "ok /etc/dotp/names can be read, rules about names: 3");
  const bad = [{ line: 7, why: "it is not UTF-8" }, { line: 8, why: "it is not UTF-8" }];
  for (
    const [badCount, isStrict, expected] of [
      [
        1,
        false,
        /^warning \/etc\/dotp\/names line 7: it is not UTF-8: correct it \(dotp skips such/,
      ],
      [12, false, /^warning .* line 7: it is not UTF-8 \(and 11 more such lines\): correct/],
      [1, true, /^error .* line 7: it is not UTF-8: correct it, or .*--domain-file-strict$/],
    ] as const
  ) assertMatch(lineOf(judgeDomainFile({ path, size: 3, bad, badCount }, isStrict)), expected);
});

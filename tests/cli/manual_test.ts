/** The manual page: what it must hold, and that those who read roff have nothing to complain of. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { COMMANDS, OPTIONS } from "../../lib/cli/options.ts";
import { manual } from "../../lib/cli/manual.ts";
import { testWith } from "../support/programs.ts";
import { run } from "../support/run.ts";

const PAGE = manual("1.2.3");

Deno.test("manual() has the usual sections and every option and command, when it is made", () => {
  const sections = [...PAGE.matchAll(/^\.SH (.*)$/gm)].map(([, name]) => name);
  assertEquals(sections, [
    "NAME",
    "SYNOPSIS",
    "DESCRIPTION",
    "OPTIONS",
    "COMMANDS",
    "EXIT STATUS",
    "DOMAIN FILES",
    "SIGNALS",
    "FILES",
    "EXAMPLES",
    "SEE ALSO",
  ]);
  for (const { name } of OPTIONS) {
    assertStringIncludes(PAGE, `\\fB\\-\\-${name.replaceAll("-", "\\-")}\\fR`);
  }
  for (const { name } of COMMANDS) assertStringIncludes(PAGE, `\\fB${name}\\fR`);
  assertStringIncludes(PAGE, "dotp 1.2.3");
  assert(PAGE.endsWith("\n") && !PAGE.endsWith("\n\n"));
});

Deno.test("manual() is plain roff, when it is read line by line", () => {
  for (const line of PAGE.split("\n")) {
    assert(!/^['.]/.test(line) || /^\.[A-Za-z]{2}( |$)/.test(line), line);
    assert(!/[^\u0020-\u007e]/.test(line), line);
    assert(line === line.trimEnd(), line);
  }
});

/** Programs that read roff, and how they are asked to be strict; each says nothing when all is well. */
const READERS: readonly (readonly [program: string, ...args: string[]])[] = [
  ["mandoc", "-Tlint", "-Wall"],
  ["groff", "-ww", "-man", "-Tutf8", "-z"],
  ["man", "--warnings", "-l"],
];

for (const [program, ...args] of READERS) {
  testWith(program, `manual() gets no complaint, when ${program} reads it`, async () => {
    const path = await Deno.makeTempFile({ suffix: ".8" });
    try {
      await Deno.writeTextFile(path, PAGE);
      const env = { MANPAGER: "cat", MANWIDTH: "80", LC_ALL: "C.UTF-8" };
      const { stdout, stderr } = await run([program, ...args, path], { env });
      assertEquals(stderr, "");
      if (program === "man") assertStringIncludes(stdout, "--upstream-host ADDRESS");
      else assertEquals(stdout, "");
    } finally {
      await Deno.remove(path);
    }
  });
}

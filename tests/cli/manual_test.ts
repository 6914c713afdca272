/** The manual page: what it must hold, and that those who read roff have nothing to complain of. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { COMMANDS, OPTIONS } from "../../lib/cli/options.ts";
import { manual } from "../../lib/cli/manual.ts";

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
  Deno.test(`manual() gets no complaint, when ${program} reads it`, async (t) => {
    const found = await new Deno.Command(program, { args: ["--version"] }).output()
      .catch(() => null);
    await t.step({
      name: found === null ? `left out: there is no ${program}` : program,
      ignore: found === null,
      fn: async () => {
        const path = await Deno.makeTempFile({ suffix: ".8" });
        try {
          await Deno.writeTextFile(path, PAGE);
          const { stdout, stderr } = await new Deno.Command(program, {
            args: [...args, path],
            env: { MANPAGER: "cat", MANWIDTH: "80", LC_ALL: "C.UTF-8" },
          }).output();
          const [said, complained] = [stdout, stderr].map((bytes) =>
            new TextDecoder().decode(bytes)
          );
          assertEquals(complained, "");
          if (program === "man") assertStringIncludes(said ?? "", "--upstream-host ADDRESS");
          else assertEquals(said, "");
        } finally {
          await Deno.remove(path);
        }
      },
    });
  });
}

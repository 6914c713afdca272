/** Completions: what is in the texts, and what the shells that they are for make of them. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { completions } from "../../lib/cli/completions.ts";
import { TOPICS } from "../../lib/check/finding.ts";
import { COMMANDS, OPTIONS, type Shell, SHELLS } from "../../lib/cli/options.ts";
import { testWith } from "../support/programs.ts";
import { mustRun } from "../support/run.ts";

/** What is typed, and what is offered for its last word, in any order. */
const CASES: readonly (readonly [typed: string[], ...offered: string[]])[] = [
  [["--up"], "--upstream-host", "--upstream-port"],
  [["--log-level", "de"], "debug"],
  [["-H", "192.0.2.1", "--log-format", ""], "json", "text"],
  [[""], ...COMMANDS.map(({ name }) => name)],
  [["-p", "53", "ch"], "check"],
  [["completions", ""], ...SHELLS],
  [["check", "--js"], "--json"],
  [["check", "po"], "port"],
  [["check", "port", ""], ...TOPICS],
  [["rules", "--ta"], "--table"],
  [["--nat-ttl", ""]],
];

Deno.test("completions() names every option and command, when made for any shell", () => {
  for (const shell of SHELLS) {
    const text = completions(shell);
    assert(text.endsWith("\n") && !text.endsWith("\n\n"));
    for (const { name, short } of OPTIONS) {
      assertStringIncludes(text, shell === "fish" ? `-l ${name} ` : `--${name}`);
      if (short !== undefined) {
        assertStringIncludes(text, `-${shell === "fish" ? "s " : ""}${short}`);
      }
    }
    for (const { name } of COMMANDS) assertStringIncludes(text, name);
  }
});

testIn("bash", async (script) => {
  const ask = `. "$1"; shift; complete -p dotp >&2 || exit; _dotp_ask() { _dotp; }
    COMP_WORDS=(dotp "$@"); COMP_CWORD=$#; _dotp; printf '%s\\n' "\${COMPREPLY[@]}"`;
  for (const [typed, ...offered] of CASES) {
    const said = await run("bash", ["--norc", "-c", ask, "bash", script, ...typed]);
    assertEquals(wordsOf(said), offered.toSorted(), typed.join(" "));
  }
  const split = await run("bash", ["-c", ask, "bash", script, "--log-level", "=", "e"]);
  assertEquals(wordsOf(split), ["error"]);
  const file = await run("bash", ["-c", ask, "bash", script, "--pid-file", script.slice(0, -2)]);
  assertEquals(wordsOf(file), [script]);
});

testIn("fish", async (script) => {
  for (const [typed, ...offered] of CASES) {
    const ask = `source ${script}; complete -C "dotp ${typed.join(" ")}"`;
    const said = await run("fish", ["--no-config", "-c", ask]);
    assertEquals(wordsOf(said.replace(/\t.*$/gm, "")), offered.toSorted(), typed.join(" "));
  }
});

testIn("zsh", async (script, directory) => {
  await run("zsh", ["-f", "-n", script]);
  // zsh completes only where somebody types: zpty is a terminal with a zsh behind it.
  const ask = `zmodload zsh/zpty; zpty t zsh -f; zpty -w t "$1"; shift
    zpty -r -m t out '*READY*READY*'
    while (( $# )); do
      zpty -w -n t "dotp $1"$'\\t'; zpty -r -m t out "*$2*" || exit
      print -r -- "$1: $2"; zpty -w -n t $'\\C-u'; shift 2
    done; zpty -d t`;
  const init = "setopt no_list_ambiguous; autoload -Uz compinit; compinit -u -D";
  const inFpath = `fpath=(${directory} $fpath); ${init}; echo READY`;
  const sourced = `${init}; source ${script}; echo READY`;
  // One offer is put on the line, several are listed.
  const asked = CASES.filter((offered) => offered.length > 1)
    .map(([typed, ...offered]) => [typed.join(" "), offered.at(-1) ?? ""]);
  for (const start of [inFpath, sourced]) {
    const said = await run("zsh", ["-f", "-c", ask, "zsh", start, ...asked.flat()]);
    assertEquals(said.trim().split("\n"), asked.map(([typed, offer]) => `${typed}: ${offer}`));
  }
});

/** A test with the completions for a shell in a file. */
function testIn(shell: Shell, test: (script: string, directory: string) => Promise<void>): void {
  testWith(shell, `completions() completes in ${shell}, when it is loaded there`, async () => {
    const directory = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(`${directory}/_dotp`, completions(shell));
      await test(`${directory}/_dotp`, directory);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  });
}

/** What a program prints; it must end well and in time. */
function run(program: string, args: string[]): Promise<string> {
  return mustRun([program, ...args], { env: { TERM: "dumb", COLUMNS: "200" } });
}

function wordsOf(said: string): string[] {
  return said.split("\n").map((word) => word.trim()).filter(Boolean).toSorted();
}

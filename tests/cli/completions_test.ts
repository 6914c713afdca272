/**
 * Completions, read by the shells that they are for. A shell that is not installed is left out with a
 * word; the texts themselves are looked at everywhere.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { completions } from "../../lib/cli/completions.ts";
import { TOPICS } from "../../lib/check/finding.ts";
import { COMMANDS, OPTIONS, type Shell, SHELLS } from "../../lib/cli/options.ts";

/** How long a shell may take before it is ended: one that waits for more never comes. */
const SHELL_TIMEOUT_MS = 20_000;

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

Deno.test("completions() completes in bash, when it is loaded there", async (t) => {
  await inShell(t, "bash", async (script) => {
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
});

Deno.test("completions() completes in fish, when it is loaded there", async (t) => {
  await inShell(t, "fish", async (script) => {
    for (const [typed, ...offered] of CASES) {
      const ask = `source ${script}; complete -C "dotp ${typed.join(" ")}"`;
      const said = await run("fish", ["--no-config", "-c", ask]);
      assertEquals(wordsOf(said.replace(/\t.*$/gm, "")), offered.toSorted(), typed.join(" "));
    }
  });
});

Deno.test("completions() completes in zsh, when it is loaded there", async (t) => {
  await inShell(t, "zsh", async (script, directory) => {
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
});

/** Runs a test with the completions in a file, where the shell is installed. */
async function inShell(
  t: Deno.TestContext,
  shell: Shell,
  test: (script: string, directory: string) => Promise<void>,
): Promise<void> {
  const found = await new Deno.Command(shell, { args: ["-c", "true"] }).output().catch(() => null);
  await t.step({
    name: found === null ? `left out: there is no ${shell} (apt-get install ${shell})` : shell,
    ignore: found === null,
    fn: async () => {
      const directory = await Deno.makeTempDir();
      try {
        await Deno.writeTextFile(`${directory}/_dotp`, completions(shell));
        await test(`${directory}/_dotp`, directory);
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    },
  });
}

/** What a program prints; it must end well and in time. */
async function run(program: string, args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    env: { TERM: "dumb", COLUMNS: "200" },
    signal: AbortSignal.timeout(SHELL_TIMEOUT_MS),
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assert(success, `${program} ${args.join(" ")}: ${text(stdout)}${text(stderr)}`);
  return text(stdout);
}

function wordsOf(said: string): string[] {
  return said.split("\n").map((word) => word.trim()).filter(Boolean).toSorted();
}

/** Programs run to their end: what they say is kept, and none is waited for without a limit. */
import { assertEquals, assertRejects } from "@std/assert";
import { endPrograms, runProgram } from "../../../lib/io/runtime/process.ts";

/** Long enough for a shell to do its work on a busy machine. */
const TIMEOUT_MS = 20_000;

/** A shell that never ends, and whose child holds its pipes when it is killed. */
const HANGS = ["-c", "/bin/sleep 5 & wait"];

function sh(script: string, input = "", outputMax?: number) {
  const limits = outputMax === undefined ? {} : { outputMax };
  return runProgram("sh", ["-c", script], input, TIMEOUT_MS, limits);
}

Deno.test("runProgram() tells how a program ended and what it said", async () => {
  const said = { success: true, stdout: "given", stderr: "C /nonexistent\n" };
  assertEquals(await sh('cat; echo "$LC_ALL $HOME" >&2', "given"), said);
  assertEquals(await sh("exit 3", "unread"), { success: false, stdout: "", stderr: "" });
});

Deno.test("runProgram() keeps the beginning of an output, when it is longer than its limit", async () => {
  for (const [max, kept] of [[5, "1234"], [4, "1234"], [3, "123"]] as const) {
    assertEquals(await sh("printf 1234; printf 1234 >&2", "", max), {
      ...{ success: true, stdout: kept, stderr: kept },
    });
  }
});

Deno.test("runProgram() rejects and does not throw, when the program is missing", async () => {
  const running = runProgram("/nonexistent/program", [], "", TIMEOUT_MS);
  await assertRejects(() => running, Error, "/nonexistent/program is not there");
});

// The child of the shell holds the pipes on.
const leaky = { sanitizeOps: false, sanitizeResources: false };

Deno.test("runProgram() ends a program and waits no longer, when it hangs", leaky, async () => {
  await assertRejects(() => runProgram("sh", HANGS, "", 50), Error, "sh hung and was ended");
});

Deno.test(
  "runProgram() ends a program and waits no longer, when it is aborted",
  leaky,
  async () => {
    const aborting = new AbortController();
    const running = runProgram("sh", HANGS, "", TIMEOUT_MS, aborting);
    aborting.abort();
    await assertRejects(() => running, Error, "sh was not waited for and was ended");
    const again = runProgram("sh", HANGS, "", TIMEOUT_MS, aborting);
    await assertRejects(() => again, DOMException);
  },
);

Deno.test("endPrograms() ends what is still at work", async () => {
  const running = runProgram("sleep", ["1000"], "", TIMEOUT_MS);
  endPrograms();
  assertEquals((await running).success, false);
});

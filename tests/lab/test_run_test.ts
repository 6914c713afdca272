import { assertEquals, assertStringIncludes } from "@std/assert";
import { close, type Count, countOf, readSummary, runTests } from "./test_run.ts";

Deno.test("readSummary() reads what deno test closes with", () => {
  for (
    const [line, passed, failed, skipped] of [
      ["ok | 57 passed | 0 failed (1s)", 57, 0, 0],
      ["ok | 534 passed (3 steps) | 0 failed (46s)", 534, 0, 0],
      ["FAILED | 1 passed (1 step) | 2 failed (1 step) (4ms)", 1, 2, 0],
      ["ok | 2 passed (1 step) | 0 failed | 1 ignored (1 step) (7ms)", 2, 0, 1],
      ["FAILED | 0 passed | 1 failed | 3 ignored | 5 filtered out (6ms)", 0, 1, 3],
      ["ok | 0 passed | 0 failed | 9 filtered out (6ms)", 0, 0, 0],
    ] as const
  ) {
    assertEquals(readSummary(line), { passed, failed, skipped }, line);
  }
  for (const line of ["", "a test ... ok (1ms)", "  ok | 1 passed | 0 failed (1ms)"]) {
    assertEquals(readSummary(line), undefined, line);
  }
});

/** Long enough for Deno to start. */
const LIMIT_MS = 3_000;

Deno.test("runTests() counts what this Deno's tests come to, whatever that is", async () => {
  const [passes, fails] = ['"a", (t) => t.step("s", () => {})', '"b", () => { throw Error(); }'];
  for (
    const [tests, passed, failed, skipped] of [
      [`Deno.test(${passes}); Deno.test.ignore(${passes});`, 1, 0, 1],
      [`Deno.test(${passes}); Deno.test(${fails}); Deno.test.ignore(${fails});`, 1, 1, 1],
      [`Deno.test(${passes}); throw Error();`, 0, 1, 0],
      [`Deno.test(${passes}); Deno.kill(Deno.pid, "SIGKILL");`, 0, 1, 0],
      ["", 0, 0, 0],
    ] as const
  ) {
    const { count, said } = await counted(tests);
    assertEquals(count, { passed, failed, skipped }, `${tests}\n${said}`);
  }
});

Deno.test("runTests() ends a run that hangs, counts a failure and says so", async () => {
  const { count, said } = await counted("setInterval(() => {}, 1); await new Promise(() => {});");
  assertEquals(count, { passed: 0, failed: 1, skipped: 0 });
  assertStringIncludes(said, "Waited in vain for the end of these tests, 3 s");
});

/** Runs a file with these tests. */
async function counted(tests: string): Promise<{ count: Count; said: string }> {
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(path, tests);
    const said: string[] = [];
    const command = [Deno.execPath(), "test", "--no-config", "--no-check", path];
    const count = await runTests(command, (line) => said.push(line), LIMIT_MS);
    return { count, said: said.join("\n") };
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("countOf() counts a failure, when a run ends badly without a failed test", () => {
  const well = { passed: 3, failed: 0, skipped: 1 };
  assertEquals(countOf(well, 0), well);
  assertEquals(countOf(well, 1), { ...well, failed: 1 });
  assertEquals(countOf({ ...well, failed: 2 }, 1), { ...well, failed: 2 });
  for (const status of [0, 1, 137]) {
    assertEquals(countOf(undefined, status), { passed: 0, failed: 1, skipped: 0 });
  }
});

Deno.test("close() sums up and ends with 0 only if some test ran and none failed", () => {
  const [none, some] = [{ passed: 0, failed: 0, skipped: 0 }, { passed: 2, failed: 0, skipped: 0 }];
  for (
    const [counts, line, status] of [
      [[some, { ...some, passed: 5 }], "7 passed, 0 failed", 0],
      [[some, { ...some, skipped: 1 }], "4 passed, 0 failed, 1 skipped", 0],
      [[some, { ...none, failed: 1 }], "2 passed, 1 failed", 1],
      [[none, none], "0 passed, 0 failed", 1],
      [[{ ...none, skipped: 4 }], "0 passed, 0 failed, 4 skipped", 1],
      [[], "0 passed, 0 failed", 1],
    ] as const
  ) {
    assertEquals(close(counts), { line, status });
  }
});

import { assert, assertEquals, assertRejects } from "@std/assert";
import { endAll, mustRun, run, start } from "./run.ts";
import { eventually } from "./waiting.ts";

/** Long enough for a shell to start, which must have said something by then. */
const LIMIT_MS = 2_000;

const MISSING = "/nonexistent/program";

Deno.test("run() says how a program ended and what it printed, whatever that is", async () => {
  const ended = await run(["sh", "-c", "cat; echo no >&2; exit 3"], { stdin: "yes" });
  assertEquals(ended, { code: 3, stdout: "yes", stderr: "no\n" });
});

Deno.test("run() gives no input but what it is given, when a program reads", async () => {
  assertEquals(await run(["cat"]), { code: 0, stdout: "", stderr: "" });
});

Deno.test("run() does not mind, when a program ends before it has read its input", async () => {
  assertEquals((await run(["true"], { stdin: "x".repeat(1 << 20) })).code, 0);
});

Deno.test("run() adds variables to ours, or has these alone with clearEnv", async () => {
  const script = 'echo "$A ${PATH:+path}"';
  const env = { A: "a" };
  assertEquals(await mustRun(["/bin/sh", "-c", script], { env }), "a path\n");
  assertEquals(await mustRun(["/usr/bin/env"], { env, clearEnv: true }), "A=a\n");
});

Deno.test("run() rejects and does not throw, when the program is missing", async () => {
  const running = run([MISSING]);
  assertEquals(await running.catch((error) => error.name), "NotFound");
});

Deno.test("run() kills a program with all that it has started, when its time is over", async () => {
  const mark = crypto.randomUUID();
  const script = `echo before; sh -c 'sleep 1000; : ${mark}' & wait`;
  const error = await assertRejects(() => run(["sh", "-c", script], { limitMs: LIMIT_MS }), Error);
  assert(/^Waited in vain for the end of "sh -c .*: before$/s.test(error.message), error.message);
  assertEquals(processesWith(mark), []);
});

Deno.test("mustRun() returns what a program prints, or throws what it complained of", async () => {
  assertEquals(await mustRun(["echo", "well"]), "well\n");
  const said = 'Cannot run "sh -c echo bad >&2; exit 1": bad';
  await assertRejects(() => mustRun(["sh", "-c", "echo bad >&2; exit 1"]), Error, said);
});

Deno.test("endAll() ends what is still at work, with what it has started", async () => {
  const mark = crypto.randomUUID();
  const child = start(["sh", "-c", `sh -c 'sleep 1000; : ${mark}' & wait`]);
  await eventually("both shells", () => processesWith(mark), (pids) => pids.length === 2);
  endAll();
  assertEquals((await child.status).signal, "SIGKILL");
  await eventually("their end", () => processesWith(mark), (pids) => pids.length === 0);
});

/** The processes with this in their command line; those that wait to be buried have none. */
function processesWith(mark: string): string[] {
  return [...Deno.readDirSync("/proc")].map(({ name }) => name).filter((name) => {
    try {
      return /^\d+$/.test(name) && Deno.readTextFileSync(`/proc/${name}/cmdline`).includes(mark);
    } catch {
      return false;
    }
  });
}

/**
 * The demo itself: it tells its story to the end, and however it ends it leaves no process behind,
 * and so no namespace. Its processes are known by a variable in their environment, which they
 * inherit.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { lines } from "../lab/protocol.ts";
import { start } from "../support/run.ts";
import { eventually, within } from "../support/waiting.ts";

const DEMO = new URL("../demo.ts", import.meta.url).pathname;
const MARK = "DOTP_DEMO_TEST";

/** How long the demo may take; it takes ten seconds. */
const DEMO_LIMIT_MS = 120_000;

/** Runs the demo to its end and returns its exit code; `hear` gets each line, and the process. */
async function runDemo(
  mark: string,
  hear: (line: string, demo: Deno.ChildProcess) => void,
): Promise<number> {
  const command = [Deno.execPath(), "run", "--quiet", "--cached-only", "--allow-all", DEMO];
  const demo = start(command, { env: { [MARK]: mark }, stdout: "piped", stderr: "null" });
  const told = (async () => {
    for await (const line of lines(demo.stdout)) hear(line, demo);
    return (await demo.status).code;
  })();
  try {
    return await within("the end of the demo", told, DEMO_LIMIT_MS);
  } catch (error) {
    demo.kill("SIGKILL");
    throw error;
  }
}

/** The processes of a demo that are still there. */
function processesOf(mark: string): string[] {
  return [...Deno.readDirSync("/proc")].flatMap(({ name }) => {
    try {
      if (!/^\d+$/.test(name)) return [];
      return Deno.readTextFileSync(`/proc/${name}/environ`).includes(mark) ? [name] : [];
    } catch {
      return [];
    }
  });
}

async function assertNothingLeft(mark: string): Promise<void> {
  const none = (left: string[]) => left.length === 0;
  await eventually("the end of all the demo's processes", () => processesOf(mark), none);
}

Deno.test("the demo ends with 0 and leaves nothing behind, when all of it happens", async () => {
  const story: string[] = [];
  const mark = crypto.randomUUID();
  assertEquals(await runDemo(mark, (line) => story.push(line)), 0, story.join("\n"));
  assertMatch(story.at(-1) ?? "", /^All of it happened/);
  await assertNothingLeft(mark);
});

for (
  const [signal, code] of [["SIGINT", 130], ["SIGTERM", 130], ["SIGKILL", 137]] as const
) {
  Deno.test(`the demo leaves nothing behind, when it gets ${signal}`, async () => {
    const mark = crypto.randomUUID();
    let count = 0;
    const ended = await runDemo(mark, (line, demo) => {
      // By now everything runs that ever will.
      if (!line.startsWith("4.")) return;
      count = processesOf(mark).length;
      demo.kill(signal);
    });
    assert(count > 4, `${count}`);
    assertEquals(ended, code);
    await assertNothingLeft(mark);
  });
}

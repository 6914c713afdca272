/**
 * The demo itself: it tells its story to the end, and however it ends it leaves no process behind,
 * and so no namespace. Its processes are known by a variable in their environment, which they
 * inherit.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { lines } from "../lab/protocol.ts";
import { signal as send, start } from "../support/run.ts";
import { eventually, within } from "../support/waiting.ts";

const DEMO = new URL("../demo.ts", import.meta.url).pathname;
const MARK = "DOTP_DEMO_TEST";

/** How long the demo may take; it takes ten seconds. */
const DEMO_LIMIT_MS = 120_000;

/** Runs the demo to its end; `hear` gets its lines, and what sends it a signal. */
async function runDemo(
  hear: (line: string, mark: string, send: (signal: Deno.Signal) => void) => void,
): Promise<{ code: number; mark: string }> {
  const mark = crypto.randomUUID();
  const command = [Deno.execPath(), "run", "--quiet", "--cached-only", "--allow-all", DEMO];
  const child = start(command, { env: { [MARK]: mark }, stdout: "piped", stderr: "null" });
  const ended = (async () => {
    for await (const line of lines(child.stdout)) hear(line, mark, (name) => send(child.pid, name));
    return (await child.status).code;
  })();
  try {
    return { code: await within("the demo's end", ended, DEMO_LIMIT_MS), mark };
  } finally {
    send(child.pid, "SIGKILL");
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
  const { code, mark } = await runDemo((line) => story.push(line));
  assertEquals(code, 0, story.join("\n"));
  assertMatch(story.at(-1) ?? "", /^All of it happened/);
  await assertNothingLeft(mark);
});

for (
  const [signal, code] of [["SIGINT", 130], ["SIGTERM", 130], ["SIGKILL", 137]] as const
) {
  Deno.test(`the demo leaves nothing behind, when it gets ${signal}`, async () => {
    let count = 0;
    const demo = await runDemo((line, mark, send) => {
      // By now everything runs that ever will.
      if (!line.startsWith("4.")) return;
      count = processesOf(mark).length;
      send(signal);
    });
    assert(count > 4, `${count}`);
    assertEquals(demo.code, code);
    await assertNothingLeft(demo.mark);
  });
}

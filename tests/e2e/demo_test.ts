/**
 * The demo itself: it tells its story to the end, and however it ends it leaves no process behind,
 * and so no namespace. Its processes are known by a variable in their environment, which they
 * inherit.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { lines } from "../lab/protocol.ts";

const DEMO = new URL("../demo.ts", import.meta.url).pathname;
const MARK = "DOTP_DEMO_TEST";

/** How long what was told to end may take. */
const END_TIMEOUT_MS = 5_000;

function startDemo(): { child: Deno.ChildProcess; mark: string } {
  const mark = crypto.randomUUID();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--cached-only", "--allow-all", DEMO],
    env: { [MARK]: mark },
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  return { child, mark };
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
  const deadline = performance.now() + END_TIMEOUT_MS;
  while (processesOf(mark).length > 0 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assertEquals(processesOf(mark), []);
}

Deno.test("the demo ends with 0 and leaves nothing behind, when all of it happens", async () => {
  const { child, mark } = startDemo();
  const story: string[] = [];
  for await (const line of lines(child.stdout)) story.push(line);
  assertEquals((await child.status).code, 0, story.join("\n"));
  assertMatch(story.at(-1) ?? "", /^All of it happened/);
  await assertNothingLeft(mark);
});

for (
  const [signal, code] of [["SIGINT", 130], ["SIGTERM", 130], ["SIGKILL", 137]] as const
) {
  Deno.test(`the demo leaves nothing behind, when it gets ${signal}`, async () => {
    const { child, mark } = startDemo();
    for await (const line of lines(child.stdout)) {
      // By now everything runs that ever will.
      if (!line.startsWith("4.")) continue;
      assert(processesOf(mark).length > 4);
      child.kill(signal);
    }
    assertEquals((await child.status).code, code);
    await assertNothingLeft(mark);
  });
}

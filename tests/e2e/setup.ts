/**
 * What the end-to-end tests have in common: one lab a file, and short words for what an upstream
 * answers.
 */

import { assertEquals } from "@std/assert";
import { Lab, type Reply, type ResourceRecord, type Script } from "../lab/lab.ts";
import { widePath } from "../support/programs.ts";
import { mustRun } from "../support/run.ts";

/** Any number of names, each with an address of its own: `n42.many.example.com` has `many4(42)`. */
export const MANY: Script = { "*.many.example.com *": { numbered: true } };

/** Counts from 1, so that each name is used once. */
export function counter(): () => number {
  let last = 0;
  return () => ++last;
}

/** Makes a lab before the first test of the file and removes it after the last. */
export function shareLab(prepare: (lab: Lab) => Promise<void> = startServers): () => Lab {
  let shared: Lab | undefined;
  let before = 0;
  Deno.test.beforeAll(async () => {
    shared = await Lab.create();
    await prepare(shared);
  });
  // One that a failed test has left would fail those after it; what all tests share is started before.
  Deno.test.beforeEach(() => {
    before = shared?.started.length ?? 0;
  });
  Deno.test.afterEach(async () => {
    for (const dotp of shared?.started.slice(before) ?? []) await dotp.stop("SIGKILL");
  });
  Deno.test.afterAll(() => shared?.[Symbol.asyncDispose]());
  return () => {
    if (shared === undefined) throw new Error("There is no lab outside of the tests");
    return shared;
  };
}

/** Starts the web server, and an upstream that knows no name yet. */
export async function startServers(lab: Lab): Promise<void> {
  await lab.startWebServer();
  await lab.startUpstream({});
}

/** An address record. */
export function address(name: string, data: string, ttl = 300): ResourceRecord {
  return { name, type: data.includes(":") ? "AAAA" : "A", ttl, data };
}

/** A CNAME record. */
export function alias(name: string, data: string, ttl = 300): ResourceRecord {
  return { name, type: "CNAME", ttl, data };
}

/** A reply with these answers. */
export function answer(...answers: ResourceRecord[]): Reply {
  return { answers };
}

/** Asserts that a program said one line on standard error and nothing on standard output. */
export function assertOneLine(stdout: string, stderr: string): void {
  assertEquals(stdout, "");
  assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
}

/**
 * Runs a command where root's directories are empty, as programs are found there too.
 */
const WITHOUT_ROOTS = [
  ...["/usr/bin/unshare", "--mount", "/bin/sh", "-c"],
  `for each in /usr/local/sbin /usr/sbin /sbin; do
  if [ -d "$each" ] && [ ! -L "$each" ]; then /bin/mount -t tmpfs tmpfs "$each"; fi
done
exec "$@"`,
  "sh",
];

/** What makes a program of ours find only these programs, and how it is started so. */
export interface Only {
  readonly env: { readonly PATH: string };
  readonly before: string[];
}

/** No programs. */
export const NO_PROGRAMS: Only = { env: { PATH: "/nonexistent" }, before: WITHOUT_ROOTS };

/** Only these programs, `busybox/NAME` for BusyBox's, and scripts in place of others. */
export async function onlyWith(
  programs: readonly string[],
  scripts: Readonly<Record<string, string>> = {},
): Promise<Only> {
  const directory = await Deno.makeTempDir();
  made.push(directory);
  // A build that needs Deno finds it here, and its env by its path.
  await Deno.symlink(Deno.execPath(), `${directory}/deno`);
  for (const program of programs) {
    const [name = "", box] = program.split("/").toReversed();
    const target = await mustRun(["sh", "-c", `command -v ${box ?? name}`], {
      env: { PATH: widePath() },
    });
    await Deno.copyFile(target.trim(), `${directory}/${name}`);
  }
  for (const [name, script] of Object.entries(scripts)) {
    await Deno.writeTextFile(`${directory}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
  return { env: { PATH: directory }, before: WITHOUT_ROOTS };
}

const made: string[] = [];
Deno.test.afterAll(async () => {
  for (const directory of made.splice(0)) await Deno.remove(directory, { recursive: true });
});

/** Ends what runs in the gateway. */
export async function endAll(lab: Lab): Promise<void> {
  for (const { pid } of await lab.gateway.call("processes", null)) {
    await lab.gateway.call("signal", { pid, signal: "SIGTERM" }).catch(() => {});
  }
  await noneLeft(lab);
}

/** Waits until nothing runs in the gateway; what is killed in a system call goes when that returns. */
export async function noneLeft(lab: Lab): Promise<void> {
  await lab.until(
    "the end of all programs",
    () => lab.gateway.call("processes", null),
    (processes) => processes.length === 0,
  );
}

/** Runs a task of `.tasks/` into a directory of its own, as a person would, and says how it ended. */

import { type Ended, run as runProgram, type RunOptions } from "../support/run.ts";

/** The directory of the repository. */
export const ROOT = new URL("../../", import.meta.url).pathname;

/** A program that any Linux has, in place of Deno's runtime: it is embedded into, never run. */
export const STAND_IN = "/bin/true";

/** Runs a program to its end, as `support/run.ts` does, without colours. */
export function run(command: string[], options: RunOptions = {}): Promise<Ended> {
  const env = { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...options.env };
  return runProgram(command, { ...options, env });
}

/** Runs `deno task NAME`, its result in `dist`. */
export function runTask(
  name: string,
  dist: string,
  { args = [], env = {} }: { args?: string[]; env?: Record<string, string> } = {},
): Promise<Ended> {
  const command = [Deno.execPath(), "task", "--quiet", name, "--dist", dist, ...args];
  return run(command, { cwd: ROOT, env });
}

/** Runs a task that must succeed. */
export async function make(
  name: string,
  dist: string,
  env?: Record<string, string>,
): Promise<Ended> {
  const ended = await runTask(name, dist, env === undefined ? {} : { env });
  if (ended.code !== 0) throw new Error(`deno task ${name}: ${ended.stderr}`);
  return ended;
}

/** Gives `work` a new directory, which goes when it is done. */
export async function inTempDir(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "dotp-artifacts-" });
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Names of what is in a directory. */
export function namesIn(directory: string): string[] {
  return Array.from(Deno.readDirSync(directory), ({ name }) => name).sort();
}

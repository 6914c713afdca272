/** Runs a task of `.tasks/` into a directory of its own, as a person would, and says how it ended. */

/** The directory of the repository. */
export const ROOT = new URL("../../", import.meta.url).pathname;

/** A program that any Linux has, in place of Deno's runtime: it is embedded into, never run. */
export const STAND_IN = "/bin/true";

/** How a program ended and what it printed. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end. */
export async function run(command: string[], options: Deno.CommandOptions = {}): Promise<Ended> {
  const [program = "", ...args] = command;
  const env = { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", ...options.env };
  const child = new Deno.Command(program, { ...options, args, env, stdin: "null" });
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
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

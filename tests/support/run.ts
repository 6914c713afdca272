/**
 * Runs programs for tests, tasks and the bench. Contract: what goes wrong is a rejected promise,
 * never an exception at the call, as `Deno.Command` throws it where the program is missing. A run has
 * a limit of time; one that passes it is killed with all that it has started, and the error says
 * what it had printed by then. What is still at work is known until it has ended, for the way out.
 */

import { treeOf } from "../bench/usage.ts";
import { within } from "./waiting.ts";

/** How long a run may take where nothing else is said: none of them needs half of it. */
export const RUN_LIMIT_MS = 120_000;

/** How long the pipes of what was killed may take to close. */
const CLOSE_LIMIT_MS = 1_000;

/** How a program ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** How a program is run. */
export interface RunOptions extends Pick<Deno.CommandOptions, "cwd" | "clearEnv"> {
  /** Variables besides our own. */
  readonly env?: Readonly<Record<string, string>>;
  /** Text for its standard input; none where this is left out. */
  readonly stdin?: string;
  readonly limitMs?: number;
}

const running = new Set<Deno.ChildProcess>();

/**
 * Starts a program; `endAll` ends it where nothing else has.
 *
 * @throws {Error} at the call, as `Deno.Command`
 */
export function start(
  [program = "", ...args]: readonly string[],
  options: Deno.CommandOptions = {},
): Deno.ChildProcess {
  const child = new Deno.Command(program, { stdin: "null", ...options, args }).spawn();
  running.add(child);
  child.status.finally(() => running.delete(child));
  return child;
}

/** Runs a program to its end, whatever that is. */
export async function run(
  command: readonly string[],
  { stdin, limitMs = RUN_LIMIT_MS, env = {}, ...options }: RunOptions = {},
): Promise<Ended> {
  const pipes = { stdin: stdin === undefined ? "null" : "piped", stdout: "piped", stderr: "piped" };
  const child = start(command, { ...options, env, ...pipes as Deno.CommandOptions });
  const said = { stdout: "", stderr: "" };
  const listen = async (stream: "stdout" | "stderr") => {
    const decoder = new TextDecoder();
    for await (const chunk of child[stream]) {
      said[stream] += decoder.decode(chunk, { stream: true });
    }
  };
  const ended = Promise.all([child.status, listen("stdout"), listen("stderr")]);
  if (stdin !== undefined) void write(child, stdin);
  try {
    const [{ code }] = await within(`the end of "${command.join(" ")}"`, ended, limitMs);
    return { code, ...said };
  } catch (error) {
    killTree(child.pid);
    await within("its pipes", ended, CLOSE_LIMIT_MS).catch(() => {});
    throw new Error(`${(error as Error).message}: ${(said.stdout + said.stderr).trim()}`);
  }
}

/**
 * Runs a program that must succeed, and returns what it printed.
 *
 * @throws {Error} with what it complained of, where it does not
 */
export async function mustRun(command: readonly string[], options?: RunOptions): Promise<string> {
  const { code, stdout, stderr } = await run(command, options);
  if (code === 0) return stdout;
  throw new Error(`Cannot run "${command.join(" ")}": ${(stderr || stdout).trim()}`);
}

/** Ends whatever was started here and is still at work. */
export function endAll(): void {
  for (const { pid } of running) killTree(pid);
}

/** Sends a signal, unless the process has ended. */
export function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch {
    // It has ended by itself: that is what was wanted.
  }
}

function killTree(root: number): void {
  for (const pid of treeOf(root)) signal(pid, "SIGKILL");
}

/** Gives a program its input; one that ends early does not read all of it. */
async function write(child: Deno.ChildProcess, text: string): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(text));
    await writer.close();
  } catch {
    // How it ended says what happened.
  }
}

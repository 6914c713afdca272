/**
 * Processes of the bench: run one to its end, or keep one as a server. Contract: everything started
 * here is known by its id until it has ended, so that `endAll()` leaves nothing behind, also on
 * Ctrl-C. What a server writes to stderr is drained and its tail kept: it is the reason shown when
 * the server fails. Never ends a process that it did not start.
 */

import { treeOf } from "./usage.ts";

/** Enough of a server's log to see why it failed; the rest is dropped. */
const LOG_TAIL_CHARS = 8_192;

/** A server that has not come up by then never will. */
const READY_TIMEOUT_MS = 20_000;

/** How long a server may take for SIGTERM before it gets SIGKILL. */
const STOP_TIMEOUT_MS = 5_000;

const running = new Set<Deno.ChildProcess>();

/** A command line: the program, then its arguments. */
export type CommandLine = readonly [string, ...string[]];

/** What a finished process said. */
export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end.
 *
 * @param line The program and its arguments
 * @param stdin Text for its stdin; nothing when left out
 * @returns Its exit code and output
 */
export async function run(line: CommandLine, stdin?: string): Promise<Finished> {
  const [program, ...args] = line;
  const child = new Deno.Command(program, {
    args,
    stdin: stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  running.add(child);
  try {
    if (stdin !== undefined) {
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode(stdin));
      await writer.close();
    }
    const output = await child.output();
    const decoder = new TextDecoder();
    return {
      code: output.code,
      stdout: decoder.decode(output.stdout),
      stderr: decoder.decode(output.stderr),
    };
  } finally {
    running.delete(child);
  }
}

/**
 * As `run()`, for a program that must succeed.
 *
 * @returns Its stdout
 * @throws {Error} If its exit code is not 0
 */
export async function mustRun(line: CommandLine, stdin?: string): Promise<string> {
  const done = await run(line, stdin);
  if (done.code !== 0) {
    throw new Error(`Cannot run "${line.join(" ")}": ${(done.stderr || done.stdout).trim()}`);
  }
  return done.stdout;
}

/** A server under test, or the upstream. */
export class Server {
  readonly name: string;
  readonly pid: number;
  readonly #child: Deno.ChildProcess;
  readonly #drained: Promise<void>;
  #log = "";
  #ended = false;

  /**
   * Starts the program; it is not ready yet.
   *
   * @param env What differs from our own environment
   */
  constructor(name: string, line: CommandLine, env: Readonly<Record<string, string>> = {}) {
    const [program, ...args] = line;
    this.name = name;
    this.#child = new Deno.Command(program, {
      args,
      env,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    this.pid = this.#child.pid;
    running.add(this.#child);
    this.#drained = this.#drain();
    this.#child.status.then(() => {
      this.#ended = true;
      running.delete(this.#child);
    });
  }

  /** The end of what the server wrote to stderr. */
  get log(): string {
    return this.#log.trim();
  }

  /** Whether the process has ended. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * Waits until the server is ready.
   *
   * @param isReady Asked again and again, may take its time
   * @throws {Error} If the server ended or took too long; with its log
   */
  async ready(isReady: (log: string) => boolean | Promise<boolean>): Promise<void> {
    const deadlineMs = Date.now() + READY_TIMEOUT_MS;
    while (!await isReady(this.#log)) {
      if (this.#ended || Date.now() > deadlineMs) {
        const state = this.#ended ? "it ended" : "not ready in time";
        throw new Error(`Cannot start "${this.name}": ${state}\n${this.log}`);
      }
      await sleep(20);
    }
  }

  /**
   * Ends the server and what it started, with force where it does not go by itself.
   *
   * @param how The signal that the server itself gets first
   */
  async stop(how: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const tree = treeOf(this.pid);
    signal(this.pid, how);
    const timer = setTimeout(() => tree.forEach((pid) => signal(pid, "SIGKILL")), STOP_TIMEOUT_MS);
    await this.#child.status;
    clearTimeout(timer);
    await this.#drained;
  }

  async #drain(): Promise<void> {
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#log = (this.#log + text).slice(-LOG_TAIL_CHARS);
    }
  }
}

/** Ends everything that `run()` and `Server` started and that still runs. For the way out. */
export function endAll(): void {
  for (const child of running) {
    treeOf(child.pid).forEach((pid) => signal(pid, "SIGKILL"));
  }
}

/** Resolves after so many milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Sends a signal, unless the process has ended. */
export function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch {
    // It has ended by itself: that is what was wanted.
  }
}

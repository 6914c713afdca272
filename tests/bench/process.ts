/**
 * Servers of the bench and the soak. Contract: everything started here is known by its id until it has
 * ended, so that `endAll()` leaves nothing behind, also on Ctrl-C. What a server writes to stderr is
 * drained and its tail kept: it is the reason shown when the server fails. Never ends a process that it
 * did not start.
 */

import { signal, start } from "../support/run.ts";
import { treeOf } from "./usage.ts";

/** Enough of a server's log to see why it failed; the rest is dropped. */
const LOG_TAIL_CHARS = 8_192;

/** A server that has not come up by then never will. */
const READY_TIMEOUT_MS = 20_000;

/** How long a server may take for SIGTERM before it gets SIGKILL. */
const STOP_TIMEOUT_MS = 5_000;

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
  constructor(name: string, line: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.name = name;
    this.#child = start(line, { env, stdout: "null", stderr: "piped" });
    this.pid = this.#child.pid;
    this.#drained = this.#drain();
    this.#child.status.then(() => this.#ended = true);
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

/** Resolves after so many milliseconds. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

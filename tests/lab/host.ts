/**
 * The lab's end of an agent: one network namespace with what can be done in it. A host is made,
 * used and closed; closing ends its agent's input, which ends everything in the namespace. `closed`
 * tells when that is done.
 */

import { type Ended, RUN_LIMIT_MS, start } from "../support/run.ts";
import { WAIT_MS, within } from "../support/waiting.ts";
import {
  type Datagram,
  type Env,
  lines,
  type Operations,
  type Request,
  type Said,
  type SeenQuery,
} from "./protocol.ts";
import type { Where } from "./addresses.ts";

/** How long an agent may take to clean up before it is killed. */
const CLOSE_TIMEOUT_MS = 3_000;

/** How long an agent may take for an answer: each operation has a limit of its own below this. */
const CALL_LIMIT_MS = RUN_LIMIT_MS + WAIT_MS;

/** One network namespace. */
export class Host {
  readonly name: Where;
  /** Every query that the scripted upstream on this host has got, in order. */
  readonly queries: SeenQuery[] = [];
  #agent: Deno.ChildProcess;
  #writer: WritableStreamDefaultWriter<Uint8Array>;
  #waiting = new Map<number, { done: (result: unknown) => void; failed: (e: Error) => void }>();
  #processes = new Map<number, Process>();
  #queryWaiters = new Set<() => void>();
  #lastId = 0;
  #reading: Promise<void>;

  /** Starts an agent in a new network namespace; it is ready when it has answered. */
  static async start(name: Where): Promise<Host> {
    const agent = new URL("agent.ts", import.meta.url).pathname;
    const deno = [Deno.execPath(), "run", "--quiet", "--cached-only", "--allow-all", agent];
    const command = ["unshare", "--net", ...deno, Deno.readLinkSync("/proc/self/ns/net")];
    const child = start(command, { stdin: "piped", stdout: "piped", stderr: "inherit" });
    const host = new Host(name, child);
    await host.call("processes", null);
    return host;
  }

  private constructor(name: Where, agent: Deno.ChildProcess) {
    this.name = name;
    this.#agent = agent;
    this.#writer = agent.stdin.getWriter();
    this.#reading = this.#read();
  }

  /** The process that holds the namespace; `ip link ... netns PID` takes it. */
  get pid(): number {
    return this.#agent.pid;
  }

  /** Has the agent do something. */
  async call<Name extends keyof Operations>(
    operation: Name,
    params: Operations[Name]["params"],
  ): Promise<Operations[Name]["result"]> {
    const id = ++this.#lastId;
    const answer = new Promise<unknown>((done, failed) => this.#waiting.set(id, { done, failed }));
    answer.catch(ignore);
    const request: Request = { id, operation, params };
    await this.#writer.write(new TextEncoder().encode(`${JSON.stringify(request)}\n`));
    const result = await within(`${this.name}: ${operation}`, answer, CALL_LIMIT_MS);
    return result as Operations[Name]["result"];
  }

  /** Runs a command to its end, whatever that is. */
  run(
    command: string[],
    options: { stdin?: string; env?: Env } = {},
  ): Promise<Ended> {
    return this.call("run", { command, ...options });
  }

  /** Runs a command that must succeed and returns what it printed. */
  async exec(command: string[], stdin?: string): Promise<string> {
    const { code, stdout, stderr } = await this.run(
      command,
      stdin === undefined ? {} : { stdin },
    );
    if (code !== 0) throw new Error(`${this.name}: ${command.join(" ")}: ${stderr.trim()}`);
    return stdout;
  }

  /** Starts a process and returns at once. */
  async spawn(command: string[], env: Env = {}): Promise<Process> {
    const key = ++this.#lastId;
    const process = new Process(this, command);
    this.#processes.set(key, process);
    process.pid = (await this.call("spawn", { key, command, env })).pid;
    return process;
  }

  /** Sends one datagram and waits for one back. */
  async exchange(
    params: Omit<Operations["exchange"]["params"], "send" | "want"> & { hex: string },
  ): Promise<Datagram | undefined> {
    const { hex, ...rest } = params;
    return (await this.call("exchange", { ...rest, send: [hex], want: 1 }))[0];
  }

  /** Waits until the upstream on this host has got this many queries in all. */
  queriesReach(count: number): Promise<void> {
    return within(`${count} queries to ${this.name}`, this.#queriesReach(count));
  }

  async #queriesReach(count: number): Promise<void> {
    while (this.queries.length < count) {
      await new Promise<void>((resolve) => this.#queryWaiters.add(resolve));
    }
  }

  /** Ends everything in the namespace and the namespace itself. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.#agent.kill("SIGKILL"), CLOSE_TIMEOUT_MS);
    await this.#writer.close().catch(ignore);
    await this.#reading;
    await this.#agent.status;
    clearTimeout(timer);
  }

  async #read(): Promise<void> {
    for await (const line of lines(this.#agent.stdout)) this.#hear(JSON.parse(line));
    for (const { failed } of this.#waiting.values()) failed(new Error(`${this.name}: agent ended`));
    this.#waiting.clear();
    for (const process of this.#processes.values()) process.end(-1);
    this.#processes.clear();
  }

  #hear(said: Said): void {
    if ("event" in said) return this.#hearEvent(said);
    const waiting = this.#waiting.get(said.id);
    this.#waiting.delete(said.id);
    if ("error" in said) waiting?.failed(new Error(`${this.name}: ${said.error}`));
    else waiting?.done(said.result);
  }

  #hearEvent(said: Exclude<Said, { id: number }>): void {
    if (said.event === "query") {
      this.queries.push(said.query);
      const waiters = [...this.#queryWaiters];
      this.#queryWaiters.clear();
      for (const wake of waiters) wake();
    } else if (said.event === "line") {
      this.#processes.get(said.key)?.hear(said.stream, said.line);
    } else {
      this.#processes.get(said.key)?.end(said.code);
      this.#processes.delete(said.key);
    }
  }
}

/** A process that an agent has started: its output as it comes, its end. */
export class Process {
  readonly command: string[];
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  pid = 0;
  readonly #ended = Promise.withResolvers<Ended>();
  #host: Host;
  #wake: (() => void)[] = [];
  #isOver = false;

  constructor(host: Host, command: string[]) {
    this.#host = host;
    this.command = command;
  }

  /** How it ends, from now on within the time that a wait may take. */
  get ended(): Promise<Ended> {
    return within(`the end of ${this.command.join(" ")}`, this.#ended.promise);
  }

  /** Waits for a line, already there or still to come; undefined if the process ends without it. */
  line(pattern: RegExp, stream: "stdout" | "stderr" = "stderr"): Promise<string | undefined> {
    return within(`${pattern} on ${stream}`, this.#line(pattern, stream)).catch((error) => {
      throw new Error(`${error.message}; ${this.command.join(" ")}: ${this[stream].join("\n")}`);
    });
  }

  async #line(pattern: RegExp, stream: "stdout" | "stderr"): Promise<string | undefined> {
    for (let seen = 0;; seen++) {
      while (seen >= this[stream].length) {
        if (this.#isOver) return undefined;
        await new Promise<void>((resolve) => this.#wake.push(resolve));
      }
      const line = this[stream][seen] ?? "";
      if (pattern.test(line)) return line;
    }
  }

  /** Sends a signal; one that is gone already does not mind, and its id may be another's by now. */
  async signal(signal: Deno.Signal): Promise<void> {
    if (this.#isOver) return;
    await this.#host.call("signal", { pid: this.pid, signal }).catch(ignore);
  }

  hear(stream: "stdout" | "stderr", line: string): void {
    this[stream].push(line);
    for (const wake of this.#wake.splice(0)) wake();
  }

  end(code: number): void {
    this.#isOver = true;
    const [stdout, stderr] = [this.stdout, this.stderr].map((lines) => lines.join("\n"));
    this.#ended.resolve({ code, stdout: stdout ?? "", stderr: stderr ?? "" });
    for (const wake of this.#wake.splice(0)) wake();
  }
}

function ignore(): void {}

/**
 * The lab's hand in one network namespace: started with `unshare --net`, it holds the namespace by
 * being in it, and does there what the lab asks for (protocol.ts). When its input ends, however the
 * lab came to its end, it kills every other process in its namespace and exits; with it the
 * namespace, its interfaces and its nftables rules are gone.
 *
 * First argument: the network namespace it must not be in, that of the lab itself.
 */

import { exchange, fetchPage, holdPort, visit } from "./agent_client.ts";
import { Servers } from "./agent_server.ts";
import {
  type Ended,
  type Env,
  lines,
  type Operations,
  type ProcessInfo,
  type Request,
  type Said,
  writeAllSync,
} from "./protocol.ts";

type Handlers = {
  [Name in keyof Operations]: (
    params: Operations[Name]["params"],
  ) => Promise<Operations[Name]["result"]>;
};

/** Rounds of killing before giving up on a namespace; each takes a few milliseconds. */
const KILL_ROUNDS_MAX = 200;

const ownNamespace = Deno.readLinkSync("/proc/self/ns/net");

async function main(): Promise<void> {
  if (Deno.args[0] === undefined || Deno.args[0] === ownNamespace) {
    throw new Error("An agent must have a network namespace of its own");
  }
  // Ctrl-C reaches every process of the terminal; the lab decides what happens then.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, ignore);
  }
  const servers = new Servers((query) => say({ event: "query", query }));
  const handlers: Handlers = {
    setSysctls,
    run,
    spawn,
    signal: ({ pid, signal }) => resolved(() => (Deno.kill(pid, signal), null)),
    processes: () => Promise.resolve(processes()),
    exchange,
    fetch: fetchPage,
    visit,
    holdPort,
    startWeb: (params) => servers.startWeb(params),
    startUpstream: (params) => servers.startUpstream(params),
    setScript: (script) => resolved(() => (servers.setScript(script), null)),
  };
  for await (const line of lines(Deno.stdin.readable)) void answer(handlers, JSON.parse(line));
  await killAll();
  Deno.exit(0);
}

async function answer(handlers: Handlers, request: Request): Promise<void> {
  const handle = handlers[request.operation] as (params: unknown) => Promise<unknown>;
  try {
    say({ id: request.id, result: await handle(request.params) });
  } catch (error) {
    say({ id: request.id, error: error instanceof Error ? error.message : String(error) });
  }
}

function say(said: Said): void {
  try {
    writeAllSync(Deno.stdout, `${JSON.stringify(said)}\n`);
  } catch {
    // The lab is gone; the end of our input tells.
  }
}

async function setSysctls(values: Record<string, string>): Promise<null> {
  for (const [name, value] of Object.entries(values)) {
    await Deno.writeTextFile(`/proc/sys/${name}`, value);
  }
  return null;
}

async function run(
  { command, stdin, env }: { command: string[]; stdin?: string; env?: Env },
): Promise<Ended> {
  const child = start(command, stdin === undefined ? "null" : "piped", env);
  if (stdin !== undefined) {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(stdin));
    await writer.close();
  }
  const { code, signal, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  return { code, signal, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

function spawn(
  { key, command, env }: { key: number; command: string[]; env?: Env },
): Promise<{ pid: number }> {
  const child = start(command, "null", env);
  void watch(key, child);
  return Promise.resolve({ pid: child.pid });
}

async function watch(key: number, child: Deno.ChildProcess): Promise<void> {
  async function tell(stream: "stdout" | "stderr"): Promise<void> {
    for await (const line of lines(child[stream])) say({ event: "line", key, stream, line });
  }
  const [{ code, signal }] = await Promise.all([child.status, tell("stdout"), tell("stderr")]);
  say({ event: "exit", key, code, signal });
}

function start(command: string[], stdin: "null" | "piped", env: Env = {}): Deno.ChildProcess {
  const [program = "", ...args] = command;
  return new Deno.Command(program, { args, env, stdin, stdout: "piped", stderr: "piped" }).spawn();
}

/** Lists the other processes in this namespace; those that are ending already do not count. */
function processes(): ProcessInfo[] {
  const found: ProcessInfo[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    try {
      if (Deno.readLinkSync(`/proc/${pid}/ns/net`) !== ownNamespace) continue;
      const command = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").join(" ").trim();
      found.push({ pid, command });
    } catch {
      // Ended meanwhile, or somebody else's.
    }
  }
  return found;
}

/** Kills what is left in this namespace, what others have started and left behind there too. */
async function killAll(): Promise<void> {
  for (let round = 0; round < KILL_ROUNDS_MAX; round++) {
    const left = processes();
    if (left.length === 0) return;
    for (const { pid } of left) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch {
        // It was faster.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function resolved<T>(make: () => T): Promise<T> {
  return new Promise((resolve) => resolve(make()));
}

function ignore(): void {}

await main();

/**
 * The lab's hand in one network namespace: started with `unshare --net`, it holds the namespace by
 * being in it, and does there what the lab asks for (protocol.ts). When its input ends, however the
 * lab came to its end, it kills every other process in its namespace and exits; with it the
 * namespace, its interfaces and its nftables rules are gone.
 *
 * First argument: the network namespace it must not be in, that of the lab itself.
 */

import { connect, disconnect, exchange, fetchPage, holdPort, talk, visit } from "./agent_client.ts";
import { Servers } from "./agent_server.ts";
import { killOthers, otherProcesses, OWN_NAMESPACE } from "./processes.ts";
import { run, start } from "../support/run.ts";
import {
  type Env,
  lines,
  type Operations,
  type Request,
  type Said,
  writeAllSync,
} from "./protocol.ts";

type Handlers = {
  [Name in keyof Operations]: (
    params: Operations[Name]["params"],
  ) => Promise<Operations[Name]["result"]>;
};

async function main(): Promise<void> {
  if (Deno.args[0] === undefined || Deno.args[0] === OWN_NAMESPACE) {
    throw new Error("An agent must have a network namespace of its own");
  }
  // Ctrl-C reaches every process of the terminal; the lab decides what happens then.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, ignore);
  }
  const servers = new Servers((query) => say({ event: "query", query }));
  const handlers: Handlers = {
    setSysctls,
    run: ({ command, ...options }) => run(command, options),
    spawn,
    signal: ({ pid, signal }) => resolved(() => (Deno.kill(pid, signal), null)),
    processes: () => Promise.resolve(otherProcesses()),
    exchange,
    fetch: fetchPage,
    visit,
    connect,
    talk,
    disconnect,
    holdPort,
    startWeb: (params) => servers.startWeb(params),
    startUpstream: (params) => servers.startUpstream(params),
    setScript: (script) => resolved(() => (servers.setScript(script), null)),
  };
  for await (const line of lines(Deno.stdin.readable)) void answer(handlers, JSON.parse(line));
  await killOthers();
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

function spawn(
  { key, command, env }: { key: number; command: string[]; env: Env },
): Promise<{ pid: number }> {
  const child = start(command, { env, stdout: "piped", stderr: "piped" });
  void watch(key, child);
  return Promise.resolve({ pid: child.pid });
}

async function watch(key: number, child: Deno.ChildProcess): Promise<void> {
  async function tell(stream: "stdout" | "stderr"): Promise<void> {
    for await (const line of lines(child[stream])) say({ event: "line", key, stream, line });
  }
  const [{ code }] = await Promise.all([child.status, tell("stdout"), tell("stderr")]);
  say({ event: "exit", key, code });
}

function resolved<T>(make: () => T): Promise<T> {
  return new Promise((resolve) => resolve(make()));
}

function ignore(): void {}

await main();

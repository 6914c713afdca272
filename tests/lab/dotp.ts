/**
 * The real program as a user starts it: `deno run --allow-net --allow-run --no-prompt main.ts`, or
 * the executable that DOTP_BIN names, whose permissions are its own. `READY` is the one place that
 * knows how it says that it is.
 */

import { dirname } from "node:path";
import { Address, FAKE4, FAKE6 } from "./addresses.ts";
import type { Host, Process } from "./host.ts";
import type { Ended } from "../support/run.ts";
import type { Env } from "./protocol.ts";

/** The build that is tested in place of main.ts, an absolute path. */
export const DOTP_BIN = Deno.env.get("DOTP_BIN");

/** Why what is about Deno's permissions is not tested, for the name of a test. */
export const BUILT = DOTP_BIN === undefined ? undefined : "a build has its permissions in it";

/** The engine that is tested: the one that dotp chooses by itself with the permissions that it needs. */
export const ENGINE = Deno.env.get("DOTP_ENGINE") === "direct" ? "direct" : "portable";

/** What the line on standard error says once dotp takes queries. */
const READY = /listening/i;

/** How long dotp may take to end before it is killed. */
const STOP_TIMEOUT_MS = 5_000;

/** Options of a start; each is merged into what the lab uses otherwise. */
export interface DotpOptions {
  /** All arguments, in place of the usual ones. */
  args?: string[];
  /** Arguments after the usual ones. */
  more?: string[];
  domains?: string[];
  env?: Env;
  /** Further Deno permissions, such as --allow-write. */
  permissions?: string[];
  /** A usual permission that is not granted. */
  without?: string;
  /** A command that starts dotp. */
  before?: string[];
}

/** Arguments that fit the lab: listens on the gateway's LAN address, asks the server. */
export function usualArgs(domains: string[] = ["example.com"]): string[] {
  const listen = ["-H", Address.gateway4, "-p", "53", "-4", FAKE4, "-6", FAKE6];
  return [
    ...listen,
    ...["--upstream-host", Address.upstream4],
    ...domains.flatMap((domain) => ["-d", domain]),
  ];
}

/** The arguments that dotp is started with. */
export function dotpArgs(options: DotpOptions): string[] {
  return [...options.args ?? usualArgs(options.domains), ...options.more ?? []];
}

/** The command line that starts dotp. */
export function dotpCommand(options: DotpOptions = {}): string[] {
  const args = dotpArgs(options);
  if (DOTP_BIN !== undefined) return [...options.before ?? [], DOTP_BIN, ...args];
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const ffi = ENGINE === "direct" ? ["--allow-ffi"] : [];
  const permissions = ["--allow-net", "--allow-run", ...ffi, ...options.permissions ?? []]
    .filter((permission) => permission !== options.without);
  const run = [Deno.execPath(), "run", "--cached-only", ...permissions, "--no-prompt", main];
  return [...options.before ?? [], ...run, ...args];
}

/** Its environment: a bundle finds Deno by PATH, and for --daemonize itself. */
function dotpEnv({ env }: DotpOptions): Env {
  if (DOTP_BIN === undefined) return env ?? {};
  const path = env?.PATH ?? Deno.env.get("PATH") ?? "";
  return { ...env, PATH: [dirname(DOTP_BIN), path, dirname(Deno.execPath())].join(":") };
}

/** Runs dotp to its end: for what it says and how it ends where it must not start. */
export function runDotp(host: Host, options: DotpOptions = {}): Promise<Ended> {
  return host.run(dotpCommand(options), { env: dotpEnv(options) });
}

/** A running dotp. */
export class Dotp implements AsyncDisposable {
  readonly args: string[];
  readonly process: Process;
  readonly host: Host;

  /** Starts dotp and waits until it listens. */
  static async start(host: Host, options: DotpOptions = {}): Promise<Dotp> {
    const args = dotpArgs(options);
    const process = await host.spawn(dotpCommand(options), dotpEnv(options));
    if (await process.line(READY) === undefined) {
      const { code, stderr } = await process.ended;
      throw new Error(`dotp ended with ${code} instead of starting: ${stderr}`);
    }
    const dotp = new Dotp(host, process, args);
    const other = ENGINE === "direct" ? "engine: portable" : "engine: direct";
    const isOther = dotp.log.some((line) => line.includes(other));
    if (isOther && DOTP_BIN === undefined && !args.includes("--engine")) {
      await dotp.stop();
      throw new Error(`dotp does not run on the ${ENGINE} engine: ${dotp.log.join(" ")}`);
    }
    return dotp;
  }

  private constructor(host: Host, process: Process, args: string[]) {
    this.args = args;
    this.host = host;
    this.process = process;
  }

  /** The lines of its log so far. */
  get log(): string[] {
    return this.process.stderr;
  }

  /** The processes of nft that it has running. */
  async nftProcesses(): Promise<number[]> {
    const processes = await this.host.call("processes", null);
    return processes.filter(({ command }) => /^\S*nft( |$)/.test(command)).map(({ pid }) => pid);
  }

  /** Asks it to end and waits until it has; kills it where it does not. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<Ended & { ms: number }> {
    const startedAt = performance.now();
    const timer = setTimeout(() => this.process.signal("SIGKILL"), STOP_TIMEOUT_MS);
    await this.process.signal(signal);
    const ended = await this.process.ended;
    clearTimeout(timer);
    return { ...ended, ms: performance.now() - startedAt };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

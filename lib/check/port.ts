/**
 * Judges who has the port: nobody, this very dotp, a dotp with other options, or somebody else.
 *
 * Sockets come as `ss -lunpH` or `netstat -lunp` prints them. Whose they are, only root may see; all may see
 * in `ps` whether there is a dotp that was told to listen there.
 *
 * @module
 */
import { addressToText, isUnspecified } from "../address.ts";
import type { Config, Endpoint } from "../config.ts";
import { error, type Finding, ok, type Seen, warning } from "./finding.ts";

/** A process with a socket on the port. */
export interface Holder {
  /** The local address of the socket as it is listed, without port and interface. */
  readonly address: string;
  /** Undefined where it may not be seen. */
  readonly process: { readonly name: string; readonly id: number } | undefined;
}

/** What is known about a port that is taken. */
export interface Taken {
  readonly holders: readonly Holder[];
  /** Why the holders are not known. */
  readonly problem?: string;
  /** What those of them, or of all where they may not be seen, that are dotp were told, by process id. */
  readonly running: ReadonlyMap<number, Config>;
}

/** Programs that often have port 53, by the start of their names, and how they give it up. */
const ADVICE: readonly [name: string, advice: string][] = [
  [
    "systemd-resolve",
    "set DNSStubListener=no in /etc/systemd/resolved.conf and restart it, or give the LAN's " +
    "address as --host",
  ],
  ["dnsmasq", "set port=0 in its configuration to keep its DHCP only, or give another --port"],
];

/** The sockets that stand in the way of listening, from `ss` or `netstat`; both list alike. */
export function readHolders(seen: Seen, listen: Endpoint): Holder[] {
  if ("problem" in seen) return [];
  const onPort = seen.text.split("\n").flatMap((line): Holder[] => {
    const local = line.split(/\s+/).find((word) => word.endsWith(`:${listen.port}`));
    if (local === undefined) return [];
    const address = local.slice(0, local.lastIndexOf(":")).replace(/^\[|%.*|\]$/g, "");
    // One that starts a program shares its sockets with it for a moment.
    const users = Array.from(line.matchAll(/\("([^"]*)",pid=(\d+)/g), ([, name, id]) => [name, id]);
    const [, otherId, otherName] = /\s(\d+)\/(\S+)\s*$/.exec(line) ?? [];
    if (otherId !== undefined) users.push([otherName, otherId]);
    if (users.length === 0) return [{ address, process: undefined }];
    return users.map(([name = "", id]) => ({ address, process: { name, id: Number(id) } }));
  });
  const inTheWay = onPort.filter((holder) => isInTheWay(holder, listen));
  return inTheWay.length > 0 ? inTheWay : onPort;
}

function isInTheWay({ address }: Holder, { host }: Endpoint): boolean {
  return isUnspecified(host) || address === addressToText(host.bytes) ||
    /^(\*|0\.0\.0\.0|::)$/.test(address);
}

/** Processes that may be dotp, from `ps -ewwo pid=,args=`. */
export function readCandidates(seen: Seen): number[] {
  if ("problem" in seen) return [];
  return Array.from(seen.text.matchAll(/^\s*(\d+) .*--upstream-host/gm), ([, id]) => Number(id));
}

/** A finding about a port that somebody has. */
export function judgeTaken(config: Config, taken: Taken): Finding {
  const dotp = judgeDotp(config, taken);
  if (dotp !== undefined) return dotp;
  const process = processOf(taken);
  if (process === undefined) {
    const who = taken.problem ?? "run this as root to see by whom";
    const advice = `${who}; end what listens there or give another port`;
    return error("port", `${placeOf(config)} is taken`, advice);
  }
  const [, advice] = ADVICE.find(([name]) => process.name.startsWith(name)) ??
    [undefined, "end it or give another --port"];
  return error("port", `${placeOf(config)} is taken by ${process.name}, ${text(process)}`, advice);
}

/** A finding about a port that a dotp has, or undefined. */
export function judgeDotp(config: Config, taken: Taken): Finding | undefined {
  const { holders, problem } = taken;
  // Another network's dotp can be seen too.
  if (problem === undefined && !holders.some((holder) => isInTheWay(holder, config.listen))) {
    return undefined;
  }
  const ids = holders.flatMap(({ process }) => process?.id ?? []);
  // Where nobody can be seen, it is the dotp that was told to listen there.
  const found = [...taken.running].find(([id, dotp]) =>
    (ids.length === 0 || ids.includes(id)) && sameSocket(dotp, config)
  );
  if (found === undefined) return undefined;
  const [id, dotp] = found;
  if (sameJob(dotp, config)) {
    return ok("port", `dotp is listening on ${placeOf(config)}, ${text({ id })}`);
  }
  const what = `dotp is listening on ${placeOf(config)} with other options, ${text({ id })}`;
  return warning("port", what, "restart it for these to take effect");
}

function processOf({ holders }: Taken): Holder["process"] {
  return holders.find((holder) => holder.process !== undefined)?.process;
}

function placeOf({ listen: { host, port } }: Config): string {
  return `${addressToText(host.bytes)} port ${port}`;
}

/** Whether two listen on the same address and port. */
export function sameSocket({ listen: a }: Config, { listen: b }: Config): boolean {
  return a.port === b.port && addressToText(a.host.bytes) === addressToText(b.host.bytes);
}

/** Whether two do the same, however they log and whether they went to the background. */
function sameJob(...configs: [Config, Config]): boolean {
  const [a, b] = configs.map((
    { logLevel: _l, logFormat: _f, daemonize: _d, pidFile: _p, ...job },
  ) => JSON.stringify(job));
  return a === b;
}

function text({ id }: { readonly id: number }): string {
  return `process ${id}`;
}

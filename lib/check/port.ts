/**
 * Judges who has the port: nobody, this very dotp, a dotp with other options, or somebody else.
 *
 * Sockets come as `ss -lunpH` or `netstat -lunp` prints them; whose they are, only root may see.
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
  /** What those of them that are dotp were told to do, by process id. */
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
    const [, name, id] = /users:\(\("([^"]*)",pid=(\d+)/.exec(line) ?? [];
    const [, otherId, otherName] = /\s(\d+)\/(\S+)\s*$/.exec(line) ?? [];
    const [foundName, foundId] = [name ?? otherName, id ?? otherId];
    const process = foundName === undefined ? undefined : { name: foundName, id: Number(foundId) };
    return [{ address, process }];
  });
  const own = addressToText(listen.host.bytes);
  const inTheWay = onPort.filter(({ address }) => {
    return isUnspecified(listen.host) || address === own || /^(\*|0\.0\.0\.0|::)$/.test(address);
  });
  return inTheWay.length > 0 ? inTheWay : onPort;
}

/** A finding about a port that somebody has. */
export function judgeTaken(config: Config, { holders, problem, running }: Taken): Finding {
  const { host, port } = config.listen;
  const place = `${addressToText(host.bytes)} port ${port}`;
  const process = holders.find((holder) => holder.process !== undefined)?.process;
  if (process === undefined) {
    const who = problem ?? "run this as root to see by whom";
    return error(
      "port",
      `${place} is taken`,
      `${who}; end what listens there or give another port`,
    );
  }
  const other = running.get(process.id);
  if (other !== undefined && sameSocket(other, config)) {
    if (sameJob(other, config)) {
      return ok("port", `dotp is listening on ${place}, ${text(process)}`);
    }
    const what = `dotp is listening on ${place} with other options, ${text(process)}`;
    return warning("port", what, "restart it for these to take effect");
  }
  const [, advice] = ADVICE.find(([name]) => process.name.startsWith(name)) ??
    [undefined, "end it or give another --port"];
  return error("port", `${place} is taken by ${process.name}, ${text(process)}`, advice);
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

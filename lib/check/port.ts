/**
 * Judges who has the port: nobody, this very dotp, a dotp with other options, or somebody else.
 *
 * Sockets come as `ss -lunpH` or `netstat -lunp` prints them; whose they are, only root may see. A
 * process is taken for dotp where some end of its command line is one of dotp's.
 *
 * @module
 */
import { addressToText, isUnspecified } from "../address.ts";
import { COMMANDS, type Config, type Endpoint, parseCommand, UsageError } from "../config.ts";
import { error, type Finding, ok, type Seen, warning } from "./finding.ts";

/** Arguments of a process that are tried as the beginning of dotp's own. */
const BEGINNINGS_MAX = 32;

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
  /** Arguments by process id, program first; of those that may be seen. */
  readonly commandLines: ReadonlyMap<number, readonly string[]>;
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
export function judgeTaken(config: Config, { holders, problem, commandLines }: Taken): Finding {
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
  const running = toConfig(commandLines.get(process.id) ?? []);
  if (running !== undefined && sameSocket(running, config)) {
    if (sameJob(running, config)) {
      return ok("port", `dotp is listening on ${place}, ${text(process)}`);
    }
    const what = `dotp is listening on ${place} with other options, ${text(process)}`;
    return warning("port", what, "restart it for these to take effect");
  }
  const [, advice] = ADVICE.find(([name]) => process.name.startsWith(name)) ??
    [undefined, "end it or give another --port"];
  return error("port", `${place} is taken by ${process.name}, ${text(process)}`, advice);
}

/** What a process was told to do, where it is dotp. */
function toConfig(commandLine: readonly string[]): Config | undefined {
  // The program itself, Deno's own arguments and the script stand before dotp's.
  for (let from = 1; from < Math.min(commandLine.length, BEGINNINGS_MAX); from++) {
    // One that runs a command, such as this very check, is not one that listens.
    if (COMMANDS.some(({ name }) => name === commandLine[from])) return undefined;
    for (const to of [commandLine.length, commandLine.length - 1]) {
      // A child in the background has one more, at its end.
      try {
        const command = parseCommand(commandLine.slice(from, to));
        if (command.kind === "run") return command.config;
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
      }
    }
  }
  return undefined;
}

function sameSocket({ listen: a }: Config, { listen: b }: Config): boolean {
  return a.port === b.port && addressToText(a.host.bytes) === addressToText(b.host.bytes);
}

/** Whether two do the same, however they log and whether they went to the background. */
function sameJob(a: Config, b: Config): boolean {
  const job = ({ listen, upstream, prefixes, domains, natTtl, table }: Config) => {
    return JSON.stringify([listen, upstream, prefixes, domains, natTtl, table]);
  };
  return job(a) === job(b);
}

function text({ id }: { readonly id: number }): string {
  return `process ${id}`;
}

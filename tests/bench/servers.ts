/**
 * Starts the servers of the bench: the upstream, dotp and its peers. Contract: each function returns
 * once the server answers, and the caller ends it. The peers are set up to do the same work as dotp: no
 * cache, as dotp has none, as many queries in flight as come, their own random source ports. What
 * still differs is in their favour: dnsmasq and smartdns add the real to one set, dotp to a set and a
 * map; dnsdist and the forwarder only pass queries on.
 */

import { DOTP_TABLE, PEER_SET } from "./kernel.ts";
import { CONFIGURED, type Host, ZONE } from "./names.ts";
import { mustRun } from "../support/run.ts";
import { Server } from "./process.ts";
import { ask, isAnswering } from "./verify.ts";

/** Ports in the bench's own network namespace. */
export const Port = {
  UPSTREAM: 5300,
  DOTP: 5301,
  DNSMASQ: 5302,
  ECHO: 5303,
  FORWARDER: 5304,
  DNSDIST: 5305,
  SMARTDNS: 5306,
} as const;

/** dnsmasq's own upper limit. */
const DNSMASQ_CACHE_MAX = 10_000;

/** Longer than the whole bench: no mapping expires while it is measured. */
const NAT_TTL_SECONDS = 3_600;

/** Where all of them listen. */
export const LOOPBACK = "127.0.0.1";

/** A server that can be asked. */
export interface Running {
  readonly server: Server;
  readonly port: number;
}

/**
 * Starts Knot DNS with the bench's zone.
 *
 * @param directory For its configuration and state
 * @param zoneFile The zone
 * @param probe A host of the zone
 */
export async function startUpstream(directory: string, zoneFile: string, probe: Host) {
  const config = `${directory}/knot.conf`;
  await Deno.writeTextFile(
    config,
    `server:
    rundir: "${directory}"
    listen: ${LOOPBACK}@${Port.UPSTREAM}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "${directory}/db"
zone:
  - domain: ${ZONE}
    file: "${zoneFile}"
    journal-content: none
    zonefile-sync: -1
    zonefile-load: whole
`,
  );
  const server = new Server("knotd", ["knotd", "--config", config]);
  await server.ready(async () => await ask(Port.UPSTREAM, probe.name) === probe.real);
  return { server, port: Port.UPSTREAM } satisfies Running;
}

/** In what a start of dotp differs from that of the bench. */
export interface DotpOptions {
  /** How long a mapping lives; longer than the whole bench when left out. */
  readonly natTtlSeconds?: number;
  /** Where fake IPv4 addresses are taken from. */
  readonly prefix4?: string;
  readonly prefix6?: string;
  /** Environment variables besides our own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts dotp: the program that DOTP_BIN names, or this checkout's main.ts. */
export async function startDotp(options: DotpOptions = {}): Promise<Running> {
  const { natTtlSeconds = NAT_TTL_SECONDS, env } = options;
  const { prefix4 = "198.18.0.0/15", prefix6 = "2001:2::/48" } = options;
  const [program, ...first] = dotpCommand();
  const line = [
    ...["-H", LOOPBACK, "-p", String(Port.DOTP)],
    ...["-4", prefix4, "-6", prefix6],
    ...["--upstream-host", LOOPBACK, "--upstream-port", String(Port.UPSTREAM)],
    ...["-d", CONFIGURED, "--nat-ttl", String(natTtlSeconds), "--table", DOTP_TABLE],
  ];
  const server = new Server("dotp", [program, ...first, ...line], env);
  await server.ready((log) => log.includes("listening"));
  return { server, port: Port.DOTP };
}

/**
 * Starts dnsmasq with nftset.
 *
 * @param probe A host that is not configured
 * @param hasCache Whether its cache is on, as big as it goes
 */
export async function startDnsmasq(probe: Host, hasCache: boolean): Promise<Running> {
  const server = new Server("dnsmasq", [
    "dnsmasq",
    ...["--conf-file=/dev/null", "--no-resolv", "--no-poll", "--no-hosts", "--pid-file="],
    // It may not change its user inside the namespace; not --no-daemon, which is a debug mode.
    ...["--keep-in-foreground", "--user=", "--group=", "--log-facility=-"],
    ...[`--listen-address=${LOOPBACK}`, `--port=${Port.DNSMASQ}`, "--bind-interfaces"],
    ...[`--server=${LOOPBACK}#${Port.UPSTREAM}`, "--dns-forward-max=10000"],
    `--cache-size=${hasCache ? DNSMASQ_CACHE_MAX : 0}`,
    `--nftset=/${CONFIGURED}/4#${PEER_SET}`,
  ]);
  await server.ready(async () => await ask(Port.DNSMASQ, probe.name) === probe.real);
  return { server, port: Port.DNSMASQ };
}

/**
 * Starts smartdns with nftset, without what it does to choose among addresses.
 *
 * @param directory For its configuration
 * @param probe A host that is not configured
 */
export async function startSmartdns(directory: string, probe: Host): Promise<Running> {
  const config = `${directory}/smartdns.conf`;
  await Deno.writeTextFile(
    config,
    [
      `bind ${LOOPBACK}:${Port.SMARTDNS}`,
      `server ${LOOPBACK}:${Port.UPSTREAM}`,
      "cache-size 0",
      "speed-check-mode none",
      "dualstack-ip-selection no",
      "log-level error",
      `log-file ${directory}/smartdns.log`,
      `nftset /${CONFIGURED}/#4:${PEER_SET}`,
      "",
    ].join("\n"),
  );
  const server = new Server("smartdns", ["smartdns", "-f", "-p", "-", "-c", config]);
  await server.ready(async () => await ask(Port.SMARTDNS, probe.name) === probe.real);
  return { server, port: Port.SMARTDNS };
}

/**
 * Starts dnsdist, which passes everything on.
 *
 * @param directory For its configuration
 * @param probe A host of the zone
 */
export async function startDnsdist(directory: string, probe: Host): Promise<Running> {
  const config = `${directory}/dnsdist.conf`;
  await Deno.writeTextFile(
    config,
    `setLocal("${LOOPBACK}:${Port.DNSDIST}")
setSecurityPollSuffix("")
setMaxUDPOutstanding(10240)
newServer({address="${LOOPBACK}:${Port.UPSTREAM}", healthCheckMode="up"})
`,
  );
  const options = ["--supervised", "--disable-syslog", "--config", config];
  const server = new Server("dnsdist", ["dnsdist", ...options]);
  await server.ready(async () => await ask(Port.DNSDIST, probe.name) === probe.real);
  return { server, port: Port.DNSDIST };
}

/**
 * Compiles and starts the forwarder, see forwarder.c.
 *
 * @param directory For the program
 * @param probe A host of the zone
 */
export async function startForwarder(directory: string, probe: Host): Promise<Running> {
  const program = `${directory}/forwarder`;
  const source = new URL("forwarder.c", import.meta.url).pathname;
  await mustRun(["cc", "-O2", "-o", program, source]);
  const ports = [Port.FORWARDER, Port.UPSTREAM].map(String);
  const server = new Server("forwarder", [program, ...ports]);
  await server.ready(async () => await ask(Port.FORWARDER, probe.name) === probe.real);
  return { server, port: Port.FORWARDER };
}

/** Starts the echo: see echo.ts. */
export async function startEcho(probe: Host): Promise<Running> {
  const script = new URL("echo.ts", import.meta.url).pathname;
  const options = ["--quiet", "--allow-net", "--no-prompt"];
  const server = new Server("echo", [
    ...[Deno.execPath(), "run", ...options] as [string, ...string[]],
    ...[script, String(Port.ECHO)],
  ]);
  await server.ready(() => isAnswering(Port.ECHO, probe.name));
  return { server, port: Port.ECHO };
}

/** The first line of each program's account of itself, for the report. */
export async function versions(): Promise<string> {
  const dnsmasq = await mustRun(["dnsmasq", "--version"]);
  if (!/(?<!no-)nftset/.test(dnsmasq)) throw new Error("Cannot compare: dnsmasq has no nftset");
  const short = (text: string) => text.match(/\d+(\.\d+)+/)?.[0] ?? "?";
  const nft = short(await mustRun(["nft", "--version"]));
  const knot = short(await mustRun(["knotd", "--version"]));
  return `dnsmasq ${short(dnsmasq)}, nft ${nft}, Knot DNS ${knot}, Deno ${Deno.version.deno}`;
}

function dotpCommand(): [string, ...string[]] {
  const program = Deno.env.get("DOTP_BIN");
  if (program) return [program];
  const main = new URL("../../main.ts", import.meta.url).pathname;
  return [Deno.execPath(), "run", "--allow-net", "--allow-run", "--no-prompt", main];
}

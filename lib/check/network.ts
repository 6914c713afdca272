/**
 * Judges the prefixes of the fakes against the network around: addresses and routes that lie in them,
 * what browsers make of them, and whether a wildcard listener is open to the world.
 *
 * Addresses come as `ip -o address` prints them and routes as `ip route show` does. Read is only what
 * iproute2 and BusyBox, which has no `-j`, print alike.
 *
 * @module
 */
import {
  type Address,
  ADDRESS_LENGTH,
  addressToText,
  contains,
  FAMILIES,
  type Family,
  isUnspecified,
  overlaps,
  parsePrefix,
  type Prefix,
  prefixToText,
  withoutHostBits,
} from "../address.ts";
import type { Config } from "../config.ts";
import { error, type Finding, ok, type Seen, unseen, warning } from "./finding.ts";

/** Prefixes that browsers with Local Network Access checks treat as local (RFC 6598, RFC 4193). */
const LOCAL_PREFIXES = [parsePrefix("100.64.0.0/10", 4), parsePrefix("fc00::/7", 6)];

/** IPv4 addresses that the Internet does not route to (RFC 6890, RFC 2544, RFC 5771). */
const PRIVATE_PREFIXES = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "224.0.0.0/3",
].map((text) => parsePrefix(text, 4));

/** IPv6 addresses that the Internet does route to (RFC 4291 section 2.4, as IANA allocates them). */
const GLOBAL_UNICAST = parsePrefix("2000::/3", 6);

/** A route at most that long is a default route, whole or in parts, as tunnels set it up. */
const DEFAULT_LENGTH_MAX = 3;

/** An address of this machine. */
export interface OwnAddress {
  readonly device: string;
  readonly address: Address;
  /** The network it is in. */
  readonly network: Prefix;
}

/** Which prefixes browsers treat as local; a finding each, or one that none is. */
export function judgePrefixes({ prefixes }: Config): Finding[] {
  const local = FAMILIES.map((family) => prefixes[family])
    .filter((prefix) => LOCAL_PREFIXES.some((local) => overlaps(local, prefix)));
  if (local.length === 0) return [ok("prefix", "browsers treat neither prefix as a local network")];
  return local.map((prefix) => {
    const better = prefix.family === 4 ? "198.18.0.0/15" : "2001:2::/48";
    return warning(
      "prefix",
      `browsers treat ${prefixToText(prefix)} as a local network and block pages from reaching ` +
        "into it",
      `${better} has no such trouble`,
    );
  });
}

/** The arguments with which `ip` lists the routes that lie in a prefix, and those it lies in. */
export function routeArgs(prefix: Prefix): string[][] {
  return ["root", "match"].map((selector) => {
    return [`-${prefix.family}`, "route", "show", "table", "all", selector, prefixToText(prefix)];
  });
}

/** Whether an address or a route of this machine shares a prefix with the fakes; a finding each. */
export function judgeOverlap({ prefixes }: Config, addresses: Seen, routes: Seen): Finding[] {
  const problem = [addresses, routes].find((seen) => "problem" in seen);
  const owned = "text" in addresses ? readAddresses(addresses.text) : [];
  const routed = "text" in routes ? readRoutes(routes.text) : [];
  const findings = FAMILIES.flatMap((family) => {
    const prefix = prefixes[family];
    const own = owned.find(({ address }) => isIn(prefix, address));
    if (own !== undefined) return [addressFinding(prefix, own)];
    const overlapping = routed.filter((route) => overlaps(route.prefix, prefix));
    return overlapping.length === 0 ? [] : [routeFinding(prefix, overlapping)];
  });
  if (problem !== undefined && "problem" in problem) {
    findings.push(unseen("overlap", "addresses and routes", problem.problem));
  }
  if (findings.length > 0) return findings;
  return [ok("overlap", "no address and no route lies in the prefixes of the fakes")];
}

function addressFinding(prefix: Prefix, { address, network, device }: OwnAddress): Finding {
  const what = `${addressToText(address.bytes)}/${network.length} on ${device} lies in the ` +
    `prefix of the fakes, ${prefixToText(prefix)}, and what is sent there is refused`;
  return error("overlap", what, "give dotp and rules.nft a prefix that nothing else uses");
}

function routeFinding(prefix: Prefix, routes: readonly Route[]): Finding {
  const [first] = routes;
  const more = routes.length > 1 ? ` (and ${routes.length - 1} more)` : "";
  const what = `a route to ${first?.text}${more} overlaps the prefix of the fakes, ` +
    `${prefixToText(prefix)}, which hide what is there`;
  return warning("overlap", what, "give dotp and rules.nft a prefix that nothing else uses");
}

/**
 * Whether a wildcard listener can be asked by the whole Internet. An address of one's own says
 * nothing: a LAN's IPv6 addresses are global ones too.
 */
export function judgeListener({ listen }: Config, addresses: Seen): Finding[] {
  if (!isUnspecified(listen.host)) return [];
  if ("problem" in addresses) return [unseen("listener", "addresses", addresses.problem)];
  const wildcard = addressToText(listen.host.bytes);
  // The IPv6 wildcard takes IPv4 as well.
  const families: readonly Family[] = listen.host.family === 4 ? [4] : FAMILIES;
  const open = readAddresses(addresses.text).find(({ address }) => {
    return families.includes(address.family) && isPublic(address);
  });
  if (open === undefined) {
    return [ok("listener", `--host ${wildcard}: no address of this machine is a public one`)];
  }
  return [
    warning(
      "listener",
      `--host ${wildcard} also listens on ${addressToText(open.address.bytes)} (${open.device}), ` +
        "where the whole Internet may ask unless a firewall drops it",
      `give the LAN's address as --host, or drop UDP port ${listen.port} on that interface`,
    ),
  ];
}

/** Addresses of this machine, from `ip -o address`. */
export function readAddresses(text: string): OwnAddress[] {
  return text.split("\n").flatMap((line) => {
    const found = /^\d+: (\S+)\s+(inet6?) (\S+)/.exec(line);
    if (found === null) return [];
    const [, device = "", kind, cidr = ""] = found;
    const network = toPrefix(cidr, kind === "inet" ? 4 : 6);
    if (network === undefined) return [];
    const { family, bytes } = network;
    return [{ device, address: { family, bytes }, network: withoutHostBits(network) }];
  });
}

interface Route {
  readonly prefix: Prefix;
  /** The prefix and where it leads, as `ip` writes it. */
  readonly text: string;
}

/**
 * Routes to other networks, from `ip route show`. Left out are default routes, also in halves, and
 * routes with a type (local, broadcast, blackhole, …), behind which there is no network.
 */
function readRoutes(text: string): Route[] {
  const routes = text.split("\n").flatMap((line) => {
    const [target = "", ...rest] = line.split(/\s+/);
    const prefix = toPrefix(target, target.includes(":") ? 6 : 4);
    if (prefix === undefined || prefix.length <= DEFAULT_LENGTH_MAX) return [];
    const via = rest.indexOf("via");
    const device = rest.indexOf("dev");
    const way = [via, device].filter((at) => at >= 0).map((at) => ` ${rest[at]} ${rest[at + 1]}`);
    return [{ prefix, text: `${target}${way.join("")}` }];
  });
  return [...new Map(routes.map((route) => [route.text, route])).values()];
}

/** A prefix as `ip` writes it, an address standing for itself alone; undefined for other words. */
function toPrefix(text: string, family: Family): Prefix | undefined {
  try {
    return parsePrefix(text.includes("/") ? text : `${text}/${ADDRESS_LENGTH[family] * 8}`, family);
  } catch {
    return undefined;
  }
}

function isIn(prefix: Prefix, { family, bytes }: Address): boolean {
  return prefix.family === family && contains(prefix, bytes);
}

function isPublic(address: Address): boolean {
  return address.family === 6
    ? isIn(GLOBAL_UNICAST, address)
    : !PRIVATE_PREFIXES.some((prefix) => isIn(prefix, address));
}

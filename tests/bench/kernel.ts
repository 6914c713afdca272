/**
 * The nftables state that the servers write to. Contract: made anew before each run, so every run
 * starts from empty sets, and only for the server that runs: nft reads the names of all sets on every
 * command, so the other's table would be a burden. dotp gets the repo's own rules.nft; a peer with a
 * set the few rules that policy routing by it needs; one that only forwards gets none. Both use NAT, so both pay for connection tracking of
 * what they send, as on any gateway. Bare means the sets alone, without a rule and without tracking.
 *
 * The peers' set has the same size as dotp's: nftables picks its fastest kind of set for a stated size.
 */

import { mustRun } from "../support/run.ts";
import type { Behaviour } from "./verify.ts";

/** dotp's table. */
export const DOTP_TABLE = "dotp";

/** What a peer with a set is told to add to, as dnsmasq and smartdns spell it. */
export const PEER_SET = "inet#bench#addr4";

/** The rules that a gateway loads. */
export const RULES_FILE = new URL("../../rules.nft", import.meta.url).pathname;

const DOTP_BARE = `table inet ${DOTP_TABLE} {
  set nat_addr { type ipv4_addr; size 131072; }
  set nat_addr6 { type ipv6_addr; size 131072; }
  map nat_map { type ipv4_addr : ipv4_addr; size 131072; }
  map nat_map6 { type ipv6_addr : ipv6_addr; size 131072; }
}`;

const PEER_BARE = `table inet bench {
  set addr4 { type ipv4_addr; size 131072; }
}`;

const PEER_RULES = `table inet bench {
  chain prerouting {
    type filter hook prerouting priority mangle;
    ip daddr @addr4 meta mark set 0x1
  }
  chain output {
    type route hook output priority mangle;
    ip daddr @addr4 meta mark set 0x1
  }
  chain postrouting {
    type nat hook postrouting priority srcnat;
    meta mark 0x1 masquerade
  }
}`;

/**
 * Removes all tables and makes those of one server.
 *
 * @param behaviour Whose; one that only forwards has none
 * @param isBare Whether to leave the rules out
 */
export async function resetTables(behaviour: Behaviour, isBare: boolean): Promise<void> {
  await mustRun(["nft", "flush", "ruleset"]); // The namespace's own: there is no other table in it.
  if (behaviour === "forward") return;
  if (behaviour === "set") {
    await mustRun(["nft", "-f", "-"], {
      stdin: isBare ? PEER_BARE : PEER_BARE + "\n" + PEER_RULES,
    });
  } else if (isBare) {
    await mustRun(["nft", "-f", "-"], { stdin: DOTP_BARE });
  } else {
    await mustRun(["nft", "-f", RULES_FILE]);
  }
}

/** The pairs in one of dotp's maps: fake to real. */
export async function readMap(
  name: "nat_map" | "nat_map6" = "nat_map",
): Promise<Map<string, string>> {
  const pairs = new Map<string, string>();
  for (const element of await readElements("map", DOTP_TABLE, name)) {
    if (!Array.isArray(element)) throw new TypeError(`Cannot read ${name}: not a list of pairs`);
    pairs.set(addressOf(element[0]), addressOf(element[1]));
  }
  return pairs;
}

/** The reals that dotp has put in its set. */
export async function readDotpSet(): Promise<Set<string>> {
  return new Set((await readElements("set", DOTP_TABLE, "nat_addr")).map(addressOf));
}

/** The reals that a peer has put in its set. */
export async function readPeerSet(): Promise<Set<string>> {
  return new Set((await readElements("set", "bench", "addr4")).map(addressOf));
}

async function readElements(kind: "map" | "set", table: string, name: string): Promise<unknown[]> {
  const text = await mustRun(["nft", "-j", "list", kind, "inet", table, name]);
  const reply: unknown = JSON.parse(text);
  const objects = Array.isArray(property(reply, "nftables")) ? property(reply, "nftables") : [];
  for (const object of objects as unknown[]) {
    const elements = property(property(object, kind), "elem");
    if (Array.isArray(elements)) return elements;
  }
  return []; // nft leaves "elem" out where a set is empty.
}

/** An element is its value, or an object around it where it carries more, a timeout say. */
function addressOf(element: unknown): string {
  const value = property(property(element, "elem"), "val") ?? element;
  if (typeof value !== "string") throw new TypeError("Cannot read a set: not an address");
  return value;
}

function property(value: unknown, key: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return (value as Record<string, unknown>)[key];
}

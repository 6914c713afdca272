/**
 * nft text: the only place that writes it.
 *
 * Addresses come in as octets that dotp itself has taken from A and AAAA records, never as text from
 * the network, so nothing can break out of a command. A script is one line, which nft takes as one
 * transaction, with element lists instead of a command an element. Deletions stand first, since the
 * same fake may get another real in one batch. What a batch adds and deletes again is left out: nft
 * refuses a line that names a key twice, and the kernel need not see it.
 *
 * @module
 */
import { type Family, type Prefix, prefixToText } from "../address.ts";
import type { Change } from "../nat/changes.ts";

/**
 * The set of real addresses and the map from fake to real, by IP version, which dotp fills; and the
 * sets of fakes that carried packets and of fakes that stood for nothing when a packet came, which the
 * rules fill.
 */
export const SET_NAMES = {
  4: { set: "nat_addr", map: "nat_map", seen: "nat_seen", missed: "nat_missed" },
  6: { set: "nat_addr6", map: "nat_map6", seen: "nat_seen6", missed: "nat_missed6" },
} as const;

/** The sets that the rules fill. A table without them works, but tells less. */
export type NoteSet = "seen" | "missed";

/** The datatype of an address in nft, by IP version. */
export const DATATYPES: Readonly<Record<Family, string>> = { 4: "ipv4_addr", 6: "ipv6_addr" };

/** IP versions in the order in which dotp goes through them. */
export const FAMILIES: readonly Family[] = [4, 6];

/** What a set or map element was before a batch and is after it. */
interface Net {
  readonly deleted: Map<string, string>;
  readonly added: Map<string, string>;
  /** Keys that are deleted and added again on purpose, for a new lifetime. */
  readonly renewed: Set<string>;
}

/**
 * One transaction for a run of changes in their order; the empty string where they cancel out.
 *
 * @param table name of the table in family inet
 */
export function changesToScript(table: string, changes: readonly Change[]): string {
  const commands: string[] = [];
  const deletions: string[] = [];
  for (const family of FAMILIES) {
    const ours = changes.filter((change) => change.family === family);
    if (ours.length === 0) continue;
    const { set, map } = SET_NAMES[family];
    const inMap = ours.filter((change) => change.part !== "set");
    const inSet = ours.filter((change) => change.part !== "map");
    const pairs = netOf(inMap.map((c) => [c.kind, toText(c.fake), toText(c.real)]));
    const reals = netOf(inSet.map((c) => [c.kind, toText(c.real), ""]));
    for (const [name, net] of [[map, pairs], [set, reals]] as const) {
      deletions.push(...elements("delete", table, name, [...net.deleted.keys()]));
      commands.push(...elements("add", table, name, [...net.added].map(joinElement)));
    }
  }
  return [...deletions, ...commands].join(";");
}

/** A transaction that adds an element to each set and map and takes it away again. */
export function probeScript(table: string, unusedFakes: readonly Uint8Array[]): string {
  const changes = unusedFakes.map((address): Change => ({
    kind: "add",
    family: address.length === 4 ? 4 : 6,
    fake: address,
    real: address,
    revision: 0,
  }));
  const undone = changes.map((change): Change => ({ ...change, kind: "delete" }));
  return `${changesToScript(table, changes)};${changesToScript(table, undone)}`;
}

/** The arguments with which `nft` lists the table's objects without their elements, as JSON. */
export function listTableArgs(table: string): string[] {
  return ["-j", "-t", "list", "table", "inet", table];
}

/** The arguments with which `nft` lists one set, as JSON. */
export function listSetArgs(table: string, family: Family): string[] {
  return ["-j", "list", "set", "inet", table, SET_NAMES[family].set];
}

/** The arguments with which `nft` lists a set that the rules fill, as JSON. */
export function listNotesArgs(table: string, family: Family, notes: NoteSet): string[] {
  return ["-j", "list", "set", "inet", table, SET_NAMES[family][notes]];
}

/** The arguments with which `conntrack` forgets the connections to a fake; also a line of its file. */
export function forgetArgs(fake: Uint8Array): string[] {
  return ["-D", "-f", fake.length === 4 ? "ipv4" : "ipv6", "-d", toText(fake)];
}

/** The arguments with which `conntrack` lists the connections to a prefix, a line each. */
export function listConnectionsArgs(prefix: Prefix): string[] {
  const family = prefix.family === 4 ? "ipv4" : "ipv6";
  return ["-L", "-f", family, "-d", prefixToText(prefix)];
}

/** The arguments with which `nft` lists one map, as JSON. */
export function listMapArgs(table: string, family: Family): string[] {
  return ["-j", "list", "map", "inet", table, SET_NAMES[family].map];
}

/** Commands that add or delete elements of a set or map: one, or none without elements. */
function elements(
  verb: "add" | "delete",
  table: string,
  name: string,
  texts: readonly string[],
): string[] {
  return texts.length === 0 ? [] : [`${verb} element inet ${table} ${name} {${texts.join(",")}}`];
}

/** What remains of additions and deletions, in order, of elements by key. */
function netOf(steps: [Change["kind"], key: string, value: string][]): Net {
  const net: Net = { deleted: new Map(), added: new Map(), renewed: new Set() };
  for (const [kind, key, value] of steps) {
    if (kind === "add") net.added.set(key, value);
    else if (kind === "delete" && !net.added.delete(key)) net.deleted.set(key, value);
    else if (kind === "renew" && !net.added.has(key)) {
      net.deleted.set(key, value);
      net.added.set(key, value);
      net.renewed.add(key);
    }
  }
  for (const [key, value] of net.added) {
    if (net.deleted.get(key) !== value || net.renewed.has(key)) continue;
    net.deleted.delete(key);
    net.added.delete(key);
  }
  return net;
}

function joinElement([key, value]: [string, string]): string {
  // Spaces, since an IPv6 address is full of colons itself.
  return value === "" ? key : `${key} : ${value}`;
}

/** IPv6 groups stand in full: shorter to make than the form of RFC 5952, and nft takes both. */
function toText(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  let text = "";
  for (let i = 0; i < bytes.length; i += 2) {
    text += (i === 0 ? "" : ":") + ((bytes[i]! << 8) | bytes[i + 1]!).toString(16);
  }
  return text;
}

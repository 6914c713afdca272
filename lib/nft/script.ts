/**
 * nft text: the only place that writes it.
 *
 * Addresses come in as octets that dotp itself has taken from A and AAAA records, never as text from
 * the network, so nothing can break out of a command. A script is one line, which nft takes as one
 * transaction, with element lists instead of a command an element. Deletions stand first, since the
 * same fake may get another real in one batch.
 *
 * @module
 */
import { FAMILIES, type Family, type Prefix, prefixToText } from "../address.ts";
import type { Change, Pair } from "../nat/changes.ts";
import { netOf } from "../nat/net.ts";
import type { NoteSet } from "../kernel/kernel.ts";

/**
 * The set of real addresses and the map from fake to real, by IP version, which dotp fills; and the
 * sets of fakes that carried packets and of fakes that stood for nothing when a packet came, which the
 * rules fill.
 */
export const SET_NAMES = {
  4: { set: "nat_addr", map: "nat_map", seen: "nat_seen", missed: "nat_missed" },
  6: { set: "nat_addr6", map: "nat_map6", seen: "nat_seen6", missed: "nat_missed6" },
} as const;

/** The datatype of an address in nft, by IP version. */
export const DATATYPES: Readonly<Record<Family, string>> = { 4: "ipv4_addr", 6: "ipv6_addr" };

/**
 * One transaction for a run of changes in their order; the empty string where they cancel out.
 *
 * @param table name of the table in family inet
 */
export function changesToScript(table: string, changes: readonly Change[]): string {
  const { deletions, renewals, additions } = netOf(changes);
  // A renewal is both: before Linux 6.12 what is added again keeps its age.
  const deleted = renewals.length === 0 ? deletions : [...deletions, ...renewals];
  const added = renewals.length === 0 ? additions : [...additions, ...renewals];
  return [...elements("delete", table, deleted), ...elements("add", table, added)].join(";");
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

/**
 * The arguments with which `conntrack` deletes the connections that lead from a fake to a real; also a
 * line of its file.
 */
export function disconnectArgs({ fake, real }: Pair): string[] {
  const family = fake.length === 4 ? "ipv4" : "ipv6";
  return ["-D", "-f", family, "-d", toText(fake), "-r", toText(real)];
}

/** The arguments with which `conntrack` makes a connection from an address to itself, for a second. */
export function probeConnectionArgs(address: Uint8Array): string[] {
  const text = toText(address);
  const ports = ["--sport", "9", "--dport", "9", "--timeout", "1"];
  return ["-I", "-p", "udp", "-s", text, "-d", text, ...ports];
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

/** Commands that add or delete the elements of changes: one for each set and map. */
function elements(verb: "add" | "delete", table: string, changes: readonly Change[]): string[] {
  const commands: string[] = [];
  for (const family of changes.length === 0 ? [] : FAMILIES) {
    const { set, map } = SET_NAMES[family];
    const keys: string[] = [];
    const reals: string[] = [];
    for (const change of changes) {
      if (change.family !== family) continue;
      const real = toText(change.real);
      if (change.part !== "map") reals.push(real);
      if (change.part === "set") continue;
      const fake = toText(change.fake);
      // Spaces, since an IPv6 address is full of colons itself.
      keys.push(verb === "add" ? `${fake} : ${real}` : fake);
    }
    for (const [name, texts] of [[map, keys], [set, reals]] as const) {
      if (texts.length === 0) continue;
      commands.push(`${verb} element inet ${table} ${name} {${texts.join(",")}}`);
    }
  }
  return commands;
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

/**
 * nft text: the only place that writes it, and the only place that reads what nft lists.
 *
 * Addresses come in as octets that dotp itself has taken from A and AAAA records, never as text from
 * the network, so nothing can break out of a command. A script is one line, which nft takes as one
 * transaction, with element lists instead of a command an element. Deletions stand first, since the
 * same fake may get another real in one batch. What a batch adds and deletes again is left out: nft
 * refuses a line that names a key twice, and the kernel need not see it.
 *
 * @module
 */
import { type Family, parseAddress, type Prefix, prefixToText } from "../address.ts";
import type { Change, Pair } from "../nat/changes.ts";

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

/** A pair as the kernel holds it. */
export interface KernelPair extends Pair {
  /** Seconds until the kernel forgets it by itself; undefined where it does not. */
  readonly expiresS?: number;
}

/** A fake in a set that the rules fill. */
export interface KernelNote {
  readonly fake: Uint8Array;
  /** Seconds since it was noted last. */
  readonly ageS: number;
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

/** Where the connections that `listConnectionsArgs` listed go to, as their first packet had it. */
export function* connectionTargets(listed: string): Generator<Uint8Array> {
  // A line names both directions; the first one is that of the first packet.
  for (const [, address = ""] of listed.matchAll(/^.*? dst=(\S+)/gm)) {
    yield parseAddress(address).bytes;
  }
}

/** The arguments with which `nft` lists one map, as JSON. */
export function listMapArgs(table: string, family: Family): string[] {
  return ["-j", "list", "map", "inet", table, SET_NAMES[family].map];
}

/** What is wrong with the table that `listTableArgs` listed, or undefined. */
export function tableProblem(table: string, listed: string): string | undefined {
  const objects = objectsOf(listed);
  for (const family of FAMILIES) {
    const { set, map } = SET_NAMES[family];
    const type = DATATYPES[family];
    for (const [kind, name] of [["set", set], ["map", map]] as const) {
      const found = objects.map((object) => object["set"] ?? object["map"])
        .find((object) => isRecord(object) && object["name"] === name);
      if (!isRecord(found)) return `${kind} ${name} is missing from table inet ${table}`;
      const isMap = "map" in found;
      if (
        found["type"] !== type || isMap !== (kind === "map") || (isMap && found["map"] !== type)
      ) {
        const wanted = kind === "set" ? type : `${type} : ${type}`;
        return `${name} in table inet ${table} is not a ${kind} of type ${wanted}`;
      }
    }
  }
  return undefined;
}

/** After how many seconds the kernel forgets an element of a listed set; `Infinity` where it does not. */
export function timeoutOf(listed: string): number {
  const [head = ""] = listed.split('"elem"', 1);
  const [, timeout] = /"timeout":\s*(\d+)/.exec(head) ?? [];
  // A part of a second is printed as 0, which cannot be worked with.
  return Number(timeout) || Infinity;
}

/** The elements of a listed set that the rules fill, and when they were noted. */
export function* noteElements(listed: string): Generator<KernelNote> {
  const timeoutS = timeoutOf(listed);
  for (const [, timed, expires, plain = ""] of matchElements(listed, ELEMENT)) {
    const fake = toBytes(timed ?? plain);
    if (fake !== undefined) {
      yield { fake, ageS: expires === undefined ? 0 : timeoutS - Number(expires) };
    }
  }
}

/** The elements of a listed set as octets. An element that is no single address is left out. */
export function* setElements(listed: string): Generator<Uint8Array> {
  for (const [, timed, , plain = ""] of matchElements(listed, ELEMENT)) {
    const address = toBytes(timed ?? plain);
    if (address !== undefined) yield address;
  }
}

/** The elements of a listed map as octets. */
export function* mapElements(listed: string): Generator<KernelPair> {
  for (const [, timed, expires, plain = "", value = ""] of matchElements(listed, PAIR)) {
    const fake = toBytes(timed ?? plain);
    const real = toBytes(value);
    if (fake === undefined || real === undefined) continue;
    yield { fake, real, ...(expires === undefined ? {} : { expiresS: Number(expires) }) };
  }
}

/**
 * An element in what nft lists as JSON: a string, or, where it has a lifetime or a comment, an object
 * `{"elem": {"val": string, …}}`. Lists are not parsed as JSON since the objects of a hundred thousand
 * elements take some hundred megabytes, and nothing in them is ever nested deeper than this.
 */
const ADDRESS = /"([0-9a-f.:]+)"/;
const TIMED = RegExp(`"val":\\s*${ADDRESS.source}(?:[^{}]*?"expires":\\s*(\\d+))?`);
const ELEMENT = RegExp(`${TIMED.source}|(?<=[[,]\\s*)${ADDRESS.source}`, "g");
/** An array of a key, which is an element as above, and a value. */
const PAIR = RegExp(
  `\\[\\s*(?:\\{"elem":\\s*\\{${TIMED.source}(?:[^{}]|\\{[^{}]*\\})*\\}\\s*\\}|${ADDRESS.source})` +
    `\\s*,\\s*${ADDRESS.source}\\s*\\]`,
  "g",
);
/** Somebody's words, which may look like anything. */
const COMMENT = /,\s*"comment":\s*"(?:[^"\\]|\\.)*"/g;

/** The matches of an element's pattern behind the list's begin. */
function* matchElements(listed: string, pattern: RegExp): Generator<RegExpExecArray> {
  const text = listed.includes('"comment"') ? listed.replaceAll(COMMENT, "") : listed;
  const begin = text.indexOf('"elem"');
  if (begin < 0) return;
  const matcher = new RegExp(pattern);
  matcher.lastIndex = begin;
  for (let match = matcher.exec(text); match !== null; match = matcher.exec(text)) yield match;
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
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = view.getUint16(0).toString(16);
  for (let i = 2; i < bytes.length; i += 2) text += ":" + view.getUint16(i).toString(16);
  return text;
}

function objectsOf(listed: string): Record<string, unknown>[] {
  const parsed: unknown = JSON.parse(listed);
  const objects = isRecord(parsed) ? parsed["nftables"] : undefined;
  return Array.isArray(objects) ? objects.filter(isRecord) : [];
}

function toBytes(text: string): Uint8Array | undefined {
  try {
    return parseAddress(text).bytes;
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

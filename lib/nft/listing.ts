/**
 * What nft lists as JSON and conntrack as lines, and the only place that reads it.
 *
 * nft's lists of elements are not parsed as JSON, since the objects of a hundred thousand take some hundred
 * megabytes, and nothing in them is ever nested deeper than the patterns below.
 *
 * @module
 */
import { ADDRESS_LENGTH, parseAddress } from "../address.ts";
import type { Pair } from "../nat/changes.ts";
import { DATATYPES, FAMILIES, SET_NAMES } from "./script.ts";

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

/** Where the connections that `listConnectionsArgs` listed go to, as their first packet had it. */
export function* connectionTargets(listed: string): Generator<Uint8Array> {
  // A line names both directions; the first one is that of the first packet.
  for (const [, text = ""] of listed.matchAll(/^.*? dst=(\S+)/gm)) {
    const address = toBytes(text);
    if (address !== undefined) yield address;
  }
}

/**
 * An element in what nft lists as JSON: a string, or, where it has a lifetime or a comment, an object
 * `{"elem": {"val": string, …}}`.
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

function objectsOf(listed: string): Record<string, unknown>[] {
  const parsed: unknown = JSON.parse(listed);
  const objects = isRecord(parsed) ? parsed["nftables"] : undefined;
  return Array.isArray(objects) ? objects.filter(isRecord) : [];
}

/**
 * The octets of an address as nft writes it (inet_ntop(3)); undefined where it is none. Plain ones are
 * read here, as the library takes several times as long and dotp may have some hundred thousand to read
 * before it is ready.
 */
function toBytes(text: string): Uint8Array | undefined {
  if (!text.includes(":")) return ipv4ToBytes(text);
  if (!text.includes(".")) return ipv6ToBytes(text);
  try {
    return parseAddress(text).bytes;
  } catch {
    return undefined;
  }
}

function ipv4ToBytes(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(ADDRESS_LENGTH[4]);
  let at = 0;
  for (const part of text.split(".")) {
    const octet = Number(part);
    if (at === bytes.length || !(octet <= 0xff) || String(octet) !== part) return undefined;
    bytes[at++] = octet;
  }
  return at === bytes.length ? bytes : undefined;
}

function ipv6ToBytes(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(ADDRESS_LENGTH[6]);
  const [head = "", tail, ...more] = text.split("::");
  const gap = putGroups(bytes, 0, head);
  if (tail === undefined) return gap === bytes.length ? bytes : undefined;
  const end = putGroups(bytes, gap, tail);
  if (more.length > 0 || !(end < bytes.length)) return undefined;
  const behind = bytes.length - (end - gap);
  bytes.copyWithin(behind, gap, end);
  return bytes.fill(0, gap, behind);
}

/** Writes groups of hexadecimal digits; returns the offset behind them, NaN where they are none. */
function putGroups(bytes: Uint8Array, start: number, text: string): number {
  let at = start;
  for (const group of text === "" ? [] : text.split(":")) {
    if (group.length < 1 || group.length > 4) return NaN;
    const value = parseInt(group, 16);
    bytes[at++] = value >>> 8;
    bytes[at++] = value;
  }
  return at;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** NAT tables for tests, spoken to in text. */
import { addressToText, type Family, parseAddress, parsePrefix } from "../../lib/address.ts";
import { type Change, ChangeLog } from "../../lib/nat/changes.ts";
import { Pool, wordsOf } from "../../lib/nat/pool.ts";
import { KEY_LENGTH } from "../../lib/util/siphash.ts";
import { Mappings } from "../../lib/nat/mappings.ts";
import { FULL, Table } from "../../lib/nat/table.ts";
import { viewOf } from "./hex.ts";

/** A key for tests that ask for no other. */
export const KEY = new Uint8Array(KEY_LENGTH);

/** Prefixes and times; what is left out is as a user has it who says nothing. */
export interface NatOptions {
  readonly ipv4?: string;
  readonly ipv6?: string;
  readonly ttlMs?: number;
  readonly ttlMaxMs?: number;
  readonly quarantineMs?: number;
  readonly evictAfterMs?: number;
  /** Key of the pools. */
  readonly key?: Uint8Array;
  readonly onFill?: (percent: number) => void;
}

/** The mappings and their log; each table also by itself. */
export interface Nat {
  readonly log: ChangeLog;
  readonly mappings: Mappings;
  readonly tables: Readonly<Record<Family, Table>>;
}

/** New mappings: none. */
export function makeNat(options: NatOptions = {}): Nat {
  const { ipv4 = "198.18.0.0/15", ipv6 = "2001:2::/48", ttlMs = 120_000 } = options;
  const log = new ChangeLog();
  const tableOf = (prefix: string, family: Family) =>
    new Table({
      pool: new Pool(parsePrefix(prefix, family), options.key ?? KEY),
      log,
      ttlMs,
      ttlMaxMs: options.ttlMaxMs ?? Infinity,
      quarantineMs: options.quarantineMs ?? ttlMs,
      evictAfterMs: options.evictAfterMs ?? Infinity,
      hashKey: 1,
      onFill: options.onFill ?? (() => {}),
    });
  const tables = { 4: tableOf(ipv4, 4), 6: tableOf(ipv6, 6) };
  return { log, tables, mappings: new Mappings(tables[4], tables[6]) };
}

/** Asks for a real address as an answer does; its fake, or "full". */
export function obtain(table: Table, real: string, nowMs: number): string {
  const view = viewOf(bytesOf(real));
  const slot = table.obtain(view, 0, nowMs);
  if (slot === FULL) return "full";
  table.writeFake(slot, view, 0);
  return addressToText(new Uint8Array(view.buffer));
}

/** Takes a pair over as if the kernel had it. */
export function adopt(
  table: Table,
  fake: string,
  real: string,
  nowMs = 0,
  ageMs = 0,
): boolean {
  return table.adopt({ fake: bytesOf(fake), real: bytesOf(real) }, nowMs, ageMs);
}

/** The active pairs with the revisions that made them, oldest first. */
export function activePairs(table: Table): Change[] {
  // To a kernel without anything the difference is everything.
  return table.difference([], []);
}

/** The active pairs, as `fake real`, oldest first. */
export function pairsOf(table: Table): string[] {
  return activePairs(table).map(({ fake, real }) =>
    `${addressToText(fake)} ${addressToText(real)}`
  );
}

/** The octets of an address. */
export function bytesOf(address: string): Uint8Array {
  return parseAddress(address).bytes;
}

/** The words of an address. */
export function words(address: string): Uint32Array {
  return wordsOf(bytesOf(address));
}

/** An address of words as text. */
export function textOf(address: Uint32Array): string {
  const view = new DataView(new ArrayBuffer(address.length * 4));
  for (const [i, word] of address.entries()) view.setUint32(i * 4, word);
  return addressToText(new Uint8Array(view.buffer));
}

/** An address for a test that needs many of them. */
export function realAddress(n: number): string {
  return `10.${n >>> 16}.${(n >>> 8) & 0xff}.${n & 0xff}`;
}

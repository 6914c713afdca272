/** NAT tables for tests, spoken to in text. */
import { assert } from "@std/assert";
import { addressToText, type Family, parseAddress, parsePrefix } from "../../lib/address.ts";
import { type Change, ChangeLog } from "../../lib/nat/changes.ts";
import { Pool, wordsOf } from "../../lib/nat/pool.ts";
import { KEY_LENGTH } from "../../lib/util/siphash.ts";
import { Mappings } from "../../lib/nat/mappings.ts";
import { ReplyAddresses } from "../../lib/nat/reply_addresses.ts";
import type { Holder } from "../../lib/nat/shares.ts";
import { type Refusal, Table } from "../../lib/nat/table.ts";
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

/** Asks for a real address as an answer does; its fake, or why there is none. */
export function obtain(table: Table, real: string, nowMs: number, holder?: Holder): string {
  const obtained = obtainAll(table, [real], nowMs, holder);
  return typeof obtained === "string" ? obtained : obtained[0]!;
}

/** Asks for all real addresses of one answer; their fakes, or why there are none. */
export function obtainAll(
  table: Table,
  reals: readonly string[],
  nowMs: number,
  holder?: Holder,
): Refusal | string[] {
  const addresses = addressesOf(reals);
  if (table.find(addresses)) table.answer(addresses, nowMs);
  else {
    const refusal = table.plan(addresses, holder, nowMs);
    if (refusal !== undefined) return refusal;
    table.carryOut(addresses, holder, nowMs);
  }
  const { view, offsets, slots } = addresses;
  return reals.map((real, n) => {
    table.writeFake(slots[n]!, view, offsets[n]!);
    return addressToText(new Uint8Array(view.buffer, offsets[n]!, bytesOf(real).length));
  });
}

/** Addresses in a message that holds nothing else. */
export function addressesOf(reals: readonly string[]): ReplyAddresses {
  const addresses = new ReplyAddresses();
  const bytes = reals.map(bytesOf);
  addresses.reset(viewOf(Uint8Array.from(bytes.flatMap((octets) => [...octets]))));
  let offset = 0;
  for (const { length } of bytes) {
    assert(addresses.add(offset, length === 4 ? 4 : 6));
    offset += length;
  }
  return addresses;
}

/** Notes that packets were seen for these fakes, and for no others, `ageS` before now. */
export function noteTraffic(table: Table, fakes: readonly string[], nowMs: number, ageS = 0): void {
  table.noteTraffic(Object.assign(fakes.map(bytesOf), { ageS: () => ageS }), nowMs, nowMs);
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

/** The mappings of one family: times, quarantine, the log, and a plain model beside it. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { addressToText, type Family } from "../../lib/address.ts";
import type { ChangeLog } from "../../lib/nat/changes.ts";
import { FULL, MAPPINGS_MAX, type Table } from "../../lib/nat/table.ts";
import { viewOf } from "../support/hex.ts";
import {
  activePairs,
  adopt,
  bytesOf,
  makeNat,
  type NatOptions,
  obtain,
  pairsOf,
  realAddress,
} from "../support/nat.ts";
import { NatModel } from "../support/nat_model.ts";
import { holds } from "../support/property.ts";

const TTL_MS = 1_000;
const QUARANTINE_MS = 300;

/** An IPv4 table; a /29 has six fakes. */
function makeTable(
  ipv4 = "192.0.2.0/29",
  options: NatOptions = {},
): { table: Table; log: ChangeLog } {
  const { tables, log } = makeNat({ ipv4, ttlMs: TTL_MS, quarantineMs: QUARANTINE_MS, ...options });
  return { table: tables[4], log };
}

/** What the log holds, as `1 add 198.18.0.1 192.0.2.1`. */
function taken(log: ChangeLog): string[] {
  return log.takeAll().map((change) => `${change.revision} ${change.kind} ${pairText(change)}`);
}

Deno.test("Table.obtain() gives each real one fake and each fake one real, when it has room", () => {
  const { table } = makeTable();
  const fakes = [1, 2, 3, 4, 5, 6].map((n) => obtain(table, `10.0.0.${n}`, 0));
  assertEquals(new Set(fakes).size, 6);
  assertEquals([1, 2, 3, 4, 5, 6].map((n) => obtain(table, `10.0.0.${n}`, 1)), fakes);
  assertEquals([table.size, table.quarantined, table.capacity], [6, 0, 6]);
});

Deno.test("Table.obtain() is FULL and changes nothing, when every fake is in use", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  const fakes = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0));
  log.takeAll();
  const view = viewOf(bytesOf("10.0.0.3"));
  assertEquals(table.obtain(view, 0, 0), FULL);
  assertEquals([log.size, table.size], [0, 2]);
  assertEquals(["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0)), fakes);
});

Deno.test("Table.obtain() notes an addition once, when the same real is asked again", () => {
  const { table, log } = makeTable();
  const view = viewOf(bytesOf("10.0.0.1"));
  const slot = table.obtain(view, 0, 0);
  assertEquals(table.revision(slot), 1);
  assertEquals(table.obtain(view, 0, 500), slot);
  assertEquals(table.revision(slot), 1);
  const fake = obtain(table, "10.0.0.1", 600);
  assertEquals(taken(log), [`1 add ${fake} 10.0.0.1`]);
});

Deno.test("Table.obtain() reads and writeFake() writes where told, when octets stand around", () => {
  const { table } = makeTable();
  const view = viewOf(Uint8Array.of(0xa5, 10, 0, 0, 1, 0xa5));
  const slot = table.obtain(view, 1, 0);
  table.writeFake(slot, view, 1);
  const fake = bytesOf(obtain(table, "10.0.0.1", 0));
  assertEquals([...new Uint8Array(view.buffer)], [0xa5, ...fake, 0xa5]);
});

Deno.test("Table.obtain() works on four words, when the family is IPv6", () => {
  const { tables: { 6: table }, log } = makeNat();
  const fake = obtain(table, "2001:db8::1", 0);
  assertEquals(obtain(table, "2001:db8::1", 0), fake);
  assert(fake.startsWith("2001:2:"));
  assert(obtain(table, "2001:db8:1::1", 0) !== fake);
  assertEquals(taken(log)[0], `1 add ${fake} 2001:db8::1`);
});

Deno.test("Table.expire() ends a mapping at its time, when it was not looked up again", () => {
  const { table, log } = makeTable();
  assertEquals(table.nextExpiryMs, Infinity);
  const fake = obtain(table, "10.0.0.1", 5);
  assertEquals(table.nextExpiryMs, 5 + TTL_MS);
  assertEquals(table.expire(4 + TTL_MS), 0);
  assertEquals([table.size, table.quarantined], [1, 0]);
  assertEquals(table.expire(5 + TTL_MS), 1);
  assertEquals([table.size, table.quarantined, table.nextExpiryMs], [0, 1, Infinity]);
  assertEquals(taken(log), [`1 add ${fake} 10.0.0.1`, `2 delete ${fake} 10.0.0.1`]);
});

Deno.test("Table.obtain() renews the lifetime, when it comes before the end", () => {
  const { table } = makeTable();
  obtain(table, "10.0.0.1", 0);
  obtain(table, "10.0.0.2", 1);
  obtain(table, "10.0.0.1", 999);
  assertEquals(table.nextExpiryMs, 1 + TTL_MS);
  assertEquals(table.expire(1_998), 1);
  assertEquals(pairsOf(table).map((pair) => pair.split(" ")[1]), ["10.0.0.1"]);
  assertEquals(table.expire(1_999), 1);
});

Deno.test("Table.obtain() gives the same fake with a new revision, when its mapping has expired", () => {
  const { table, log } = makeTable();
  const fake = obtain(table, "10.0.0.1", 0);
  table.expire(TTL_MS);
  // Others take what is free, not what is quarantined.
  for (const n of [2, 3, 4, 5, 6]) assert(obtain(table, `10.0.0.${n}`, TTL_MS) !== fake);
  log.takeAll();
  assertEquals(obtain(table, "10.0.0.1", 50 * TTL_MS), fake);
  assertEquals(taken(log), [`8 add ${fake} 10.0.0.1`]);
  assertEquals(table.nextExpiryMs, TTL_MS + TTL_MS);
});

Deno.test("Table.obtain() gives the same fakes on another run, when the order is another", () => {
  const reals = Array.from({ length: 40 }, (_, i) => `10.0.0.${i}`);
  const one = makeNat().tables[4];
  const two = makeNat().tables[4];
  const fakes = reals.map((real) => obtain(one, real, 0));
  const again = reals.toReversed().map((real) => obtain(two, real, 0)).toReversed();
  assertEquals(again, fakes);
});

Deno.test("Table.obtain() gives a quarantined fake to another real, when its quarantine is over", () => {
  const { table } = makeTable("192.0.2.0/30");
  const [first] = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0));
  obtain(table, "10.0.0.2", 1);
  table.expire(TTL_MS);
  const over = TTL_MS + QUARANTINE_MS;
  assertEquals(obtain(table, "10.0.0.3", over - 1), "full");
  assertEquals(obtain(table, "10.0.0.3", over), first);
  assertEquals([table.size, table.quarantined], [2, 0]);
  assertEquals(obtain(table, "10.0.0.1", over), "full");
});

Deno.test("Table.obtain() reuses the fake quarantined longest, when the quarantine of several is over", () => {
  const { table } = makeTable();
  const reals = [1, 2, 3, 4, 5, 6].map((n) => `10.0.0.${n}`);
  const order = [3, 1, 6, 2, 5, 4].map((n) => `10.0.0.${n}`);
  const fakes = new Map(reals.map((real) => [real, obtain(table, real, 0)]));
  for (const [i, real] of order.entries()) obtain(table, real, i);
  for (let i = 0; i < order.length; i++) table.expire(i + TTL_MS);
  const later = 2 * TTL_MS;
  const reused = order.map((_, i) => obtain(table, `10.0.1.${i}`, later));
  assertEquals(reused, order.map((real) => fakes.get(real)));
});

Deno.test("Table.difference() lists what lives with its revision, oldest first, when the kernel is empty", () => {
  const { table } = makeTable();
  const fakes = [1, 2, 3].map((n) => obtain(table, `10.0.0.${n}`, n));
  obtain(table, "10.0.0.1", 10);
  table.expire(2 + TTL_MS);
  assertEquals(pairsOf(table), [`${fakes[2]} 10.0.0.3`, `${fakes[0]} 10.0.0.1`]);
  assertEquals(activePairs(table).map(({ revision }) => revision), [3, 1]);
});

Deno.test("Table.adopt() takes a pair over as known to the kernel, when it may be one of ours", () => {
  const { table, log } = makeTable();
  assert(adopt(table, "192.0.2.3", "10.0.0.1", 7));
  assertEquals(table.nextExpiryMs, 7 + TTL_MS);
  assertEquals(log.size, 0);
  const view = viewOf(bytesOf("10.0.0.1"));
  assert(table.revision(table.obtain(view, 0, 8)) <= log.revision);
  assertEquals(obtain(table, "10.0.0.1", 8), "192.0.2.3");
  assertEquals(log.size, 0);
});

Deno.test("Table.adopt() is false and changes nothing, when the pair cannot be ours", () => {
  const { table, log } = makeTable();
  assert(adopt(table, "192.0.2.3", "10.0.0.1"));
  for (
    const [what, fake, real] of [
      ["fake outside the prefix", "192.0.2.8", "10.0.0.2"],
      ["the network address", "192.0.2.0", "10.0.0.2"],
      ["the broadcast address", "192.0.2.7", "10.0.0.2"],
      ["real inside the prefix", "192.0.2.4", "192.0.2.5"],
      ["fake in another pair", "192.0.2.3", "10.0.0.2"],
      ["real in another pair", "192.0.2.4", "10.0.0.1"],
      ["IPv6", "2001:db8::1", "2001:db8::2"],
      ["a real of the other family", "192.0.2.4", "2001:db8::2"],
    ] as const
  ) {
    assert(!adopt(table, fake, real), what);
    assertEquals([table.size, table.quarantined, log.size], [1, 0, 0], what);
  }
});

Deno.test("Table.adopt() is false, when the pool is full or the fake is quarantined", () => {
  const { table } = makeTable("192.0.2.0/30");
  assert(adopt(table, "192.0.2.1", "10.0.0.1"));
  table.expire(TTL_MS);
  assert(!adopt(table, "192.0.2.1", "10.0.0.2", TTL_MS));
  assert(adopt(table, "192.0.2.2", "10.0.0.2", TTL_MS));
  assert(!adopt(table, "192.0.2.2", "10.0.0.3", TTL_MS));
});

Deno.test("Table.drop() quarantines the mapping, when the revision is the mapping's", () => {
  const { table, log } = makeTable();
  const fake = obtain(table, "10.0.0.1", 5);
  log.takeAll();
  assert(table.holds(1));
  assert(table.drop(1));
  assert(!table.holds(1));
  assertEquals([table.size, table.quarantined, log.size], [0, 1, 0]);
  assertEquals(obtain(table, "10.0.0.1", 6), fake);
  assertEquals(taken(log), [`2 add ${fake} 10.0.0.1`]);
});

Deno.test("Table.drop() does nothing, when the mapping is another, quarantined or not there", () => {
  const { table, log } = makeTable();
  obtain(table, "10.0.0.1", 0);
  assertEquals([table.drop(2), table.drop(0)], [false, false]);
  assertEquals([table.size, table.quarantined], [1, 0]);
  table.expire(TTL_MS);
  assert(!table.drop(1));
  assertEquals([table.size, table.quarantined, log.size], [0, 1, 2]);
  obtain(table, "10.0.0.1", TTL_MS);
  assert(!table.drop(1));
  assertEquals([table.size, table.quarantined], [1, 0]);
});

Deno.test("Table.holdsFake() tells addresses of the prefix, when they lie in a message", () => {
  const { 4: four, 6: six } = makeNat().tables;
  for (
    const [table, address, expected] of [
      [four, "198.18.0.0", true],
      [four, "198.19.255.255", true],
      [four, "198.20.0.0", false],
      [six, "2001:2::", true],
      [six, "2001:2:0:ffff::1", true],
      [six, "2001:2:1::", false],
    ] as const
  ) {
    const view = viewOf(Uint8Array.of(0, ...bytesOf(address)));
    assertEquals(table.holdsFake(view, 1), expected, address);
  }
});

Deno.test("Table.obtain() stops at MAPPINGS_MAX until a quarantine is over, when the prefix is larger", () => {
  const { tables: { 4: table }, log } = makeNat({
    ipv4: "64.0.0.0/10",
    ttlMs: 10,
    quarantineMs: 10,
  });
  assertEquals(table.capacity, MAPPINGS_MAX);
  const view = new DataView(new ArrayBuffer(4));
  const look = (n: number, nowMs: number) => {
    view.setUint32(0, 0x0a000000 + n);
    return table.obtain(view, 0, nowMs);
  };
  for (let n = 0; n < MAPPINGS_MAX; n++) look(n, 0);
  assertEquals(look(MAPPINGS_MAX, 0), FULL);
  assertEquals([table.size, table.expire(10)], [MAPPINGS_MAX, MAPPINGS_MAX]);
  assertEquals(look(MAPPINGS_MAX, 19), FULL);
  log.takeAll();
  const count = 20;
  for (let n = 1; n <= count; n++) look(MAPPINGS_MAX + n, 20);
  const fakes = log.takeAll().map(({ fake }) => addressToText(fake));
  assertEquals(new Set(fakes).size, count);
  assertEquals([table.size, table.quarantined], [count, MAPPINGS_MAX - count]);
});

Deno.test("Table.prolong() begins the lifetime anew, when the mapping of the revision lives", () => {
  const { table, log } = makeTable();
  obtain(table, "10.0.0.1", 0);
  obtain(table, "10.0.0.2", 1);
  table.prolong(1, 500);
  assertEquals(table.nextExpiryMs, 1 + TTL_MS);
  table.expire(1 + TTL_MS);
  assertEquals(pairsOf(table).map((pair) => pair.split(" ")[1]), ["10.0.0.1"]);
  for (const revision of [0, 2, 99]) table.prolong(revision, 900);
  assertEquals(table.nextExpiryMs, 500 + TTL_MS);
  assertEquals(log.size, 3);
});

Deno.test("Table.noteTraffic() keeps a mapping active, when packets were seen for its fake", () => {
  const { table, log } = makeTable();
  const fake = obtain(table, "10.0.0.1", 0);
  obtain(table, "10.0.0.2", 1);
  table.noteTraffic([bytesOf(fake)], 900);
  assertEquals(table.nextExpiryMs, 1 + TTL_MS);
  assertEquals(table.expire(1 + TTL_MS), 1);
  assertEquals(pairsOf(table), [`${fake} 10.0.0.1`]);
  for (let nowMs = 1_800; nowMs < 20 * TTL_MS; nowMs += 900) {
    table.noteTraffic([bytesOf(fake)], nowMs);
    assertEquals(table.expire(nowMs), 0);
  }
  // The kernel need not hear of it.
  assertEquals(taken(log).filter((line) => line.includes(fake)), [`1 add ${fake} 10.0.0.1`]);
});

Deno.test("Table.noteTraffic() keeps a mapping active no longer, when ttlMaxMs is over", () => {
  const { table } = makeTable("192.0.2.0/29", { ttlMaxMs: 2_500 });
  const fake = bytesOf(obtain(table, "10.0.0.1", 0));
  for (const nowMs of [800, 1_600, 2_400]) table.noteTraffic([fake], nowMs);
  assertEquals(table.nextExpiryMs, 2_400 + TTL_MS);
  table.noteTraffic([fake], 2_500);
  assertEquals(table.nextExpiryMs, 2_400 + TTL_MS);
  // An answer opens the time anew.
  obtain(table, "10.0.0.1", 3_000);
  table.noteTraffic([fake], 3_900);
  assertEquals(table.nextExpiryMs, 3_900 + TTL_MS);
});

Deno.test("Table.noteTraffic() begins a quarantine anew, when packets come for the fake", () => {
  const { table } = makeTable("192.0.2.0/30");
  const [one = "", two = ""] = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0));
  table.expire(TTL_MS);
  table.noteTraffic([bytesOf(one)], TTL_MS + 200);
  assertEquals([table.size, table.quarantined], [0, 2]);
  assertEquals(obtain(table, "10.0.0.3", TTL_MS + QUARANTINE_MS), two);
  assertEquals(obtain(table, "10.0.0.4", TTL_MS + QUARANTINE_MS + 199), "full");
  assertEquals(obtain(table, "10.0.0.4", TTL_MS + QUARANTINE_MS + 200), one);
});

Deno.test("Table.noteTraffic() does nothing, when fakes stand for nothing or are none", () => {
  const { table, log } = makeTable();
  obtain(table, "10.0.0.1", 0);
  const strangers = ["192.0.2.200", "203.0.113.1", "2001:2::1"].map(bytesOf);
  table.noteTraffic([...strangers, new Uint8Array()], 500);
  assertEquals([table.size, table.quarantined, log.size, table.nextExpiryMs], [1, 0, 1, TTL_MS]);
});

Deno.test("Table.reactivate() makes a mapping active, when a packet came for its quarantined fake", () => {
  const { table, log } = makeTable("192.0.2.0/29", { ttlMaxMs: 5_000 });
  const fake = obtain(table, "10.0.0.1", 0);
  assertEquals(table.reactivate(bytesOf(fake), 1), "active");
  assertEquals(table.nextExpiryMs, TTL_MS);
  table.expire(TTL_MS);
  log.takeAll();
  assertEquals(table.reactivate(bytesOf(fake), 4_999), "reactivated");
  assertEquals(taken(log), [`3 add ${fake} 10.0.0.1`]);
  assertEquals([table.size, table.quarantined, table.nextExpiryMs], [1, 0, 4_999 + TTL_MS]);
  // That was no answer, so the limit runs on from the one at 0.
  table.expire(4_999 + TTL_MS);
  assertEquals(table.reactivate(bytesOf(fake), 6_000), "unknown");
  assertEquals([table.size, table.quarantined], [0, 1]);
});

Deno.test("Table.reactivate() says unknown and changes nothing, when the fake is nobody's", () => {
  const { table, log } = makeTable("192.0.2.0/30", { ttlMaxMs: 5_000 });
  const fakes = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0));
  table.expire(TTL_MS);
  log.takeAll();
  for (const text of ["192.0.2.3", "203.0.113.1", "2001:2::1"]) {
    assertEquals(table.reactivate(bytesOf(text), TTL_MS), "unknown", text);
  }
  assertEquals(table.reactivate(bytesOf(fakes[0]!), 5_000), "unknown");
  assertEquals([table.size, table.quarantined, log.size], [0, 2, 0]);
});

Deno.test("Table.renew() renews what has been in the kernel for two fifths of its timeout, when it has one", () => {
  const { table, log } = makeTable("192.0.2.0/29", { ttlMs: 100_000 });
  assertEquals(table.nextRenewalMs, Infinity);
  obtain(table, "10.0.0.1", 0);
  assertEquals(table.nextRenewalMs, Infinity);
  table.renew(99_999);
  assertEquals(log.size, 1);
  table.startOver();
  table.expectTimeout(1_250);
  const [one, two] = [obtain(table, "10.0.0.1", 0), obtain(table, "10.0.0.2", 10)];
  log.takeAll();
  // An answer keeps a mapping active, not its element.
  obtain(table, "10.0.0.1", 400);
  assertEquals(table.nextRenewalMs, 500);
  table.renew(499);
  assertEquals(log.size, 0);
  table.renew(500);
  assertEquals(taken(log), [`4 renew ${one} 10.0.0.1`]);
  assertEquals(table.nextRenewalMs, 510);
  table.renew(1_000);
  assertEquals(taken(log), [`5 renew ${two} 10.0.0.2`, `6 renew ${one} 10.0.0.1`]);
  assertEquals(table.nextRenewalMs, 1_500);
});

Deno.test("Table.renew() renews a number of those longest there, when it is asked to", () => {
  const { table, log } = makeTable();
  const reals = [1, 2, 3].map((n) => `10.0.0.${n}`);
  for (const [i, real] of reals.entries()) obtain(table, real, i);
  const renewed = (most: number) => {
    log.takeAll();
    table.renew(10, most);
    return taken(log).map((line) => line.replace(/^\d+ (\w+) \S+/, "$1"));
  };
  assertEquals(renewed(0), []);
  assertEquals(renewed(2), ["renew 10.0.0.1", "renew 10.0.0.2"]);
  assertEquals(renewed(2), ["renew 10.0.0.3", "renew 10.0.0.1"]);
  assertEquals(renewed(9), ["renew 10.0.0.2", "renew 10.0.0.3", "renew 10.0.0.1"]);
  table.expire(5 * TTL_MS);
  assertEquals(renewed(9), []);
});

Deno.test("Table.renew() keeps the revision, when a reply waits for the mapping", () => {
  const { table, log } = makeTable();
  const view = viewOf(bytesOf("10.0.0.1"));
  const slot = table.obtain(view, 0, 0);
  table.renew(1, 1);
  assertEquals([table.revision(slot), log.revision], [1, 2]);
});

Deno.test("Table.adopt() knows how long the kernel has had a pair, when it is told", () => {
  const { table, log } = makeTable("192.0.2.0/29", { ttlMs: 100_000 });
  table.expectTimeout(1_250);
  assert(adopt(table, "192.0.2.1", "10.0.0.1", 1_000, 400));
  assertEquals(table.nextRenewalMs, 1_100);
  // A full lifetime all the same.
  assertEquals(table.nextExpiryMs, 101_000);
  table.renew(1_100);
  assertEquals(taken(log).map((line) => line.replace(/^\d+ /, "")), ["renew 192.0.2.1 10.0.0.1"]);
});

Deno.test("Table.obtain() evicts the mapping that was idle longest, when evictAfterMs is over", () => {
  const { table, log } = makeTable("192.0.2.0/30", { evictAfterMs: 500 });
  const [one = "", two] = ["10.0.0.1", "10.0.0.2"].map((real, i) => obtain(table, real, i));
  table.noteTraffic([bytesOf(one)], 100);
  assertEquals(obtain(table, "10.0.0.3", 500), "full");
  assertEquals([log.takeAll().length, table.size], [2, 2]);
  assertEquals(obtain(table, "10.0.0.3", 501), two);
  const changes = log.takeAll();
  assertEquals(changes.map((change) => `${change.kind} ${pairText(change)} ${change.isReused}`), [
    `delete ${two} 10.0.0.2 false`,
    `add ${two} 10.0.0.3 true`,
  ]);
  assertEquals(obtain(table, "10.0.0.2", 599), "full");
  assertEquals(obtain(table, "10.0.0.2", 600), one);
  assertEquals([table.size, table.quarantined], [2, 0]);
});

Deno.test("Table.obtain() never evicts, when it may not or when a quarantine is over", () => {
  const { table } = makeTable("192.0.2.0/30");
  for (const real of ["10.0.0.1", "10.0.0.2"]) obtain(table, real, 0);
  assertEquals(obtain(table, "10.0.0.3", 1e9), "full");
  const { table: evicting } = makeTable("192.0.2.0/30", { evictAfterMs: 1 });
  const [one] = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(evicting, real, 0));
  obtain(evicting, "10.0.0.2", 10);
  evicting.expire(TTL_MS);
  assertEquals(obtain(evicting, "10.0.0.3", TTL_MS + QUARANTINE_MS), one);
  assertEquals(pairsOf(evicting).length, 2);
});

Deno.test("Table.obtain() marks a fake as used before, when it had another real only", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  for (const real of ["10.0.0.1", "10.0.0.2"]) obtain(table, real, 0);
  table.expire(TTL_MS);
  obtain(table, "10.0.0.1", TTL_MS);
  assertEquals(log.takeAll().filter(({ isReused }) => isReused), []);
  obtain(table, "10.0.0.3", TTL_MS + QUARANTINE_MS);
  assertEquals(log.takeAll().map(({ kind, isReused }) => [kind, isReused]), [["add", true]]);
});

Deno.test("Table tells of each fill mark once, when it is crossed upwards", () => {
  const told: number[] = [];
  const { table } = makeTable("192.0.2.0/27", { onFill: (percent) => told.push(percent) });
  const of = (part: number) => {
    // Of thirty fakes, each its own real, all with the same lifetime.
    const nowMs = (table.nextExpiryMs === Infinity ? 0 : table.nextExpiryMs) + TTL_MS;
    for (let n = 0; n < part; n++) obtain(table, `10.0.0.${n}`, nowMs);
    table.expire(nowMs);
    return told.splice(0);
  };
  assertEquals(of(23), []);
  assertEquals(of(24), [80]);
  assertEquals([of(28), of(24), of(23)], [[], [], []]);
  // A little below is not gone: 76 %.
  assertEquals(of(24), []);
  assertEquals(of(29), [95]);
  assertEquals(of(30), []);
  // 73 %, and the whole way again at once: each mark as it is passed.
  assertEquals(of(22), []);
  assertEquals(of(30), [80, 95]);
  // 86 %: below the upper mark, not below the lower one.
  assertEquals(of(26), []);
  assertEquals(of(29), [95]);
});

Deno.test("Table.difference() is empty, when the kernel has just what lives", () => {
  const { table } = makeTable();
  for (const n of [1, 2, 3]) obtain(table, `10.0.0.${n}`, n);
  table.expire(1 + TTL_MS);
  const active = activePairs(table);
  assertEquals(active.length, 2);
  assertEquals(table.difference(active.toReversed(), active.map(({ real }) => real)), []);
});

Deno.test("Table.difference() names what is wrong and what is missing, when the kernel is another", () => {
  const { table } = makeTable();
  const [one = "", two = "", three = ""] = [1, 2, 3].map((n) => obtain(table, `10.0.0.${n}`, 0));
  const four = obtain(table, "10.0.0.4", 0);
  for (const n of [1, 2, 3]) obtain(table, `10.0.0.${n}`, 500);
  table.expire(TTL_MS);
  const [r1, r2, r3, r4] = [1, 2, 3, 4].map((n) => `10.0.0.${n}`) as [
    string,
    string,
    string,
    string,
  ];
  const all = [[one, r1], [two, r2], [three, r3]] as const;
  const unused = [1, 2, 3, 4, 5, 6].map((n) => `192.0.2.${n}`)
    .find((fake) => ![one, two, three, four].includes(fake)) ?? "";
  const allReals = [r1, r2, r3];
  const [a1, a2] = [`add ${one} ${r1}`, `add ${two} ${r2}`];
  for (
    const [what, pairs, reals, expected] of [
      ["a pair is missing", all.slice(1), allReals, [a1]],
      ["a real is missing", all, [r1, r3], [a2]],
      ["both are", all.slice(1), [r2, r3], [a1]],
      ["a fake leads elsewhere", [[one, "203.0.113.1"], ...all.slice(1)], allReals, [
        `map:delete ${one} 203.0.113.1`,
        a1,
      ]],
      ["a fake leads to another's real", [[one, r2], ...all.slice(1)], allReals, [
        `map:delete ${one} ${r2}`,
        a1,
      ]],
      ["two fakes change places", [[one, r2], [two, r1], all[2]], allReals, [
        `map:delete ${one} ${r2}`,
        `map:delete ${two} ${r1}`,
        a1,
        a2,
      ]],
      ["a second fake leads to a real", [...all, [unused, r1]], allReals, [
        `map:delete ${unused} ${r1}`,
      ]],
      ["a fake outside the prefix", [...all, ["203.0.113.9", r1]], allReals, [
        `map:delete 203.0.113.9 ${r1}`,
      ]],
      ["a real is nobody's", all, [...allReals, "203.0.113.7"], [
        "set:delete 203.0.113.7 203.0.113.7",
      ]],
      ["what is quarantined is still there", [...all, [four, r4]], [...allReals, r4], [
        `map:delete ${four} ${r4}`,
        `set:delete ${r4} ${r4}`,
      ]],
    ] as const
  ) {
    const changes = table.difference(
      pairs.map(([fake, real]) => ({ fake: bytesOf(fake), real: bytesOf(real) })),
      reals.map(bytesOf),
    );
    const texts = changes.map((c) => `${c.part ? `${c.part}:` : ""}${c.kind} ${pairText(c)}`);
    assertEquals(texts, expected, what);
  }
});

type Step =
  | { readonly what: "look up"; readonly real: number }
  | { readonly what: "wait"; readonly ms: number }
  | { readonly what: "expire" }
  | { readonly what: "adopt"; readonly fake: number; readonly real: number }
  | { readonly what: "drop"; readonly fake: number; readonly back: number };

/** Steps over more reals than there are fakes. */
const STEP: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ what: fc.constant("look up" as const), real: fc.nat(20) }) },
  { weight: 3, arbitrary: fc.record({ what: fc.constant("wait" as const), ms: fc.nat(600) }) },
  { weight: 3, arbitrary: fc.constant({ what: "expire" as const }) },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constant("adopt" as const),
      fake: fc.nat(16),
      real: fc.nat(20),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      what: fc.constant("drop" as const),
      fake: fc.nat(16),
      back: fc.nat(1),
    }),
  },
);

/** A table and its model, given the same steps. */
class Pair {
  readonly #nat;
  readonly #table: Table;
  readonly #model: NatModel;
  readonly #realOf: (n: number) => string;
  readonly #fakeOf: (n: number) => string;
  #nowMs = 0;

  constructor(family: Family) {
    const ipv4 = "192.0.2.0/28";
    this.#nat = makeNat({ ipv4, ipv6: "2001:2::/124", ttlMs: TTL_MS, quarantineMs: QUARANTINE_MS });
    this.#table = this.#nat.tables[family];
    this.#fakeOf = (n) =>
      family === 4 ? `192.0.2.${n}` : addressToText(bytesOf(`2001:2::${n.toString(16)}`));
    this.#realOf = (n) => family === 4 ? `10.0.0.${n}` : `2001:db8::${(n + 1).toString(16)}`;
    const [first, count] = [1, family === 4 ? 14 : 15];
    const usable = new Set(Array.from({ length: count }, (_, i) => this.#fakeOf(first + i)));
    this.#model = new NatModel({ usable, ttlMs: TTL_MS, quarantineMs: QUARANTINE_MS });
  }

  step(step: Step): void {
    const [table, model, nowMs] = [this.#table, this.#model, this.#nowMs];
    switch (step.what) {
      case "look up": {
        const real = this.#realOf(step.real);
        const fake = obtain(table, real, nowMs);
        model.obtain(real, nowMs, fake, this.#nat.log.revision);
        break;
      }
      case "wait":
        this.#nowMs += step.ms;
        break;
      case "expire":
        assertEquals(table.expire(nowMs), model.expire(nowMs));
        break;
      case "adopt": {
        const [fake, real] = [this.#fakeOf(step.fake), this.#realOf(step.real)];
        const isAdopted = adopt(table, fake, real, nowMs);
        const revision = activePairs(table).at(-1)?.revision ?? 0;
        assertEquals(isAdopted, model.adopt(fake, real, nowMs, revision));
        break;
      }
      case "drop": {
        const fake = this.#fakeOf(step.fake);
        const active = [...model.active.values()].find((active) => active.fake === fake);
        const revision = (active?.revision ?? 0) - step.back;
        assertEquals(table.drop(revision), model.drop(revision));
      }
    }
    this.#compare();
  }

  #compare(): void {
    const [table, model] = [this.#table, this.#model];
    const active = [...model.active];
    assertEquals([table.size, table.quarantined], [active.length, model.quarantined.size]);
    assertEquals(table.nextExpiryMs, active[0]?.[1].endsAtMs ?? Infinity);
    // As one text, since this runs after each of many steps.
    assertEquals(
      Array.from(activePairs(table), (pair) => `${pair.revision} ${pairText(pair)}`).join(),
      active.map(([real, { fake, revision }]) => `${revision} ${fake} ${real}`).join(),
    );
    assertEquals(
      this.#nat.log.takeAll().map((change) => `${change.kind} ${pairText(change)}`).join(),
      model.takeChanges().join(),
    );
  }
}

function pairText({ fake, real }: { fake: Uint8Array; real: Uint8Array }): string {
  return `${addressToText(fake)} ${addressToText(real)}`;
}

for (const family of [4, 6] as const) {
  Deno.test(`Table does what the model does over IPv${family}, when steps are random`, () => {
    holds(
      `Table IPv${family}`,
      fc.property(fc.array(STEP, { maxLength: 120, size: "max" }), (steps) => {
        const pair = new Pair(family);
        for (const step of steps) pair.step(step);
      }),
      200,
    );
  });
}

Deno.test("Table keeps its promise to many reals, when they come, go and come again", () => {
  const { tables: { 4: table }, log } = makeNat({ ttlMs: TTL_MS, quarantineMs: QUARANTINE_MS });
  const count = 20_000;
  const fakes = Array.from({ length: count }, (_, n) => obtain(table, realAddress(n), 0));
  assertEquals(new Set(fakes).size, count);
  table.expire(TTL_MS);
  for (let n = count - 1; n >= 0; n -= 97) {
    assertEquals(obtain(table, realAddress(n), TTL_MS), fakes[n]);
  }
  assert(log.size > 2 * count);
});

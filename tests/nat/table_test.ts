/** The mappings of one family: times, quarantine, the log, what is evicted and what is reused. */
import { assert, assertEquals } from "@std/assert";
import { addressToText } from "../../lib/address.ts";
import type { ChangeLog } from "../../lib/nat/changes.ts";
import { ReplyAddresses } from "../../lib/nat/reply_addresses.ts";
import { MAPPINGS_MAX, type Table } from "../../lib/nat/table.ts";
import { viewOf } from "../support/hex.ts";
import {
  activePairs,
  adopt,
  bytesOf,
  makeNat,
  type NatOptions,
  noteTraffic,
  obtain,
  obtainAll,
  pairsOf,
  realAddress,
} from "../support/nat.ts";

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

Deno.test("Table gives each real one fake and each fake one real, when it has room", () => {
  const { table } = makeTable();
  const fakes = [1, 2, 3, 4, 5, 6].map((n) => obtain(table, `10.0.0.${n}`, 0));
  assertEquals(new Set(fakes).size, 6);
  assertEquals([1, 2, 3, 4, 5, 6].map((n) => obtain(table, `10.0.0.${n}`, 1)), fakes);
  assertEquals([table.size, table.quarantined, table.capacity], [6, 0, 6]);
});

Deno.test("Table is full and changes nothing, when every fake is in use", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  const fakes = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0));
  log.takeAll();
  assertEquals(obtain(table, "10.0.0.3", 0), "full");
  assertEquals([log.size, table.size], [0, 2]);
  assertEquals(["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0)), fakes);
});

Deno.test("Table notes an addition once, when the same real is asked again", () => {
  const { table, log } = makeTable();
  const fake = obtain(table, "10.0.0.1", 0);
  assertEquals(obtain(table, "10.0.0.1", 500), fake);
  assertEquals([table.holds(1), table.holds(2)], [true, false]);
  assertEquals(taken(log), [`1 add ${fake} 10.0.0.1`]);
});

Deno.test("Table.find() reads and writeFake() writes where told, when octets stand around", () => {
  const { table } = makeTable();
  const fake = bytesOf(obtain(table, "10.0.0.1", 0));
  const addresses = new ReplyAddresses();
  const view = viewOf(Uint8Array.of(0xa5, 10, 0, 0, 1, 0xa5));
  addresses.reset(view);
  addresses.add(1, 4);
  assert(table.find(addresses));
  table.writeFake(addresses.slots[0]!, view, 1);
  assertEquals([...new Uint8Array(view.buffer)], [0xa5, ...fake, 0xa5]);
});

Deno.test("Table works on four words, when the family is IPv6", () => {
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

Deno.test("Table renews the lifetime, when it comes before the end", () => {
  const { table } = makeTable();
  obtain(table, "10.0.0.1", 0);
  obtain(table, "10.0.0.2", 1);
  obtain(table, "10.0.0.1", 999);
  assertEquals(table.nextExpiryMs, 1 + TTL_MS);
  assertEquals(table.expire(1_998), 1);
  assertEquals(pairsOf(table).map((pair) => pair.split(" ")[1]), ["10.0.0.1"]);
  assertEquals(table.expire(1_999), 1);
});

Deno.test("Table gives the same fake with a new revision, when its mapping has expired", () => {
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

Deno.test("Table gives the same fakes on another run, when the order is another", () => {
  const reals = Array.from({ length: 40 }, (_, i) => `10.0.0.${i}`);
  const one = makeNat().tables[4];
  const two = makeNat().tables[4];
  const fakes = reals.map((real) => obtain(one, real, 0));
  const again = reals.toReversed().map((real) => obtain(two, real, 0)).toReversed();
  assertEquals(again, fakes);
});

Deno.test("Table gives a quarantined fake to another real, when its quarantine is over", () => {
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

Deno.test("Table reuses the fake quarantined longest, when the quarantine of several is over", () => {
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
  assertEquals(obtain(table, "10.0.0.1", 8), "192.0.2.3");
  assert(table.holds(log.revision));
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

Deno.test("Table stops at MAPPINGS_MAX until a quarantine is over, when the prefix is larger", () => {
  const { tables: { 4: table }, log } = makeNat({
    ipv4: "64.0.0.0/10",
    ttlMs: 10,
    quarantineMs: 10,
  });
  assertEquals(table.capacity, MAPPINGS_MAX);
  const addresses = new ReplyAddresses();
  addresses.reset(new DataView(new ArrayBuffer(4)));
  addresses.add(0, 4);
  const look = (n: number, nowMs: number) => {
    addresses.view.setUint32(0, 0x0a000000 + n);
    table.find(addresses);
    // Each for somebody else, so that all parts of the pool are used.
    const holder = { name: `${n}.test`, client: `${n}` };
    const refusal = table.plan(addresses, holder, nowMs);
    if (refusal === undefined) table.carryOut(addresses, holder, nowMs);
    return refusal;
  };
  for (let n = 0; n < MAPPINGS_MAX; n++) assertEquals(look(n, 0), undefined);
  assertEquals(look(MAPPINGS_MAX, 0), "full");
  assertEquals([table.size, table.expire(10)], [MAPPINGS_MAX, MAPPINGS_MAX]);
  assertEquals(look(MAPPINGS_MAX, 19), "full");
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
  noteTraffic(table, [fake], 900);
  assertEquals(table.nextExpiryMs, 1 + TTL_MS);
  assertEquals(table.expire(1 + TTL_MS), 1);
  assertEquals(pairsOf(table), [`${fake} 10.0.0.1`]);
  for (let nowMs = 1_800; nowMs < 20 * TTL_MS; nowMs += 900) {
    noteTraffic(table, [fake], nowMs);
    assertEquals(table.expire(nowMs), 0);
  }
  // The kernel need not hear of it.
  assertEquals(taken(log).filter((line) => line.includes(fake)), [`1 add ${fake} 10.0.0.1`]);
});

Deno.test("Table.noteTraffic() keeps a mapping active no longer, when ttlMaxMs is over", () => {
  const { table } = makeTable("192.0.2.0/29", { ttlMaxMs: 2_500 });
  const fake = obtain(table, "10.0.0.1", 0);
  for (const nowMs of [800, 1_600, 2_400]) noteTraffic(table, [fake], nowMs);
  assertEquals(table.nextExpiryMs, 2_400 + TTL_MS);
  noteTraffic(table, [fake], 2_500);
  assertEquals(table.nextExpiryMs, 2_400 + TTL_MS);
  // An answer opens the time anew.
  obtain(table, "10.0.0.1", 3_000);
  noteTraffic(table, [fake], 3_900);
  assertEquals(table.nextExpiryMs, 3_900 + TTL_MS);
});

Deno.test("Table.noteTraffic() begins a quarantine anew, when packets come for the fake", () => {
  const { table } = makeTable("192.0.2.0/30");
  const [one = "", two = ""] = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0));
  table.expire(TTL_MS);
  noteTraffic(table, [one], TTL_MS + 200);
  assertEquals([table.size, table.quarantined], [0, 2]);
  assertEquals(obtain(table, "10.0.0.3", TTL_MS + QUARANTINE_MS), two);
  assertEquals(obtain(table, "10.0.0.4", TTL_MS + QUARANTINE_MS + 199), "full");
  assertEquals(obtain(table, "10.0.0.4", TTL_MS + QUARANTINE_MS + 200), one);
});

Deno.test("Table.noteTraffic() does nothing, when fakes stand for nothing or are none", () => {
  const { table, log } = makeTable();
  obtain(table, "10.0.0.1", 0);
  noteTraffic(table, ["192.0.2.200", "203.0.113.1", "2001:2::1"], 500);
  table.noteTraffic(Object.assign([new Uint8Array()], { ageS: () => 0 }), 500, 500);
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
  const [one, two] = [obtain(table, "10.0.0.1", 0), obtain(table, "10.0.0.2", 10)];
  table.renew(99_999);
  assertEquals([log.size, table.nextRenewalMs], [2, Infinity]);
  table.expectTimeout(1_250);
  log.takeAll();
  // An answer keeps a mapping active, not its element.
  obtain(table, "10.0.0.1", 400);
  assertEquals(table.nextRenewalMs, 500);
  table.renew(499);
  assertEquals(log.size, 0);
  table.renew(500);
  assertEquals(taken(log), [`3 renew ${one} 10.0.0.1`]);
  assertEquals(table.nextRenewalMs, 510);
  table.renew(1_000);
  assertEquals(taken(log), [`4 renew ${two} 10.0.0.2`, `5 renew ${one} 10.0.0.1`]);
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
  obtain(table, "10.0.0.1", 0);
  table.renew(1, 1);
  assertEquals([table.holds(1), log.revision], [true, 2]);
});

Deno.test("Table.startOver() leaves nothing behind, when mappings are active, quarantined or reusable", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  for (const timesMs of [[], [TTL_MS], [TTL_MS, TTL_MS + QUARANTINE_MS]]) {
    const fakes = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0));
    for (const ms of timesMs) table.expire(ms);
    table.startOver();
    assertEquals([table.size, table.quarantined, table.isEmpty], [0, 0, true]);
    // Each may have the other's fake, at once.
    assert(adopt(table, fakes[0]!, "10.0.0.2") && adopt(table, fakes[1]!, "10.0.0.1"));
    table.startOver();
    log.takeAll();
  }
});

Deno.test("Table.recheck() renews a mapping, when a packet missed it after the kernel had got it", () => {
  const { table, log } = makeTable();
  const fake = obtain(table, "10.0.0.1", 100);
  log.takeAll();
  const recheck = (missedAtMs: number) => table.recheck(bytesOf(fake), missedAtMs, 200);
  assertEquals([recheck(50), recheck(100), log.size], [false, false, 0]);
  assertEquals([recheck(101), recheck(101), recheck(200)], [true, false, false]);
  assertEquals(taken(log), [`2 renew ${fake} 10.0.0.1`]);
  assertEquals(table.recheck(bytesOf("203.0.113.1"), 300, 300), false);
  table.expire(100 + TTL_MS);
  assertEquals(recheck(1e9), false);
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

/** A table that may evict what a client may not use any more after 400 ms. */
function makeEvicting(ipv4 = "192.0.2.0/30") {
  return makeTable(ipv4, { evictAfterMs: 400 });
}

Deno.test("Table evicts the mapping that was idle longest, when it is so by more than the margin", () => {
  const { table, log } = makeEvicting();
  const [one = "", two] = ["10.0.0.1", "10.0.0.2"].map((real, i) => obtain(table, real, i));
  noteTraffic(table, [one], 100);
  // 400 ms that a client may use the answer, and a quarter more.
  noteTraffic(table, [], 500);
  assertEquals(obtain(table, "10.0.0.3", 500), "full");
  assertEquals([log.takeAll().length, table.size], [2, 2]);
  assertEquals(obtain(table, "10.0.0.3", 501), two);
  const changes = log.takeAll();
  assertEquals(changes.map((change) => `${change.kind} ${pairText(change)} ${change.isReused}`), [
    `delete ${two} 10.0.0.2 false`,
    `add ${two} 10.0.0.3 true`,
  ]);
  noteTraffic(table, [], 599);
  assertEquals(obtain(table, "10.0.0.2", 599), "full");
  assertEquals(obtain(table, "10.0.0.2", 600), one);
  assertEquals([table.size, table.quarantined], [2, 0]);
});

Deno.test("Table evicts nothing, when traffic was not read within the margin", () => {
  const { table } = makeEvicting();
  for (const real of ["10.0.0.1", "10.0.0.2"]) obtain(table, real, 0);
  assertEquals(obtain(table, "10.0.0.3", 700), "full");
  noteTraffic(table, [], 500);
  assertEquals(obtain(table, "10.0.0.3", 601), "full");
  noteTraffic(table, [], 650);
  assertEquals(obtain(table, "10.0.0.3", 750).split(".").length, 4);
});

Deno.test("Table evicts nothing that carries traffic, when all other mappings do not suffice", () => {
  const { table } = makeEvicting();
  const fakes = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(table, real, 0));
  for (let nowMs = 300; nowMs < 5_000; nowMs += 300) {
    noteTraffic(table, fakes, nowMs);
    assertEquals(obtain(table, "10.0.0.3", nowMs), "full");
  }
  assertEquals(pairsOf(table).map((pair) => pair.split(" ")[1]), ["10.0.0.1", "10.0.0.2"]);
});

Deno.test("Table evicts none of a reply's own mappings, when it needs a fake for another", () => {
  const { table, log } = makeEvicting();
  for (const real of ["10.0.0.1", "10.0.0.2"]) obtain(table, real, 0);
  log.takeAll();
  noteTraffic(table, [], 900);
  assertEquals(obtainAll(table, ["10.0.0.3", "10.0.0.1", "10.0.0.2"], 900), "full");
  assertEquals([log.size, table.nextExpiryMs], [0, TTL_MS]);
  const fakes = obtainAll(table, ["10.0.0.3", "10.0.0.1"], 900);
  assertEquals(new Set(fakes).size, 2);
  const lines = taken(log).map((line) => line.replace(/ \d+\.\S+/, ""));
  assertEquals(lines, ["3 delete 10.0.0.2", "4 add 10.0.0.3"]);
});

Deno.test("Table never evicts, when it may not or when a quarantine is over", () => {
  const { table } = makeTable("192.0.2.0/30");
  for (const real of ["10.0.0.1", "10.0.0.2"]) obtain(table, real, 0);
  noteTraffic(table, [], 1e9);
  assertEquals(obtain(table, "10.0.0.3", 1e9), "full");
  const { table: evicting } = makeEvicting();
  const [one] = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(evicting, real, 0));
  obtain(evicting, "10.0.0.2", 10);
  evicting.expire(TTL_MS);
  noteTraffic(evicting, [], TTL_MS + QUARANTINE_MS);
  assertEquals(obtain(evicting, "10.0.0.3", TTL_MS + QUARANTINE_MS), one);
  assertEquals(pairsOf(evicting).length, 2);
});

Deno.test("Table.trafficDueMs asks for a reading in time, when a pool that may evict is nearly full", () => {
  const { table } = makeEvicting("192.0.2.0/27");
  // 24 of 30 are common, and 15 sixteenths of them are 22.5.
  for (let n = 1; n <= 22; n++) obtain(table, `10.0.0.${n}`, 0);
  assertEquals(table.trafficDueMs, Infinity);
  obtain(table, "10.0.0.23", 0);
  assertEquals(table.trafficDueMs, -Infinity);
  noteTraffic(table, [], 10);
  // Before the reading counts no more.
  assertEquals(table.trafficDueMs, 60);
  const { table: keeping } = makeTable("192.0.2.0/30");
  for (const real of ["10.0.0.1", "10.0.0.2"]) obtain(keeping, real, 0);
  assertEquals(keeping.trafficDueMs, Infinity);
});

Deno.test("Table marks a fake as used before, when it had another real only", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  for (const real of ["10.0.0.1", "10.0.0.2"]) obtain(table, real, 0);
  table.expire(TTL_MS);
  obtain(table, "10.0.0.1", TTL_MS);
  assertEquals(log.takeAll().filter(({ isReused }) => isReused), []);
  obtain(table, "10.0.0.3", TTL_MS + QUARANTINE_MS);
  assertEquals(log.takeAll().map(({ kind, isReused }) => [kind, isReused]), [["add", true]]);
});

Deno.test("Table tells that it fills up, when the common part does", () => {
  const told: number[] = [];
  const { table } = makeTable("192.0.2.0/27", { onFill: (percent) => told.push(percent) });
  for (let n = 1; n <= 24; n++) {
    obtain(table, `10.0.0.${n}`, n);
    // 24 of 30 are common: 19.2 and 22.8.
    assertEquals(told.join(), n < 20 ? "" : n < 23 ? "80" : "80,95");
  }
  // What is quarantined is in use.
  table.expire(24 + TTL_MS);
  obtain(table, "10.0.0.1", 24 + TTL_MS);
  assertEquals(told.length, 2);
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

function pairText({ fake, real }: { fake: Uint8Array; real: Uint8Array }): string {
  return `${addressToText(fake)} ${addressToText(real)}`;
}

const [ONE, TWO, THREE, FOUR] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"] as const;

/** The changes since the last time, each with whether the fake had another real before. */
function reusedIn(log: ChangeLog): string[] {
  return log.takeAll().map(({ kind, real, isReused }) =>
    `${kind} ${addressToText(real)} ${isReused}`
  );
}

Deno.test("Table maps all addresses of an answer or none, when the pool has too few fakes", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  const fake = obtain(table, ONE, 0);
  log.takeAll();
  assertEquals(obtainAll(table, [TWO, ONE, THREE], 500), "full");
  assertEquals([log.size, table.size, table.nextExpiryMs], [0, 1, TTL_MS]);
  // The same address twice needs one fake.
  const fakes = obtainAll(table, [TWO, ONE, TWO], 500);
  assertEquals([fakes[0], fakes[1]], [fakes[2], fake]);
  assertEquals([log.size, table.size, table.nextExpiryMs], [1, 2, 500 + TTL_MS]);
});

Deno.test("Table gives an answer its own quarantined fakes, when it needs others as well", () => {
  const { table } = makeTable("192.0.2.0/30");
  const [one, two] = [obtain(table, ONE, 0), obtain(table, TWO, 0)];
  table.expire(TTL_MS);
  const nowMs = TTL_MS + QUARANTINE_MS;
  // The one that would be reused next is in the same answer, behind what is new.
  assertEquals(obtainAll(table, [THREE, ONE], nowMs), [two, one]);
});

Deno.test("Table reuses a clean fake, when an older one has connections", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  const [one = "", two] = [obtain(table, ONE, 0), obtain(table, TWO, 1)];
  table.expire(1 + TTL_MS);
  table.noteConnections([{ fake: bytesOf(one) }], log.revision);
  log.takeAll();
  const nowMs = 1 + TTL_MS + QUARANTINE_MS;
  assertEquals(obtain(table, THREE, nowMs), two);
  assertEquals(obtain(table, FOUR, nowMs), one);
  assertEquals(reusedIn(log), ["add 10.0.0.3 false", "add 10.0.0.4 true"]);
});

Deno.test("Table takes no fake for clean, when the kernel had not lost its mapping at the listing", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  for (const real of [ONE, TWO]) obtain(table, real, 0);
  const before = log.revision;
  table.expire(TTL_MS);
  table.noteConnections([], before);
  log.takeAll();
  obtain(table, THREE, TTL_MS + QUARANTINE_MS);
  table.noteConnections([], log.revision);
  obtain(table, FOUR, TTL_MS + QUARANTINE_MS);
  assertEquals(reusedIn(log), ["add 10.0.0.3 true", "add 10.0.0.4 false"]);
});

Deno.test("Table quarantines a fake again, when the kernel refused its reuse", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  const [one] = [ONE, TWO].map((real) => obtain(table, real, 0));
  table.expire(TTL_MS);
  const nowMs = TTL_MS + QUARANTINE_MS;
  log.takeAll();
  assertEquals(obtain(table, THREE, nowMs), one);
  assert(table.drop(log.revision));
  assertEquals([table.size, table.quarantined], [0, 2]);
  // It is the new one's by now, and not to be had by others before the quarantine is over.
  obtain(table, FOUR, nowMs);
  assertEquals(obtain(table, ONE, nowMs + QUARANTINE_MS - 1), "full");
  assertEquals(obtain(table, THREE, nowMs + QUARANTINE_MS - 1), one);
  assertEquals(reusedIn(log), ["add 10.0.0.3 true", "add 10.0.0.4 true", "add 10.0.0.3 false"]);
});

Deno.test("Table.noteTraffic() counts what is newer than the last use, when packets are some time ago", () => {
  const { table } = makeTable("192.0.2.0/29", { ttlMs: 100_000 });
  const fake = obtain(table, ONE, 10_000);
  // Ages are rounded up, and the last packet was at 8 s or before.
  noteTraffic(table, [fake], 20_000, 12);
  assertEquals(table.nextExpiryMs, 110_000);
  noteTraffic(table, [fake], 20_000, 10);
  assertEquals(table.nextExpiryMs, 120_000);
  noteTraffic(table, [fake], 30_000, 11);
  assertEquals(table.nextExpiryMs, 120_000);
});

Deno.test("Table.adoptQuarantined() keeps a fake for its real, when only conntrack knows them", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  const pair = (fake: string, real: string) => ({ fake: bytesOf(fake), real: bytesOf(real) });
  assert(table.adoptQuarantined(pair("192.0.2.1", ONE), 0));
  assert(!table.adoptQuarantined(pair("192.0.2.1", TWO), 0), "the fake is another's");
  assert(!table.adoptQuarantined(pair("192.0.2.2", ONE), 0), "the real has another");
  assert(!table.adoptQuarantined(pair("192.0.2.3", TWO), 0), "never given");
  assertEquals([table.size, table.quarantined, log.size], [0, 1, 0]);
  assertEquals(obtainAll(table, [TWO, THREE], 10), "full");
  assertEquals(obtain(table, TWO, 10), "192.0.2.2");
  assertEquals(obtain(table, THREE, QUARANTINE_MS), "192.0.2.1");
  assertEquals(reusedIn(log), ["add 10.0.0.2 false", "add 10.0.0.3 true"]);
});

Deno.test("Table.adoptQuarantined() lets the real have its fake, when it is asked for again", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  assert(table.adoptQuarantined({ fake: bytesOf("192.0.2.1"), real: bytesOf(ONE) }, 0));
  assertEquals(obtain(table, ONE, 10), "192.0.2.1");
  assertEquals(reusedIn(log), ["add 10.0.0.1 false"]);
});

Deno.test("Table keeps adopted mappings active, when an earlier run has promised more than this one", () => {
  const { table, log } = makeTable("192.0.2.0/29", { evictAfterMs: 400 });
  table.startOver(5_000);
  for (const n of [1, 2, 3]) assert(adopt(table, `192.0.2.${n}`, `10.0.0.${n}`, 100));
  const own = obtain(table, FOUR, 100);
  assertEquals(table.nextExpiryMs, 100 + TTL_MS);
  obtain(table, TWO, 2_000);
  noteTraffic(table, ["192.0.2.3"], 4_500);
  assertEquals([table.expire(4_999), table.size], [1, 3]);
  assertEquals(log.takeAll().at(-1)?.fake, bytesOf(own));
  // The first was not used; the second is over too, but for the promise; the third was used lately.
  assertEquals([table.nextExpiryMs, table.expire(5_000)], [5_000, 2]);
  assertEquals([table.nextExpiryMs, table.expire(5_500)], [5_500, 1]);
});

Deno.test("Table evicts nothing that an earlier run has promised, when it is idle for long", () => {
  const { table } = makeEvicting();
  table.startOver(5_000);
  for (const n of [1, 2]) assert(adopt(table, `192.0.2.${n}`, `10.0.0.${n}`, 0));
  obtain(table, ONE, 3_400);
  for (const nowMs of [900, 3_901, 4_200]) {
    noteTraffic(table, [], nowMs);
    assertEquals(obtain(table, THREE, nowMs), "full", `${nowMs}`);
  }
});

Deno.test("Table.startOver() shortens no lifetime, when the promise of an earlier run ends before", () => {
  const { table } = makeTable();
  table.startOver(TTL_MS - 1);
  assert(adopt(table, "192.0.2.1", ONE, 0));
  assertEquals([table.nextExpiryMs, table.expire(TTL_MS - 1)], [TTL_MS, 0]);
});

Deno.test("Table.startOver() forgets what is active, when the kernel's own is to be adopted", () => {
  const { table, log } = makeTable("192.0.2.0/30");
  const fakes = [ONE, TWO].map((real) => obtain(table, real, 0));
  log.takeAll();
  table.startOver();
  assertEquals([table.isEmpty, log.size, table.holds(1)], [true, 0, false]);
  assert(adopt(table, fakes[0]!, TWO));
  assertEquals([obtain(table, ONE, 0), obtain(table, THREE, 0)], [fakes[1], "full"]);
});

/** Twelve of the fourteen fakes of a /28 are common, and two are kept. */
const [HOG, OTHER] = [{ name: "hog.test", client: "h" }, { name: "a.test", client: "c" }];

Deno.test("Table keeps fakes for other names and clients, when one wants all", () => {
  const { table, log } = makeTable("192.0.2.0/28");
  for (let n = 0; n < 12; n++) assert(obtain(table, `10.1.0.${n}`, 0, HOG).startsWith("192"));
  assertEquals(obtain(table, "10.1.0.99", 0, HOG), "share");
  log.takeAll();
  // Two are one too many for one name and client, and none is taken.
  assertEquals(obtainAll(table, ["10.2.0.1", "10.2.0.2"], 0, OTHER), "share");
  assertEquals([log.size, table.size], [0, 12]);
  const fake = obtain(table, "10.2.0.1", 0, OTHER);
  const another = obtain(table, "10.2.0.2", 0, { name: OTHER.name, client: "d" });
  assertEquals([fake, another].map((text) => text.split(".").length), [4, 4]);
  assertEquals(obtain(table, "10.2.0.3", 0, { name: "b.test", client: "e" }), "full");
  // What is known is anybody's.
  assertEquals(obtain(table, "10.2.0.1", 0, HOG), fake);
});

Deno.test("Table gives the hog's fakes to others, when their quarantine is over", () => {
  const { table } = makeTable("192.0.2.0/28");
  const all = Array.from({ length: 12 }, (_, n) => `10.1.0.${n}`);
  for (const real of all) obtain(table, real, 0, HOG);
  table.expire(TTL_MS);
  assertEquals(obtain(table, "10.1.0.99", TTL_MS, HOG), "share");
  const overMs = TTL_MS + QUARANTINE_MS;
  assertEquals(obtainAll(table, all.map((_, n) => `10.2.0.${n}`), overMs, OTHER).length, 12);
  assertEquals([table.size, obtain(table, "10.2.0.99", overMs, OTHER)], [12, "share"]);
});

Deno.test("Table.reactivate() leaves a fake, when packets come for more than the common part has", () => {
  const { table } = makeTable("192.0.2.0/28");
  const fakes = Array.from({ length: 14 }, (_, n) => {
    const holder = { name: `${n}.test`, client: `${n}` };
    return obtain(table, `10.1.0.${n}`, 0, holder);
  });
  table.expire(TTL_MS);
  table.expire(TTL_MS + QUARANTINE_MS);
  const found = fakes.map((fake) => table.reactivate(bytesOf(fake), TTL_MS + QUARANTINE_MS));
  assertEquals(found.filter((what) => what === "reactivated").length, 12);
  assertEquals([table.size, table.quarantined], [12, 2]);
  assertEquals(obtain(table, "10.2.0.1", TTL_MS + QUARANTINE_MS, OTHER).split(".").length, 4);
});

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

/**
 * Both IP versions as one: whatever is done with a lease reaches the table that has it, all addresses
 * of a reply are mapped or none, and two plain models beside it.
 */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { addressToText, type Family } from "../../lib/address.ts";
import type { Change } from "../../lib/nat/changes.ts";
import type { Holder } from "../../lib/nat/shares.ts";
import {
  activePairs,
  addressesOf,
  bytesOf,
  makeNat,
  noteTraffic,
  obtain,
  realAddress,
} from "../support/nat.ts";
import { NatModel, NOTHING, type Plan } from "../support/nat_model.ts";
import { holds } from "../support/property.ts";

const TTL_MS = 1_000;
const QUARANTINE_MS = 300;
const HOLDER: Holder = { name: "example.com", client: "192.0.2.99" };

Deno.test("Mappings counts both IP versions, when they are active and when they are quarantined", () => {
  const { mappings, tables } = makeNat({ ttlMs: TTL_MS, quarantineMs: QUARANTINE_MS });
  assertEquals([mappings.size, mappings.isEmpty], [0, true]);
  assertEquals([mappings.of(4), mappings.of(6)], [tables[4], tables[6]]);
  obtain(tables[4], "192.0.2.1", 0);
  obtain(tables[6], "2001:db8::1", 5);
  assertEquals([mappings.size, mappings.isEmpty], [2, false]);
  assertEquals(mappings.expire(4 + TTL_MS), 1);
  assertEquals([mappings.size, mappings.isEmpty], [1, false]);
  assertEquals(mappings.expire(5 + TTL_MS), 1);
  assertEquals([mappings.size, mappings.isEmpty], [0, false]);
});

Deno.test("Mappings has the earliest of all deadlines, when both tables have some", () => {
  const { mappings, tables } = makeNat({ ttlMs: TTL_MS });
  assertEquals([mappings.nextExpiryMs, mappings.nextDeadlineMs], [Infinity, Infinity]);
  obtain(tables[6], "2001:db8::1", 3);
  obtain(tables[4], "192.0.2.1", 5);
  assertEquals([mappings.nextExpiryMs, mappings.nextDeadlineMs], [3 + TTL_MS, 3 + TTL_MS]);
  // The kernel's own timeout counts as well, whichever table has it.
  tables[4].expectTimeout(500);
  assertEquals([mappings.nextExpiryMs, mappings.nextDeadlineMs], [3 + TTL_MS, 205]);
  mappings.renew(205);
  assertEquals(mappings.nextDeadlineMs, 405);
});

Deno.test("Mappings finds the mapping of a lease, when it is in either table", () => {
  for (const [family, real, other] of [[4, "192.0.2.1", 6], [6, "2001:db8::1", 4]] as const) {
    const { mappings, tables, log } = makeNat({ ttlMs: TTL_MS });
    obtain(tables[other], other === 4 ? "192.0.2.9" : "2001:db8::9", 0);
    obtain(tables[family], real, 0);
    const lease = log.revision;
    assertEquals([mappings.holds(lease), mappings.holds(lease + 1)], [true, false]);
    mappings.prolong(lease, 10);
    assertEquals([tables[4].nextExpiryMs, tables[6].nextExpiryMs].sort(), [TTL_MS, 10 + TTL_MS]);
    assertEquals([mappings.drop(lease), mappings.drop(lease), mappings.holds(lease)], [
      true,
      false,
      false,
    ]);
    assertEquals([tables[family].quarantined, tables[other].size], [1, 1]);
  }
});

Deno.test("Mappings.mapAll() maps none and changes nothing, when one of the pools has too few", () => {
  const { mappings, tables, log } = makeNat({ ipv4: "192.0.2.0/30", ipv6: "2001:2::/126" });
  for (const n of [1, 2, 3]) obtain(tables[6], `2001:db8::${n}`, 0);
  const known = obtain(tables[4], "10.0.0.1", 0);
  log.takeAll();
  const [view, expiryMs] = [addressesOf(["10.0.0.2", "10.0.0.1", "2001:db8::4"]), 120_000];
  assertEquals(mappings.renewAll(view, 5_000), false);
  assertEquals(mappings.mapAll(view, HOLDER, 5_000), "full");
  assertEquals([log.size, mappings.size, mappings.nextExpiryMs], [0, 4, expiryMs]);
  // The other way round, and what was not taken is there to be taken.
  const other = addressesOf(["10.0.0.2", "10.0.0.3", "2001:db8::1"]);
  assertEquals(mappings.renewAll(other, 5_000), false);
  assertEquals(mappings.mapAll(other, HOLDER, 5_000), "full");
  assertEquals([log.size, mappings.size, mappings.nextExpiryMs], [0, 4, expiryMs]);
  const both = addressesOf(["10.0.0.2", "2001:db8::1", "10.0.0.1"]);
  assertEquals(mappings.renewAll(both, 5_000), false);
  assertEquals(mappings.mapAll(both, HOLDER, 5_000), undefined);
  assertEquals([log.size, mappings.size, mappings.lease(both, 2)], [1, 5, 4]);
  mappings.writeFakes(both);
  assertEquals(addressToText(new Uint8Array(both.view.buffer, 20, 4)), known);
});

Deno.test("Mappings.renewAll() begins lifetimes anew, when all are active and only then", () => {
  const { mappings, tables, log } = makeNat({ ttlMs: TTL_MS });
  obtain(tables[4], "10.0.0.1", 0);
  obtain(tables[6], "2001:db8::1", 0);
  log.takeAll();
  const some = addressesOf(["10.0.0.1", "2001:db8::1", "10.0.0.2"]);
  assertEquals([mappings.renewAll(some, 500), mappings.nextExpiryMs], [false, TTL_MS]);
  const all = addressesOf(["10.0.0.1", "2001:db8::1", "10.0.0.1"]);
  assertEquals([mappings.renewAll(all, 500), mappings.nextExpiryMs], [true, 500 + TTL_MS]);
  assertEquals(log.size, 0);
});

const FAMILIES = [4, 6] as const;
const PREFIXES = { ipv4: "192.0.2.0/27", ipv6: "2001:2::/123" };
/** What the two prefixes can give. */
const USABLE: Readonly<Record<Family, readonly string[]>> = {
  4: Array.from({ length: 30 }, (_, n) => `192.0.2.${n + 1}`),
  6: Array.from({ length: 31 }, (_, n) => `2001:2::${(n + 1).toString(16)}`),
};

const TIMES = {
  ttlMs: TTL_MS,
  ttlMaxMs: 4 * TTL_MS,
  quarantineMs: QUARANTINE_MS,
};

/** Reals by number: even ones IPv4, odd ones IPv6. */
function realOf(n: number): string {
  return n % 2 === 0 ? realAddress(n) : `2001:db8::${(n + 1).toString(16)}`;
}

function familyOf(address: string): Family {
  return address.includes(":") ? 6 : 4;
}

const SOME_FAKES = fc.array(fc.nat(31), { maxLength: 12 });
const STEPS = {
  answer: [10, {
    reals: fc.array(fc.nat(99), { minLength: 1, maxLength: 10 }),
    name: fc.nat(2),
    client: fc.nat(2),
  }],
  wait: [4, { ms: fc.nat(600) }],
  expire: [3, {}],
  traffic: [3, { fakes: SOME_FAKES, ageS: fc.nat(3) }],
  connections: [3, { fakes: SOME_FAKES, back: fc.nat(20) }],
  missed: [1, { fake: fc.nat(31) }],
  adopt: [1, { fake: fc.nat(31), real: fc.nat(49), isActive: fc.boolean() }],
  drop: [1, { n: fc.nat(40), back: fc.nat(1) }],
  startOver: [0.2, { promiseMs: fc.nat(3 * TTL_MS) }],
} as const;

type Step = { readonly [What in keyof typeof STEPS]: readonly [What, Values<What>] }[
  keyof typeof STEPS
];
type Values<What extends keyof typeof STEPS> = {
  readonly [Key in keyof typeof STEPS[What][1]]: typeof STEPS[What][1][Key] extends
    fc.Arbitrary<infer T> ? T : never;
};

const STEP = fc.oneof(
  ...Object.entries(STEPS).map(([what, [weight, values]]) => ({
    weight: weight * 5,
    arbitrary: fc.tuple(
      fc.constant(what),
      fc.record(values as Record<string, fc.Arbitrary<unknown>>),
    ),
  })),
) as fc.Arbitrary<Step>;

/** Mappings and their models, given the same steps. */
class Beside {
  readonly #nat;
  readonly #models: Readonly<Record<Family, NatModel>>;
  #nowMs = 0;

  constructor(evictAfterMs: number) {
    this.#nat = makeNat({ ...PREFIXES, ...TIMES, evictAfterMs });
    const modelOf = (family: Family) =>
      new NatModel({ ...TIMES, evictAfterMs, usable: new Set(USABLE[family]) });
    this.#models = { 4: modelOf(4), 6: modelOf(6) };
  }

  step([what, values]: Step): void {
    const nowMs = this.#nowMs;
    const { log, tables } = this.#nat;
    switch (what) {
      case "answer":
        this.#answer(values);
        break;
      case "wait":
        this.#nowMs += values.ms;
        break;
      case "expire": {
        const before = log.revision;
        const expired = this.#nat.mappings.expire(nowMs);
        const of4 = this.#models[4].expire(nowMs, before + 1);
        assertEquals(expired, of4 + this.#models[6].expire(nowMs, before + 1 + of4));
        break;
      }
      case "startOver":
        for (const family of FAMILIES) {
          tables[family].startOver(nowMs + values.promiseMs);
          this.#models[family].startOver(nowMs + values.promiseMs);
        }
        break;
      case "drop":
        this.#drop(values);
        break;
      default:
        for (const family of FAMILIES) this.#stepOf(family, [what, values] as Step);
    }
    this.#compare();
  }

  #answer({ reals: numbers, name, client }: Values<"answer">): void {
    const { log, mappings } = this.#nat;
    const nowMs = this.#nowMs;
    const reals = numbers.map(realOf);
    const holder = { name: `${name}.test`, client: `${client}` };
    const addresses = addressesOf(reals);
    const isKnown = mappings.renewAll(addresses, nowMs);
    const before = log.revision;
    const of = (family: Family) => reals.filter((real) => familyOf(real) === family);
    assertEquals(isKnown, FAMILIES.every((family) => this.#models[family].knows(of(family))));
    const plans: Plan[] = [];
    for (const family of FAMILIES) {
      const plan = isKnown ? NOTHING : this.#models[family].plan(of(family), holder, nowMs);
      if (typeof plan === "string") {
        assertEquals(mappings.mapAll(addresses, holder, nowMs), plan);
        return;
      }
      plans.push(plan);
    }
    if (!isKnown) assertEquals(mappings.mapAll(addresses, holder, nowMs), undefined);
    mappings.writeFakes(addresses);
    const { view, offsets } = addresses;
    const fakes = reals.map((real, n) =>
      addressToText(new Uint8Array(view.buffer, offsets[n]!, bytesOf(real).length))
    );
    let revision = before + 1;
    for (const [i, family] of FAMILIES.entries()) {
      const own = fakes.filter((_, n) => familyOf(reals[n]!) === family);
      revision = this.#models[family].answer(of(family), plans[i]!, holder, nowMs, own, revision);
    }
  }

  #drop({ n, back }: Values<"drop">): void {
    const active = FAMILIES.flatMap((family) => this.#models[family].active());
    const lease = (active[n % active.length]?.revision ?? 0) - back;
    const isDropped = FAMILIES.map((family) => this.#models[family].drop(lease)).includes(true);
    assertEquals(this.#nat.mappings.drop(lease), isDropped);
  }

  #stepOf(family: Family, [what, values]: Step): void {
    const [{ log, tables }, nowMs, model] = [this.#nat, this.#nowMs, this.#models[family]];
    const table = tables[family];
    const fakeOf = (n: number) => USABLE[family][n] ?? (family === 4 ? "192.0.2.0" : "2001:2::");
    const fakes = "fakes" in values ? values.fakes.map(fakeOf) : [];
    if (what === "traffic") {
      noteTraffic(table, fakes, nowMs, values.ageS);
      model.noteTraffic(fakes, values.ageS, nowMs);
    } else if (what === "connections") {
      const revision = log.revision - values.back;
      table.noteConnections(fakes.map((fake) => ({ fake: bytesOf(fake) })), revision);
      model.noteConnections(fakes, revision);
    } else if (what === "missed") {
      const [fake, revision] = [fakeOf(values.fake), log.revision + 1];
      const expected = model.reactivate(fake, nowMs, revision);
      assertEquals(table.reactivate(bytesOf(fake), nowMs), expected);
    } else if (what === "adopt") {
      const [fake, real] = [fakeOf(values.fake), realOf(2 * values.real + (family === 4 ? 0 : 1))];
      const pair = { fake: bytesOf(fake), real: bytesOf(real) };
      const { isActive } = values;
      const isAdopted = isActive ? table.adopt(pair, nowMs) : table.adoptQuarantined(pair, nowMs);
      assertEquals(isAdopted, model.adopt(fake, real, nowMs, log.revision, isActive));
    }
  }

  #compare(): void {
    const { log, tables } = this.#nat;
    const changes = log.takeAll();
    for (const family of FAMILIES) {
      const [table, model] = [tables[family], this.#models[family]];
      const active = model.active();
      assertEquals([table.size, table.quarantined], [active.length, model.quarantined]);
      assertEquals(
        [table.nextExpiryMs, table.trafficDueMs],
        [model.nextExpiryMs, model.trafficDueMs],
      );
      // As one text, since this runs after each of many steps.
      assertEquals(
        activePairs(table).map((pair) => `${pair.revision} ${textOf(pair)}`).join(),
        active.map(({ revision, fake, real }) => `${revision} ${fake} ${real} false`).join(),
      );
      assertEquals(
        changes.filter((change) => change.family === family)
          .map((change) => `${change.kind} ${textOf(change)}`).join(),
        model.takeChanges().join(),
      );
    }
  }
}

function textOf(change: Change): string {
  return `${addressToText(change.fake)} ${addressToText(change.real)} ${change.isReused ?? false}`;
}

for (const [policy, evictAfterMs] of [["servfail", Infinity], ["evict", TTL_MS / 2]] as const) {
  Deno.test(`Mappings does what the models do, when steps are random and a full pool does ${policy}`, () => {
    holds(
      `Mappings ${policy}`,
      fc.property(fc.array(STEP, { maxLength: 150, size: "max" }), (steps) => {
        const beside = new Beside(evictAfterMs);
        for (const step of steps) beside.step(step);
      }),
      200,
    );
  });
}

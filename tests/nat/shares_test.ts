/** Shares of a pool: what a lone holder gets, what is left for others, and what is counted. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Holder, Part, Shares } from "../../lib/nat/shares.ts";
import { holds } from "../support/property.ts";

/** A pool of which slots are taken one after the other. */
class Taking {
  readonly shares: Shares;
  #slots = 0;

  constructor(capacity: number) {
    this.shares = new Shares(capacity);
  }

  /** Takes up to `most` for a holder; how many it got. */
  take(name: string, client: string, most = Infinity): number {
    const holder: Holder = { name, client };
    for (let n = 0; n < most; n++) {
      const part = this.shares.take(holder);
      if (part === Part.NONE) return n;
      this.shares.assign(this.#slots++, part, holder);
    }
    return most;
  }
}

Deno.test("Shares gives a lone name and client three quarters of the pool, when they want all", () => {
  for (
    const [capacity, expected] of [
      [2, 2], // a /30: nothing can be kept
      [6, 6],
      [7, 7],
      [8, 6],
      [14, 12], // a /28
      [254, 192],
      [131_070, 98_304], // a /15
    ] as const
  ) {
    assertEquals(new Taking(capacity).take("a.test", "c"), expected, `${capacity}`);
  }
});

Deno.test("Shares keeps fakes for other names of the same client, when one name wants all", () => {
  const taking = new Taking(254);
  assertEquals(taking.take("hog.test", "c"), 192);
  assertEquals(taking.take("a.test", "c"), 16);
  assertEquals(taking.take("b.test", "c"), 8);
  // Each new one gets something, down to the last.
  const more = Array.from({ length: 6 }, (_, n) => taking.take(`${n}.test`, "c"));
  assertEquals(more, [4, 2, 1, 0, 0, 0]);
  assertEquals(taking.take("hog.test", "c"), 0);
});

Deno.test("Shares keeps fakes for other clients and the same name, when one client wants all", () => {
  const taking = new Taking(254);
  assertEquals(taking.take("a.test", "hog"), 192);
  assertEquals([taking.take("a.test", "c"), taking.take("a.test", "d")], [16, 8]);
  assertEquals([taking.take("a.test", "hog"), taking.take("b.test", "hog")], [0, 16]);
});

Deno.test("Shares keeps fakes for other names, when one name wants all for ever new clients", () => {
  const taking = new Taking(254);
  let taken = 0;
  for (let n = 0; n < 1_000; n++) taken += taking.take("hog.test", `${n}`);
  assertEquals(taken, 254 - 31);
  assertEquals(taking.take("a.test", "1"), 16);
});

Deno.test("Shares keeps fakes for other clients, when one client wants all for ever new names", () => {
  const taking = new Taking(254);
  let taken = 0;
  for (let n = 0; n < 1_000; n++) taken += taking.take(`${n}.test`, "hog");
  assertEquals(taken, 254 - 31);
  assertEquals(taking.take("1.test", "c"), 16);
});

Deno.test("Shares gives what was freed to whoever comes, when it was common", () => {
  const { shares, ...taking } = new Taking(16);
  const holder = { name: "a.test", client: "c" };
  assertEquals(taking, {});
  for (let slot = 0; slot < 12; slot++) shares.assign(slot, shares.take(holder), holder);
  assertEquals(shares.take(holder), Part.NONE);
  shares.free(3);
  assertEquals([shares.held, shares.take(holder)], [11, Part.COMMON]);
});

Deno.test("Shares.giveBack() leaves no trace, when what was taken is not assigned", () => {
  const shares = new Shares(16);
  const holder = { name: "a.test", client: "c" };
  for (let round = 0; round < 3; round++) {
    const parts = Array.from({ length: 14 }, () => shares.take(holder));
    assertEquals(parts.filter((part) => part === Part.NONE).length, 2);
    assertEquals([shares.held, shares.holders], [12, 2]);
    for (const part of parts) if (part !== Part.NONE) shares.giveBack(part, holder);
    assertEquals([shares.held, shares.holders, shares.commonShare], [0, 0, 0]);
  }
});

Deno.test("Shares.ease() makes a fake common, when there is room again and not before", () => {
  const shares = new Shares(16);
  const [hog, other] = [{ name: "hog.test", client: "h" }, { name: "a.test", client: "c" }];
  for (let slot = 0; slot < 12; slot++) shares.assign(slot, shares.take(hog), hog);
  shares.assign(12, shares.take(other), other);
  shares.ease(12);
  assertEquals([shares.partOf(12), shares.commonShare], [Part.FOR_NAMES, 1]);
  shares.free(0);
  shares.ease(12);
  assertEquals([shares.partOf(12), shares.held, shares.commonShare], [Part.COMMON, 12, 1]);
});

Deno.test("Shares.assignAnyway() counts what is in use, when there is no room", () => {
  const shares = new Shares(8);
  for (let slot = 0; slot < 7; slot++) shares.assignAnyway(slot);
  assertEquals([shares.held, shares.take(), shares.isFull], [7, Part.NONE, false]);
  const holder = { name: "a.test", client: "c" };
  assertEquals([shares.take(holder), shares.isFull], [Part.FOR_NAMES, true]);
  assertEquals(shares.take({ name: "b.test", client: "d" }), Part.NONE);
});

type Step = readonly [name: number, client: number, isFreed: boolean];

Deno.test("Shares never gives more than there is, nor forgets or keeps anyone, when steps are random", () => {
  const step: fc.Arbitrary<Step> = fc.tuple(fc.nat(4), fc.nat(4), fc.boolean());
  holds(
    "Shares",
    fc.property(fc.nat(60), fc.array(step, { maxLength: 200 }), (capacity, steps) => {
      const shares = new Shares(capacity);
      const held: { slot: number; holder: Holder }[] = [];
      for (const [slot, [name, client, isFreed]] of steps.entries()) {
        if (isFreed) {
          const [freed] = held.splice(name * client % (held.length + 1), 1);
          if (freed !== undefined) shares.free(freed.slot);
        } else {
          const holder = { name: `${name}.test`, client: `${client}` };
          const part = shares.take(holder);
          // Who holds nothing gets one while there is one in the part that is kept for such.
          if (part === Part.NONE) assertRefusable(capacity, held, holder);
          else {
            shares.assign(slot, part, holder);
            held.push({ slot, holder });
          }
        }
        assertEquals(shares.held, held.length);
        assert(held.length <= capacity);
        const of = (key: keyof Holder) => new Set(held.map(({ holder }) => holder[key])).size;
        assertEquals(shares.holders, of("name") + of("client"));
      }
    }),
  );
});

/** Asserts that the holder has something, or that what is kept for names and clients is taken. */
function assertRefusable(
  capacity: number,
  held: readonly { holder: Holder }[],
  { name, client }: Holder,
): void {
  const has = (key: keyof Holder, value: string) =>
    held.filter(({ holder }) => holder[key] === value).length;
  const kept = Math.floor(capacity / 8);
  const isPoor = has("name", name) === 0 && has("client", client) === 0;
  assert(held.length >= capacity - 2 * kept, "refused while the common part has room");
  if (isPoor) assertEquals(held.length, capacity, "refused though it holds nothing");
}

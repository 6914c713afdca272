/** Rows of addresses and the hash index over them, against a `Map`. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { NONE } from "../../lib/util/age_queue.ts";
import { hashWords, RowIndex, Rows, type Width } from "../../lib/nat/rows.ts";
import { bytesOf, words } from "../support/nat.ts";
import { holds } from "../support/property.ts";

const ADDRESSES = { 1: ["192.0.2.1", "255.255.255.255"], 4: ["2001:db8::1", "ffff::8000:0:1"] };
const WIDTHS: readonly Width[] = [1, 4];

Deno.test("Rows keeps addresses apart, when rows beside each other are set", () => {
  for (const width of WIDTHS) {
    const [one, two] = ADDRESSES[width].map(words) as [Uint32Array, Uint32Array];
    const rows = new Rows(width);
    rows.set(0, one);
    rows.set(1, two);
    assert(rows.equals(0, one) && rows.equals(1, two));
    assert(!rows.equals(0, two) && !rows.equals(1, one));
    const got = new Uint32Array(width);
    rows.get(1, got);
    assertEquals(got, two);
    assertEquals(rows.toBytes(0), bytesOf(ADDRESSES[width][0]!));
  }
});

Deno.test("Rows.equals() compares every word, when one of them differs", () => {
  const address = words("1:2:3:4:5:6:7:8");
  const rows = new Rows(4);
  rows.set(3, address);
  for (let i = 0; i < 4; i++) {
    const other = address.slice();
    other[i]! ^= 1;
    assert(!rows.equals(3, other), `${i}`);
  }
});

Deno.test("Rows.set() grows, when the row is at, behind or far behind its end", () => {
  for (const width of WIDTHS) {
    const address = words(ADDRESSES[width][1]!);
    const rows = new Rows(width);
    const last = 64 / width - 1;
    for (const row of [last, last + 1, last + 2, 5_000]) rows.set(row, address);
    for (const row of [last, last + 1, last + 2, 5_000]) assert(rows.equals(row, address));
  }
});

Deno.test("hashWords() is never negative and differs, when one bit or the key does", () => {
  const address = words("2001:db8::1");
  const hash = hashWords(address, 4, 1);
  assertEquals(hash, hashWords(address.slice(), 4, 1));
  assertNotEquals(hash, hashWords(address, 4, 2));
  for (let bit = 0; bit < 128; bit++) {
    const other = address.slice();
    other[bit >>> 5]! ^= 1 << (bit & 31);
    const changed = hashWords(other, 4, 1);
    assertNotEquals(changed, hash, `${bit}`);
    assert(changed >= 0 && Number.isInteger(changed));
  }
});

Deno.test("hashWords() is MurmurHash3, when the words are little-endian blocks", () => {
  // Known vectors of the x86 variant with 32 bits: one block, and a seed.
  assertEquals(hashWords(Uint32Array.of(0), 1, 0), 0x2362f9de);
  assertEquals(hashWords(Uint32Array.of(0xffffffff), 1, 0), 0x76293b50);
  assertEquals(hashWords(Uint32Array.of(0x87654321), 1, 0), 0xf55b516b);
  assertEquals(hashWords(Uint32Array.of(0x87654321), 1, 0x5082edee), 0x2362f9de);
});

Deno.test("hashWords() spreads, when addresses follow each other", () => {
  const buckets = new Uint32Array(256);
  for (let i = 0; i < 65_536; i++) buckets[hashWords(Uint32Array.of(i), 1, 7) & 0xff]!++;
  for (const count of buckets) assert(count > 150 && count < 370, `${count}`);
});

type Step = readonly [what: "add" | "remove" | "find", n: number];

Deno.test("RowIndex does what a Map does, when steps are random", () => {
  const step: fc.Arbitrary<Step> = fc.tuple(
    fc.constantFrom("add" as const, "add" as const, "remove" as const, "find" as const),
    fc.nat(150),
  );
  holds(
    "RowIndex",
    fc.property(
      fc.constantFrom(...WIDTHS),
      fc.integer(),
      fc.array(step, { minLength: 1, maxLength: 400 }),
      (width, key, steps) => {
        const rows = new Rows(width);
        const index = new RowIndex(rows, key);
        const model = new Map<number, number>();
        const addressOf = (n: number) =>
          width === 1 ? Uint32Array.of(n) : Uint32Array.of(1, n, 0, 9);
        for (const [i, [what, n]] of steps.entries()) {
          const known = model.get(n);
          if (what === "add" && known === undefined) {
            rows.set(i, addressOf(n));
            index.add(i);
            model.set(n, i);
          } else if (what === "remove" && known !== undefined) {
            index.remove(known);
            model.delete(n);
          }
          assertEquals(index.find(addressOf(n)), model.get(n) ?? NONE);
        }
        for (let n = 0; n <= 150; n++) assertEquals(index.find(addressOf(n)), model.get(n) ?? NONE);
      },
    ),
  );
});

Deno.test("RowIndex finds everything, when it has grown and half of it is gone", () => {
  const rows = new Rows(1);
  const index = new RowIndex(rows, 3);
  for (let i = 0; i < 10_000; i++) {
    rows.set(i, Uint32Array.of(i * 7));
    index.add(i);
  }
  for (let i = 0; i < 10_000; i += 2) index.remove(i);
  for (let i = 0; i < 10_000; i++) {
    assertEquals(index.find(Uint32Array.of(i * 7)), i % 2 === 0 ? NONE : i);
  }
});

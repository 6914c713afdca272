/** SipHash-2-4 against the vectors that its authors published. */
import { assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { KEY_LENGTH, MESSAGE_LENGTH_MAX, SipHash } from "../../lib/util/siphash.ts";

/** The key 00 01 … 0f, as all vectors have it. */
const KEY = octets(KEY_LENGTH);

/** 00 01 02 …, as the vectors' messages are. */
function octets(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => i);
}

function hashOf(hash: SipHash, message: Uint8Array): string {
  hash.hash(message);
  return [hash.high, hash.low].map((half) => half.toString(16).padStart(8, "0")).join("");
}

Deno.test("SipHash.hash() gives the published results, when key and message are those", () => {
  const hash = new SipHash(KEY);
  for (
    const [length, expected] of [
      [0, "726fdb47dd0e0e31"],
      [1, "74f839c593dc67fd"],
      [8, "93f5f5799a932462"],
      [15, "a129ca6149be45e5"],
    ] as const
  ) assertEquals(hashOf(hash, octets(length)), expected, `${length}`);
});

Deno.test("SipHash.hash() knows nothing of the message before, when it was longer", () => {
  const hash = new SipHash(KEY);
  hashOf(hash, octets(MESSAGE_LENGTH_MAX).fill(0xff));
  assertEquals(hashOf(hash, octets(1)), "74f839c593dc67fd");
  const other = new SipHash(new Uint8Array(KEY_LENGTH));
  assertNotEquals(hashOf(other, octets(1)), "74f839c593dc67fd");
  assertEquals(hashOf(hash, octets(8)), "93f5f5799a932462");
});

Deno.test("SipHash.hash() sees every octet of an address, when one bit differs", () => {
  const hash = new SipHash(KEY);
  for (const length of [4, MESSAGE_LENGTH_MAX]) {
    const seen = new Set([hashOf(hash, octets(length))]);
    for (let i = 0; i < length; i++) seen.add(hashOf(hash, octets(length).with(i, 0x80 | i)));
    assertEquals(seen.size, length + 1);
  }
});

Deno.test("SipHash sees every octet of its key, when one bit differs", () => {
  const keys = Array.from({ length: KEY_LENGTH }, (_, i) => KEY.with(i, 0x80 | i));
  const results = [KEY, ...keys].map((key) => hashOf(new SipHash(key), octets(4)));
  assertEquals(new Set(results).size, KEY_LENGTH + 1);
});

Deno.test("SipHash reads its key where it lies, when that is inside a larger buffer", () => {
  const larger = Uint8Array.of(9, 9, 9, ...KEY, 9);
  const hash = new SipHash(larger.subarray(3, 3 + KEY_LENGTH));
  assertEquals(hashOf(hash, octets(15)), "a129ca6149be45e5");
});

Deno.test("SipHash throws a RangeError, when a key has another length", () => {
  for (const length of [0, KEY_LENGTH - 1, KEY_LENGTH + 1]) {
    assertThrows(() => new SipHash(new Uint8Array(length)), RangeError, `${length}`);
  }
});

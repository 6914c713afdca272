/** The keyed hash of labels: what it must see, what it must not, and that the key decides. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { KEY_LENGTH, LabelHash } from "../../lib/policy/label_hash.ts";
import { LABEL_HASH } from "../support/domains.ts";
import { viewOf } from "../support/hex.ts";
import { wireName } from "../support/packet.ts";

function hashOf(label: string, parent = 0, hash = LABEL_HASH): number {
  return hash.of(parent, viewOf(wireName(label)), 0);
}

Deno.test("LabelHash.of() sees every octet, when one is other", () => {
  const label = "a".repeat(63);
  const hashes = new Set([hashOf(label)]);
  for (let i = 0; i < label.length; i++) {
    hashes.add(hashOf(`${label.slice(0, i)}b${label.slice(i + 1)}`));
    hashes.add(hashOf(label.slice(0, i + 1)));
  }
  // The whole label is one of those that were cut.
  assertEquals(hashes.size, 2 * label.length);
});

Deno.test("LabelHash.of() sees where a label hangs, when one octet of that is other", () => {
  const parents = [0, 1, 0x100, 0x1_0000, 0x100_0000, 0x7fff_ffff];
  assertEquals(new Set(parents.map((parent) => hashOf("www", parent))).size, parents.length);
});

Deno.test("LabelHash.of() takes upper and lower case for one, when they are letters", () => {
  assertEquals(hashOf("WWW-Example9"), hashOf("www-example9"));
  assertEquals(hashOf("ZzAa"), hashOf("zZaA"));
  // These differ by the same bit and are no letters.
  for (const [one, other] of [["@", "`"], ["[", "{"]] as const) {
    assertNotEquals(hashOf(one), hashOf(other));
  }
});

Deno.test("LabelHash.of() looks at the label alone, when there is more behind it", () => {
  assertEquals(hashOf("www"), hashOf("www.example.com"));
});

Deno.test("LabelHash.of() is other, when the key is", () => {
  const other = new LabelHash(new Uint8Array(KEY_LENGTH).fill(0xff));
  const labels = ["a", "www", "example", "x".repeat(63)];
  for (const label of labels) assertNotEquals(hashOf(label, 0, other), hashOf(label));
});

Deno.test("LabelHash.of() spreads labels evenly over few slots, when they are alike", () => {
  const slots = new Int32Array(256);
  const count = 256 * 64;
  for (let i = 0; i < count; i++) slots[hashOf(`host${i}`) & 0xff]!++;
  // Chi-squared with 255 degrees of freedom: beyond 400 once in a thousand million.
  const chi = slots.reduce((sum, n) => sum + (n - 64) ** 2 / 64, 0);
  assert(chi < 400, `${chi}`);
});

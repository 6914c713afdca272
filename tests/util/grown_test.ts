/** Arrays that grow: what is in them stays, what is new is zero, and growing is rare. */
import { assert, assertEquals } from "@std/assert";
import { type Growing, grown } from "../../lib/util/grown.ts";

Deno.test("grown() keeps the array, when it has the index", () => {
  const array = Uint8Array.of(1, 2, 3);
  assert(grown(array, 2) === array);
});

Deno.test("grown() gives a longer array of the same kind, when the index is behind its end", () => {
  for (
    const array of [
      Uint8Array.of(1, 2),
      Int32Array.of(-1, 2),
      Uint32Array.of(1, 2 ** 32 - 1),
      Float64Array.of(0.5, -Infinity),
    ] as Growing[]
  ) {
    const longer = grown(array, 2);
    assert(longer.constructor === array.constructor);
    assertEquals([...longer], [...array, 0, 0]);
    assertEquals(grown(array, 9).length, 10);
  }
});

Deno.test("grown() copies each place a bounded number of times, when indices come one by one", () => {
  let [array, copied] = [new Int32Array(1), 0];
  for (let index = 0; index < 10_000; index++) {
    const longer = grown(array, index);
    if (longer !== array) copied += array.length;
    array = longer;
    array[index] = index;
  }
  assert(copied < 20_000);
  assert(array.subarray(0, 10_000).every((n, i) => n === i));
});

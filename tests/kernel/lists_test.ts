/** Lists of what the kernel holds. */
import { assertEquals } from "@std/assert";
import { addressToText } from "../../lib/address.ts";
import { AddressList, PairList } from "../../lib/kernel/lists.ts";
import { bytesOf, realAddress } from "../support/nat.ts";

Deno.test("AddressList keeps addresses and ages, when there are more than there was room for", () => {
  for (const count of [0, 1, 63, 64, 65, 129, 1_000]) {
    const list = new AddressList(4);
    const scratch = new Uint8Array(4);
    for (let n = 0; n < count; n++) {
      scratch.set(bytesOf(realAddress(n)));
      list.add(scratch, n / 2);
    }
    assertEquals(list.size, count);
    for (let turn = 0; turn < 2; turn++) {
      const texts = Array.from(list, addressToText);
      assertEquals(texts, Array.from({ length: count }, (_, n) => realAddress(n)));
    }
    if (count > 0) assertEquals(list.ageS(count - 1), (count - 1) / 2);
  }
});

Deno.test("AddressList and PairList leave out addresses, when they are of the other IP version", () => {
  const [four, six] = [bytesOf("192.0.2.1"), bytesOf("2001:db8::1")];
  for (const [family, ours, other] of [[4, four, six], [6, six, four]] as const) {
    const [addresses, pairs] = [new AddressList(family), new PairList(family)];
    addresses.add(other);
    for (const [fake, real] of [[other, other], [ours, other], [other, ours]] as const) {
      pairs.add(fake, real);
    }
    assertEquals([addresses.size, pairs.size], [0, 0]);
    addresses.add(ours);
    pairs.add(ours, ours);
    assertEquals([...addresses, ...pairs], [ours, { fake: ours, real: ours }]);
  }
});

Deno.test("PairList.oldestFirst() is in the order of age, when ages are equal, broken or without end", () => {
  const pair = bytesOf("192.0.2.1");
  for (
    const [ages, expected] of [
      [[], []],
      [[5], [0]],
      [[1, 3, 2], [1, 2, 0]],
      [[0, 7, 0, 7], [1, 3, 0, 2]],
      [[0.2, 1.7, 1.2], [1, 2, 0]],
      [[0, Infinity, 2 ** 40, 86_400], [1, 2, 3, 0]],
    ] as const
  ) {
    const list = new PairList(4);
    for (const ageS of ages) list.add(pair, pair, ageS);
    assertEquals([...list.oldestFirst()], expected, ages.join());
  }
});

Deno.test("PairList.oldestFirst() is exact, when there are as many pairs as dotp keeps", () => {
  const count = 262_144;
  const list = new PairList(4);
  const pair = bytesOf("192.0.2.1");
  for (let n = 0; n < count; n++) list.add(pair, pair, (n * 7_919) % 86_400);
  let previous = -1;
  const order = list.oldestFirst();
  for (const n of order) {
    const before = previous < 0 ? Infinity : list.ageS(previous);
    if (list.ageS(n) > before || (list.ageS(n) === before && n < previous)) {
      throw new Error(`${n} stands behind ${previous}`);
    }
    previous = n;
  }
  assertEquals([order.length, new Set(order).size], [count, count]);
});

/** The addresses of a reply: how many there may be, and which stand there twice. */
import { assert, assertEquals } from "@std/assert";
import { ADDRESSES_PER_REPLY_MAX, ReplyAddresses } from "../../lib/nat/reply_addresses.ts";
import { addressesOf } from "../support/nat.ts";

Deno.test("ReplyAddresses.add() takes as many as ADDRESSES_PER_REPLY_MAX and no more", () => {
  const addresses = new ReplyAddresses();
  for (let round = 0; round < 2; round++) {
    addresses.reset(new DataView(new ArrayBuffer(16)));
    for (let n = 0; n < ADDRESSES_PER_REPLY_MAX; n++) {
      assert(addresses.add(n, n % 2 === 0 ? 4 : 6), `${n}`);
    }
    assertEquals([addresses.add(0, 4), addresses.add(0, 6)], [false, false]);
    assertEquals(addresses.count, ADDRESSES_PER_REPLY_MAX);
    const last = ADDRESSES_PER_REPLY_MAX - 1;
    assertEquals([addresses.offsets[last], addresses.families[last]], [last, 6]);
  }
});

Deno.test("ReplyAddresses.isRepeated() tells the second place of an address, when there is one", () => {
  const addresses = addressesOf([
    ...["10.0.0.1", "10.0.0.2", "10.0.0.1", "a00:1::", "a00:1::a00:2", "a00:1::"],
    ...["10.0.0.2", "::a00:1", "10.0.0.3"],
  ]);
  assertEquals(
    Array.from({ length: addresses.count }, (_, n) => addresses.isRepeated(n)),
    [false, false, true, false, false, true, true, false, false],
  );
});

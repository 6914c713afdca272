/** Addresses in ASCII, next to what the library makes of them. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { addressToText, parseAddress } from "../../lib/address.ts";
import { readAddress } from "../../lib/nft/addresses.ts";
import { holds } from "../support/property.ts";

/** The octets of an address; undefined where it is none. */
function read(text: string): Uint8Array | undefined {
  const bytes = new TextEncoder().encode(text);
  const to = new Uint8Array(16).fill(0xa5);
  // What stands behind the text must not count.
  const padded = new Uint8Array(bytes.length + 2).fill(0x31);
  padded.set(bytes);
  const length = readAddress(padded, bytes.length, to);
  return length === 0 ? undefined : to.slice(0, length);
}

Deno.test("readAddress() reads what the library reads, when an address is written by it", () => {
  holds(
    "readAddress",
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.integer(), (bytes, zeros) => {
      const sparse = bytes.map((octet, i) => (zeros >>> (i >>> 1)) & 1 ? 0 : octet);
      for (const address of [sparse, sparse.slice(0, 4)]) {
        assertEquals(read(addressToText(address)), address);
      }
    }),
  );
  for (
    const text of ["::", "::1", "1::", "::ffff:192.0.2.1", "::192.0.2.1", "0.0.0.0", "fe80::1"]
  ) {
    assertEquals(read(text), parseAddress(text).bytes, text);
  }
});

Deno.test("readAddress() reads nothing, when the text only looks like an address", () => {
  for (
    const text of [
      ...["", ".", ":", "1", "face", "1.2.3", "1.2.3.4.", ".1.2.3.4", "1..2.3", "1.2.3.256"],
      ...["01.2.3.4", "1.2.3.4444", "a.b.c.d", "1.2.3.4.5", "1.2.3.4/24", "::1%lo"],
      ...["1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "::1:", ":1::", "12345::", ":::"],
      ...["1:2:3:4:5:6:7::8", "::1.2.3.4.5", "::1.2.3", "1:2:3:4:5:6:7:1.2.3.4", "::g"],
    ]
  ) assertEquals(read(text), undefined, text);
});

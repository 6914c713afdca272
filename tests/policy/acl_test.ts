/** Who may ask and who is exempt: prefixes at their borders, and the same as looking at all of them. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  type Address,
  addressToText,
  contains,
  parseAddress,
  parsePrefix,
  type Prefix,
  prefixToText,
  unmapped,
  withoutHostBits,
} from "../../lib/address.ts";
import { Acl, ALLOWED_BY_DEFAULT, PREFIXES_MAX } from "../../lib/policy/acl.ts";
import { holds } from "../support/property.ts";

function prefix(text: string): Prefix {
  return parsePrefix(text, text.includes(":") ? 6 : 4);
}

/** Whether a client may ask, its address being somewhere in a buffer. */
function mayAsk(acl: Acl, client: Address): boolean {
  const view = new DataView(new ArrayBuffer(32));
  for (const [i, octet] of client.bytes.entries()) view.setUint8(5 + i, octet);
  return acl.mayAsk(client.family, view, 5);
}

Deno.test("Acl.mayAsk() lets in whom a prefix holds, when the address is at its borders", () => {
  const acl = new Acl(
    ["192.0.2.64/26", "198.51.100.7/32", "2001:db8::/47", "fd00::1/128"].map(prefix),
  );
  for (
    const [client, expected] of [
      ["192.0.2.63", false],
      ["192.0.2.64", true],
      ["192.0.2.127", true],
      ["192.0.2.128", false],
      ["198.51.100.6", false],
      ["198.51.100.7", true],
      ["198.51.100.8", false],
      ["0.0.0.0", false],
      ["255.255.255.255", false],
      ["2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", false],
      ["2001:db8::", true],
      ["2001:db8:1:ffff:ffff:ffff:ffff:ffff", true],
      ["2001:db8:2::", false],
      ["fd00::1", true],
      ["fd00::2", false],
      ["::", false],
      // As a socket of both IP versions has it.
      ["::ffff:192.0.2.64", true],
      ["::ffff:192.0.2.63", false],
      // That is no IPv4-mapped one.
      ["::fffe:192.0.2.64", false],
      ["::192.0.2.64", false],
    ] as const
  ) assertEquals(mayAsk(acl, parseAddress(client)), expected, client);
});

Deno.test("Acl.mayAsk() lets in everybody or nobody, when the prefix is all there is or none", () => {
  const clients = ["0.0.0.0", "255.255.255.255", "::1", "ffff::"].map(parseAddress);
  for (const client of clients) {
    assert(!mayAsk(new Acl([]), client));
    assert(mayAsk(new Acl(["0.0.0.0/0", "::/0"].map(prefix)), client));
  }
  assert(!mayAsk(new Acl([prefix("::/0")]), parseAddress("::ffff:192.0.2.1")));
});

Deno.test("Acl.isExempt() is apart from who may ask, when both are said", () => {
  const acl = new Acl([prefix("192.0.2.0/24")], [prefix("192.0.2.8/29")]);
  const view = new DataView(Uint8Array.of(192, 0, 2, 9, 192, 0, 2, 7).buffer);
  assertEquals([acl.isExempt(4, view, 0), acl.isExempt(4, view, 4)], [true, false]);
  assertEquals([acl.mayAsk(4, view, 0), acl.mayAsk(4, view, 4)], [true, true]);
});

Deno.test("ALLOWED_BY_DEFAULT holds the neighbourhood and not the Internet, when a client is either", () => {
  const acl = new Acl(ALLOWED_BY_DEFAULT);
  for (const near of ["127.0.0.53", "10.1.2.3", "172.31.0.1", "192.168.1.7", "169.254.9.9"]) {
    assert(mayAsk(acl, parseAddress(near)), near);
  }
  for (const near of ["::1", "fd12::1", "fe80::1"]) assert(mayAsk(acl, parseAddress(near)), near);
  for (const far of ["9.9.9.9", "172.32.0.1", "100.64.0.1", "192.169.0.1", "2001:db8::1", "::2"]) {
    assert(!mayAsk(acl, parseAddress(far)), far);
  }
});

Deno.test("Acl takes as many prefixes as it may and no more, when there are many", () => {
  const many = (count: number) =>
    Array.from({ length: count }, (_, i) => prefix(`10.${i >> 8}.${i & 255}.0/25`));
  for (const count of [PREFIXES_MAX - 1, PREFIXES_MAX]) {
    const acl = new Acl(many(count));
    const last = count - 1;
    assert(mayAsk(acl, parseAddress(`10.${last >> 8}.${last & 255}.127`)));
    assert(!mayAsk(acl, parseAddress(`10.${last >> 8}.${last & 255}.128`)));
  }
  assertThrows(() => new Acl(many(PREFIXES_MAX + 1)), RangeError, `at most ${PREFIXES_MAX}`);
  assertThrows(() => new Acl([], many(PREFIXES_MAX + 1)), RangeError);
});

Deno.test("Acl.mayAsk() does what looking at all prefixes does, when they are random", () => {
  // Few values, so that prefixes lie in each other and clients in them.
  const octet = fc.constantFrom(0, 1, 127, 128, 255);
  const address = fc.oneof(
    fc.array(octet, { minLength: 4, maxLength: 4 }),
    fc.array(octet, { minLength: 16, maxLength: 16 }),
    fc.array(octet, { minLength: 4, maxLength: 4 }).map((last) => [
      ...parseAddress("::ffff:0.0.0.0").bytes.slice(0, 12),
      ...last,
    ]),
  ).map((bytes): Address => ({
    family: bytes.length === 4 ? 4 : 6,
    bytes: Uint8Array.from(bytes),
  }));
  const any = fc.tuple(address, fc.nat(128)).map(([{ family, bytes }, length]) =>
    withoutHostBits({ family, bytes, length: Math.min(length, bytes.length * 8) })
  );
  holds(
    "Acl",
    fc.property(fc.array(any, { maxLength: 12 }), address, (prefixes, client) => {
      const { family, bytes } = unmapped(client);
      const expected = prefixes.some((each) => each.family === family && contains(each, bytes));
      const said = `${prefixes.map(prefixToText)}: ${addressToText(client.bytes)}`;
      assertEquals(mayAsk(new Acl(prefixes), client), expected, said);
    }),
    3_000,
  );
});

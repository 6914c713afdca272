/** Addresses and prefixes: what is read, what is refused, what is written. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  type AddressKind,
  addressToText,
  contains,
  type Family,
  isUnspecified,
  kindOf,
  overlaps,
  parseAddress,
  parsePrefix,
  prefixToText,
  unmapped,
  withoutHostBits,
} from "../lib/address.ts";

/** Text, and the same address as RFC 5952 writes it. */
const ADDRESSES: readonly (readonly [text: string, canonical: string, Family])[] = [
  ["192.0.2.1", "192.0.2.1", 4],
  ["0.0.0.0", "0.0.0.0", 4],
  ["255.255.255.255", "255.255.255.255", 4],
  ["::", "::", 6],
  ["::1", "::1", 6],
  ["2001:DB8::1", "2001:db8::1", 6],
  ["2001:0db8:0000:0000:0000:0000:0000:0001", "2001:db8::1", 6],
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1", 6],
  ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1", 6],
  ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", 6],
  ["64:ff9b::192.0.2.1", "64:ff9b::c000:201", 6],
  ["1:2:3:4:5:6:192.0.2.1", "1:2:3:4:5:6:c000:201", 6],
];

Deno.test("parseAddress() reads an address, when it is in one of the forms of its RFC", () => {
  for (const [text, canonical, family] of ADDRESSES) {
    const address = parseAddress(text);
    assertEquals(address.family, family, text);
    assertEquals(address.bytes.length, family === 4 ? 4 : 16, text);
    assertEquals(addressToText(address.bytes), canonical, text);
  }
});

Deno.test("parseAddress() keeps network order, when it makes octets of text", () => {
  assertEquals([...parseAddress("192.0.2.1").bytes], [192, 0, 2, 1]);
  assertEquals(
    [...parseAddress("2001:db8::a:102").bytes],
    [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 0x01, 0x02],
  );
});

Deno.test("parseAddress() reads the end of an IPv6 address as IPv4, when it is IPv4-compatible", () => {
  // RFC 4291 section 2.5.5.1: the IPv4-compatible form, which is not the IPv4-mapped one.
  assertEquals([...parseAddress("::1.2.3.4").bytes.slice(8)], [0, 0, 0, 0, 1, 2, 3, 4]);
});

const NO_ADDRESSES = [
  "",
  " ",
  "1",
  "1.2.3",
  "1.2.3.4.5",
  "1..2.3",
  "1.2.3.",
  ".1.2.3",
  "1.2.3.256",
  "1.2.3.-4",
  "01.2.3.4",
  "1.2.3.00",
  "0x7f.0.0.1",
  "127.1",
  "2130706433",
  " 1.2.3.4",
  "1.2.3.4 ",
  "1.2.3.4\n",
  "1.2.3.4/32",
  "1.2.3.4:53",
  "\u0661.2.3.4",
  ":",
  ":::",
  "::g",
  "1::2::3",
  "12345::",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:",
  "1:2:3:4:5:6:7:8:9",
  "1:2:3:4:5:6:7:8::",
  "[::1]",
  "::1%eth0",
  "fe80::1%1",
  "::1\n",
  "::1/128",
  "::ffff:1.2.3",
  "::ffff:1.2.3.256",
  "1:2:3:4:5:6:7:1.2.3.4",
  "localhost",
  "example.com",
];

Deno.test("parseAddress() throws SyntaxError that names the text, when it is none", () => {
  for (const text of NO_ADDRESSES) {
    assertThrows(() => parseAddress(text), SyntaxError, `Cannot read "${text}"`, text);
  }
});

Deno.test("parseAddress() throws, when the IPv4 end of an IPv6 address is not four decimal parts", () => {
  for (
    const text of ["::ffff:010.0.0.1", "::ffff:0x7f.0.0.1", "64:ff9b::01.2.3.4", "::0x7f.0.0.1"]
  ) {
    assertThrows(() => parseAddress(text), SyntaxError, text, text);
    assertThrows(() => parsePrefix(`${text}/96`, 6), SyntaxError, text, text);
  }
});

Deno.test("unmapped() gives the IPv4 address, when the IPv6 one is IPv4-mapped", () => {
  for (
    const [text, expected] of [
      ["::ffff:192.0.2.1", "192.0.2.1"],
      ["::ffff:0:0", "0.0.0.0"],
      ["192.0.2.1", "192.0.2.1"],
      ["::fffe:192.0.2.1", "::fffe:c000:201"],
      ["1::ffff:192.0.2.1", "1::ffff:c000:201"],
      ["::1", "::1"],
    ] as const
  ) {
    assertEquals(addressToText(unmapped(parseAddress(text)).bytes), expected);
  }
});

Deno.test("parsePrefix() reads address and length, when both are of the family", () => {
  for (
    const [text, family, length] of [
      ["0.0.0.0/0", 4, 0],
      ["198.18.0.0/15", 4, 15],
      ["192.0.2.1/32", 4, 32],
      ["::/0", 6, 0],
      ["2001:2::/48", 6, 48],
      ["2001:2::1/128", 6, 128],
    ] as const
  ) {
    const prefix = parsePrefix(text, family);
    assertEquals(prefix.length, length, text);
    assertEquals(prefixToText(prefix), text);
  }
});

Deno.test("parsePrefix() throws SyntaxError, when the text is no prefix of the family", () => {
  for (
    const [text, family] of [
      ["", 4],
      ["/", 4],
      ["/15", 4],
      ["198.18.0.0", 4],
      ["198.18.0.0/", 4],
      ["198.18.0.0/33", 4],
      ["198.18.0.0/015", 4],
      ["198.18.0.0/-1", 4],
      ["198.18.0.0/+1", 4],
      ["198.18.0.0/1e1", 4],
      ["198.18.0.0/15/15", 4],
      ["198.18.0.0/ 15", 4],
      ["198.18.0.0/255.254.0.0", 4],
      ["198.18.0/15", 4],
      ["2001:2::/48", 4],
      ["198.18.0.0/15", 6],
      ["2001:2::/129", 6],
      ["2001:2::%eth0/48", 6],
      ["2001:2::", 6],
    ] as const
  ) {
    assertThrows(() => parsePrefix(text, family), SyntaxError, `IPv${family} prefix`, text);
  }
});

Deno.test("withoutHostBits() clears what is behind the length, when some of it is set", () => {
  for (
    const [text, family, expected] of [
      ["255.255.255.255/0", 4, "0.0.0.0/0"],
      ["255.255.255.255/1", 4, "128.0.0.0/1"],
      ["198.19.255.255/15", 4, "198.18.0.0/15"],
      ["198.18.255.255/16", 4, "198.18.0.0/16"],
      ["198.18.255.255/17", 4, "198.18.128.0/17"],
      ["192.0.2.3/31", 4, "192.0.2.2/31"],
      ["192.0.2.3/32", 4, "192.0.2.3/32"],
      ["ffff:ffff::1/0", 6, "::/0"],
      ["2001:2:0:1::1/48", 6, "2001:2::/48"],
      ["2001:2::3/127", 6, "2001:2::2/127"],
    ] as const
  ) {
    assertEquals(prefixToText(withoutHostBits(parsePrefix(text, family))), expected);
  }
});

Deno.test("contains() tells inside from outside, when addresses lie at the edges", () => {
  for (
    const [prefix, family, address, expected] of [
      ["198.18.0.0/15", 4, "198.17.255.255", false],
      ["198.18.0.0/15", 4, "198.18.0.0", true],
      ["198.18.0.0/15", 4, "198.19.255.255", true],
      ["198.18.0.0/15", 4, "198.20.0.0", false],
      ["0.0.0.0/0", 4, "255.255.255.255", true],
      ["192.0.2.1/32", 4, "192.0.2.1", true],
      ["192.0.2.1/32", 4, "192.0.2.0", false],
      ["2001:2::/48", 6, "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", false],
      ["2001:2::/48", 6, "2001:2::", true],
      ["2001:2::/48", 6, "2001:2:0:ffff:ffff:ffff:ffff:ffff", true],
      ["2001:2::/48", 6, "2001:2:1::", false],
    ] as const
  ) {
    const actual = contains(parsePrefix(prefix, family), parseAddress(address).bytes);
    assertEquals(actual, expected, `${address} in ${prefix}`);
  }
});

Deno.test("overlaps() is the same both ways, when prefixes contain or follow each other", () => {
  for (
    const [a, b, expected] of [
      ["10.0.0.0/8", "10.1.0.0/16", true],
      ["10.0.0.0/8", "11.0.0.0/8", false],
      ["10.0.0.0/8", "10.0.0.0/8", true],
      ["0.0.0.0/0", "192.0.2.0/24", true],
      ["10.0.0.0/9", "10.128.0.0/9", false],
      ["2001:2::/48", "2001:2:0:1::/64", true],
      ["2001:2::/48", "2001:3::/48", false],
      ["0.0.0.0/0", "::/0", false],
    ] as const
  ) {
    const prefixOf = (text: string) => parsePrefix(text, text.includes(":") ? 6 : 4);
    assertEquals(overlaps(prefixOf(a), prefixOf(b)), expected, `${a} ${b}`);
    assertEquals(overlaps(prefixOf(b), prefixOf(a)), expected, `${b} ${a}`);
  }
});

Deno.test("isUnspecified() is true for all bits 0 only, when one of them is set", () => {
  for (
    const [text, expected] of [
      ["0.0.0.0", true],
      ["0.0.0.1", false],
      ["128.0.0.0", false],
      ["::", true],
      ["::1", false],
      ["8000::", false],
    ] as const
  ) assertEquals(isUnspecified(parseAddress(text)), expected, text);
});

/** The first and the last address of each special range, with their neighbours outside of it. */
const KINDS: Readonly<Record<AddressKind, readonly string[]>> = {
  ordinary: [
    ...["0.0.0.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"],
    ...["128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"],
    ...["192.167.255.255", "192.169.0.0", "223.255.255.255", "240.0.0.0", "255.255.255.254"],
    ...["64:ff9b::9.9.9.9", "64:ff9b:1::10.0.0.1", "64:ff9b::1:10.0.0.1"],
    ...["2001:db8::1", "::1:0:1.2.3.4", "0:0:0:1::1", "::fffe:10.0.0.1", "::1:ffff:10.0.0.1"],
    ...["0:0:0:1::ffff:10.0.0.1", "fbff:ffff::1", "fe00::", "fe7f:ffff::1", "64:ff9a::10.0.0.1"],
  ],
  private: [
    ...["10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "172.16.0.0"],
    ...["172.31.255.255", "192.168.0.0", "192.168.255.255"],
    ...["fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::", "feff:ffff::1"],
    ...["64:ff9b::10.0.0.1", "64:ff9b::192.168.1.1"],
  ],
  unmappable: [
    ...["0.0.0.0", "127.0.0.0", "127.255.255.255", "169.254.0.0", "169.254.169.254"],
    ...["169.254.255.255", "224.0.0.0", "239.255.255.255", "255.255.255.255"],
    ...["::", "::1", "::2", "::10.0.0.1", "::ffff:0:0", "::ffff:192.0.2.1", "ff00::", "ff02::1"],
    ...["ffff:ffff::1", "fe80::", "fe80::1", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
    ...["64:ff9b::", "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b::224.0.0.1"],
  ],
};

for (const [kind, texts] of Object.entries(KINDS)) {
  Deno.test(`kindOf() is ${kind}, when it reads the edge of a range that is`, () => {
    for (const text of texts) {
      const { family, bytes } = parseAddress(text);
      const message = new Uint8Array(bytes.length + 2).fill(0xa5);
      message.set(bytes, 1);
      assertEquals(kindOf(new DataView(message.buffer), 1, family), kind, text);
    }
  });
}

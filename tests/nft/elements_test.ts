/** The elements of a set or map, read from what nft lists. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { addressToText } from "../../lib/address.ts";
import { ElementReader } from "../../lib/nft/elements.ts";
import { holds } from "../support/property.ts";

const F1 = "198.18.0.1";
const F2 = "198.18.0.2";
const R1 = "192.0.2.1";
const R2 = "192.0.2.2";

/** Nothing that a comment says counts. */
const COMMENT = '], [ "198.18.9.9", "192.0.2.9" ], "elem": ["192.0.2.9"], "val": "192.0.2.9"';

const METAINFO = { metainfo: { version: "1.0.6", json_schema_version: 1 } };

/** What `nft -j list set` or `list map` prints, with or without elements. */
function listing(kind: "set" | "map", elem?: unknown, more: Record<string, unknown> = {}): string {
  const object = {
    family: "inet",
    name: "x",
    table: "dotp",
    type: "ipv4_addr",
    handle: 3,
    ...more,
  };
  const elements = elem === undefined ? {} : { elem };
  return JSON.stringify({ nftables: [METAINFO, { [kind]: { ...object, ...elements } }] });
}

/** As nft prints it, which puts spaces between tokens. */
function spaced(json: string): string {
  return json.replaceAll('":', '": ').replaceAll(/,(?=["[{\d])/g, ", ");
}

function timed(val: unknown): unknown {
  return { elem: { val, timeout: 604_800, expires: 604_700 } };
}

/** Reads a text in pieces; the elements as `key`, or `key value`, with their ages. */
function read(
  text: string,
  pieceLength = Infinity,
): { elements: [string, number][]; timeoutS: number } {
  const elements: [string, number][] = [];
  const reader = new ElementReader((key, value, ageS) => {
    const both = value === undefined ? [key] : [key, value];
    elements.push([both.map(addressToText).join(" "), ageS]);
  });
  const bytes = new TextEncoder().encode(text);
  for (let i = 0; i < bytes.length; i += Math.min(pieceLength, bytes.length)) {
    reader.push(bytes.subarray(i, i + pieceLength));
  }
  return { elements, timeoutS: reader.timeoutS };
}

function keysOf(text: string): string[] {
  return read(text).elements.map(([element]) => element);
}

/** Elements of a set and what is read of them. */
const SETS: readonly (readonly [what: string, elem: unknown, expected: readonly string[]])[] = [
  ["no element", undefined, []],
  ["an empty list", [], []],
  ["IPv4", [R1, R2], [R1, R2]],
  ["IPv6", ["2001:db8::1"], ["2001:db8::1"]],
  ["with a timeout", [timed(R1), R2], [R1, R2]],
  ["with a counter", [{ elem: { val: R1, counter: { packets: 1, bytes: 2 } } }, R2], [R1, R2]],
  ["a prefix", [{ prefix: { addr: "192.0.2.0", len: 24 } }, R1], [R1]],
  ["a timed prefix", [timed({ prefix: { addr: "192.0.2.0", len: 24 } }), R1], [R1]],
  ["a range", [{ range: [R1, R2] }, R1], [R1]],
  ["a concatenation", [{ concat: [R1, R2] }, R1], [R1]],
  ["with a comment", [{ elem: { val: R1, comment: COMMENT } }, R2], [R1, R2]],
  ["with a comment and a timeout", [
    { elem: { val: R1, timeout: 9, expires: 8, comment: `"expires": 7, ["${F1}", "${F2}"]` } },
    R2,
  ], [R1, R2]],
  ["with a comment that ends in a backslash", [{ elem: { val: R1, comment: "\\" } }, R2], [R1, R2]],
  ["no address", ["example.com", 7, null, ["x"], {}, { elem: {} }, { elem: null }], []],
  ["what looks like one", ["1.2.3", "::1::", "1.2.3.4.5", ":", "face", "1".repeat(99)], []],
];

/** Elements of a map and what is read of them. */
const MAPS: readonly (readonly [what: string, elem: unknown, expected: readonly string[]])[] = [
  ["no element", undefined, []],
  ["IPv4", [[F1, R1], [F2, R2]], [`${F1} ${R1}`, `${F2} ${R2}`]],
  ["IPv6", [["2001:2::1", "2001:db8::1"]], ["2001:2::1 2001:db8::1"]],
  ["a timed key", [[timed(F1), R1]], [`${F1} ${R1}`]],
  ["a timed key among others", [[F2, R2], [timed(F1), R1]], [`${F2} ${R2}`, `${F1} ${R1}`]],
  ["a commented key", [[{ elem: { val: F1, comment: "by hand, 192.0.2.9" } }, R1], [F2, R2]], [
    `${F1} ${R1}`,
    `${F2} ${R2}`,
  ]],
  ["a key whose comment looks like a list", [[{ elem: { val: F1, comment: COMMENT } }, R1], [
    F2,
    R2,
  ]], [
    `${F1} ${R1}`,
    `${F2} ${R2}`,
  ]],
  ["a counted key", [[{ elem: { val: F1, counter: { packets: 1, bytes: 2 } } }, R1]], [
    `${F1} ${R1}`,
  ]],
  ["a range as key", [[{ range: [F1, F2] }, R1]], []],
  ["a prefix as key", [[{ prefix: { addr: "198.18.0.0", len: 24 } }, R1]], []],
  ["a concatenation as value", [[F1, { concat: [R1, 80] }], [F2, R2]], [`${F2} ${R2}`]],
  ["another IP version as value", [[F1, "2001:db8::1"], [F2, R2]], [`${F2} ${R2}`]],
  ["three values", [[F1, R1, R2]], [`${F1} ${R1}`]],
  ["half a pair", [[F1], [], null, [[F1, R1]], [F2, R2]], [`${F2} ${R2}`]],
];

Deno.test("ElementReader reads addresses and pairs, when elements are plain, timed or something else", () => {
  for (const [kind, cases] of [["set", SETS], ["map", MAPS]] as const) {
    for (const [what, elem, expected] of cases) {
      for (const text of [listing(kind, elem), spaced(listing(kind, elem))]) {
        assertEquals(keysOf(text), expected, what);
      }
    }
  }
});

Deno.test("ElementReader reads the same, when the text comes in pieces of any length", () => {
  const text = spaced(listing("map", [
    [timed(F1), R1],
    [{ elem: { val: F2, comment: `"x\\${COMMENT}` } }, R2],
    ["2001:2::1", "2001:db8::1"],
  ], { timeout: 604_800 }));
  const whole = read(text);
  assertEquals(whole.elements.length, 3);
  for (let length = 1; length < 40; length++) assertEquals(read(text, length), whole, `${length}`);
});

Deno.test("ElementReader reads addresses as the library writes them, when they are random", () => {
  holds(
    "the octets that were printed",
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.integer(), (bytes, zeros) => {
      // Runs of zeros are what the short form is about.
      const sparse = bytes.map((octet, i) => (zeros >>> (i >>> 1)) & 1 ? 0 : octet);
      for (const address of [sparse, sparse.slice(0, 4)]) {
        const text = addressToText(address);
        assertEquals(keysOf(listing("set", [text])), [text]);
      }
    }),
  );
});

Deno.test("ElementReader tells for how long the kernel has had an element, when it has a lifetime", () => {
  const elem = [
    [F1, R1],
    [{ elem: { val: F2, timeout: 100, expires: 7 } }, R2],
    [{ elem: { val: "198.18.0.3", comment: '"expires": 5' } }, "192.0.2.3"],
    [{ elem: { val: "198.18.0.4", timeout: 100, expires: 0, comment: "x" } }, "192.0.2.4"],
    [{ elem: { val: "198.18.0.5", timeout: 200, expires: 200 } }, "192.0.2.5"],
  ];
  const agesOf = (more: Record<string, unknown>) =>
    read(listing("map", elem, more)).elements.map(([, ageS]) => ageS);
  assertEquals(agesOf({ timeout: 100 }), [0, 93, 0, 100, 0]);
  assertEquals(agesOf({}), [0, 0, 0, 0, 0]);
});

Deno.test("ElementReader.timeoutS is the set's own lifetime, when elements have lifetimes or none", () => {
  for (
    const [elem, more, expected] of [
      [undefined, {}, Infinity],
      [[R1], {}, Infinity],
      [undefined, { flags: ["timeout"] }, Infinity],
      [[timed(R1)], { flags: ["timeout"] }, Infinity],
      [undefined, { flags: ["timeout"], timeout: 604_800 }, 604_800],
      [[timed(R1)], { flags: ["timeout"], timeout: 30 }, 30],
      // A part of a second is printed as 0.
      [[R1], { flags: ["timeout"], timeout: 0 }, Infinity],
    ] as const
  ) {
    for (const text of [listing("set", elem, more), spaced(listing("set", elem, more))]) {
      assertEquals(read(text).timeoutS, expected, text);
    }
  }
});

Deno.test("ElementReader gives nothing and does not fail, when the text is another than expected", () => {
  for (
    const text of [
      ...[
        "",
        "{}",
        "[]",
        "null",
        "7",
        "]]]]",
        '{"nftables":{}}',
        '{"nftables":[null,{"set":null}]}',
      ],
      '{"nftables":[{"set":{"elem":"192.0.2.1"}}]}',
    ]
  ) assertEquals(read(text).elements, [], text);
});

Deno.test("ElementReader does not fail, when the text is damaged anywhere", () => {
  const text = spaced(listing("map", [[timed(F1), R1], [F2, R2]], { timeout: 100 }));
  holds(
    "damaged lists",
    fc.property(fc.nat(text.length - 1), fc.string({ maxLength: 4 }), (at, instead) => {
      const { elements } = read(text.slice(0, at) + instead + text.slice(at + instead.length));
      assert(elements.length <= 4);
    }),
  );
});

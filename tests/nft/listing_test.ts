/** What is read of what nft lists. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { addressToText } from "../../lib/address.ts";
import {
  connectionTargets,
  mapElements,
  noteElements,
  setElements,
  tableProblem,
  timeoutOf,
} from "../../lib/nft/listing.ts";
import { DATATYPES, FAMILIES, SET_NAMES } from "../../lib/nft/script.ts";
import { holds } from "../support/property.ts";

const F1 = "198.18.0.1";
const F2 = "198.18.0.2";
const R1 = "192.0.2.1";
const R2 = "192.0.2.2";

/** Nothing that a comment says counts. */
const COMMENT = '], [ "198.18.9.9", "192.0.2.9" ], "elem": ["192.0.2.9"], "val": "192.0.2.9"';

const METAINFO = { metainfo: { version: "1.0.6", json_schema_version: 1 } };

/** What `nft -j list set` or `list map` prints, with or without elements. */
function listing(kind: "set" | "map", elem?: unknown): string {
  const object = { family: "inet", name: "x", table: "dotp", type: "ipv4_addr", handle: 3 };
  const elements = elem === undefined ? {} : { elem };
  return JSON.stringify({ nftables: [METAINFO, { [kind]: { ...object, ...elements } }] });
}

function timed(val: unknown): unknown {
  return { elem: { val, timeout: 604_800, expires: 604_700 } };
}

Deno.test("setElements() reads addresses, when elements are plain, timed, counted or none", () => {
  for (
    const [what, elem, expected] of [
      ["no element", undefined, []],
      ["an empty list", [], []],
      ["IPv4", [R1, R2], [R1, R2]],
      ["IPv6", ["2001:db8::1"], ["2001:db8::1"]],
      ["with a timeout", [timed(R1), R2], [R1, R2]],
      ["with a counter", [{ elem: { val: R1, counter: { packets: 1, bytes: 2 } } }], [R1]],
      ["a prefix", [{ prefix: { addr: "192.0.2.0", len: 24 } }, R1], [R1]],
      // The sets have no intervals. Both ends are then what the table does not know, and are refused.
      ["a range", [{ range: [R1, R2] }], [R1, R2]],
      ["with a comment", [{ elem: { val: R1, comment: COMMENT } }, R2], [R1, R2]],
      ["with a comment and a timeout", [
        { elem: { val: R1, timeout: 9, expires: 8, comment: `"expires": 7, ["${F1}", "${F2}"]` } },
        R2,
      ], [R1, R2]],
      ["no address", ["example.com", 7, null, ["x"], {}, { elem: {} }, { elem: null }], []],
      ["what looks like one", ["1.2.3", "::1::", "1.2.3.4.5", ":", "face"], []],
    ] as const
  ) assertEquals([...setElements(listing("set", elem))].map(addressToText), expected, what);
});

Deno.test("mapElements() reads pairs, when elements are plain, timed or something else", () => {
  for (
    const [what, elem, expected] of [
      ["no element", undefined, []],
      ["IPv4", [[F1, R1], [F2, R2]], [[F1, R1], [F2, R2]]],
      ["IPv6", [["2001:2::1", "2001:db8::1"]], [["2001:2::1", "2001:db8::1"]]],
      ["a timed key", [[timed(F1), R1]], [[F1, R1]]],
      ["a timed key among others", [[F2, R2], [timed(F1), R1]], [[F2, R2], [F1, R1]]],
      ["a commented key", [[{ elem: { val: F1, comment: "by hand, 192.0.2.9" } }, R1], [F2, R2]], [
        [F1, R1],
        [F2, R2],
      ]],
      ["a counted key", [[{ elem: { val: F1, counter: { packets: 1, bytes: 2 } } }, R1]], [[
        F1,
        R1,
      ]]],
      // Its ends look like a pair, but one that no table takes over and whose deletion nft refuses.
      ["a range as key", [[{ range: [F1, F2] }, R1]], [[F1, F2]]],
      ["a prefix as key", [[{ prefix: { addr: "198.18.0.0", len: 24 } }, R1]], []],
      ["a concatenation", [[F1, { concat: [R1, 80] }]], []],
      ["no pair", [F1, [F1], [], null, { elem: { val: F1 } }], []],
    ] as const
  ) {
    const pairs = [...mapElements(listing("map", elem))];
    assertEquals(pairs.map(({ fake, real }) => [fake, real].map(addressToText)), expected, what);
  }
});

Deno.test("setElements() reads addresses as the library does, when they are written as nft writes them", () => {
  holds(
    "the octets that were printed",
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.integer(), (bytes, zeros) => {
      // Runs of zeros are what the short form is about.
      const sparse = bytes.map((octet, i) => (zeros >>> (i >>> 1)) & 1 ? 0 : octet);
      for (const address of [sparse, sparse.slice(0, 4)]) {
        const text = addressToText(address);
        assertEquals([...setElements(listing("set", [text]))], [address], text);
      }
    }),
  );
});

Deno.test("setElements() leaves out what is no address, when it looks much like one", () => {
  const texts = [
    "1.2.3.4.",
    ".1.2.3.4",
    "1..2.3",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4444",
    "a.b.c.d",
  ];
  texts.push("1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1::2::3", "::1:", ":1::", "12345::", ":::");
  texts.push("1:2:3:4:5:6:7::8", "::1.2.3.4.5", "::1.2.3", "1:2:3:4:5:6:7:1.2.3.4");
  for (const text of texts) assertEquals([...setElements(listing("set", [text]))], [], text);
});

Deno.test("setElements() and mapElements() give nothing, when the JSON is another than expected", () => {
  for (
    const text of ["{}", "[]", "null", "7", '{"nftables":{}}', '{"nftables":[null,7,{"set":null}]}']
  ) {
    assertEquals([...setElements(text), ...mapElements(text)], [], text);
  }
});

/** As nft prints it, which puts spaces between tokens. */
function spaced(json: string): string {
  return json.replaceAll('":', '": ').replaceAll(/,(?=["[{\d])/g, ", ");
}

Deno.test("setElements() and mapElements() read the same, when there are spaces between tokens", () => {
  const set = spaced(listing("set", [R1, timed(R2)]));
  const map = spaced(listing("map", [[F1, R1], [timed(F2), R2]]));
  assert(set.includes('"elem": [') && map.includes('", "'));
  assertEquals([...setElements(set)].map(addressToText), [R1, R2]);
  assertEquals([...mapElements(map)].map(({ expiresS }) => expiresS), [undefined, 604_700]);
  assertEquals([...mapElements(map)].map(({ real }) => addressToText(real)), [R1, R2]);
});

Deno.test("mapElements() tells when the kernel forgets a pair, when it has a lifetime", () => {
  const pairs = mapElements(listing("map", [
    [F1, R1],
    [{ elem: { val: F2, timeout: 100, expires: 7 } }, R2],
    [{ elem: { val: "198.18.0.3", comment: '"expires": 5' } }, "192.0.2.3"],
    [{ elem: { val: "198.18.0.4", timeout: 100, expires: 0, comment: "x" } }, "192.0.2.4"],
  ]));
  assertEquals([...pairs].map(({ expiresS }) => expiresS), [undefined, 7, undefined, 0]);
});

Deno.test("mapElements() reads a pair, when its comment looks like a list", () => {
  const elem = [[{ elem: { val: F1, comment: COMMENT } }, R1], [F2, R2]];
  const fakes = [...mapElements(listing("map", elem))].map(({ fake }) => addressToText(fake));
  assertEquals(fakes, [F1, F2]);
});

Deno.test("noteElements() tells when a fake was noted, when the set has a lifetime", () => {
  const elem = [{ elem: { val: F1, timeout: 120, expires: 119 } }, {
    elem: { val: F2, timeout: 120, expires: 20 },
  }];
  const object = { name: "nat_seen", type: "ipv4_addr", timeout: 120, elem };
  const notes = [...noteElements(JSON.stringify({ nftables: [METAINFO, { set: object }] }))];
  assertEquals(notes.map(({ fake, ageS }) => [addressToText(fake), ageS]), [[F1, 1], [F2, 100]]);
  const plain = [...noteElements(listing("set", [F1, "x"]))];
  assertEquals(plain.map(({ fake, ageS }) => [addressToText(fake), ageS]), [[F1, 0]]);
});

Deno.test("timeoutOf() reads the set's own lifetime, when elements have lifetimes or none", () => {
  const of = (more: Record<string, unknown>) =>
    JSON.stringify({ nftables: [METAINFO, { set: { name: "nat_addr", ...more } }] });
  for (
    const [more, expected] of [
      [{}, Infinity],
      [{ elem: [R1] }, Infinity],
      [{ flags: ["timeout"] }, Infinity],
      [{ flags: ["timeout"], elem: [timed(R1)] }, Infinity],
      [{ flags: ["timeout"], timeout: 604_800 }, 604_800],
      [{ flags: ["timeout"], timeout: 30, elem: [timed(R1)] }, 30],
    ] as const
  ) {
    assertEquals(timeoutOf(of(more)), expected);
    assertEquals(timeoutOf(spaced(of(more))), expected);
  }
});

Deno.test("connectionTargets() reads where connections go, when conntrack lists them", () => {
  const listed = `tcp      6 117 TIME_WAIT src=192.0.2.2 dst=198.18.0.1 sport=4 dport=80 ` +
    `src=203.0.113.1 dst=198.51.100.1 sport=80 dport=4 [ASSURED] mark=0 use=1
udp      17 24 src=2001:db8::1 dst=2001:2::1 sport=5 dport=9 [UNREPLIED] ` +
    `src=2001:db8::9 dst=2001:db8::1 sport=9 dport=5 mark=0 use=1
`;
  assertEquals([...connectionTargets(listed)].map(addressToText), ["198.18.0.1", "2001:2::1"]);
  assertEquals([...connectionTargets("")], []);
});

/** A table as nft lists it without elements; what is undefined is left out. */
function tableOf(changed: Record<string, Record<string, unknown> | undefined> = {}): string {
  const objects: unknown[] = [METAINFO, { table: { family: "inet", name: "dotp", handle: 1 } }];
  for (const family of FAMILIES) {
    const { set, map } = SET_NAMES[family];
    const type = DATATYPES[family];
    for (
      const [name, usual] of [
        [set, { set: { name: set, type } }],
        [map, { map: { name: map, type, map: type, flags: ["timeout"] } }],
      ] as const
    ) objects.push(name in changed ? changed[name] : usual);
  }
  objects.push({ chain: { family: "inet", table: "dotp", name: "prerouting" } });
  return JSON.stringify({ nftables: objects.filter((object) => object !== undefined) });
}

Deno.test("tableProblem() is undefined, when the table has what dotp needs", () => {
  assertEquals(tableProblem("dotp", tableOf()), undefined);
  const timed = { set: { name: "nat_addr", type: "ipv4_addr", flags: ["timeout"], size: 9 } };
  assertEquals(tableProblem("dotp", tableOf({ nat_addr: timed })), undefined);
});

Deno.test("tableProblem() names what is wrong, when a set or map is missing or another", () => {
  const v4 = "ipv4_addr";
  for (
    const [changed, expected] of [
      [{ nat_addr: undefined }, "set nat_addr is missing from table inet dotp"],
      [{ nat_map: undefined }, "map nat_map is missing from table inet dotp"],
      [{ nat_addr6: undefined }, "set nat_addr6 is missing from table inet dotp"],
      [{ nat_map6: undefined }, "map nat_map6 is missing from table inet dotp"],
      [
        { nat_addr: { set: { name: "nat_addr", type: "ipv6_addr" } } },
        "nat_addr in table inet dotp is not a set of type ipv4_addr",
      ],
      [
        { nat_addr: { set: { name: "nat_addr", type: [v4, "inet_service"] } } },
        "nat_addr in table inet dotp is not a set of type ipv4_addr",
      ],
      [
        { nat_addr: { map: { name: "nat_addr", type: v4, map: v4 } } },
        "nat_addr in table inet dotp is not a set of type ipv4_addr",
      ],
      [
        { nat_map: { set: { name: "nat_map", type: v4 } } },
        "nat_map in table inet dotp is not a map of type ipv4_addr : ipv4_addr",
      ],
      [
        { nat_map: { map: { name: "nat_map", type: v4, map: "ipv6_addr" } } },
        "nat_map in table inet dotp is not a map of type ipv4_addr : ipv4_addr",
      ],
      [
        { nat_map: { map: { name: "nat_map", type: v4, map: "verdict" } } },
        "nat_map in table inet dotp is not a map of type ipv4_addr : ipv4_addr",
      ],
      [
        { nat_map6: { map: { name: "nat_map6", type: "ipv6_addr", map: v4 } } },
        "nat_map6 in table inet dotp is not a map of type ipv6_addr : ipv6_addr",
      ],
    ] as const
  ) assertEquals(tableProblem("dotp", tableOf(changed)), expected);
});

Deno.test("tableProblem() finds a set missing, when nft lists something else altogether", () => {
  for (
    const text of ["{}", "[]", "null", '{"nftables":[]}', '{"nftables":[{"set":7},{"map":null}]}']
  ) {
    assert(tableProblem("dotp", text)?.includes("missing"), text);
  }
});

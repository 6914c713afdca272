/** nft text: transactions as they are printed, and what is read of what nft prints. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { addressToText, type Family } from "../../lib/address.ts";
import type { Change } from "../../lib/nat/changes.ts";
import {
  changesToScript,
  connectionTargets,
  DATATYPES,
  FAMILIES,
  forgetArgs,
  listConnectionsArgs,
  listMapArgs,
  listNotesArgs,
  listSetArgs,
  listTableArgs,
  mapElements,
  noteElements,
  type NoteSet,
  probeScript,
  SET_NAMES,
  setElements,
  tableProblem,
  timeoutOf,
} from "../../lib/nft/script.ts";
import { FakeKernel } from "../support/fake_nft.ts";
import { bytesOf, realAddress } from "../support/nat.ts";
import { holds } from "../support/property.ts";

/** Changes written as `+fake real`, `-fake real` and `*fake real` (renew), with `map:` or `set:` before those of one part. */
function changes(...lines: readonly string[]): Change[] {
  return lines.map((line, i) => {
    const [, part, sign, fake = "", real = ""] = /^(?:(map|set):)?([+*-])(\S+) (\S+)$/.exec(line) ??
      [];
    return {
      kind: sign === "+" ? "add" : sign === "-" ? "delete" : "renew",
      family: fake.includes(":") ? 6 : 4,
      fake: bytesOf(fake),
      real: bytesOf(real),
      revision: i + 1,
      ...(part === "map" || part === "set" ? { part } : {}),
    };
  });
}

const F1 = "198.18.0.1";
const F2 = "198.18.0.2";
const R1 = "192.0.2.1";
const R2 = "192.0.2.2";

/** A pair that is deleted and added in one transaction, since not every kernel renews otherwise. */
const RENEWED = [
  "delete element inet dotp nat_map {198.18.0.1}",
  "delete element inet dotp nat_addr {192.0.2.1}",
  "add element inet dotp nat_map {198.18.0.1 : 192.0.2.1}",
  "add element inet dotp nat_addr {192.0.2.1}",
];

/** Changes, and the commands of the one line that they become. */
const GOLDEN: readonly (readonly [what: string, changes: Change[], commands: readonly string[]])[] =
  [
    ["nothing", [], []],
    ["one addition", changes(`+${F1} ${R1}`), [
      "add element inet dotp nat_map {198.18.0.1 : 192.0.2.1}",
      "add element inet dotp nat_addr {192.0.2.1}",
    ]],
    ["one deletion", changes(`-${F1} ${R1}`), [
      "delete element inet dotp nat_map {198.18.0.1}",
      "delete element inet dotp nat_addr {192.0.2.1}",
    ]],
    ["several additions", changes(`+${F1} ${R1}`, `+${F2} ${R2}`), [
      "add element inet dotp nat_map {198.18.0.1 : 192.0.2.1,198.18.0.2 : 192.0.2.2}",
      "add element inet dotp nat_addr {192.0.2.1,192.0.2.2}",
    ]],
    ["IPv6", changes("+2001:2::1 2001:db8::abcd:1"), [
      "add element inet dotp nat_map6 {2001:2:0:0:0:0:0:1 : 2001:db8:0:0:0:0:abcd:1}",
      "add element inet dotp nat_addr6 {2001:db8:0:0:0:0:abcd:1}",
    ]],
    [
      "both families, deletions first",
      changes("+2001:2::1 2001:db8::1", `+${F1} ${R1}`, "-2001:2::2 2001:db8::2", `-${F2} ${R2}`),
      [
        "delete element inet dotp nat_map {198.18.0.2}",
        "delete element inet dotp nat_addr {192.0.2.2}",
        "delete element inet dotp nat_map6 {2001:2:0:0:0:0:0:2}",
        "delete element inet dotp nat_addr6 {2001:db8:0:0:0:0:0:2}",
        "add element inet dotp nat_map {198.18.0.1 : 192.0.2.1}",
        "add element inet dotp nat_addr {192.0.2.1}",
        "add element inet dotp nat_map6 {2001:2:0:0:0:0:0:1 : 2001:db8:0:0:0:0:0:1}",
        "add element inet dotp nat_addr6 {2001:db8:0:0:0:0:0:1}",
      ],
    ],
    ["a fake that goes to another real", changes(`-${F1} ${R1}`, `+${F1} ${R2}`), [
      "delete element inet dotp nat_map {198.18.0.1}",
      "delete element inet dotp nat_addr {192.0.2.1}",
      "add element inet dotp nat_map {198.18.0.1 : 192.0.2.2}",
      "add element inet dotp nat_addr {192.0.2.2}",
    ]],
    ["a real that gets another fake", changes(`-${F1} ${R1}`, `+${F2} ${R1}`), [
      "delete element inet dotp nat_map {198.18.0.1}",
      "add element inet dotp nat_map {198.18.0.2 : 192.0.2.1}",
    ]],
    ["added and deleted", changes(`+${F1} ${R1}`, `-${F1} ${R1}`), []],
    ["deleted and added", changes(`-${F1} ${R1}`, `+${F1} ${R1}`), []],
    ["added, deleted and added", changes(`+${F1} ${R1}`, `-${F1} ${R1}`, `+${F1} ${R1}`), [
      "add element inet dotp nat_map {198.18.0.1 : 192.0.2.1}",
      "add element inet dotp nat_addr {192.0.2.1}",
    ]],
    ["deleted, added and deleted", changes(`-${F1} ${R1}`, `+${F1} ${R1}`, `-${F1} ${R1}`), [
      "delete element inet dotp nat_map {198.18.0.1}",
      "delete element inet dotp nat_addr {192.0.2.1}",
    ]],
    ["one cancelled among others", changes(`+${F1} ${R1}`, `+${F2} ${R2}`, `-${F1} ${R1}`), [
      "add element inet dotp nat_map {198.18.0.2 : 192.0.2.2}",
      "add element inet dotp nat_addr {192.0.2.2}",
    ]],
    ["renewed", changes(`*${F1} ${R1}`), RENEWED],
    ["renewed twice", changes(`*${F1} ${R1}`, `*${F1} ${R1}`), RENEWED],
    ["added and renewed", changes(`+${F1} ${R1}`, `*${F1} ${R1}`), [
      "add element inet dotp nat_map {198.18.0.1 : 192.0.2.1}",
      "add element inet dotp nat_addr {192.0.2.1}",
    ]],
    ["renewed and deleted", changes(`*${F1} ${R1}`, `-${F1} ${R1}`), [
      "delete element inet dotp nat_map {198.18.0.1}",
      "delete element inet dotp nat_addr {192.0.2.1}",
    ]],
    [
      "renewed, deleted and added",
      changes(`*${F1} ${R1}`, `-${F1} ${R1}`, `+${F1} ${R1}`),
      RENEWED,
    ],
    ["renewed, then for another real", changes(`*${F1} ${R1}`, `-${F1} ${R1}`, `+${F1} ${R2}`), [
      "delete element inet dotp nat_map {198.18.0.1}",
      "delete element inet dotp nat_addr {192.0.2.1}",
      "add element inet dotp nat_map {198.18.0.1 : 192.0.2.2}",
      "add element inet dotp nat_addr {192.0.2.2}",
    ]],
    ["a part of the map", changes(`map:-${F1} ${R1}`), [
      "delete element inet dotp nat_map {198.18.0.1}",
    ]],
    ["a part of the set", changes(`set:-${R1} ${R1}`), [
      "delete element inet dotp nat_addr {192.0.2.1}",
    ]],
  ];

Deno.test("changesToScript() prints one line, deletions first, when changes are given", () => {
  for (const [what, given, commands] of GOLDEN) {
    assertEquals(changesToScript("dotp", given), commands.join(";"), what);
  }
});

Deno.test("changesToScript() names the table it is given, when that is another", () => {
  const script = changesToScript("gate_2", changes(`-${F1} ${R1}`, `+${F2} ${R2}`));
  assertEquals(script.match(/inet gate_2 /g)?.length, 4);
});

Deno.test("changesToScript() keeps octets in network order, when the view is part of a buffer", () => {
  const fake = Uint8Array.of(1, 2, ...bytesOf("2001:2::a")).subarray(2);
  const change: Change = { kind: "delete", family: 6, fake, real: fake, revision: 1, part: "map" };
  const expected = "delete element inet dotp nat_map6 {2001:2:0:0:0:0:0:a}";
  assertEquals(changesToScript("dotp", [change]), expected);
});

Deno.test("changesToScript() does in one line what changes do one by one, when they are random", () => {
  // One to one as a table does it: a real keeps the fake of its number, or of the next.
  const step = fc.record({
    family: fc.constantFrom(4 as const, 6 as const),
    fake: fc.nat(3),
    real: fc.nat(3),
  });
  holds(
    "changesToScript",
    fc.property(fc.array(step, { maxLength: 30 }), fc.nat(10), (steps, before) => {
      const [single, batch] = [new FakeKernel("dotp"), new FakeKernel("dotp")];
      const list = toggles(steps);
      for (const change of list.slice(0, before)) {
        for (const kernel of [single, batch]) {
          assertEquals(kernel.run(changesToScript("dotp", [change])), undefined);
        }
      }
      const rest = list.slice(before);
      for (const change of rest) single.run(changesToScript("dotp", [change]));
      const script = changesToScript("dotp", rest);
      if (script !== "") assertEquals(batch.run(script), undefined);
      for (const family of FAMILIES) assertEquals(batch.list(family), single.list(family));
    }),
    300,
  );
});

/** Changes of a table: a pair in the way of a new one is deleted before it, the same one just so. */
function toggles(steps: readonly { family: Family; fake: number; real: number }[]): Change[] {
  const log: Change[] = [];
  const live: Record<Family, Map<number, number>> = { 4: new Map(), 6: new Map() };
  const push = (kind: Change["kind"], family: Family, fake: number, real: number) => {
    const [f, r] = family === 4
      ? [`198.18.0.${fake}`, `192.0.2.${real}`]
      : [`2001:2::${fake}`, `2001:db8::${real}`];
    log.push({ kind, family, fake: bytesOf(f), real: bytesOf(r), revision: log.length + 1 });
  };
  for (const { family, fake, real } of steps) {
    const pairs = live[family];
    const had = pairs.get(fake) === real;
    for (const [f, r] of pairs) {
      if (f !== fake && r !== real) continue;
      push("delete", family, f, r);
      pairs.delete(f);
    }
    if (had) continue;
    push("add", family, fake, real);
    pairs.set(fake, real);
  }
  return log;
}

Deno.test("probeScript() adds and takes away again, when it is given a fake of each family", () => {
  const script = probeScript("dotp", [bytesOf(F1), bytesOf("2001:2::1")]);
  assertEquals(script.split(";"), [
    "add element inet dotp nat_map {198.18.0.1 : 198.18.0.1}",
    "add element inet dotp nat_addr {198.18.0.1}",
    "add element inet dotp nat_map6 {2001:2:0:0:0:0:0:1 : 2001:2:0:0:0:0:0:1}",
    "add element inet dotp nat_addr6 {2001:2:0:0:0:0:0:1}",
    "delete element inet dotp nat_map {198.18.0.1}",
    "delete element inet dotp nat_addr {198.18.0.1}",
    "delete element inet dotp nat_map6 {2001:2:0:0:0:0:0:1}",
    "delete element inet dotp nat_addr6 {2001:2:0:0:0:0:0:1}",
  ]);
  const kernel = new FakeKernel("dotp");
  assertEquals(kernel.run(script), undefined);
  assertEquals([kernel.list(4), kernel.list(6)], [[], []]);
});

Deno.test("listTableArgs(), listSetArgs() and listMapArgs() ask for JSON, when a table is named", () => {
  assertEquals(listTableArgs("gate").join(" "), "-j -t list table inet gate");
  assertEquals(listSetArgs("gate", 4).join(" "), "-j list set inet gate nat_addr");
  assertEquals(listSetArgs("gate", 6).join(" "), "-j list set inet gate nat_addr6");
  assertEquals(listMapArgs("gate", 4).join(" "), "-j list map inet gate nat_map");
  assertEquals(listMapArgs("gate", 6).join(" "), "-j list map inet gate nat_map6");
});

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

Deno.test("setElements() and mapElements() take time that grows with the list only, when it is long", () => {
  const count = 10_000;
  const fakes = Array.from({ length: count }, (_, i) => `198.18.${i >>> 8}.${i & 0xff}`);
  const set = spaced(listing("set", fakes));
  const map = spaced(listing("map", fakes.map((fake, i) => [fake, realAddress(i)])));
  const startMs = performance.now();
  assertEquals([...setElements(set)].length, count);
  assertEquals([...mapElements(map)].length, count);
  // A hundredth of it is enough; a list that is gone through for each element takes seconds.
  assert(performance.now() - startMs < 1_000);
});

Deno.test("listNotesArgs() and forgetArgs() name set and fake, when the family is either", () => {
  const notes = (family: Family, set: NoteSet) => listNotesArgs("gate", family, set).join(" ");
  assertEquals(notes(4, "seen"), "-j list set inet gate nat_seen");
  assertEquals(notes(6, "missed"), "-j list set inet gate nat_missed6");
  assertEquals(forgetArgs(bytesOf(F1)).join(" "), "-D -f ipv4 -d 198.18.0.1");
  assertEquals(forgetArgs(bytesOf("2001:2::1")).join(" "), "-D -f ipv6 -d 2001:2:0:0:0:0:0:1");
});

Deno.test("connectionTargets() reads where connections go, when conntrack lists them", () => {
  const args = listConnectionsArgs({ family: 4, bytes: bytesOf("198.18.0.0"), length: 15 });
  assertEquals(args.join(" "), "-L -f ipv4 -d 198.18.0.0/15");
  const listed = `tcp      6 117 TIME_WAIT src=192.0.2.2 dst=198.18.0.1 sport=4 dport=80 ` +
    `src=203.0.113.1 dst=198.51.100.1 sport=80 dport=4 [ASSURED] mark=0 use=1
udp      17 24 src=2001:db8::1 dst=2001:2::1 sport=5 dport=9 [UNREPLIED] ` +
    `src=2001:db8::9 dst=2001:db8::1 sport=9 dport=5 mark=0 use=1
`;
  const targets = Array.from(connectionTargets(listed), (address) => address.join());
  assertEquals(targets, [bytesOf("198.18.0.1").join(), bytesOf("2001:2::1").join()]);
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

/** nft text: transactions as they are printed. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { FAMILIES, type Family } from "../../lib/address.ts";
import type { Change } from "../../lib/nat/changes.ts";
import {
  changesToScript,
  disconnectArgs,
  listConnectionsArgs,
  listMapArgs,
  listNotesArgs,
  listSetArgs,
  listTableArgs,
  probeConnectionArgs,
  probeScript,
} from "../../lib/nft/script.ts";
import { FakeKernel } from "../support/fake_nft.ts";
import { bytesOf } from "../support/nat.ts";
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
      "delete element inet dotp nat_addr {192.0.2.1}",
      "add element inet dotp nat_map {198.18.0.2 : 192.0.2.1}",
      "add element inet dotp nat_addr {192.0.2.1}",
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

Deno.test("listNotesArgs() names a set, when it is given one of those that the rules fill", () => {
  assertEquals(listNotesArgs("gate", 4, "seen").join(" "), "-j list set inet gate nat_seen");
  assertEquals(listNotesArgs("gate", 6, "missed").join(" "), "-j list set inet gate nat_missed6");
});

Deno.test("disconnectArgs(), listConnectionsArgs() and probeConnectionArgs() name addresses and prefixes", () => {
  const of = (fake: string, real: string) =>
    disconnectArgs({ fake: bytesOf(fake), real: bytesOf(real) }).join(" ");
  assertEquals(of(F1, R1), "-D -f ipv4 -d 198.18.0.1 -r 192.0.2.1");
  const [fake, real] = ["2001:2:0:0:0:0:0:1", "2001:db8:0:0:0:0:0:1"];
  assertEquals(of(fake, real), `-D -f ipv6 -d ${fake} -r ${real}`);
  const prefix = { family: 4 as const, bytes: bytesOf("198.18.0.0"), length: 15 };
  assertEquals(listConnectionsArgs(prefix).join(" "), "-L -f ipv4 -d 198.18.0.0/15");
  const probe = "-I -p udp -s 198.18.0.0 -d 198.18.0.0 --sport 9 --dport 9 --timeout 1";
  assertEquals(probeConnectionArgs(prefix.bytes).join(" "), probe);
});

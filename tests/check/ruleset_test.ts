/** What packets meet from a hook on, and what a condition is about. */
import { assert, assertEquals } from "@std/assert";
import { parsePrefix } from "../../lib/address.ts";
import { isAboutAll, type Json, Ruleset } from "../../lib/check/ruleset.ts";
import recorded from "./rules.json" with { type: "json" };

const FAKES = parsePrefix("198.18.0.0/15", 4);

/** Rules by chain; each does nothing but say its number, and may jump. */
function ruleset(rules: Readonly<Record<string, readonly Json[][]>>): Ruleset {
  const base = { name: "base", type: "filter", hook: "forward", prio: 0 };
  return new Ruleset(JSON.stringify({
    nftables: [
      { chain: base },
      { chain: { ...base, name: "elsewhere", hook: "input" } },
      ...Object.entries(rules).flatMap(([chain, all]) =>
        all.map((expr) => ({ rule: { chain, expr } }))
      ),
    ],
  }));
}

function jump(target: string): Json {
  return { jump: { target } };
}

Deno.test("Ruleset.reachedFrom() follows jumps with their conditions, when there are some", () => {
  const [one, two, three] = [{ n: 1 }, { n: 2 }, { n: 3 }];
  const reached = ruleset({
    base: [[one, jump("a")], [{ goto: { target: "b" } }]],
    a: [[two, jump("b")]],
    b: [[three]],
    elsewhere: [[{ n: 4 }]],
  }).reachedFrom("forward", "filter");
  assertEquals(reached.map(({ chain, own }) => [chain, own[0]]), [
    ["base", one],
    ["a", two],
    ["b", three],
    ["base", { goto: { target: "b" } }],
    ["b", three],
  ]);
  assertEquals(reached[2]?.all, [one, jump("a"), two, jump("b"), three]);
  assertEquals(reached.map(({ base }) => base["name"]), Array(5).fill("base"));
});

Deno.test("Ruleset.reachedFrom() comes to an end, when chains loop or fan out", () => {
  assert(ruleset({ base: [[jump("base")]] }).reachedFrom("forward", "filter").length < 100);
  const fan = Array.from({ length: 10 }, () => [jump("base")]);
  assertEquals(ruleset({ base: fan }).reachedFrom("forward", "filter").length, 10_000);
});

Deno.test("Ruleset takes what is no ruleset for an empty one, when nft lists something unknown", () => {
  for (const listed of ['{"nftables": [{"rule": null}, 1, {"chain": {}}]}', "{}", "[]", "null"]) {
    const unknown = new Ruleset(listed);
    assertEquals(unknown.reachedFrom("forward", "filter"), []);
    assertEquals(unknown.sizeOf("nat_map"), undefined);
  }
});

Deno.test("Ruleset.sizeOf() is what a set states, when the table is as rules.nft makes it", () => {
  assertEquals(new Ruleset(JSON.stringify(recorded)).sizeOf("nat_map"), 131_072);
});

Deno.test("isAboutAll() compares destinations with the prefix, when a condition is about them", () => {
  const daddr = { payload: { protocol: "ip", field: "daddr" } };
  const original = { ct: { key: "ip daddr", dir: "original" } };
  const cases: [left: Json, right: unknown, expected: boolean][] = [
    [daddr, { prefix: { addr: "198.18.0.0", len: 15 } }, true],
    [original, { prefix: { addr: "198.0.0.0", len: 8 } }, true],
    [daddr, { prefix: { addr: "198.18.0.0", len: 16 } }, false],
    [daddr, "198.18.0.1", false],
    [daddr, "@set", true],
    [{ payload: { protocol: "ip6", field: "daddr" } }, "@set", false],
    [{ meta: { key: "nfproto" } }, "ipv4", true],
    [{ meta: { key: "nfproto" } }, "ipv6", false],
    [{ payload: { protocol: "ip", field: "saddr" } }, "192.0.2.1", true],
  ];
  for (const [left, right, expected] of cases) {
    const condition = { match: { op: "==", left, right } };
    assertEquals(isAboutAll([condition], FAKES), expected, JSON.stringify(condition));
    assertEquals(isAboutAll([{ accept: null }, condition], FAKES), expected);
  }
});

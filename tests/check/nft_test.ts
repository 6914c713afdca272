/**
 * What nft says of the table. `rules.json` is what nft 1.0.6 lists of rules.nft; the cases change it
 * as an admin might.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { judgeRules, judgeSets, nftProblem } from "../../lib/check/nft.ts";
import recorded from "./rules.json" with { type: "json" };
import { config, lineOf } from "./support.ts";

type Json = Record<string, unknown>;

const OBJECTS = recorded.nftables as Json[];

/** The recorded table with each object changed, or left out where that gives undefined. */
function listing(change: (object: Json) => Json | undefined = (object) => object): string {
  const changed = OBJECTS.map((object) => change(structuredClone(object)));
  return JSON.stringify({ nftables: changed.filter((object) => object !== undefined) });
}

/** The recorded table without its rules in a chain. */
function without(...chains: string[]): string {
  return listing((object) => chains.includes(chainOf(object)) ? undefined : object);
}

/** The recorded table with the text of its rules in a chain replaced. */
function replaced(chain: string, from: string | RegExp, to: string): string {
  return listing((object) => {
    if (chainOf(object) !== chain) return object;
    return JSON.parse(JSON.stringify(object).replace(from, to));
  });
}

function chainOf(object: Json): string {
  return String((object["rule"] as Json | undefined)?.["chain"]);
}

const WELL = [
  "ok connections to 198.18.0.0/15 are translated, masqueraded, and refused where they stand for " +
  "nothing",
  "ok connections to 2001:2::/48 are translated, masqueraded, and refused where they stand for " +
  "nothing",
];

Deno.test("judgeRules() finds all well, when the table is as rules.nft makes it", () => {
  assertEquals(judgeRules(config(), listing()).map(lineOf), WELL);
  const smaller = config({ "--ipv4-prefix": "198.19.0.0/24", "--ipv6-prefix": "2001:2:0:1::/64" });
  assertEquals(judgeRules(smaller, listing()).map(({ level }) => level), ["ok", "ok"]);
});

/** A listing, and what is found in it that is not well. */
const CASES: readonly (readonly [what: string, listed: string, ...expected: RegExp[]])[] = [
  [
    "no rule translates",
    without("prerouting"),
    /^error no rule in a prerouting chain of table inet dotp translates by nat_map: load/,
    /^error no rule in a prerouting chain of table inet dotp translates by nat_map6: load/,
  ],
  [
    "the rules translate one IP version only",
    replaced("to_real", /@nat_map6/g, "@other"),
    /^error .*by nat_map6:/,
  ],
  [
    "the rules translate part of the prefix",
    replaced("to_real", /"198.18.0.0","len":15/, '"198.18.0.0","len":16'),
    /^error the rules that translate by nat_map are not about all of 198\.18\.0\.0\/15: .*FAKE4/,
  ],
  [
    "the rules translate another prefix",
    replaced("to_real", /"2001:2::","len":48/, '"fd00::","len":48'),
    /^error the rules that translate by nat_map6 are not about all of 2001:2::\/48: .*FAKE6/,
  ],
  [
    "the chain is not a prerouting one",
    listing((object) => {
      const chain = object["chain"] as Json | undefined;
      return chain?.["name"] === "prerouting" ? { chain: { ...chain, hook: "input" } } : object;
    }),
    /^error .*by nat_map:/,
    /^error .*by nat_map6:/,
  ],
  [
    "nothing masquerades",
    without("postrouting"),
    /^warning no rule in table inet dotp masquerades connections to 198\.18\.0\.0\/15, so/,
    /^warning no rule in table inet dotp masquerades connections to 2001:2::\/48, so/,
  ],
  [
    "only what is invalid is refused",
    listing((object) =>
      JSON.stringify(object).includes('{"goto":{"target":"refuse"}}') &&
        chainOf(object) === "to_fake"
        ? undefined
        : object
    ),
    /^warning no rule .* refuses .*198/,
    /^warning no rule .* refuses .*2001/,
  ],
  [
    "every segment is translated",
    replaced("prerouting", '"translate"', '"to_real"'),
    /^warning the rules .* translate more than .* a fake in 198\.18\.0\.0\/15 may .*: load/,
    /^warning the rules .* translate more than .* a fake in 2001:2::\/48 may .*: load/,
  ],
  [
    "others reach the gateway itself",
    without("guard_input"),
    /^warning no rule in an input chain .* by a fake in 198\.18\.0\.0\/15 to the gateway itself/,
    /^warning no rule in an input chain .* by a fake in 2001:2::\/48 to the gateway itself/,
  ],
  [
    "nothing is refused",
    without("guard"),
    /^warning no rule .* refuses what goes to a fake in 198\.18\.0\.0\/15 that stands for nothing/,
    /^warning no rule .* refuses what goes to a fake in 2001:2::\/48/,
  ],
  [
    "the guard is not asked",
    without("behind_prerouting"),
    /^warning no rule .* refuses .*198/,
    /^warning no rule .* refuses .*2001/,
  ],
  [
    "the guard loops",
    replaced("to_fake", '"refuse"', '"guard"'),
    /^warning no rule .* refuses .*198/,
    /^warning no rule .* refuses .*2001/,
  ],
  [
    "only everything is refused, which comes after what is accepted",
    replaced("behind_prerouting", /"expr":.*/, '"expr":[{"drop":null}]}}'),
    /^warning no rule .* refuses .*198/,
    /^warning no rule .* refuses .*2001/,
  ],
  [
    "a map is too small",
    listing((object) => {
      const map = object["map"] as Json | undefined;
      return map?.["name"] === "nat_map" ? { map: { ...map, size: 131_069 } } : object;
    }),
    /^warning nat_map holds 131069 elements, fewer than the 131070 fakes there may be: /,
  ],
];

Deno.test("judgeRules() says what the rules lack, when they lack it", () => {
  for (const [what, listed, ...expected] of CASES) {
    const lines = judgeRules(config(), listed).map(lineOf).filter((line) => !line.startsWith("ok"));
    assertEquals(lines.length, expected.length, `${what}:\n${lines.join("\n")}`);
    for (const [i, pattern] of expected.entries()) assertMatch(lines[i] ?? "", pattern, what);
  }
});

Deno.test("judgeRules() takes an unusual table for well, when it does the same", () => {
  for (
    const listed of [
      // No prefix in the rules: whatever the map holds is translated.
      replaced("to_real", /\{"match":.*?\}\}\},\{"dnat"/, '{"dnat"'),
      replaced("postrouting", /\{"masquerade":null\}/, '{"snat":{"addr":"192.0.2.9"}}'),
      replaced("refuse", /\{"reject":[^}]*\}/, '{"drop":null'),
      replaced("guard", /\{"goto"/g, '{"jump"'),
      // The guard behind the routing, as older tables have it.
      listing((object) => {
        const chain = object["chain"] as Json | undefined;
        return chain?.["name"] === "behind_prerouting"
          ? { chain: { ...chain, hook: "forward" } }
          : object;
      }),
      listing((object) => {
        const set = (object["set"] ?? object["map"]) as Json | undefined;
        delete set?.["size"];
        return object;
      }),
    ]
  ) {
    assertEquals(judgeRules(config(), listed).map(lineOf), WELL);
  }
});

Deno.test("judgeRules() does not throw, when nft lists something unknown", () => {
  for (const listed of ['{"nftables": [{"rule": null}, 1, {"chain": {}}]}', "{}", "[]", "null"]) {
    assertEquals(judgeRules(config(), listed).some(({ level }) => level === "ok"), false);
  }
});

Deno.test("judgeSets() names what is missing or of another type, when something is", () => {
  assertEquals(judgeSets(config(), listing()), undefined);
  const lacking = listing((object) => {
    return (object["map"] as Json | undefined)?.["name"] === "nat_map6" ? undefined : object;
  });
  const finding = judgeSets(config(), lacking);
  assertMatch(
    finding === undefined ? "" : lineOf(finding),
    /^error map nat_map6 is missing from table inet dotp: .*rules\.nft$/,
  );
});

Deno.test("nftProblem() says what to do, when nft complains", () => {
  for (
    const [message, expected] of [
      ["nft is not there", /^error nft is not there: install it .*PATH$/],
      ["nft cannot be started: Permission denied", /^error .*: Permission denied: .* execute it$/],
      ["Operation not permitted (you must be root)", /^error nft is not permitted: .*CAP_NET/],
      ["No such file or directory", /^error table inet dotp is missing: load it/],
      ["Device or resource busy", /^error nft does not work with table inet dotp: Device or/],
    ] as const
  ) {
    assertMatch(lineOf(nftProblem("dotp", message)), expected);
  }
});

/** Tables that are not dotp's, in the words in which nft 1.0.6 lists them. */
import { assertEquals, assertMatch } from "@std/assert";
import { judgeFirewall, OTHER_TABLES_MAX, otherTables } from "../../lib/check/firewall.ts";
import recorded from "./rules.json" with { type: "json" };
import { config, lineOf } from "./support.ts";

type Json = Record<string, unknown>;

const OWN = JSON.stringify(recorded);
/** dotp listens on an address of lan0. */
const ADDRESSES = {
  text: "2: lan0    inet 192.0.2.1/24 scope global lan0\\       valid_lft forever\n" +
    "3: wan0    inet 198.51.100.1/24 scope global wan0\\       valid_lft forever\n",
};

const ACCEPT = { accept: null };
const DNAT = { dnat: { addr: "192.0.2.2", port: 80 } };
const REDIRECT = { redirect: { port: 3128 } };
const COUNTER = { counter: { packets: 0, bytes: 0 } };
const TRANSLATED = match("in", { ct: { key: "status" } }, "dnat");
const NEW = match("in", { ct: { key: "state" } }, "new");
const LOCAL = match("==", { fib: { result: "type", flags: ["daddr"] } }, "local");

function match(op: string, left: Json, right: unknown): Json {
  return { match: { op, left, right } };
}

function comesFrom(device: unknown, op = "=="): Json {
  return match(op, { meta: { key: "iifname" } }, device);
}

function isFor(port: unknown, protocol = "tcp"): Json {
  return match("==", { payload: { protocol, field: "dport" } }, port);
}

function to(address: string): Json {
  return match("==", { payload: { protocol: "ip", field: "daddr" } }, address);
}

/** A chain of a hook, its rules and what they jump to. */
function table(hook: Json, rules: Json[][], jumped: Json[][] = []): string {
  const rule = (chain: string) => (expr: Json[]) => ({ rule: { chain, expr } });
  return JSON.stringify({
    nftables: [
      { chain: { name: "base", policy: "accept", ...hook } },
      { chain: { name: "other" } },
      ...rules.map(rule("base")),
      ...jumped.map(rule("other")),
    ],
  });
}

const FORWARD = { type: "filter", hook: "forward", prio: 10 };
const PREROUTING = { type: "nat", hook: "prerouting", prio: -100 };
const JUMP = { jump: { target: "other" } };

function judge(listed: string, more: string[] = [], own = OWN, addresses = ADDRESSES): string[] {
  const others = [{ family: "inet", name: "fw", listed: { text: listed } }];
  return judgeFirewall(config({}, ...more), own, others, addresses).map(lineOf);
}

const ACCEPTS =
  /^warning chain (base|other) of table inet fw accepts all that was translated .*pass/;
const FORWARDS =
  /^warning chain (base|other) of table inet fw translates or redirects a port whatev/;
const WELL = /^ok no other table accepts all that is translated, or translates first$/;

/** What a table has, and what is found. */
const CASES: readonly (readonly [what: string, listed: string, expected: RegExp])[] = [
  ["as firewalld has it", table(FORWARD, [[TRANSLATED, ACCEPT]]), ACCEPTS],
  ["with a counter", table(FORWARD, [[NEW, TRANSLATED, COUNTER, ACCEPT]]), ACCEPTS],
  ["in a chain that is jumped to", table(FORWARD, [[JUMP]], [[TRANSLATED, ACCEPT]]), ACCEPTS],
  ["behind it", table(FORWARD, [[TRANSLATED, JUMP]], [[ACCEPT]]), ACCEPTS],
  ["from the LAN", table(FORWARD, [[comesFrom("lan0"), TRANSLATED, ACCEPT]]), ACCEPTS],
  ["not from outside", table(FORWARD, [[comesFrom("wan0", "!="), TRANSLATED, ACCEPT]]), ACCEPTS],
  ["from outside only", table(FORWARD, [[comesFrom("wan0"), TRANSLATED, ACCEPT]]), WELL],
  ["not from the LAN", table(FORWARD, [[comesFrom("lan0", "!="), TRANSLATED, ACCEPT]]), WELL],
  ["to one host only", table(FORWARD, [[to("192.0.2.2"), TRANSLATED, ACCEPT]]), WELL],
  ["by a match of iptables", table(FORWARD, [[{ xt: null }, TRANSLATED, ACCEPT]]), WELL],
  [
    "all that is not translated",
    table(FORWARD, [[
      match("!=", { ct: { key: "status" } }, "dnat"),
      ACCEPT,
    ]]),
    WELL,
  ],
  ["what is accepted anyway", table(FORWARD, [[ACCEPT]]), WELL],
  ["nothing", table(FORWARD, [[TRANSLATED, { drop: null }]]), WELL],
  ["in another hook", table({ ...FORWARD, hook: "input" }, [[TRANSLATED, ACCEPT]]), WELL],

  ["a port forward", table(PREROUTING, [[isFor(8080), DNAT]]), FORWARDS],
  ["a proxy", table(PREROUTING, [[NEW, isFor({ set: [80, 443] }), REDIRECT]]), FORWARDS],
  ["for the LAN", table(PREROUTING, [[comesFrom({ set: ["lan0"] }), isFor(80), DNAT]]), FORWARDS],
  ["before dstnat", table({ ...PREROUTING, prio: -110 }, [[isFor(8080), DNAT]]), FORWARDS],
  ["behind dstnat", table({ ...PREROUTING, prio: -99 }, [[isFor(8080), DNAT]]), WELL],
  ["for outside", table(PREROUTING, [[comesFrom("wan0"), isFor(8080), DNAT]]), WELL],
  ["of its address", table(PREROUTING, [[to("198.51.100.1"), isFor(8080), DNAT]]), WELL],
  ["as Docker has it", table(PREROUTING, [[LOCAL, COUNTER, JUMP]], [[isFor(99), DNAT]]), WELL],
  ["DNS", table(PREROUTING, [[comesFrom("lan0"), isFor(53, "udp"), REDIRECT]]), WELL],
];

Deno.test("judgeFirewall() names the chain, when clients of the LAN would meet its rule", () => {
  for (const [what, listed, expected] of CASES) {
    const lines = judge(listed);
    assertEquals(lines.length, 1, what);
    assertMatch(lines[0] ?? "", expected, what);
  }
});

Deno.test("judgeFirewall() takes any interface for the LAN's, when dotp listens on a wildcard", () => {
  const listed = table(FORWARD, [[comesFrom("wan0"), TRANSLATED, ACCEPT]]);
  const others = [{ family: "inet", name: "fw", listed: { text: listed } }];
  const [finding] = judgeFirewall(config({ "--host": "0.0.0.0" }), OWN, others, ADDRESSES);
  assertMatch(finding === undefined ? "" : lineOf(finding), ACCEPTS);
});

Deno.test("judgeFirewall() finds no fault, when private addresses are not translated", () => {
  const listed = table(FORWARD, [[TRANSLATED, ACCEPT]]);
  for (const choice of ["pass", "refuse"]) {
    const [line = ""] = judge(listed, ["--private-reals", choice]);
    assertMatch(line, /^ok chain base .* \(ct status dnat\), and private addresses are not transl/);
  }
});

Deno.test("judgeFirewall() finds no fault, when rules.nft says where translated ones may go out", () => {
  const limited = structuredClone(recorded) as { nftables: Json[] };
  const original = match("==", { ct: { key: "ip daddr", dir: "original" } }, "198.18.0.0/15");
  const elsewhere = match("!=", { meta: { key: "oifname" } }, { set: ["wan0"] });
  limited.nftables.push(
    { chain: { name: "only_to_wan", type: "filter", hook: "forward", prio: -10 } },
    { rule: { chain: "only_to_wan", expr: [elsewhere, original, { drop: null }] } },
  );
  const [line = ""] = judge(table(FORWARD, [[TRANSLATED, ACCEPT]]), [], JSON.stringify(limited));
  assertMatch(line, /^ok chain base .*, and rules\.nft says where/);
});

Deno.test("judgeFirewall() names the table and the problem, when it could not be listed", () => {
  const others = [{ family: "ip", name: "nat", listed: { problem: "nft fails: no answer" } }];
  const [finding] = judgeFirewall(config(), OWN, others, ADDRESSES);
  assertEquals(finding?.isUnseen, true);
  assertMatch(finding === undefined ? "" : lineOf(finding), /table ip nat: nft fails: no answer$/);
});

Deno.test("otherTables() leaves dotp's and those of other layers out, and takes no end of them", () => {
  const tables = (...all: [family: string, name: string][]) =>
    JSON.stringify({
      nftables: [{ metainfo: {} }, ...all.map(([family, name]) => ({ table: { family, name } }))],
    });
  const some = tables(["inet", "dotp"], ["ip", "dotp"], ["arp", "a"], ["bridge", "b"], [
    "inet",
    "c",
  ]);
  assertEquals(otherTables(config(), some), [
    { family: "ip", name: "dotp" },
    { family: "inet", name: "c" },
  ]);
  const many = Array.from({ length: 100 }, (_, n): [string, string] => ["ip", `t${n}`]);
  assertEquals(otherTables(config(), tables(...many)).length, OTHER_TABLES_MAX);
});

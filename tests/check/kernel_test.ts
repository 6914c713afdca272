/** The kernel's settings as grep prints them, and what is made of them. */
import { assertEquals, assertMatch } from "@std/assert";
import type { Seen } from "../../lib/check/finding.ts";
import { judgeForwarding, judgeReversePath } from "../../lib/check/kernel.ts";
import { lineOf } from "./support.ts";

/** What grep printed in a gateway with two interfaces, in part. */
const RECORDED = `/proc/sys/net/ipv4/conf/all/arp_filter:0
/proc/sys/net/ipv4/conf/all/bc_forwarding:0
/proc/sys/net/ipv4/conf/all/forwarding:1
/proc/sys/net/ipv4/conf/all/mc_forwarding:0
/proc/sys/net/ipv4/conf/all/rp_filter:0
/proc/sys/net/ipv4/conf/default/forwarding:1
/proc/sys/net/ipv4/conf/default/rp_filter:0
/proc/sys/net/ipv4/conf/lan0/forwarding:1
/proc/sys/net/ipv4/conf/lan0/rp_filter:0
/proc/sys/net/ipv4/conf/lo/forwarding:1
/proc/sys/net/ipv4/conf/lo/rp_filter:0
/proc/sys/net/ipv4/conf/wan0.7/forwarding:1
/proc/sys/net/ipv4/conf/wan0.7/rp_filter:0
/proc/sys/net/ipv6/conf/all/forwarding:1
`;

const RULES = `0:	from all lookup local
32766:	from all lookup main
32767:	from all lookup default
`;
/** BusyBox ends lines with a blank. */
const MARKED = RULES.replaceAll("\n", " \n") + "32765:	from all fwmark 0x1 lookup 100 \n";

/** What dotp-table.service makes. */
const HELD = RULES + `10:	from all to 198.18.0.0/15 iif lo goto 12 proto kernel
11:	from all to 198.18.0.0/15 unreachable proto kernel
12:	from all nop proto kernel
`;

const BLIND: Seen = { problem: "grep is not there" };

/** The recorded settings, some of them other. */
function settings(...other: [path: string, value: number | undefined][]): Seen {
  let text = RECORDED;
  for (const [path, value] of other) {
    const line = value === undefined ? "" : `/proc/sys/net/${path}:${value}\n`;
    text = text.replace(new RegExp(`^/proc/sys/net/${path}:.*\\n`, "m"), line);
  }
  return { text };
}

/** Settings, and what is found. */
const FORWARDING: readonly (readonly [Seen, ...RegExp[]])[] = [
  [settings(), /^ok IPv4 and IPv6 are forwarded$/],
  [
    settings(
      ["ipv4/conf/all/forwarding", 0],
      ["ipv4/conf/lan0/forwarding", 0],
      ["ipv4/conf/wan0.7/forwarding", 0],
    ),
    /^error IPv4 is not forwarded.*sysctl -w net\.ipv4\.ip_forward=1$/,
  ],
  [settings(["ipv4/conf/all/forwarding", 0]), /^ok /],
  [settings(["ipv6/conf/all/forwarding", 0]), /^warning IPv6 is not forwarded.*forwarding=1$/],
  [settings(["ipv6/conf/all/forwarding", undefined]), /^warning this kernel has no IPv6/],
  [BLIND, /^warning could not look at the kernel's settings: grep is not there$/],
  [{ text: "" }, /^warning could not look at the kernel's settings: /],
];

Deno.test("judgeForwarding() says whether packets get through, when it is set one way or another", () => {
  for (const [seen, ...expected] of FORWARDING) {
    const lines = judgeForwarding(seen).map(lineOf);
    assertEquals(lines.length, expected.length, lines.join("\n"));
    for (const [i, pattern] of expected.entries()) assertMatch(lines[i] ?? "", pattern);
  }
});

Deno.test("judgeReversePath() warns, when filtering is strict and there is policy routing", () => {
  const cases: [Seen, string | undefined, RegExp][] = [
    [settings(), RULES, /^ok .*strict nowhere$/],
    [settings(), MARKED, /^ok .*strict nowhere$/],
    [settings(["ipv4/conf/wan0.7/rp_filter", 1]), RULES, /^ok .*strict on wan0\.7, and all/],
    [settings(["ipv4/conf/wan0.7/rp_filter", 1]), HELD, /^ok .*strict on wan0\.7, and all/],
    [settings(["ipv4/conf/wan0.7/rp_filter", 1]), MARKED, /^warning .*strict on wan0\.7: .*=2 for/],
    [settings(["ipv4/conf/wan0.7/rp_filter", 2]), MARKED, /^ok .*strict nowhere$/],
    [settings(["ipv4/conf/lo/rp_filter", 1]), MARKED, /^ok .*strict nowhere$/],
    [
      settings(["ipv4/conf/all/rp_filter", 1]),
      MARKED,
      /^warning .*on lan0, wan0\.7: .*come in on$/,
    ],
    // The kernel takes the larger of the two, and 2 is not strict.
    [settings(["ipv4/conf/all/rp_filter", 2]), MARKED, /^ok .*strict nowhere$/],
    [settings(["ipv4/conf/wan0.7/rp_filter", 1]), undefined, /^warning .*strict on wan0\.7/],
  ];
  for (const [seen, rules, expected] of cases) {
    const rulesSeen = rules === undefined ? { problem: "no ip" } : { text: rules };
    const lines = judgeReversePath(seen, rulesSeen).map(lineOf);
    assertEquals(lines.length, 1);
    assertMatch(lines[0] ?? "", expected);
  }
  assertEquals(judgeReversePath(BLIND, { text: RULES }), []);
});

Deno.test("judgeReversePath() names a few interfaces, when many are strict", () => {
  const text = Array.from({ length: 9 }, (_, i) => {
    return `/proc/sys/net/ipv4/conf/veth${i}/rp_filter:1\n`;
  }).join("");
  const [finding] = judgeReversePath({ text }, { text: MARKED });
  assertMatch(finding?.what ?? "", /on veth0, veth1, veth2, veth3 and 5 more:/);
});

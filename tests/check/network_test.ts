/** Addresses and routes as `ip` of iproute2 and of BusyBox print them, and what is made of them. */
import { assertEquals, assertMatch } from "@std/assert";
import {
  judgeListener,
  judgeOverlap,
  judgePrefixes,
  readAddresses,
  routeArgs,
} from "../../lib/check/network.ts";
import { addressToText, prefixToText } from "../../lib/address.ts";
import { config, lineOf } from "./support.ts";

const ADDRESSES = String
  .raw`1: lo    inet 127.0.0.1/8 scope host lo\       valid_lft forever preferred_lft forever
1: lo    inet6 ::1/128 scope host \       valid_lft forever preferred_lft forever
2: lan0    inet 192.168.1.1/24 scope global lan0\       valid_lft forever preferred_lft forever
2: lan0    inet6 fd12:3456::1/64 scope global nodad \       valid_lft forever preferred_lft forever
2: lan0    inet6 fe80::e8ef:cfff:fee1:fccb/64 scope link tentative \       valid_lft forever
3: tun0    inet 10.8.0.2 peer 10.8.0.1/32 scope global tun0\       valid_lft forever
`;
const PUBLIC4 = "4: wan0    inet 203.0.114.9/24 brd 203.0.114.255 scope global wan0\\  valid_lft\n";
const PUBLIC6 = "4: wan0    inet6 2a00:db8::9/64 scope global flags 02 \\  valid_lft forever\n";
const INSIDE = "5: x0    inet 198.18.4.1/24 scope global x0\\       valid_lft forever\n";

/** Routes in and around 198.18.0.0/15 and 2001:2::/48 that are no trouble. */
const ROUTES = `blackhole 198.19.0.0/16 
local 198.18.4.1 dev x0 table local proto kernel scope host src 198.18.4.1 
broadcast 198.18.4.255 dev x0 table local proto kernel scope link src 198.18.4.1 
unreachable 2001:2::/48 dev lo metric 4000 pref medium
default via 192.0.2.2 dev lan0 
128.0.0.0/1 via 10.8.0.1 dev tun0
2000::/3 via fe80::1 dev wan0 metric 1024 pref medium
default via 2001:db8:1::2 dev lan0 metric 1024 pref medium
`;

Deno.test("readAddresses() takes both families, also of a tunnel, when ip lists them", () => {
  assertEquals(
    readAddresses(ADDRESSES).map(({ device, address, network }) => {
      return `${device} ${addressToText(address.bytes)} ${prefixToText(network)}`;
    }),
    [
      "lo 127.0.0.1 127.0.0.0/8",
      "lo ::1 ::1/128",
      "lan0 192.168.1.1 192.168.1.0/24",
      "lan0 fd12:3456::1 fd12:3456::/64",
      "lan0 fe80::e8ef:cfff:fee1:fccb fe80::/64",
      "tun0 10.8.0.2 10.8.0.2/32",
    ],
  );
});

Deno.test("judgeOverlap() finds what lies in the prefixes, when something does", () => {
  const cases: [addresses: string, routes: string, expected: RegExp[]][] = [
    [ADDRESSES, ROUTES, [/^ok no address and no route lies in the prefixes of the fakes$/]],
    [ADDRESSES + INSIDE, ROUTES, [/^error 198\.18\.4\.1\/24 on x0 lies .* refused: give dotp/]],
    // BusyBox leaves words out and puts blanks in.
    [ADDRESSES, `${ROUTES}198.18.4.0/24 dev x0 scope link  src 198.18.4.1 \n`, [
      /^warning a route to 198\.18\.4\.0\/24 dev x0 overlaps .*198\.18\.0\.0\/15/,
    ]],
    [ADDRESSES, "198.16.0.0/12 via 192.0.2.9 dev lan0 table 77 \n", [
      /^warning a route to 198\.16\.0\.0\/12 via 192\.0\.2\.9 dev lan0 overlaps/,
    ]],
    [ADDRESSES, "198.19.255.255 dev ppp0 proto static \n198.18.0.0/16 dev ppp1 \n", [
      /^warning a route to 198\.19\.255\.255 dev ppp0 \(and 1 more\) overlaps/,
    ]],
    // The same route is in both lists: those within, and those around.
    [ADDRESSES, "198.18.0.0/15 dev x0 \n198.18.0.0/15 dev x0 \n", [
      /^warning a route to 198\.18\.0\.0\/15 dev x0 overlaps/,
    ]],
    [
      ADDRESSES,
      "2001:2:0:5::/64 metric 1024 pref medium\n\tnexthop via 2001:db8:1::5 dev lan0 weight 1 \n",
      [/^warning a route to 2001:2:0:5::\/64 overlaps .*2001:2::\/48/],
    ],
    [ADDRESSES, "198.20.0.0/16 dev x0 \n2001:3::/48 dev x0 \n", [/^ok /]],
    [ADDRESSES, "128.0.0.0/3 dev x0 \n", [/^ok /]],
    [ADDRESSES, "192.0.0.0/4 dev x0 \n", [/^warning /]],
  ];
  for (const [addresses, routes, expected] of cases) {
    const lines = judgeOverlap(config(), { text: addresses }, { text: routes }).map(lineOf);
    assertEquals(lines.length, expected.length, lines.join("\n"));
    for (const [i, pattern] of expected.entries()) assertMatch(lines[i] ?? "", pattern);
  }
});

Deno.test("judgeOverlap() tells what it found and what it could not see, when one is missing", () => {
  const lines = judgeOverlap(config(), { text: INSIDE }, { problem: "ip fails" }).map(lineOf);
  assertEquals(lines.length, 2);
  assertMatch(lines[0] ?? "", /^error 198\.18\.4\.1/);
  assertMatch(lines[1] ?? "", /^warning could not look at addresses and routes: ip fails$/);
});

Deno.test("routeArgs() asks for routes within and around, when given a prefix", () => {
  assertEquals(routeArgs(config().prefixes[6]).map((args) => args.join(" ")), [
    "-6 route show table all root 2001:2::/48",
    "-6 route show table all match 2001:2::/48",
  ]);
});

Deno.test("judgePrefixes() warns of what browsers treat as local, when a prefix is", () => {
  const cases: [four: string, six: string, expected: RegExp[]][] = [
    ["198.18.0.0/15", "2001:2::/48", [/^ok /]],
    ["100.64.0.0/24", "2001:2::/48", [/^warning browsers treat 100\.64\.0\.0\/24 .*198\.18/]],
    ["198.18.0.0/15", "fd00::/64", [/^warning browsers treat fd00::\/64 .*2001:2::\/48/]],
    ["100.127.255.0/24", "fc00::/7", [/^warning /, /^warning /]],
    ["100.128.0.0/24", "fe00::/64", [/^ok /]],
  ];
  for (const [four, six, expected] of cases) {
    const given = config({ "--ipv4-prefix": four, "--ipv6-prefix": six });
    const lines = judgePrefixes(given).map(lineOf);
    assertEquals(lines.length, expected.length, lines.join("\n"));
    for (const [i, pattern] of expected.entries()) assertMatch(lines[i] ?? "", pattern);
  }
});

Deno.test("judgeListener() warns, when a wildcard listens on a public address", () => {
  const cases: [host: string, addresses: string, expected: RegExp | undefined][] = [
    ["192.168.1.1", ADDRESSES + PUBLIC4 + PUBLIC6, undefined],
    ["0.0.0.0", ADDRESSES, /^ok /],
    ["0.0.0.0", ADDRESSES + PUBLIC6, /^ok /],
    ["0.0.0.0", ADDRESSES + PUBLIC4, /^warning --host 0\.0\.0\.0 .* 203\.0\.114\.9 \(wan0\)/],
    ["::", ADDRESSES, /^ok /],
    ["::", ADDRESSES + PUBLIC4, /^warning --host :: .* 203\.0\.114\.9/],
    ["::", ADDRESSES + PUBLIC6, /^warning --host :: .* 2a00:db8::9 .*UDP port 53 on/],
  ];
  for (const [host, addresses, expected] of cases) {
    const lines = judgeListener(config({ "--host": host }), { text: addresses }).map(lineOf);
    assertEquals(lines.length, expected === undefined ? 0 : 1, host);
    if (expected !== undefined) assertMatch(lines[0] ?? "", expected);
  }
  const blind = judgeListener(config({ "--host": "::" }), { problem: "ip is not there" });
  assertEquals(blind.map(lineOf), ["warning could not look at addresses: ip is not there"]);
});

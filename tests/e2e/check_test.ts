/**
 * `dotp check` on a gateway that is well, and on one with one thing broken at a time: the right line,
 * the right exit status, and nothing changed by looking. The same at a start, as warnings in the log.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Finding } from "../../lib/check/finding.ts";
import { usualArgs } from "../lab/dotp.ts";
import { Address, FAKE4, FAKE6, isFake, real4, type Script } from "../lab/lab.ts";
import { testWith } from "../support/programs.ts";
import {
  address,
  answer,
  assertOneLine,
  endAll,
  NO_PROGRAMS,
  onlyWith,
  shareLab,
} from "./setup.ts";

const NAME = "example.com";

/** What an upstream that is well answers. */
const SCRIPT: Script = {
  ". NS": {},
  "* A": answer(address(NAME, real4(1))),
  "* AAAA": {},
};

const lab = shareLab((lab) => lab.startUpstream(SCRIPT));

interface Checked {
  code: number;
  stdout: string;
  stderr: string;
}

/** How to check; what is undefined is left as in `usualArgs`. */
interface Options {
  host?: string;
  port?: string;
  prefix4?: string;
  upstream?: string;
  more?: string[];
  env?: Readonly<Record<string, string>>;
  before?: string[];
  without?: string;
  permissions?: string[];
}

function args({ host, port, prefix4, upstream, more }: Options): string[] {
  return [
    ...["check", "-H", host ?? Address.gateway4, "-p", port ?? "53", "-4", prefix4 ?? FAKE4],
    ...["-6", FAKE6, "--upstream-host", upstream ?? Address.upstream4, "-d", NAME],
    ...more ?? [],
  ];
}

function check(options: Options = {}): Promise<Checked> {
  const { env, before, without, permissions } = options;
  return lab().runDotp({
    args: args(options),
    ...env && { env },
    ...before && { before },
    ...without && { without },
    ...permissions && { permissions },
  });
}

/** Asserts that a check has found this, at its level, and that nothing is worse. */
function assertFound({ code, stdout, stderr }: Checked, expected: RegExp, what: string): void {
  const found = stdout.split("\n").find((line) => expected.test(line)) ?? "";
  assert(found !== "", `${what}: ${expected} is not in\n${stdout}${stderr}`);
  const status = ["ok", "warning", "error"].findIndex((level) => found.startsWith(level));
  assertEquals([code, stderr], [status, ""], `${what}:\n${stdout}`);
}

/** Does something to the gateway, looks, and undoes it. */
async function whenBroken(
  [commands, undo]: [string[], string[]],
  look: () => Promise<void>,
): Promise<void> {
  const run = (line: string) => lab().exec("gateway", ...line.split(" "));
  try {
    for (const line of commands) await run(line);
    await look();
  } finally {
    for (const line of undo) await run(line);
  }
}

/** Sets a variable of the gateway's kernel, looks, and sets it back. */
async function whenSet(
  name: string,
  [value, usual]: [string, string],
  look: () => Promise<void>,
): Promise<void> {
  const set = (value: string) => lab().gateway.call("setSysctls", { [name]: value });
  try {
    await set(value);
    await look();
  } finally {
    await set(usual);
  }
}

Deno.test("check() finds all well and changes nothing, when the gateway is as it should be", async () => {
  const before = await lab().exec("gateway", "nft", "list", "ruleset");
  const { code, stdout, stderr } = await check();
  assertEquals([code, stderr], [0, ""], stdout);
  const lines = stdout.trimEnd().split("\n");
  assert(lines.length >= 8, stdout);
  for (const line of lines) assertMatch(line, /^ok {6} [^ ]/);
  assertEquals(await lab().exec("gateway", "nft", "list", "ruleset"), before);
  assertEquals(await lab().gateway.call("processes", null), [], "a program is left");
});

Deno.test("check() leaves a running dotp and its mappings alone, when the options are the same", async () => {
  await using _ = await lab().startDotp();
  const [fake = ""] = await lab().resolve(NAME, "A");
  assert(isFake(fake));
  const before = await lab().mappings();
  assertFound(await check(), /^ok +dotp is listening on 192\.0\.2\.1 port 53, process \d+$/, "it");
  const other = await check({ more: ["--nat-ttl", "60"] });
  assertFound(other, /^warning +dotp is listening .* other options, .*restart it/, "other options");
  assertEquals(await lab().mappings(), before);
  assertEquals(await lab().resolve(NAME, "A"), [fake]);
});

Deno.test("check() knows a dotp in the background, when the options are the same", async () => {
  const { code, stderr } = await lab().runDotp({ args: [...usualArgs([NAME]), "--daemonize"] });
  assertEquals(code, 0, stderr);
  try {
    assertFound(await check(), /^ok +dotp is listening on 192\.0\.2\.1 port 53/, "a child");
  } finally {
    await endAll(lab());
  }
});

/** Tables that each lack one thing. */
const TABLES = `
table inet empty { }
table inet mistyped {
  set nat_addr { type ipv4_addr; }
  set nat_addr6 { type ipv6_addr; }
  map nat_map { type ipv4_addr : ipv4_addr; }
  map nat_map6 { type ipv6_addr : ipv4_addr; }
}
table inet ruleless {
  set nat_addr { type ipv4_addr; size 1024; }
  set nat_addr6 { type ipv6_addr; }
  map nat_map { type ipv4_addr : ipv4_addr; }
  map nat_map6 { type ipv6_addr : ipv6_addr; }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip6 daddr ${FAKE6} dnat ip6 to ip6 daddr map @nat_map6
  }
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip daddr ${FAKE4} drop
  }
}`;

Deno.test("check() names what the table lacks and ends with 2, when dotp cannot use it", async () => {
  await lab().gateway.exec(["nft", "-f", "-"], TABLES);
  for (
    const [table, expected] of [
      ["nosuch", /^error +table inet nosuch is missing: load it with: nft -f rules\.nft$/],
      ["empty", /^error +set nat_addr is missing from table inet empty: .*rules\.nft$/],
      ["mistyped", /^error +nat_map6 in table inet mistyped is not a map of type .*rules\.nft$/],
      ["ruleless", /^error +no rule in a prerouting chain .* by nat_map: .*rules\.nft$/],
    ] as const
  ) {
    assertFound(await check({ more: ["--table", table] }), expected, table);
  }
  const { stdout } = await check({ more: ["--table", "ruleless"] });
  assertMatch(stdout, /^warning +nat_addr holds 1024 elements, fewer than the 131070 /m);
  assertMatch(stdout, /^warning +no rule .* masquerades connections to 198\.18\.0\.0\/15/m);
  assertMatch(stdout, /^warning +no rule .* refuses what goes to a fake in 2001:2::\/48/m);
  assert(!/by nat_map6:|in 198\.18\.0\.0\/15 that/.test(stdout), stdout);
  for (const table of ["empty", "mistyped", "ruleless"]) {
    await lab().exec("gateway", "nft", "delete", "table", "inet", table);
  }
});

Deno.test("check() names what an older rules.nft lacks, with which dotp works all the same", async () => {
  const older = new URL("older.nft", import.meta.url).pathname;
  await lab().exec("gateway", "nft", "delete", "table", "inet", "dotp");
  await lab().exec("gateway", "nft", "-f", older);
  const checked = await check();
  assertFound(checked, /^warning .* translate more than what opens a connection.*rules\.nft$/, "");
  assertMatch(checked.stdout, /^warning +no rule in an input chain .* to the gateway itself/m);
  assert(!/stands for nothing, so such/.test(checked.stdout), checked.stdout);
  await using dotp = await lab().startDotp();
  const [fake = ""] = await lab().resolve(NAME, "A");
  assertEquals((await lab().mappings()).maps.get(fake), real4(1));
  assert(await dotp.process.line(/warning.*translate more than/) !== undefined);
  await lab().loadRules();
  assertEquals((await lab().mappings()).maps.get(fake), real4(1));
  assertEquals((await check()).code, 0);
});

Deno.test("check() names the prefix and ends with 2, when rules.nft has another one", async () => {
  const checked = await check({ prefix4: "100.64.0.0/24" });
  assertFound(
    checked,
    /^error +.*nat_map are not about all of 100\.64\.0\.0\/24: .*FAKE4/,
    "other",
  );
  assertMatch(checked.stdout, /^warning +browsers treat 100\.64\.0\.0\/24 as a local .*198\.18/m);
});

/** As firewalld words it, and a port forward that names no destination. */
const FIREWALL = `table inet firewalld {
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname "lo" accept
    reject with icmpx admin-prohibited
  }
}
table ip forwards {
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    tcp dport 8080 dnat to ${Address.client4}:80
  }
}`;

Deno.test("check() names a firewall that accepts what is translated, and a forward that takes fakes", async () => {
  await lab().gateway.exec(["nft", "-f", "-"], FIREWALL);
  try {
    const checked = await check();
    assertFound(checked, /^warning +chain filter_FORWARD of table inet firewalld accepts /, "it");
    assertMatch(checked.stdout, /^warning +chain prerouting of table ip forwards translates or /m);
    await lab().exec("gateway", "nft", "delete", "table", "ip", "forwards");
    assertFound(
      await check({ more: ["--private-reals", "pass"] }),
      /^ok +chain filter_F/,
      "passed",
    );
  } finally {
    for (const table of ["inet firewalld", "ip forwards"]) {
      await lab().gateway.run(["nft", "delete", "table", ...table.split(" ")]);
    }
  }
});

Deno.test("check() says so, when the configured name is at the gateway itself", async () => {
  await lab().setScript({ ...SCRIPT, "* A": answer(address(NAME, Address.gatewayOutside4)) });
  const expected =
    /^warning +example\.com\. is at 198\.51\.100\.1, which is this machine: .*forwards/;
  assertFound(await check(), expected, "its own");
  await lab().setScript(SCRIPT);
});

Deno.test("check() says what to set, when the kernel does not forward", async () => {
  await whenSet("net/ipv4/ip_forward", ["0", "1"], async () => {
    assertFound(await check(), /^error +IPv4 is not forwarded.*sysctl -w net\.ipv4\.ip_fo/, "IPv4");
  });
  await whenSet("net/ipv6/conf/all/forwarding", ["0", "1"], async () => {
    assertFound(await check(), /^warning +IPv6 is not forwarded.*conf\.all\.forwarding=1/, "IPv6");
  });
});

Deno.test("check() warns of strict reverse path filtering, when there is policy routing", async () => {
  await whenSet("net/ipv4/conf/wan0/rp_filter", ["1", "0"], async () => {
    assertFound(await check(), /^ok +reverse path filtering is strict on wan0, and/, "one table");
    const rule = "rule add fwmark 0x1 lookup 100";
    await whenBroken([[`ip ${rule}`], [`ip ${rule.replace("add", "del")}`]], async () => {
      assertFound(await check(), /^warning +.*strict on wan0.*\.rp_filter=2/, "by mark");
    });
  });
});

Deno.test("check() names the network, when it overlaps the prefix of the fakes", async () => {
  for (
    const [command, expected] of [
      [
        `ip route add 198.19.4.0/24 via ${Address.upstream4}`,
        /^warning +a route to 198\.19\.4\.0\/24 via 198\.51\.100\.2 dev wan0 overlaps .*\/15/,
      ],
      [
        `ip route add 198.16.0.0/12 via ${Address.upstream4} table 77`,
        /^warning +a route to 198\.16\.0\.0\/12 /,
      ],
      [
        `ip -6 route add 2001:2:0:7::/64 via ${Address.upstream6}`,
        /^warning +a route to 2001:2:0:7::\/64 .*2001:2::\/48/,
      ],
      [
        "ip address add 198.18.7.1/24 dev lan0",
        /^error +198\.18\.7\.1\/24 on lan0 lies in the prefix of the fakes/,
      ],
      [`ip route add 0.0.0.0/1 via ${Address.upstream4}`, /^ok +no address and no route/],
      ["ip route add blackhole 198.18.0.0/15", /^ok +no address and no route/],
    ] as const
  ) {
    await whenBroken([[command], [command.replace(" add ", " del ")]], async () => {
      assertFound(await check(), expected, command);
    });
  }
});

Deno.test("check() says by whom, when the port is taken", async () => {
  await lab().gateway.call("holdPort", { host: Address.gateway4, port: 5300 });
  const taken = await check({ port: "5300" });
  assertFound(taken, /^error +192\.0\.2\.1 port 5300 is taken by deno, process \d+: end it/, "it");
  const blind = await check({ port: "5300", ...await onlyWith(["nft", "ip", "grep"]) });
  assertFound(blind, /^error +192\.0\.2\.1 port 5300 is taken: ss is not there/, "without ss");
  const elsewhere = await check({ host: "192.0.2.99" });
  assertFound(elsewhere, /^error +--host 192\.0\.2\.99: it is no address of this machine/, "where");
});

Deno.test("check() knows dotp on its port, when it may not take that port itself", async () => {
  const before = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
  const free = await check({ before });
  assertMatch(free.stdout, /^error +--port 53: not permitted/m);
  await using _ = await lab().startDotp({ domains: [NAME] });
  const taken = await check({ before });
  assertMatch(taken.stdout, /^ok +dotp is listening on 192\.0\.2\.1 port 53, process \d+$/m);
});

Deno.test("check() and dotp find nft in root's directories, when PATH does not lead there", async () => {
  const { env } = await onlyWith(["grep", "cat"]);
  const { stdout } = await check({ env });
  assertMatch(stdout, /^ok +nft works/m);
  assertMatch(stdout, /^ok +no address and no route/m);
  await using _ = await lab().startDotp({ env });
  assertEquals((await lab().resolve(NAME, "A")).length, 1);
});

Deno.test("check() tells how the upstream fails, when it does", async () => {
  const bare = { ...SCRIPT, ". NS": { rcode: 5 } };
  const fake = { ...SCRIPT, "* A": answer(address(NAME, "198.18.0.77")) };
  const forged = { ...SCRIPT, ". NS": [{ wrongId: true }, { via: "other port" as const }] };
  const cases: [Script, RegExp][] = [
    [bare, /^warning +the upstream, .* answers REFUSED .*give a server/],
    [fake, /^error +.* answers with the fake address 198\.18\.0\.77 .*dotp itself, or asks it/],
    [forged, /^error +the upstream, 198\.51\.100\.2 port 53, does not answer: /],
    [{ "* *": [] }, /^error +the upstream, 198\.51\.100\.2 port 53, does not answer: /],
  ];
  for (const [script, expected] of cases) {
    await lab().setScript(script);
    assertFound(await check(), expected, JSON.stringify(script));
  }
  await lab().setScript(SCRIPT);
});

Deno.test("check() finds the loop, when the upstream is dotp", async () => {
  await using _ = await lab().startDotp();
  const there = { host: Address.gatewayOutside4, upstream: Address.gateway4 };
  const looped = await check(there);
  assertFound(looped, /^error +the upstream, 192\.0\.2\.1 .* fake address 198\.1[89]\./, "a dotp");
});

Deno.test("check() warns, when a wildcard listens on a public address, or to itself", async () => {
  const wildcard = await check({ host: "0.0.0.0" });
  assertFound(wildcard, /^warning +--host 0\.0\.0\.0 also listens on .*UDP port 53/, "wildcard");
  const wildcard6 = await check({ host: "::", port: "5353" });
  assertFound(wildcard6, /^warning +--host :: also listens on .*UDP port 5353/, "IPv6 wildcard");
  const self = await check({ host: "0.0.0.0", upstream: "127.0.0.1" });
  assertFound(self, /^error +the upstream, 127\.0\.0\.1 .*where dotp itself listens/, "itself");
});

Deno.test("check() ends with 2 and says what it lacks, when nft or a permission is missing", async () => {
  const unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
  const port = "5454";
  const noRights = await check({ port, before: unprivileged });
  assertFound(noRights, /^error +nft is not permitted: run dotp as root or/, "no rights");
  const noNft = await check(await onlyWith(["ip", "grep"]));
  assertFound(noNft, /^error +nft is not there: install it/, "no nft");
  // A build has its permissions in it.
  if (Deno.env.has("DOTP_BIN")) return;
  const asked = await check({ without: "--allow-run" });
  assertFound(asked, /^error +Deno does not let dotp do its work: .*--allow-run:/, "no leave");
  const some = await check({ without: "--allow-run", permissions: ["--allow-run=nft,ip"] });
  assertFound(some, /^warning .*settings: Deno does not let dotp run grep: add it to/, "few");
});

Deno.test("check() says what it could not see, when a program is missing", async () => {
  const blind = await check(await onlyWith(["nft"]));
  assertFound(blind, /^warning +could not look at addresses and routes: ip is not there/, "ip");
  assertMatch(blind.stdout, /^warning +could not look at the kernel's settings: grep is not/m);
  const one = await check(await onlyWith(["nft", "grep"]));
  assertFound(one, /^warning +could not look at addresses and routes/, "only ip is missing");
});

testWith("busybox", "check() sees the same, when the programs are BusyBox's", async () => {
  const some = await onlyWith(["nft", "busybox/ip", "busybox/grep", "busybox/cat"]);
  assertFound(await check(some), /^ok +no address and no route/, "well");
  const route = `ip -6 route add 2001:2:0:7::/64 via ${Address.upstream6}`;
  await whenBroken([[route], [route.replace(" add ", " del ")]], async () => {
    assertFound(await check(some), /^warning +a route to 2001:2:0:7::\/64 /, "a route");
  });
});

Deno.test("check() prints one JSON object, with --json", async () => {
  const read = async (options: Options) => {
    const { code, stdout } = await check({ ...options, more: ["--json", ...options.more ?? []] });
    assert(stdout.endsWith("}\n") && stdout.indexOf("\n") === stdout.length - 1);
    const { level, findings }: { level: string; findings: Finding[] } = JSON.parse(stdout);
    for (const finding of findings) {
      assertEquals(finding.advice === undefined, finding.level === "ok");
      assert(finding.what.length > 0 && finding.subject.length > 0);
    }
    return { code, level, findings };
  };
  const well = await read({});
  assertEquals([well.code, well.level], [0, "ok"]);
  const broken = await read({ prefix4: "100.64.0.0/24" });
  assertEquals([broken.code, broken.level], [2, "error"]);
  const bad = broken.findings.filter(({ level }) => level !== "ok");
  assertEquals(bad.map(({ subject }) => subject).toSorted(), ["prefix", ...Array(4).fill("rules")]);
});

Deno.test("check() looks at what it is asked for and at nothing else, when there are topics", async () => {
  const cases: [topics: string[], options: Options, code: number, expected: RegExp[]][] = [
    [["prefixes"], {}, 0, [/^ok +browsers/, /^ok +no address and no route/]],
    [["port"], {}, 0, [/^ok +\S+ port 53 is free/]],
    [["port", "nft"], {}, 0, [
      ...[
        /^ok +nft works/,
        /^ok +connec/,
        /^ok +connec/,
        /^ok +no other table/,
        /^ok +\S+ port 53/,
      ],
    ]],
    // Whatever is broken elsewhere, and without the programs that others need.
    [["port"], { upstream: "192.0.2.99", prefix4: "10.77.0.0/24", ...NO_PROGRAMS }, 0, [/^ok/]],
    [["prefixes"], { prefix4: "100.64.0.0/24" }, 1, [/^warning +browsers/, /^ok +no address/]],
    [["nft"], NO_PROGRAMS, 2, [/^error +nft is not there/]],
  ];
  for (const [topics, options, code, expected] of cases) {
    const found = await check({ ...options, more: topics });
    const lines = found.stdout.trimEnd().split("\n");
    assertEquals([found.code, lines.length], [code, expected.length], found.stdout + found.stderr);
    for (const [i, pattern] of expected.entries()) assertMatch(lines[i] ?? "", pattern);
  }
});

Deno.test("main() ends with 2 and one line, when a command is wrong", async () => {
  for (
    const [given, expected] of [
      [["frobnicate"], /"frobnicate" is not a command.*--help/],
      [["check"], /--host is missing/],
      [[...args({}), "now"], /check: "now" is not known: give one of nft, engine, domains/],
      [[...usualArgs(), "--json"], /--json goes with the command check/],
      [["completions"], /completions: .*bash, zsh, fish/],
      [["completions", "csh"], /"csh".*bash, zsh, fish/],
      [["completions", "fish", "zsh"], /"zsh"/],
      [["manual", "--port", "53"], /--port/],
    ] as const
  ) {
    const { code, stdout, stderr } = await lab().runDotp({ args: [...given] });
    assertEquals(code, 2, stderr);
    assertOneLine(stdout, stderr);
    assertMatch(stderr, expected);
  }
});

Deno.test("main() prints completions and the manual, when asked", async () => {
  for (
    const [given, expected] of [
      [["completions", "bash"], "complete -F _dotp dotp"],
      [["completions", "zsh"], "#compdef dotp"],
      [["completions", "fish"], "complete -c dotp"],
      [["manual"], ".TH DOTP 8"],
    ] as const
  ) {
    const { code, stdout, stderr } = await lab().runDotp({ args: [...given] });
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, expected);
  }
});

Deno.test("main() warns in its log and works all the same, when something is around", async () => {
  const route = `ip route add 198.19.4.0/24 via ${Address.upstream4}`;
  await whenBroken([[route], [route.replace(" add ", " del ")]], async () => {
    await whenSet("net/ipv4/ip_forward", ["0", "1"], async () => {
      await using dotp = await lab().startDotp();
      assert(await dotp.process.line(/warning.*a route to 198\.19\.4\.0\/24/) !== undefined);
      assert(await dotp.process.line(/warning.*IPv4 is not forwarded/) !== undefined);
      assertEquals((await lab().resolve(NAME, "A")).length, 1);
    });
  });
});

Deno.test("main() says nothing of what it cannot see, when a program is missing", async () => {
  await using dotp = await lab().startDotp(await onlyWith(["nft", "conntrack"]));
  assertEquals((await lab().resolve(NAME, "A")).length, 1);
  await dotp.stop();
  assert(!dotp.log.some((line) => /could not look|not there/.test(line)), dotp.log.join("\n"));
});

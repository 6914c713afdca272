/** The command line: what is taken, what is refused, and in which words. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { addressToText, prefixToText } from "../../lib/address.ts";
import { TOPICS } from "../../lib/check/finding.ts";
import { OPTIONS } from "../../lib/cli/options.ts";
import { parseCommand, readRunning } from "../../lib/cli/parse.ts";
import { type Config, UsageError } from "../../lib/config.ts";
import type { DomainRule } from "../../lib/policy/domain_set.ts";
import { ruleOf } from "../support/domains.ts";
import { holds } from "../support/property.ts";

/** What must be given, by option. */
const REQUIRED: Readonly<Record<string, string>> = {
  "--host": "192.0.2.53",
  "--ipv4-prefix": "198.18.0.0/15",
  "--ipv6-prefix": "2001:2::/48",
  "--upstream-host": "192.0.2.1",
};

/** The required options, some of them replaced or left out, and more behind them. */
function args(replaced: Readonly<Record<string, string>> = {}, ...more: string[]): string[] {
  const all = Object.entries({ ...REQUIRED, ...replaced });
  return [...all.filter(([, value]) => value !== "").flat(), ...more];
}

function parse(given: readonly string[]): Config {
  const command = parseCommand(given);
  if (command.kind !== "run") throw new Error(`Cannot run: it is ${command.kind}`);
  return command.config;
}

/** The one line that a command line gets. */
function refusal(given: readonly string[]): string {
  let message = "";
  assertThrows(() => {
    try {
      parseCommand(given);
    } catch (error) {
      if (error instanceof UsageError) message = error.message;
      throw error;
    }
  }, UsageError);
  return message;
}

Deno.test("parseCommand() fills in what is usual, when only what is required is given", () => {
  const config = parse(args());
  assertEquals(addressToText(config.listen.host.bytes), "192.0.2.53");
  assertEquals(config.listen.port, 53);
  assertEquals(addressToText(config.upstream.host.bytes), "192.0.2.1");
  assertEquals(config.upstream.port, 53);
  assertEquals([4, 6].map((family) => prefixToText(config.prefixes[family as 4 | 6])), [
    "198.18.0.0/15",
    "2001:2::/48",
  ]);
  const { domains, natTtl, table, rulesFile, logLevel, logFormat, daemonize, pidFile } = config;
  assertEquals(
    { domains, natTtl, table, rulesFile, logLevel, logFormat, daemonize, pidFile },
    {
      domains: [],
      natTtl: 120,
      table: "dotp",
      rulesFile: undefined,
      logLevel: "info",
      logFormat: "text",
      daemonize: false,
      pidFile: undefined,
    },
  );
});

Deno.test("parseCommand() freezes what it returns, when all is well", () => {
  const config = parse(args());
  assert(Object.isFrozen(config));
});

/** Arguments behind the required ones, and what of the configuration they are to make. */
const VALID:
  readonly (readonly [more: string[], pick: (config: Config) => unknown, expected: unknown])[] = [
    [["--port", "1"], ({ listen }) => listen.port, 1],
    [["--port", "2"], ({ listen }) => listen.port, 2],
    [["--port=65534"], ({ listen }) => listen.port, 65_534],
    [["-p", "65535"], ({ listen }) => listen.port, 65_535],
    [["-p5353"], ({ listen }) => listen.port, 5_353],
    [["--upstream-port", "1"], ({ upstream }) => upstream.port, 1],
    [["--upstream-port", "65535"], ({ upstream }) => upstream.port, 65_535],
    [["--nat-ttl", "2"], ({ natTtl }) => natTtl, 2],
    [["--nat-ttl", "3"], ({ natTtl }) => natTtl, 3],
    [["--nat-ttl", "86399"], ({ natTtl }) => natTtl, 86_399],
    [["--nat-ttl=86400"], ({ natTtl }) => natTtl, 86_400],
    [["--table", "gate_2"], ({ table }) => table, "gate_2"],
    [["--table", "_"], ({ table }) => table, "_"],
    [["--table", "A".repeat(63)], ({ table }) => table.length, 63],
    [["--table", "A".repeat(64)], ({ table }) => table.length, 64],
    [["--rules-file", "/etc/dotp/rules.nft"], ({ rulesFile }) => rulesFile, "/etc/dotp/rules.nft"],
    [["--log-level", "debug"], ({ logLevel }) => logLevel, "debug"],
    [["--log-level", "info"], ({ logLevel }) => logLevel, "info"],
    [["--log-level", "warning"], ({ logLevel }) => logLevel, "warning"],
    [["--log-level", "error"], ({ logLevel }) => logLevel, "error"],
    [["--log-format", "json"], ({ logFormat }) => logFormat, "json"],
    [["--log-format", "text"], ({ logFormat }) => logFormat, "text"],
    [["--daemonize"], ({ daemonize }) => daemonize, true],
    [["--daemonize", "--pid-file", "/run/dotp.pid"], ({ pidFile }) => pidFile, "/run/dotp.pid"],
    [["-d", "example.com"], domainsOf, ["example.com"]],
    [["--domain=Example.COM."], domainsOf, ["example.com"]],
    [["-d", "a.example", "--domain", "b.example", "-dc.example"], domainsOf, [
      "a.example",
      "b.example",
      "c.example",
    ]],
    [["-d", "1.2"], domainsOf, ["1.2"]],
    [["-d", "x".repeat(62)], domainsOf, ["x".repeat(62)]],
    [["-d", "x".repeat(63)], domainsOf, ["x".repeat(63)]],
    [["-d", longDomain(252)], domainsOf, [longDomain(252)]],
    [["-d", longDomain(253)], domainsOf, [longDomain(253)]],
    [["-d", `${longDomain(253)}.`], domainsOf, [longDomain(253)]],
    [["-d", "_dmarc.a_b.com"], domainsOf, ["_dmarc.a_b.com"]],
    [["-d", "münchen.de", "-d", "BÜCHER.example."], domainsOf, [
      "xn--mnchen-3ya.de",
      "xn--bcher-kva.example",
    ]],
    [["-d", ".", "-d", "!lan", "-d=router.lan", "-d!x.lan."], domainsOf, [
      ".",
      "!lan",
      "=router.lan",
      "!x.lan",
    ]],
    [["--domain==example.com", "--domain", "=."], domainsOf, ["=example.com", "=."]],
    [[], ({ domainFiles }) => domainFiles, []],
    [["--domain-file", "/a", "--domain-file=/b"], ({ domainFiles }) => domainFiles, ["/a", "/b"]],
    [["--domain-file=/a", "--domain-file-strict"], (config) => config.domainFileStrict, true],
  ];

/** The rules about names; what is expected is written as `ruleOf` reads it. */
function domainsOf({ domains }: Config): readonly DomainRule[] {
  return domains;
}

/** A valid name of so many characters, without a dot at its end. */
function longDomain(length: number): string {
  return `${"a".repeat(63)}.`.repeat(3).padEnd(length, "b");
}

Deno.test("parseCommand() takes a value, when it is valid, also at a limit", () => {
  for (const [more, pick, expected] of VALID) {
    const wanted = pick === domainsOf ? (expected as string[]).map(ruleOf) : expected;
    assertEquals(pick(parse(args({}, ...more))), wanted, more.join(" "));
  }
});

Deno.test("parseCommand() takes addresses of both families, when they are to listen on or to ask", () => {
  for (
    const [given, host, upstream] of [
      [{ "--host": "0.0.0.0" }, "0.0.0.0", "192.0.2.1"],
      [{ "--host": "::" }, "::", "192.0.2.1"],
      [{ "--host": "2001:DB8::1", "--upstream-host": "2001:db8::2" }, "2001:db8::1", "2001:db8::2"],
      [{ "--host": "::ffff:192.0.2.7" }, "192.0.2.7", "192.0.2.1"],
      [{ "--upstream-host": "::ffff:192.0.2.7" }, "192.0.2.53", "192.0.2.7"],
      [{ "--host": "127.0.0.1", "--upstream-host": "127.0.0.2" }, "127.0.0.1", "127.0.0.2"],
    ] as const
  ) {
    const config = parse(args(given));
    assertEquals(
      [config.listen.host, config.upstream.host].map(({ bytes }) => addressToText(bytes)),
      [
        host,
        upstream,
      ],
    );
  }
});

Deno.test("parseCommand() takes the same server on another port, when dotp listens beside it", () => {
  const config = parse(args({ "--upstream-host": "192.0.2.53" }, "--upstream-port", "5353"));
  assertEquals(config.upstream.port, 5_353);
});

Deno.test("parseCommand() takes short names, when all four of them are given", () => {
  const given = ["-H", "192.0.2.53", "-4", "198.18.0.0/15", "-6", "2001:2::/48"];
  const config = parse([...given, "--upstream-host", "192.0.2.1"]);
  assertEquals(prefixToText(config.prefixes[6]), "2001:2::/48");
});

Deno.test("parseCommand() takes prefixes of every length, when it is within its limits", () => {
  for (
    const [option, value] of [
      ["--ipv4-prefix", "192.0.2.52/30"],
      ["--ipv4-prefix", "198.18.0.0/29"],
      ["--ipv6-prefix", "2001:2::/64"],
      ["--ipv6-prefix", "2001:2::/63"],
      ["--ipv6-prefix", "fd00::/8"],
    ] as const
  ) {
    const { prefixes } = parse(args({ "--host": "203.0.113.1", [option]: value }));
    assertEquals(prefixToText(prefixes[option === "--ipv4-prefix" ? 4 : 6]), value);
  }
  // Listening on all addresses, and asking over IPv6, is in no IPv4 prefix.
  const whole = {
    "--host": "0.0.0.0",
    "--upstream-host": "2001:db8::1",
    "--ipv4-prefix": "0.0.0.0/0",
  };
  assertEquals(parse(args(whole)).prefixes[4].length, 0);
  const whole6 = { "--host": "::", "--ipv6-prefix": "::/0" };
  assertEquals(parse(args(whole6)).prefixes[6].length, 0);
});

/** Command lines, and what the refusal must hold: option, value, what would be right. */
const INVALID: readonly (readonly [given: string[], ...parts: string[]])[] = [
  ...Object.keys(REQUIRED).map((name): [string[], ...string[]] => [
    args({ [name]: "" }),
    name,
    "missing",
    `give ${name} `,
  ]),
  [[], "--host", "missing"],
  ...["host", "upstream-host"].flatMap((name) =>
    [
      "localhost",
      "1.2.3",
      "01.2.3.4",
      "192.0.2.1:53",
      "[::1]",
      "::1%eth0",
      " 192.0.2.1",
      "::ffff:1.2.3",
    ]
      .map((value): [string[], ...string[]] => [
        args({ [`--${name}`]: value }),
        `--${name} "${value}"`,
        "such as 192.0.2.1 or 2001:db8::1",
      ])
  ),
  ...["port", "upstream-port"].flatMap((name) =>
    ["0", "65536", "99999999999", "x", "53x", "-1", "+53", "5.3", "0x35", " 53", "1e3"].map(
      (value): [string[], ...string[]] => [
        args({}, `--${name}=${value}`),
        `--${name} "${value}"`,
        "1 to 65535",
      ],
    )
  ),
  ...["0", "1", "86401", "1.5", "two", "-2", "120s", "Infinity"].map((
    value,
  ): [string[], ...string[]] => [
    args({}, `--nat-ttl=${value}`),
    `--nat-ttl "${value}"`,
    "seconds, 2 to 86400",
  ]),
  ...[
    "198.18.0.0",
    "198.18.0.0/33",
    "198.18.0.0/x",
    "2001:2::/48",
    "198.18/15",
    "example.com/8",
    "/8",
  ]
    .map((value): [string[], ...string[]] => [
      args({ "--ipv4-prefix": value }),
      `--ipv4-prefix "${value}"`,
      "IPv4 prefix",
      "such as 198.18.0.0/15",
    ]),
  ...["2001:2::", "2001:2::/129", "198.18.0.0/15", "2001:2::/-1"].map((
    value,
  ): [string[], ...string[]] => [
    args({ "--ipv6-prefix": value }),
    `--ipv6-prefix "${value}"`,
    "IPv6 prefix",
    "such as 2001:2::/48",
  ]),
  [args({ "--ipv4-prefix": "198.18.0.0/31" }), "--ipv4-prefix 198.18.0.0/31", "0 to 30"],
  [args({ "--ipv4-prefix": "198.18.0.0/32" }), "--ipv4-prefix 198.18.0.0/32", "0 to 30"],
  [args({ "--ipv6-prefix": "2001:2::/65" }), "--ipv6-prefix 2001:2::/65", "0 to 64"],
  [args({ "--ipv6-prefix": "2001:2::/128" }), "--ipv6-prefix 2001:2::/128", "0 to 64"],
  [args({ "--ipv4-prefix": "198.18.0.1/15" }), "198.18.0.1/15", "host bits", "give 198.18.0.0/15"],
  [args({ "--ipv4-prefix": "198.19.0.0/15" }), "198.19.0.0/15", "host bits", "give 198.18.0.0/15"],
  [args({ "--ipv4-prefix": "10.0.0.0/0" }), "10.0.0.0/0", "host bits", "give 0.0.0.0/0"],
  [args({ "--ipv6-prefix": "2001:2::1/48" }), "2001:2::1/48", "host bits", "give 2001:2::/48"],
  ...[
    "",
    "..",
    "!",
    "=",
    "!!a",
    "=!a",
    "a..b",
    ".com",
    "com..",
    "-a.com",
    "a-.com",
    "a/b",
    "*.a.com",
    "a b",
    "ä b.de",
    "ä/b.de",
    "\u00ad.de",
    "a.\u3002de",
  ]
    .filter((value) => value !== "").map((value): [string[], ...string[]] => [
      args({}, `--domain=${value}`),
      `--domain "${value}"`,
      "such as example.com",
    ]),
  [args({}, "-d", "x".repeat(64)), "--domain", "64 characters", "at most 63"],
  [args({}, "-d", longDomain(254)), "--domain", "254 characters", "at most 253"],
  ...["1dotp", "a-b", "a b", "dotp;", "d\u00f6tp", "A".repeat(65)].map((
    value,
  ): [string[], ...string[]] => [
    args({}, "--table", value),
    `--table "${value}"`,
    "letters, digits and '_'",
  ]),
  [args({}, "--log-level", "loud"), '--log-level "loud"', "debug, info, warning, error"],
  [args({}, "--log-level", "INFO"), '--log-level "INFO"', "debug, info, warning, error"],
  [args({}, "--log-format", "xml"), '--log-format "xml"', "text, json"],
  [args({}, "--daemonize=yes"), '--daemonize "yes"', "no value"],
  [args({}, "--help=me"), '--help "me"', "no value"],
  [args({}, "--pid-file", "/run/dotp.pid"), "--pid-file", "--daemonize"],
  [args({}, "--daemonize", "--pid-file", "dotp.pid"), '--pid-file "dotp.pid"', "absolute"],
  [args({}, "--verbose"), '"--verbose"', "--help"],
  [args({}, "--verbose=1"), '"--verbose"', "--help"],
  [args({}, "-x"), '"-x"', "--help"],
  [args({}, "-px"), '--port "x"', "1 to 65535"],
  [args({}, "--no-daemonize"), '"--no-daemonize"', "--help"],
  [args({}, "--Port", "53"), '"--Port"', "--help"],
  [args({}, "extra"), '"extra"', "--help"],
  [args({}, "--", "extra"), '"extra"', "--help"],
  [args({ "--upstream-host": "0.0.0.0" }), "--upstream-host 0.0.0.0", "one server"],
  [args({ "--upstream-host": "::" }), "--upstream-host ::", "one server"],
  [args({ "--upstream-host": "::ffff:0.0.0.0" }), "--upstream-host 0.0.0.0", "one server"],
  [args({ "--upstream-host": "192.0.2.53" }), "--upstream-host 192.0.2.53", "another server"],
  [args({ "--host": "198.18.0.1" }), "--host 198.18.0.1", "prefix of the fake"],
  [args({ "--upstream-host": "198.19.0.1" }), "--upstream-host 198.19.0.1", "prefix of the fake"],
  [args({ "--host": "2001:2::1" }), "--host 2001:2::1", "prefix of the fake"],
];

Deno.test("parseCommand() names option, value and remedy in one line, when it refuses", () => {
  for (const [given, ...parts] of INVALID) {
    const message = refusal(given);
    for (const part of parts) assert(message.includes(part), `${message} lacks ${part}`);
    assert(!/[\n\r]/.test(message) && message.length > 0, message);
  }
});

Deno.test("parseCommand() asks for a value, when an option that has one stands without", () => {
  for (const { name, short, value } of OPTIONS) {
    if (value === undefined) continue;
    const forms = [[`--${name}`], [`--${name}=`], [`--${name}`, ""]];
    if (short !== undefined) forms.push([`-${short}`]);
    for (const form of forms) {
      const others = { ...REQUIRED };
      const message = refusal([
        ...Object.entries(others).filter(([key]) => key !== `--${name}`).flat(),
        ...form,
      ]);
      assert(message.includes(`--${name}`) && message.includes(value), `${form}: ${message}`);
    }
  }
});

/** What may be typed behind the required options, and what the same is written out. */
const SPELLINGS: readonly (readonly [typed: string[], meant: string[]])[] = [
  [["-p53"], ["--port=53"]],
  [["-p", "53"], ["--port=53"]],
  [["--pool-key", "-x"], ["--pool-key=-x"]],
  [["--pool-key", "--"], ["--pool-key=--"]],
  [["--pool-key", "--pool"], ["--pool-key=--pool"]],
  [["--pool-key", "-"], ["--pool-key=-"]],
  [["--pool-key", "a=b"], ["--pool-key=a=b"]],
  [["--pool-key==a"], ["--pool-key", "=a"]],
  [["--pool-key", "true"], ["--pool-key=true"]],
  [["--pool-key", "1e3"], ["--pool-key=1e3"]],
  [["--pool-key", "a\nb"], ["--pool-key=a\nb"]],
  [["-dexample.com", "-dx.com"], ["-d", "example.com", "-d", "x.com"]],
  [["-dtrue", "-d1.2"], ["--domain=true", "--domain=1.2"]],
  [["--daemonize", "--"], ["--daemonize"]],
];

Deno.test("parseCommand() takes a value as typed, when it is spelled in any of the usual ways", () => {
  for (const [typed, meant] of SPELLINGS) {
    assertEquals(parse(args({}, ...typed)), parse(args({}, ...meant)), typed.join(" "));
  }
  const short = ["-H192.0.2.53", "-4198.18.0.0/15", "-62001:2::/48", "--upstream-host=192.0.2.1"];
  assertEquals(parse(short), parse(args()));
  assertEquals(parseCommand(["-hp53"]), { kind: "help" });
  assertEquals(parseCommand(["-hp", "53"]), { kind: "help" });
  const { kind } = parseCommand(args({}, "--json", "check"));
  assertEquals(kind, "check", "a switch has no value, so the word behind it is one");
  assertEquals(parseCommand(args({}, "--json", "--", "check")).kind, "check");
});

Deno.test("parseCommand() refuses by the name that was typed, when it knows no such option", () => {
  for (
    const [given, name] of [
      [["-hx"], "-x"],
      [["-h-"], "--"],
      [["-h=me"], "-="],
      [["-é"], "-é"],
      [["--Port=53"], "--Port"],
      [["--port.x", "53"], "--port.x"],
      [["--__proto__=1"], "--__proto__"],
      [["--constructor"], "--constructor"],
      [["--_=1"], "--_"],
      [["---"], "---"],
      [["--no-port"], "--no-port"],
    ] as const
  ) assertEquals(refusal(args({}, ...given)), `"${name}" is not an option of dotp: see --help`);
  for (const given of [["-p", "-1"], ["--port", "-1"], ["-p-1"], ["--port=-1"]]) {
    assertEquals(refusal(args({}, ...given)), '--port "-1" is not valid: give a port, 1 to 65535');
  }
  for (const given of [["--", "--port"], ["--", "-p"], ["-"]]) {
    const word = given.at(-1);
    assertEquals(refusal(args({}, ...given)), `"${word}" is not a command of dotp: see --help`);
  }
  for (const value of ["", "yes", "5"]) {
    assertEquals(
      refusal(args({}, `--daemonize=${value}`)),
      `--daemonize "${value}": it takes no value`,
    );
  }
});

Deno.test("parseCommand() takes check with topics, when there are any", () => {
  assertEquals(topicsOf("check"), [...TOPICS]);
  assertEquals(topicsOf("check", "port", "prefixes"), ["port", "prefixes"]);
  assertEquals(
    refusal(args({}, "check", "ports")),
    `check: "ports" is not known: give one of ${TOPICS.join(", ")}`,
  );
});

function topicsOf(...words: string[]): readonly string[] {
  const command = parseCommand([...words, ...args()]);
  return command.kind === "check" ? command.topics : [];
}

Deno.test("parseCommand() takes rules and unit, when few options or all of a run are given", () => {
  for (
    const [given, table, prefix4, prefix6] of [
      [["rules"], "dotp", "198.18.0.0/15", "2001:2::/48"],
      [["rules", "-4", "100.64.0.0/24"], "dotp", "100.64.0.0/24", "2001:2::/48"],
      [["-6", "fd00::/64", "--table", "x", "rules"], "x", "198.18.0.0/15", "fd00::/64"],
      [["rules", ...args({}, "-d", "example.com")], "dotp", "198.18.0.0/15", "2001:2::/48"],
      // It listens and asks nowhere.
      [["rules", "-4", "0.0.0.0/0", "-6", "::/0"], "dotp", "0.0.0.0/0", "::/0"],
    ] as const
  ) {
    const command = parseCommand(given);
    if (!("config" in command)) throw new Error(`Cannot use ${given}: it is ${command.kind}`);
    const { prefixes } = command.config;
    assertEquals(
      [command.config.table, prefixToText(prefixes[4]), prefixToText(prefixes[6])],
      [table, prefix4, prefix6],
    );
  }
  for (
    const [given, expected] of [
      [["rules", "-4", "198.18.0.0/31"], "--ipv4-prefix 198.18.0.0/31 is too small"],
      [["rules", "--port", "0"], '--port "0" is not valid'],
      [["rules", "unit"], '"unit" is one word too many for rules'],
      [["unit", "timer"], 'unit: "timer" is not known: give one of service, table'],
      [["unit", "table", "service"], '"service" is one word too many for unit'],
      [["unit", "-4", "198.18.0.0/31"], "--ipv4-prefix 198.18.0.0/31 is too small"],
      [["rules", "--json"], "--json goes with the command check"],
      [["rules", "--program", "/x"], "--program goes with the command unit"],
      [["--program", "/x", ...args()], "--program goes with the command unit"],
      [["manual", "-p", "53"], "--port does not go with the command manual"],
    ] as const
  ) assertStringIncludes(refusal([...given]), expected);
});

Deno.test("parseCommand() takes the service for the unit, when none is named", () => {
  for (
    const [words, unit] of [
      [[], "service"],
      [["service"], "service"],
      [["table"], "table"],
    ] as const
  ) {
    assertEquals(parseCommand(["unit", ...words]), {
      kind: "unit",
      unit,
      program: "/usr/local/bin/dotp",
    });
  }
});

Deno.test("parseCommand() takes interfaces for the rules, when they can be told to nft", () => {
  const names = ["lan0", "br-lan", "eth0.10", "enp3s0f1", "a".repeat(15)];
  const command = parseCommand(["rules", ...names.flatMap((name) => ["--lan", name])]);
  assertEquals(command.kind === "rules" && command.lan, names);
  const plain = parseCommand(["rules"]);
  assertEquals(plain.kind === "rules" && plain.lan, []);
  for (const name of ['a"b', "a b", "eth*", "a".repeat(16), "-a", "a/b", "$LAN", "é"]) {
    assertStringIncludes(
      refusal(["rules", `--lan=${name}`]),
      `--lan ${JSON.stringify(name)} is not`,
    );
  }
  assertStringIncludes(refusal(args({}, "--lan", "lan0")), "--lan goes with the command rules");
});

Deno.test("parseCommand() takes a program for the unit, when systemd takes it as it is", () => {
  for (const program of ["/usr/local/bin/dotp", "/opt/dotp-1.0_x+y/bin/dotp", "/dotp"]) {
    const command = parseCommand(["unit", "--program", program]);
    assertEquals(command.kind === "unit" && command.program, program);
  }
  for (
    const program of ["dotp", "/", "/a b", "/a%b", "/a$b", "/a;b", "/a'b", "/a//b", "/a\n", "/é"]
  ) {
    assertStringIncludes(refusal(["unit", "--program", program]), "--program");
  }
});

Deno.test("readRunning() finds what dotp was told, when a command line ends with that", () => {
  const given = args({}, "-d", "example.com");
  const deno = ["/usr/bin/deno", "run", "--allow-net", "--allow-run", "/opt/dotp/main.ts"];
  for (
    const [commandLine, isDotp] of [
      [[...deno, ...given], true],
      [["dotp", ...given], true],
      [["dotp", ...given, "--daemonize", "--daemon-child"], true],
      [["dotp", "check", ...given], false],
      [["nc", "-u", "-l", "192.0.2.1", "53"], false],
      [["dotp"], false],
      [[], false],
    ] as const
  ) {
    const config = readRunning(commandLine);
    assertEquals(config?.domains, isDotp ? parse(given).domains : undefined, commandLine.join(" "));
  }
});

Deno.test("parseCommand() does not take an option for a value, when a value is missing", () => {
  const message = refusal(["--host", "--port", "53"]);
  assert(message.includes("--host"), message);
});

Deno.test("parseCommand() refuses an option given twice, when it may not be repeated", () => {
  const values: Readonly<Record<string, string>> = {
    ...REQUIRED,
    "--port": "53",
    "--upstream-port": "53",
    "--nat-ttl": "120",
    "--nat-max-ttl": "0",
    "--pool-key": "dotp",
    "--pool-full": "servfail",
    "--private-reals": "map",
    "--engine": "auto",
    "--table": "dotp",
    "--log-level": "info",
    "--log-format": "text",
    "--pid-file": "/run/dotp.pid",
  };
  for (const { name, value, isRepeatable } of OPTIONS) {
    if (isRepeatable) continue;
    const one = value === undefined ? [`--${name}`] : [`--${name}`, values[`--${name}`] ?? ""];
    const others = Object.entries(REQUIRED).filter(([key]) => key !== `--${name}`).flat();
    const message = refusal([...others, ...one, ...one]);
    assert(message.includes(`--${name}`) && message.includes("more than once"), message);
  }
  assert(refusal(args({}, "-p", "53", "--port", "53")).includes("more than once"));
});

Deno.test("parseCommand() gives one line, when a value holds line breaks and other controls", () => {
  const nasty = 'x\n\r\u0000\u001b[31m"y';
  for (const { name, value } of OPTIONS) {
    // It is only ever hashed, so any text will do.
    if (name === "pool-key") continue;
    const given = value === undefined ? [`--${name}=${nasty}`] : [`--${name}`, nasty];
    const others = Object.entries(REQUIRED).filter(([key]) => key !== `--${name}`).flat();
    const message = refusal([...others, ...given]);
    // deno-lint-ignore no-control-regex
    assert(!/[\u0000-\u001f]/.test(message), JSON.stringify(message));
  }
  // deno-lint-ignore no-control-regex
  assert(!/[\u0000-\u001f]/.test(refusal([nasty])));
  // deno-lint-ignore no-control-regex
  assert(!/[\u0000-\u001f]/.test(refusal([`--${nasty}`])));
});

Deno.test("parseCommand() gives help or the version, when that is asked, whatever is missing", () => {
  assertEquals(parseCommand(["--help"]), { kind: "help" });
  assertEquals(parseCommand(["-h"]), { kind: "help" });
  assertEquals(parseCommand(["--version"]), { kind: "version" });
  assertEquals(parseCommand(args({}, "--version")), { kind: "version" });
  assertEquals(parseCommand(["--version", "--help"]), { kind: "help" });
});

Deno.test("parseCommand() throws nothing but UsageError, when arguments are random", () => {
  const name = fc.constantFrom(
    ...OPTIONS.flatMap(({ name, short }) => [`--${name}`, `-${short ?? name}`]),
  );
  const arg = fc.oneof(
    name,
    fc.string({ maxLength: 12 }),
    fc.constantFrom(...Object.values(REQUIRED)),
  );
  holds(
    "parseCommand",
    fc.property(fc.array(arg, { maxLength: 12 }), (given) => {
      try {
        parseCommand(given);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        assert(!error.message.includes("\n"));
      }
    }),
    1_000,
  );
});

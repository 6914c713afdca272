/** Who has the port, as `ss` and `netstat` list it. */
import { assertEquals, assertMatch } from "@std/assert";
import {
  type Holder,
  judgeDotp,
  judgeTaken,
  readCandidates,
  readHolders,
} from "../../lib/check/port.ts";
import { readRunning } from "../../lib/cli/parse.ts";
import type { Config } from "../../lib/config.ts";
import { args, config, lineOf } from "./support.ts";

const SS = `UNCONN 0      0          192.0.2.1:53 0.0.0.0:* users:(("deno",pid=7380,fd=18))
UNCONN 0      0      127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=411,fd=16))
UNCONN 0      0            0.0.0.0:5353 0.0.0.0:* users:(("avahi-daemon",pid=500,fd=12))
UNCONN 0      0      [2001:db8::1]:53      [::]:* users:(("named",pid=900,fd=20),("named",pid=901,fd=20))
UNCONN 0      0                  *:54         *:* users:(("deno",pid=7381,fd=19))
UNCONN 0      0          192.0.2.7:55 0.0.0.0:*
`;
const NETSTAT = `Active Internet connections (only servers)
Proto Recv-Q Send-Q Local Address           Foreign Address         State       PID/Program name
udp        0      0 0.0.0.0:53              0.0.0.0:*                           1234/dnsmasq
udp        0      0 :::53                   :::*                                1234/dnsmasq
udp        0      0 192.0.2.9:67            0.0.0.0:*                           -
`;

/** What is given as --host and --port, what lists the sockets, and who is found: `address name id`. */
const HOLDERS: readonly (readonly [host: string, port: string, text: string, ...string[]])[] = [
  ["192.0.2.1", "53", SS, "192.0.2.1 deno 7380"],
  ["127.0.0.53", "53", SS, "127.0.0.53 systemd-resolve 411"],
  ["2001:db8::1", "53", SS, "2001:db8::1 named 900", "2001:db8::1 named 901"],
  ["192.0.2.1", "5353", SS, "0.0.0.0 avahi-daemon 500"],
  ["192.0.2.1", "54", SS, "* deno 7381"],
  ["192.0.2.7", "55", SS, "192.0.2.7 undefined undefined"],
  [
    "0.0.0.0",
    "53",
    SS,
    "192.0.2.1 deno 7380",
    "127.0.0.53 systemd-resolve 411",
    "2001:db8::1 named 900",
    "2001:db8::1 named 901",
  ],
  ["192.0.2.1", "3", SS],
  ["192.0.2.1", "53", NETSTAT, "0.0.0.0 dnsmasq 1234", ":: dnsmasq 1234"],
  ["192.0.2.9", "67", NETSTAT, "192.0.2.9 undefined undefined"],
];

Deno.test("readHolders() finds the sockets in the way, when ss or netstat lists them", () => {
  for (const [host, port, text, ...expected] of HOLDERS) {
    const { listen } = config({ "--host": host, "--port": port });
    assertEquals(
      readHolders({ text }, listen).map(({ address, process }) => {
        return `${address} ${process?.name} ${process?.id}`;
      }),
      expected,
      `${host} ${port}`,
    );
  }
});

/** A process that has the port. */
function holder(name: string, id = 7): Holder[] {
  return [{ address: "192.0.2.1", process: { name, id } }];
}

const DENO = ["/usr/bin/deno", "run", "--allow-net", "--allow-run", "/opt/dotp/main.ts"];

Deno.test("judgeTaken() knows dotp, when it is run in one way or another", () => {
  const same = args({}, "-d", "example.com");
  const given = config({}, "-d", "example.com");
  const cases: [commandLine: string[], expected: RegExp][] = [
    [[...DENO, ...same], /^ok dotp is listening on 192\.0\.2\.1 port 53, process 7$/],
    [["/usr/local/bin/dotp", ...same], /^ok /],
    [["dotp", ...same, "--log-level", "debug"], /^ok /],
    [["dotp", ...same, "--daemonize", "--daemon-child"], /^ok /],
    [
      ["dotp", ...same, "--nat-ttl", "60"],
      /^warning dotp is listening .* other options, .*restart/,
    ],
    [["dotp", ...same, "--private-reals", "pass"], /^warning .* other options/],
    [["dotp", ...same, "--log-level", "debug"], /^ok /],
    [["dotp", ...args({ "--port": "54" }, "-d", "example.com")], /^error .* is taken by deno,/],
    [["dotp", "check", ...same], /^error /],
    [["nc", "-u", "-l", "192.0.2.1", "53"], /^error .* is taken by deno, process 7: end it/],
    [[], /^error /],
  ];
  for (const [commandLine, expected] of cases) {
    const dotp = readRunning(commandLine);
    const running = new Map(dotp === undefined ? [] : [[7, dotp]]);
    const finding = judgeTaken(given, { holders: holder("deno"), running });
    assertMatch(lineOf(finding), expected, commandLine.join(" "));
  }
});

const PS = `    1 /sbin/init
  411 /lib/systemd/systemd-resolved
 7380 /usr/bin/deno run -q /usr/local/bin/dotp -H 192.0.2.1 --upstream-host 192.0.2.53
12345 grep --upstream-hos
`;

Deno.test("readCandidates() finds what may be dotp, when ps lists it", () => {
  assertEquals(readCandidates({ text: PS }), [7380]);
  assertEquals(readCandidates({ problem: "ps is not there" }), []);
});

Deno.test("judgeTaken() knows dotp by what it was told, when nobody may see who has the port", () => {
  const holders: Holder[] = [{ address: "192.0.2.1", process: undefined }];
  const given = config();
  const elsewhere: Holder[] = [{ address: "127.0.0.53", process: undefined }];
  const others = new Map([[8, config()]]);
  assertEquals(judgeDotp(given, { holders: [], running: others }), undefined);
  assertEquals(judgeDotp(given, { holders: elsewhere, running: others }), undefined);
  const cases: [command: string[], expected: RegExp][] = [
    [args(), /^ok dotp is listening on 192\.0\.2\.1 port 53, process 8$/],
    [args({}, "--nat-ttl", "60"), /^warning dotp is listening .* with other options, process 8/],
    [args({ "--port": "54" }), /^error .* is taken: run this as root to see by whom/],
  ];
  for (const [command, expected] of cases) {
    const running = new Map([[8, readRunning(["dotp", ...command])!]]);
    assertMatch(lineOf(judgeTaken(given, { holders, running })), expected);
  }
});

Deno.test("judgeTaken() knows dotp, when a program that it is just starting is listed first", () => {
  const running = new Map([[7, config()]]);
  const holders = [...holder("deno", 8), ...holder("deno", 7)];
  assertMatch(lineOf(judgeTaken(config(), { holders, running })), /^ok .*, process 7$/);
});

Deno.test("judgeTaken() says how to get the port, when a usual program has it", () => {
  const running = new Map<number, Config>();
  for (
    const [name, expected] of [
      ["systemd-resolve", /taken by systemd-resolve, process 7: .*DNSStubListener=no/],
      ["dnsmasq", /taken by dnsmasq, process 7: .*port=0/],
      ["named", /taken by named, process 7: end it or give another --port$/],
    ] as const
  ) {
    assertMatch(lineOf(judgeTaken(config(), { holders: holder(name), running })), expected);
  }
  const nameless: Holder[] = [{ address: "192.0.2.1", process: undefined }];
  for (
    const [holders, problem, expected] of [
      [
        nameless,
        undefined,
        /^error 192\.0\.2\.1 port 53 is taken: run this as root to see by whom/,
      ],
      [[], "ss is not there", /^error 192\.0\.2\.1 port 53 is taken: ss is not there; end what/],
    ] as const
  ) {
    const taken = { holders, running, ...problem !== undefined && { problem } };
    assertMatch(lineOf(judgeTaken(config(), taken)), expected);
  }
});

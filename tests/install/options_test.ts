/**
 * The command line of install.sh: what each option does, and what is said of each mistake, by it or by
 * the dotp that it is to install: a bundle of this checkout.
 */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname } from "node:path";
import { make } from "../artifacts/setup.ts";
import { ADDRESSES, CHECKOUT, Path, Staging } from "./staging.ts";

const dist = await Deno.makeTempDir({ prefix: "dotp-options-" });
const BINARY = `${dist}/dotp`;
Deno.test.beforeAll(async () => void await make("bundle", dist));
Deno.test.afterAll(() => Deno.remove(dist, { recursive: true }));

/** Runs install.sh with that dotp, on a PATH with the Deno that it needs. */
function runWithDotp(staging: Staging, args: readonly string[]) {
  const PATH = `${dirname(Deno.execPath())}:/usr/sbin:/usr/bin:/sbin:/bin`;
  return staging.run(["--binary", BINARY, ...args], { env: { PATH } });
}

/** Mistakes on the command line, and what is said of them. */
const MISTAKES: [args: string[], said: RegExp][] = [
  [["--bogus"], /--bogus is not an option/],
  [["-x"], /-x is not an option/],
  [["bogus"], /"bogus" is not an option/],
  [["--host"], /--host has no value/],
  [["--host="], /--host has no value/],
  [["--host", ""], /--host has no value/],
  [["--host", "--start"], /--host has no value/],
  [["--start=yes"], /--start takes no value/],
  [["--host", "1.2\n.3.4"], /--host: a value is one line/],
  [["--host", "lan0"], /--host "lan0" is not an address/],
  [["--host", "1.2.3"], /--host "1\.2\.3" is not an address/],
  [["--host", "1.2.3.256"], /is not an address/],
  [["--host", "01.2.3.4"], /is not an address/],
  [["--host", "2001:db8:::1"], /is not an address/],
  [["--host", "1:2:3:4:5:6:7:8:9"], /is not an address/],
  [["--host", "1:2:3:4:5:6:7::8"], /is not an address/],
  [["--host", "12345::"], /is not an address/],
  [["--host", "fe80::1%eth0"], /--host "fe80::1%eth0" is not an address/],
  [["--host", "198.19.255.1"], /--host 198\.19\.255\.1: it lies in the prefix/],
  [["--upstream-host", "2001:2::1"], /--upstream-host 2001:2::1: it lies in the/],
  [["--upstream-host", "dns"], /--upstream-host "dns" is not an address/],
  [["--host", "192.0.2.53"], /dotp itself would listen there/],
  [["-p", "0"], /--port "0" is not valid/],
  [["-p", "65536"], /--port "65536" is not valid/],
  [["--port", "53a"], /--port "53a" is not valid/],
  [["--upstream-port", "1234567"], /--upstream-port "1234567" is not valid/],
  [["-4", "10.0.0.0"], /--ipv4-prefix "10\.0\.0\.0" is not an IPv4 prefix/],
  [["-4", "10.0.0.0/31"], /--ipv4-prefix 10\.0\.0\.0\/31 is too small/],
  [["-4", "10.0.0.0/33"], /is not an IPv4 prefix/],
  [["-4", "10.0.0.0/08"], /is not an IPv4 prefix/],
  [["-4", "10.0.0.1/24"], /--ipv4-prefix 10\.0\.0\.1\/24 has host bits set/],
  [["-4", "2001:2::/48"], /is not an IPv4 prefix/],
  [["-6", "2001:2::/65"], /--ipv6-prefix 2001:2::\/65 is too small/],
  [["-6", "2001:2:0:1::/48"], /has host bits set/],
  [["-6", "10.0.0.0/8"], /is not an IPv6 prefix/],
  [["-d", "example..com"], /--domain "example\.\.com" is not a domain name/],
  [["-d", "x".repeat(64)], /--domain "x{64}" is not a domain name/],
  [["-d", "example.com/x"], /is not a domain name/],
  [["-d", "$(id)"], /-d "\$\(id\)" is not valid/],
  ...[..."\"'`\\$;&|<>(){}#~?*[] \t"].map((char): [string[], RegExp] => [
    ["-d", `a${char}b`],
    /^install\.sh: -d "a.b" is not valid: see --help$/m,
  ]),
  [["--private-reals", "perhaps"], /--private-reals "perhaps" is not valid: give one of map, pass/],
  [["--from-source"], /--binary and --from-source exclude each other/],
  [["--prefix", "opt"], /--prefix "opt": give an absolute path/],
  [["--prefix", "/a b"], /--prefix "\/a b": give an absolute path/],
  [["--prefix", "/"], /give an absolute path/],
  [["--uninstall"], /does not go with --uninstall/],
];

for (const [args, said] of MISTAKES) {
  Deno.test(`install.sh ${JSON.stringify(args.join(" "))} is one line and status 2`, async () => {
    using staging = new Staging();
    const { code, stdout, stderr } = await runWithDotp(staging, [...ADDRESSES, ...args]);
    assertEquals({ code, stdout }, { code: 2, stdout: "" }, stderr);
    assertMatch(stderr, /^install\.sh: [^\n]+\n$/);
    assertMatch(stderr, said);
    assertEquals(staging.tree(), {});
  });
}

/** Mistakes in dotp.env, each what stands there and what is said of it. */
const MISTAKES_IN_ENV: [line: string, said: string][] = [
  ["DOTP_PORT=dns", `DOTP_PORT in ${Path.env}: "dns" is not valid: give a port, 1 to 65535`],
  ["DOTP_HOST=198.18.0.1", `DOTP_HOST in ${Path.env}: 198.18.0.1: it lies in the prefix of the`],
  ['DOTP_OPTIONS="-d a..b"', `DOTP_OPTIONS in ${Path.env}: --domain "a..b" is not a domain name`],
  ['DOTP_OPTIONS="--nat-ttl 1"', `DOTP_OPTIONS in ${Path.env}: --nat-ttl "1" is not valid`],
  [`DOTP_OPTIONS="-d 'a"`, `DOTP_OPTIONS in ${Path.env}: xargs: `],
];

Deno.test("a mistake in dotp.env is one line and status 1", async () => {
  for (const [line, said] of MISTAKES_IN_ENV) {
    using staging = new Staging();
    await staging.install(ADDRESSES);
    const [name] = line.split("=");
    staging.edit(Path.env, (text) => text.replace(new RegExp(`^${name}=.*$`, "m"), line));
    const before = staging.tree();
    const { code, stdout, stderr } = await runWithDotp(staging, []);
    assertEquals({ code, stdout }, { code: 1, stdout: "" }, stderr);
    assertStringIncludes(stderr, `install.sh: ${said}`);
    assertEquals(stderr.trimEnd().split("\n").length, 1);
    assertEquals(staging.tree(), before);
  }
});

Deno.test("what dotp.env has quoted is one value, as for systemd", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  staging.edit(
    Path.env,
    (text) => text.replace(/^DOTP_OPTIONS=.*$/m, `DOTP_OPTIONS="--pool-key 'a b' -d example.com"`),
  );
  const { code, stderr } = await runWithDotp(staging, []);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
});

Deno.test("settings given as options are in dotp.env and rules.nft", async () => {
  using staging = new Staging();
  const { code, stderr } = await runWithDotp(staging, [
    ...["-H", "2001:db8::1", "-p", "5353", "-4", "100.64.0.0/24", "--ipv6-prefix=fd00::/64"],
    ...["--upstream-host", "2001:db8::53", "--upstream-port", "54"],
    ...["--private-reals", "refuse", "-d", "example.com", "--domain=Example.org."],
    ...["-d", "!www.example.com", "-d", "=münchen.de"],
  ]);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  assertEquals(settings(staging), {
    DOTP_HOST: "2001:db8::1",
    DOTP_PORT: "5353",
    DOTP_IPV4_PREFIX: "100.64.0.0/24",
    DOTP_IPV6_PREFIX: "fd00::/64",
    DOTP_UPSTREAM_HOST: "2001:db8::53",
    DOTP_UPSTREAM_PORT: "54",
    DOTP_PRIVATE_REALS: "refuse",
    DOTP_OPTIONS: '"-d example.com -d Example.org. -d !www.example.com -d =münchen.de"',
  });
  const rules = staging.read(Path.rules);
  assertMatch(rules, /^define FAKE4 = 100\.64\.0\.0\/24$/m);
  assertMatch(rules, /^define FAKE6 = fd00::\/64$/m);
});

Deno.test("settings left out have their defaults, and rules.nft is as it was shipped", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  assertEquals(settings(staging), {
    DOTP_HOST: "192.0.2.1",
    DOTP_PORT: "53",
    DOTP_IPV4_PREFIX: "198.18.0.0/15",
    DOTP_IPV6_PREFIX: "2001:2::/48",
    DOTP_UPSTREAM_HOST: "192.0.2.53",
    DOTP_UPSTREAM_PORT: "53",
    DOTP_PRIVATE_REALS: "pass",
    DOTP_OPTIONS: '""',
  });
  assertEquals(staging.read(Path.rules), await Deno.readTextFile(`${CHECKOUT}/rules.nft`));
});

Deno.test("a package may leave the addresses to whoever installs it", async () => {
  using staging = new Staging();
  const { stderr } = await staging.install();
  assertEquals(stderr, "");
  assertEquals(settings(staging).DOTP_HOST, "");
});

Deno.test("the sets hold what a large prefix can need", async () => {
  using staging = new Staging();
  const rules = ["--rules", `${CHECKOUT}/rules.nft`];
  await staging.install([...rules, ...ADDRESSES, "-4", "10.0.0.0/8"]);
  assertEquals(staging.read(Path.rules).match(/^\t\tsize (?!262144$|1024$).*$/m), null);
});

Deno.test("--prefix, and the variable PREFIX, say where; an upgrade knows", async () => {
  for (const usesOption of [true, false]) {
    using staging = new Staging();
    const options = usesOption ? {} : { env: { PREFIX: "/opt/dotp" } };
    await staging.install([...ADDRESSES, ...usesOption ? ["--prefix", "/opt/dotp/"] : []], options);
    assertStringIncludes(
      staging.read("/etc/systemd/system/dotp.service"),
      "\nExecStart=/opt/dotp/bin/dotp -H",
    );
    assertStringIncludes(staging.read("/opt/dotp/bin/dotp"), "echo dotp");
    const { stdout } = await staging.install();
    assertEquals(stdout.match(/^(?!keep ).+$/m), null);
    await staging.run(["--purge"]);
    assertEquals(staging.tree(), {});
  }
});

Deno.test("--help is all on standard output", async () => {
  using staging = new Staging();
  for (const option of ["-h", "--help"]) {
    const { code, stdout, stderr } = await staging.run([option]);
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    assertMatch(stdout, /^Usage: install\.sh /);
    for (const line of stdout.split("\n")) assertEquals(line.length <= 100, true, line);
  }
});

Deno.test("another system or another processor is one line and status 1", async () => {
  for (
    const [uname, said] of [
      ["case $1 in -s) echo FreeBSD ;; *) echo amd64 ;; esac", /this is no Linux/],
      ["case $1 in -s) echo Linux ;; *) echo riscv64 ;; esac", /there is no dotp for riscv64/],
    ] as const
  ) {
    using staging = new Staging();
    staging.fake("uname", uname);
    const { code, stdout, stderr } = await staging.run([
      ...["--binary", staging.binary],
      ...ADDRESSES,
    ]);
    assertEquals({ code, stdout }, { code: 1, stdout: "" });
    assertMatch(stderr, /^install\.sh: [^\n]+\n$/);
    assertMatch(stderr, said);
    assertEquals(staging.tree(), {});
  }
});

/** The variables of the installed dotp.env. */
function settings(staging: Staging): Record<string, string> {
  const lines = staging.read(Path.env).split("\n").filter((line) => /^[^#]/.test(line));
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1)];
  }));
}

/** The command line of install.sh: what each option does, and what is said of each mistake. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ADDRESSES, CHECKOUT, Path, Staging } from "./staging.ts";

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
  [["--host", "fe80::1%eth0"], /is not an address/],
  [["--host", "198.19.255.1"], /--host 198\.19\.255\.1 lies in 198\.18\.0\.0\/15/],
  [["--upstream-host", "2001:2::1"], /--upstream-host 2001:2::1 lies in 2001:2::\/48/],
  [["--upstream-host", "dns"], /--upstream-host "dns" is not an address/],
  [["--host", "192.0.2.53"], /dotp itself would listen there/],
  [["-p", "0"], /--port "0" is not valid/],
  [["-p", "65536"], /--port "65536" is not valid/],
  [["--port", "53a"], /--port "53a" is not valid/],
  [["--upstream-port", "1234567"], /--upstream-port "1234567" is not valid/],
  [["-4", "10.0.0.0"], /--ipv4-prefix "10\.0\.0\.0" is not such a prefix/],
  [["-4", "10.0.0.0/31"], /--ipv4-prefix 10\.0\.0\.0\/31 is too small/],
  [["-4", "10.0.0.0/33"], /is not such a prefix/],
  [["-4", "10.0.0.0/08"], /is not such a prefix/],
  [["-4", "10.0.0.1/24"], /--ipv4-prefix 10\.0\.0\.1\/24 has host bits set/],
  [["-4", "2001:2::/48"], /is not such a prefix/],
  [["-6", "2001:2::/65"], /--ipv6-prefix 2001:2::\/65 is too small/],
  [["-6", "2001:2:0:1::/48"], /has host bits set/],
  [["-6", "10.0.0.0/8"], /is not such a prefix/],
  [["-d", "example..com"], /--domain "example\.\.com" is not a domain name/],
  [["-d", "$(id)"], /is not a domain name/],
  [["-d", "a b"], /is not a domain name/],
  [["--from-source"], /--binary and --from-source exclude each other/],
  [["--prefix", "opt"], /--prefix "opt": give an absolute path/],
  [["--prefix", "/a b"], /--prefix "\/a b": give an absolute path/],
  [["--prefix", "/"], /give an absolute path/],
  [["--uninstall"], /does not go with --uninstall/],
];

for (const [args, said] of MISTAKES) {
  Deno.test(`install.sh ${JSON.stringify(args.join(" "))} is one line and status 2`, async () => {
    using staging = new Staging();
    const usual = ["--binary", staging.binary, "--rules", `${CHECKOUT}/rules.nft`, ...ADDRESSES];
    const { code, stdout, stderr } = await staging.run([...usual, ...args]);
    assertEquals({ code, stdout }, { code: 2, stdout: "" }, stderr);
    assertMatch(stderr, /^install\.sh: [^\n]+\n$/);
    assertMatch(stderr, said);
    assertEquals(staging.tree(), {});
  });
}

Deno.test("settings given as options are in dotp.env and rules.nft", async () => {
  using staging = new Staging();
  await staging.install([
    ...["-H", "2001:db8::1", "-p", "5353", "-4", "100.64.0.0/24", "--ipv6-prefix=fd00::/64"],
    ...["--upstream-host", "2001:db8::53", "--upstream-port", "54"],
    ...["-d", "example.com", "--domain=Example.org."],
  ]);
  assertEquals(settings(staging), {
    DOTP_HOST: "2001:db8::1",
    DOTP_PORT: "5353",
    DOTP_IPV4_PREFIX: "100.64.0.0/24",
    DOTP_IPV6_PREFIX: "fd00::/64",
    DOTP_UPSTREAM_HOST: "2001:db8::53",
    DOTP_UPSTREAM_PORT: "54",
    DOTP_OPTIONS: '"-d example.com -d Example.org."',
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
  await staging.install([...ADDRESSES, "-4", "10.0.0.0/8"]);
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

/**
 * The command line as an admin meets it: what is wrong with it and what cannot start, each in one
 * line with the right exit status; help and version; the ends that SIGINT and SIGTERM bring; life
 * in the background.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { BUILT, dotpCommand, ENGINE } from "../lab/dotp.ts";
import { Address, FAKE4, FAKE6, real4 } from "../lab/lab.ts";
import { type NftMode, NftStub } from "../support/nft_stub.ts";
import { testUnless } from "../support/programs.ts";
import { address, answer, assertOneLine, NO_PROGRAMS, noneLeft, shareLab } from "./setup.ts";

/** Starts of dotp at once; a start takes a tenth of a second of processor time. */
const AT_ONCE = 4;

const lab = shareLab(async (lab) => {
  await lab.startUpstream({ "* A": answer(address("a.example.com", real4(1))) });
});

type Options = Record<string, string | string[] | undefined>;

const USUAL: Options = {
  "--host": Address.gateway4,
  "--port": "53",
  "--ipv4-prefix": FAKE4,
  "--ipv6-prefix": FAKE6,
  "--upstream-host": Address.upstream4,
  "--domain": "example.com",
};

/** Options to arguments; undefined leaves one out, a list repeats it. */
function args(options: Options): string[] {
  return Object.entries({ ...USUAL, ...options }).flatMap(([name, value]) =>
    [value ?? []].flat().flatMap((each) => [name, each])
  );
}

const LABEL_63 = "a".repeat(63);
const NAME_253 = `${`${LABEL_63}.`.repeat(3)}${"a".repeat(61)}`;

/** What is changed, and what the line must say: the option, the value, what would be right. */
const INVALID: [Options, RegExp][] = [
  [{ "--host": undefined }, /--host/],
  [{ "--ipv4-prefix": undefined }, /--ipv4-prefix/],
  [{ "--ipv6-prefix": undefined }, /--ipv6-prefix/],
  [{ "--upstream-host": undefined }, /--upstream-host/],
  [{ "--host": "gateway.example" }, /--host.*gateway\.example.*192\.0\.2\.1/],
  [{ "--host": "192.0.2" }, /--host.*192\.0\.2\b/],
  [{ "--host": "192.0.2.256" }, /--host.*192\.0\.2\.256/],
  [{ "--host": "1..2.3" }, /--host.*1\.\.2\.3/],
  [{ "--host": "0300.0.2.1" }, /--host.*0300\.0\.2\.1/],
  [{ "--host": "2001:db8::1::" }, /--host.*2001:db8::1::/],
  [{ "--host": "" }, /--host/],
  [{ "--host": [Address.gateway4, Address.gateway6] }, /--host.*once/],
  [{ "--port": "0" }, /--port.*"0".*65535/],
  [{ "--port": "65536" }, /--port.*65536.*65535/],
  [{ "--port": "dns" }, /--port.*dns/],
  [{ "--port": "5.3" }, /--port.*5\.3/],
  [{ "--port": ["53", "54"] }, /--port.*once/],
  [{ "--ipv4-prefix": "198.18.0.0/31" }, /--ipv4-prefix.*198\.18\.0\.0\/31.*30/],
  [{ "--ipv4-prefix": "198.18.0.0/33" }, /--ipv4-prefix.*198\.18\.0\.0\/33/],
  [{ "--ipv4-prefix": "198.18.0.0" }, /--ipv4-prefix.*198\.18\.0\.0/],
  [{ "--ipv4-prefix": "198.18.0.1/15" }, /--ipv4-prefix.*198\.18\.0\.1\/15.*198\.18\.0\.0\/15/],
  [{ "--ipv4-prefix": FAKE6 }, /--ipv4-prefix.*2001:2::\/48/],
  [{ "--ipv4-prefix": [FAKE4, FAKE4] }, /--ipv4-prefix.*once/],
  [{ "--ipv6-prefix": "2001:2::/65" }, /--ipv6-prefix.*2001:2::\/65.*64/],
  [{ "--ipv6-prefix": "2001:2::1/48" }, /--ipv6-prefix.*2001:2::1\/48.*2001:2::\/48/],
  [{ "--ipv6-prefix": FAKE4 }, /--ipv6-prefix.*198\.18\.0\.0\/15/],
  [{ "--upstream-host": "dns.example" }, /--upstream-host.*dns\.example/],
  [{ "--upstream-port": "0" }, /--upstream-port.*"0".*65535/],
  [{ "--domain": "exa/mple.com" }, /--domain.*exa\/mple\.com/],
  [{ "--domain": "-example.com" }, /--domain.*-example\.com/],
  [{ "--domain": "example-.com" }, /--domain.*example-\.com/],
  [{ "--domain": "example..com" }, /--domain.*example\.\.com/],
  [{ "--domain": "ex\nample.com" }, /--domain/],
  [{ "--domain": "exä mple.com" }, /--domain/],
  [{ "--domain-file": "names" }, /--domain-file "names": give an absolute path/],
  [{ "--domain": `${LABEL_63}a.com` }, /--domain.*63/],
  [{ "--domain": `${NAME_253}a` }, /--domain.*253/],
  [{ "--nat-ttl": "1" }, /--nat-ttl.*"1".*2/],
  [{ "--nat-ttl": "2.5" }, /--nat-ttl.*2\.5/],
  [{ "--nat-ttl": "soon" }, /--nat-ttl.*soon/],
  [{ "--table": "do-tp" }, /--table.*do-tp/],
  [{ "--table": "x; flush ruleset" }, /--table.*x; flush ruleset/],
  [{ "--log-level": "loud" }, /--log-level.*loud.*debug/],
  [{ "--log-format": "xml" }, /--log-format.*xml.*json/],
  [{ "--pid-file": "/tmp/dotp.pid" }, /--pid-file.*--daemonize/],
  [{ "--frobnicate": "yes" }, /--frobnicate/],
  [{ "-x": "y" }, /-x/],
];

Deno.test("main() ends with 2 and one line, when an option is missing or invalid", async () => {
  const before = await lab().exec("gateway", "nft", "list", "ruleset");
  await inParallel(INVALID, async ([options, expected]) => {
    const { code, stdout, stderr } = await lab().runDotp({ args: args(options) });
    assertEquals(code, 2, `${JSON.stringify(options)}: ${stderr}`);
    assertOneLine(stdout, stderr);
    assertMatch(stderr, expected);
  });
  assertEquals(await lab().exec("gateway", "nft", "list", "ruleset"), before);
});

Deno.test("main() ends with 2 and one line, when an argument is left over or cut off", async () => {
  for (
    const [more, expected] of [
      [["53"], /"53"/],
      [["--nat-ttl"], /--nat-ttl.*SECONDS/],
      [["--daemonize=yes"], /--daemonize.*yes/],
    ] as const
  ) {
    const { code, stdout, stderr } = await lab().runDotp({ args: args({}), more: [...more] });
    assertEquals(code, 2, stderr);
    assertOneLine(stdout, stderr);
    assertMatch(stderr, expected);
  }
});

/** The extremes of what is valid, and the short forms. */
const VALID: Options[] = [
  { "--ipv4-prefix": "198.18.0.0/30", "--ipv6-prefix": "2001:2::/64" },
  { "--ipv4-prefix": "100.64.0.0/24", "--ipv6-prefix": "fd00::/64" },
  { "--ipv4-prefix": "0.0.0.0/0", "--host": Address.gateway6, "--upstream-host": "2001:db8::1" },
  { "--ipv6-prefix": "::/0" },
  { "--domain": ["EXAMPLE.Com.", "a.b", "x", `${LABEL_63}.com`, NAME_253, `${NAME_253}.`] },
  { "--domain": undefined },
  { "--port": "65535", "--upstream-port": "65535" },
  { "--nat-ttl": "2" },
  { "--log-level": "debug", "--log-format": "json" },
  { "--host": "::1" },
];

Deno.test("main() listens, when the options are as far as they go", async () => {
  for (const options of VALID) {
    const dotp = await lab().startDotp({ args: args(options) });
    assertEquals((await dotp.stop()).code, 0, JSON.stringify(options));
  }
});

Deno.test("main() takes -H -p -4 -6 -d, when they stand for the long options", async () => {
  const short = ["-H", Address.gateway4, "-p", "53", "-4", FAKE4, "-6", FAKE6, "-d", "example.com"];
  const dotp = await lab().startDotp({ args: [...short, "--upstream-host", Address.upstream4] });
  assertEquals((await dotp.stop()).code, 0);
});

Deno.test("main() prints to standard output and ends with 0, when asked for help", async () => {
  for (const [option, expected] of [["--help", "--nat-ttl"], ["-h", "--table"]] as const) {
    const { code, stdout, stderr } = await lab().runDotp({ args: [option] });
    assertEquals([code, stderr], [0, ""]);
    assertStringIncludes(stdout, expected);
  }
  const { code, stdout, stderr } = await lab().runDotp({ args: ["--version"] });
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /^dotp \d+\.\d+\.\d+\n$/);
});

/** Tables and prefixes of a `dotp rules`. */
const RULES: [table: string, prefix4: string, prefix6: string, ...lan: string[]][] = [
  ["small", "100.64.0.0/30", "fd00::/64"],
  ["large", "100.64.0.0/10", "fc00::/7"],
  ["lan", "100.64.0.0/24", "fd00::/64", "lan0"],
  ["lans", "100.64.0.0/24", "fd00::/64", "lan0", "br-lan.7"],
];

Deno.test("main() prints rules that nft takes and dotp works with, when asked for rules", async () => {
  for (const [table, prefix4, prefix6, ...lan] of RULES) {
    const options = { "--table": table, "--ipv4-prefix": prefix4, "--ipv6-prefix": prefix6 };
    const asked = Object.entries(options).flat();
    const { code, stdout, stderr } = await lab().runDotp({
      args: ["rules", ...asked, ...lan.flatMap((name) => ["--lan", name])],
    });
    assertEquals([code, stderr], [0, ""]);
    await lab().gateway.exec(["nft", "-f", "-"], stdout);
    try {
      const checked = await lab().runDotp({ args: ["check", "nft", ...args(options)] });
      assertEquals([checked.code, checked.stderr], [0, ""], checked.stdout);
      assertEquals(checked.stdout.trimEnd().split("\n").length, 4, checked.stdout);
    } finally {
      await lab().exec("gateway", "nft", "delete", "table", "inet", table);
    }
  }
});

Deno.test("main() ends with 1 and says how to mend it, when it cannot start", async () => {
  const { gateway } = lab();
  await gateway.call("holdPort", { host: Address.gateway4, port: 5353 });
  await gateway.exec(["nft", "-f", "-"], BAD_TABLES);
  const unprivileged = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"];
  const cases: [string, Options, RegExp, { env?: Record<string, string>; before?: string[] }?][] = [
    ["port taken", { "--port": "5353" }, /5353.*taken/],
    ["not ours", { "--host": "192.0.2.99" }, /192\.0\.2\.99/],
    ["no nft", {}, /: nft is not there: install it/, NO_PROGRAMS],
    ["no rights", { "--port": "5454" }, /nft is not permitted: .*NET_ADMIN/, {
      before: unprivileged,
    }],
    ["no rights to the port", {}, /(root|CAP_NET)/, { before: unprivileged }],
    ["no table", { "--table": "nosuch" }, /nosuch.*rules\.nft/],
    ["no set", { "--table": "lacking" }, /nat_addr6.*rules\.nft/],
    ["no map", { "--table": "mapless" }, /nat_map\b.*rules\.nft/],
    ["wrong type", { "--table": "mistyped" }, /nat_map6.*rules\.nft/],
    ["a set for a map", { "--table": "confused" }, /nat_map\b.*rules\.nft/],
  ];
  for (const [what, options, expected, { env, before } = {}] of cases) {
    const more = { args: args(options), ...env && { env }, ...before && { before } };
    const { code, stdout, stderr } = await lab().runDotp(more);
    assertEquals(code, 1, `${what}: ${stderr}`);
    assertOneLine(stdout, stderr);
    assertMatch(stderr, expected, what);
  }
});

Deno.test("main() leaves the kernel alone, when another dotp has the port", async () => {
  await using _ = await lab().startDotp();
  const [fake = ""] = await lab().resolve("a.example.com", "A");
  const before = await lab().mappings();
  const options = { "--ipv4-prefix": "100.64.0.0/24" };
  const { code, stdout, stderr } = await lab().runDotp({ args: args(options) });
  assertEquals(code, 1);
  assertOneLine(stdout, stderr);
  assertEquals(await lab().mappings(), before);
  assert(before.maps.has(fake));
});

testUnless(
  BUILT,
  "main() ends with 1 and names the permission, when Deno withholds it",
  async () => {
    for (const missing of ["--allow-net", "--allow-run"]) {
      const { code, stdout, stderr } = await lab().runDotp({ args: args({}), without: missing });
      assertEquals(code, 1, stderr);
      assertOneLine(stdout, stderr);
      assertStringIncludes(stderr, missing);
    }
  },
);

testUnless(
  BUILT,
  "main() tells a missing nft from one that Deno withholds, when few programs are granted",
  async () => {
    for (
      const [granted, how, expected] of [
        ["--allow-run=nft", NO_PROGRAMS, /^dotp: nft is not there: install it/],
        ["--allow-run=ip", NO_PROGRAMS, /^dotp: nft is not there: install it/],
        ["--allow-run=ip", { env: {} }, /^dotp: Deno does not let dotp .* --allow-run$/],
      ] as const
    ) {
      const { code, stdout, stderr } = await lab().runDotp({
        args: args({}),
        without: "--allow-run",
        permissions: [granted],
        ...how,
        env: { ...how.env, NO_COLOR: "1" },
      });
      // Deno itself tells first what it has not found.
      const [line = ""] = stderr.split("\n").filter((each) => !each.startsWith("Info "));
      assertEquals([code, stdout], [1, ""], stderr);
      assertMatch(line, expected);
    }
  },
);

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test(`main() ends with 0 within a second, when it gets ${signal}`, async () => {
    const dotp = await lab().startDotp();
    assertEquals((await lab().resolve("a.example.com", "A")).length, 1);
    const { code, ms } = await dotp.stop(signal);
    assertEquals(code, 0);
    assert(ms < 1_000, `${ms} ms`);
    await noneLeft(lab());
  });
}

/** The direct engine answers at once what an nft is waited for here. */
const WITHOUT_NFT = ENGINE === "direct" ? "the direct engine runs no nft" : undefined;

testUnless(
  WITHOUT_NFT,
  "main() ends with 0 within a second, when queries and nft are under way",
  async () => {
    const [silent, mapped, other] = ["a.example.com", "b.example.com", "c.example.org"];
    await lab().setScript({
      [`${silent} A`]: [],
      [`${mapped} A`]: answer(address(mapped, real4(2))),
      [`${other} A`]: answer(address(other, real4(3))),
    });
    const dotp = await lab().startDotp();
    for (const pid of await dotp.nftProcesses()) {
      // One that only lists may have ended by now.
      await lab().gateway.call("signal", { pid, signal: "SIGSTOP" }).catch(() => {});
    }
    const asked = [silent, mapped].map((name) => lab().tryQuery(name, "A", { timeoutMs: 1_500 }));
    // A reply that comes later has overtaken the one that waits for nft.
    await lab().resolve(other, "A");
    await lab().resolve(other, "A");
    const { code, ms } = await dotp.stop();
    assertEquals(code, 0);
    assert(ms < 1_000, `${ms} ms`);
    const left = await lab().gateway.call("processes", null);
    for (const { pid } of left) await lab().gateway.call("signal", { pid, signal: "SIGKILL" });
    assertEquals(await Promise.all(asked), [undefined, undefined]);
    assertEquals(left, [], "a hung nft is left");
  },
);

/** What dotp is at when it is told to end: the program that hangs, and whether it is in the background. */
const BUSY_WITH: readonly [what: string, NftMode, hung: RegExp, daemonize: string[]][] = [
  ["looks at the table", "hang", /sleep/, []],
  ["takes over mappings", "hang when it lists", /sleep/, []],
  ["takes over mappings in the background", "hang when it lists", /sleep/, ["--daemonize"]],
];

for (const [what, mode, hung, daemonize] of BUSY_WITH) {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.test(`main() ends within a second, when it gets ${signal} while nft hangs and it ${what}`, async () => {
      const { gateway } = lab();
      const directory = await Deno.makeTempDir();
      const stub = await NftStub.make(directory);
      await stub.set(mode);
      const command = dotpCommand({ args: args({}), more: daemonize });
      const dotp = await gateway.spawn(command, { ...stub.env });
      await lab().until(
        "an nft that hangs",
        () => gateway.call("processes", null),
        (processes) => processes.some(({ command }) => hung.test(command)),
      );
      const startedAt = performance.now();
      await dotp.signal(signal);
      const { code } = await dotp.ended;
      const ms = performance.now() - startedAt;
      assertEquals(code, daemonize.length > 0 ? 1 : 0);
      assert(ms < 1_000, `${ms} ms`);
      await noneLeft(lab());
      await Deno.remove(directory, { recursive: true });
    });
  }
}

Deno.test("main() ends with 0 within a second, when it takes over a hundred thousand mappings", async () => {
  const { gateway } = lab();
  await gateway.exec(["nft", "delete table inet dotp"]);
  await lab().loadRules();
  for (let first = 0; first < 100_000; first += 1_000) {
    const hosts = Array.from({ length: 1_000 }, (_, i) => {
      const n = 1 + first + i;
      return { a: n >>> 16, bc: `${(n >>> 8) & 0xff}.${n & 0xff}` };
    });
    const reals = hosts.map(({ a, bc }) => `10.${a}.${bc}`);
    const pairs = hosts.map(({ a, bc }) => `198.${18 + a}.${bc} : 10.${a}.${bc}`);
    const fill = `add element inet dotp nat_map { ${pairs.join(",")} }
add element inet dotp nat_addr { ${reals.join(",")} }
`;
    await gateway.exec(["nft", "-f", "-"], fill);
  }
  // The longer it has been at it, the more has been read.
  for (const listings of [1, 2]) {
    const dotp = await gateway.spawn(dotpCommand({ args: args({}) }), {});
    const seen = new Set<number>();
    await lab().until(
      `${listings} listings`,
      () => gateway.call("processes", null),
      (processes) => {
        for (const { pid, command } of processes) if (/nft.*list/.test(command)) seen.add(pid);
        return seen.size >= listings;
      },
    );
    const startedAt = performance.now();
    await dotp.signal("SIGTERM");
    const { code } = await dotp.ended;
    const ms = performance.now() - startedAt;
    assertEquals(code, 0);
    assert(ms < 1_000, `${ms} ms`);
    await noneLeft(lab());
  }
  await gateway.exec(["nft", "delete table inet dotp"]);
  await lab().loadRules();
});

Deno.test("main() leaves a child that works and ends with 0, with --daemonize", async () => {
  const script = { "* A": answer(address("a.example.com", real4(1))) };
  await lab().setScript(script);
  // A build may write its pid file below /run only; here that is a directory of our own.
  const run = await Deno.makeTempDir();
  const { code, stdout, stderr } = await lab().runDotp({
    args: args({ "--pid-file": "/run/dotp.pid" }),
    more: ["--daemonize"],
    permissions: ["--allow-write=/run/dotp.pid"],
    before: ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /run && exec "$@"', run],
  });
  assertEquals([code, stdout], [0, ""], stderr);
  const pid = Number(await Deno.readTextFile(`${run}/dotp.pid`));
  assertEquals((await lab().resolve("a.example.com", "A")).length, 1);
  const [state = ""] = (await Deno.readTextFile(`/proc/${pid}/stat`)).match(/\) .*/) ?? [];
  const [, , parent, , session, terminal] = state.split(" ");
  assert(Number(parent) !== Deno.pid);
  assertEquals([Number(session), Number(terminal)], [pid, 0], "it has a session of its own");
  await endDaemon(pid);
  // Not recursive: this fails unless the pid file is gone.
  await Deno.remove(run);
});

Deno.test("main() ends with the child's error and status, with --daemonize", async () => {
  for (
    const [options, status, expected] of [
      [{ "--host": "192.0.2.99" }, 1, /192\.0\.2\.99/],
      [{ "--table": "nosuch" }, 1, /nosuch/],
      [{ "--port": "0" }, 2, /--port/],
      [{ "--pid-file": "/tmp/dotp.pid" }, 1, /--allow-write/],
    ] as const
  ) {
    const { code, stdout, stderr } = await lab().runDotp({
      args: args(options),
      more: ["--daemonize"],
    });
    assertEquals(code, status, stderr);
    assertOneLine(stdout, stderr);
    assertMatch(stderr, expected);
    await noneLeft(lab());
  }
});

/** Tables that each lack one thing that dotp needs. */
const BAD_TABLES = [
  ["lacking", { nat_addr6: undefined }],
  ["mapless", { nat_map: undefined }],
  ["mistyped", { nat_map6: "map nat_map6 { type ipv6_addr : ipv4_addr; }" }],
  ["confused", { nat_map: "set nat_map { type ipv4_addr; }" }],
].map(([table, change]) => {
  const sets = {
    nat_addr: "set nat_addr { type ipv4_addr; }",
    nat_addr6: "set nat_addr6 { type ipv6_addr; }",
    nat_map: "map nat_map { type ipv4_addr : ipv4_addr; }",
    nat_map6: "map nat_map6 { type ipv6_addr : ipv6_addr; }",
    ...change as Record<string, string | undefined>,
  };
  return `table inet ${table} {\n${Object.values(sets).filter(Boolean).join("\n")}\n}`;
}).join("\n");

async function inParallel<T>(items: T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  async function takeTurns(): Promise<void> {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  }
  await Promise.all(Array.from({ length: AT_ONCE }, takeTurns));
}

async function endDaemon(pid: number): Promise<void> {
  await lab().gateway.call("signal", { pid, signal: "SIGTERM" });
  await noneLeft(lab());
}

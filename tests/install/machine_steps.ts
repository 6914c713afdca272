/**
 * What happens to a machine on which install.sh is run, one step after the other, and the service as
 * systemd would start it. Not found by `deno test` itself: tests/run.ts runs it in namespaces of its own.
 * Root enters plain ones, so that the service gets a user of its own; in the user namespace of
 * everybody else there is one user only.
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertStringIncludes,
} from "@std/assert";
import { Address, isFake, real4, real6 } from "../lab/lab.ts";
import type { Process } from "../lab/host.ts";
import { address, answer } from "../e2e/setup.ts";
import { testWith } from "../support/programs.ts";
import { within } from "../support/waiting.ts";
import { DENO, Machine, type MachineOptions } from "./machine.ts";
import { PAGES, Path } from "./staging.ts";
import { Unit, variablesOf } from "./unit.ts";

const ADDRESSES = ["--host", Address.gateway4, "--upstream-host", Address.upstream4];
const INSTALL = ["--from-source", ...ADDRESSES, "-d", "example.com"];
/** The same, of a bundle that is there already. */
const BUILT = ["--binary", "/opt/built/dotp", ...ADDRESSES, "-d", "example.com"];

/** CAP_NET_ADMIN and CAP_NET_BIND_SERVICE as /proc writes them. */
const CAPABILITIES = ((1 << 12) | (1 << 10)).toString(16).padStart(16, "0");
const NOBODY = 65_534;
const isRoot = (await Deno.readTextFile("/proc/self/uid_map")).trim().split(/\s+/)[2] !== "1";

let machine: Machine;
let before: Record<string, string>;
let service: Service;

Deno.test.beforeAll(async () => {
  machine = await Machine.create();
  const bundle = ["deno", "task", "bundle", "--dist", "/opt/built"];
  const built = await machine.run(["sh", "-c", `cd /opt/source && ${bundle.join(" ")}`]);
  assertEquals(built.code, 0, built.stderr);
  before = machine.tree();
  await machine.lab.setScript({
    "www.example.com A": answer(address("www.example.com", real4(7))),
    "www.example.com AAAA": answer(address("www.example.com", real6(7))),
    "new.example.com A": answer(address("new.example.com", real4(8))),
  });
});
Deno.test.afterAll(() => machine[Symbol.asyncDispose]());

/** Asserts that install.sh refuses in one line, changes nothing and says this. */
async function assertRefused(said: RegExp, args: string[], options: MachineOptions = {}) {
  const installed = machine.tree();
  const { code, stdout, stderr } = await machine.install(args, options);
  assertEquals({ code, stdout }, { code: 1, stdout: "" }, stderr);
  assertMatch(stderr, /^install\.sh: [^\n]+\n?$/);
  assertMatch(stderr, said);
  assertEquals(machine.tree(), installed);
}

async function gateway(...command: string[]): Promise<void> {
  await machine.lab.gateway.exec(command);
}

Deno.test("the required addresses are asked for", async () => {
  for (const [args, option] of [[[], "--host"], [["--host", "::1"], "--upstream-host"]] as const) {
    const { code, stderr } = await machine.install(["--from-source", ...args]);
    assertEquals(code, 2);
    assertMatch(stderr, new RegExp(`^install\\.sh: ${option} is missing: give ${option} ADDRESS`));
  }
});

Deno.test("who is not root is told so", async () => {
  machine.write("/opt/bin/id", "#!/bin/sh\necho 1000\n", 0o755);
  const env = { PATH: `/opt/bin:${"/opt/deno:/usr/sbin:/usr/bin:/sbin:/bin"}` };
  await assertRefused(/only root may do this: run it with sudo/, INSTALL, { env });
  await assertRefused(/only root may do this/, ["--uninstall"], { env });
  Deno.removeSync(`${machine.root}/opt/bin/id`);
});

Deno.test("an nft that is missing, or may not work, is found", async () => {
  const drop = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"];
  await assertRefused(/nft does not work here: .*not permitted/, INSTALL, { before: drop });
  // A file that cannot be run lies over it, for this root only.
  const nft = (await machine.run(["sh", "-c", "readlink -f $(command -v nft)"])).stdout.trim();
  await gateway("mount", "--bind", "/dev/null", `${machine.root}${nft}`);
  try {
    await assertRefused(/nft is missing: install it/, INSTALL);
  } finally {
    await gateway("umount", `${machine.root}${nft}`);
  }
});

Deno.test("a prefix that is routed or in use is refused", async () => {
  const cases: [string[], string[], RegExp, string[]?][] = [
    [
      ["route", "add", "198.19.7.0/24", "via", Address.upstream4],
      ["route", "del", "198.19.7.0/24"],
      /a route to 198\.19\.7\.0\/24 via \S+ dev wan0 overlaps the prefix of the fakes, 198\.18\.0\.0\/15/,
    ],
    [
      ["route", "add", "198.0.0.0/8", "via", Address.upstream4, "table", "77"],
      ["route", "del", "198.0.0.0/8", "table", "77"],
      /a route to 198\.0\.0\.0\/8 via .* overlaps the prefix of the fakes, 198\.18\.0\.0\/15/,
    ],
    [
      ["-6", "route", "add", "2001:2:0:5::/64", "via", Address.upstream6],
      ["-6", "route", "del", "2001:2:0:5::/64"],
      /a route to 2001:2:0:5::\/64 via .* overlaps the prefix of the fakes, 2001:2::\/48/,
    ],
    [
      ["address", "add", "198.18.0.1/32", "dev", "lo"],
      ["address", "del", "198.18.0.1/32", "dev", "lo"],
      /198\.18\.0\.1\/32 on lo lies in the prefix of the fakes, 198\.18\.0\.0\/15/,
    ],
    [
      ["route", "show"],
      ["route", "show"],
      /192\.0\.2\.1\/24 on lan0 lies in the prefix of the fakes, 192\.0\.0\.0\/16/,
      ["--ipv4-prefix", "192.0.0.0/16", "--host", "0.0.0.0"],
    ],
  ];
  for (const [add, remove, said, args = []] of cases) {
    await gateway("ip", ...add);
    try {
      await assertRefused(said, [...BUILT, ...args]);
    } finally {
      await gateway("ip", ...remove);
    }
  }
});

Deno.test("routes to nowhere, to the machine itself and to everywhere are no obstacle", async () => {
  const routes = [
    ["unreachable", "198.18.0.0/16"],
    ["local", "198.19.0.0/16", "dev", "lo"],
    ["128.0.0.0/1", "via", Address.upstream4],
  ];
  for (const route of routes) await gateway("ip", "route", "add", ...route);
  const { code, stderr } = await machine.install([...BUILT, "--dry-run"]);
  for (const route of routes) await gateway("ip", "route", "del", ...route);
  assertEquals(code, 0, stderr);
});

Deno.test("a resolver on the port is named, with what to do", async () => {
  const taken = String.raw`192\.0\.2\.1 port 53 is taken by`;
  const cases = [
    ["systemd-resolved", Address.gateway4, `${taken} systemd-resolve, process \\d+: set DNSStub`],
    ["dnsmasq", "0.0.0.0", `${taken} dnsmasq, process \\d+: set port=0 `],
    ["named", "::", `${taken} named, process \\d+: end it or give another`],
  ] as const;
  for (const [name, hostname, said] of cases) {
    await using _ = await listen(name, hostname);
    await assertRefused(new RegExp(said), BUILT);
  }
  await using _ = await listen("named", Address.gateway6);
  await assertRefused(/2001:db8:1::1 port 53 is taken by named/, [
    ...BUILT,
    ...["--host", Address.gateway6],
  ]);
});

Deno.test("a resolver on another address or port is no obstacle", async () => {
  await using _one = await listen("named", "127.0.0.1");
  await using _two = await listen("unbound", Address.gateway4, 5353);
  await using _three = await listen("dnsmasq", Address.gateway6);
  const { code, stderr } = await machine.install([...BUILT, "--dry-run"]);
  assertEquals(code, 0, stderr);
});

Deno.test("a program that does not run here, or is no dotp, is not installed", async () => {
  machine.write("/opt/bin/odd", "\x7fELF", 0o755);
  machine.write("/opt/bin/true", "#!/bin/sh\necho ok\n", 0o755);
  const rules = ["--rules", "/opt/source/rules.nft"];
  const binary = (name: string) => ["--binary", `/opt/bin/${name}`, ...rules, ...ADDRESSES];
  await assertRefused(/this dotp does not run here: /, binary("odd"));
  await assertRefused(/this is no dotp: asked for its version it says "ok"/, binary("true"));
});

Deno.test("rules that nft does not take are found before anything is changed", async () => {
  const rules = machine.read("/opt/source/rules.nft").replace("policy accept", "policy perhaps");
  machine.write("/opt/bin/rules.nft", rules);
  const { code, stderr } = await machine.install([...INSTALL, "--rules", "/opt/bin/rules.nft"]);
  assertEquals(code, 1);
  assertMatch(stderr, /^install\.sh: nft does not take rules\.nft: [^\n]+\n?$/);
  assertEquals(machine.tree(), before);
});

Deno.test("--dry-run prints each step and does none", async () => {
  const { code, stdout } = await machine.install([...INSTALL, "--dry-run"]);
  assertEquals(code, 0);
  assertEquals(
    stdout,
    [
      "build dist/dotp in /opt/source",
      ...[Path.program, Path.rules, Path.env, Path.unit, Path.tableUnit, ...PAGES]
        .map((path) => `install ${path}`),
      `load ${Path.rules}`,
    ].map((step) => `would ${step}\n`).join(""),
  );
  assertEquals(machine.tree(), before);
  assertEquals(await machine.hasTable(), false);
});

Deno.test("install.sh --from-source installs this checkout and loads the table", async () => {
  const { code, stdout, stderr } = await machine.install([...INSTALL, "--start"]);
  assertEquals({ code, stderr }, { code: 0, stderr: "" }, stdout);
  assertEquals(await machine.hasTable(), true);
  // There is no systemd here; it says what to do instead.
  assertMatch(stdout, /systemd does not run here; start dotp with this line/);
  assertMatch(stdout, /^ {2}\. \/etc\/dotp\/dotp\.env; \/usr\/local\/bin\/dotp -H /m);
  // Every user can run the Deno that is there, so there is no copy of it.
  assertStringIncludes(machine.read(Path.program).split("\n")[1] ?? "", ` ${DENO} run `);
  assertEquals(Object.keys(machine.tree()).filter((path) => path.includes("lib/dotp")), []);
  const version = await machine.run([Path.program, "--version"]);
  assertMatch(version.stdout, /^dotp \d/);
});

Deno.test("the man page and the completions are those of the installed dotp", async () => {
  const commands = [["manual"], ...["bash", "zsh", "fish"].map((shell) => ["completions", shell])];
  for (const [i, command] of commands.entries()) {
    const { stdout } = await machine.run([Path.program, ...command]);
    assertEquals(machine.read(PAGES[i] ?? ""), stdout);
  }
  assertMatch(machine.read(Path.manual), /^\.TH DOTP 8 /);
});

Deno.test("the service works, as a user with two capabilities", async () => {
  service = await Service.start();
  const status = machine.lab.exec("gateway", "cat", `/proc/${service.process.pid}/status`);
  for (const set of ["CapPrm", "CapEff", "CapBnd", "CapAmb"]) {
    assertMatch(await status, new RegExp(`^${set}:\\s+${CAPABILITIES}$`, "m"));
  }
  assertMatch(await status, /^NoNewPrivs:\s+1$/m);
  if (isRoot) assertMatch(await status, new RegExp(`^Uid:\\s+${NOBODY}\\s`, "m"));

  const four = await machine.visit("www.example.com", "A");
  const six = await machine.visit("www.example.com", "AAAA");
  assert(isFake(four.fake) && isFake(six.fake));
  assertEquals([four.at, six.at], [real4(7), real6(7)]);
  const { maps } = await machine.lab.mappings();
  assertEquals(maps.get(four.fake), real4(7));
  assertEquals(maps.get(six.fake), real6(7));
});

testWith("systemd-notify", "the service tells systemd that it is ready", async () => {
  assertEquals(await within("word to systemd", service.notified), "READY=1");
});

Deno.test("the line for machines without systemd starts the same", async () => {
  const { stdout } = await machine.install(["--from-source"]);
  const [line = ""] = /^ {2}\. .*$/m.exec(stdout) ?? [];
  // As itself it would find the port taken; as a check of the options it tells what they are.
  const said = await machine.run(["sh", "-c", `${line.replace(Path.program, "printf '<%s>'")}`]);
  const [, ...args] = service.command;
  assertEquals(said.stdout, args.map((arg) => `<${arg}>`).join(""));
});

Deno.test("an upgrade while dotp runs keeps the mappings, and so does its stop", async () => {
  const { maps } = await machine.lab.mappings();
  assertEquals(maps.size, 2);
  const source = "/opt/source/lib/cli/usage.ts";
  assertStringIncludes(machine.read(source), "DNS proxy");
  machine.write(source, machine.read(source).replace("DNS proxy", "DNS PROXY"));
  const { code, stdout, stderr } = await machine.install(["--from-source"]);
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  assertStringIncludes(stdout, `install ${Path.program}\n`);
  assertStringIncludes(stdout, "keep the table inet dotp: it is loaded\n");
  assertEquals((await machine.lab.mappings()).maps, maps);
  assertStringIncludes(machine.read(Path.program), "DNS PROXY");

  await service.stop();
  assertEquals((await machine.lab.mappings()).maps, maps);
  const [fake = ""] = maps.keys();
  assertEquals((await machine.lab.fetch(fake)).at, maps.get(fake));

  service = await Service.start();
  assertMatch(service.process.stderr.join("\n"), /took over 2 mappings/);
  const { fake: again } = await machine.visit("www.example.com", "A");
  assertEquals(maps.get(again), real4(7));
});

Deno.test("new rules are installed, not loaded over live mappings", async () => {
  machine.write("/opt/source/rules.nft", `${machine.read("/opt/source/rules.nft")}# later\n`);
  const list = async () => {
    const text = await machine.lab.exec("gateway", "nft", "list", "table", "inet", "dotp");
    return text.replaceAll(/ expires \w+/g, "");
  };
  const loaded = await list();
  const { stdout } = await machine.install(["--from-source"]);
  assertStringIncludes(stdout, "the new rules take effect with: nft -f /etc/dotp/rules.nft");
  assertEquals(await list(), loaded);
  // As `systemctl reload dotp` does it.
  await service.execute("ExecReload");
  assertNotEquals((await machine.lab.mappings()).maps.size, 0);
});

Deno.test("differing prefixes are told", async () => {
  const rules = machine.read(Path.rules);
  machine.write(Path.rules, rules.replace("198.18.0.0/15", "198.18.0.0/16"));
  const { stderr } = await machine.install(["--from-source"]);
  machine.write(Path.rules, rules);
  assertEquals(
    stderr,
    `install.sh: warning: the prefixes in ${Path.rules} and ${Path.env} differ: make them the same\n`,
  );
});

Deno.test("--uninstall waits until dotp has ended", async () => {
  await assertRefused(/dotp still runs \(process \d+\): stop its service first/, ["--uninstall"]);
  await service.stop();
});

Deno.test("a table that is gone is loaded by the service", async () => {
  await gateway("nft", "flush", "ruleset");
  service = await Service.start();
  assertEquals((await machine.visit("new.example.com", "A")).at, real4(8));
  await service.stop();
});

Deno.test("--uninstall and --purge leave nothing", async () => {
  const { code, stdout } = await machine.install(["--uninstall"]);
  assertEquals(code, 0);
  assertStringIncludes(stdout, "delete the table inet dotp\n");
  assertEquals(await machine.hasTable(), false);
  assertEquals(Object.keys(machine.tree()).filter((path) => path.includes("dotp")), [
    ...["/etc/dotp", Path.state, Path.env, Path.rules],
  ]);
  await machine.install(["--purge"]);
  assertEquals(machine.tree(), before);
});

Deno.test("where systemd runs, the service is enabled, started, restarted and removed", async () => {
  Deno.mkdirSync(`${machine.root}/run/systemd/system`, { recursive: true });
  machine.write(
    "/opt/bin/systemctl",
    `#!/bin/sh
[ "$1" != --quiet ] || shift
echo "$*" >>/opt/bin/asked
for unit; do :; done
case $*$unit in
is-*) [ -f "/opt/bin/$unit.on" ] ;;
"restart dotp-table.service"*) nft -f /etc/dotp/rules.nft && : >"/opt/bin/$unit.on" ;;
enable*) : >"/opt/bin/$unit.on" ;;
disable*) rm -f /opt/bin/*.on ;;
esac
`,
    0o755,
  );
  const env = { PATH: "/opt/bin:/opt/deno:/usr/sbin:/usr/bin:/sbin:/bin" };
  const asked = () => {
    const lines = machine.read("/opt/bin/asked").trimEnd().split("\n");
    Deno.removeSync(`${machine.root}/opt/bin/asked`);
    return lines.filter((line) => !line.startsWith("is-"));
  };
  Deno.removeSync(`${machine.root}/opt/bin/true`);

  const first = await machine.install(INSTALL, { env });
  assertMatch(first.stdout, /then: systemctl enable --now dotp\n$/);
  assertEquals(asked(), ["daemon-reload", "restart dotp-table.service"]);

  const started = await machine.install(["--from-source", "--start"], { env });
  assertMatch(started.stdout, /dotp is installed and runs\.\n$/);
  assertEquals(asked(), ["enable --now dotp.service"]);

  await machine.install(["--from-source"], { env });
  assertEquals(asked(), [""].slice(1));

  await machine.install(["--from-source", "-d", "example.org"], { env });
  assertEquals(asked(), ["daemon-reload", "restart dotp.service"]);

  await machine.install(["--purge"], { env });
  assertEquals(asked(), [
    "disable --now dotp.service dotp-table.service",
    "daemon-reload",
    "reset-failed dotp.service dotp-table.service",
  ]);
  Deno.removeSync(`${machine.root}/run/systemd`, { recursive: true });
  assertEquals(machine.tree(), before);
});

/** dotp as the unit starts it: its commands, environment, capabilities and, for root, user. */
class Service {
  readonly process: Process;
  readonly command: string[];
  /** What systemd is told. */
  readonly notified: Promise<string>;
  readonly #unit: Unit;
  readonly #socket: Deno.DatagramConn;

  static async start(): Promise<Service> {
    const unit = new Unit(machine.read(Path.unit));
    const path = `${machine.root}/run/notify`;
    const socket = Deno.listenDatagram({ transport: "unixpacket", path });
    Deno.chmodSync(path, 0o777);
    const variables = variablesOf(machine.read(Path.env));
    const env = { ...unit.environment(), ...variables, NOTIFY_SOCKET: "/run/notify" };
    const command = unit.command("ExecStart", variables);
    const options = { env: withPath(env), before: unprivileged(unit) };
    const process = await machine.lab.gateway.spawn(machine.command(command, options));
    const service = new Service(unit, process, command, socket);
    if (await process.line(/listening/) === undefined) {
      const { stderr } = await process.ended;
      await service.stop();
      throw new Error(`dotp ended instead of starting: ${stderr}`);
    }
    return service;
  }

  private constructor(unit: Unit, process: Process, command: string[], socket: Deno.DatagramConn) {
    this.process = process;
    this.command = command;
    this.#unit = unit;
    this.#socket = socket;
    this.notified = socket.receive().then(([bytes]) => new TextDecoder().decode(bytes).trim());
    this.notified.catch(() => {});
  }

  /** Runs other commands of the unit. */
  async execute(name: string): Promise<void> {
    const options = { env: withPath(this.#unit.environment()), before: unprivileged(this.#unit) };
    for (const command of this.#unit.commands(name, { MAINPID: `${this.process.pid}` })) {
      const { code, stderr } = await machine.run(command, options);
      assertEquals({ code, stderr }, { code: 0, stderr: "" });
    }
  }

  async stop(): Promise<void> {
    await this.process.signal("SIGTERM");
    await this.process.ended;
    this.#socket.close();
    Deno.removeSync(`${machine.root}/run/notify`);
    // The service's own /tmp goes with it.
    for (const { name } of Deno.readDirSync(`${machine.root}/tmp`)) {
      Deno.removeSync(`${machine.root}/tmp/${name}`, { recursive: true });
    }
  }
}

/** The PATH that systemd gives. */
function withPath(env: Record<string, string>): Record<string, string> {
  return { ...env, PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" };
}

/** The command that takes on the unit's user and capabilities. */
function unprivileged(unit: Unit): string[] {
  const given = unit.one("AmbientCapabilities").toLowerCase().replaceAll("cap_", "").split(" ");
  const bounding = unit.one("CapabilityBoundingSet").toLowerCase().replaceAll("cap_", "").split(
    " ",
  );
  const only = (capabilities: string[]) =>
    ["-all", ...capabilities.map((each) => `+${each}`)].join();
  return [
    "setpriv",
    ...isRoot
      ? [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups"]
      : ["--securebits=+noroot,+noroot_locked"],
    `--inh-caps=${only(given)}`,
    `--ambient-caps=${only(given)}`,
    `--bounding-set=${only(bounding)}`,
    "--no-new-privs",
  ];
}

/** A program of that name which listens on UDP. */
async function listen(name: string, hostname: string, port = 53): Promise<AsyncDisposable> {
  const path = `/opt/bin/${name}`;
  await machine.run(["ln", "-sf", DENO, path]);
  const options = JSON.stringify({ transport: "udp", hostname, port });
  const code = `Deno.listenDatagram(${options}).receive(); console.error("listens")`;
  const process = await machine.lab.gateway.spawn(
    machine.command([path, "eval", "--unstable-net", code]),
  );
  if (await process.line(/^listens/) === undefined) throw new Error(`${name} does not listen`);
  return {
    [Symbol.asyncDispose]: async () => {
      await process.signal("SIGKILL");
      await process.ended;
      Deno.removeSync(`${machine.root}${path}`);
    },
  };
}

/**
 * The service on a machine that has been booted, one step after the other: what systemd does with the
 * units, and what is done to nftables around them. Not found by `deno test` itself: tests/run.ts runs
 * it in namespaces of its own. Where no machine can be booted all of it is skipped.
 *
 * Through all of it the client sends to fakes, to such as stand for something and to such as do not: what
 * arrives at the server addressed to a fake has left the gateway untranslated.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { address, answer } from "../e2e/setup.ts";
import { Address, FAKE4, FAKE6, many4, real4, real6, type Script } from "../lab/lab.ts";
import { testUnless } from "../support/programs.ts";
import { eventually } from "../support/waiting.ts";
import { Booted, reasonNotToBoot } from "./booted.ts";
import { Machine } from "./machine.ts";
import { Path } from "./staging.ts";

const reason = await reasonNotToBoot();

const INSTALL = [
  ...["--from-source", "--host", Address.gateway4, "--upstream-host", Address.upstream4],
  ...["-d", "example.com", "--start"],
];

/** What that has built. */
const BUILT = ["--binary", "/opt/source/dist/dotp"];

const NFTABLES_CONF = `#!/usr/sbin/nft -f
flush ruleset
table inet filter {
  chain forward { type filter hook forward priority filter; policy accept; }
}
table ip nat {
  chain postrouting { type nat hook postrouting priority srcnat; policy accept; }
}
`;

/** Names that are looked up, each with a fake of either IP version. */
const NAMES = 20;

/** The name of a number, and its real addresses, which are no private ones. */
function named(n: number): { name: string; four: string; six: string } {
  return { name: `n${n}.example.com`, four: real4(n), six: real6(n) };
}

/** The names, and one with a private address. */
const SCRIPT: Script = { "lan.example.com A": answer(address("lan.example.com", many4(1))) };
for (let n = 1; n <= NAMES; n++) {
  const { name, four, six } = named(n);
  SCRIPT[`${name} A`] = answer(address(name, four));
  SCRIPT[`${name} AAAA`] = answer(address(name, six));
}

/** Fakes that stand for nothing: the pool gives no fake so close to the beginning of a prefix. */
const UNUSED = ["198.18.0.3", "2001:2::3"];

/** Datagrams of the flood that are sent without looking whether it should end. */
const FLOOD_AT_ONCE = 50;

let machine: Machine;
let before: Record<string, string>;
let booted: Booted;
let fakes: Map<string, string>;
let process: string;

Deno.test.beforeAll(async () => {
  if (reason !== undefined) return;
  machine = await Machine.create();
  await machine.lab.setScript(SCRIPT);
  await Booted.prepare(machine);
  machine.write("/etc/nftables.conf", NFTABLES_CONF);
  booted = await Booted.boot(machine);
  await booted.systemctl("enable", "--now", "nftables.service");
  before = machine.tree();
});
Deno.test.afterAll(async () => {
  if (reason !== undefined) return;
  await booted?.end();
  await machine?.[Symbol.asyncDispose]();
});

function step(name: string, run: () => Promise<void>): void {
  testUnless(reason, name, run);
}

/** Does something while the client floods fakes; asserts that nothing to a fake leaves the gateway. */
async function withoutLeak(action: () => Promise<unknown>): Promise<void> {
  const { to_fake: earlier } = await machine.lab.watched("server");
  const used = [[...fakes.keys()].find(is4), [...fakes.keys()].find((fake) => !is4(fake))];
  let isOver = false;
  let sent = 0;
  const flood = [...UNUSED, ...used].map(async (host = "") => {
    while (!isOver) {
      const send = Array.from({ length: FLOOD_AT_ONCE }, () => "00");
      await machine.lab.client.call("exchange", {
        ...{ to: { host, port: 9 }, send, want: 0, timeoutMs: 1_000 },
      });
      sent += send.length;
    }
  });
  try {
    await eventually("the flood", () => sent, (sent) => sent > 10 * FLOOD_AT_ONCE);
    const atStart = sent;
    await action();
    await eventually("more of it", () => sent, (sent) => sent > atStart + 10 * FLOOD_AT_ONCE);
  } finally {
    isOver = true;
    await Promise.all(flood);
  }
  const { to_fake: later } = await machine.lab.watched("server");
  assertEquals(later, earlier, "packets to a fake that arrived at the server");
}

/** The table with all mappings is there, connections arrive where they should, dotp was not restarted. */
async function assertKept(what: string): Promise<void> {
  await eventually(
    `all mappings after ${what}`,
    () => machine.lab.mappings().then(({ maps }) => maps, () => new Map()),
    (maps) => [...fakes].every(([fake, real]) => maps.get(fake) === real),
  );
  for (const [fake, real] of [...fakes].slice(0, 4)) {
    assertEquals((await machine.lab.fetch(fake)).at, real, what);
  }
  assertEquals(await booted.show("dotp.service", "MainPID"), process, what);
  assertEquals(await booted.show("dotp.service", "NRestarts"), "0", what);
}

/** The rules that leave fakes without a route. */
async function routeRules(): Promise<string[]> {
  const listed = [];
  for (const version of ["-4", "-6"]) {
    listed.push(await machine.lab.exec("gateway", "ip", version, "rule", "show"));
  }
  return listed.join("").split("\n").filter((line) => /^1[0-2]:/.test(line));
}

async function withoutRules(): Promise<void> {
  for (const version of ["-4", "-6"]) {
    for (const pref of ["11", "10", "12"]) {
      await machine.lab.exec("gateway", "ip", version, "rule", "del", "pref", pref);
    }
  }
}

function is4(address: string): boolean {
  return !address.includes(":");
}

/** Looks names up; real addresses by fake. */
async function lookUp(): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let n = 1; n <= NAMES; n++) {
    const { name, four, six } = named(n);
    const [fake4 = ""] = await machine.lab.resolve(name, "A");
    const [fake6 = ""] = await machine.lab.resolve(name, "AAAA");
    found.set(fake4, four).set(fake6, six);
  }
  return found;
}

step("install.sh --start has systemd start dotp, with its table", async () => {
  const { code, stdout, stderr } = await machine.install(INSTALL);
  const journal = await booted.journal("dotp*");
  const said = [stdout, ...journal.map(({ MESSAGE }) => MESSAGE)].join("\n");
  assertEquals({ code, stderr }, { code: 0, stderr: "" }, said);
  assertMatch(stdout, /dotp is installed and runs\.\n$/);
  for (const unit of ["dotp.service", "dotp-table.service"]) {
    assertEquals(await booted.show(unit, "ActiveState"), "active", unit);
    assertEquals(await booted.show(unit, "UnitFileState"), "enabled", unit);
  }
  process = await booted.show("dotp.service", "MainPID");
  fakes = await lookUp();
  assertEquals(fakes.size, 2 * NAMES);
  await assertKept("the start");
  assertEquals(await machine.lab.resolve("lan.example.com", "A"), [many4(1)]);
});

// Debian's upgrade of nftables restarts it, unattended.
for (const verb of ["restart", "reload", "stop", "start", "restart"]) {
  step(`systemctl ${verb} nftables keeps dotp and its mappings, and nothing leaks`, async () => {
    await withoutLeak(async () => {
      await booted.systemctl(verb, "nftables.service");
      await assertKept(`systemctl ${verb} nftables`);
    });
    const { stdout } = await machine.run(["nft", "list", "tables"]);
    assertEquals(stdout.includes("table inet filter"), verb !== "stop");
  });
}

step("what stops nftables for good, as firewalld does, keeps dotp and its mappings", async () => {
  const unit = [
    ...["[Unit]", "Conflicts=nftables.service", "After=nftables.service", "[Service]"],
    ...["Type=oneshot", "RemainAfterExit=yes", "ExecStart=true"],
  ];
  machine.write("/etc/systemd/system/other-firewall.service", `${unit.join("\n")}\n`);
  await booted.systemctl("daemon-reload");
  await withoutLeak(async () => {
    await booted.systemctl("start", "other-firewall.service");
    assertEquals(await booted.show("nftables.service", "ActiveState"), "inactive");
    await assertKept("the start of another firewall");
  });
  // And a restart of dotp finds them.
  await booted.systemctl("restart", "dotp.service");
  process = await booted.show("dotp.service", "MainPID");
  await assertKept("a restart of dotp");
  await booted.systemctl("stop", "other-firewall.service");
  Deno.removeSync(`${machine.root}/etc/systemd/system/other-firewall.service`);
  await booted.systemctl("daemon-reload");
  await booted.systemctl("start", "nftables.service");
  await assertKept("the start of nftables");
});

step("a table that is deleted comes back by itself with all mappings", async () => {
  for (const command of ["delete table inet dotp", "flush ruleset"]) {
    await withoutLeak(async () => {
      await machine.lab.exec("gateway", "nft", command);
      await assertKept(`nft ${command}`);
    });
  }
  const said = await booted.journal("dotp.service", "--priority=warning");
  const wanted = "table inet dotp was missing: loaded /etc/dotp/rules.nft";
  assert(said.some(({ MESSAGE }) => MESSAGE?.includes(wanted)), JSON.stringify(said));
});

step(
  "dotp check knows the service, for root and for others, and leaves nothing in a home",
  async () => {
    const args = [
      ...["-H", Address.gateway4, "-4", FAKE4, "-6", FAKE6, "--upstream-host", Address.upstream4],
      ...["--private-reals", "pass", "--rules-file", Path.rules, "-d", "example.com"],
    ];
    const script = `mkdir /tmp/home && export HOME=/tmp/home && dotp --version
dotp check port nft "$@"
find /tmp/home -mindepth 1
rmdir /tmp/home`;
    const listening = `dotp is listening on ${Address.gateway4} port 53, process ${process}`;
    const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    for (
      const [before, nft] of [
        [[], "ok       nft works, and dotp may write to the sets of table inet dotp"],
        [nobody, "error    nft is not permitted: run dotp as root or with CAP_NET_ADMIN"],
      ] as const
    ) {
      const env = { PATH: "/usr/local/bin:/usr/bin:/bin:/opt/deno" };
      const command = ["sh", "-c", script, "sh", ...args];
      const { stdout, stderr } = await machine.run(command, { before: [...before], env });
      const said = stdout.trimEnd().split("\n");
      assertEquals(stderr, "");
      for (const line of [nft, `ok       ${listening}`]) assert(said.includes(line), stdout);
      const wrong = said.filter((line) => /^(?:error|\/tmp\/home)/.test(line));
      assertEquals(wrong, [nft].filter((line) => line.startsWith("error")));
    }
  },
);

step("journalctl finds lines by their priority, and each has one time", async () => {
  const all = (await booted.journal("dotp.service")).filter(({ _PID }) => _PID === process);
  const [listening] = all.filter(({ MESSAGE }) => MESSAGE?.includes("listening on"));
  assertEquals(listening?.PRIORITY, "6");
  assertMatch(listening?.MESSAGE ?? "", /^info listening on /);
  const warnings = await booted.journal("dotp.service", "--priority=warning");
  const said = warnings.filter(({ _PID }) => _PID === process);
  assertEquals(said, all.filter(({ MESSAGE }) => /^(?:warning|error) /.test(MESSAGE ?? "")));
  assert(said.length > 0);
});

step("systemctl reload dotp loads edited rules and keeps the mappings", async () => {
  const rules = "/etc/dotp/rules.nft";
  const text = machine.read(rules);
  machine.write(rules, `${text}\ntable inet dotp {\n  chain edited {\n  }\n}\n`);
  try {
    await withoutLeak(async () => {
      await booted.systemctl("reload", "dotp.service");
      await assertKept("a reload of dotp");
    });
  } finally {
    machine.write(rules, text);
  }
  assertMatch(await machine.lab.exec("gateway", "nft", "list", "ruleset"), /chain edited/);
});

step("the table is loaded before the network is up, at every boot", async () => {
  await booted.end();
  // The kernel is not booted with the rest: what it held goes here.
  await machine.lab.exec("gateway", "nft", "flush", "ruleset");
  await withoutRules();
  booted = await Booted.boot(machine);
  const at = async (unit: string) =>
    Number(await booted.show(unit, "ActiveEnterTimestampMonotonic"));
  const table = await at("dotp-table.service");
  assert(table > 0 && table <= await at("network-pre.target"));
  assert(table > await at("nftables.service"));
  process = await booted.show("dotp.service", "MainPID");
  fakes = await lookUp();
  await assertKept("a boot");
});

step("an installation from before there was the unit of the table is upgraded", async () => {
  await booted.systemctl("disable", "--now", "dotp-table.service");
  Deno.removeSync(`${machine.root}${Path.tableUnit}`);
  const unit = machine.read(Path.unit).replaceAll(/ ?dotp-table\.service/g, "")
    .replace("[Service]", "PartOf=nftables.service\n[Service]")
    .replace(/--private-reals .*/, "$DOTP_OPTIONS");
  machine.write(Path.unit, unit);
  machine.write(Path.state, machine.read(Path.state).replaceAll(/^file=.*\n/gm, ""));
  await withoutRules();
  await booted.systemctl("daemon-reload");
  await booted.systemctl("restart", "dotp.service");
  process = await booted.show("dotp.service", "MainPID");
  await assertKept("a restart of the old dotp");
  const { code, stdout, stderr } = await machine.install(BUILT);
  assertEquals({ code, stderr }, { code: 0, stderr: "" }, stdout);
  process = await booted.show("dotp.service", "MainPID");
  await assertKept("the upgrade");
  assertEquals(await booted.show("dotp-table.service", "UnitFileState"), "enabled");
  await withoutLeak(async () => {
    await booted.systemctl("restart", "nftables.service");
    await assertKept("a restart of nftables after the upgrade");
  });
});

step("other prefixes are put in the place of those before", async () => {
  const [prefix4, prefix6] = ["198.19.0.0/16", "2001:2:0:1::/64"];
  const args = ["-4", prefix4, "-6", prefix6];
  const { code, stdout, stderr } = await machine.install([...BUILT, ...args]);
  assertEquals({ code, stderr }, { code: 0, stderr: "" }, stdout);
  const rules = await routeRules();
  assertEquals(rules.length, 6);
  for (const prefix of [prefix4, prefix6]) {
    assertEquals(rules.filter((rule) => rule.includes(` to ${prefix} `)).length, 2);
  }
  process = await booted.show("dotp.service", "MainPID");
  fakes = await lookUp();
  assert([...fakes.keys()].every((fake) => /^(?:198\.19\.|2001:2:0:1:)/.test(fake)));
  await assertKept("a change of prefixes");
});

step("install.sh --purge leaves nothing", async () => {
  const { code, stdout, stderr } = await machine.install(["--purge"]);
  assertEquals({ code, stderr }, { code: 0, stderr: "" }, stdout);
  assertEquals(machine.tree(), before);
  assertEquals(await machine.hasTable(), false);
  assertEquals(await routeRules(), []);
  const units = await machine.run(["systemctl", "list-units", "--all", "--no-legend", "dotp*"]);
  assertEquals(units.stdout, "");
  assertEquals((await machine.run(["find", "/tmp", "/var/tmp", "-mindepth", "1"])).stdout, "");
});

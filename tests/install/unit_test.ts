/** The systemd units: what systemd says of them, and what they must say whatever systemd thinks. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { basename } from "node:path";
import { testWith } from "../support/programs.ts";
import { run } from "../support/run.ts";
import { ADDRESSES, Path, Staging } from "./staging.ts";
import { Unit, variablesOf } from "./unit.ts";

/** The score that each unit must have; the lower, the better. */
const EXPOSURE_MAX = 2.0;

const UNITS = [Path.unit, Path.tableUnit];

const ANALYZE = "systemd-analyze";

/** Writes the units to where systemd-analyze finds what they start; returns their paths. */
async function unitFiles(staging: Staging): Promise<string[]> {
  await staging.install(ADDRESSES);
  return UNITS.map((unit) => {
    const text = staging.read(unit).replace(Path.program, `${staging.destination}${Path.program}`);
    return staging.write(`units/${basename(unit)}`, text);
  });
}

async function systemdAnalyze(...args: string[]): Promise<{ code: number; said: string }> {
  const env = { LC_ALL: "C", NO_COLOR: "1", SYSTEMD_COLORS: "0" };
  const { code, stdout, stderr } = await run([ANALYZE, "--no-pager", ...args], { env });
  return { code, said: stdout + stderr };
}

testWith(ANALYZE, "systemd-analyze verify has nothing to say of the units", async () => {
  using staging = new Staging();
  const paths = await unitFiles(staging);
  assertEquals(await systemdAnalyze("verify", ...paths), { code: 0, said: "" });
});

testWith(
  ANALYZE,
  `systemd-analyze security rates the units ${EXPOSURE_MAX} or better`,
  async () => {
    using staging = new Staging();
    for (const path of await unitFiles(staging)) {
      const { said } = await systemdAnalyze("security", "--offline=true", path);
      const [, score = "none"] = /Overall exposure level for dotp\S*: ([\d.]+)/.exec(said) ?? [];
      assert(Number(score) <= EXPOSURE_MAX, said);
    }
  },
);

Deno.test("the unit gives two capabilities to a user of its own", async () => {
  const unit = await installedUnit();
  const capabilities = "CAP_NET_ADMIN CAP_NET_BIND_SERVICE";
  assertEquals(unit.one("AmbientCapabilities"), capabilities);
  assertEquals(unit.one("CapabilityBoundingSet"), capabilities);
  assertEquals(unit.one("DynamicUser"), "yes");
  assertEquals(unit.one("NoNewPrivileges"), "yes");
  // A + would run a command as root with all rights.
  assertMatch(unit.one("ExecStart"), /^\//);
  assertEquals(unit.all("ExecReload"), [`nft -f ${Path.rules}`, "kill -HUP $MAINPID"]);
  assertEquals(unit.all("ExecStartPre"), []);
  const families = unit.one("RestrictAddressFamilies").split(" ").sort();
  assertEquals(families, ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_UNIX"]);
  // V8 needs memory that is writable and executable, nft the network of the machine.
  for (const name of ["MemoryDenyWriteExecute", "PrivateUsers", "PrivateNetwork"]) {
    assertEquals(unit.all(name), []);
  }
});

Deno.test("the unit tells readiness, comes back after a failure and keeps the mappings", async () => {
  const unit = await installedUnit();
  assertEquals(unit.one("Type"), "notify");
  assertEquals(unit.one("NotifyAccess"), "all");
  assertEquals(unit.one("Restart"), "on-failure");
  assertEquals(unit.one("RestartPreventExitStatus"), "2");
  assertEquals(unit.all("ExecStop"), []);
  assertEquals(unit.all("ExecStopPost"), []);
  assertEquals(unit.one("EnvironmentFile"), Path.env);
});

Deno.test("the unit starts dotp with what dotp.env says, each value one argument", async () => {
  using staging = new Staging();
  await staging.install([...ADDRESSES, "-d", "example.com", "-d", "example.org"]);
  const unit = new Unit(staging.read(Path.unit));
  const variables = variablesOf(staging.read(Path.env));
  const prefixes = ["-4", "198.18.0.0/15", "-6", "2001:2::/48"];
  const upstream = ["--upstream-host", "192.0.2.53", "--upstream-port", "53"];
  assertEquals(unit.command("ExecStart", variables), [
    ...[Path.program, "-H", "192.0.2.1", "-p", "53", ...prefixes, ...upstream],
    ...["--private-reals", "pass", "--rules-file", Path.rules],
    ...["-d", "example.com", "-d", "example.org"],
  ]);
  const without = unit.command("ExecStart", { ...variables, DOTP_OPTIONS: "" });
  assertEquals(without.slice(-2), ["--rules-file", Path.rules]);
});

Deno.test("the units load the table before the network, with nftables, and dotp goes on", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  const [dotp, table] = UNITS.map((path) => new Unit(staging.read(path)));
  const about = (unit: Unit | undefined, names: string[]) => names.map((name) => unit?.one(name));
  const names = ["DefaultDependencies", "Wants", "Before", "After"];
  assertEquals(about(table, [...names, "PartOf", "ReloadPropagatedFrom", "WantedBy"]), [
    ...["no", "network-pre.target", "network-pre.target shutdown.target", "nftables.service"],
    ...["nftables.service", "nftables.service", "nftables.service"],
  ]);
  assertEquals(about(table, ["Type", "RemainAfterExit", "ExecReload"]), [
    ...["oneshot", "yes", `nft -f ${Path.rules}`],
  ]);
  assertEquals(table?.all("ExecStart").at(-1), `nft -f ${Path.rules}`);
  assertEquals(table?.all("ExecStop"), []);
  for (const name of ["Wants", "After"]) {
    assertMatch(dotp?.one(name) ?? "", / dotp-table\.service$/);
  }
  for (const name of ["PartOf", "ReloadPropagatedFrom", "BindsTo", "Requires"]) {
    assertEquals(dotp?.all(name), [], name);
  }
});

async function installedUnit(): Promise<Unit> {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  return new Unit(staging.read(Path.unit));
}

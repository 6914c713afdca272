/** The systemd unit: what systemd says of it, and what it must say whatever systemd thinks. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { testWith } from "../support/programs.ts";
import { run } from "../support/run.ts";
import { ADDRESSES, Path, Staging } from "./staging.ts";
import { Unit, variablesOf } from "./unit.ts";

/** The score that the unit must have; the lower, the better. */
const EXPOSURE_MAX = 2.0;

const ANALYZE = "systemd-analyze";

/** Writes the unit to where systemd-analyze finds what it starts; returns its path. */
async function unitFile(staging: Staging): Promise<string> {
  await staging.install(ADDRESSES);
  const text = staging.read(Path.unit).replace(
    Path.program,
    `${staging.destination}${Path.program}`,
  );
  return staging.write("units/dotp.service", text);
}

async function systemdAnalyze(...args: string[]): Promise<{ code: number; said: string }> {
  const env = { LC_ALL: "C", NO_COLOR: "1", SYSTEMD_COLORS: "0" };
  const { code, stdout, stderr } = await run([ANALYZE, "--no-pager", ...args], { env });
  return { code, said: stdout + stderr };
}

testWith(ANALYZE, "systemd-analyze verify has nothing to say of the unit", async () => {
  using staging = new Staging();
  assertEquals(await systemdAnalyze("verify", await unitFile(staging)), { code: 0, said: "" });
});

testWith(ANALYZE, `systemd-analyze security rates the unit ${EXPOSURE_MAX} or better`, async () => {
  using staging = new Staging();
  const { said } = await systemdAnalyze("security", "--offline=true", await unitFile(staging));
  const [, score = "none"] = /Overall exposure level for dotp\.service: ([\d.]+)/.exec(said) ?? [];
  assert(Number(score) <= EXPOSURE_MAX, said);
});

Deno.test("the unit gives two capabilities to a user of its own", async () => {
  const unit = await installedUnit();
  const capabilities = "CAP_NET_ADMIN CAP_NET_BIND_SERVICE";
  assertEquals(unit.one("AmbientCapabilities"), capabilities);
  assertEquals(unit.one("CapabilityBoundingSet"), capabilities);
  assertEquals(unit.one("DynamicUser"), "yes");
  assertEquals(unit.one("NoNewPrivileges"), "yes");
  // A + would run a command as root with all rights.
  for (const name of ["ExecStart", "ExecStartPre", "ExecReload"]) {
    assertMatch(unit.one(name), /^\//);
  }
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
    ...["-d", "example.com", "-d", "example.org"],
  ]);
  const without = unit.command("ExecStart", { ...variables, DOTP_OPTIONS: "" });
  assertEquals(without.slice(-2), ["--upstream-port", "53"]);
});

async function installedUnit(): Promise<Unit> {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  return new Unit(staging.read(Path.unit));
}

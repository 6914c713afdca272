/**
 * One dotp for a table: the second one does not start, says whose the table is and touches nothing; a
 * table that nobody has any more is free at once; other tables, and other namespaces, are other tables.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { addressToText } from "../../lib/address.ts";
import { LOCK_PORTS, lockHost } from "../../lib/check/lock.ts";
import { dotpCommand } from "../lab/dotp.ts";
import { Address, FAKE4, FAKE6, isFake, real4 } from "../lab/lab.ts";
import { address, answer, assertOneLine, noneLeft, shareLab, startServers } from "./setup.ts";

const NAME = "www.example.com";
const [PORT] = LOCK_PORTS;
const RULES = new URL("../../rules.nft", import.meta.url);
const UPSTREAM = ["--upstream-host", Address.upstream4, "-d", "example.com"];
/** A dotp on another port with other fakes, which would have the same table. */
const SECOND = ["-H", Address.gateway4, "-p", "5300", "-4", "100.64.0.0/24", "-6", "fd00::/64"];
const WITHOUT_PRIVILEGED_PORTS = ["setpriv", "--bounding-set=-net_bind_service"];

const lab = shareLab(async (lab) => {
  await startServers(lab);
  await lab.setScript({ [`${NAME} A`]: answer(address(NAME, real4(1))) });
});

async function fakeOf(port = 53): Promise<string> {
  const [fake = ""] = await lab().resolve(NAME, "A", { port });
  return fake;
}

for (const [what, options] of [["usual", []], ["to the background", ["--daemonize"]]] as const) {
  Deno.test(`main() ends with 1 and names the first, when another has the table and it goes ${what}`, async () => {
    await using first = await lab().startDotp();
    const fake = await fakeOf();
    const before = await lab().mappings();
    const args = [...SECOND, ...UPSTREAM, ...options];
    const { code, stdout, stderr } = await lab().runDotp({ args });
    assertEquals(code, 1);
    assertOneLine(stdout, stderr);
    const listener = `process ${first.process.pid}, listening on ${Address.gateway4} port 53:`;
    assertStringIncludes(stderr, `--table dotp: another dotp has it, ${listener}`);
    assertEquals(await lab().mappings(), before);
    assertEquals(await fakeOf(), fake);
  });
}

Deno.test("main() ends with 1, when another in the background has the table", async () => {
  const { code, stderr } = await lab().runDotp({ more: ["--daemonize"] });
  assertEquals(code, 0, stderr);
  const second = await lab().runDotp({ args: [...SECOND, ...UPSTREAM] });
  assertEquals(second.code, 1);
  assertMatch(second.stderr, /another dotp has it, process \d+, listening/);
  assert(isFake(await fakeOf()));
  const [, daemon] = /process (\d+)/.exec(second.stderr) ?? [];
  await lab().gateway.call("signal", { pid: Number(daemon), signal: "SIGTERM" });
  await noneLeft(lab());
});

Deno.test("main() starts at once and takes over, when the first has been killed", async () => {
  const first = await lab().startDotp();
  const fake = await fakeOf();
  await first.process.signal("SIGKILL");
  await first.process.ended;
  await using _ = await lab().startDotp();
  assertEquals((await lab().mappings()).maps.get(fake), real4(1));
});

Deno.test("main() starts beside another, when it has a table of its own", async () => {
  const rules = (await Deno.readTextFile(RULES)).replaceAll("table inet dotp", "table inet second")
    .replace(FAKE4, "100.64.0.0/24").replace(FAKE6, "fd00::/64");
  await lab().gateway.exec(["nft", "-f", "-"], rules);
  await using _ = await lab().startDotp();
  await using __ = await lab().startDotp({ args: [...SECOND, ...UPSTREAM, "--table", "second"] });
  const [fake, other] = [await fakeOf(), await fakeOf(5300)];
  assert(isFake(fake) && other.startsWith("100.64.0."), `${fake} ${other}`);
  for (const each of [fake, other]) assertEquals((await lab().fetch(each)).at, real4(1));
  await lab().exec("gateway", "nft", "delete table inet second");
});

Deno.test("main() ends with 1, when neither of two may take a privileged port", async () => {
  const before = WITHOUT_PRIVILEGED_PORTS;
  const args = ["-H", Address.gateway4, "-p", "5353", "-4", FAKE4, "-6", FAKE6, ...UPSTREAM];
  await using first = await lab().startDotp({ args, before });
  const { code, stderr } = await lab().runDotp({ args: [...SECOND, ...UPSTREAM], before });
  assertEquals(code, 1);
  assertStringIncludes(stderr, `another dotp has it, process ${first.process.pid}`);
});

Deno.test("main() starts and locks out others, when its own listener has the place of the lock", async () => {
  const args = ["-H", "0.0.0.0", "-p", String(PORT), "-4", FAKE4, "-6", FAKE6, ...UPSTREAM];
  await using first = await lab().startDotp({ args });
  const { code, stderr } = await lab().runDotp({ args: [...SECOND, ...UPSTREAM] });
  assertEquals(code, 1);
  assertStringIncludes(stderr, `process ${first.process.pid}, listening on 0.0.0.0 port ${PORT}`);
});

Deno.test("main() says that nothing keeps others away and starts, when lo has no address", async () => {
  const args = ["-H", "0.0.0.0", "-4", FAKE4, "-6", FAKE6, ...UPSTREAM];
  const addresses =
    "ip link set lo up; ip address add 192.0.2.1/32 dev lo; ip address del 127.0.0.1/8 dev lo";
  const inNamespace = `${addresses}; nft -f "$0" && exec "$@"`;
  const before = ["unshare", "--net", "sh", "-c", inNamespace, RULES.pathname];
  await using _ = await lab().startDotp();
  await using dotp = await lab().startDotp({ args, before });
  assert(dotp.log.some((line) => /warning nothing keeps another dotp .* lo/.test(line)));
});

Deno.test("dotp check finds who has the table, and none that is the very dotp", async () => {
  await using first = await lab().startDotp();
  const check = async (args: string[]) => {
    const [program = "", ...rest] = dotpCommand({ args: ["check", "nft", ...args] });
    return (await lab().gateway.run([program, ...rest])).stdout;
  };
  const own = await check([...first.args]);
  assert(!own.includes("another dotp"), own);
  const other = await check([...SECOND, ...UPSTREAM]);
  assertMatch(other, /^error +--table dotp: another dotp has it, process \d+, listening on/m);
  assert(isFake(await fakeOf()));
});

Deno.test("main() names who has the place of the lock, when that is no dotp", async () => {
  const host = addressToText(lockHost("squatted").bytes);
  await lab().gateway.call("holdPort", { host, port: PORT });
  const { code, stdout, stderr } = await lab().runDotp({ more: ["--table", "squatted"] });
  assertEquals(code, 1);
  assertOneLine(stdout, stderr);
  const place = `has the place of its lock, UDP ${host} port ${PORT}: end that process`;
  assertMatch(stderr, /--table squatted: \S+, process \d+, /);
  assertStringIncludes(stderr, place);
});

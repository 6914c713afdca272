/**
 * dotp beside programs that are missing or never end: it answers all the same, says what it cannot do,
 * and ends when it is told to.
 */

import { assert, assertEquals } from "@std/assert";
import { real4 } from "../lab/lab.ts";
import { address, answer, type Only, onlyWith, shareLab } from "./setup.ts";

const NAME = "www.example.com";

/** What dotp runs besides the program that is tested. */
const OTHERS = ["nft", "conntrack", "grep"];

/** A program that only SIGKILL ends. */
const HANGS = "trap '' TERM; while :; do /bin/sleep 1000; done";

const lab = shareLab(async (lab) => {
  await lab.startUpstream({ "* A": answer(address(NAME, real4(1))) });
});

/** Starts dotp as systemd does that waits for word from it. */
function startService({ env, before }: Only) {
  return lab().startDotp({
    env: { NOTIFY_SOCKET: "/nonexistent/notify", ...env },
    before,
    permissions: ["--allow-env=NOTIFY_SOCKET"],
  });
}

Deno.test("dotp answers and says that systemd does not hear of it, when systemd-notify is missing", async () => {
  await using dotp = await startService(await onlyWith([...OTHERS, "ip"]));
  assert(await dotp.process.line(/Cannot tell systemd that dotp is ready: systemd-notify is not/));
  assertEquals((await lab().resolve(NAME, "A")).length, 1);
});

Deno.test("dotp answers and says that systemd does not hear of it, when systemd-notify fails", async () => {
  const fails = { "systemd-notify": "echo No such socket >&2; exit 1" };
  await using dotp = await startService(await onlyWith([...OTHERS, "ip"], fails));
  assert(await dotp.process.line(/Cannot tell systemd that dotp is ready: No such socket/));
  assertEquals((await lab().resolve(NAME, "A")).length, 1);
});

for (const program of ["systemd-notify", "ip"]) {
  Deno.test(`dotp answers, and ends with 0 within a second, when ${program} never ends`, async () => {
    const others = program === "ip" ? OTHERS : [...OTHERS, "ip"];
    const dotp = await startService(await onlyWith(others, { [program]: HANGS }));
    const isThere = ({ command }: { command: string }) => command.includes(`/${program}`);
    const { gateway } = lab();
    await lab().until(program, () => gateway.call("processes", null), (all) => all.some(isThere));
    assertEquals((await lab().resolve(NAME, "A")).length, 1);
    const { code, ms } = await dotp.stop();
    assertEquals(code, 0);
    assert(ms < 1_000, `${ms} ms`);
    assertEquals((await gateway.call("processes", null)).filter(isThere), []);
  });
}

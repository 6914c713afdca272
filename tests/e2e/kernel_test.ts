/**
 * Trouble with nft and the kernel's sets: nft dies, hangs, fails, has no -i; somebody flushes a
 * map, deletes the table, leaves an element in the way. dotp says SERVFAIL rather than give a fake
 * that does not work, and mends what can be mended.
 */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { encodeQuery } from "../lab/dns.ts";
import { ENGINE, usualArgs } from "../lab/dotp.ts";
import { Address, type Dotp, many4, many6, RULES } from "../lab/lab.ts";
import type { Visit } from "../lab/protocol.ts";
import { NftStub } from "../support/nft_stub.ts";
import { testUnless } from "../support/programs.ts";
import { counter, MANY, shareLab, startServers } from "./setup.ts";

/** Longer than dotp lets an nft hang. */
const HANG_TIMEOUT_MS = 10_000;

const lab = shareLab(async (lab) => {
  await startServers(lab);
  await lab.setScript({ ...MANY, "*.many.example.org *": { numbered: true } });
});

/** The number of a name that no test has used. */
const next = counter();

async function ask(n: number): Promise<{ rcode: string; fake: string; ms: number }> {
  const { message, ms } = await lab().query(`n${n}.many.example.com`, "A", {
    timeoutMs: HANG_TIMEOUT_MS,
  });
  return { rcode: message.rcode, fake: String(message.answers[0]?.data ?? ""), ms };
}

/** Asks until there is a fake. */
function askUntilWell(n: number): Promise<{ rcode: string; fake: string }> {
  return lab().until("a fake", () => ask(n), ({ rcode }) => rcode === "NOERROR");
}

async function assertWorks(n: number, fake: string): Promise<void> {
  const { at, error } = await lab().fetch(fake);
  assertEquals([at, error], [many4(n), undefined]);
}

async function assertUnconfiguredNamesWork(): Promise<void> {
  assertEquals(await lab().resolve("n5.many.example.org", "A", { timeoutMs: 1_000 }), [many4(5)]);
}

/** The stub in a directory that is removed with it. */
async function makeNftStub(refused?: string): Promise<NftStub & AsyncDisposable> {
  const directory = await Deno.makeTempDir();
  const stub = await NftStub.make(directory, refused);
  const remove = () => Deno.remove(directory, { recursive: true });
  return Object.assign(stub, { [Symbol.asyncDispose]: remove });
}

/** Looks names up, many at once, and fetches through the fake of each at once. */
function visit(numbers: readonly number[]): Promise<Visit[]> {
  return lab().client.call("visit", {
    to: { host: Address.gateway4, port: 53 },
    queries: numbers.map((n) => encodeQuery(`n${n}.many.example.com`, "A").toHex()),
    port: 80,
    atOnce: 50,
    timeoutMs: 5_000,
  });
}

async function signalNft(dotp: Dotp, signal: Deno.Signal): Promise<void> {
  // Others come and go: those that list a set.
  const pids = await lab().until(
    "the one nft that stays",
    () => dotp.nftProcesses(),
    ({ length }) => length === 1,
  );
  for (const pid of pids) await lab().gateway.call("signal", { pid, signal });
}

/** A test of what nft does to dotp: the direct engine runs none. */
function testWithNft(name: string, test: () => Promise<void>): void {
  testUnless(ENGINE === "direct" ? "the direct engine runs no nft" : undefined, name, test);
}

testWithNft("dotp starts another nft, when its nft is killed", async () => {
  await using dotp = await lab().startDotp();
  const [before, after] = [next(), next()];
  const { fake } = await ask(before);
  await signalNft(dotp, "SIGKILL");
  assertEquals((await ask(before)).fake, fake, "a known name is not affected");
  const { fake: other } = await askUntilWell(after);
  await assertWorks(after, other);
  await assertWorks(before, fake);
});

testWithNft("dotp ends an nft that hangs and starts another", async () => {
  await using dotp = await lab().startDotp();
  const [before, after] = [next(), next()];
  const { fake } = await ask(before);
  await signalNft(dotp, "SIGSTOP");
  const stopped = await dotp.nftProcesses();
  const asked = ask(after);
  await assertUnconfiguredNamesWork();
  const { rcode, ms } = await asked;
  assert(ms < 6_000, `${ms} ms`);
  const { fake: other } = rcode === "NOERROR" ? await asked : await askUntilWell(after);
  await assertWorks(after, other);
  await assertWorks(before, fake);
  const running = await dotp.nftProcesses();
  assert(!running.some((pid) => stopped.includes(pid)), "the hung nft is still there");
});

for (const mode of ["fail", "die", "busy"] as const) {
  testWithNft(
    `dotp answers SERVFAIL, as long as nft does nothing but "${mode}", and recovers`,
    async () => {
      await using stub = await makeNftStub();
      await using dotp = await lab().startDotp({ env: stub.env });
      const [before, after] = [next(), next()];
      const { fake } = await ask(before);
      await stub.set(mode);
      await signalNft(dotp, "SIGKILL");
      for (let i = 0; i < 5; i++) assertEquals((await ask(after)).rcode, "SERVFAIL");
      await assertUnconfiguredNamesWork();
      const lines = dotp.log.filter((line) => /SERVFAIL/.test(line));
      assertEquals(lines.length, 1, dotp.log.join("\n"));
      await stub.set("pass");
      const { fake: other } = await askUntilWell(after);
      await assertWorks(after, other);
      await assertWorks(before, fake);
    },
  );
}

testWithNft("dotp goes on with smaller transactions, when nft calls one too long", async () => {
  await using stub = await makeNftStub();
  await stub.set("too long");
  await using dotp = await lab().startDotp({ env: stub.env });
  const numbers = Array.from({ length: 100 }, next);
  assertEquals((await visit(numbers)).map(({ at }) => at), numbers.map(many4));
  assertEquals(dotp.log.filter((line) => /refused/.test(line)), []);
});

testWithNft("dotp loses the one mapping that nft refuses, when it comes among others", async () => {
  const numbers = Array.from({ length: 60 }, next);
  const unwanted = numbers[20] ?? 0;
  await using stub = await makeNftStub(` : ${many4(unwanted)}`);
  await stub.set("refuse one");
  await using _ = await lab().startDotp({ env: stub.env });
  const visits = await visit(numbers);
  for (const [index, { rcode, at }] of visits.entries()) {
    const n = numbers[index] ?? 0;
    assertEquals([rcode, at], n === unwanted ? ["SERVFAIL", undefined] : ["NOERROR", many4(n)]);
  }
  const { maps, sets } = await lab().mappings();
  assertEquals(new Set(maps.values()), sets);
  await stub.set("pass");
  await assertWorks(unwanted, (await askUntilWell(unwanted)).fake);
});

testWithNft("dotp answers SERVFAIL, as long as every nft hangs, and recovers", async () => {
  await using stub = await makeNftStub();
  await using dotp = await lab().startDotp({ env: stub.env });
  await stub.set("hang with a child");
  await signalNft(dotp, "SIGKILL");
  const n = next();
  assertEquals((await ask(n)).rcode, "SERVFAIL");
  await assertUnconfiguredNamesWork();
  // The next attempt finds nothing but an nft that hangs.
  await dotp.process.line(/nft hung and was ended/);
  const { rcode, ms } = await ask(n);
  assertEquals(rcode, "SERVFAIL");
  assert(ms < HANG_TIMEOUT_MS, `${ms} ms`);
  await assertUnconfiguredNamesWork();
  await stub.set("pass");
  await assertWorks(n, (await askUntilWell(n)).fake);
});

testWithNft("dotp runs an nft for each batch, when nft has no -i", async () => {
  await using stub = await makeNftStub();
  await stub.set("no -i");
  await using dotp = await lab().startDotp({ env: stub.env, more: ["--nat-ttl", "2"] });
  const numbers = Array.from({ length: 50 }, next);
  assertEquals((await visit(numbers)).map(({ at }) => at), numbers.map(many4));
  await lab().mappingsBecome("expiry", ({ maps }) => maps.size === 0);
  assertEquals(await dotp.nftProcesses(), []);
});

Deno.test("dotp finds out and mends it, when the maps are flushed by hand", async () => {
  await using _ = await lab().startDotp({ more: ["--nat-ttl", "3"] });
  const [early, late] = [next(), next()];
  const first = await ask(early);
  await lab().until(
    "a second of the first one's life",
    () => Promise.resolve(performance.now()),
    ((start) => (now: number) => now - start > 1_000)(performance.now()),
  );
  const second = await ask(late);
  await lab().exec(
    "gateway",
    "nft",
    "flush set inet dotp nat_addr; flush map inet dotp nat_map; flush set inet dotp nat_addr6",
  );
  // The first one's expiry finds its elements gone; the second one has a second to live by then.
  const { sets } = await lab().mappingsBecome("repair", ({ maps }) => maps.has(second.fake));
  assert(sets.has(many4(late)));
  await assertWorks(late, second.fake);
  assertNotEquals(first.fake, second.fake);
});

/** What dotp says of a table that is gone: the same as at a start. */
const MISSING = "table inet dotp is missing: load it with: nft -f ";

Deno.test("dotp answers SERVFAIL while the table is gone, says so, and fills a new one", async () => {
  await using dotp = await lab().startDotp();
  const [before, after] = [next(), next()];
  const { fake } = await ask(before);
  await lab().exec("gateway", "nft", "delete", "table", "inet", "dotp");
  assertEquals((await ask(after)).rcode, "SERVFAIL");
  await assertUnconfiguredNamesWork();
  assert(dotp.log.some((line) => line.includes(`${MISSING}rules.nft`)), dotp.log.join("\n"));
  await lab().loadRules();
  const { fake: other } = await askUntilWell(after);
  await assertWorks(after, other);
  await assertWorks(before, fake);
});

/** The IPv4 and IPv6 reals behind a fake of each, with connections to them. */
async function assertReached(fakes: readonly [n: number, four: string, six: string][]) {
  for (const [n, four, six] of fakes) {
    const reached = await Promise.all([four, six].map((fake) => lab().fetch(fake)));
    assertEquals(reached.map(({ at, error }) => at ?? error), [many4(n), many6(n)]);
  }
}

Deno.test("dotp loads the table and all mappings again, when it is gone and a rules file is given", async () => {
  await lab().exec("gateway", "nft", "delete", "table", "inet", "dotp");
  // Missing at the start, too.
  await using dotp = await lab().startDotp({ more: ["--rules-file", RULES] });
  const fakes: [number, string, string][] = [];
  for (const n of Array.from({ length: 5 }, next)) {
    const name = `n${n}.many.example.com`;
    const [[four = ""], [six = ""]] = await Promise.all([
      lab().resolve(name, "A"),
      lab().resolve(name, "AAAA"),
    ]);
    fakes.push([n, four, six]);
  }
  await assertReached(fakes);
  for (const command of ["delete table inet dotp", "flush ruleset"]) {
    await lab().exec("gateway", "nft", command);
    // Nobody asks for a name meanwhile.
    await lab().until(
      "the table and its mappings",
      () => lab().mappings().catch(() => undefined),
      (mappings) => mappings?.maps.size === 2 * fakes.length,
    );
    await assertReached(fakes);
  }
  const loaded = dotp.log.filter((line) => line.includes(`was missing: loaded ${RULES}`));
  assertEquals(loaded.length, 3, dotp.log.join("\n"));
});

Deno.test("dotp says what is wrong with a rules file, at its start and later", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/rules.nft`;
    const more = ["--rules-file", path];
    const cases = [
      ["table inet dotp {", /fails: syntax error/],
      ["table inet other", /has been done: it makes another table/],
    ] as const;
    const removeTable = () => lab().exec("gateway", "nft", "delete", "table", "inet", "dotp");
    await Deno.copyFile(RULES, path);
    {
      await using dotp = await lab().startDotp({ more });
      await ask(next());
      for (const [text, said] of cases) {
        await Deno.writeTextFile(path, text);
        await removeTable();
        assertEquals((await ask(next())).rcode, "SERVFAIL");
        const line = await dotp.process.line(said) ?? "";
        assert(line.includes(`${MISSING}${path}`), dotp.log.join("\n"));
        await lab().loadRules();
        await askUntilWell(next());
      }
    }
    await removeTable();
    for (const [text, said] of cases) {
      await Deno.writeTextFile(path, text);
      const { code, stderr } = await lab().runDotp({ args: [...usualArgs(), ...more] });
      assertEquals(code, 1, stderr);
      assert(stderr.includes(`${MISSING}${path}`), stderr);
      assertMatch(stderr, said);
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
    await lab().exec("gateway", "sh", "-c", "nft delete table inet other 2>/dev/null || :");
    await lab().loadRules();
  }
});

Deno.test("dotp loses one mapping at most, when an element is in its way", async () => {
  const numbers = Array.from({ length: 20 }, next);
  const blocked = numbers[7] ?? 0;
  // Which fake it will be is known from an earlier run.
  const earlier = await lab().startDotp();
  const { fake } = await ask(blocked);
  await earlier.stop();
  await lab().exec("gateway", "nft", "delete", "table", "inet", "dotp");
  await lab().loadRules();
  await using _ = await lab().startDotp();
  await lab().exec("gateway", "nft", `add element inet dotp nat_map { ${fake} : 203.0.113.99 }`);
  const replies = await Promise.all(numbers.map(ask));
  for (const [index, reply] of replies.entries()) {
    const n = numbers[index] ?? 0;
    if (n !== blocked) assertEquals(reply.rcode, "NOERROR");
    if (reply.rcode === "NOERROR") await assertWorks(n, reply.fake);
  }
});

Deno.test("dotp is not misled, when an earlier run has left elements behind", async () => {
  await lab().exec(
    "gateway",
    "nft",
    "add element inet dotp nat_map { 100.64.0.1 : 203.0.113.1 }; " +
      "add element inet dotp nat_addr { 203.0.113.250 }",
  );
  await using _ = await lab().startDotp();
  const n = next();
  await assertWorks(n, (await ask(n)).fake);
  const { maps, sets } = await lab().mappings();
  assertEquals(new Set(maps.values()), sets);
});

/**
 * A mapping never lies, whatever happens around it: sets that somebody changes by hand, clients that
 * outlive their answers, a pool that is full, a dotp that does not come back.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { Address, type DotpOptions, FAKE6, many4 } from "../lab/lab.ts";
import { counter, MANY, shareLab, startServers } from "./setup.ts";

const SHORT = ["--nat-ttl", "2"];
/** Two fakes. */
const TINY = "198.18.0.0/30";

const lab = shareLab(async (lab) => {
  await startServers(lab);
  await lab.setScript(MANY);
});

/** The number of a name that no test has used. */
const next = counter();

async function fakeOf(n: number): Promise<string> {
  const [fake = ""] = await lab().resolve(`n${n}.many.example.com`, "A");
  return fake;
}

async function rcodeOf(n: number): Promise<string> {
  return (await lab().query(`n${n}.many.example.com`, "A")).message.rcode;
}

function nft(...commands: string[]): Promise<string> {
  return lab().exec("gateway", "nft", commands.join("; "));
}

/** A table and a conntrack that an earlier test has left nothing in. */
async function emptyTable(): Promise<void> {
  await nft("delete table inet dotp");
  await lab().loadRules();
  await lab().exec("gateway", "conntrack", "-F");
}

/** Waits until a fake leads where it did, as a client sees it. */
async function becomesReachable(fake: string, n: number): Promise<void> {
  await lab().until("the fake", () => lab().fetch(fake), ({ at }) => at === many4(n));
}

function tiny(...more: string[]): DotpOptions {
  const args = ["-H", Address.gateway4, "-4", TINY, "-6", FAKE6];
  return { args: [...args, "--upstream-host", Address.upstream4, "-d", "example.com", ...more] };
}

Deno.test("dotp puts back by itself, what somebody has flushed", async () => {
  await using dotp = await lab().startDotp();
  const n = next();
  const fake = await fakeOf(n);
  await nft("flush map inet dotp nat_map", "flush set inet dotp nat_addr");
  await lab().mappingsBecome("repair", ({ maps, sets }) => maps.has(fake) && sets.has(many4(n)));
  assertEquals((await lab().fetch(fake)).at, many4(n));
  assert(dotp.log.some((line) => /not as dotp left them|Somebody else/.test(line)));
});

Deno.test("dotp puts back by itself, what was in a table that somebody has replaced", async () => {
  await using _ = await lab().startDotp();
  const n = next();
  const fake = await fakeOf(n);
  await emptyTable();
  await lab().mappingsBecome("repair", ({ maps }) => maps.get(fake) === many4(n));
});

Deno.test("dotp mends one element, when somebody has deleted, added or changed it", async () => {
  await using _ = await lab().startDotp();
  const [kept, changed] = [next(), next()];
  const [fake, other] = [await fakeOf(kept), await fakeOf(changed)];
  for (
    const commands of [
      [`delete element inet dotp nat_map { ${fake} }`],
      [`delete element inet dotp nat_addr { ${many4(kept)} }`],
      ["add element inet dotp nat_map { 198.18.0.9 : 203.0.113.9 }"],
      ["add element inet dotp nat_addr { 203.0.113.8 }"],
      [
        `delete element inet dotp nat_map { ${other} }`,
        `add element inet dotp nat_map { ${other} : 203.0.113.7 }`,
      ],
    ]
  ) {
    await nft(...commands);
    await lab().mappingsBecome(
      "repair",
      ({ maps, sets }) =>
        maps.get(fake) === many4(kept) && maps.get(other) === many4(changed) &&
        sets.has(many4(kept)) && sets.has(many4(changed)) &&
        !maps.has("198.18.0.9") && !sets.has("203.0.113.8"),
    );
  }
});

Deno.test("dotp repairs halves of mappings, when it finds them at its start", async () => {
  await emptyTable();
  await nft(
    "add element inet dotp nat_map { 198.18.0.20 : 10.0.0.20 }",
    "add element inet dotp nat_addr { 10.0.0.21 }",
  );
  await using _ = await lab().startDotp();
  const { maps, sets } = await lab().mappingsBecome("repair", ({ sets }) => sets.has("10.0.0.20"));
  assertEquals([...maps], [["198.18.0.20", "10.0.0.20"]]);
  assertEquals([...sets], ["10.0.0.20"]);
});

Deno.test("dotp gives the same fakes and leaves no half, when it is killed amid batches", async () => {
  const given = new Map<number, string>();
  for (const killedAfter of [1, 10, 30, 60]) {
    const dotp = await lab().startDotp();
    // The new ones first: a socket may not hold all, and loses the last.
    const numbers = [...Array.from({ length: 120 }, next), ...given.keys()];
    let isKilled = false;
    let fresh = 0;
    await Promise.all(numbers.map(async (n) => {
      const reply = await lab().tryQuery(`n${n}.many.example.com`, "A", { timeoutMs: 1_000 });
      const fake = reply?.message.answers[0]?.data;
      if (fake === undefined) return;
      assertEquals(String(fake), given.get(n) ?? String(fake));
      if (!given.has(n)) fresh++;
      given.set(n, String(fake));
      if (fresh < killedAfter || isKilled) return;
      isKilled = true;
      await dotp.stop("SIGKILL");
    }));
    assert(isKilled, `${fresh} of ${numbers.length} were answered`);
    await using _ = await lab().startDotp();
    const { maps, sets } = await lab().mappings();
    assertEquals(new Set(maps.values()), sets);
    for (const [n, fake] of given) {
      assertEquals([fake, maps.get(fake)], [await fakeOf(n), many4(n)]);
    }
  }
});

Deno.test("dotp keeps a mapping that carries traffic, and lets it expire afterwards", async () => {
  await using _ = await lab().startDotp({ more: SHORT });
  const [used, idle] = [next(), next()];
  const fake = await fakeOf(used);
  // Three lives of a mapping that nobody uses, one after the other.
  for (let life = 0; life < 3; life++) {
    const idleFake = await fakeOf(idle);
    await lab().until("the idle mapping's end", async () => {
      assertEquals((await lab().fetch(fake)).at, many4(used));
      return await lab().mappings();
    }, ({ maps }) => !maps.has(idleFake));
  }
  await lab().mappingsBecome("expiry", ({ maps }) => !maps.has(fake));
});

Deno.test("dotp ends a mapping that carries traffic, when --nat-max-ttl is over", async () => {
  await using _ = await lab().startDotp({ more: [...SHORT, "--nat-max-ttl", "3"] });
  const fake = await fakeOf(next());
  await lab().until("the end", async () => {
    await lab().fetch(fake);
    return await lab().mappings();
  }, ({ maps }) => !maps.has(fake));
});

Deno.test("dotp wakes an expired mapping, when a client still uses its fake", async () => {
  await using _ = await lab().startDotp({ more: SHORT });
  const n = next();
  const fake = await fakeOf(n);
  await lab().mappingsBecome("expiry", ({ maps }) => !maps.has(fake));
  assertEquals((await lab().fetch(fake)).error, "ConnectionRefused");
  await becomesReachable(fake, n);
});

Deno.test("dotp gives the same fakes with the same key, and others with another", async () => {
  const numbers = Array.from({ length: 5 }, next);
  const fakes = [];
  for (const key of ["one", "one", "other"]) {
    await emptyTable();
    await using _ = await lab().startDotp({ more: ["--pool-key", key] });
    fakes.push(await Promise.all(numbers.map(fakeOf)));
  }
  assertEquals(fakes[0], fakes[1]);
  assertNotEquals(fakes[0], fakes[2]);
});

Deno.test("dotp evicts the mapping idle for longest, when the pool is full and it may", async () => {
  await emptyTable();
  const [first, second, third] = [next(), next(), next()];
  await using dotp = await lab().startDotp(tiny("--nat-ttl", "6", "--pool-full", "evict"));
  const [old, kept] = [await fakeOf(first), await fakeOf(second)];
  assertEquals((await lab().fetch(old)).at, many4(first));
  assertEquals(await rcodeOf(third), "SERVFAIL", "clients may still use both");
  await lab().until("an eviction", async () => {
    assertEquals(await fakeOf(second), kept);
    return await rcodeOf(third);
  }, (rcode) => rcode === "NOERROR");
  assertEquals(await fakeOf(third), old);
  // What conntrack knew of the fake would have led to the old one.
  const connections = await lab().exec("gateway", "conntrack", "-L", "-f", "ipv4", "-d", old);
  assert(!connections.includes(`src=${many4(first)} `), connections);
  assertEquals((await lab().fetch(old)).at, many4(third));
  const { maps } = await lab().mappings();
  assertEquals([maps.get(old), maps.get(kept)], [many4(third), many4(second)]);
  assertEquals(dotp.log.filter((line) => /95 %/.test(line)).length, 1, dotp.log.join("\n"));
});

Deno.test("dotp gives a fake to another real after its rest only", async () => {
  await emptyTable();
  const [first, second, third] = [next(), next(), next()];
  await using _ = await lab().startDotp(tiny(...SHORT));
  const fakes = [await fakeOf(first), await fakeOf(second)];
  const startMs = performance.now();
  await lab().until("a fake", () => rcodeOf(third), (rcode) => rcode === "NOERROR");
  const ms = performance.now() - startMs;
  assert(ms > 3_500, `after ${ms} ms: 2 s of life and 2 s of rest`);
  assert(fakes.includes(await fakeOf(third)));
});

Deno.test("dotp forgets the connections to many fakes in time, when conntrack knows very many", async () => {
  await emptyTable();
  const inserts = Array.from({ length: 10_000 }, (_, n) => {
    const ports = "--sport 1 --dport 9 --timeout 60";
    return `-I -p udp -s 192.0.2.9 -d ${many4(n)} ${ports}\n`;
  });
  await lab().gateway.exec(["conntrack", "--load-file", "-"], inserts.join(""));
  const args = ["-H", Address.gateway4, "-4", "198.18.0.0/25", "-6", FAKE6, "-d", "example.com"];
  await using dotp = await lab().startDotp({
    args: [...args, "--upstream-host", Address.upstream4, ...SHORT],
  });
  // Of 126, 30 are kept for other names and clients.
  const [before, after] = [Array.from({ length: 96 }, next), Array.from({ length: 90 }, next)];
  await Promise.all(before.map(rcodeOf));
  const [used] = before;
  const fake = await fakeOf(used ?? 0);
  assertEquals((await lab().fetch(fake)).at, many4(used ?? 0));
  await lab().until("the rest's end", () => rcodeOf(after[0] ?? 0), (rcode) => rcode === "NOERROR");
  // Those that rest end their rest at about the same time. A conntrack that takes too long is ended.
  await lab().until(
    "fakes for all",
    () => Promise.all(after.map(rcodeOf)),
    (rcodes) => rcodes.every((rcode) => rcode === "NOERROR"),
  );
  assert(!dotp.log.some((line) => /conntrack/.test(line)), dotp.log.join("\n"));
});

Deno.test("dotp renews what the kernel would forget, and is forgotten when it is gone", async () => {
  await emptyTable();
  const rules = await Deno.readTextFile(new URL("../../rules.nft", import.meta.url));
  await nft("delete table inet dotp");
  await lab().gateway.exec(["nft", "-f", "-"], rules.replaceAll("timeout 1d", "timeout 2s"));
  const dotp = await lab().startDotp({ more: ["--nat-ttl", "60"] });
  const n = next();
  const fake = await fakeOf(n);
  const startMs = performance.now();
  await lab().until("three lifetimes in the kernel", async () => {
    assertEquals((await lab().mappings()).maps.get(fake), many4(n));
    return performance.now() - startMs;
  }, (ms) => ms > 6_000);
  await dotp.stop("SIGKILL");
  await lab().mappingsBecome("nothing", ({ maps, sets }) => maps.size === 0 && sets.size === 0);
  await emptyTable();
});

Deno.test("dotp works with a table that has nothing but the four sets", async () => {
  await nft("delete table inet dotp");
  await lab().gateway.exec(
    ["nft", "-f", "-"],
    `table inet dotp {
      set nat_addr { type ipv4_addr; }
      set nat_addr6 { type ipv6_addr; }
      map nat_map { type ipv4_addr : ipv4_addr; }
      map nat_map6 { type ipv6_addr : ipv6_addr; }
    }`,
  );
  await using dotp = await lab().startDotp({ more: SHORT });
  const fake = await fakeOf(next());
  await lab().mappingsBecome("expiry", ({ maps }) => !maps.has(fake));
  assertEquals(dotp.log.filter((line) => /nat_seen/.test(line)).length, 1, dotp.log.join("\n"));
  await emptyTable();
});

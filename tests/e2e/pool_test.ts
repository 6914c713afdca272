/**
 * A pool that many want: no reply, name or client takes it from the others, a reply that is not sent
 * takes nothing, and what carries traffic is not evicted. An IPv6 pool has 262144 fakes at least, so
 * the tests that fill one are about IPv4.
 */

import { assert, assertEquals } from "@std/assert";
import { Address, type Dotp, FAKE4, FAKE6, isFake, many4, many6, type Script } from "../lab/lab.ts";
import { a, concat, https, message } from "../support/packet.ts";
import { bytesOf } from "../support/nat.ts";
import { address, answer, shareLab, startServers } from "./setup.ts";

const HOG = "www.hog.example";
const GOOD = "www.good.example";
/** 254 fakes, of which 192 are common and 31 are kept for names, 31 for clients. */
const POOL = "198.18.0.0/24";

const lab = shareLab(startServers);

/** Starts dotp for two zones, with an empty table. */
async function startDotp(pool: string, ...more: string[]): Promise<Dotp> {
  await lab().exec("gateway", "nft", "delete table inet dotp");
  await lab().loadRules();
  // A fake that conntrack knows from an earlier test would be quarantined.
  await lab().exec("gateway", "conntrack", "-F");
  const args = ["-H", Address.gateway4, "-4", pool, "-6", FAKE6, "-d", "hog.example"];
  const upstream = ["--upstream-host", Address.upstream4, "-d", "good.example"];
  return await lab().startDotp({ args: [...args, ...upstream, ...more] });
}

/** The upstream's answers: a number in the first label is that of the address. */
function numbered(more: Script = {}): Promise<void> {
  return lab().setScript({
    ...more,
    "*.hog.example *": { numbered: true },
    "*.good.example *": { numbered: true },
  });
}

type Type = "A" | "AAAA";

/** Asks and returns the response code, or the fakes if that is NOERROR. */
async function ask(name: string, type: Type, from: "client" | "gateway" = "client") {
  const { message } = await lab().query(name, type, { edns: 4096, from });
  if (message.rcode !== "NOERROR") return message.rcode;
  const fakes = message.answers.map(({ data }) => String(data));
  assert(fakes.every(isFake), fakes.join());
  return fakes;
}

function realsOf(type: Type): (n: number) => string {
  return type === "A" ? many4 : many6;
}

for (const type of ["A", "AAAA"] as const) {
  Deno.test(`dotp maps none of a reply with very many ${type} records, and goes on`, async () => {
    await using dotp = await startDotp(POOL);
    const reals = Array.from({ length: 200 }, (_, n) => address(HOG, realsOf(type)(1_000 + n)));
    await numbered({ [`${HOG} ${type}`]: answer(...reals) });
    assertEquals(await ask(HOG, type), "SERVFAIL");
    assertEquals((await lab().mappings()).maps.size, 0);
    assert(dotp.log.some((line) => line.includes("too many addresses")), dotp.log.join("\n"));
    const [fake = ""] = await ask(`n7.hog.example`, type);
    assertEquals((await lab().fetch(fake)).at, realsOf(type)(7));
  });
}

Deno.test("dotp keeps fakes for other names and clients, when one zone wants all", async () => {
  await using dotp = await startDotp(POOL);
  // Replies with 64 addresses each, of which the fourth would empty the pool.
  const script = Object.fromEntries(Array.from({ length: 8 }, (_, i) => {
    const name = `many${i}.hog.example`;
    const reals = Array.from({ length: 64 }, (_, n) => many4(1_000 + 64 * i + n));
    return [`${name} A`, answer(...reals.map((real) => address(name, real)))];
  }));
  await numbered(script);
  const outcomes = [];
  for (let i = 0; i < 8; i++) outcomes.push(await ask(`many${i}.hog.example`, "A"));
  const given = outcomes.filter((outcome) => Array.isArray(outcome)).length;
  assertEquals([given, outcomes.at(-1)], [3, "SERVFAIL"]);
  assertEquals((await lab().mappings()).maps.size, 192);
  // Another name for the same client, another client for the same name, and both.
  for (
    const [n, name, from] of [
      [1, "n1.good.example", "client"],
      [2, "n2.hog.example", "gateway"],
      [3, "n3.good.example", "gateway"],
    ] as const
  ) {
    const [fake = ""] = await ask(name, "A", from);
    assertEquals((await lab().fetch(fake)).at, many4(n), name);
  }
  assertEquals(await ask("n4.hog.example", "A"), "SERVFAIL");
  const lines = (part: string) => dotp.log.filter((line) => line.includes(part)).length;
  assertEquals([lines("80 %"), lines("95 %"), lines("kept for other names")], [0, 1, 1]);
});

Deno.test("dotp refuses replies with very many hints, and other names get their fakes meanwhile", async () => {
  await using dotp = await startDotp(FAKE4);
  const hints = concat(...Array.from({ length: 16_000 }, (_, n) => bytesOf(many4(n))));
  const script = Object.fromEntries(Array.from({ length: 8 }, (_, i) => {
    const [name, question] = [`h${i}.hog.example`, { name: `h${i}.hog.example`, type: 65 }];
    const hex = message({ question, answers: [https(name, [[4, hints]])] }).slice(2).toHex();
    return [`${name} UNKNOWN_65`, { hex }];
  }));
  await numbered(script);
  const replies = Array.from(
    { length: 8 },
    (_, i) => lab().query(`h${i}.hog.example`, "UNKNOWN_65"),
  );
  const [fake = ""] = await ask("n7.good.example", "A");
  for (const { message } of await Promise.all(replies)) assertEquals(message.rcode, "SERVFAIL");
  assertEquals(Object.fromEntries((await lab().mappings()).maps), { [fake]: many4(7) });
  assert(dotp.log.some((line) => line.includes("too many addresses")), dotp.log.join("\n"));
});

Deno.test("dotp takes no fake for a reply that is not sent, when one of its hints is damaged", async () => {
  await using _ = await startDotp("198.18.0.0/30");
  const damaged = https(GOOD, [[4, Uint8Array.of(203, 0, 113)]]);
  const question = { name: GOOD, type: 255 };
  const answers = [1, 2].map((n) => a(GOOD, many4(n)));
  const hex = message({ question, answers: [...answers, damaged] }).slice(2).toHex();
  // A damaged one may come before the one that can be read, and is ignored.
  await numbered({ [`${GOOD} *`]: [{ hex }, answer(address(GOOD, many4(3)))] });
  const { message: reply } = await lab().query(GOOD, "ANY");
  assertEquals(reply.rcode, "NOERROR");
  const { maps } = await lab().mappings();
  assertEquals([...maps.values()], [many4(3)]);
  // The pool has two; were one taken, this would fail.
  const [fake = ""] = await ask("n4.good.example", "A");
  assertEquals((await lab().fetch(fake)).at, many4(4));
});

Deno.test("dotp evicts what is idle and nothing that carries traffic, when a pool is full", async () => {
  await using _ = await startDotp("198.18.0.0/30", "--nat-ttl", "8", "--pool-full", "evict");
  await numbered();
  // The older answer is that of the mapping that carries traffic.
  const [busy = ""] = await ask("n1.good.example", "A");
  const [idle] = await ask("n2.good.example", "A");
  const [fake = ""] = await lab().until("an eviction", async () => {
    assertEquals((await lab().fetch(busy)).at, many4(1));
    return await ask("n3.good.example", "A");
  }, (outcome) => Array.isArray(outcome));
  assertEquals(fake, idle);
  assertEquals((await lab().fetch(fake)).at, many4(3));
  assertEquals((await lab().mappings()).maps.get(busy), many4(1));
});

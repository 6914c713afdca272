/**
 * Hostile or broken neighbours: forged replies by the thousand, one client with more queries than
 * there are places, noise as fast as a client can send it. The others are served, and dotp does not
 * grow.
 */

import { assert, assertEquals } from "@std/assert";
import { encodeQuery } from "../lab/dns.ts";
import { Address, type Dotp, isFake, real4, type Reply } from "../lab/lab.ts";
import { address, answer, shareLab, startServers } from "./setup.ts";

const NAME = "www.example.com";
const RIGHT = answer(address(NAME, real4(1)));
const FORGED = answer(address(NAME, real4(66)));
const FLOOD = 100_000;
/** More than one client may have under way, and more than sockets keep for it. */
const GREED = 20_000;
/** What a flood may leave in the heap until it is next collected. */
const GROWTH_MAX = 64 * 1024 * 1024;

const lab = shareLab(startServers);

/** Asks as a resolver does: a datagram may be lost where a socket is flooded, so more than once. */
async function isServed(): Promise<boolean> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const reply = await lab().tryQuery(NAME, "A", { from: "server", timeoutMs: 1_000 });
    const data = reply?.message.answers[0]?.data;
    if (data !== undefined) return isFake(String(data));
  }
  return false;
}

/** Sends datagrams from the client to dotp, waits for none. */
function flood(send: string[]): Promise<unknown> {
  const to = { host: Address.gateway4, port: 53 };
  return lab().client.call("exchange", { to, send, want: 0, timeoutMs: 60_000 });
}

/** Runs a flood and asks from elsewhere until it is over; tells how often that was. */
async function servedDuring(flooding: Promise<unknown>): Promise<number> {
  let isOver = false;
  const over = flooding.finally(() => isOver = true);
  let served = 0;
  do {
    assert(await isServed(), `after ${served} others`);
    served++;
  } while (!isOver);
  await over;
  return served;
}

async function residentOctets(dotp: Dotp): Promise<number> {
  const status = await lab().exec("gateway", "cat", `/proc/${dotp.process.pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}

Deno.test("dotp takes the right reply, when a thousand forged ones come before it", async () => {
  await using _ = await lab().startDotp();
  const kinds: Reply[] = [
    { ...FORGED, wrongId: true },
    { ...FORGED, via: "other port" },
    { ...FORGED, via: "other address" },
    { ...FORGED, question: { name: "b.example.com", type: "A" } },
    { ...FORGED, isQuery: true },
  ];
  const forged = Array.from({ length: 1_000 }, (_, i) => kinds[i % kinds.length]!);
  await lab().setScript({ [`${NAME} A`]: [...forged, { ...RIGHT, delayMs: 200 }] });
  const [fake = ""] = await lab().resolve(NAME, "A");
  assert(isFake(fake));
  const { maps, sets } = await lab().mappings();
  assertEquals([...maps], [[fake, real4(1)]]);
  assertEquals([...sets], [real4(1)]);
});

Deno.test("dotp serves others, when one client asks for more than the upstream answers", async () => {
  await lab().setScript({ [`${NAME} A`]: RIGHT, "*.silent.example.com *": [] });
  await using dotp = await lab().startDotp();
  assert(await isServed());
  const before = await residentOctets(dotp);
  const queries = Array.from(
    { length: GREED },
    (_, n) => encodeQuery(`n${n}.silent.example.com`, "A", { id: n }).toHex(),
  );
  await servedDuring(flood([...queries, ...queries, ...queries, ...queries, ...queries]));
  await dotp.process.line(/too many queries are in flight/);
  assert(await residentOctets(dotp) - before < GROWTH_MAX);
});

Deno.test("dotp serves others, when one client sends nothing but noise", async () => {
  await lab().setScript({ [`${NAME} A`]: RIGHT });
  await using dotp = await lab().startDotp();
  assert(await isServed());
  const before = await residentOctets(dotp);
  const noise = Array.from({ length: FLOOD }, (_, n) => {
    const octets = crypto.getRandomValues(new Uint8Array(n % 80));
    // Every other one looks like a query.
    if (n % 2 === 0 && octets.length > 5) octets.set([0, 0, 0, 1], 2);
    return octets.toHex();
  });
  await servedDuring(flood(noise));
  assert(await residentOctets(dotp) - before < GROWTH_MAX);
});

Deno.test("dotp keeps names out of the log above debug and control characters at all", async () => {
  const [name, args] = ["evil\n2026 error forged.example.com", "-4 198.18.0.0/15 -6 2001:2::/48"];
  await lab().setScript({ "*.example.com A": { ...answer(address(name, real4(1))), cutTo: 60 } });
  for (const level of ["info", "debug"]) {
    const usual = `-H ${Address.gateway4} ${args} --upstream-host ${Address.upstream4}`;
    await using dotp = await lab().startDotp({
      args: [...usual.split(" "), "-d", "example.com", "--log-level", level],
    });
    const { message } = await lab().query(name, "A");
    assertEquals(message.rcode, "SERVFAIL");
    await dotp.process.line(/SERVFAIL/);
    const log = dotp.log.join("\n");
    assertEquals(log.includes("forged"), level === "debug", log);
    assert(dotp.log.every((line) => !line.startsWith("2026 error")), log);
  }
});

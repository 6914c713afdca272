/**
 * The promise in conntrack: where a UDP flow with the same addresses and ports leads, once its fake was
 * reused, after a restart, and when its first packet passed while the table was absent. What arrives
 * where is seen on the server.
 */

import { assert, assertEquals } from "@std/assert";
import { ENGINE } from "../lab/dotp.ts";
import {
  Address,
  type Dotp,
  type DotpOptions,
  FAKE6,
  many4,
  many6,
  type Script,
} from "../lab/lab.ts";
import { ConntrackStub } from "../support/conntrack_stub.ts";
import { NftStub } from "../support/nft_stub.ts";
import { testUnless } from "../support/programs.ts";
import { shareLab, startServers } from "./setup.ts";

const SCRIPT: Script = { "*.many.example.com *": { numbered: true } };
/** The shortest lifetime: a fake may be reused after two of them. */
const SHORT = ["--nat-ttl", "2"];
/** Two fakes. */
const TINY = "198.18.0.0/30";
/** Ports of the flow under test; nothing answers at its end. */
const FROM_PORT = 4444;
const TO_PORT = 9;

/** Notes on the server the addresses that datagrams to the port arrive at. */
const ARRIVALS = `table inet arrivals {
  set reached { type ipv4_addr; flags dynamic; }
  set reached6 { type ipv6_addr; flags dynamic; }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    meta nfproto ipv4 udp dport ${TO_PORT} add @reached { ip daddr }
    meta nfproto ipv6 udp dport ${TO_PORT} add @reached6 { ip6 daddr }
  }
}`;

/** An IP version: its records, its reals, and what its sets have at the end of their names. */
interface Version {
  readonly version: 4 | 6;
  readonly type: "A" | "AAAA";
  readonly real: (n: number) => string;
  readonly client: string;
  readonly end: string;
}

const V4: Version = { version: 4, type: "A", real: many4, client: Address.client4, end: "" };
const V6: Version = { version: 6, type: "AAAA", real: many6, client: Address.client6, end: "6" };

/** A firewall of the gateway, because of which the kernel tracks connections all the time. */
const FIREWALL = `table inet firewall {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established accept
  }
}`;

const lab = shareLab(async (lab) => {
  await startServers(lab);
  await lab.setScript(SCRIPT);
  await lab.gateway.exec(["nft", "-f", "-"], FIREWALL);
  await lab.server.exec(["nft", "-f", "-"], ARRIVALS);
});

let lastNumber = 0;

function next(): number {
  return ++lastNumber;
}

async function ask(n: number, { type }: Version = V4): Promise<{ rcode: string; fake: string }> {
  const { message } = await lab().query(`n${n}.many.example.com`, type, { timeoutMs: 12_000 });
  return { rcode: message.rcode, fake: String(message.answers[0]?.data ?? "") };
}

async function fakeOf(n: number, version: Version = V4): Promise<string> {
  const { rcode, fake } = await ask(n, version);
  assertEquals(rcode, "NOERROR");
  return fake;
}

/** Asks until there is a fake. */
async function fakeInTheEnd(n: number): Promise<string> {
  const { fake } = await lab().until(
    "a fake",
    () => ask(n),
    ({ rcode }) => rcode === "NOERROR",
    20_000,
  );
  return fake;
}

function nft(...commands: string[]): Promise<string> {
  return lab().exec("gateway", "nft", commands.join("; "));
}

/** A table that an earlier test has left nothing in, and a conntrack that knows nothing. */
async function startAnew(): Promise<void> {
  await nft("delete table inet dotp");
  await lab().loadRules();
  await lab().exec("gateway", "conntrack", "-F");
}

function tiny(...more: string[]): DotpOptions {
  const args = ["-H", Address.gateway4, "-4", TINY, "-6", FAKE6, "-d", "example.com"];
  return { args: [...args, "--upstream-host", Address.upstream4, ...SHORT, ...more] };
}

/** Sends a datagram of the flow under test to a fake. */
async function send(fake: string, { client }: Version = V4): Promise<void> {
  await lab().client.call("exchange", {
    to: { host: fake, port: TO_PORT },
    send: ["00"],
    want: 0,
    timeoutMs: 1_000,
    from: { host: client, port: FROM_PORT },
  });
}

/** The addresses that datagrams have arrived at since the last time. */
async function arrivals(): Promise<string[]> {
  const lists = await Promise.all(
    ["reached", "reached6"].map((set) =>
      lab().exec("server", "nft", "-j", "list", "set", "inet", "arrivals", set)
    ),
  );
  await lab().exec(
    "server",
    "nft",
    "flush set inet arrivals reached; flush set inet arrivals reached6",
  );
  return lists.flatMap((list) =>
    list.match(/"elem": \[([^\]]*)\]/)?.[1]?.match(/[0-9a-f.:]{3,}/g) ?? []
  );
}

/** Sends until something arrives, and says where. */
async function arrivesAt(fake: string, version: Version = V4): Promise<string[]> {
  return await lab().until("an arrival", async () => {
    await send(fake, version);
    return await arrivals();
  }, ({ length }) => length > 0);
}

/** Where connections to a fake lead, as conntrack has it. */
async function connectedTo(fake: string): Promise<string[]> {
  const family = fake.includes(":") ? "ipv6" : "ipv4";
  const text = await lab().exec("gateway", "conntrack", "-L", "-f", family, "-d", fake);
  return Array.from(text.matchAll(/ src=\S+ dst=\S+.*? src=(\S+)/g), ([, from = ""]) => from);
}

function isGone(fake: string): Promise<unknown> {
  return lab().mappingsBecome("expiry", ({ maps }) => !maps.has(fake));
}

/** Lets a part of a mapping's life or of a quarantine pass, which nothing tells of. */
async function pass(ms: number): Promise<void> {
  const now = () => Promise.resolve(performance.now());
  const endMs = performance.now() + ms;
  await lab().until(`${ms} ms`, now, (now) => now >= endMs);
}

/** Two names have had the two fakes of a pool, and a flow to each is open. */
async function useUp(): Promise<{ reals: string[]; fakes: string[] }> {
  const numbers = [next(), next()];
  const fakes = [];
  for (const n of numbers) fakes.push(await fakeOf(n));
  for (const [i, fake] of fakes.entries()) {
    assertEquals(await arrivesAt(fake), [many4(numbers[i] ?? 0)]);
  }
  for (const fake of fakes) await isGone(fake);
  return { reals: numbers.map(many4), fakes };
}

/** Asserts that a flow to a fake that was reused arrives at its new real and nowhere else. */
async function assertLeadsTo(fake: string, n: number): Promise<void> {
  assertEquals(await connectedTo(fake), []);
  assertEquals(await arrivesAt(fake), [many4(n)]);
}

/** A test that needs programs in the place of nft or conntrack. */
function testPortable(name: string, test: () => Promise<void>): void {
  testUnless(ENGINE === "direct" ? "the direct engine runs neither" : undefined, name, test);
}

for (const mode of ["hang", "busy", "die"] as const) {
  testPortable(
    `a flow to a reused fake leads to its new real, when nft did "${mode}" amid the batch`,
    async () => {
      await startAnew();
      const directory = await Deno.makeTempDir();
      try {
        const stub = await NftStub.make(directory);
        await stub.set("no -i");
        await using _ = await lab().startDotp({ ...tiny(), env: stub.env });
        await useUp();
        const n = next();
        await lab().until(
          "the end of the quarantine",
          () => ask(n),
          ({ rcode }) => rcode === "NOERROR",
        );
        // One of the two is left; what becomes of the batch is not what dotp is told.
        const other = next();
        await stub.set(mode);
        assertEquals((await ask(other)).rcode, "SERVFAIL");
        await stub.set("no -i");
        await assertLeadsTo(await fakeInTheEnd(other), other);
      } finally {
        await Deno.remove(directory, { recursive: true });
      }
    },
  );
}

for (const mode of ["hang", "lie", "deny"] as const) {
  testPortable(`a fake goes to no other real, as long as conntrack does "${mode}"`, async () => {
    await startAnew();
    await using stub = await ConntrackStub.make();
    await using dotp = await lab().startDotp({ ...tiny(), env: stub.env });
    const { reals, fakes } = await useUp();
    // Before it is found that one of them has no connection.
    await stub.set(mode);
    const numbers = [next(), next()];
    const endMs = performance.now() + 4_000;
    while (performance.now() < endMs) {
      for (const n of numbers) assertEquals((await ask(n)).rcode, "SERVFAIL");
    }
    assertEquals(await Promise.all(fakes.map(connectedTo)), reals.map((real) => [real]));
    assert(dotp.log.some((line) => /Connections|connections/.test(line)), dotp.log.join("\n"));
    await stub.set("pass");
    for (const n of numbers) await assertLeadsTo(await fakeInTheEnd(n), n);
  });
}

testPortable(
  "a fake goes to no other real and a warning says so, when conntrack is not permitted at the start",
  async () => {
    await startAnew();
    await using stub = await ConntrackStub.make("deny");
    await using dotp = await lab().startDotp({ ...tiny(), env: stub.env });
    assert(
      dotp.log.some((line) => /warning.*conntrack: Operation failed/.test(line)),
      dotp.log.join("\n"),
    );
    await useUp();
    await stub.set("pass");
    const endMs = performance.now() + 5_000;
    const n = next();
    while (performance.now() < endMs) assertEquals((await ask(n)).rcode, "SERVFAIL");
  },
);

Deno.test("a fake without a flow is reused before one with a flow, whose flow stays", async () => {
  await startAnew();
  await using _ = await lab().startDotp(tiny());
  const [n, other] = [next(), next()];
  const first = await fakeOf(n);
  // Without a packet, which would make its mapping last longer.
  const ports = ["--sport", `${FROM_PORT}`, "--dport", `${TO_PORT}`, "--timeout", "60"];
  const flow = ["-p", "udp", "-s", Address.client4, "-d", first, "--dst-nat", many4(n), ...ports];
  await lab().exec("gateway", "conntrack", "-I", ...flow);
  await pass(700);
  const second = await fakeOf(other);
  for (const fake of [first, second]) await isGone(fake);
  // Both quarantines are over then, the first one's first.
  await pass(2_500);
  assertEquals(await fakeOf(next()), second);
  assertEquals(await connectedTo(first), [many4(n)]);
  assertEquals(await fakeOf(next()), first);
  assertEquals(await connectedTo(first), []);
});

Deno.test("a fake that had expired before a restart goes to nobody else while it has a flow, and back to its real", async () => {
  await startAnew();
  const before = await lab().startDotp(tiny());
  const { fakes, reals } = await useUp();
  await before.stop("SIGKILL");
  await lab().exec("gateway", "conntrack", "-D", "-d", fakes[1] ?? "");
  await using _ = await lab().startDotp(tiny("--pool-key", "another"));
  // Nobody remembers the other one, but the one with a flow is quarantined.
  assertEquals(await fakeOf(next()), fakes[1]);
  const n = next();
  assertEquals((await ask(n)).rcode, "SERVFAIL");
  assertEquals(await connectedTo(fakes[0] ?? ""), reals.slice(0, 1));
  const first = Number(reals[0]?.split(".").at(-1)) + 256 * Number(reals[0]?.split(".").at(-2));
  assertEquals(await fakeOf(first), fakes[0]);
  assertEquals(await arrivesAt(fakes[0] ?? ""), reals.slice(0, 1));
  // Once it has expired again, another one gets it in the end, and its flow with it.
  await isGone(fakes[0] ?? "");
  await isGone(fakes[1] ?? "");
  await Promise.all([n, next()].map(async (n) => await assertLeadsTo(await fakeInTheEnd(n), n)));
});

/** A flow that leads from a fake to a real, whatever a dotp says; none may be running. */
async function makeFlow(version: Version, fake: string, to: string): Promise<void> {
  const { end } = version;
  await nft(
    `add element inet dotp nat_map${end} { ${fake} : ${to} }`,
    `add element inet dotp nat_addr${end} { ${to} }`,
  );
  assertEquals(await arrivesAt(fake, version), [to]);
  await nft(
    `delete element inet dotp nat_map${end} { ${fake} }`,
    `delete element inet dotp nat_addr${end} { ${to} }`,
  );
  assertEquals(await connectedTo(fake), [to]);
}

for (const version of [V4, V6]) {
  const { real, end } = version;

  Deno.test(`a fake that conntrack knows goes to its real, IPv${version.version}, when another would get it`, async () => {
    await startAnew();
    const [n, other] = [next(), next()];
    const before = await lab().startDotp({ more: SHORT });
    const fake = await fakeOf(n, version);
    await isGone(fake);
    await before.stop();
    await makeFlow(version, fake, real(other));
    await using _ = await lab().startDotp();
    const another = await fakeOf(n, version);
    assert(another !== fake);
    assertEquals(await fakeOf(other, version), fake);
    assertEquals(await arrivesAt(fake, version), [real(other)]);
    assertEquals(await arrivesAt(another, version), [real(n)]);
  });

  Deno.test(`a flow that contradicts a mapping is deleted at the start, IPv${version.version}`, async () => {
    await startAnew();
    const [n, other] = [next(), next()];
    const before = await lab().startDotp();
    const fake = await fakeOf(n, version);
    await before.stop();
    await nft(
      `delete element inet dotp nat_map${end} { ${fake} }`,
      `delete element inet dotp nat_addr${end} { ${real(n)} }`,
    );
    await makeFlow(version, fake, real(other));
    await nft(
      `add element inet dotp nat_map${end} { ${fake} : ${real(n)} }`,
      `add element inet dotp nat_addr${end} { ${real(n)} }`,
    );
    await using _ = await lab().startDotp();
    assertEquals(await connectedTo(fake), []);
    assertEquals(await arrivesAt(fake, version), [real(n)]);
  });

  for (const when of ["dotp is away", "dotp runs"] as const) {
    Deno.test(`a flow whose first packet passed while the table was absent is translated, IPv${version.version}, when ${when}`, async () => {
      await startAnew();
      const n = next();
      let dotp: Dotp | undefined = await lab().startDotp();
      const fake = await fakeOf(n, version);
      if (when === "dotp is away") dotp = void await dotp.stop();
      await nft("delete table inet dotp");
      await send(fake, version);
      assertEquals(await connectedTo(fake), [fake], "it is pinned");
      assertEquals(await arrivals(), [fake]);
      await lab().loadRules();
      if (when === "dotp is away") {
        await nft(
          `add element inet dotp nat_map${end} { ${fake} : ${real(n)} }`,
          `add element inet dotp nat_addr${end} { ${real(n)} }`,
        );
      }
      await using _ = dotp ?? await lab().startDotp();
      await lab().mappingsBecome("the mapping", ({ maps }) => maps.has(fake));
      assertEquals(await arrivesAt(fake, version), [real(n)]);
    });
  }

  Deno.test(`a flow that was never translated is, IPv${version.version}, when its packets go on`, async () => {
    await startAnew();
    await using _ = await lab().startDotp();
    const n = next();
    const fake = await fakeOf(n, version);
    assertEquals(await arrivesAt(fake, version), [real(n)]);
    await lab().exec(
      "gateway",
      "conntrack",
      "-D",
      "-f",
      version.version === 4 ? "ipv4" : "ipv6",
      "-d",
      fake,
    );
    // As if it had begun while the table was absent, which nothing tells of any more.
    const ports = ["--sport", `${FROM_PORT}`, "--dport", `${TO_PORT}`, "--timeout", "60"];
    await lab().exec(
      "gateway",
      "conntrack",
      "-I",
      "-p",
      "udp",
      "-s",
      version.client,
      "-d",
      fake,
      ...ports,
    );
    await send(fake, version);
    assertEquals(await arrivals(), []);
    assertEquals(await arrivesAt(fake, version), [real(n)]);
  });
}

Deno.test("a flow in a conntrack zone does not outlive its fake's real", async () => {
  await startAnew();
  await lab().gateway.exec(
    ["nft", "-f", "-"],
    `table inet zones {
    chain prerouting {
      type filter hook prerouting priority -300; policy accept;
      iifname "lan0" ct original zone set 7
    }
  }`,
  );
  try {
    await using _ = await lab().startDotp(tiny());
    await useUp();
    for (const n of [next(), next()]) await assertLeadsTo(await fakeInTheEnd(n), n);
  } finally {
    await nft("delete table inet zones");
  }
});

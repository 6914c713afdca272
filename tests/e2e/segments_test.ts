/**
 * rules.nft and the packets that are no first packets: what an old connection still sends once its
 * fake leads elsewhere, what lies outside of a window, and what opens a flow in an unusual way. Only
 * what opens a connection is translated anew; what conntrack cannot place is neither answered nor
 * noted.
 */

import { assert, assertEquals } from "@std/assert";
import { ECHO_PORT, real4, real6, type Where } from "../lab/lab.ts";
import { shareLab } from "./setup.ts";

/** How long to listen for an answer that must not come. */
const SILENCE_MS = 600;

interface Version {
  readonly version: 4 | 6;
  readonly fake: string;
  readonly reals: readonly [string, string];
  /** What the version's sets and maps have at the end of their names. */
  readonly end: string;
  /** How nft says the IP header and its protocol. */
  readonly header: string;
  readonly protocol: string;
}

const VERSIONS: readonly Version[] = [
  {
    version: 4,
    fake: "198.18.0.20",
    reals: [real4(1), real4(2)],
    end: "",
    header: "ip",
    protocol: "ip protocol",
  },
  {
    version: 6,
    fake: "2001:2::20",
    reals: [real6(1), real6(2)],
    end: "6",
    header: "ip6",
    protocol: "ip6 nexthdr",
  },
];

/** Counts on the server what comes to the second real, and what opens a connection with ECN. */
const WATCH = `table inet strays {
  counter second { }
  counter with_ecn { }
  counter associations { }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    ip daddr ${real4(2)} counter name second
    ip6 daddr ${real6(2)} counter name second
    tcp flags & (syn | ack | ecn | cwr) == (syn | ecn | cwr) counter name with_ecn
    meta l4proto sctp counter name associations
  }
}`;

/** Chunks of SCTP (RFC 9260 section 3.3): what opens an association, and what an old one may send. */
const INIT = "01000014" + "00000001" + "00010000" + "00010001" + "00000001";
const HEARTBEAT = "04000008" + "00010004";

/** Counts on the client the errors that seem to come from the fakes. */
const ERRORS = `table inet errors {
  counter unreachable4 { }
  counter unreachable6 { }
  chain input {
    type filter hook input priority filter; policy accept;
    ip saddr ${VERSIONS[0]?.fake} icmp code port-unreachable counter name unreachable4
    ip6 saddr ${VERSIONS[1]?.fake} icmpv6 code port-unreachable counter name unreachable6
  }
}`;

const lab = shareLab(async (lab) => {
  await lab.startWebServer();
  await lab.server.exec(["nft", "-f", "-"], WATCH);
  await lab.client.exec(["nft", "-f", "-"], ERRORS);
});

for (const version of VERSIONS) {
  for (const where of ["client", "gateway"] as const) {
    const whose = `an old IPv${version.version} connection of the ${where}`;

    Deno.test(`rules.nft resets ${whose}, when its fake has got another real`, async () => {
      await map(version, 0);
      await using old = await lab().connect(version.fake, where);
      assertEquals(await old.talk("01"), { hex: "01" });
      await map(version, 1);
      const before = await counted("second");
      assertEquals(await old.talk("02"), { error: "ConnectionReset" });
      assertEquals(await counted("second"), before);
      assertEquals(await missed(version), [], "no mapping would help it");
      await using fresh = await lab().connect(version.fake, where);
      assertEquals(await fresh.talk("03"), { hex: "03" });
      assert(await counted("second") > before);
    });

    Deno.test(`rules.nft leads ${whose} nowhere, when conntrack takes no strays up`, async () => {
      const strict = { "net/netfilter/nf_conntrack_tcp_loose": "0" };
      await map(version, 0);
      await using old = await lab().connect(version.fake, where);
      await map(version, 1);
      await whileSet("gateway", strict, async () => {
        const before = await counted("second");
        assertEquals(await old.talk("02", SILENCE_MS), { error: "timeout" });
        assertEquals(await counted("second"), before);
        assertEquals(await missed(version), []);
      });
    });
  }

  Deno.test(`rules.nft leaves an IPv${version.version} connection alone, when a segment of it is out of its window`, async () => {
    await map(version, 0);
    await using connection = await lab().connect(version.fake);
    const sequence = await sequenceOf(version, async () => {
      assertEquals(await connection.talk("01"), { hex: "01" });
    });
    // Only its sequence number is wrong: a reset would have the right one, and count.
    for (const [hex, distance] of [["02", 2 ** 30], ["03", -(2 ** 30)]] as const) {
      const wrong = `tcp sequence set ${(sequence + distance) >>> 0}`;
      await whileMangled(version, wrong, async () => {
        assertEquals(await connection.talk(hex, SILENCE_MS), { error: "timeout" });
      });
      assertEquals(await missed(version), []);
      // The client sends it again.
      assertEquals(await connection.hear(1), { hex });
    }
  });

  Deno.test(`rules.nft takes an IPv${version.version} association of SCTP, when its INIT opens it`, async () => {
    await map(version, 0);
    // Nobody computes the checksum.
    await whileSet("gateway", { "net/netfilter/nf_conntrack_checksum": "0" }, async () => {
      const before = await counted("associations");
      const refused = await prohibited(version);
      await sendChunk(version, HEARTBEAT);
      await lab().until("the refusal", () => prohibited(version), (count) => count > refused);
      assertEquals(await counted("associations"), before);
      await sendChunk(version, INIT);
      await lab().until("the INIT", () => counted("associations"), (count) => count > before);
    });
  });

  Deno.test(`rules.nft leads an IPv${version.version} error back, when a datagram found nobody`, async () => {
    await map(version, 0);
    const before = await unreachable(version);
    await lab().client.exchange({ to: { host: version.fake, port: 9 }, hex: "01", timeoutMs: 50 });
    await lab().until("the error", () => unreachable(version), (count) => count > before);
  });

  Deno.test(`rules.nft translates all of an IPv${version.version} datagram, when it comes in fragments`, async () => {
    await map(version, 0);
    const to = { host: version.fake, port: ECHO_PORT };
    const hex = "a5".repeat(4_000);
    const back = await lab().client.exchange({ to, hex, timeoutMs: 2_000 });
    assertEquals([back?.hex, back?.from], [hex, to]);
    assertEquals(await missed(version), []);
  });

  Deno.test(`rules.nft takes an IPv${version.version} connection, when it is opened with ECN`, async () => {
    await map(version, 0);
    await whileSet("client", { "net/ipv4/tcp_ecn": "1" }, async () => {
      const before = await counted("with_ecn");
      assertEquals((await lab().fetch(version.fake)).at, version.reals[0]);
      assertEquals(await counted("with_ecn"), before + 1);
    });
  });
}

/** Has the fake stand for one of the reals, and forgets the connections of the test before. */
async function map(version: Version, real: 0 | 1): Promise<void> {
  const { fake, reals, end } = version;
  const gateway = lab().gateway;
  await gateway.run(["conntrack", "-D", "-f", `ipv${version.version}`, "-d", fake]);
  await gateway.exec(
    ["nft", "-f", "-"],
    [
      `flush map inet dotp nat_map${end}`,
      `flush set inet dotp nat_addr${end}`,
      `flush set inet dotp nat_missed${end}`,
      `add element inet dotp nat_map${end} { ${fake} : ${reals[real]} }`,
      `add element inet dotp nat_addr${end} { ${reals[real]} }`,
    ].join("\n"),
  );
}

/** The fakes that were noted as missed. */
async function missed({ end }: Version): Promise<string[]> {
  const text = await lab().exec(
    "gateway",
    "nft",
    "list",
    "set",
    "inet",
    "dotp",
    `nat_missed${end}`,
  );
  return [...text.matchAll(/(?<=[{,]\s*)([0-9a-f.:]+) expires/g)].map(([, fake = ""]) => fake);
}

async function counted(counter: "second" | "with_ecn" | "associations"): Promise<number> {
  const text = await lab().exec("server", "nft", "list", "counter", "inet", "strays", counter);
  return Number(/packets (\d+)/.exec(text)?.[1]);
}

/** How many refusals the client has got. */
async function prohibited({ version }: Version): Promise<number> {
  return (await lab().watched("client"))[`prohibited${version}`] ?? 0;
}

/** How many errors the client has got from the fake that a port of it is unreachable. */
async function unreachable({ version }: Version): Promise<number> {
  const text = await lab().exec(
    "client",
    "nft",
    "list",
    "counter",
    "inet",
    "errors",
    `unreachable${version}`,
  );
  return Number(/packets (\d+)/.exec(text)?.[1]);
}

/** Has the client send a chunk of SCTP and waits until the gateway has done with it. */
async function sendChunk({ fake, header, protocol }: Version, chunk: string): Promise<void> {
  // A datagram's length and checksum become the tag, which an INIT has as 0; a checksum follows.
  const rule = `${header} daddr ${fake} udp dport 9 udp length set 0 udp checksum set 0 ` +
    `${protocol} set 132`;
  await whileRuled(rule, async () => {
    await lab().client.exchange({
      to: { host: fake, port: 9 },
      hex: `00000000${chunk}`,
      timeoutMs: 50,
    });
  });
}

/** Does something while settings of the kernel are others. */
async function whileSet(
  where: Where,
  settings: Record<string, string>,
  act: () => Promise<void>,
): Promise<void> {
  const usual: Record<string, string> = {};
  for (const name of Object.keys(settings)) {
    usual[name] = (await lab().exec(where, "sysctl", "-n", name)).trim();
  }
  await lab()[where].call("setSysctls", settings);
  try {
    await act();
  } finally {
    await lab()[where].call("setSysctls", usual);
  }
}

/** The sequence number of the one segment with data that the client sends meanwhile. */
async function sequenceOf(version: Version, act: () => Promise<void>): Promise<number> {
  let seen = "";
  await whileMangled(version, "add @sequences { tcp sequence }", async () => {
    await act();
    seen = await lab().exec("client", "nft", "list", "set", "inet", "mangle", "sequences");
  });
  return Number(/elements = \{ (\d+) \}/.exec(seen)?.[1]);
}

/** Does something while the client's segments with data are changed on their way out. */
function whileMangled(
  { header, fake }: Version,
  statement: string,
  act: () => Promise<void>,
): Promise<void> {
  return whileRuled(`${header} daddr ${fake} tcp flags & psh == psh ${statement}`, act);
}

/** Does something while the client has a rule for what leaves it. */
async function whileRuled(rule: string, act: () => Promise<void>): Promise<void> {
  const table = `table inet mangle {
    set sequences { typeof tcp sequence; flags dynamic; size 16; }
    chain out {
      type filter hook postrouting priority raw; policy accept;
      ${rule}
    }
  }`;
  await lab().client.exec(["nft", "-f", "-"], table);
  try {
    await act();
  } finally {
    await lab().exec("client", "nft", "delete", "table", "inet", "mangle");
  }
}

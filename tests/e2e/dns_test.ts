/**
 * The DNS path as a client and an upstream see it: which queries are sent on and how, which replies
 * count, what is passed untouched, what is cut, and what is answered when nothing comes.
 */

import { assert, assertEquals } from "@std/assert";
import { encodeQuery, encodeReply, Flag } from "../lab/dns.ts";
import { Address, real4, real6, type Reply } from "../lab/lab.ts";
import { decode } from "../support/reader.ts";
import { address, alias, answer, shareLab, startServers } from "./setup.ts";

const FORMERR = 1;
const NOTIMP = 4;

/** A name that is not configured, so that replies about it are the upstream's own. */
const OTHER = "www.example.org";

const lab = shareLab(async (lab) => {
  await startServers(lab);
  await lab.startDotp();
});

Deno.test("dotp sends a query on under another id from a random port, each time", async () => {
  await lab().setScript({ "* A": answer(address(OTHER, real4(1))) });
  const before = lab().server.queries.length;
  const hex = encodeQuery(OTHER, "A", { id: 0x1234 }).toHex();
  const replies = await Promise.all(Array.from({ length: 64 }, () => lab().send(hex)));
  for (const reply of replies) assertEquals(reply?.hex.slice(0, 4), "1234");
  const seen = lab().server.queries.slice(before);
  assertEquals(seen.length, 64);
  assert(new Set(seen.map(({ id }) => id)).size > 60, "ids repeat");
  assert(seen.filter(({ id }) => id === 0x1234).length < 2, "the client's id is used");
  // Each of the 64 takes one of 32 sockets by chance, which gives 28 on average.
  assert(new Set(seen.map(({ from }) => from.port)).size > 16, "there are few ports");
  for (const query of seen) assertEquals(query.hex.slice(4), hex.slice(4));
});

Deno.test("dotp drops what is no query, when it gets it", async () => {
  await lab().setScript({ "* A": answer(address(OTHER, real4(1))) });
  const query = encodeQuery(OTHER, "A", { id: 0x0042 }).toHex();
  const before = lab().server.queries.length;
  const dropped = [
    "",
    "00",
    query.slice(0, 2 * 11),
    encodeQuery(OTHER, "A", { flags: Flag.QR | Flag.RD }).toHex(),
    encodeReply(encodeQuery(OTHER, "A"), answer(address(OTHER, real4(1)))).toHex(),
    encodeQuery(OTHER, "A", { flags: Flag.QR | 2 << 11 }).toHex(),
  ];
  const to = { host: Address.gateway4, port: 53 };
  const send = [...dropped, query];
  const replies = await lab().client.call("exchange", { to, send, want: 2, timeoutMs: 300 });
  assertEquals(replies.map(({ hex }) => hex.slice(0, 4)), ["0042"]);
  assertEquals(lab().server.queries.length, before + 1);
});

/** The parts of a query: header with these counts, then the rest. */
function query(counts: string, rest: string, flags = "0100"): string {
  return `abcd${flags}${counts}${rest}`;
}

const QUESTION = "03777777076578616d706c65036f72670000010001";
const OPT = "0000291000000000000000";
const ONE = "0001000000000000";

for (
  const [what, hex] of [
    ["it has no question", query("0000000000000000", "")],
    ["it has two questions", query("0002000000000000", QUESTION + QUESTION)],
    ["its question is missing", query(ONE, "")],
    ["its question is cut within the name", query(ONE, QUESTION.slice(0, 12))],
    ["its question is cut within the class", query(ONE, QUESTION.slice(0, -2))],
    ["a label is longer than the message", query(ONE, "3f61626300010001")],
    ["a label is of a reserved type", query(ONE, "806100010001")],
    ["its name points to itself", query(ONE, "c00c00010001")],
    ["its name points forwards", query(ONE, "c01000010001000000")],
    ["its name is longer than 255 octets", query(ONE, `${"013f".repeat(128)}0000010001`)],
    ["its OPT is cut", query("0001000000000001", `${QUESTION}000029`)],
    ["a record is announced and missing", query("0001000000000001", QUESTION)],
    [
      "it has two OPTs",
      query("0001000000000002", QUESTION + OPT + OPT),
    ],
  ] as const
) {
  Deno.test(`dotp answers FORMERR, when ${what}`, async () => {
    const before = lab().server.queries.length;
    const reply = await lab().send(hex, { timeoutMs: 1_000 });
    const bytes = Uint8Array.fromHex(reply?.hex ?? "");
    assertEquals(reply?.hex.slice(0, 4), "abcd");
    assertEquals((bytes[3] ?? 0) & 0x0f, FORMERR, reply?.hex);
    assert(bytes.length <= hex.length / 2, "it is longer than the query");
    assertEquals(lab().server.queries.length, before);
  });
}

for (const opcode of [1, 2, 4, 5, 15]) {
  Deno.test(`dotp answers NOTIMP, when the opcode is ${opcode}`, async () => {
    const hex = encodeQuery(OTHER, "A", { flags: opcode << 11, id: 0xabcd }).toHex();
    const reply = Uint8Array.fromHex((await lab().send(hex))?.hex ?? "");
    assertEquals([...reply.subarray(0, 4)], [0xab, 0xcd, 0x80 | opcode << 3, 0x80 | NOTIMP]);
    assert(reply.length <= hex.length / 2);
  });
}

/** Replies about a name that is not configured; they come to the client as they are. */
const UNTOUCHED: [string, string, Reply][] = [
  ["A records", "A", answer(address(OTHER, real4(1)), address(OTHER, real4(2)))],
  ["an AAAA record, AD and AA set", "AAAA", {
    ...answer(address(OTHER, real6(1))),
    flags: Flag.AD | Flag.AA,
  }],
  ["a CNAME chain", "A", answer(alias(OTHER, "a.example.net"), address("a.example.net", real4(1)))],
  ["MX records with addresses of the exchanges", "MX", {
    answers: [{ name: OTHER, type: "MX", data: { preference: 10, exchange: "mx.example.org" } }],
    additionals: [address("mx.example.org", real4(1)), address("mx.example.org", real6(1))],
    opt: true,
  }],
  ["TXT records", "TXT", { answers: [{ name: OTHER, type: "TXT", data: ["v=spf1 -all"] }] }],
  ["names without compression", "A", { ...answer(address(OTHER, real4(1))), uncompressed: true }],
  ["octets after the last record", "A", { ...answer(address(OTHER, real4(1))), extraHex: "dead" }],
  ["fewer octets than records", "A", { ...answer(address(OTHER, real4(1))), cutTo: 40 }],
  ["no name", "A", { rcode: 3, authorities: [SOA()] }],
  ["SERVFAIL", "A", { rcode: 2 }],
  ["an upstream's own TC", "A", { ...answer(address(OTHER, real4(1))), flags: Flag.TC }],
];

for (const [what, type, reply] of UNTOUCHED) {
  Deno.test(`dotp passes a reply byte for byte, when it holds ${what}`, async () => {
    await lab().setScript({ [`${OTHER} *`]: reply });
    const got = await lab().send(encodeQuery(OTHER, type, { edns: 4096, id: 0x0777 }).toHex());
    const seen = lab().server.queries.at(-1);
    const sent = encodeReply(Uint8Array.fromHex(seen?.hex ?? ""), reply).toHex();
    assertEquals(got?.hex, `0777${sent.slice(4)}`);
  });
}

const RIGHT = answer(address(OTHER, real4(1)));
const FORGED = answer(address(OTHER, real4(66)));

for (
  const [what, reply] of [
    ["has another id", { ...FORGED, wrongId: true }],
    ["comes from another port", { ...FORGED, via: "other port" }],
    ["comes from another address", { ...FORGED, via: "other address" }],
    ["is a query", { ...FORGED, isQuery: true }],
    ["has another opcode", { ...FORGED, opcode: 4 }],
    ["has another name in its question", { ...FORGED, question: { name: "b.org", type: "A" } }],
    ["has another type in its question", { ...FORGED, question: { name: OTHER, type: "AAAA" } }],
    ["has no question", { hex: "81800000000000000000" }],
    ["is empty", { cutTo: 0 }],
    ["is shorter than a header", { cutTo: 11 }],
    ["is nothing but a header", { ...FORGED, cutTo: 12 }],
    ["is garbage", { hex: "ff".repeat(40) }],
  ] as [string, Reply][]
) {
  Deno.test(`dotp goes on waiting, when a reply ${what}`, async () => {
    await lab().setScript({ [`${OTHER} A`]: [reply, { ...RIGHT, delayMs: 20 }] });
    const to = { host: Address.gateway4, port: 53 };
    const send = [encodeQuery(OTHER, "A").toHex()];
    const replies = await lab().client.call("exchange", { to, send, want: 2, timeoutMs: 200 });
    const addresses = replies.map(({ hex }) => decode(Uint8Array.fromHex(hex)).answers[0]?.data);
    assertEquals(addresses, [real4(1)]);
  });
}

Deno.test("dotp goes on waiting, when a reply about a configured name is cut short", async () => {
  const name = "damaged.example.com";
  for (
    const [type, good, bad, length] of [
      ["A", real4(1), real4(66), 53],
      ["AAAA", real6(1), real6(66), 65],
    ] as const
  ) {
    for (const cutTo of [length - 1, length - 3, 37]) {
      await lab().setScript({
        [`${name} ${type}`]: [
          { ...answer(address(name, bad)), cutTo },
          { ...answer(address(name, good)), delayMs: 20 },
        ],
      });
      const { message } = await lab().query(name, type);
      assertEquals([message.rcode, message.answers.length], ["NOERROR", 1], `${type} ${cutTo}`);
      const { maps } = await lab().mappings();
      assertEquals(maps.get(String(message.answers[0]?.data)), good);
      assert(![...maps.values()].includes(bad), "what was damaged has a fake");
    }
  }
});

Deno.test("dotp removes the OPT that the upstream adds, when the client sent none", async () => {
  const reply = { ...answer(address(OTHER, real4(1))), opt: true };
  await lab().setScript({ [`${OTHER} A`]: reply });
  const asked = encodeQuery(OTHER, "A", { id: 0x0777 });
  const got = await lab().send(asked.toHex());
  assertEquals(got?.hex, encodeReply(asked, { ...reply, opt: false }).toHex());
});

Deno.test("dotp sets no TC, when only octets behind the last record do not fit", async () => {
  const reply = answer(address(OTHER, real4(1)));
  await lab().setScript({ [`${OTHER} A`]: { ...reply, extraHex: "ad".repeat(500) } });
  const asked = encodeQuery(OTHER, "A", { id: 0x0777 });
  assertEquals((await lab().send(asked.toHex()))?.hex, encodeReply(asked, reply).toHex());
});

Deno.test("dotp answers each client once, when the upstream answers twice", async () => {
  await lab().setScript({ [`${OTHER} A`]: [RIGHT, FORGED] });
  const to = { host: Address.gateway4, port: 53 };
  const send = [encodeQuery(OTHER, "A").toHex()];
  const replies = await lab().client.call("exchange", { to, send, want: 2, timeoutMs: 200 });
  assertEquals(replies.length, 1);
});

Deno.test("dotp answers SERVFAIL after 5 seconds and nothing later, without a reply", async () => {
  await lab().setScript({
    "silent.example.org *": [],
    "late.example.org *": { ...answer(address("late.example.org", real4(1))), delayMs: 5_300 },
    "forged.example.com *": { ...answer(address("forged.example.com", real4(1))), wrongId: true },
  });
  const to = { host: Address.gateway4, port: 53 };
  await Promise.all(["silent.example.org", "late.example.org", "forged.example.com"].map(
    async (name) => {
      const send = [encodeQuery(name, "A", { id: 0x5e57, edns: 1232 }).toHex()];
      const replies = await lab().client.call("exchange", { to, send, want: 2, timeoutMs: 5_900 });
      assertEquals(replies.length, 1, name);
      const [{ hex, ms } = { hex: "", ms: 0 }] = replies;
      const { id, rcode, questions, flag_ra } = decode(Uint8Array.fromHex(hex));
      assertEquals([id, rcode, flag_ra], [0x5e57, "SERVFAIL", true]);
      assertEquals(questions.map((question) => question.name), [name]);
      assert(hex.length <= (send[0] ?? "").length, "it is longer than the query");
      assert(4_900 < ms && ms < 5_600, `${ms} ms`);
    },
  ));
});

Deno.test("dotp answers all, when many queries are under way", async () => {
  await lab().setScript({ "*.many.example.org A": { numbered: true, delayMs: 300 } });
  const names = Array.from({ length: 200 }, (_, n) => `n${n}.many.example.org`);
  const replies = await Promise.all(names.map((name) => lab().query(name, "A")));
  for (const [n, { message: { answers } }] of replies.entries()) {
    assertEquals(answers.map(({ name, data }) => [name, data]), [[
      names[n],
      `10.200.${n >> 8}.${n & 0xff}`,
    ]]);
  }
});

/** A reply of about 1,000 octets. */
function large(name: string): Reply {
  const texts = Array.from({ length: 4 }, (_, n) => String(n).repeat(220));
  return { answers: texts.map((text) => ({ name, type: "TXT", data: [text] })), opt: true };
}

for (
  const [what, edns, length, answers] of [
    ["the client sent no OPT", undefined, 512, 2],
    ["the client takes 512 octets", 512, 512, 2],
    ["the client states a size below 512", 100, 512, 2],
    ["the client takes 800 octets", 800, 800, 3],
    ["the client takes all of it", 4096, 4096, 4],
  ] as const
) {
  Deno.test(`dotp cuts at a record boundary and sets TC, when ${what}`, async () => {
    await lab().setScript({ [`${OTHER} TXT`]: large(OTHER) });
    const { message, hex } = await lab().query(OTHER, "TXT", edns === undefined ? {} : { edns });
    assert(hex.length / 2 <= length, `${hex.length / 2} octets`);
    assertEquals([message.answers.length, message.flag_tc], [answers, answers < 4]);
    assertEquals(message.questions.length, 1);
  });
}

Deno.test("dotp cuts a rewritten reply too, when it is too long", async () => {
  const name = "large.example.com";
  const records = Array.from({ length: 60 }, (_, n) => address(name, real4(n + 1)));
  await lab().setScript({ [`${name} A`]: answer(...records) });
  const { message, hex } = await lab().query(name, "A");
  assert(message.flag_tc && hex.length / 2 <= 512);
  assertEquals(message.answers.length, Math.floor((512 - 12 - 23) / 16));
  const whole = await lab().query(name, "A", { edns: 1232 });
  assertEquals([whole.message.answers.length, whole.message.flag_tc], [60, false]);
});

function SOA() {
  const data = { mname: "ns.example.org", rname: "root.example.org", serial: 1 };
  const times = { refresh: 1, retry: 1, expire: 1, minimum: 60 };
  return { name: "example.org", type: "SOA", data: { ...data, ...times } };
}

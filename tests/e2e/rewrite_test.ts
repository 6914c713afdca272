/**
 * Which records of a reply are rewritten and what of them, as a client sees it. One dotp with the
 * usual lifetime of mappings serves all tests.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { encodeQuery, encodeReply, Flag } from "../lab/dns.ts";
import { real4, real6, type Reply, type ResourceRecord } from "../lab/lab.ts";
import { a, aaaa, https, message } from "../support/packet.ts";
import { address, alias, answer, shareLab, startServers } from "./setup.ts";

const FAKE_1 = `fake of ${real4(1)}`;
const HOST = "host.example.net";
const NAME = "www.example.com";

const lab = shareLab(async (lab) => {
  await startServers(lab);
  await lab.startDotp();
});

/** Asks and returns the reply's records with "fake of" and the real in place of fakes. */
async function rewritten(name: string, type: string, reply: Reply) {
  await lab().setScript({ "* *": reply });
  const { message } = await lab().query(name, type, { edns: 4096 });
  const { maps, sets } = await lab().mappings();
  const records = [...message.answers, ...message.authorities, ...message.additionals];
  const data = records.filter((record) => ["A", "AAAA", "CNAME"].includes(record.type)).map(
    ({ data }) => {
      const real = maps.get(String(data));
      assert(real === undefined || sets.has(real), `${real} is in the map and not in the set`);
      return real === undefined ? String(data) : `fake of ${real}`;
    },
  );
  return { data, message };
}

for (
  const [what, name, records, expected] of [
    ["the name itself is configured", "example.com", [address("example.com", real4(1))], [FAKE_1]],
    ["a name is below", "a.b.example.com", [address("a.b.example.com", real4(1))], [FAKE_1]],
    ["it is in capitals", "WWW.eXAMPLE.COM", [address("wWw.Example.com", real4(1))], [FAKE_1]],
    ["it only ends alike", "notexample.com", [address("notexample.com", real4(1))], [real4(1)]],
    ["it only starts alike", "example.com.org", [address("example.com.org", real4(1))], [real4(1)]],
    ["it is above", "com", [address("com", real4(1))], [real4(1)]],
    ["there are two addresses", NAME, [address(NAME, real4(1)), address(NAME, real4(2))], [
      FAKE_1,
      `fake of ${real4(2)}`,
    ]],
    ["it is an alias", NAME, [alias(NAME, HOST), address(HOST, real4(1))], [HOST, FAKE_1]],
    ["the address stands first", NAME, [address(HOST, real4(1)), alias(NAME, HOST)], [
      FAKE_1,
      HOST,
    ]],
    [
      "the target's case differs",
      NAME,
      [alias(NAME, HOST), address("HOST.example.NET", real4(1))],
      [
        HOST,
        FAKE_1,
      ],
    ],
    [
      "a chain is upside down",
      NAME,
      [address("c.net", real4(1)), alias("b.net", "c.net"), alias(NAME, "b.net")],
      [FAKE_1, "c.net", "b.net"],
    ],
    ["an alias leads here", "www.example.org", [
      alias("www.example.org", NAME),
      address(NAME, real4(1)),
    ], [NAME, FAKE_1]],
    ["aliases go round", NAME, [alias(NAME, HOST), alias(HOST, NAME), address(HOST, real4(1))], [
      HOST,
      NAME,
      FAKE_1,
    ]],
    ["a record is nobody's business", NAME, [
      address(NAME, real4(1)),
      address("other.example.net", real4(9)),
    ], [FAKE_1, real4(9)]],
    ["the class is not IN", NAME, [{ ...address(NAME, real4(1)), class: "CH" }], [real4(1)]],
    ["there is IPv6", NAME, [address(NAME, real6(1))], [`fake of ${real6(1)}`]],
  ] as [string, string, ResourceRecord[], string[]][]
) {
  Deno.test(`dotp rewrites what it should and nothing else, when ${what}`, async () => {
    for (const uncompressed of [false, true]) {
      const { data } = await rewritten(name, "A", { answers: records, uncompressed });
      assertEquals(data, expected);
    }
  });
}

Deno.test("dotp rewrites addresses of configured names, when they are additional", async () => {
  const { data } = await rewritten("example.com", "MX", {
    answers: [{ name: "example.com", type: "MX", data: { preference: 1, exchange: NAME } }],
    additionals: [address(NAME, real4(1)), address(NAME, real6(1)), address(HOST, real4(2))],
  });
  assertEquals(data, [FAKE_1, `fake of ${real6(1)}`, real4(2)]);
});

for (
  const [what, lead] of [
    ["an MX record", { type: "MX", data: { preference: 1, exchange: HOST } }],
    ["an SRV record", { type: "SRV", data: { priority: 1, weight: 1, port: 80, target: HOST } }],
    ["an NS record", { type: "NS", data: HOST }],
  ] as const
) {
  Deno.test(`dotp rewrites the addresses of a target, when ${what} of a configured name is the answer`, async () => {
    const records = [{ name: NAME, ...lead }];
    const additionals = [
      address(HOST, real4(1)),
      address("HOST.example.net", real6(1)),
      address("other.example.net", real4(2)),
    ];
    for (const uncompressed of [false, true]) {
      const reply = { additionals, uncompressed };
      const { data } = await rewritten(NAME, lead.type, { ...reply, answers: records });
      assertEquals(data, [FAKE_1, `fake of ${real6(1)}`, real4(2)]);
      const { data: others } = await rewritten(NAME, "TXT", { ...reply, authorities: records });
      assertEquals(others, [real4(1), real6(1), real4(2)]);
    }
  });
}

for (const [mode, priority] of [["an alias", 0], ["a service", 1]] as const) {
  for (const [kind, type] of [["SVCB", 64], ["HTTPS", 65]] as const) {
    Deno.test(`dotp rewrites the addresses of a target, when an ${kind} record is ${mode}`, async () => {
      const hex = message({
        question: { name: NAME, type },
        answers: [https(NAME, [], { type, priority, target: HOST })],
        additionals: [
          a(HOST, real4(1)),
          aaaa(HOST, real6(1)),
          a("other.example.net", real4(2)),
        ],
      }).slice(2).toHex();
      const { data } = await rewritten(NAME, `UNKNOWN_${type}`, { hex });
      assertEquals(data, [FAKE_1, `fake of ${real6(1)}`, real4(2)]);
    });
  }
}

Deno.test("dotp ignores a reply, when an address of a configured name has another length", async () => {
  for (
    const [type, record] of [["A", a(NAME, real4(201))], ["AAAA", aaaa(NAME, real6(201))]] as const
  ) {
    const octets = record.rdata as Uint8Array;
    for (const rdata of [octets.slice(1), Uint8Array.of(...octets, 0)]) {
      const question = { name: NAME, type: record.type };
      const good = type === "A" ? real4(1) : real6(1);
      const hex = message({ question, answers: [{ ...record, rdata }] }).slice(2).toHex();
      await lab().setScript({ "* *": [{ hex }, answer(address(NAME, good))] });
      const [fake = ""] = await lab().resolve(NAME, type);
      const { maps } = await lab().mappings();
      assertEquals(maps.get(fake), good, `${type} of ${rdata.length} octets`);
    }
  }
});

Deno.test("dotp leaves an address alone, when it cannot be anyone's real one", async () => {
  const odd4 = [
    "0.0.0.0",
    "127.0.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "169.254.169.254",
    "198.18.7.7",
  ];
  const odd6 = ["::", "::1", "ff02::1", "fe80::1", "2001:2::7"];
  const records = [...odd4, ...odd6].map((data) => address(NAME, data));
  const { data } = await rewritten(NAME, "A", answer(...records));
  assertEquals(data, [...odd4, ...odd6]);
});

Deno.test("dotp caps TTLs and clears AD, when it rewrites, and leaves all else", async () => {
  await lab().setScript({
    "* *": {
      answers: [0, 1, 59, 60, 61, 300, 0x7fffffff, 0x80000000].map((ttl, n) =>
        address(NAME, real4(n + 1), ttl)
      ),
      additionals: [address(HOST, real4(100), 86_400)],
      flags: Flag.AD | Flag.AA,
      extraHex: "feedface",
    },
  });
  const { message, hex } = await lab().query(NAME, "A");
  assertEquals(message.answers.map(({ ttl }) => ttl), [0, 1, 59, 60, 60, 60, 60, 0]);
  assertEquals(message.additionals.map(({ ttl }) => ttl), [86_400]);
  assertEquals([message.flag_ad, message.flag_aa, message.flag_ra], [false, true, true]);
  assert(hex.endsWith("feedface"));
});

Deno.test("dotp changes no octet but addresses, TTLs and AD, when it rewrites", async () => {
  const reply: Reply = { answers: [alias(NAME, HOST), address(HOST, real4(1), 300)], opt: true };
  await lab().setScript({ "* *": reply });
  const { message, hex } = await lab().query(NAME, "A", { edns: 1232, id: 0x7777 });
  const fake = String(message.answers[1]?.data);
  const same = { ...reply, answers: [alias(NAME, HOST), address(HOST, fake, 60)] };
  const expected = encodeReply(encodeQuery(NAME, "A", { id: 0x7777 }), same).toHex();
  assertEquals(hex, expected);
});

Deno.test("dotp passes a reply and allocates nothing, when its RCODE is an error", async () => {
  for (const rcode of [2, 3, 5]) {
    const before = (await lab().mappings()).maps.size;
    const { data, message } = await rewritten(NAME, "A", {
      rcode,
      answers: [alias(NAME, HOST), address(HOST, real4(150 + rcode))],
    });
    assertEquals(data, [HOST, real4(150 + rcode)]);
    assertNotEquals(message.rcode, "NOERROR");
    assertEquals((await lab().mappings()).maps.size, before);
  }
});

Deno.test("dotp answers SERVFAIL at the deadline, when no reply about our name can be read", async () => {
  const cuts = { "a.example.com": 40, "b.example.com": 45, "c.example.com": 46 };
  const script = Object.entries(cuts).map(([name, cutTo]) => {
    return [`${name} A`, { ...answer(address(name, real4(200))), cutTo }] as const;
  });
  await lab().setScript(Object.fromEntries(script));
  const replies = await Promise.all(Object.keys(cuts).map((name) => lab().query(name, "A")));
  for (const { message, ms } of replies) {
    assertEquals([message.rcode, message.answers], ["SERVFAIL", []]);
    assert(ms > 4_900, `${ms} ms`);
  }
  assert(![...(await lab().mappings()).maps.values()].includes(real4(200)));
});

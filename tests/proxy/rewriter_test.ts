/**
 * Rewriting: golden replies octet by octet, replies that are built a second time with fakes in them,
 * damage at every octet, and the limits. No reply is ever rewritten in part.
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { NAME_LENGTH_MAX } from "../../lib/dns/constants.ts";
import { STEPS_PER_MESSAGE_MAX } from "../../lib/dns/name.ts";
import { CHAIN_COMPARISONS_MAX } from "../../lib/proxy/rewriter.ts";
import { hex, readFixture } from "../support/hex.ts";
import { ADDRESSES_PER_REPLY_MAX } from "../../lib/nat/reply_addresses.ts";
import { adopt, bytesOf, obtain, realAddress } from "../support/nat.ts";
import {
  a,
  aaaa,
  cname,
  concat,
  https,
  leading,
  message,
  type MessageSpec,
  opt,
  pointer,
  type RecordSpec,
  REPLY_FLAGS,
  txt,
} from "../support/packet.ts";
import { holds } from "../support/property.ts";
import { decode, encode, lines } from "../support/reader.ts";
import { FAKES, makeRewriting, TTL_MAX } from "../support/rewriting.ts";

const NAME = "www.example.com";
const AD = 0x0020;
/** Header, `www.example.com`, QTYPE and QCLASS. */
const QUESTION_END = 12 + 17 + 4;

/** Asserts that a reply becomes another, or passes where there is no other. */
function assertRewrites(from: MessageSpec, to: MessageSpec | "same", what?: string): void {
  const { outcome, bytes } = makeRewriting().rewrite(message(from));
  assertEquals(bytes, message(to === "same" ? from : to), what);
  assertEquals(outcome, to === "same" ? "passed" : "rewritten", what);
}

/** Asserts that nothing of a reply is changed, and why. */
function assertRefuses(
  bytes: Uint8Array,
  why: "malformed" | "passed",
  what?: string,
): void {
  const result = makeRewriting().rewrite(bytes);
  assertEquals(result.outcome, why, what);
  assertEquals(result.bytes, bytes, what);
}

/** An A or AAAA record, whichever the address asks for. */
function address(owner: string, text: string, ttl: number): RecordSpec {
  return text.includes(":") ? aaaa(owner, text, ttl) : a(owner, text, ttl);
}

const GOLDEN = [
  ...["a", "aaaa", "chain", "sections", "https", "targets", "oddities", "unmatched", "nxdomain"],
];

for (const name of GOLDEN) {
  const fixture = readFixture(`${name}.hex`);
  const reply = hex(fixture.get("reply") ?? "");
  const rewritten = fixture.get("rewritten");
  // Behind the root of the question's name stand QTYPE and QCLASS.
  const questionEnd = reply.indexOf(0, 12) + 1 + 4;

  Deno.test(`Rewriter.rewrite() makes the exact octets of ${name}.hex, when it gets its reply`, () => {
    const { outcome, bytes } = makeRewriting().rewrite(reply);
    assertEquals(bytes, rewritten === undefined ? reply : hex(rewritten));
    assertEquals(outcome, rewritten === undefined ? "passed" : "rewritten");
  });

  Deno.test(`Rewriter.rewrite() passes or refuses ${name}.hex whole, when it is cut anywhere`, () => {
    for (let length = 12; length < reply.length; length++) {
      // What cannot be asked for ours is passed: its question is not whole.
      const isOurs = rewritten !== undefined && length >= questionEnd;
      assertRefuses(reply.slice(0, length), isOurs ? "malformed" : "passed", `${length}`);
    }
  });

  const expected = fixture.get("read")?.trim().split("\n");
  if (expected !== undefined) {
    Deno.test(`Rewriter.rewrite() leaves what another parser reads, when it gets ${name}.hex`, () => {
      const read = decode(makeRewriting().rewrite(reply).bytes);
      const { answers = [], authorities = [], additionals = [] } = read;
      const records = [...answers, ...authorities, ...additionals];
      assertEquals(lines(records.filter(({ type }) => type !== "OPT")), expected);
      assertEquals([read.flag_ad, read.rcode], [false, "NOERROR"]);
    });
  }
}

Deno.test("Rewriter.rewrite() gives a message with fakes, when another library wrote both", () => {
  const build = (addresses: readonly string[], ttls: readonly number[], flags: number) =>
    encode({
      type: "response",
      id: 1,
      flags,
      questions: [{ name: NAME, type: "A" }],
      answers: [
        { name: NAME, type: "CNAME", ttl: 900, data: "cdn.example.net" },
        { name: "cdn.example.net", type: "A", ttl: ttls[0]!, data: addresses[0] },
        { name: "other.example.net", type: "A", ttl: 900, data: "192.0.2.4" },
        { name: "cdn.example.net", type: "AAAA", ttl: ttls[1]!, data: addresses[1] },
        { name: NAME, type: "TXT", ttl: 900, data: "192.0.2.1" },
      ],
      additionals: [{ name: ".", type: "OPT", udpPayloadSize: 1232, flags: 0 }],
    });
  const before = build(["192.0.2.1", "2001:db8::1"], [900, 30], AD);
  const after = build(["198.18.0.1", "2001:2::1"], [TTL_MAX, 30], 0);
  assertEquals(makeRewriting().rewrite(before), { outcome: "rewritten", bytes: after });
});

/** Types whose RDATA ends in a name that leads on, if the record is an answer. */
const NS = 2;
const CNAME = 5;
const MX = 15;
const SRV = 33;
const HTTPS = 65;

/** Names that a random reply is about; the first three are ours. */
const NAMES = [
  "www.example.com",
  "example.com",
  "a.b.eXample.com",
  "notexample.com",
  "cdn.net",
  "x.cdn.net",
  "com",
  "",
];
const REALS = Object.keys(FAKES);

const RECORD: fc.Arbitrary<RecordSpec> = fc.record({
  owner: fc.constantFrom(...NAMES),
  what: fc.constantFrom(
    "A",
    "A",
    "AAAA",
    "AAAA",
    "CNAME",
    "CNAME",
    "TXT",
    "NS",
    "MX",
    "SRV",
    "HTTPS",
  ),
  real: fc.nat(3),
  target: fc.constantFrom(...NAMES),
  ttl: fc.constantFrom(0, 1, TTL_MAX - 1, TTL_MAX, TTL_MAX + 1, 86_400, 0x80000000),
  class: fc.constantFrom(1, 1, 1, 3),
}).map(({ owner, what, real, target, ttl, class: klass }) => {
  const record = what === "A"
    ? a(owner, REALS[real]!, ttl)
    : what === "AAAA"
    ? aaaa(owner, REALS[4 + real]!, ttl)
    : what === "CNAME"
    ? cname(owner, target, ttl)
    : what === "NS"
    ? leading(owner, NS, [], target)
    : what === "MX"
    ? leading(owner, MX, [0, real], target)
    : what === "SRV"
    ? leading(owner, SRV, [0, real, 0, 0, 1, 187], target)
    : what === "HTTPS"
    ? leading(owner, HTTPS, [0, real], target)
    : txt(owner, 4);
  return { ...record, class: klass };
});

/** The owners that belong to `example.com`, and what they lead to: said plainly. */
function ownersOfOurs(answers: readonly RecordSpec[], others: readonly RecordSpec[]): Set<string> {
  const isLeading = ({ type }: RecordSpec) => type === CNAME || type === HTTPS;
  const records = [...answers, ...others.filter(isLeading)];
  const lower = (name: unknown) => String(name).toLowerCase();
  const ours = new Set(NAMES.map(lower).filter((name) => /(^|\.)example\.com$/.test(name)));
  for (let size = -1; size !== ours.size;) {
    size = ours.size;
    for (const { type, class: klass, owner, rdata } of records) {
      if (klass !== 1 || !ours.has(lower(owner)) || !("name" in rdata)) continue;
      // A root target is the owner itself, or says that there is nothing.
      if (rdata.name !== "" || type === CNAME) ours.add(lower(rdata.name));
    }
  }
  return ours;
}

/** The same record with a fake in it, where it is an address of ours. */
function withFake(record: RecordSpec, ours: ReadonlySet<string>): RecordSpec {
  const { owner, type, class: klass, ttl = 0, rdata } = record;
  const isAddress = (type === 1 || type === 28) && klass === 1;
  if (!isAddress || !ours.has(String(owner).toLowerCase()) || "name" in rdata) return record;
  const real = REALS.find((real) => String(bytesOf(real)) === String(rdata)) ?? "";
  const counted = ttl >= 0x80000000 ? 0 : Math.min(ttl, TTL_MAX);
  return { ...record, ttl: counted, rdata: bytesOf(FAKES[real] ?? "") };
}

Deno.test("Rewriter.rewrite() gives a message with fakes, when records are random", () => {
  const section = fc.array(RECORD, { maxLength: 6 });
  holds(
    "Rewriter of random records",
    fc.property(
      section,
      section,
      section,
      fc.boolean(),
      (answers, authorities, additionals, compress) => {
        const ours = ownersOfOurs(answers, [...authorities, ...additionals]);
        const fakes = (records: RecordSpec[]) => records.map((record) => withFake(record, ours));
        const flags = REPLY_FLAGS | AD;
        const before = message({ flags, compress, answers, authorities, additionals });
        const spec = {
          compress,
          answers: fakes(answers),
          authorities: fakes(authorities),
          additionals: fakes(additionals),
        };
        const isOurs = String(message({ ...spec, flags })) !== String(before);
        const hasAddress = [...answers, ...authorities, ...additionals].some((record) =>
          withFake(record, ours) !== record
        );
        const { outcome, bytes } = makeRewriting().rewrite(before);
        assertEquals(outcome, hasAddress ? "rewritten" : "passed");
        assertEquals(bytes, hasAddress ? message({ ...spec, flags: REPLY_FLAGS }) : before);
        assert(!isOurs || hasAddress);
      },
    ),
    500,
  );
});

Deno.test("Rewriter.rewrite() follows a chain, when its records stand in any order", () => {
  const chain = [
    cname(NAME, "one.test"),
    cname("one.test", "two.test"),
    cname("two.test", "three.test"),
    a("three.test", "192.0.2.1"),
    a("four.test", "192.0.2.2"),
  ];
  const fakes = chain.with(3, a("three.test", "198.18.0.1", TTL_MAX));
  for (const order of permutations([0, 1, 2, 3, 4])) {
    for (const compress of [true, false]) {
      const inOrder = (records: readonly RecordSpec[]) => order.map((i) => records[i]!);
      const after = { answers: inOrder(fakes), compress };
      assertRewrites({ answers: inOrder(chain), compress }, after, order.join());
    }
  }
});

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, i) =>
    permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest])
  );
}

Deno.test("Rewriter.rewrite() ends, when CNAMEs go in a circle", () => {
  const circle = [cname(NAME, "a.test"), cname("a.test", "b.test"), cname("b.test", "a.test")];
  assertRewrites({ answers: circle }, "same");
  assertRewrites(
    { answers: [...circle, a("b.test", "192.0.2.1")] },
    { answers: [...circle, a("b.test", "198.18.0.1", TTL_MAX)] },
  );
  assertRewrites({ answers: [cname(NAME, NAME)] }, "same");
});

Deno.test("Rewriter.rewrite() does not follow a CNAME backwards, when only its target is ours", () => {
  assertRewrites(
    { answers: [cname("a.test", NAME), a("a.test", "192.0.2.2"), a(NAME, "192.0.2.1")] },
    { answers: [cname("a.test", NAME), a("a.test", "192.0.2.2"), a(NAME, "198.18.0.1", TTL_MAX)] },
  );
});

Deno.test("Rewriter.rewrite() follows the target of an SVCB or HTTPS record, in either mode", () => {
  for (const type of [64, 65]) {
    for (const priority of [0, 1]) {
      const record = https(NAME, [], { type, priority, target: "svc.example.net" });
      const others = [a("other.example.net", "192.0.2.3"), aaaa(NAME, "2001:db8::3", 0)];
      const reply = (four: string, six: string, ttl: number) => ({
        answers: [record],
        additionals: [
          cname("svc.example.net", "cdn.test"),
          a("svc.example.net", four, ttl),
          aaaa("cdn.test", six, ttl),
          others[0]!,
        ],
      });
      assertRewrites(
        reply("192.0.2.1", "2001:db8::1", 900),
        reply("198.18.0.1", "2001:2::1", TTL_MAX),
        `${type} ${priority}`,
      );
    }
  }
});

Deno.test("Rewriter.rewrite() follows aliases of aliases, when they are SVCB records in any order", () => {
  const chain = [
    https(NAME, [], { priority: 0, target: "one.test" }),
    https("one.test", [[4, HINT4]], { target: "two.test" }),
    a("two.test", "192.0.2.2"),
  ];
  const fakes = [
    chain[0]!,
    { ...https("one.test", [[4, bytesOf("198.18.0.1")]], { target: "two.test" }), ttl: TTL_MAX },
    a("two.test", "198.18.0.2", TTL_MAX),
  ];
  for (const order of permutations([0, 1, 2])) {
    const inOrder = (records: readonly RecordSpec[]) => order.map((i) => records[i]!);
    assertRewrites({ additionals: inOrder(chain) }, { additionals: inOrder(fakes) }, order.join());
  }
});

Deno.test("Rewriter.rewrite() follows no root target, when it stands for the owner or for nothing", () => {
  const root = a("", "192.0.2.2");
  for (
    const record of [
      https(NAME, []),
      https(NAME, [], { priority: 0 }),
      leading(NAME, MX, [0, 0], ""),
      leading(NAME, SRV, [0, 0, 0, 0, 0, 0], ""),
    ]
  ) assertRewrites({ answers: [record], additionals: [root] }, "same");
  const fake = a("", "198.18.0.2", TTL_MAX);
  assertRewrites({ answers: [cname(NAME, "")], additionals: [root] }, {
    answers: [cname(NAME, "")],
    additionals: [fake],
  });
});

Deno.test("Rewriter.rewrite() rewrites the addresses of SRV, MX and NS targets, when these are answers", () => {
  for (
    const [what, lead] of [
      [
        "SRV",
        (target: string) => leading("_sip._udp.example.com", SRV, [0, 1, 0, 1, 19, 196], target),
      ],
      ["MX", (target: string) => leading("example.com", MX, [0, 10], target)],
      ["NS", (target: string) => leading("example.com", NS, [], target)],
    ] as const
  ) {
    for (const compress of [true, false]) {
      const leads = [lead("one.example.net"), lead("Two.example.net")];
      const reply = (four: string, six: string, ttl: number) => ({
        compress,
        answers: leads,
        additionals: [
          a("one.example.net", four, ttl),
          aaaa("two.EXAMPLE.net", six, ttl),
          a("three.example.net", "192.0.2.3"),
        ],
      });
      const before = reply("192.0.2.1", "2001:db8::1", 900);
      assertRewrites(before, reply("198.18.0.1", "2001:2::1", TTL_MAX), what);
      // Where a zone's name servers are is not what the client asked for.
      const { answers, additionals } = before;
      assertRewrites({ compress, authorities: answers, additionals }, "same", what);
      const others = answers.map((record) => ({ ...record, owner: "other.test" }));
      const question = { name: "other.test" };
      assertRewrites({ question, compress, answers: others, additionals }, "same", what);
    }
  }
});

Deno.test("Rewriter.rewrite() refuses a reply, when a target of ours cannot be followed", () => {
  for (
    const [what, type, rdata] of [
      ["no MX", MX, ""],
      ["half an MX", MX, "00"],
      ["an MX without a name", MX, "00 0a"],
      ["an MX to a label of another type", MX, "00 0a 41 00"],
      ["an SRV without a name", SRV, "00 01 00 01 00 50"],
      ["half an SRV", SRV, "00 01 00"],
      ["an NS without a name", NS, ""],
      ["an NS into the header", NS, "c0 02"],
      ["a CNAME without a name", CNAME, ""],
      ["a CNAME that ends in the next record", CNAME, "03 77 77"],
      ["an HTTPS alias past its end", HTTPS, "00 00 03 77 77"],
    ] as const
  ) {
    const answers = [{ ...txt(NAME, 0), type, rdata: hex(rdata) }, a("other.test", "192.0.2.1")];
    assertRefuses(message({ answers }), "malformed", what);
    const others = answers.map((record) => ({ ...record, owner: "other.test" }));
    assertRefuses(message({ answers: others, question: { name: "other.test" } }), "passed", what);
  }
});

Deno.test("Rewriter.rewrite() refuses a reply whole, when an address of ours has another length", () => {
  const four = [0, 1, 3, 5, 16].map((length) => ({
    ...a(NAME, "192.0.2.1"),
    rdata: new Uint8Array(length),
  }));
  const six = [0, 4, 15, 17].map((length) => ({
    ...aaaa(NAME, "::1"),
    rdata: new Uint8Array(length),
  }));
  for (const damaged of [...four, ...six]) {
    const what = `${damaged.type} ${damaged.rdata.length}`;
    for (const answers of [[damaged], [a(NAME, "192.0.2.1"), damaged]]) {
      assertRefuses(message({ flags: REPLY_FLAGS | AD, answers }), "malformed", what);
    }
    const chain = [cname(NAME, "cdn.test"), { ...damaged, owner: "cdn.test" }];
    assertRefuses(message({ answers: chain }), "malformed", what);
    // Of another class, or nobody of ours: it is no business of dotp.
    assertRewrites({ answers: [{ ...damaged, class: 3 }] }, "same", what);
    const other = { ...damaged, owner: "other.test" };
    assertRewrites(
      { answers: [a(NAME, "192.0.2.1"), other] },
      { answers: [a(NAME, "198.18.0.1", TTL_MAX), other] },
      what,
    );
  }
});

Deno.test("Rewriter.rewrite() tells a name from one that looks like it, when only one is ours", () => {
  for (
    const [owner, isOurs] of [
      ["example.com", true],
      ["EXAMPLE.COM", true],
      ["x.y.example.com", true],
      ["notexample.com", false],
      ["example.com.test", false],
      ["example.co", false],
      ["com", false],
      ["", false],
    ] as const
  ) {
    const fakes = { answers: [a(owner, "198.18.0.1", TTL_MAX)] };
    assertRewrites({ answers: [a(owner, "192.0.2.1")] }, isOurs ? fakes : "same", owner);
  }
});

Deno.test("Rewriter.rewrite() rewrites by the owner, when the question is about another name", () => {
  const question = { name: "other.test", type: 255 };
  assertRewrites(
    { question, answers: [a("other.test", "192.0.2.2"), a(NAME, "192.0.2.1")] },
    { question, answers: [a("other.test", "192.0.2.2"), a(NAME, "198.18.0.1", TTL_MAX)] },
  );
});

Deno.test("Rewriter.rewrite() lowers the TTL to the cap, when it is more or has its top bit set", () => {
  for (
    const [ttl, expected] of [
      [0, 0],
      [1, 1],
      [TTL_MAX - 1, TTL_MAX - 1],
      [TTL_MAX, TTL_MAX],
      [TTL_MAX + 1, TTL_MAX],
      [0x7fffffff, TTL_MAX],
      [0x80000000, 0],
      [0xffffffff, 0],
    ] as const
  ) {
    assertRewrites(
      { answers: [a(NAME, "192.0.2.1", ttl), aaaa(NAME, "2001:db8::1", ttl), txt(NAME, 1)] },
      {
        answers: [a(NAME, "198.18.0.1", expected), aaaa(NAME, "2001:2::1", expected), txt(NAME, 1)],
      },
      `${ttl}`,
    );
  }
});

Deno.test("Rewriter.rewrite() clears AD and no other flag, when it rewrites and only then", () => {
  const [ours, others] = [[a(NAME, "192.0.2.1")], [a("other.test", "192.0.2.1")]];
  const flags = 0xfff0;
  assertRewrites(
    { flags, answers: ours },
    { flags: flags & ~AD, answers: [a(NAME, "198.18.0.1", TTL_MAX)] },
  );
  assertRewrites({ flags, answers: others }, "same");
  assertRewrites({ flags, answers: [txt(NAME, 5)] }, "same");
});

Deno.test("Rewriter.rewrite() passes and allocates nothing, when RCODE is not NOERROR", () => {
  for (let rcode = 1; rcode < 16; rcode++) {
    const { rewrite, nat } = makeRewriting();
    const bytes = message({ flags: REPLY_FLAGS | rcode, answers: [a(NAME, "203.0.113.1")] });
    assertEquals(rewrite(bytes), { outcome: "passed", bytes });
    assertEquals(nat.log.size, 0);
  }
});

Deno.test("Rewriter.rewrite() leaves a record whole, when its address is nobody's real one", () => {
  const special = [
    ...["0.0.0.0", "127.0.0.1", "127.255.255.255", "224.0.0.1", "239.255.255.255"],
    ...["255.255.255.255", "198.18.0.0", "198.18.0.1", "198.19.255.255", "169.254.169.254"],
  ].map((address) => a(NAME, address, 900));
  const special6 = [
    "::",
    "::1",
    "ff02::1",
    "ff00::",
    "fe80::1",
    "::2",
    "0:0:0:0:0:ffff:c000:201",
    "64:ff9b::a9fe:a9fe",
    "2001:2::",
    "2001:2::1",
  ]
    .map((address) => aaaa(NAME, address, 900));
  const answers = [...special, ...special6];
  assertRewrites({ flags: REPLY_FLAGS | AD, answers }, "same");
  assertRewrites(
    { flags: REPLY_FLAGS | AD, answers: [...answers, a(NAME, "192.0.2.1")] },
    { answers: [...answers, a(NAME, "198.18.0.1", TTL_MAX)] },
  );
});

Deno.test("Rewriter.rewrite() maps an address, when it is next to one that is nobody's", () => {
  const reals = [
    ...[
      "0.0.0.1",
      "126.255.255.255",
      "128.0.0.0",
      "223.255.255.255",
      "240.0.0.0",
      "255.255.255.254",
    ],
    ...["198.17.255.255", "198.20.0.0", "10.0.0.1", "192.168.0.1", "100.64.0.1"],
    ...[
      "fe00::",
      "fd00::1",
      "1::",
      "::1:0:0:0",
      "0:0:0:0:1:ffff:c000:201",
      "2001:2:1::",
    ],
  ];
  for (const real of reals) {
    const { rewrite, nat } = makeRewriting();
    const { outcome, bytes } = rewrite(message({ answers: [address(NAME, real, 900)] }));
    const fake = obtain(nat.tables[real.includes(":") ? 6 : 4], real, 0);
    assertEquals(outcome, "rewritten", real);
    assertEquals(bytes, message({ answers: [address(NAME, fake, TTL_MAX)] }), real);
  }
});

/** Private addresses of a configured name, in each kind of record that has one. */
const PRIVATE: readonly RecordSpec[] = [
  a(NAME, "10.0.0.1"),
  a(NAME, "100.64.0.1"),
  aaaa(NAME, "fd00::1"),
  https(NAME, [[4, bytesOf("192.168.0.1")]]),
  https(NAME, [[1, hex("02 'h2'")], [6, bytesOf("fd00::1")]], { type: 64 }),
];

Deno.test("Rewriter.rewrite() leaves private addresses as they are, when they are to pass", () => {
  const { rewrite } = makeRewriting({ privateReals: "pass" });
  const both = message({ flags: REPLY_FLAGS | AD, answers: PRIVATE });
  assertEquals(rewrite(both), { outcome: "passed", bytes: both });
  const reply = (address: string, flags: number) => {
    const answers = [...PRIVATE, a(NAME, address, TTL_MAX), a(NAME, "10.0.0.2", 900)];
    return message({ flags: REPLY_FLAGS | flags, answers });
  };
  const { outcome, bytes } = rewrite(reply("192.0.2.1", AD));
  assertEquals([outcome, bytes], ["rewritten", reply("198.18.0.1", 0)]);
});

Deno.test("Rewriter.rewrite() refuses a reply whole and takes no fake, when one address is private", () => {
  const makes = makeRewriting({ privateReals: "refuse" });
  for (const record of PRIVATE) {
    for (
      const spec of [
        { answers: [record] },
        { answers: [a(NAME, "192.0.2.77"), record] },
        { answers: [a("other.test", "10.0.0.1")], additionals: [record] },
        { answers: [cname(NAME, "x.net"), { ...record, owner: "x.net" }] },
      ]
    ) {
      const reply = message(spec);
      assertEquals(makes.rewrite(reply), { outcome: "private", bytes: reply });
    }
  }
  assertEquals(makes.nat.log.size, 0);
  for (
    const answers of [
      // What is not ours is not our business, and what is damaged is not to be judged.
      [a("other.test", "10.0.0.1"), a(NAME, "192.0.2.1")],
      [a(NAME, "127.0.0.1"), a(NAME, "169.254.0.1")],
    ]
  ) assert(makes.rewrite(message({ answers })).outcome !== "private");
});

Deno.test("Rewriter.rewrite() leaves a fake alone, when the fakes themselves are private", () => {
  const makes = makeRewriting({ privateReals: "refuse", ipv4: "100.64.0.0/24" });
  const reply = message({ answers: [a(NAME, "100.64.0.1")] });
  assertEquals(makes.rewrite(reply), { outcome: "passed", bytes: reply });
});

Deno.test("Rewriter.rewrite() gives one fake, when the same real stands in several records", () => {
  const { rewrite, rewriter, nat } = makeRewriting();
  const records = (address: string, ttl: number) => [
    a(NAME, address, ttl),
    a("example.com", address, ttl),
    a("x.example.com", address, ttl),
  ];
  const { bytes } = rewrite(message({ answers: records("203.0.113.1", 900) }));
  const fake = obtain(nat.tables[4], "203.0.113.1", 0);
  assertEquals(bytes, message({ answers: records(fake, TTL_MAX) }));
  assertEquals([nat.log.size, rewriter.revision], [1, nat.log.revision]);
});

Deno.test("Rewriter.rewrite() gives each reply its own fakes, when many go through", () => {
  const { rewrite } = makeRewriting();
  const [one, two, three, four] = ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"] as const;
  for (const reals of [[one, two, three], [four], [two], [three, one], [four, three, two, one]]) {
    const before = reals.map((real) => address(NAME, real, 900));
    const after = reals.map((real) => address(NAME, FAKES[real] ?? "", TTL_MAX));
    const { bytes } = rewrite(message({ answers: [txt(NAME, 3), ...before] }));
    assertEquals(bytes, message({ answers: [txt(NAME, 3), ...after] }));
  }
});

Deno.test("Rewriter.rewrite() says which revisions to wait for, when mappings are new and known", () => {
  const { rewrite, rewriter } = makeRewriting();
  const revisionsFor = (...reals: string[]) => {
    rewrite(message({ answers: reals.map((real) => a(NAME, real)) }));
    return [rewriter.revision, ...rewriter.revisions];
  };
  const [one = 0] = revisionsFor("203.0.113.1");
  const [two, three] = [one + 1, one + 2];
  assertEquals(revisionsFor("203.0.113.1", "203.0.113.2"), [two, one, two]);
  assertEquals(revisionsFor("203.0.113.2", "203.0.113.1"), [two, two, one]);
  assertEquals(revisionsFor("203.0.113.1"), [one, one]);
  assertEquals(revisionsFor("203.0.113.3", "203.0.113.1"), [three, three, one]);
});

Deno.test("Rewriter.rewrite() is full and changes nothing, when the pool lacks one of the fakes", () => {
  const { rewrite, nat } = makeRewriting({ ipv4: "203.0.113.0/30" });
  const fakes = ["10.0.0.1", "10.0.0.2"].map((real) => obtain(nat.tables[4], real, 0));
  const both = message({ answers: [a(NAME, "10.0.0.1"), a(NAME, "10.0.0.2")] });
  const expected = message({ answers: fakes.map((fake) => a(NAME, fake, TTL_MAX)) });
  assertEquals(rewrite(both), { outcome: "rewritten", bytes: expected });
  for (
    const answers of [
      [a(NAME, "10.0.0.3")],
      [a(NAME, "10.0.0.1"), aaaa(NAME, "2001:db8::1"), a(NAME, "10.0.0.3"), a(NAME, "10.0.0.2")],
      [a(NAME, "10.0.0.1"), https(NAME, [[4, bytesOf("10.0.0.3")]])],
    ]
  ) {
    const bytes = message({ flags: REPLY_FLAGS | AD, answers });
    assertEquals(rewrite(bytes), { outcome: "full", bytes });
  }
});

Deno.test("Rewriter.rewrite() takes no fake, when something else in the reply is damaged", () => {
  const damaged = https(NAME, [[4, hex("c0 00 02")]]);
  const { rewrite, nat } = makeRewriting();
  const [size, expiryMs] = [nat.mappings.size, nat.mappings.nextExpiryMs];
  for (const answers of [[a(NAME, "203.0.113.1"), damaged], [damaged, a(NAME, "203.0.113.1")]]) {
    const bytes = message({ answers });
    assertEquals(rewrite(bytes), { outcome: "malformed", bytes });
    assertEquals([nat.log.size, nat.mappings.size, nat.mappings.nextExpiryMs], [0, size, expiryMs]);
  }
});

Deno.test("Rewriter.rewrite() maps up to ADDRESSES_PER_REPLY_MAX, and none where there are more", () => {
  const reals = (count: number) => Array.from({ length: count }, (_, n) => realAddress(n));
  const hints = (count: number) => concat(...reals(count).map(bytesOf));
  for (
    const of of [
      (count: number) => reals(count).map((real) => a(NAME, real)),
      (count: number) => [https(NAME, [[4, hints(count)]])],
      // The same ones again count again: it is the work that is bounded, too.
      (count: number) => [
        ...reals(count - 64).map((real) => a(NAME, real)),
        https(NAME, [[4, hints(64)]]),
      ],
    ]
  ) {
    const { rewrite, nat } = makeRewriting();
    const bytes = message({ answers: of(ADDRESSES_PER_REPLY_MAX + 1) });
    assertEquals(rewrite(bytes), { outcome: "oversized", bytes });
    assertEquals(nat.log.size, 0);
    assertEquals(rewrite(message({ answers: of(ADDRESSES_PER_REPLY_MAX) })).outcome, "rewritten");
  }
});

Deno.test("Rewriter.rewrite() counts no address that stays as it is, when there are very many", () => {
  const own = Array.from({ length: 4 * ADDRESSES_PER_REPLY_MAX }, () => bytesOf("198.18.0.1"));
  assertRewrites(
    { answers: [https(NAME, [[4, concat(...own)]]), a(NAME, "192.0.2.1")] },
    { answers: [https(NAME, [[4, concat(...own)]]), a(NAME, "198.18.0.1", TTL_MAX)] },
  );
});

/** The fakes of a pool are asked for one by one, until a reply is refused; how many were given. */
function exhaust(
  { rewrite }: Pick<ReturnType<typeof makeRewriting>, "rewrite">,
  name: string,
  client: string,
  first: number,
): number {
  for (let n = 0;; n++) {
    const question = { name };
    const answers = [a(name, realAddress(first + n), 300)];
    const { outcome } = rewrite(message({ question, answers }), client);
    if (outcome !== "rewritten") {
      assertEquals(outcome, "share", name);
      return n;
    }
  }
}

Deno.test("Rewriter.rewrite() keeps fakes for other names and clients, when one wants all", () => {
  const ipv4 = "203.0.113.0/24";
  const domains = ["example.com", "example.org"];
  for (
    const [what, name, client] of [
      ["another name", "www.example.org", "192.0.2.1"],
      ["another client", "www.example.com", "192.0.2.2"],
      ["both", "www.example.org", "192.0.2.2"],
    ] as const
  ) {
    const rewriting = makeRewriting({ ipv4, domains });
    assertEquals(exhaust(rewriting, "www.example.com", "192.0.2.1", 0), 192);
    // All names below a configured one are one, in whatever case.
    assertEquals(exhaust(rewriting, "other.EXAMPLE.com", "192.0.2.1", 1_000), 0, what);
    assert(exhaust(rewriting, name, client, 2_000) >= 16, what);
  }
});

Deno.test("Rewriter.rewrite() counts for the name in the question, when records have others", () => {
  const domains = ["example.com", "example.org"];
  const rewriting = makeRewriting({ ipv4: "203.0.113.0/24", domains });
  assertEquals(exhaust(rewriting, "www.example.org", "192.0.2.1", 0), 192);
  // A hostile zone cannot have others pay: the question was about it.
  const reply = (question: string, owner: string, n: number) => {
    const answers = [cname(question, owner), a(owner, realAddress(n))];
    return rewriting.rewrite(message({ question: { name: question }, answers }), "192.0.2.1");
  };
  assertEquals(reply("www.example.org", "www.example.com", 1_000).outcome, "share");
  assertEquals(reply("www.example.com", "www.example.org", 1_000).outcome, "rewritten");
  // One that is not about a configured name counts for the first record's.
  assertEquals(reply("other.test", "www.example.org", 1_001).outcome, "share");
  assertEquals(reply("other.test", "www.example.com", 1_001).outcome, "rewritten");
});

Deno.test("Rewriter.rewrite() rewrites IPv6, when only the IPv4 pool is full", () => {
  const { rewrite, nat } = makeRewriting({ ipv4: "203.0.113.0/30" });
  for (const real of ["10.0.0.1", "10.0.0.2"]) obtain(nat.tables[4], real, 0);
  assertEquals(
    rewrite(message({ answers: [aaaa(NAME, "2001:db8::1")] })).bytes,
    message({ answers: [aaaa(NAME, "2001:2::1", TTL_MAX)] }),
  );
});

Deno.test("Rewriter.rewrite() passes what stands behind the last record, when it rewrites", () => {
  const trailing = message({ answers: [a(NAME, "192.0.2.2")] });
  assertRewrites(
    { answers: [a(NAME, "192.0.2.1")], trailing },
    { answers: [a(NAME, "198.18.0.1", TTL_MAX)], trailing },
  );
  const counts = [1, 1, 0, 0];
  assertRewrites(
    { counts, answers: [a(NAME, "192.0.2.1"), a(NAME, "192.0.2.2")] },
    { counts, answers: [a(NAME, "198.18.0.1", TTL_MAX), a(NAME, "192.0.2.2")] },
  );
});

const HINT4 = bytesOf("192.0.2.1");
const HINT6 = bytesOf("2001:db8::1");

Deno.test("Rewriter.rewrite() rewrites hints of SVCB and HTTPS, when the target is named or not", () => {
  for (const type of [64, 65]) {
    for (const target of ["", "svc.example.net"]) {
      const records = (four: string, six: string, ttl: number) => [
        {
          ...https(NAME, [[1, hex("02 'h2'")], [4, bytesOf(four)], [6, bytesOf(six)]], {
            type,
            target,
          }),
          ttl,
        },
      ];
      assertRewrites(
        { answers: records("192.0.2.1", "2001:db8::1", 900) },
        { answers: records("198.18.0.1", "2001:2::1", TTL_MAX) },
        `${type} ${target}`,
      );
    }
  }
});

Deno.test("Rewriter.rewrite() leaves an SVCB or HTTPS record, when it has no hint to change", () => {
  for (
    const record of [
      https(NAME, []),
      https(NAME, [[1, hex("02 'h2'")]]),
      https(NAME, [[4, new Uint8Array()], [6, new Uint8Array()]]),
      https(NAME, [[4, bytesOf("127.0.0.1")], [6, bytesOf("::1")]]),
      https("other.test", [[4, HINT4]]),
      { ...https(NAME, [[4, HINT4]]), class: 3 },
      https(NAME, [], { priority: 0, target: "svc.example.net" }),
    ]
  ) assertRewrites({ flags: REPLY_FLAGS | AD, answers: [record] }, "same");
});

Deno.test("Rewriter.rewrite() follows a chain to an HTTPS record, when its CNAME is ours", () => {
  const record = (real: Uint8Array, ttl: number) => ({ ...https("cdn.test", [[6, real]]), ttl });
  assertRewrites(
    { answers: [record(HINT6, 900), cname(NAME, "cdn.test")] },
    { answers: [record(bytesOf("2001:2::1"), TTL_MAX), cname(NAME, "cdn.test")] },
  );
});

Deno.test("Rewriter.rewrite() refuses a reply whole, when the parameters of a record do not fit", () => {
  const good = https(NAME, [[4, HINT4]]).rdata as Uint8Array;
  const damaged: readonly (readonly [what: string, rdata: Uint8Array])[] = [
    ["no RDATA", new Uint8Array()],
    ["half a priority", hex("00")],
    ["no target", hex("00 01")],
    ["a target past the end", hex("00 01 05 'abc'")],
    ["half a key", concat(good, hex("00"))],
    ["a key without a length", concat(good, hex("00 06"))],
    ["half a length", concat(good, hex("00 06 00"))],
    ["a value past the end", concat(good, hex("00 06 00 10 20 01"))],
    ["a length that lies", hex("00 01 00 00 04 00 05 c0 00 02 01")],
    ["an IPv4 hint of 3 octets", hex("00 01 00 00 04 00 03 c0 00 02")],
    ["an IPv4 hint of 5 octets", hex("00 01 00 00 04 00 05 c0 00 02 01 00")],
    ["an IPv6 hint of 4 octets", hex("00 01 00 00 06 00 04 c0 00 02 01")],
    ["an IPv6 hint of 17 octets", concat(hex("00 01 00 00 06 00 11"), HINT6, hex("00"))],
  ];
  for (const [what, rdata] of damaged) {
    // An address before it, which must not be changed either.
    const answers = [a(NAME, "192.0.2.1"), { ...https(NAME, []), rdata }];
    assertRefuses(message({ flags: REPLY_FLAGS | AD, answers }), "malformed", what);
    const others = answers.map((record) => ({ ...record, owner: "other.test" }));
    assertRefuses(message({ answers: others, question: { name: "other.test" } }), "passed", what);
  }
});

Deno.test("Rewriter.rewrite() refuses a damaged reply, when question or record is ours", () => {
  const counts = [1, 2, 0, 0];
  const [ours, others] = [a(NAME, "192.0.2.1"), a("other.test", "192.0.2.1")];
  for (
    const [question, answers, expected] of [
      [NAME, [ours], "malformed"],
      [NAME, [others], "malformed"],
      ["other.test", [ours], "malformed"],
      ["other.test", [others], "passed"],
    ] as const
  ) {
    const bytes = message({ question: { name: question }, answers, counts });
    assertRefuses(bytes, expected, `${question} ${expected}`);
  }
});

Deno.test("Rewriter.rewrite() refuses a reply, when a CNAME of ours leads nowhere", () => {
  const target = (octets: string) => ({ ...cname(NAME, ""), rdata: hex(octets) });
  // Behind the question and the record's fixed fields lies the target.
  const self = QUESTION_END + 2 + 10;
  for (
    const [what, record] of [
      ["a pointer to itself", { ...target(""), rdata: pointer(self) }],
      ["a pointer forward", { ...target(""), rdata: pointer(self + 2) }],
      ["a pointer into the header", target("c0 02")],
      ["a label of another type", target("41 00")],
    ] as const
  ) {
    const answers = [record, a("other.test", "192.0.2.1")];
    assertRefuses(message({ answers }), "malformed", what);
  }
});

Deno.test("Rewriter.rewrite() refuses a reply whole, when an owner in it cannot be followed", () => {
  // The pointer goes back, to an octet of a TXT record that begins no label.
  const garbage = { ...txt(NAME, 0), rdata: hex("02 80 80") };
  const intoGarbage = pointer(QUESTION_END + 2 + 10 + 1);
  for (const answers of [[], [a(NAME, "192.0.2.2")]]) {
    const bytes = message({ answers: [garbage, ...answers, a(intoGarbage, "192.0.2.1")] });
    assertRefuses(bytes, "malformed");
  }
});

Deno.test("Rewriter.rewrite() gives up, when a chain takes CHAIN_COMPARISONS_MAX and one more", () => {
  for (
    const [aliases, others, isWithin] of [
      [63, 65, true],
      [64, 64, true],
      [17, 241, false],
    ] as const
  ) {
    const comparisons = aliases * others;
    assertEquals(comparisons, CHAIN_COMPARISONS_MAX + (isWithin ? aliases === 63 ? -1 : 0 : 1));
    const answers = [
      ...Array.from({ length: aliases }, (_, i) => cname(NAME, `${i}.test`)),
      ...Array.from({ length: others }, (_, i) => a(`other${i}.test`, "192.0.2.2")),
    ];
    const bytes = message({ answers: [a(NAME, "192.0.2.1"), ...answers] });
    if (!isWithin) assertRefuses(bytes, "malformed", `${comparisons}`);
    else assertEquals(makeRewriting().rewrite(bytes).outcome, "rewritten", `${comparisons}`);
  }
});

/** Two long names and many records that point at them in turn; their owners are not ours. */
function longNames(count: number): RecordSpec[] {
  const label = hex("01 'a'");
  const labels = (NAME_LENGTH_MAX - 1) / label.length;
  const longName = concat(...Array<Uint8Array>(labels).fill(label), hex("00"));
  const fixed = 10;
  const first = QUESTION_END;
  const second = first + NAME_LENGTH_MAX + fixed + 4;
  return [
    a(longName, "192.0.2.4"),
    a(longName, "192.0.2.4"),
    ...Array.from(
      { length: count },
      (_, i) => a(pointer(i % 2 === 0 ? first : second), "192.0.2.4"),
    ),
  ];
}

/** More than the budget takes, at 128 steps a name. */
const TOO_MANY = STEPS_PER_MESSAGE_MAX / 128 + 10;

Deno.test("Rewriter.rewrite() rewrites behind many long names, when its steps suffice", () => {
  const answers = longNames(400);
  assertRewrites(
    { answers: [...answers, a(NAME, "192.0.2.1")] },
    { answers: [...answers, a(NAME, "198.18.0.1", TTL_MAX)] },
  );
});

Deno.test("Rewriter.rewrite() passes names that are not ours, when its steps are spent", () => {
  const question = { name: "www.example.net" };
  assertRefuses(message({ question, answers: longNames(TOO_MANY) }), "passed");
});

Deno.test("Rewriter.rewrite() refuses a reply to a query of ours, when its steps are spent", () => {
  assertRefuses(message({ answers: [...longNames(TOO_MANY), a(NAME, "192.0.2.1")] }), "malformed");
});

Deno.test("Rewriter.rewrite() refuses a reply whole, when its steps are spent halfway", () => {
  const names = longNames(TOO_MANY);
  const [first, last] = [a(NAME, "192.0.2.1"), a(NAME, "192.0.2.2")];
  const answers = [...names.slice(0, 2), first, ...names.slice(2), last];
  assertRefuses(message({ answers }), "malformed");
});

Deno.test("Rewriter.rewrite() gives the next message its own steps, when they were spent", () => {
  const { rewrite } = makeRewriting();
  rewrite(message({ question: { name: "other.test" }, answers: longNames(TOO_MANY) }));
  assertEquals(rewrite(message({ answers: [a(NAME, "192.0.2.1")] })).outcome, "rewritten");
});

Deno.test("Rewriter.rewrite() leaves OPT alone, when it rewrites around it", () => {
  const options = opt(0xffff, 0xffffffff, new Uint8Array(300).fill(0x7f));
  assertRewrites(
    { answers: [a(NAME, "192.0.2.1")], additionals: [options] },
    { answers: [a(NAME, "198.18.0.1", TTL_MAX)], additionals: [options] },
  );
});

Deno.test("Rewriter.rewrite() passes everything, when no domain is configured", () => {
  const { rewrite } = makeRewriting({ domains: [] });
  const bytes = message({ answers: [a(NAME, "192.0.2.1")], counts: [1, 9, 9, 9] });
  assertEquals(rewrite(bytes), { outcome: "passed", bytes });
});

Deno.test("Rewriter.rewrite() never throws nor changes the length, when octets are random", () => {
  const octet = fc.oneof(fc.constantFrom(0, 1, 4, 5, 28, 0xc0, 0x0c, 0x10), fc.nat(255));
  const tail = fc.array(octet, { maxLength: 120 }).map((octets) => Uint8Array.from(octets));
  const counts = fc.array(fc.nat(4), { minLength: 3, maxLength: 3 });
  const { rewrite } = makeRewriting();
  holds(
    "Rewriter of random octets",
    fc.property(tail, counts, fc.nat(0xffff), (octets, counts, flags) => {
      const before = concat(message({ flags, counts: [1, ...counts] }), octets);
      const { outcome, bytes } = rewrite(before);
      assertEquals(bytes.length, before.length);
      if (outcome !== "rewritten") assertEquals(bytes, before);
      else assertEquals(bytes.slice(4, QUESTION_END), before.slice(4, QUESTION_END));
    }),
    2_000,
  );
});

Deno.test("Rewriter.rewrite() leaves any reply as it is, when no name in it is ours", () => {
  const reply = message({
    question: { name: "www.other.test" },
    answers: [cname("www.other.test", "cdn.test"), a("cdn.test", "192.0.2.1")],
    additionals: [opt(1232)],
  });
  const { rewrite } = makeRewriting();
  holds(
    "Rewriter of damaged others",
    fc.property(
      fc.array(fc.tuple(fc.nat(reply.length - 1), fc.nat(255)), { maxLength: 4 }),
      (edits) => {
        const bytes = reply.slice();
        // The question and all owners stay those of others; everything else may break.
        for (const [at, octet] of edits) if (at < 12 || at >= 32) bytes[at] = octet;
        assertEquals(rewrite(bytes), { outcome: "passed", bytes });
      },
    ),
    1_000,
  );
});

Deno.test("Rewriter.rewrite() takes what adopt() took, when a real has been adopted before", () => {
  const { rewrite, nat } = makeRewriting();
  assert(adopt(nat.tables[4], "198.18.7.7", "203.0.113.9"));
  assertEquals(
    rewrite(message({ answers: [a(NAME, "203.0.113.9")] })).bytes,
    message({ answers: [a(NAME, "198.18.7.7", TTL_MAX)] }),
  );
});

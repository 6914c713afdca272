/** The checked view: what the index finds, where it stops, and what the setters change. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Flag, MESSAGE_LENGTH_MAX, Offset, RECORDS_MAX, Type } from "../../lib/dns/constants.ts";
import { MANY_OPT, Message, NO_OPT, opcodeOf, questionEnd } from "../../lib/dns/message.ts";
import { bytesOf, viewOf } from "../support/hex.ts";
import {
  a,
  aaaa,
  cname,
  concat,
  message,
  type MessageSpec,
  opt,
  pointer,
  query,
  type RecordSpec,
  txt,
} from "../support/packet.ts";
import { holds } from "../support/property.ts";
import { decode } from "../support/reader.ts";

const NAME = "www.example.com";
/** Header, `www.example.com`, QTYPE and QCLASS. */
const QUESTION_END = 12 + 17 + 4;

const USUAL: MessageSpec = {
  answers: [cname(NAME, "cdn.example.net"), a("cdn.example.net", "192.0.2.1")],
  authorities: [{ owner: "example.net", type: 2, rdata: { name: "ns.example.net" } }],
  additionals: [aaaa("ns.example.net", "2001:db8::1", 60), opt(1232)],
};

function indexOf(bytes: Uint8Array): { reply: Message; whole: boolean } {
  const reply = new Message();
  return { whole: reply.index(viewOf(bytes), bytes.length), reply };
}

Deno.test("Message.index() finds what another parser finds, when all sections hold records", () => {
  const bytes = message(USUAL);
  const { reply, whole } = indexOf(bytes);
  assert(whole);
  const { answers = [], authorities = [], additionals = [] } = decode(bytes);
  const records = [...answers, ...authorities, ...additionals];
  assertEquals(reply.count, records.length);
  assertEquals([reply.flags, reply.rcode], [0x8180, 0]);
  assertEquals([reply.answers, reply.authorities, reply.additionals], [2, 1, 2]);
  assertEquals(reply.questionEnd, QUESTION_END);
  assertEquals(reply.length, bytes.length);
  assertEquals(
    Array.from(records, (_, i) => [reply.type(i), reply.rdataLength(i), reply.isInternet(i)]),
    // The names inside are compressed: `cdn`, `example.net` and `ns`, `c0 ..`.
    [[5, 17, true], [1, 4, true], [2, 5, true], [28, 16, true], [41, 0, false]],
  );
  assertEquals(Array.from(records.slice(0, 4), (_, i) => reply.ttlField(i)), [300, 300, 300, 60]);
  assertEquals(reply.classField(4), 1232);
});

Deno.test("Message.index() finds records that follow each other to the end, when all is whole", () => {
  const bytes = message(USUAL);
  const { reply } = indexOf(bytes);
  assertEquals(reply.ownerOffset(0), QUESTION_END);
  for (let i = 0; i < reply.count - 1; i++) {
    assertEquals(reply.recordEnd(i), reply.ownerOffset(i + 1));
  }
  assertEquals(reply.recordEnd(reply.count - 1), bytes.length);
  assertEquals([...bytes.slice(reply.rdataOffset(1)).slice(0, 4)], [192, 0, 2, 1]);
});

Deno.test("Message.index() is false and keeps the records before, when cut at any octet", () => {
  const bytes = message(USUAL);
  const { reply: complete } = indexOf(bytes);
  const ends = Array.from({ length: complete.count }, (_, i) => complete.recordEnd(i));
  for (let length = 0; length < bytes.length; length++) {
    // A buffer that goes on with other octets, as the one for datagrams does.
    const view = viewOf(concat(bytes.slice(0, length), new Uint8Array(600).fill(0xa5)));
    const reply = new Message();
    assert(!reply.index(view, length), `${length}`);
    assertEquals(reply.count, ends.filter((end) => end <= length).length, `${length}`);
    assertEquals(reply.questionEnd > 0, length >= QUESTION_END, `${length}`);
  }
});

Deno.test("Message.index() takes one question only, when QDCOUNT says something else", () => {
  for (const [count, expected] of [[0, false], [1, true], [2, false], [0xffff, false]] as const) {
    const { reply, whole } = indexOf(message({ counts: [count, 0, 0, 0] }));
    assertEquals(whole, expected, `${count}`);
    assertEquals(reply.questionEnd > 0, expected, `${count}`);
  }
});

Deno.test("Message.index() does not look at what follows, when the counted records are over", () => {
  const trailing = new Uint8Array(20).fill(0xff);
  const { reply, whole } = indexOf(message({ answers: [a(NAME, "192.0.2.1")], trailing }));
  assert(whole);
  assertEquals(reply.count, 1);
  assertEquals(reply.recordEnd(0) + trailing.length, reply.length);
});

Deno.test("Message.index() is false, when a record is damaged", () => {
  const record = a(NAME, "192.0.2.1");
  for (
    const [what, damaged] of [
      ["RDLENGTH one too long", { ...record, rdlength: 5 }],
      ["RDLENGTH as long as can be", { ...record, rdlength: 0xffff }],
      ["a label type of 01", { ...record, owner: Uint8Array.of(0x41, 0) }],
      ["a pointer to itself", { ...record, owner: pointer(QUESTION_END) }],
      ["a pointer forward", { ...record, owner: pointer(QUESTION_END + 1) }],
      ["a pointer into the header", { ...record, owner: pointer(11) }],
    ] as const
  ) {
    const { reply, whole } = indexOf(message({ answers: [damaged] }));
    assert(!whole, what);
    assertEquals(reply.count, 0, what);
  }
});

Deno.test("Message.index() is false after what there is, when a count promises more", () => {
  for (const counts of [[1, 2, 0, 0], [1, 0xffff, 0xffff, 0xffff], [1, 1, 0, 1]]) {
    const { reply, whole } = indexOf(message({ answers: [a(NAME, "192.0.2.1")], counts }));
    assert(!whole);
    assertEquals(reply.count, 1);
  }
});

Deno.test("Message.index() indexes as many records as fit, when each is as small as can be", () => {
  const smallest: RecordSpec = { owner: "", type: 16, ttl: 0, rdata: new Uint8Array() };
  // Octets left beside the header and a question about the root: not enough for RECORDS_MAX.
  const most = Math.floor((MESSAGE_LENGTH_MAX - 12 - 5) / 11);
  const question = { name: "" };
  const { reply, whole } = indexOf(message({ question, answers: Array(most).fill(smallest) }));
  assert(whole);
  assertEquals(reply.count, most);
  assertEquals(reply.recordEnd(most - 1), 12 + 5 + most * 11);
  assert(most <= RECORDS_MAX);
});

Deno.test("Message.index() forgets the last message, when the next one is damaged", () => {
  const { reply } = indexOf(message(USUAL));
  const next = message({ counts: [0, 0, 0, 0] });
  assert(!reply.index(viewOf(next), next.length));
  assertEquals([reply.count, reply.questionEnd, reply.length], [0, 0, next.length]);
});

Deno.test("Message.index() never throws and stays inside, when octets are random", () => {
  const octet = fc.oneof(fc.constantFrom(0, 1, 4, 0xc0, 0x0c), fc.nat(255));
  const tail = fc.array(octet, { maxLength: 200 }).map((octets) => Uint8Array.from(octets));
  const counts = fc.array(fc.oneof(fc.nat(3), fc.nat(0xffff)), { minLength: 3, maxLength: 3 });
  const reply = new Message();
  holds(
    "Message.index",
    fc.property(tail, counts, fc.boolean(), (octets, counts, hasQuestion) => {
      const start = message({ counts: [1, ...counts] }).slice(0, hasQuestion ? QUESTION_END : 12);
      const bytes = concat(start, octets);
      const whole = reply.index(viewOf(bytes), bytes.length);
      const promised = reply.answers + reply.authorities + reply.additionals;
      assert(!whole || reply.count === promised);
      reply.findOpt();
      for (let i = 0; i < reply.count; i++) {
        assert(reply.recordEnd(i) <= bytes.length && reply.recordEnd(i) > reply.ownerOffset(i));
        reply.capTtl(i, 1);
      }
      assertEquals(viewOf(bytes).byteLength, bytes.length);
    }),
    2_000,
  );
});

Deno.test("Message.index() takes any octets and any length, when nothing of it is a message", () => {
  const reply = new Message();
  holds(
    "Message.index of noise",
    fc.property(fc.uint8Array({ maxLength: 64 }), (octets) => {
      reply.index(viewOf(octets), octets.length);
      assert(reply.count * 11 <= octets.length);
    }),
    2_000,
  );
});

Deno.test("capTtl() lowers to the cap and counts a top bit as 0, when the TTL is any", () => {
  for (
    const [ttl, expected] of [
      [0, 0],
      [1, 1],
      [59, 59],
      [60, 60],
      [61, 60],
      [0x7fffffff, 60],
      [0x80000000, 0],
      [0x80000001, 0],
      [0xffffffff, 0],
    ] as const
  ) {
    const before = message({ answers: [a(NAME, "192.0.2.1", ttl), a(NAME, "192.0.2.2", 999)] });
    const { reply } = indexOf(before);
    reply.capTtl(0, 60);
    const after = message({ answers: [a(NAME, "192.0.2.1", expected), a(NAME, "192.0.2.2", 999)] });
    assertEquals(bytesOf(reply.view as DataView<ArrayBuffer>), after, `${ttl}`);
  }
});

Deno.test("clearFlags() clears the bits it is told, when others are set", () => {
  const { reply } = indexOf(message({ flags: 0xffff }));
  reply.clearFlags(Flag.AD);
  assertEquals(reply.flags, 0xffff & ~Flag.AD);
  assertEquals(decode(bytesOf(reply.view)).flag_ad, false);
  reply.clearFlags(Flag.AD);
  assertEquals(reply.flags, 0xffff & ~Flag.AD);
});

Deno.test("findOpt() finds the one OPT of the additional section, when there is one", () => {
  const other = txt(NAME, 3);
  for (
    const [what, spec, expected] of [
      ["none", {}, NO_OPT],
      ["no records of its type", { additionals: [other] }, NO_OPT],
      ["alone", { additionals: [opt(512)] }, 0],
      ["last", { answers: [other], additionals: [other, opt(512)] }, 2],
      ["first", { answers: [other], additionals: [opt(512), other] }, 1],
      ["two", { additionals: [opt(512), opt(512)] }, MANY_OPT],
      ["three", { additionals: [opt(512), other, opt(512), opt(512)] }, MANY_OPT],
      ["in the answer section", { answers: [opt(512)] }, NO_OPT],
      ["in the authority section", { authorities: [opt(512)], additionals: [other] }, NO_OPT],
    ] as const
  ) assertEquals(indexOf(query(spec)).reply.findOpt(), expected, what);
});

Deno.test("opcodeOf() reads the opcode, when all other flags are set or none", () => {
  for (let opcode = 0; opcode < 16; opcode++) {
    assertEquals(opcodeOf(opcode << 11), opcode);
    assertEquals(opcodeOf(0x87ff | (opcode << 11)), opcode);
  }
});

Deno.test("questionEnd() wants a name without pointers and both fields, when it looks", () => {
  const bytes = query();
  const view = viewOf(bytes);
  assertEquals(questionEnd(view, bytes.length), QUESTION_END);
  for (let length = 12; length < QUESTION_END; length++) {
    assertEquals(questionEnd(view, length), -1);
  }
  const compressed = viewOf(query({ question: { name: pointer(Offset.QUESTION) } }));
  assertEquals(questionEnd(compressed, compressed.byteLength), -1);
});

Deno.test("Message reads a record of another class as such, when it is not IN", () => {
  for (const [klass, expected] of [[1, true], [3, false], [0, false], [255, false]] as const) {
    const { reply } = indexOf(message({ answers: [{ ...a(NAME, "192.0.2.1"), class: klass }] }));
    assertEquals([reply.isInternet(0), reply.type(0)], [expected, Type.A]);
  }
});

Deno.test("Message.dropLast() leaves what was there without the last record, when that goes", () => {
  const { additionals = [] } = USUAL;
  const { reply } = indexOf(message({ ...USUAL, trailing: new Uint8Array(5) }));
  assertEquals(reply.end, message(USUAL).length);
  for (let kept = additionals.length - 1; kept >= 0; kept--) {
    reply.dropLast();
    const expected = message({ ...USUAL, additionals: additionals.slice(0, kept) });
    assertEquals(bytesOf(reply.view, reply.length), expected);
    assertEquals([reply.end, reply.count], [expected.length, 3 + kept]);
  }
  assertEquals(reply.findOpt(), NO_OPT);
});

Deno.test("Message.end is where the question ends, when there is no record", () => {
  const { reply } = indexOf(message({ trailing: new Uint8Array(5) }));
  assertEquals(reply.end, QUESTION_END);
});

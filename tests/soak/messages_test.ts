/** The soak's judge of single answers: it must be able to find fault. */
import { assertEquals } from "@std/assert";
import { decode } from "../support/reader.ts";
import {
  BLOCKS,
  decodeQuestion,
  encodeQuery,
  encodeReply,
  FAKE_TTL_MAX_S,
  judge,
  type Question,
  realOf,
} from "./messages.ts";

const PLAIN: Question = { block: BLOCKS.plain, index: 7, family: 4 };
const KNOWN: Question = { block: BLOCKS.known, index: 258, family: 4 };
const KNOWN_AAAA: Question = { ...KNOWN, family: 6 };
const FAKES = {
  4: Uint8Array.of(198, 18, 5, 9),
  6: Uint8Array.fromHex("20010002" + "0".repeat(23) + "9"),
};

/** A TTL stands ten octets before the end of a reply with an IPv4 address. */
function withTtl(reply: Uint8Array, length: number, ttlS: number): Uint8Array {
  const changed = reply.slice();
  new DataView(changed.buffer).setUint32(changed.length - length - 6, ttlS);
  return changed;
}

/** dotp's answer to a question about a configured name. */
function answerTo(question: Question, query: Uint8Array): Uint8Array {
  const fake = FAKES[question.family];
  return withTtl(encodeReply(query, fake), fake.length, FAKE_TTL_MAX_S);
}

Deno.test("decodeQuestion() reads what encodeQuery() wrote, when it is any question", () => {
  for (const question of [PLAIN, KNOWN, KNOWN_AAAA]) {
    assertEquals(decodeQuestion(encodeQuery(1, question)), question);
  }
  assertEquals(decodeQuestion(new Uint8Array(40)), undefined);
});

Deno.test("encodeReply() is a reply, when an independent reader reads it", () => {
  const { id, rcode, questions, answers } = decode(
    encodeReply(encodeQuery(513, KNOWN_AAAA), realOf(KNOWN_AAAA)),
  );
  assertEquals([id, rcode, questions[0]?.type], [513, "NOERROR", "AAAA"]);
  assertEquals(answers[0]?.name, "k000258.cfg.test");
  assertEquals(answers[0]?.data, "2001:db8::b00:102");
});

Deno.test("judge() finds an answer right, when it is as it must be", () => {
  const plain = encodeQuery(1, PLAIN);
  assertEquals(judge(PLAIN, plain, encodeReply(plain, realOf(PLAIN))).kind, "right");
  for (const question of [KNOWN, KNOWN_AAAA]) {
    const query = encodeQuery(1, question);
    const verdict = judge(question, query, answerTo(question, query));
    assertEquals(verdict, { kind: "right", fake: FAKES[question.family], ttlS: FAKE_TTL_MAX_S });
  }
});

Deno.test("judge() finds an answer wrong, when any octet but TTL and fake is another", () => {
  for (const question of [PLAIN, KNOWN]) {
    const query = encodeQuery(1, question);
    const answer = question === PLAIN
      ? encodeReply(query, realOf(PLAIN))
      : answerTo(question, query);
    const checked = question === PLAIN ? answer.length : answer.length - 4;
    for (let at = 0; at < checked; at++) {
      const changed = answer.slice();
      changed[at] = changed[at]! ^ 0x80;
      assertEquals(judge(question, query, changed).kind, "wrong", `octet ${at}`);
    }
    assertEquals(judge(question, query, answer.subarray(1)).kind, "wrong");
    assertEquals(judge(question, query, new Uint8Array()).kind, "wrong");
  }
});

Deno.test("judge() finds an answer wrong, when a configured name has its real address", () => {
  const query = encodeQuery(1, KNOWN);
  const real = withTtl(encodeReply(query, realOf(KNOWN)), 4, 1);
  assertEquals(judge(KNOWN, query, real).kind, "wrong");
});

Deno.test("judge() finds an answer wrong, when its TTL is more than half a lifetime", () => {
  const query = encodeQuery(1, KNOWN);
  const longer = withTtl(answerTo(KNOWN, query), 4, FAKE_TTL_MAX_S + 1);
  assertEquals(judge(KNOWN, query, longer).kind, "wrong");
});

Deno.test("judge() tells SERVFAIL, when it is about what was asked", () => {
  const query = encodeQuery(1, KNOWN);
  const servfail = query.slice();
  servfail.set([0x81, 0x82], 2);
  assertEquals(judge(KNOWN, query, servfail).kind, "servfail");
  servfail[14] = servfail[14]! ^ 1;
  assertEquals(judge(KNOWN, query, servfail).kind, "wrong");
});

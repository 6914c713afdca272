/** Queries: their parts, and which message answers one. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Message } from "../../lib/dns/message.ts";
import { headerOf, isAnswer, partsOf, type QueryParts } from "../../lib/dns/query.ts";
import { bytesOf, viewOf } from "../support/hex.ts";
import {
  a,
  concat,
  message,
  type MessageSpec,
  opt,
  pointer,
  query,
  REPLY_FLAGS,
} from "../support/packet.ts";
import { holds } from "../support/property.ts";

const NAME = "www.example.com";
const QUESTION_END = 12 + 17 + 4;

function parts(spec: MessageSpec): QueryParts | undefined {
  const indexed = new Message();
  const view = viewOf(query(spec));
  indexed.index(view, view.byteLength);
  return partsOf(indexed);
}

Deno.test("partsOf() tells question and OPT, when the query has one or none", () => {
  for (
    const [spec, questionEnd, hasOpt, wantsDnssec, udpSize] of [
      [{}, QUESTION_END, false, false, 0],
      [{ question: { name: "" } }, 17, false, false, 0],
      [{ additionals: [opt(0)] }, QUESTION_END, true, false, 512],
      [{ additionals: [opt(511, 0x8000)] }, QUESTION_END, true, true, 512],
      [{ additionals: [a(NAME, "192.0.2.1"), opt(4096, 0x7fff)] }, QUESTION_END, true, false, 4096],
      [
        { additionals: [opt(0xffff)], trailing: new Uint8Array(9) },
        QUESTION_END,
        true,
        false,
        65535,
      ],
    ] as const
  ) {
    const found = parts(spec);
    assertEquals(
      [found?.questionEnd, found?.hasOpt, found?.wantsDnssec, found?.udpSize],
      [questionEnd, hasOpt, wantsDnssec, udpSize],
    );
  }
});

Deno.test("partsOf() tells nothing, when there is no readable question or more than one OPT", () => {
  for (
    const spec of [
      { counts: [0, 0, 0, 0] },
      { counts: [2, 0, 0, 0] },
      { question: { name: pointer(12) } },
      { additionals: [opt(512), opt(512)] },
    ]
  ) {
    assertEquals(parts(spec), undefined);
  }
});

Deno.test("headerOf() tells a header and no question, when none can be read", () => {
  const view = viewOf(query());
  const { questionEnd, hasOpt, wantsDnssec } = headerOf(view);
  assertEquals([questionEnd, hasOpt, wantsDnssec], [12, false, false]);
});

const ASKED = { question: { name: NAME, type: 28 } };

function answers(bytes: Uint8Array, length = bytes.length, asked = query(ASKED)): boolean {
  return isAnswer(viewOf(bytes), length, viewOf(asked), QUESTION_END);
}

Deno.test("isAnswer() is true, when only id, case, other flags and records differ", () => {
  for (
    const spec of [
      ASKED,
      { ...ASKED, id: 7 },
      { question: { name: "WwW.ExAmPlE.cOm", type: 28 } },
      { ...ASKED, flags: 0x8000 },
      { ...ASKED, flags: 0x87ff },
      { ...ASKED, answers: [a(NAME, "192.0.2.1")] },
      { ...ASKED, trailing: new Uint8Array(9) },
      { ...ASKED, counts: [1, 9, 9, 9] },
    ]
  ) {
    assert(answers(message(spec)), JSON.stringify(spec));
  }
  const asked = query({ ...ASKED, additionals: [opt(1232)] });
  assert(answers(message(ASKED), undefined, asked), "the query goes on behind its question");
});

Deno.test("isAnswer() is false, when QR, opcode, question or length are not those of an answer", () => {
  for (
    const [what, bytes] of [
      ["QR = 0", query(ASKED)],
      ["another opcode", message({ ...ASKED, flags: REPLY_FLAGS | 0x2800 })],
      ["another name", message({ question: { name: "www.example.org", type: 28 } })],
      ["a longer name", message({ question: { name: `x.${NAME}`, type: 28 } })],
      ["a shorter name", message({ question: { name: "example.com", type: 28 } })],
      ["another type", message({ question: { name: NAME, type: 1 } })],
      ["another class", message({ question: { ...ASKED.question, class: 3 } })],
      ["no question", message({ ...ASKED, counts: [0, 0, 0, 0] })],
      ["two questions", message({ ...ASKED, counts: [2, 0, 0, 0] })],
      ["a compressed question", message({ question: { name: pointer(12), type: 28 } })],
    ] as const
  ) {
    assert(!answers(bytes), what);
  }
  // The buffer goes on behind the message.
  const whole = message({ ...ASKED, trailing: new Uint8Array(50) });
  for (let length = 0; length < QUESTION_END; length++) {
    assert(!answers(whole, length), `${length}`);
  }
  assert(answers(whole, QUESTION_END));
});

Deno.test("isAnswer() is never true, when one octet that counts has another value", () => {
  const whole = message({ ...ASKED, flags: 0x8000 });
  const counted = [2, 4, 5, ...Array.from({ length: QUESTION_END - 12 }, (_, i) => 12 + i)];
  holds(
    "isAnswer",
    fc.property(fc.constantFrom(...counted), fc.integer({ min: 1, max: 255 }), (at, change) => {
      const bytes = bytesOf(viewOf(whole));
      bytes[at] = whole[at]! ^ change;
      // AA, TC and RD may differ, and so may the case of a letter.
      const isFree = at === 2 ? (change & 0xf8) === 0 : change === 0x20 && isLetter(whole[at]!);
      assertEquals(answers(bytes), isFree, `${at} ${change}`);
    }),
    2_000,
  );
});

function isLetter(octet: number): boolean {
  return (octet | 0x20) >= 0x61 && (octet | 0x20) <= 0x7a;
}

Deno.test("isAnswer() never throws, when octets are random", () => {
  holds(
    "isAnswer random",
    fc.property(fc.uint8Array({ maxLength: 60 }), (octets) => {
      assert(!answers(concat(octets, new Uint8Array(60)), octets.length) || octets.length > 32);
    }),
  );
});

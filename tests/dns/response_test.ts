/** Replies of dotp's own: errors out of queries, and replies cut to a size. */
import { assert, assertEquals } from "@std/assert";
import { Offset, Rcode } from "../../lib/dns/constants.ts";
import { Message } from "../../lib/dns/message.ts";
import type { QueryParts } from "../../lib/dns/query.ts";
import { fitInPlace, writeError } from "../../lib/dns/response.ts";
import { bytesOf, viewOf } from "../support/hex.ts";
import { a, concat, message, opt, query, REPLY_FLAGS, txt } from "../support/packet.ts";
import { decode } from "../support/reader.ts";

const NAME = "www.example.com";
const QUESTION_END = 12 + 17 + 4;
const OPT_LENGTH = 11;
const TC = 0x0200;

/** An error, in a buffer of octets that would show where one was left out. */
function errorFor(
  parts: Omit<QueryParts, "view" | "udpSize">,
  bytes: Uint8Array,
  rcode: Rcode,
): Uint8Array {
  const out = new DataView(new Uint8Array(512).fill(0xa5).buffer);
  return bytesOf(out, writeError(out, { ...parts, view: viewOf(bytes), udpSize: 0 }, rcode));
}

Deno.test("writeError() repeats id and question, when the query had no OPT", () => {
  const parts = { questionEnd: QUESTION_END, hasOpt: false, wantsDnssec: false };
  const bytes = query({ id: 0xbeef, question: { name: "wWw.eXample.com", type: 28 } });
  const expected = message({
    id: 0xbeef,
    flags: 0x8182,
    question: { name: "wWw.eXample.com", type: 28 },
  });
  assertEquals(errorFor(parts, bytes, Rcode.SERVFAIL), expected);
});

Deno.test("writeError() adds a bare OPT that keeps DO, when the query had an OPT", () => {
  for (const [wantsDnssec, ttl] of [[false, 0], [true, 0x8000]] as const) {
    const parts = { questionEnd: QUESTION_END, hasOpt: true, wantsDnssec };
    const bytes = query({ additionals: [opt(4096, ttl, new Uint8Array(12))] });
    const expected = message({ flags: 0x8182, additionals: [opt(1232, ttl)] });
    assertEquals(errorFor(parts, bytes, Rcode.SERVFAIL), expected);
    assert(expected.length <= bytes.length);
  }
});

Deno.test("writeError() gives a header only, when the question could not be read", () => {
  const parts = { questionEnd: Offset.QUESTION, hasOpt: false, wantsDnssec: false };
  const bytes = query({ id: 7, counts: [1, 2, 3, 4] });
  const error = errorFor(parts, bytes, Rcode.FORMERR);
  assertEquals([...error], [0, 7, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0]);
});

Deno.test("writeError() keeps opcode, RD and CD and no other flag, when the query has them all", () => {
  const parts = { questionEnd: Offset.QUESTION, hasOpt: false, wantsDnssec: false };
  for (
    const [flags, rcode, expected] of [
      [0x0000, Rcode.SERVFAIL, 0x8082],
      [0x0100, Rcode.SERVFAIL, 0x8182],
      [0x0010, Rcode.FORMERR, 0x8091],
      [0x07ff, Rcode.FORMERR, 0x8191],
      [0x2800, Rcode.NOTIMP, 0xa884],
      [0x7900, Rcode.NOTIMP, 0xf984],
    ] as const
  ) {
    const error = errorFor(parts, query({ flags }), rcode);
    assertEquals(viewOf(error).getUint16(Offset.FLAGS), expected, flags.toString(16));
  }
});

/** Indexes a reply and makes it fit; what is left. */
function cut(bytes: Uint8Array, limit: number, hasOpt = true): Uint8Array {
  const reply = new Message();
  const view = viewOf(bytes);
  const whole = reply.index(view, bytes.length);
  return bytesOf(view, fitInPlace(reply, whole, hasOpt, limit));
}

const RECORDS = [a(NAME, "192.0.2.1"), txt(NAME, 20), a(NAME, "192.0.2.2"), txt(NAME, 30)];

/** A reply with the first `kept` of `RECORDS`, two a section, and with an OPT or none. */
function sections(kept: number, flags: number, extra = [] as ReturnType<typeof opt>[]): Uint8Array {
  return message({
    flags,
    answers: RECORDS.slice(0, Math.min(kept, 2)),
    authorities: RECORDS.slice(2, Math.max(2, Math.min(kept, 3))),
    additionals: [...RECORDS.slice(3, Math.max(3, kept)), ...extra],
  });
}

Deno.test("fitInPlace() ends between two records, when the limit is one less, equal or one more", () => {
  const bytes = sections(4, REPLY_FLAGS);
  for (let kept = 0; kept < 4; kept++) {
    const expected = sections(kept, REPLY_FLAGS | TC);
    assertEquals(cut(bytes, expected.length), expected, `${kept}`);
    assertEquals(cut(bytes, expected.length + 1), expected, `${kept} and one more`);
    if (kept === 0) continue;
    assertEquals(cut(bytes, expected.length - 1), sections(kept - 1, REPLY_FLAGS | TC), `${kept}`);
  }
});

Deno.test("fitInPlace() keeps the OPT, when there is one", () => {
  const option = opt(1232, 0x8000, new Uint8Array([0, 10, 0, 2, 1, 2]));
  const bytes = sections(4, REPLY_FLAGS, [option]);
  for (let kept = 0; kept < 4; kept++) {
    const expected = sections(kept, REPLY_FLAGS | TC, [option]);
    assertEquals(cut(bytes, expected.length), expected, `${kept}`);
    assertEquals(cut(bytes, expected.length + 1), expected, `${kept} and one more`);
    if (kept === 0) continue;
    const less = sections(kept - 1, REPLY_FLAGS | TC, [option]);
    assertEquals(cut(bytes, expected.length - 1), less, `${kept} and one less`);
  }
});

Deno.test("fitInPlace() moves the OPT up, when records stand behind it", () => {
  const additionals = [opt(1232), txt(NAME, 200), txt(NAME, 200)];
  const expected = message({ flags: REPLY_FLAGS | TC, additionals: [opt(1232)] });
  assertEquals(cut(message({ additionals }), 300), expected);
});

Deno.test("fitInPlace() drops the OPT, when it does not fit beside the question", () => {
  const bytes = message({ answers: RECORDS, additionals: [opt(1232, 0, new Uint8Array(100))] });
  const limit = QUESTION_END + OPT_LENGTH + 100;
  const withOpt = message({
    flags: REPLY_FLAGS | TC,
    additionals: [opt(1232, 0, new Uint8Array(100))],
  });
  assertEquals(cut(bytes, limit), withOpt);
  const { additionals, answers, flag_tc } = decode(cut(bytes, limit - 1));
  assertEquals([additionals?.length, flag_tc], [0, true]);
  assert(answers !== undefined && answers.length > 0);
});

Deno.test("fitInPlace() leaves header and question, when the reply was not indexed to its end", () => {
  const bytes = concat(message({ answers: RECORDS, counts: [1, 9, 0, 0] }), new Uint8Array(3));
  const expected = message({ flags: REPLY_FLAGS | TC });
  assertEquals(cut(bytes, bytes.length - 1), expected);
});

Deno.test("fitInPlace() cuts off what is behind the last record, when only that is too much", () => {
  for (const additionals of [[], [opt(1232)]]) {
    const kept = message({ answers: RECORDS, additionals });
    const bytes = message({ answers: RECORDS, additionals, trailing: new Uint8Array(50) });
    assertEquals(cut(bytes, bytes.length), bytes);
    assertEquals(cut(bytes, bytes.length - 1), kept);
    assertEquals(cut(bytes, kept.length), kept);
    const less = message({ answers: RECORDS.slice(0, -1), additionals, flags: REPLY_FLAGS | TC });
    assertEquals(cut(bytes, kept.length - 1), less);
  }
});

Deno.test("fitInPlace() removes an OPT that is the last record, when the query had none", () => {
  for (const option of [opt(1232), opt(1232, 0x8000, new Uint8Array(20))]) {
    for (let kept = 0; kept <= 4; kept++) {
      const bytes = sections(kept, REPLY_FLAGS, [option]);
      const without = sections(kept, REPLY_FLAGS);
      assertEquals(cut(bytes, 512, true), bytes);
      assertEquals(cut(bytes, 512, false), without);
      assertEquals(cut(concat(bytes, new Uint8Array(9)), 512, false), without);
      assertEquals(cut(bytes, without.length, false), without);
      if (kept === 0) continue;
      const less = sections(kept - 1, REPLY_FLAGS | TC);
      assertEquals(cut(bytes, without.length - 1, false), less);
    }
  }
});

Deno.test("fitInPlace() leaves an OPT, when it is not the last record or not the only one", () => {
  const last = { owner: NAME, type: 250, class: 255, ttl: 0, rdata: new Uint8Array(30) };
  for (const additionals of [[opt(1232), last], [opt(1232), opt(1232)]]) {
    const bytes = message({ answers: RECORDS, additionals });
    assertEquals(cut(bytes, 512, false), bytes);
  }
  const damaged = message({ additionals: [opt(1232)], counts: [1, 0, 0, 2] });
  assertEquals(cut(damaged, 512, false), damaged);
  // What has to be truncated anyway need not keep it.
  const bytes = message({ additionals: [opt(1232), last] });
  const expected = message({ flags: REPLY_FLAGS | TC });
  assertEquals(cut(bytes, bytes.length - 1, false), expected);
});

Deno.test("fitInPlace() gives what another parser reads, at every limit", () => {
  const bytes = sections(4, REPLY_FLAGS, [opt(1232)]);
  for (let limit = QUESTION_END; limit < bytes.length; limit++) {
    const left = cut(bytes, limit);
    assert(left.length <= limit);
    const { answers = [], authorities = [], additionals = [], flag_tc } = decode(left);
    assert(flag_tc);
    const hasOpt = additionals.some(({ type }) => type === "OPT");
    assertEquals(hasOpt, limit >= QUESTION_END + OPT_LENGTH, `${limit}`);
    assert(answers.length + authorities.length + additionals.length <= 4);
  }
});

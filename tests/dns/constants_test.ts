/** The numbers of the wire format, against those that `npm:dns-packet` writes and reads. */
import { assertEquals } from "@std/assert";
import {
  A_LENGTH,
  AAAA_LENGTH,
  Fixed,
  Flag,
  LABEL_LENGTH_MAX,
  MESSAGE_LENGTH_MAX,
  NAME_LABELS_MAX,
  NAME_LENGTH_MAX,
  Offset,
  OPCODE_MASK,
  OPCODE_SHIFT,
  OPT_FLAG_DO,
  OPT_LENGTH_MIN,
  QUESTION_FIXED_LENGTH,
  Rcode,
  RCODE_MASK,
  RECORDS_MAX,
  Type,
} from "../../lib/dns/constants.ts";
import { bytesOf, viewOf } from "../support/hex.ts";
import { message } from "../support/packet.ts";
import { decode, DNSSEC_OK, encode } from "../support/reader.ts";

/** Octets of the root name and of what follows it in a question. */
const ROOT_QUESTION_LENGTH = 1 + QUESTION_FIXED_LENGTH;

Deno.test("Flag has the header's bits, when another library names them", () => {
  for (const [name, bit] of Object.entries(Flag)) {
    const decoded = decode(message({ flags: bit }));
    const set = Object.entries(decoded).filter(([key, value]) => /^flag_/.test(key) && value);
    assertEquals(set.map(([key]) => key), [`flag_${name.toLowerCase()}`]);
  }
});

Deno.test("Rcode and OPCODE_SHIFT lie where another library finds them", () => {
  for (const [name, rcode] of Object.entries(Rcode)) {
    assertEquals(decode(message({ flags: Flag.QR | rcode })).rcode, name);
  }
  const update = 5 << OPCODE_SHIFT;
  assertEquals(decode(message({ flags: update })).opcode, "UPDATE");
  assertEquals(OPCODE_MASK & (RCODE_MASK | Object.values(Flag).reduce((all, bit) => all | bit)), 0);
});

Deno.test("Type has the numbers that another library writes", () => {
  for (const name of ["A", "CNAME", "AAAA", "OPT"] as const) {
    const view = viewOf(encode({ questions: [{ type: name, name: "" }] }));
    assertEquals(view.getUint16(Offset.QUESTION + 1), Type[name], name);
  }
  // Which it does not know; RFC 9460 section 14.1.
  assertEquals([Type.SVCB, Type.HTTPS], [64, 65]);
});

Deno.test("Offset and Fixed lead to the fields that another library writes", () => {
  const view = viewOf(encode({
    id: 0x0102,
    questions: [{ type: "A", name: "" }],
    answers: [{ type: "A", name: "", ttl: 0x01020304, data: "192.0.2.1" }],
    additionals: [{ type: "AAAA", name: "", ttl: 7, data: "2001:db8::1" }],
  }));
  const counts = [Offset.QDCOUNT, Offset.ANCOUNT, Offset.NSCOUNT, Offset.ARCOUNT];
  assertEquals(view.getUint16(Offset.ID), 0x0102);
  assertEquals(counts.map((at) => view.getUint16(at)), [1, 1, 0, 1]);
  const fixed = Offset.QUESTION + ROOT_QUESTION_LENGTH + 1;
  assertEquals(view.getUint16(fixed + Fixed.TYPE), Type.A);
  assertEquals(view.getUint16(fixed + Fixed.CLASS), 1);
  assertEquals(view.getUint32(fixed + Fixed.TTL), 0x01020304);
  assertEquals(view.getUint16(fixed + Fixed.RDLENGTH), A_LENGTH);
  assertEquals([...bytesOf(view).slice(fixed + Fixed.RDATA).slice(0, 4)], [192, 0, 2, 1]);
  const second = fixed + Fixed.RDATA + A_LENGTH + 1;
  assertEquals(view.getUint16(second + Fixed.RDLENGTH), AAAA_LENGTH);
  assertEquals(second + Fixed.RDATA + AAAA_LENGTH, view.byteLength);
});

Deno.test("OPT_FLAG_DO and OPT_LENGTH_MIN fit the OPT that another library writes", () => {
  const bytes = encode({
    questions: [{ type: "A", name: "" }],
    additionals: [{ type: "OPT", name: ".", udpPayloadSize: 1232, flags: DNSSEC_OK }],
  });
  const start = Offset.QUESTION + ROOT_QUESTION_LENGTH;
  assertEquals(bytes.length - start, OPT_LENGTH_MIN);
  assertEquals(viewOf(bytes).getUint32(start + 1 + Fixed.TTL), OPT_FLAG_DO);
});

Deno.test("RECORDS_MAX and NAME_LABELS_MAX are what fits, when all is as small as can be", () => {
  assertEquals([LABEL_LENGTH_MAX, NAME_LENGTH_MAX, NAME_LABELS_MAX], [63, 255, 127]);
  assertEquals(RECORDS_MAX, Math.floor((MESSAGE_LENGTH_MAX - 12) / 11));
});

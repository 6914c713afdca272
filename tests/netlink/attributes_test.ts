/** Messages and attributes: what is written can be read, and what is damaged is noticed. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  ATTRIBUTE_LENGTH_MAX,
  AttributeCursor,
  Control,
  MessageCursor,
  MessageFlag,
  MessageWriter,
  readAcknowledgement,
} from "../../lib/netlink/attributes.ts";
import { hex, viewOf } from "../support/hex.ts";
import { holds } from "../support/property.ts";

/** An attribute as a value: octets, or attributes. */
interface Spec {
  readonly type: number;
  readonly value: Uint8Array | readonly Spec[];
}

function write(writer: MessageWriter, { type, value }: Spec): void {
  if (value instanceof Uint8Array) return writer.octets(type, value);
  const at = writer.open(type);
  for (const inner of value) write(writer, inner);
  writer.close(at);
}

/** Reads attributes as the specs that they were written from. */
function read(cursor: AttributeCursor, like: readonly Spec[]): Spec[] {
  return like.map(({ value }) => {
    assert(cursor.next());
    const { view, type, start, end } = cursor;
    return {
      type,
      value: value instanceof Uint8Array
        ? cursor.octets()
        : read(new AttributeCursor().reset(view, start, end), value),
    };
  });
}

const leaf = fc.record({
  type: fc.integer({ min: 1, max: 30 }),
  value: fc.uint8Array({ maxLength: 40 }).map((octets) => Uint8Array.from(octets)),
});
const nest = fc.record({
  type: fc.integer({ min: 1, max: 30 }),
  value: fc.array(leaf, { maxLength: 4 }),
});
const message = fc.record({
  type: fc.nat(0xffff),
  flags: fc.nat(0xffff),
  sequence: fc.nat(0xffff_ffff),
  family: fc.nat(0xff),
  attributes: fc.array(fc.oneof(leaf, nest), { maxLength: 6 }),
});

Deno.test("cursors read what MessageWriter wrote, when messages and attributes are any", () => {
  const writer = new MessageWriter(65_536);
  // Whatever an earlier message left must not show in padding.
  writer.bytes.fill(0xa5);
  holds(
    "netlink round trip",
    fc.property(fc.array(message, { maxLength: 5 }), (specs) => {
      writer.clear();
      for (const { type, flags, sequence, family, attributes } of specs) {
        writer.begin(type, flags, sequence, family);
        for (const attribute of attributes) write(writer, attribute);
        writer.end();
      }
      const cursor = new MessageCursor().reset(new DataView(writer.bytes.buffer), 0, writer.length);
      for (const spec of specs) {
        assert(cursor.next());
        const { type, flags, sequence, family } = cursor;
        const attributes = read(new AttributeCursor().of(cursor), spec.attributes);
        assertEquals({ type, flags, sequence, family, attributes }, spec);
      }
      assert(!cursor.next() && !cursor.isDamaged);
    }),
  );
});

Deno.test("cursors stay within what they were given, when octets are any", () => {
  holds(
    "netlink any octets",
    fc.property(fc.uint8Array({ maxLength: 120 }), (octets) => {
      const view = viewOf(Uint8Array.from(octets));
      const cursor = new MessageCursor().reset(view, 0, octets.length);
      while (cursor.next()) {
        assert(cursor.end <= octets.length && cursor.start < cursor.body);
        readAcknowledgement(cursor);
        const attributes = new AttributeCursor().of(cursor);
        while (attributes.next()) {
          assert(attributes.end <= cursor.end);
          attributes.text();
          attributes.uint();
        }
      }
    }),
  );
});

Deno.test("MessageWriter refuses what does not fit, when a buffer or an attribute is full", () => {
  const writer = new MessageWriter(32);
  writer.begin(1, 0, 1, 0);
  assertEquals(writer.room, 12);
  assertThrows(() => writer.octets(1, new Uint8Array(9)), RangeError);
  writer.octets(1, new Uint8Array(8));
  assertEquals(writer.room, 0);
  const large = new MessageWriter(ATTRIBUTE_LENGTH_MAX + 100);
  const at = large.open(1);
  large.octets(1, new Uint8Array(ATTRIBUTE_LENGTH_MAX - 11));
  large.close(at);
  large.octets(1, new Uint8Array(0));
  assertThrows(() => large.close(at), RangeError);
});

Deno.test("uint64() writes network order, when a value has more than 32 bits", () => {
  const writer = new MessageWriter(64);
  for (const value of [0, 1, 86_400_000, 0xffff_ffff, 0x1_0000_0000, Number.MAX_SAFE_INTEGER]) {
    writer.clear();
    writer.uint64(4, value);
    const cursor = new AttributeCursor().reset(new DataView(writer.bytes.buffer), 0, writer.length);
    assert(cursor.next());
    assertEquals(cursor.uint(), value);
  }
});

/** What the kernel answered to `delete element inet dotp nat_addr { 192.0.2.9 }` (strace). */
const MISSING = hex(`
  60 00 00 00 02 00 00 02 01 00 00 00 93 4f 00 00  ; 96 octets, NLMSG_ERROR, ACK_TLVS, sequence 1
  fe ff ff ff                                      ; -ENOENT
  44 00 00 00 0e 0a 01 00 01 00 00 00 00 00 00 00  ; the message that it refuses
  01 00 00 00 09 00 01 00 'dotp' 00 00 00 00
  0d 00 02 00 'nat_addr' 00 00 00 00
  14 00 03 80 10 00 01 80 0c 00 01 80 08 00 01 00 c0 00 02 09
  08 00 02 00 34 00 00 00                          ; NLMSGERR_ATTR_OFFS: 52, the element
`);

/** The same with NETLINK_CAP_ACK, and with the words of NLMSGERR_ATTR_MSG. */
const CAPPED = hex(`
  3c 00 00 00 02 00 00 03 07 00 00 00 93 4f 00 00  ; 60 octets, CAPPED and ACK_TLVS, sequence 7
  ff ff ff ff                                      ; -EPERM
  44 00 00 00 0e 0a 01 00 07 00 00 00 00 00 00 00
  08 00 02 00 10 00 00 00
  0d 00 01 00 'not now!' 00 00 00 00
`);

function acknowledgementIn(octets: Uint8Array, length = octets.length) {
  const cursor = new MessageCursor().reset(viewOf(octets), 0, length);
  return cursor.next() ? readAcknowledgement(cursor) : undefined;
}

Deno.test("readAcknowledgement() reads error, place and words, when the kernel refuses", () => {
  assertEquals(acknowledgementIn(MISSING), { sequence: 1, errno: 2, offset: 52, message: "" });
  assertEquals(
    acknowledgementIn(CAPPED),
    { sequence: 7, errno: 1, offset: 16, message: "not now!" },
  );
});

Deno.test("readAcknowledgement() reads nothing or less, when an error is cut at any octet", () => {
  for (const octets of [MISSING, CAPPED]) {
    for (let length = 0; length < octets.length; length++) {
      assertEquals(acknowledgementIn(octets, length), undefined, `${length}`);
      if (length < 16) continue;
      // The same, but the header agrees with it.
      const shorter = octets.slice();
      new DataView(shorter.buffer).setUint32(0, length, true);
      const { errno = 0, offset } = acknowledgementIn(shorter, length) ?? {};
      assert(errno === (length < 20 ? 0 : octets === MISSING ? 2 : 1), `${length}`);
      assert(offset === undefined || offset === 52 || offset === 16, `${length}`);
    }
  }
});

Deno.test("readAcknowledgement() is done, when the error number is 0 or a listing ends", () => {
  const ack = hex("24 00 00 00 02 00 00 01 05 00 00 00 00 00 00 00 00 00 00 00" + " 00".repeat(16));
  assertEquals(acknowledgementIn(ack)?.errno, 0);
  const end = hex("14 00 00 00 03 00 02 00 09 00 00 00 33 22 00 00 00 00 00 00");
  assertEquals(acknowledgementIn(end), { sequence: 9, errno: 0, offset: undefined, message: "" });
  const writer = new MessageWriter(64);
  writer.begin(Control.NOOP, MessageFlag.MULTI, 1, 0);
  writer.end();
  assertEquals(acknowledgementIn(writer.bytes, writer.length), undefined);
});

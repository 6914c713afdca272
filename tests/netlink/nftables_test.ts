/**
 * nftables messages: byte for byte what nft sends for the same change, and what the kernel says read
 * back. The fixtures are what strace showed of nft 1.0.6 on Linux 6.18; nft names a set by its number in
 * the batch as well, which a set that exists needs not (`without SET_ID` below).
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  type Acknowledgement,
  MessageCursor,
  MessageWriter,
} from "../../lib/netlink/attributes.ts";
import {
  beginBatch,
  elementAt,
  ElementCursor,
  endBatch,
  NftType,
  readGeneration,
  readNotice,
  readSet,
  refusalOf,
  SetFlag,
  writeElements,
  writeGetElement,
  writeGetSet,
  writeGetTable,
  writeListElements,
} from "../../lib/netlink/nftables.ts";
import { hex, viewOf } from "../support/hex.ts";
import { concat } from "../support/packet.ts";
import { holds } from "../support/property.ts";

const FAKE = hex("c6 12 00 01");
const REAL = hex("c0 00 02 01");
const FAKE6 = hex("20 01 00 02 00 00 00 00 00 00 00 00 00 00 00 01");
const REAL6 = hex("20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01");

function written(write: (writer: MessageWriter) => void): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter(1 << 20);
  writer.bytes.fill(0xa5);
  write(writer);
  return writer.bytes.slice(0, writer.length);
}

function messageIn(octets: Uint8Array, length = octets.length): MessageCursor {
  const cursor = new MessageCursor().reset(viewOf(octets), 0, length);
  cursor.next();
  return cursor;
}

const BATCH_BEGIN = "14 00 00 00 10 00 01 00 00 00 00 00 00 00 00 00 00 00 00 0a";

Deno.test("writeElements() writes what nft sends, when elements of IPv4 are added", () => {
  const octets = written((writer) => {
    beginBatch(writer, 0);
    const map = [{ key: FAKE, data: REAL }];
    const next = writeElements(writer, "add", "dotp", "nat_map", map, 1);
    const set = [{ key: REAL, timeoutMs: 90_000 }];
    endBatch(writer, writeElements(writer, "add", "dotp", "nat_addr", set, next));
  });
  // add element inet dotp nat_map { 198.18.0.1 : 192.0.2.1 };
  // add element inet dotp nat_addr { 192.0.2.1 timeout 90s }, without SET_ID
  const expected = hex(`${BATCH_BEGIN}
    4c 00 00 00 0c 0a 01 04 01 00 00 00 00 00 00 00  ; NEWSETELEM, REQUEST and CREATE, sequence 1
    01 00 00 00                                      ; family inet
    09 00 01 00 'dotp' 00 00 00 00
    0c 00 02 00 'nat_map' 00
    20 00 03 80 1c 00 01 80                          ; list, its first element
    0c 00 01 80 08 00 01 00 c6 12 00 01              ; key
    0c 00 02 80 08 00 01 00 c0 00 02 01              ; data
    50 00 00 00 0c 0a 01 04 02 00 00 00 00 00 00 00
    01 00 00 00
    09 00 01 00 'dotp' 00 00 00 00
    0d 00 02 00 'nat_addr' 00 00 00 00
    20 00 03 80 1c 00 01 80
    0c 00 04 00 00 00 00 00 00 01 5f 90              ; timeout, 90000 ms
    0c 00 01 80 08 00 01 00 c0 00 02 01
    14 00 00 00 11 00 01 00 03 00 00 00 00 00 00 00 00 00 00 0a`);
  assertEquals(octets, expected);
});

Deno.test("writeElements() writes what nft sends, when elements are deleted", () => {
  const octets = written((writer) => {
    beginBatch(writer, 0);
    const next = writeElements(writer, "delete", "dotp", "nat_map", [{ key: FAKE }], 1);
    endBatch(writer, writeElements(writer, "delete", "dotp", "nat_addr", [{ key: REAL }], next));
  });
  // delete element inet dotp nat_map { 198.18.0.1 : 192.0.2.1 };
  // delete element inet dotp nat_addr {192.0.2.1}
  const expected = hex(`${BATCH_BEGIN}
    40 00 00 00 0e 0a 01 00 01 00 00 00 00 00 00 00 01 00 00 00
    09 00 01 00 'dotp' 00 00 00 00 0c 00 02 00 'nat_map' 00
    14 00 03 80 10 00 01 80 0c 00 01 80 08 00 01 00 c6 12 00 01
    44 00 00 00 0e 0a 01 00 02 00 00 00 00 00 00 00 01 00 00 00
    09 00 01 00 'dotp' 00 00 00 00 0d 00 02 00 'nat_addr' 00 00 00 00
    14 00 03 80 10 00 01 80 0c 00 01 80 08 00 01 00 c0 00 02 01
    14 00 00 00 11 00 01 00 03 00 00 00 00 00 00 00 00 00 00 0a`);
  assertEquals(octets, expected);
});

Deno.test("writeElements() writes what nft sends, when a pair of IPv6 is added", () => {
  const octets = written((writer) => {
    const map = [{ key: FAKE6, data: REAL6 }];
    writeElements(writer, "add", "dotp", "nat_map6", map, 1);
  });
  // add element inet dotp nat_map6 { 2001:2::1 : 2001:db8::1 } (nft --debug=mnl), without SET_ID
  const expected = hex(`
    68 00 00 00 0c 0a 01 04 01 00 00 00 00 00 00 00 01 00 00 00
    09 00 01 00 'dotp' 00 00 00 00 0d 00 02 00 'nat_map6' 00 00 00 00
    38 00 03 80 34 00 01 80
    18 00 01 80 14 00 01 00 20 01 00 02 00 00 00 00 00 00 00 00 00 00 00 01
    18 00 02 80 14 00 01 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01`);
  assertEquals(octets, expected);
});

Deno.test("questions are what nft sends, when a listing, an element, a set or a table is asked for", () => {
  // nft names the set first.
  const list = written((writer) => writeListElements(writer, "dotp", "nat_map", 0));
  assertEquals(
    list,
    hex(`2c 00 00 00 0d 0a 01 03 00 00 00 00 00 00 00 00 01 00 00 00
      09 00 01 00 'dotp' 00 00 00 00 0c 00 02 00 'nat_map' 00`),
  );
  const element = written((writer) => writeGetElement(writer, "dotp", "nat_map", FAKE, 1));
  assertEquals(
    element,
    hex(`40 00 00 00 0d 0a 05 00 01 00 00 00 00 00 00 00 01 00 00 00
      09 00 01 00 'dotp' 00 00 00 00 0c 00 02 00 'nat_map' 00
      14 00 03 80 10 00 01 80 0c 00 01 80 08 00 01 00 c6 12 00 01`),
  );
  const set = written((writer) => writeGetSet(writer, "dotp", "nat_map", 0));
  assertEquals(
    set,
    hex(`2c 00 00 00 0a 0a 05 00 00 00 00 00 00 00 00 00 01 00 00 00
      09 00 01 00 'dotp' 00 00 00 00 0c 00 02 00 'nat_map' 00`),
  );
  const table = written((writer) => writeGetTable(writer, "dotp", 0));
  assertEquals(
    table,
    hex(`20 00 00 00 01 0a 05 00 00 00 00 00 00 00 00 00 01 00 00 00
      09 00 01 00 'dotp' 00 00 00 00`),
  );
});

/** A part of the listing of a map with a timeout of a day; one element has its own, 40 s. */
const LISTED = hex(`
  8c 00 00 00 0c 0a 02 00 00 00 00 00 33 22 00 00  ; NEWSETELEM, MULTI
  01 00 00 04 09 00 01 00 'dotp' 00 00 00 00 0c 00 02 00 'nat_map' 00
  60 00 03 00                                      ; the kernel sets no nested bits
  34 00 01 00
  0c 00 01 00 08 00 01 00 c6 12 00 03 0c 00 02 00 08 00 01 00 c0 00 02 03
  0c 00 04 00 00 00 00 00 00 00 9c 40              ; timeout, 40000 ms
  0c 00 05 00 00 00 00 00 00 00 9c 38              ; expires in 39992 ms
  28 00 01 00
  0c 00 01 00 08 00 01 00 c6 12 00 02 0c 00 02 00 08 00 01 00 c0 00 02 02
  0c 00 05 00 00 00 00 00 05 26 5b f8              ; expires in 86399992 ms
`);

/** The same of a map without timeout, whose element has a comment. */
const COMMENTED = hex(`
  58 00 00 00 0c 0a 02 00 00 00 00 00 3f 22 00 00
  01 00 00 04 09 00 01 00 'dotp' 00 00 00 00 0a 00 02 00 'plain' 00 00 00
  2c 00 03 00 28 00 01 00
  0c 00 01 00 08 00 01 00 c6 12 00 02 0c 00 02 00 08 00 01 00 c0 00 02 02
  0a 00 06 00 00 04 'hey' 00 00 00
`);

const EMPTY = hex(`
  30 00 00 00 0c 0a 02 00 00 00 00 00 33 22 00 00
  01 00 00 04 09 00 01 00 'dotp' 00 00 00 00 0c 00 02 00 'nat_map' 00 04 00 03 00
`);

function elementsIn(octets: Uint8Array, length = octets.length) {
  const cursor = new ElementCursor().of(messageIn(octets, length));
  const found: (readonly [key: string, data: string, expiresMs: number])[] = [];
  while (cursor.next()) {
    found.push([cursor.key().join("."), cursor.data().join("."), cursor.expiresMs]);
  }
  return { table: cursor.table, set: cursor.set, found };
}

Deno.test("ElementCursor reads keys, data and lifetimes, when the kernel lists a map", () => {
  assertEquals(elementsIn(LISTED), {
    table: "dotp",
    set: "nat_map",
    found: [["198.18.0.3", "192.0.2.3", 39_992], ["198.18.0.2", "192.0.2.2", 86_399_992]],
  });
  assertEquals(elementsIn(COMMENTED), {
    table: "dotp",
    set: "plain",
    found: [["198.18.0.2", "192.0.2.2", Infinity]],
  });
  assertEquals(elementsIn(EMPTY), { table: "dotp", set: "nat_map", found: [] });
});

Deno.test("ElementCursor reads whole elements only, when a listing is cut at any octet", () => {
  for (let length = 20; length < LISTED.length; length++) {
    const shorter = LISTED.slice();
    new DataView(shorter.buffer).setUint32(0, length, true);
    const cut = elementsIn(shorter, length).found;
    // A list that is longer than its message is damaged as a whole.
    assertEquals(cut, [], `${length}`);
  }
});

Deno.test("ElementCursor stays within the message, when octets are changed", () => {
  holds(
    "netlink elements changed",
    fc.property(
      fc.array(fc.tuple(fc.nat(LISTED.length - 1), fc.nat(0xff)), { minLength: 1, maxLength: 4 }),
      (changes) => {
        const octets = LISTED.slice();
        for (const [at, octet] of changes) octets[at] = octet;
        const message = messageIn(octets);
        if (message.end === 0) return;
        const cursor = new ElementCursor().of(message);
        while (cursor.next()) {
          assert(cursor.keyStart + cursor.keyLength <= message.end);
          assert(cursor.dataStart + cursor.dataLength <= message.end);
        }
        readNotice(message);
        readSet(message);
        readGeneration(message);
      },
    ),
  );
});

const address = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((a) => Uint8Array.from(a));

Deno.test("ElementCursor reads what writeElements() wrote, when elements are many", () => {
  holds(
    "netlink elements round trip",
    fc.property(
      fc.array(
        fc.record({
          key: address,
          data: fc.option(address, { nil: undefined }),
          timeoutMs: fc.option(fc.nat(), { nil: undefined }),
        }),
        { maxLength: 3_000, size: "max" },
      ),
      (elements) => {
        const octets = written((writer) => {
          const next = writeElements(writer, "add", "t", "s", elements, 7);
          writer.begin(NftType.BATCH_END, 0, next, 0);
          writer.end();
        });
        const message = new MessageCursor().reset(viewOf(octets), 0, octets.length);
        const read: (readonly [Uint8Array, Uint8Array])[] = [];
        let sequence = 7;
        for (; message.next() && message.type !== NftType.BATCH_END; sequence++) {
          assertEquals(message.sequence, sequence);
          const cursor = new ElementCursor().of(message);
          while (cursor.next()) read.push([cursor.key(), cursor.data()]);
        }
        assertEquals(message.sequence, sequence);
        assertEquals(read, elements.map(({ key, data }) => [key, data ?? new Uint8Array()]));
      },
    ),
    20,
  );
});

Deno.test("readSet() reads what a map is, when the kernel describes it", () => {
  const map = hex(`
    b0 00 00 00 09 0a 00 00 00 00 00 00 dc 14 00 00 01 00 00 02
    09 00 01 00 'dotp' 00 00 00 00 0c 00 02 00 'nat_map' 00
    0c 00 10 00 00 00 00 00 00 00 00 02              ; handle
    08 00 03 00 00 00 00 18                          ; MAP, TIMEOUT
    08 00 04 00 00 00 00 07 08 00 05 00 00 00 00 04  ; key: ipv4_addr, 4 octets
    08 00 06 00 00 00 00 07 08 00 07 00 00 00 00 04  ; data
    0c 00 0b 00 00 00 00 00 05 26 5c 00              ; timeout: a day
    16 00 0d 00 00 04 02 00 00 00 01 04 02 00 00 00 06 04 00 00 00 00 00 00
    0c 00 09 00 08 00 01 00 00 02 00 00              ; size 131072
    17 00 13 00 '0xffffffff82507f40' 00 00 08 00 14 00 00 00 00 00`);
  assertEquals(readSet(messageIn(map)), {
    ...{ table: "dotp", name: "nat_map", flags: SetFlag.MAP | SetFlag.TIMEOUT },
    ...{ keyType: 7, keyLength: 4, dataType: 7, dataLength: 4 },
    ...{ timeoutMs: 86_400_000, size: 131_072 },
  });
  const plain = hex(`
    98 00 00 00 09 0a 00 00 00 00 00 00 e0 14 00 00 01 00 00 02
    09 00 01 00 'dotp' 00 00 00 00 0a 00 02 00 'plain' 00 00 00
    08 00 03 00 00 00 00 08 08 00 04 00 00 00 00 07 08 00 05 00 00 00 00 04
    08 00 06 00 00 00 00 07 08 00 07 00 00 00 00 04 04 00 09 00`);
  new DataView(plain.buffer).setUint32(0, plain.length, true);
  const { timeoutMs, size, flags } = readSet(messageIn(plain));
  assertEquals([timeoutMs, size, flags], [Infinity, Infinity, SetFlag.MAP]);
});

Deno.test("readNotice() tells what has changed, when somebody else changes the tables", () => {
  const added = hex(`
    74 00 00 00 0c 0a 00 04 00 00 00 00 bf 22 00 00  ; port 8895: who made the change
    01 00 00 05 09 00 01 00 'dotp' 00 00 00 00 0d 00 02 00 'nat_map6' 00 00 00 00
    44 00 03 00 40 00 01 00
    18 00 01 00 14 00 01 00 20 01 00 02 00 00 00 00 00 00 00 00 00 00 00 01
    18 00 02 00 14 00 01 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01
    0c 00 05 00 00 00 00 00 05 26 5c 00`);
  assertEquals(readNotice(messageIn(added)), { kind: "added", table: "dotp", set: "nat_map6" });
  assertEquals(messageIn(added).port, 8_895);
  const deleted = hex(`
    58 00 00 00 0e 0a 00 00 00 00 00 00 bf 22 00 00
    01 00 00 05 09 00 01 00 'dotp' 00 00 00 00 0c 00 02 00 'nat_map' 00
    2c 00 03 00 28 00 01 00
    0c 00 01 00 08 00 01 00 c6 12 00 02 0c 00 02 00 08 00 01 00 c0 00 02 02
    0c 00 05 00 00 00 00 00 05 26 59 a8`);
  assertEquals(readNotice(messageIn(deleted)), { kind: "deleted", table: "dotp", set: "nat_map" });
  assertEquals(elementsIn(deleted).found, [["198.18.0.2", "192.0.2.2", 86_399_400]]);
  const done = hex(`
    2c 00 00 00 0f 0a 00 00 01 00 00 00 bf 22 00 00
    00 00 00 05 08 00 01 00 00 00 00 05 08 00 02 00 00 00 22 bf 08 00 03 00 'nft' 00`);
  assertEquals(readNotice(messageIn(done)), { kind: "done" });
  assertEquals(
    readGeneration(messageIn(done)),
    { generation: 5, processId: 8_895, processName: "nft" },
  );
  const gone = hex(`
    20 00 00 00 02 0a 00 00 00 00 00 00 c9 22 00 00 01 00 00 08 09 00 01 00 'dotp' 00 00 00 00`);
  assertEquals(readNotice(messageIn(gone)), { kind: "table gone", table: "dotp" });
  // A table of the same name in another family is another table.
  gone[16] = 2;
  assertEquals(readNotice(messageIn(gone)), { kind: "other" });
});

function refused(sequence: number, offset?: number): Acknowledgement {
  return { sequence, errno: 2, offset, message: "" };
}

Deno.test("elementAt() finds the element that the kernel means, when it refuses one of many", () => {
  const octets = written((writer) => {
    beginBatch(writer, 4);
    writeElements(writer, "delete", "dotp", "nat_addr", [{ key: REAL }, {
      key: hex("c0 00 02 09"),
    }], 5);
    writeElements(writer, "add", "dotp", "nat_map6", [{ key: FAKE6, data: REAL6 }], 6);
    endBatch(writer, 7);
  });
  const at = (sequence: number, offset?: number) =>
    elementAt(viewOf(octets), octets.length, refused(sequence, offset));
  assertEquals(at(5, 52), { verb: "delete", set: "nat_addr", key: REAL });
  assertEquals(at(5, 68), { verb: "delete", set: "nat_addr", key: hex("c0 00 02 09") });
  assertEquals(at(6, 52), { verb: "add", set: "nat_map6", key: FAKE6 });
  // The set's name: it is not there at all.
  assertEquals(at(5, 32), undefined);
  assertEquals(at(5), undefined);
  assertEquals(at(4, 52), undefined);
  assertEquals(at(99, 52), undefined);
});

Deno.test("refusalOf() says why, when the kernel gives an error number", () => {
  // As strace showed: the key with other data -17, one element more than `size` -23.
  assertEquals([2, 17, 23, 22, 12].map(refusalOf), ["missing", "exists", "full", "other", "other"]);
});

Deno.test("fixtures are whole messages, when their lengths are added up", () => {
  for (const octets of [LISTED, COMMENTED, EMPTY, concat(LISTED, EMPTY)]) {
    const cursor = new MessageCursor().reset(viewOf(octets), 0, octets.length);
    while (cursor.next());
    assert(!cursor.isDamaged);
    assertEquals(cursor.end, octets.length);
  }
});

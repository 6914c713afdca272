/**
 * conntrack messages: what the conntrack program sends and is told for the same question, as strace
 * showed it of version 1.4.7 on Linux 6.18.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { AttributeCursor, MessageCursor, MessageWriter } from "../../lib/netlink/attributes.ts";
import {
  ConnectionView,
  ConntrackStatus,
  ConntrackType,
  writeDeleteConnection,
  writeListConnections,
} from "../../lib/netlink/conntrack.ts";
import { defined } from "../support/defined.ts";
import { hex, viewOf } from "../support/hex.ts";
import { holds } from "../support/property.ts";

/** udp src=192.0.2.1 dst=198.18.0.1 sport=40000 dport=5353, translated to 192.0.2.1 */
const ORIGINAL = `
  34 00 01 80
  14 00 01 80 08 00 01 00 c0 00 02 01 08 00 02 00 c6 12 00 01
  1c 00 02 80 05 00 01 00 11 00 00 00 06 00 02 00 9c 40 00 00 06 00 03 00 14 e9 00 00`;
const LISTED = hex(`
  a4 00 00 00 00 01 22 00 e3 cc 05 6b 01 42 00 00 02 00 00 00
  ${ORIGINAL}
  34 00 02 80
  14 00 01 80 08 00 01 00 c0 00 02 01 08 00 02 00 c0 00 02 01
  1c 00 02 80 05 00 01 00 11 00 00 00 06 00 02 00 14 e9 00 00 06 00 03 00 9c 40 00 00
  08 00 03 00 00 00 01 a8  ; status: confirmed, destination NAT, both NAT done
  08 00 08 00 00 00 00 00  ; mark
  08 00 0c 00 60 0d ca 77  ; id
  08 00 0b 00 00 00 00 01  ; use
  08 00 07 00 00 00 00 1d  ; timeout
`);

/** udp src=2001:db8::1 dst=2001:2::1 sport=40006 dport=5354, in zone 3 */
const LISTED6 = hex(`
  dc 00 00 00 00 01 22 00 e3 cc 05 6b 14 42 00 00 0a 00 00 00
  4c 00 01 80
  2c 00 01 80 14 00 03 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01
              14 00 04 00 20 01 00 02 00 00 00 00 00 00 00 00 00 00 00 01
  1c 00 02 80 05 00 01 00 11 00 00 00 06 00 02 00 9c 46 00 00 06 00 03 00 14 ea 00 00
  4c 00 02 80
  2c 00 01 80 14 00 03 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01
              14 00 04 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01
  1c 00 02 80 05 00 01 00 11 00 00 00 06 00 02 00 14 ea 00 00 06 00 03 00 9c 46 00 00
  06 00 12 00 00 03 00 00  ; zone
  08 00 03 00 00 00 01 a8
  08 00 08 00 00 00 00 00 08 00 0c 00 79 53 f2 6b 08 00 0b 00 00 00 00 01 08 00 07 00 00 00 00 1d
`);

function written(write: (writer: MessageWriter) => void): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter(4_096);
  writer.bytes.fill(0xa5);
  write(writer);
  return writer.bytes.slice(0, writer.length);
}

function viewIn(octets: Uint8Array, length = octets.length): ConnectionView | undefined {
  const message = new MessageCursor().reset(viewOf(octets), 0, length);
  const connection = new ConnectionView();
  return message.next() && connection.read(message) ? connection : undefined;
}

function connectionIn(octets: Uint8Array): ConnectionView {
  return defined(viewIn(octets));
}

Deno.test("writeListConnections() writes what conntrack sends, when it lists an IP version", () => {
  assertEquals(
    written((writer) => writeListConnections(writer, 4, 0x6b05cce3)),
    hex("14 00 00 00 01 01 01 03 e3 cc 05 6b 00 00 00 00 02 00 00 00"),
  );
  assertEquals(
    written((writer) => writeListConnections(writer, 6, 1, ConntrackStatus.DESTINATION_NAT)),
    hex(`24 00 00 00 01 01 01 03 01 00 00 00 00 00 00 00 0a 00 00 00
      08 00 03 00 00 00 00 20 08 00 1a 00 00 00 00 20`),
  );
});

Deno.test("ConnectionView reads both directions, when a connection was translated", () => {
  const connection = connectionIn(LISTED);
  assertEquals(connection.original(), {
    source: hex("c0 00 02 01"),
    destination: hex("c6 12 00 01"),
    ...{ protocol: 17, sourcePort: 40_000, destinationPort: 5_353 },
  });
  assertEquals(connection.reply(), {
    source: hex("c0 00 02 01"),
    destination: hex("c0 00 02 01"),
    ...{ protocol: 17, sourcePort: 5_353, destinationPort: 40_000 },
  });
  assertEquals([connection.family, connection.zone, connection.id], [4, 0, 0x600dca77]);
  assert((connection.status & ConntrackStatus.DESTINATION_NAT) !== 0);
  const { view, destinationStart } = connection;
  assertEquals(view.getUint32(destinationStart), 0xc6120001);
});

Deno.test("ConnectionView reads addresses and zone, when a connection is of IPv6", () => {
  const connection = connectionIn(LISTED6);
  assertEquals(connection.original().destination, hex("20 01 00 02" + " 00".repeat(11) + " 01"));
  assertEquals([connection.family, connection.zone, connection.id], [6, 3, 0x7953f26b]);
});

Deno.test("writeDeleteConnection() names tuple, zone and id, when a listed one is to go", () => {
  const deletion = written((writer) =>
    writeDeleteConnection(writer, 4, connectionIn(LISTED).identity(), 9)
  );
  // conntrack -D sends more, which the kernel does not look at, and no id.
  const expected = hex(`
    50 00 00 00 02 01 05 00 09 00 00 00 00 00 00 00 02 00 00 00
    ${ORIGINAL}
    08 00 0c 00 60 0d ca 77`);
  assertEquals(deletion, expected);
  const types: number[] = [];
  const octets = written((writer) =>
    writeDeleteConnection(writer, 6, connectionIn(LISTED6).identity(), 1)
  );
  const message = new MessageCursor().reset(viewOf(octets), 0, octets.length);
  assert(message.next() && message.type === ConntrackType.DELETE);
  const attributes = new AttributeCursor().of(message);
  while (attributes.next()) types.push(attributes.type);
  assertEquals([types, message.end], [[1, 18, 12], octets.length]);
});

Deno.test("writeDeleteConnection() throws, when it would delete all connections", () => {
  const writer = new MessageWriter(64);
  assertThrows(() => writeDeleteConnection(writer, 4, new Uint8Array(), 1), RangeError);
  assertEquals(writer.length, 0);
});

Deno.test("ConnectionView.read() is false, when a message is cut before its destination ends", () => {
  for (const octets of [LISTED, LISTED6]) {
    for (let length = 16; length < octets.length; length++) {
      const shorter = octets.slice();
      new DataView(shorter.buffer).setUint32(0, length, true);
      const connection = viewIn(shorter, length);
      // Only where one attribute ends and the next begins is a shorter message sound.
      if (connection === undefined) continue;
      assertEquals(connection.original(), connectionIn(octets).original(), `${length}`);
    }
    assertEquals(viewIn(octets, octets.length - 1), undefined);
  }
});

Deno.test("ConnectionView stays within the message, when octets are changed", () => {
  const change = fc.tuple(fc.nat(LISTED6.length - 1), fc.nat(0xff));
  holds(
    "netlink connection changed",
    fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), (changes) => {
      const octets = LISTED6.slice();
      for (const [at, octet] of changes) octets[at] = octet;
      const connection = viewIn(octets);
      if (connection === undefined) return;
      connection.original();
      connection.reply();
      assert(connection.identity().length <= octets.length);
      assert(connection.destinationStart + (connection.family === 4 ? 4 : 16) <= octets.length);
    }),
  );
});

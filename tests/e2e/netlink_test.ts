/**
 * The byte code of `lib/netlink/` and its sockets against the real kernel: what is committed is what nft
 * lists, what the kernel refuses has its reason and its element, what others change is told, and
 * conntrack forgets exactly the connection that it is asked to.
 */

import { assert, assertEquals } from "@std/assert";
import { parseAddress } from "../../lib/address.ts";
import type { Acknowledgement, MessageWriter } from "../../lib/netlink/attributes.ts";
import {
  ConnectionView,
  ConntrackGroup,
  ConntrackType,
  writeDeleteConnection,
  writeListConnections,
} from "../../lib/netlink/conntrack.ts";
import {
  beginBatch,
  elementAt,
  ElementCursor,
  endBatch,
  NFTABLES_GROUP,
  NftType,
  readNotice,
  readSet,
  refusalOf,
  type SetElement,
  writeElements,
  writeGetElement,
  writeGetSet,
  writeGetTable,
  writeListElements,
} from "../../lib/netlink/nftables.ts";
import { Libc } from "../../lib/io/direct/libc.ts";
import { NetlinkSocket, type Transacted } from "../../lib/io/direct/netlink.ts";
import { defined } from "../support/defined.ts";
import { mustRun } from "../support/run.ts";

const TABLE = "netlink_test";

/** The sets of `rules.nft`, with a small one to fill. */
const RULES = `
table inet ${TABLE} {
  set nat_addr { type ipv4_addr; flags timeout; timeout 1d; size 3; }
  map nat_map { type ipv4_addr : ipv4_addr; flags timeout; timeout 1d; size 131072; }
  set nat_addr6 { type ipv6_addr; size 262144; }
  map nat_map6 { type ipv6_addr : ipv6_addr; flags timeout; timeout 1d; size 262144; }
}`;

const libc = Libc.open();

function nft(script: string): Promise<string> {
  return mustRun(["nft", "-f", "-"], { stdin: script });
}

/** Runs a test with a table and a socket of its own. */
function withTable(test: (socket: NetlinkSocket) => Promise<void>): () => Promise<void> {
  return async () => {
    await nft(RULES);
    const socket = new NetlinkSocket(libc);
    try {
      await test(socket);
    } finally {
      socket.close();
      await nft(`table inet ${TABLE}; delete table inet ${TABLE}`);
    }
  };
}

type Step = readonly ["add" | "delete", set: string, elements: readonly SetElement[]];

/** A batch of steps, the last one acknowledged. */
function batch(steps: readonly Step[]): (writer: MessageWriter, sequence: number) => number {
  return (writer, sequence) => {
    beginBatch(writer, sequence);
    let next = sequence + 1;
    for (const [verb, set, elements] of steps) {
      next = writeElements(writer, verb, TABLE, set, elements, next);
    }
    writer.acknowledge();
    endBatch(writer, next);
    return next + 1;
  };
}

function bytes(text: string): Uint8Array {
  return parseAddress(text).bytes;
}

function element(key: string, data?: string, timeoutMs?: number): SetElement {
  return { key: bytes(key), data: data === undefined ? undefined : bytes(data), timeoutMs };
}

async function list(
  socket: NetlinkSocket,
  set: string,
  breathe = () => Promise.resolve(),
  isOvertaken = () => false,
) {
  let found: (readonly [key: string, data: string, expiresMs: number])[] = [];
  const cursor = new ElementCursor();
  await socket.list({
    write: (writer, sequence) => writeListElements(writer, TABLE, set, sequence),
    begin: () => found = [],
    onMessage: (message) => {
      cursor.of(message);
      while (cursor.next()) {
        found.push([cursor.key().join("."), cursor.data().join("."), cursor.expiresMs]);
      }
    },
    breathe,
    isOvertaken,
  });
  return found;
}

function errorsOf(result: Transacted): readonly Acknowledgement[] {
  assertEquals(result.kind, "refused");
  return result.kind === "refused" ? result.errors : [];
}

Deno.test(
  "nft lists what was committed, when elements of both IP versions are added and deleted",
  withTable(async (socket) => {
    assertEquals(
      socket.transact(batch([
        ["add", "nat_map", [
          element("198.18.0.1", "192.0.2.1"),
          element("198.18.0.2", "192.0.2.2"),
        ]],
        ["add", "nat_addr", [element("192.0.2.1", undefined, 40_000)]],
        ["add", "nat_map6", [element("2001:2::1", "2001:db8::1")]],
        ["add", "nat_addr6", [element("2001:db8::1")]],
      ])),
      { kind: "done" },
    );
    const listed = await mustRun(["nft", "list", "table", "inet", TABLE]);
    for (
      const part of [
        /198\.18\.0\.1 expires \S+ : 192\.0\.2\.1/,
        /192\.0\.2\.1 timeout 40s expires/,
        /2001:2::1 expires \S+ : 2001:db8::1/,
        /elements = \{ 2001:db8::1 \}/,
      ]
    ) assert(part.test(listed), `${part} in ${listed}`);
    assertEquals(
      socket.transact(batch([
        ["delete", "nat_map", [element("198.18.0.1")]],
        ["delete", "nat_addr6", [element("2001:db8::1")]],
      ])),
      { kind: "done" },
    );
    const after = await mustRun(["nft", "list", "table", "inet", TABLE]);
    assert(!/198\.18\.0\.1 /.test(after) && /198\.18\.0\.2 /.test(after), after);
  }),
);

Deno.test(
  "the kernel's description and one element are read, when they are asked for",
  withTable((socket) => {
    socket.transact(batch([["add", "nat_map", [element("198.18.0.1", "192.0.2.1")]]]));
    let size = 0;
    const described = socket.ask(
      (writer, sequence) => writeGetSet(writer, TABLE, "nat_map", sequence),
      (message) => size = readSet(message).size,
    );
    assertEquals([described.errno, size], [0, 131_072]);
    const found: string[] = [];
    const get = (key: string) =>
      socket.ask(
        (writer, sequence) => writeGetElement(writer, TABLE, "nat_map", bytes(key), sequence),
        (message) => {
          const cursor = new ElementCursor().of(message);
          while (cursor.next()) found.push(cursor.data().join("."));
        },
      ).errno;
    assertEquals([get("198.18.0.1"), refusalOf(get("198.18.0.9"))], [0, "missing"]);
    assertEquals(found, ["192.0.2.1"]);
    const table = (name: string) =>
      socket.ask((writer, sequence) => writeGetTable(writer, name, sequence)).errno;
    assertEquals([table(TABLE), refusalOf(table("no_such_table"))], [0, "missing"]);
    return Promise.resolve();
  }),
);

Deno.test(
  "nothing of a batch is taken and the bad element is named, when the kernel refuses one",
  withTable(async (socket) => {
    socket.transact(batch([["add", "nat_map", [element("198.18.0.1", "192.0.2.1")]]]));
    const refuse = (steps: readonly Step[]) => {
      const errors = errorsOf(socket.transact(batch(steps)));
      const { view, length } = socket.sent;
      return errors.map((error) => {
        const at = elementAt(view, length, error);
        return [refusalOf(error.errno), at?.verb, at?.set, at?.key.join(".")];
      });
    };
    const good = element("198.18.0.7", "192.0.2.7");
    assertEquals(
      refuse([
        ["add", "nat_map", [good]],
        ["delete", "nat_map", [element("198.18.0.1"), element("198.18.0.8")]],
      ]),
      [["missing", "delete", "nat_map", "198.18.0.8"]],
    );
    assertEquals(
      refuse([["add", "nat_map", [good, element("198.18.0.1", "192.0.2.9")]]]),
      [["exists", "add", "nat_map", "198.18.0.1"]],
    );
    const four = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"].map((key) => element(key));
    assertEquals(
      refuse([["add", "nat_map", [good]], ["add", "nat_addr", four]]),
      [["full", "add", "nat_addr", "192.0.2.4"]],
    );
    // Each message has an error of its own.
    assertEquals(
      refuse([["add", "no_such_set", four], ["delete", "nat_map", [element("198.18.0.8")]]]),
      [
        ["missing", undefined, undefined, undefined],
        ["missing", "delete", "nat_map", "198.18.0.8"],
      ],
    );
    assertEquals((await list(socket, "nat_map")).map(([key]) => key), ["198.18.0.1"]);
  }),
);

Deno.test(
  "a full batch is one transaction, when a thousand mappings of IPv6 are given a new lifetime",
  withTable(async (socket) => {
    const pairs = Array.from(
      { length: 1_000 },
      (_, i) => element(`2001:2::${i.toString(16)}`, `2001:db8::${i.toString(16)}`),
    );
    const reals = pairs.map(({ data }) => ({ key: data! }));
    const add: Step[] = [["add", "nat_map6", pairs], ["add", "nat_addr6", reals]];
    const remove: Step[] = [
      ["delete", "nat_map6", pairs.map(({ key }) => ({ key }))],
      ["delete", "nat_addr6", reals],
    ];
    assertEquals(socket.transact(batch(add)), { kind: "done" });
    assertEquals(socket.transact(batch([...remove, ...add])), { kind: "done" });
    assertEquals((await list(socket, "nat_map6")).length, 1_000);
    assertEquals(socket.transact(batch(remove)), { kind: "done" });
    assertEquals(await list(socket, "nat_map6"), []);
  }),
);

Deno.test(
  "a listing holds every element once, when the set is large and changes meanwhile",
  withTable(async (socket) => {
    const other = new NetlinkSocket(libc);
    const of = (i: number) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
    for (let from = 0; from < 20_000; from += 1_000) {
      const pairs = Array.from({ length: 1_000 }, (_, i) => element(of(from + i), of(from + i)));
      assertEquals(other.transact(batch([["add", "nat_map", pairs]])), { kind: "done" });
    }
    // The first attempt is overtaken, again and again; the second one is left alone.
    let changes = 0;
    let noticed = 0;
    const change = () => {
      if (changes < 3) {
        const late = element(`172.16.0.${changes++}`, "192.0.2.1");
        assertEquals(other.transact(batch([["add", "nat_map", [late]]])), { kind: "done" });
      }
      return Promise.resolve();
    };
    const found = await list(socket, "nat_map", change, () => noticed !== (noticed = changes));
    other.close();
    assertEquals(found.length, 20_003);
    assertEquals(new Set(found.map(([key]) => key)).size, 20_003);
  }),
);

Deno.test(
  "the group tells what others change and not what dotp does, when both change the sets",
  withTable(async (socket) => {
    const group = new NetlinkSocket(libc);
    group.join([NFTABLES_GROUP], socket.port);
    const take = () => {
      const told: string[] = [];
      assert(group.takeNotices((message) => {
        const notice = readNotice(message);
        if (notice.kind === "done" || notice.kind === "other") return;
        const cursor = new ElementCursor().of(message);
        const isElements = message.type === NftType.NEW_ELEMENTS ||
          message.type === NftType.DELETE_ELEMENTS;
        const keys: string[] = [];
        while (isElements && cursor.next()) keys.push(cursor.key().join("."));
        const set = "set" in notice ? notice.set : "";
        if (notice.table === TABLE) told.push([notice.kind, set, ...keys].join(" ").trim());
      }, 100));
      return told;
    };
    socket.transact(batch([
      ["add", "nat_map", [element("198.18.0.1", "192.0.2.1"), element("198.18.0.2", "192.0.2.2")]],
      ["add", "nat_addr", [element("192.0.2.1")]],
    ]));
    assertEquals(take(), []);
    await nft(`delete element inet ${TABLE} nat_map { 198.18.0.1 }`);
    assertEquals(take(), ["deleted nat_map 198.18.0.1"]);
    await nft(
      `flush map inet ${TABLE} nat_map; add element inet ${TABLE} nat_map { 1.1.1.1 : 2.2.2.2 }`,
    );
    assertEquals(take(), ["deleted nat_map 198.18.0.2", "added nat_map 1.1.1.1"]);
    await nft(`flush table inet ${TABLE}`);
    assertEquals(take(), []);
    await nft(`delete table inet ${TABLE}`);
    const told = take();
    assert(told.includes("table gone"), told.join());
    await nft(RULES);
    assert(take().includes("table made"));
    group.close();
  }),
);

Deno.test(
  "the group says that something was lost, when more is told than its queue holds",
  withTable((socket) => {
    const group = new NetlinkSocket(libc);
    group.join([NFTABLES_GROUP]);
    const of = (i: number) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
    let isWhole = true;
    for (let from = 0; isWhole && from < 130_000; from += 1_000) {
      const pairs = Array.from({ length: 1_000 }, (_, i) => element(of(from + i), of(from + i)));
      assertEquals(socket.transact(batch([["add", "nat_map", pairs]])), { kind: "done" });
      // The error is told before anything that is still in the queue.
      if (from % 10_000 === 0) isWhole = group.takeNotices(() => {}, 0);
    }
    isWhole = group.takeNotices(() => {}, 1_000_000);
    assert(!isWhole);
    // From then on it is told again.
    socket.transact(batch([["delete", "nat_map", [element("10.0.0.1")]]]));
    let deleted = 0;
    assert(group.takeNotices((message) => {
      if (readNotice(message).kind === "deleted") deleted++;
    }, 100));
    assertEquals(deleted, 1);
    group.close();
    return Promise.resolve();
  }),
);

/** Listed connections to a destination. */
async function connections(socket: NetlinkSocket, family: 4 | 6, destination: string) {
  let found: { identity: Uint8Array; sourcePort: number; id: number; replySource: string }[] = [];
  const connection = new ConnectionView();
  await socket.list({
    write: (writer, sequence) => writeListConnections(writer, family, sequence),
    begin: () => found = [],
    onMessage: (message) => {
      assert(connection.read(message));
      const { destination: to, sourcePort } = connection.original();
      if (to.join() !== bytes(destination).join()) return;
      found.push({
        identity: connection.identity(),
        sourcePort,
        id: connection.id,
        replySource: connection.reply().source.join("."),
      });
    },
    breathe: () => Promise.resolve(),
    isOvertaken: () => false,
  });
  return found.sort((a, b) => a.sourcePort - b.sourcePort);
}

/** Sends a datagram from each port to an address that is translated. */
async function talk(source: string, destination: string, ports: readonly number[]): Promise<void> {
  for (const port of ports) {
    const socket = Deno.listenDatagram({ transport: "udp", hostname: source, port });
    await socket.send(Uint8Array.of(1), { transport: "udp", hostname: destination, port: 5_353 });
    socket.close();
  }
}

Deno.test(
  "conntrack forgets one connection and tells of it, when its identity is deleted",
  withTable(async (socket) => {
    const lines = [
      "link add nl0 type veth peer name nl1",
      "link set nl0 up",
      "link set nl1 up",
      "link set lo up",
      "addr add 192.0.2.1/24 dev nl0",
      "addr add 2001:db8::1/64 dev nl0 nodad",
      "route add 198.18.0.0/15 dev nl0",
      "route add 2001:2::/48 dev nl0",
    ];
    await mustRun(["ip", "-batch", "-"], { stdin: lines.join("\n") });
    await nft(`table inet ${TABLE} { chain output { type nat hook output priority -100
      ip daddr 198.18.0.1 dnat ip to 192.0.2.1
      ip6 daddr 2001:2::1 dnat ip6 to 2001:db8::1
    }
    }`);
    const events = new NetlinkSocket(libc);
    events.join([ConntrackGroup.DESTROY]);
    try {
      for (
        const [family, source, fake, real] of [
          [4, "192.0.2.1", "198.18.0.1", bytes("192.0.2.1").join(".")],
          [6, "2001:db8::1", "2001:2::1", bytes("2001:db8::1").join(".")],
        ] as const
      ) {
        await talk(source, fake, [40_001, 40_002]);
        const [first, second, ...others] = await connections(socket, family, fake);
        assertEquals([first?.replySource, second?.replySource, others.length], [real, real, 0]);
        const forget = (identity: Uint8Array) =>
          socket.ask((writer, sequence) =>
            writeDeleteConnection(writer, family, identity, sequence)
          ).errno;
        const { identity } = defined(first);
        assertEquals(forget(identity), 0);
        assertEquals(refusalOf(forget(identity)), "missing");
        const left = await connections(socket, family, fake);
        assertEquals(left.map(({ sourcePort }) => sourcePort), [40_002]);
        const destroyed: number[] = [];
        const connection = new ConnectionView();
        assert(events.takeNotices((message) => {
          if (message.type !== ConntrackType.DELETE || !connection.read(message)) return;
          if (connection.family === family) destroyed.push(connection.original().sourcePort);
        }, 100));
        assertEquals(destroyed, [40_001]);
      }
    } finally {
      events.close();
      await mustRun(["ip", "link", "delete", "nl0"]);
    }
  }),
);

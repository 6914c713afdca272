/** Queries in flight: kept whole, sent under ids, found by their replies, and bounded. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { Message } from "../../lib/dns/message.ts";
import { partsOf } from "../../lib/dns/query.ts";
import {
  type Channel,
  CLIENT_IN_FLIGHT_MAX,
  FREE_ROOMS_PER_ROOM,
  IN_FLIGHT_MAX,
  type Listener,
  PendingQueries,
  type PendingQuery,
  ROOM_LENGTH,
  UPSTREAM_TIMEOUT_MS,
} from "../../lib/proxy/pending.ts";
import { defined } from "../support/defined.ts";
import { bytesOf, viewOf } from "../support/hex.ts";
import { a, concat, message, opt, pointer, query, REPLY_FLAGS } from "../support/packet.ts";
import { holds } from "../support/property.ts";

const NAME = "www.example.com";

type Query = PendingQuery<string>;

/** A socket to the upstream, and what was sent on it. */
class FakeChannel implements Channel<Query> {
  readonly waiting = new Map<number, Query>();
  readonly sent: Uint8Array[] = [];

  send(view: DataView, length: number): void {
    this.sent.push(bytesOf(view, length));
  }
}

/** A client is what stands before the port. */
const LISTENER: Listener<string> = {
  replyLengthUsual: 512,
  replyLengthMax: 4_096,
  clientOf: (peer) => peer.split("#")[0] ?? "",
  reply: () => {},
};

/** Queries in flight on one socket, of two. */
class World {
  readonly pending: PendingQueries<string>;
  readonly socket = new FakeChannel();
  readonly other = new FakeChannel();
  nowMs = 0;

  /** Ids from a list, then from 1,000 on. */
  constructor(...ids: number[]) {
    let next = 1_000;
    this.pending = new PendingQueries<string>(() => ids.shift() ?? next++);
  }

  /** Keeps a query; undefined where there are too many. */
  open(bytes = query(), peer = "client", listener = LISTENER): Query | undefined {
    const view = viewOf(bytes);
    const indexed = new Message();
    indexed.index(view, bytes.length);
    const parts = defined(partsOf(indexed));
    const kept = this.pending.open(listener, peer, parts, bytes.length, this.nowMs);
    // The buffer goes on to the next query.
    new Uint8Array(view.buffer).fill(0xa5);
    return kept;
  }

  /** Keeps a query and sends it; its id. */
  send(bytes = query(), peer = "client", socket = this.socket): number {
    const kept = defined(this.open(bytes, peer));
    this.pending.send(kept, socket);
    return kept.id;
  }

  find(bytes: Uint8Array, socket = this.socket): Query | undefined {
    return this.pending.find(socket, viewOf(bytes), bytes.length);
  }

  /** Whose query a message answers, which is then done. */
  take(bytes: Uint8Array, socket = this.socket): string | undefined {
    return this.#end(this.find(bytes, socket));
  }

  /** Whose query has run out of time, which is then done. */
  expire(nowMs: number): string | undefined {
    return this.#end(this.pending.findExpired(nowMs));
  }

  #end(found: Query | undefined): string | undefined {
    if (found === undefined) return undefined;
    this.pending.settle(found);
    this.pending.close(found);
    return found.peer;
  }
}

Deno.test("PendingQueries.send() sends the query as it was but for its id, when it is kept", () => {
  const world = new World(0, 0xffff, 77);
  const bytes = query({ id: 5, additionals: [opt(4096, 0x8000)], trailing: new Uint8Array(7) });
  assertEquals([1, 2, 3].map(() => world.send(bytes)), [0, 0xffff, 77]);
  for (const [i, id] of [[0, 0], [1, 0xffff], [2, 77]] as const) {
    assertEquals(world.socket.sent[i], concat(Uint8Array.of(id >> 8, id), bytes.slice(2)));
  }
});

Deno.test("PendingQueries.send() takes another id, when one is in use on the same socket", () => {
  const world = new World(7, 7, 7, 8, 7);
  assertEquals([world.send(), world.send()], [7, 8]);
  assertEquals(world.send(query(), "client", world.other), 7);
});

Deno.test("PendingQueries.send() takes an id again, when its query is done", () => {
  const world = new World(7, 7);
  world.send();
  assertEquals(world.take(message({ id: 7 })), "client");
  assertEquals(world.send(), 7);
});

Deno.test("PendingQueries.send() sends a query again, when another way is to be tried", () => {
  const world = new World(7, 8, 9);
  const bytes = query({ id: 0xbeef });
  const kept = defined(world.open(bytes));
  world.pending.send(kept, world.socket);
  world.nowMs = 1_000;
  world.pending.send(kept, world.other);
  assertEquals([kept.attempts, kept.id], [2, 8]);
  assertEquals(world.other.sent, [query({ id: 8 })]);
  assertEquals(world.find(message({ id: 7 })), undefined, "the first attempt counts no more");
  assertEquals(world.find(message({ id: 8 })), undefined);
  assertEquals([world.socket.waiting.size, world.other.waiting.size], [0, 1]);
  // It has no more time than before.
  assertEquals(world.pending.nextDeadlineMs, UPSTREAM_TIMEOUT_MS);
  world.pending.send(kept, world.other);
  assertEquals([kept.attempts, kept.id, world.other.waiting.size], [3, 9, 1]);
  assertEquals(world.take(message({ id: 9 }), world.other), "client");
  assertEquals([world.other.waiting.size, world.pending.rooms], [0, 0]);
});

Deno.test("PendingQuery has all that was known of the query, when its reply comes", () => {
  const world = new World(7);
  const bytes = query({ id: 0xbeef, additionals: [opt(1_400, 0x8000)] });
  world.send(bytes, "client#53");
  const found = defined(world.find(message({ id: 7 })));
  assertEquals(bytesOf(found.view, found.length), bytes);
  assertEquals([found.clientId, found.questionEnd], [0xbeef, 12 + 17 + 4]);
  assertEquals([found.peer, found.client, found.listener], ["client#53", "client", LISTENER]);
  assertEquals([found.hasOpt, found.wantsDnssec, found.replyLengthMax], [true, true, 1_400]);
  world.pending.settle(found);
  assertEquals(bytesOf(found.view, found.length), bytes, "it is not closed");
  world.send(query({ id: 1 }), "second");
  assertEquals([found.peer, found.clientId], ["client#53", 0xbeef], "it is not closed");
});

Deno.test("PendingQuery.replyLengthMax follows from the way back, when the query says a size or none", () => {
  const stream = { ...LISTENER, replyLengthUsual: 65_535, replyLengthMax: 65_535 };
  for (
    const [listener, additionals, expected] of [
      [LISTENER, [], 512],
      [LISTENER, [opt(0)], 512],
      [LISTENER, [opt(512)], 512],
      [LISTENER, [opt(513)], 513],
      [LISTENER, [opt(4_096)], 4_096],
      [LISTENER, [opt(4_097)], 4_096],
      [stream, [], 65_535],
      [stream, [opt(512)], 65_535],
      [stream, [opt(4_096)], 65_535],
    ] as const
  ) {
    const kept = new World().open(query({ additionals }), "client", listener);
    assertEquals(kept?.replyLengthMax, expected);
  }
});

const ASKED = { question: { name: NAME, type: 28 } };

/** What may come on the socket and is no reply to a query of `ASKED` under id 7. */
const FORGERIES: readonly (readonly [what: string, bytes: Uint8Array, isOther?: boolean])[] = [
  ["another id", message({ id: 8, ...ASKED })],
  ["the client's id", message({ id: 0x1234, ...ASKED })],
  ["another socket", message({ id: 7, ...ASKED }), true],
  ["QR = 0", query({ id: 7, ...ASKED })],
  ["another opcode", message({ id: 7, ...ASKED, flags: REPLY_FLAGS | 0x2800 })],
  ["another name", message({ id: 7, question: { name: "www.example.org", type: 28 } })],
  ["another type", message({ id: 7, question: { name: NAME, type: 1 } })],
  ["another class", message({ id: 7, question: { ...ASKED.question, class: 3 } })],
  ["no question", message({ id: 7, ...ASKED, counts: [0, 0, 0, 0] })],
  ["a compressed question", message({ id: 7, question: { name: pointer(12), type: 28 } })],
  ["nothing", new Uint8Array()],
  ["11 octets", message({ id: 7, ...ASKED }).slice(0, 11)],
  ["a header", message({ id: 7, ...ASKED }).slice(0, 12)],
  ["half a question", message({ id: 7, ...ASKED }).slice(0, -1)],
];

Deno.test("PendingQueries.find() finds nothing and the query waits on, when it is no reply to it", () => {
  for (const [what, bytes, isOther = false] of FORGERIES) {
    const world = new World(7);
    world.send(query(ASKED));
    assertEquals(world.find(bytes, isOther ? world.other : world.socket), undefined, what);
    assertEquals(world.take(message({ id: 7, ...ASKED })), "client", what);
  }
});

Deno.test("PendingQueries.find() reads no further than the reply, when the buffer goes on", () => {
  const world = new World(7);
  world.send(query(ASKED));
  const view = viewOf(message({ id: 7, ...ASKED }));
  for (let length = 0; length < view.byteLength; length++) {
    assertEquals(world.pending.find(world.socket, view, length), undefined, `${length}`);
  }
  assert(world.pending.find(world.socket, view, view.byteLength) !== undefined);
});

Deno.test("PendingQueries.find() finds the query again, when it was not settled", () => {
  const world = new World(7, 7);
  world.send();
  const found = () => defined(world.find(message({ id: 7, answers: [a(NAME, "192.0.2.1")] })));
  found().damaged++;
  assertEquals(found().damaged, 1);
  assertEquals(world.pending.nextDeadlineMs, UPSTREAM_TIMEOUT_MS);
  assertEquals(world.take(message({ id: 7 })), "client");
  world.send();
  assertEquals(found().damaged, 0, "another query has the room");
});

Deno.test("PendingQueries.find() finds a query no more, when it is settled", () => {
  const world = new World(7);
  world.send();
  assertEquals(world.take(message({ id: 7 })), "client");
  assertEquals(world.take(message({ id: 7 })), undefined);
  const late = new World(7);
  late.send();
  assertEquals(late.expire(UPSTREAM_TIMEOUT_MS), "client");
  assertEquals(late.take(message({ id: 7 })), undefined);
});

Deno.test("PendingQueries.find() compares with the query of now, when its room held a longer one", () => {
  const world = new World(7, 7);
  world.send();
  world.take(message({ id: 7 }));
  world.send(query({ question: { name: "a.b" } }), "second");
  assertEquals(world.take(message({ id: 7 })), undefined);
  assertEquals(world.take(message({ id: 7, question: { name: "a.b" } })), "second");
});

Deno.test("PendingQueries keeps the longest question, when a name has 255 octets", () => {
  const name = concat(...Array<Uint8Array>(127).fill(Uint8Array.of(1, 0x61)), new Uint8Array(1));
  const world = new World(7);
  world.send(query({ question: { name } }));
  assertEquals(world.take(message({ id: 7, question: { name } })), "client");
});

/** A query of so many octets. */
function long(length: number): Uint8Array<ArrayBuffer> {
  return query({ trailing: new Uint8Array(length - query().length).fill(0x77) });
}

Deno.test("PendingQueries keeps a query that is longer than a room, when it takes several", () => {
  for (
    const [length, rooms] of [
      [ROOM_LENGTH - 1, 1],
      [ROOM_LENGTH, 1],
      [ROOM_LENGTH + 1, 2],
      [65_535, 128],
    ] as const
  ) {
    const world = new World(7, 8, 9);
    world.send(long(length));
    world.send(query(), "other");
    assertEquals(world.pending.rooms, rooms + 1);
    assertEquals(world.socket.sent[0], concat(Uint8Array.of(0, 7), long(length).slice(2)));
    const found = defined(world.find(message({ id: 7 })));
    assertEquals(bytesOf(found.view, found.length), long(length));
    world.take(message({ id: 7 }));
    assertEquals(world.pending.rooms, 1);
    // The next one in the same place has a usual room.
    world.send(query({ id: 3 }));
    assertEquals(world.socket.sent[2], query({ id: 9 }));
    const next = defined(world.find(message({ id: 9 })));
    assertEquals([next.view.byteLength, world.pending.rooms], [ROOM_LENGTH, 2]);
  }
});

Deno.test("PendingQueries.findExpired() gives queries oldest first, when their time is up", () => {
  const world = new World();
  assertEquals(world.pending.nextDeadlineMs, Infinity);
  for (const [peer, atMs] of [["a", 0], ["b", 10], ["c", 10]] as const) {
    world.nowMs = atMs;
    world.send(query(), peer);
  }
  assertEquals(world.pending.nextDeadlineMs, UPSTREAM_TIMEOUT_MS);
  assertEquals(world.expire(UPSTREAM_TIMEOUT_MS - 1), undefined);
  assertEquals(world.expire(UPSTREAM_TIMEOUT_MS), "a");
  assertEquals(world.expire(UPSTREAM_TIMEOUT_MS), undefined);
  assertEquals(world.pending.nextDeadlineMs, UPSTREAM_TIMEOUT_MS + 10);
  const laterMs = UPSTREAM_TIMEOUT_MS + 10;
  assertEquals([1, 2, 3].map(() => world.expire(laterMs)), ["b", "c", undefined]);
  assertEquals([world.pending.rooms, world.pending.nextDeadlineMs], [0, Infinity]);
});

Deno.test("PendingQueries.findExpired() passes over a query, when it is settled", () => {
  const world = new World(1, 2, 3);
  for (const peer of ["a", "b", "c"]) world.send(query(), peer);
  world.pending.settle(defined(world.find(message({ id: 2 }))));
  assertEquals([1, 2, 3].map(() => world.expire(UPSTREAM_TIMEOUT_MS)), ["a", "c", undefined]);
  assertEquals([world.pending.rooms, world.pending.nextDeadlineMs], [1, Infinity]);
});

Deno.test("PendingQueries.open() keeps no more, when IN_FLIGHT_MAX rooms are taken", () => {
  const world = new World();
  // Of so many clients that none of them has too many.
  for (let i = 0; i < IN_FLIGHT_MAX - 1; i++) world.open(query(), `${i}`);
  assertEquals(world.open(long(ROOM_LENGTH + 1), "last"), undefined, "there is one room");
  assertNotEquals(world.open(query(), "last"), undefined);
  assertEquals([world.open(query(), "last"), world.pending.rooms], [undefined, IN_FLIGHT_MAX]);
  world.expire(UPSTREAM_TIMEOUT_MS);
  assertNotEquals(world.open(query(), "another"), undefined);
});

Deno.test("PendingQueries.open() leaves rooms for others, when many clients take all they can", () => {
  for (const clients of [20, 100, 1_000]) {
    const world = new World();
    for (let i = 0; i < 2 * IN_FLIGHT_MAX; i++) world.open(query(), `greedy ${i % clients}`);
    const share = Math.floor(IN_FLIGHT_MAX / (clients + FREE_ROOMS_PER_ROOM));
    for (let i = 0; i < share / 2; i++) {
      assertNotEquals(world.open(query(), "other"), undefined, `${clients} clients, its ${i}th`);
    }
  }
});

Deno.test("PendingQueries.open() keeps no more of one client, when it has CLIENT_IN_FLIGHT_MAX rooms", () => {
  const world = new World();
  // Ports do not make a client.
  const open = (i: number, length = 40) => world.open(long(length), `greedy#${i}`);
  for (let i = 0; i < CLIENT_IN_FLIGHT_MAX - 1; i++) open(i);
  assertEquals(open(0, ROOM_LENGTH + 1), undefined, "there is one room");
  assertNotEquals(open(0), undefined);
  assertEquals([open(1), open(2)], [undefined, undefined]);
  assertEquals(world.pending.rooms, CLIENT_IN_FLIGHT_MAX);
  assertNotEquals(world.open(query(), "other#1"), undefined);
});

Deno.test("PendingQueries.open() keeps a client's query again, when one of its own is done", () => {
  const world = new World(7);
  world.send(query(), "greedy");
  while (world.open(query(), "greedy") !== undefined);
  const answered = defined(world.find(message({ id: 7 })));
  world.pending.settle(answered);
  assertEquals(world.open(query(), "greedy"), undefined, "its answer has not left yet");
  world.pending.close(answered);
  assertNotEquals(world.open(query(), "greedy"), undefined);
  assertEquals(world.open(query(), "greedy"), undefined);
  assertEquals(world.expire(UPSTREAM_TIMEOUT_MS), "greedy");
  assertNotEquals(world.open(query(), "greedy"), undefined);
});

Deno.test("PendingQueries.open() counts what it did not keep as none, when a client asks on", () => {
  const world = new World();
  for (let i = 0; i < 2 * CLIENT_IN_FLIGHT_MAX; i++) world.open(query(), "greedy");
  while (world.expire(UPSTREAM_TIMEOUT_MS) !== undefined);
  for (let i = 0; i < CLIENT_IN_FLIGHT_MAX; i++) {
    assertNotEquals(world.open(query(), "greedy"), undefined);
  }
});

Deno.test("PendingQueries.find() never throws and finds nothing, when octets are random", () => {
  const world = new World(7);
  world.send();
  holds(
    "PendingQueries.find",
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.boolean(), (octets, hasId) => {
      const bytes = hasId ? concat(Uint8Array.of(0, 7, 0x80, 0), octets) : octets;
      assertEquals(world.find(bytes), undefined);
    }),
    2_000,
  );
});

type What = "open" | "resend" | "settle" | "close" | "expire";

Deno.test("PendingQueries does what a list does, when queries come, are sent again, answered and given up", () => {
  const what = fc.constantFrom<What>("open", "open", "resend", "settle", "close", "expire");
  const step = fc.tuple(what, fc.nat(20), fc.constantFrom(40, 400, 513, 2_000));
  holds(
    "PendingQueries",
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const world = new World();
      const { pending, socket, other } = world;
      let waiting: { query: Query; bytes: Uint8Array; deadlineMs: number }[] = [];
      const settled: typeof waiting = [];
      const settle = (one: typeof waiting[number]) => {
        pending.settle(one.query);
        waiting = waiting.filter((each) => each !== one);
        settled.push(one);
      };
      for (const [i, [what, n, length]] of steps.entries()) {
        world.nowMs += n * 100;
        const { nowMs } = world;
        const some = waiting[n % Math.max(1, waiting.length)];
        if (what === "open") {
          const bytes = concat(Uint8Array.of(0, i), long(length).slice(2));
          const query = defined(world.open(bytes, `${i}`));
          pending.send(query, socket);
          waiting.push({ query, bytes, deadlineMs: nowMs + UPSTREAM_TIMEOUT_MS });
        } else if (what === "resend" && some !== undefined) {
          pending.send(some.query, n % 2 === 0 ? socket : other);
        } else if (what === "settle" && some !== undefined) {
          settle(some);
        } else if (what === "close") {
          const one = settled.splice(n % Math.max(1, settled.length), 1)[0];
          if (one !== undefined) pending.close(one.query);
        } else if (what === "expire") {
          const due = waiting.find(({ deadlineMs }) => deadlineMs <= nowMs);
          assertEquals(pending.findExpired(nowMs), due?.query);
          if (due !== undefined) settle(due);
        }
        for (const { query, bytes } of [...waiting, ...settled]) {
          assertEquals(bytesOf(query.view, query.length), bytes);
        }
        for (const { query } of waiting) {
          const channel = query.channel as FakeChannel;
          assertEquals(world.find(message({ id: query.id }), channel), query);
        }
        assertEquals(socket.waiting.size + other.waiting.size, waiting.length);
        assertEquals(pending.nextDeadlineMs, waiting[0]?.deadlineMs ?? Infinity);
        const rooms = [...waiting, ...settled].map(({ query }) => query.rooms);
        assertEquals(pending.rooms, rooms.reduce((sum, each) => sum + each, 0));
      }
    }),
  );
});

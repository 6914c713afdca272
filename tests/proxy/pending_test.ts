/** Queries under way: ids, what counts as a reply, deadlines and the limit. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { NONE } from "../../lib/util/age_queue.ts";
import {
  type Channel,
  CLIENT_IN_FLIGHT_MAX,
  IN_FLIGHT_MAX,
  PendingQueries,
  type PendingQuery,
  type Query,
  UPSTREAM_TIMEOUT_MS,
} from "../../lib/proxy/pending.ts";
import { defined } from "../support/defined.ts";
import { bytesOf, viewOf } from "../support/hex.ts";
import {
  a,
  concat,
  message,
  opt,
  pointer,
  query,
  REPLY_FLAGS,
  wireName,
} from "../support/packet.ts";
import { holds } from "../support/property.ts";

const NAME = "www.example.com";
const QUESTION_END = 12 + 17 + 4;

/** A socket to the upstream. */
class FakeChannel implements Channel<PendingQuery<string>> {
  readonly waiting = new Map<number, PendingQuery<string>>();
  send(): void {}
}
const SOCKET = new FakeChannel();
const OTHER_SOCKET = new FakeChannel();

/** A client is what stands before the port. */
function clientOf(peer: string): string {
  return peer.split("#")[0] ?? "";
}

/** Ids from a list, then from 1,000 on. */
function makeInFlight(...ids: number[]): PendingQueries<string> {
  for (const { waiting } of [SOCKET, OTHER_SOCKET]) waiting.clear();
  let next = 1_000;
  return new PendingQueries<string>(() => ids.shift() ?? next++, clientOf);
}

function queryOf(bytes: Uint8Array, peer = "client", length = QUESTION_END): Query<string> {
  return { peer, view: viewOf(bytes), length, sizeMax: 512, hasOpt: false, wantsDnssec: false };
}

/** Whose query a message answers, which is then done. */
function take(
  inFlight: PendingQueries<string>,
  bytes: Uint8Array,
  socket = SOCKET,
): string | undefined {
  const query = inFlight.find(socket, viewOf(bytes), bytes.length);
  if (query !== undefined) inFlight.close(query);
  return query?.peer;
}

Deno.test("PendingQueries.open() returns an id from its source, when the client has another", () => {
  const inFlight = makeInFlight(0, 0xffff, 77);
  const bytes = query({ id: 5 });
  assertEquals([1, 2, 3].map(() => inFlight.open(SOCKET, queryOf(bytes), 0)), [0, 0xffff, 77]);
  assertEquals(inFlight.size, 3);
});

Deno.test("PendingQueries.open() asks for another id, when one is taken on the same socket", () => {
  const inFlight = makeInFlight(7, 7, 7, 8, 7);
  assertEquals(inFlight.open(SOCKET, queryOf(query()), 0), 7);
  assertEquals(inFlight.open(SOCKET, queryOf(query()), 0), 8);
  assertEquals(inFlight.open(OTHER_SOCKET, queryOf(query()), 0), 7);
});

Deno.test("PendingQueries.open() gives an id again, when its query is done", () => {
  const inFlight = makeInFlight(7, 7);
  inFlight.open(SOCKET, queryOf(query()), 0);
  assertEquals(take(inFlight, message({ id: 7 })), "client");
  assertEquals(inFlight.open(SOCKET, queryOf(query()), 0), 7);
});

Deno.test("PendingQueries.find() gives the query back as it was, when its reply comes", () => {
  const inFlight = makeInFlight(7);
  const bytes = query({ id: 0xbeef, additionals: [opt(4096, 0x8000)] });
  const asked = { ...queryOf(bytes), sizeMax: 4096, hasOpt: true, wantsDnssec: true };
  inFlight.open(SOCKET, asked, 0);
  // The buffer goes on to the next query.
  new Uint8Array(asked.view.buffer).fill(0xa5);
  const reply = viewOf(message({ id: 7 }));
  const pending = defined(inFlight.find(SOCKET, reply, reply.byteLength));
  assertEquals(inFlight.size, 1);
  inFlight.close(pending);
  assertEquals(pending.clientId, 0xbeef);
  assertEquals([pending.peer, pending.sizeMax], ["client", 4096]);
  assertEquals([pending.hasOpt, pending.wantsDnssec], [true, true]);
  assertEquals(bytesOf(pending.view, pending.length), bytes.slice(0, QUESTION_END));
  assertEquals(inFlight.size, 0);
});

const ASKED = { question: { name: NAME, type: 28 } };

/** What may come on the socket and is no reply to a query of `ASKED` under id 7. */
const FORGERIES: readonly (readonly [what: string, bytes: Uint8Array, socket?: FakeChannel])[] = [
  ["another id", message({ id: 8, ...ASKED })],
  ["the client's id", message({ id: 0x1234, ...ASKED })],
  ["another socket", message({ id: 7, ...ASKED }), OTHER_SOCKET],
  ["QR = 0", query({ id: 7, ...ASKED })],
  ["another opcode", message({ id: 7, ...ASKED, flags: REPLY_FLAGS | 0x2800 })],
  ["another name", message({ id: 7, question: { name: "www.example.org", type: 28 } })],
  ["a longer name", message({ id: 7, question: { name: `x.${NAME}`, type: 28 } })],
  ["a shorter name", message({ id: 7, question: { name: "example.com", type: 28 } })],
  ["another type", message({ id: 7, question: { name: NAME, type: 1 } })],
  ["another class", message({ id: 7, question: { ...ASKED.question, class: 3 } })],
  ["no question", message({ id: 7, ...ASKED, counts: [0, 0, 0, 0] })],
  ["two questions", message({ id: 7, ...ASKED, counts: [2, 0, 0, 0] })],
  ["a compressed question", message({ id: 7, question: { name: pointer(12), type: 28 } })],
  ["nothing", new Uint8Array()],
  ["11 octets", message({ id: 7, ...ASKED }).slice(0, 11)],
  ["a header", message({ id: 7, ...ASKED }).slice(0, 12)],
  ["half a question", message({ id: 7, ...ASKED }).slice(0, QUESTION_END - 1)],
];

Deno.test("PendingQueries.find() finds nothing and the query waits on, when it is no reply to the query", () => {
  for (const [what, bytes, socket] of FORGERIES) {
    const inFlight = makeInFlight(7);
    inFlight.open(SOCKET, queryOf(query(ASKED)), 0);
    assertEquals(take(inFlight, bytes, socket), undefined, what);
    assertEquals(inFlight.size, 1, what);
    assertEquals(take(inFlight, message({ id: 7, ...ASKED })), "client", what);
  }
});

Deno.test("PendingQueries.find() reads no further than the reply, when the buffer goes on", () => {
  const inFlight = makeInFlight(7);
  inFlight.open(SOCKET, queryOf(query(ASKED)), 0);
  const view = viewOf(message({ id: 7, ...ASKED }));
  for (let length = 0; length < QUESTION_END; length++) {
    assertEquals(inFlight.find(SOCKET, view, length), undefined, `${length}`);
  }
  assert(inFlight.find(SOCKET, view, QUESTION_END) !== undefined);
});

Deno.test("PendingQueries.find() finds the query, when the case of its question or its flags differ", () => {
  for (
    const spec of [
      { question: { name: "WwW.ExAmPlE.cOm", type: 28 } },
      { ...ASKED, flags: 0x8000 },
      { ...ASKED, flags: 0x87ff },
      { ...ASKED, answers: [a(NAME, "192.0.2.1")] },
      { ...ASKED, trailing: new Uint8Array(9) },
    ]
  ) {
    const inFlight = makeInFlight(7);
    inFlight.open(SOCKET, queryOf(query(ASKED)), 0);
    assertEquals(take(inFlight, message({ id: 7, ...spec })), "client");
  }
});

Deno.test("PendingQueries.find() finds a query no more, when it was closed", () => {
  const inFlight = makeInFlight(7);
  inFlight.open(SOCKET, queryOf(query()), 0);
  assertEquals(take(inFlight, message({ id: 7 })), "client");
  assertEquals(take(inFlight, message({ id: 7 })), undefined);
});

Deno.test("PendingQueries.find() compares with the query of now, when its slot held a longer one", () => {
  const inFlight = makeInFlight(7, 7);
  const short = wireName("a.b").length + 16;
  inFlight.open(SOCKET, queryOf(query()), 0);
  take(inFlight, message({ id: 7 }));
  inFlight.open(SOCKET, queryOf(query({ question: { name: "a.b" } }), "second", short), 0);
  assertEquals(take(inFlight, message({ id: 7 })), undefined);
  assertEquals(take(inFlight, message({ id: 7, question: { name: "a.b" } })), "second");
});

Deno.test("PendingQueries keeps the longest question, when a name has 255 octets", () => {
  const name = concat(...Array<Uint8Array>(127).fill(Uint8Array.of(1, 0x61)), new Uint8Array(1));
  const inFlight = makeInFlight(7);
  const bytes = query({ question: { name } });
  inFlight.open(SOCKET, queryOf(bytes, "client", bytes.length), 0);
  assertEquals(take(inFlight, message({ id: 7, question: { name } })), "client");
});

Deno.test("PendingQueries.takeExpired() gives queries oldest first, when their time is up", () => {
  const inFlight = makeInFlight();
  assertEquals(inFlight.nextDeadlineMs, Infinity);
  for (const [peer, atMs] of [["a", 0], ["b", 10], ["c", 10]] as const) {
    inFlight.open(SOCKET, queryOf(query(), peer), atMs);
  }
  assertEquals(inFlight.nextDeadlineMs, UPSTREAM_TIMEOUT_MS);
  const expired = (nowMs: number) => inFlight.takeExpired(nowMs)?.peer;
  assertEquals(expired(UPSTREAM_TIMEOUT_MS - 1), undefined);
  assertEquals(expired(UPSTREAM_TIMEOUT_MS), "a");
  assertEquals(expired(UPSTREAM_TIMEOUT_MS), undefined);
  assertEquals(inFlight.nextDeadlineMs, UPSTREAM_TIMEOUT_MS + 10);
  const later = UPSTREAM_TIMEOUT_MS + 10;
  assertEquals([expired(later), expired(later), expired(later)], ["b", "c", undefined]);
  assertEquals([inFlight.size, inFlight.nextDeadlineMs], [0, Infinity]);
});

Deno.test("PendingQueries.takeExpired() passes over a query, when it has been answered", () => {
  const inFlight = makeInFlight(1, 2, 3);
  for (const peer of ["a", "b", "c"]) inFlight.open(SOCKET, queryOf(query(), peer), 0);
  assertEquals(take(inFlight, message({ id: 2 })), "b");
  const expired = () => inFlight.takeExpired(UPSTREAM_TIMEOUT_MS)?.peer;
  assertEquals([expired(), expired(), expired()], ["a", "c", undefined]);
});

Deno.test("PendingQueries.find() finds nothing, when the reply comes after the deadline was noticed", () => {
  const inFlight = makeInFlight(7);
  inFlight.open(SOCKET, queryOf(query()), 0);
  inFlight.takeExpired(UPSTREAM_TIMEOUT_MS);
  assertEquals(take(inFlight, message({ id: 7 })), undefined);
});

Deno.test("PendingQueries.find() finds the query again, when it was not closed", () => {
  const inFlight = makeInFlight(7, 7);
  const view = viewOf(message({ id: 7 }));
  inFlight.open(SOCKET, queryOf(query()), 0);
  const found = () => defined(inFlight.find(SOCKET, view, view.byteLength));
  found().damaged++;
  assertEquals([found().damaged, inFlight.size], [1, 1]);
  assertEquals(inFlight.nextDeadlineMs, UPSTREAM_TIMEOUT_MS);
  inFlight.close(found());
  inFlight.open(SOCKET, queryOf(query()), 0);
  assertEquals(found().damaged, 0, "another query has the slot");
});

Deno.test("PendingQueries.open() returns NONE, when IN_FLIGHT_MAX are under way", () => {
  const inFlight = makeInFlight();
  // Of so many clients that none of them has too many.
  const open = (i: number) =>
    inFlight.open(SOCKET, queryOf(query(), `${i % (2 * IN_FLIGHT_MAX / CLIENT_IN_FLIGHT_MAX)}`), 0);
  for (let i = 0; i < IN_FLIGHT_MAX - 1; i++) open(i);
  assertNotEquals(open(0), NONE);
  assertEquals(inFlight.size, IN_FLIGHT_MAX);
  assertEquals(open(1), NONE);
  assertEquals(inFlight.size, IN_FLIGHT_MAX);
  inFlight.takeExpired(UPSTREAM_TIMEOUT_MS);
  assertNotEquals(open(1), NONE);
});

Deno.test("PendingQueries.open() returns NONE to one client, when CLIENT_IN_FLIGHT_MAX are its own", () => {
  const inFlight = makeInFlight();
  // Ports do not make a client.
  const open = (i: number) => inFlight.open(SOCKET, queryOf(query(), `greedy#${i}`), 0);
  for (let i = 0; i < CLIENT_IN_FLIGHT_MAX - 1; i++) open(i);
  assertNotEquals(open(0), NONE);
  assertEquals([open(1), open(2)], [NONE, NONE]);
  assertEquals(inFlight.size, CLIENT_IN_FLIGHT_MAX);
  assertNotEquals(inFlight.open(SOCKET, queryOf(query(), "other#1"), 0), NONE);
});

Deno.test("PendingQueries.open() takes a client's query again, when one was answered or given up", () => {
  const inFlight = makeInFlight(7);
  const open = () => inFlight.open(SOCKET, queryOf(query(), "greedy"), 0);
  for (let i = 0; i < CLIENT_IN_FLIGHT_MAX; i++) open();
  assertEquals(open(), NONE);
  assertEquals(take(inFlight, message({ id: 7 })), "greedy");
  assertNotEquals(open(), NONE);
  assertEquals(open(), NONE);
  assertEquals(inFlight.takeExpired(UPSTREAM_TIMEOUT_MS)?.peer, "greedy");
  assertNotEquals(open(), NONE);
  assertEquals(open(), NONE);
});

Deno.test("PendingQueries.open() counts a refused query as none, when a client asks on and on", () => {
  const inFlight = makeInFlight();
  const open = () => inFlight.open(SOCKET, queryOf(query(), "greedy"), 0);
  for (let i = 0; i < 2 * CLIENT_IN_FLIGHT_MAX; i++) open();
  while (inFlight.takeExpired(UPSTREAM_TIMEOUT_MS) !== undefined);
  for (let i = 0; i < CLIENT_IN_FLIGHT_MAX; i++) assertNotEquals(open(), NONE);
});

Deno.test("PendingQuery.copy() stays as it is, when the slot goes to the next query", () => {
  const inFlight = makeInFlight(7, 8);
  inFlight.open(SOCKET, queryOf(query({ id: 1 }), "first"), 0);
  const view = viewOf(message({ id: 7 }));
  const pending = defined(inFlight.find(SOCKET, view, view.byteLength));
  inFlight.close(pending);
  const copy = pending.copy();
  inFlight.open(SOCKET, queryOf(query({ id: 2 }), "second"), 0);
  assertEquals([copy.peer, copy.clientId, copy.length], ["first", 1, QUESTION_END]);
  assertEquals(bytesOf(copy.view), query({ id: 1 }).slice(0, QUESTION_END));
});

Deno.test("PendingQueries.find() never throws and finds nothing, when octets are random", () => {
  const inFlight = makeInFlight(7);
  inFlight.open(SOCKET, queryOf(query()), 0);
  holds(
    "PendingQueries.find",
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.boolean(), (octets, hasId) => {
      const bytes = hasId ? concat(Uint8Array.of(0, 7, 0x80, 0), octets) : octets;
      assertEquals(take(inFlight, bytes), undefined);
    }),
    2_000,
  );
  assertEquals(inFlight.size, 1);
});

type Step = readonly [what: "open" | "take" | "expire", n: number];

Deno.test("PendingQueries does what a list does, when queries come, are answered and run out of time", () => {
  const step: fc.Arbitrary<Step> = fc.tuple(
    fc.constantFrom("open" as const, "open" as const, "take" as const, "expire" as const),
    fc.nat(20),
  );
  holds(
    "PendingQueries",
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const inFlight = makeInFlight();
      let list: { peer: string; id: number; deadlineMs: number }[] = [];
      let nowMs = 0;
      for (const [i, [what, n]] of steps.entries()) {
        nowMs += n * 100;
        if (what === "open") {
          const id = inFlight.open(SOCKET, queryOf(query({ id: i }), `${i}`), nowMs);
          list.push({ peer: `${i}`, id, deadlineMs: nowMs + UPSTREAM_TIMEOUT_MS });
        } else if (what === "take") {
          const id = list[n % Math.max(1, list.length)]?.id ?? n;
          const known = list.find((one) => one.id === id)?.peer;
          list = list.filter((one) => one.id !== id);
          assertEquals(take(inFlight, message({ id })), known);
        } else {
          const known = list.find((one) => one.deadlineMs <= nowMs)?.peer;
          list = list.filter((one) => one.peer !== known);
          assertEquals(inFlight.takeExpired(nowMs)?.peer, known);
        }
        assertEquals(inFlight.size, list.length);
        assertEquals(inFlight.nextDeadlineMs, list[0]?.deadlineMs ?? Infinity);
      }
    }),
  );
});

/** The sockets to the upstream: which one a query takes, how old one gets, and what counts from it. */
import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { Peer, SocketEvents } from "../../../lib/io/sockets.ts";
import {
  ASKING_MS,
  randomNumbers,
  SOCKET_AGE_MAX_MS,
  SOCKETS,
  UdpUpstream,
} from "../../../lib/io/upstream/udp.ts";
import { type Channel, UPSTREAM_TIMEOUT_MS } from "../../../lib/proxy/pending.ts";
import { defined } from "../../support/defined.ts";
import { bytesOf, viewOf } from "../../support/hex.ts";
import { holds } from "../../support/property.ts";

const PEER: Peer = { hostname: "192.0.2.53", port: 5353 };

/** A socket as the upstream sees one. */
class FakeSocket {
  readonly sent: Uint8Array[] = [];
  isReceiving = false;
  isClosed = false;

  constructor(readonly events: SocketEvents) {}

  receive(): void {
    this.isReceiving = true;
  }

  send(_peer: Peer | undefined, view: DataView, length: number): void {
    assert(!this.isClosed, "a closed socket sends");
    this.sent.push(bytesOf(view, length));
  }

  close(): void {
    assert(!this.isClosed, "a socket is closed twice");
    this.isClosed = true;
  }
}

/** An upstream and all the sockets that it has ever opened. */
class Harness {
  readonly sockets: FakeSocket[] = [];
  readonly replies: [channel: Channel<string>, bytes: Uint8Array][] = [];
  readonly unreachable: Channel<string>[] = [];
  readonly errors: string[] = [];
  readonly upstream: UdpUpstream<string>;
  /** Why no further socket can be opened. */
  problem: string | undefined;
  /** What the source of random numbers says next; a counter where nothing is given. */
  readonly places: number[] = [];
  #next = 0;

  constructor(nowMs = 0) {
    this.upstream = new UdpUpstream<string>(
      {
        onReply: (channel, view, length) => this.replies.push([channel, bytesOf(view, length)]),
        onUnreachable: (channel) => this.unreachable.push(channel),
        onError: ({ message }) => this.errors.push(message),
      },
      () => this.places.shift() ?? this.#next++,
      nowMs,
      (events) => {
        if (this.problem !== undefined) throw new Error(this.problem);
        const socket = new FakeSocket(events);
        this.sockets.push(socket);
        return socket;
      },
    );
  }

  /** Sends a query through a socket; the number of the socket in the order of opening. */
  ask(nowMs: number, place?: number): number {
    if (place !== undefined) this.places.push(place);
    const before = this.sockets.map(({ sent }) => sent.length);
    this.upstream.pick(nowMs)?.send(viewOf(Uint8Array.of(1, 2, 3)), 2);
    return this.sockets.findIndex(({ sent }, i) => sent.length > (before[i] ?? 0));
  }

  get open(): FakeSocket[] {
    return this.sockets.filter(({ isClosed }) => !isClosed);
  }
}

Deno.test("UdpUpstream opens one socket at the start and no other, when nobody asks", () => {
  const { upstream, sockets } = new Harness();
  assertEquals(sockets.length, 1);
  assertEquals(upstream.nextDeadlineMs, SOCKET_AGE_MAX_MS);
  upstream.handleTimeout(SOCKET_AGE_MAX_MS);
  assertEquals([sockets.length, sockets[0]?.isClosed], [1, true]);
  assertEquals(upstream.nextDeadlineMs, Infinity);
});

Deno.test("UdpUpstream.pick() spreads queries over SOCKETS sockets, when they come together", () => {
  const harness = new Harness();
  const used = Array.from({ length: 3_000 }, () => harness.ask(1));
  assert(SOCKETS >= 32);
  assertEquals([new Set(used).size, harness.sockets.length], [SOCKETS, SOCKETS]);
  for (const { sent, isReceiving } of harness.sockets) {
    assert(isReceiving && sent.length > 0);
    assertEquals(sent[0], Uint8Array.of(1, 2));
  }
});

Deno.test("UdpUpstream.pick() takes a socket again, when it is not ASKING_MS old", () => {
  const harness = new Harness();
  assertEquals(harness.ask(0, 7), 1);
  assertEquals(harness.ask(ASKING_MS - 1, 7), 1);
  assertEquals(harness.ask(ASKING_MS, 7), 2);
  assertEquals(harness.ask(ASKING_MS, 7 + SOCKETS), 2);
});

Deno.test("UdpUpstream.pick() opens a socket, when the last one is long closed", () => {
  const harness = new Harness();
  harness.upstream.handleTimeout(3_600_000);
  assertEquals(harness.ask(3_600_000, 0), 1);
  assertEquals(harness.open.length, 1);
});

Deno.test("UdpUpstream.handleTimeout() closes a socket, when its last query has run out of time", () => {
  const { upstream, open } = new Harness();
  assertEquals(SOCKET_AGE_MAX_MS, ASKING_MS + UPSTREAM_TIMEOUT_MS);
  assert(SOCKET_AGE_MAX_MS <= 10_000);
  const [socket] = open;
  upstream.handleTimeout(SOCKET_AGE_MAX_MS - 1);
  assertEquals(socket?.isClosed, false);
  upstream.handleTimeout(SOCKET_AGE_MAX_MS);
  assertEquals(socket?.isClosed, true);
});

Deno.test("UdpUpstream.pick() takes another socket, when none can be opened", () => {
  const harness = new Harness();
  harness.ask(0, 3);
  harness.problem = "too many open files";
  assert([0, 1].includes(harness.ask(1, 9)));
  assertEquals(harness.errors, ["too many open files"]);
  assertEquals(harness.ask(ASKING_MS, 9), -1, "an old socket asks");
  assertEquals(harness.upstream.pick(ASKING_MS), undefined);
  harness.problem = undefined;
  assertNotEquals(harness.ask(ASKING_MS, 9), -1);
});

Deno.test("UdpUpstream() throws, when its first socket cannot be opened", () => {
  const fail = () => {
    throw new Error("no such protocol");
  };
  const events = { onReply: () => {}, onUnreachable: () => {}, onError: () => {} };
  assertThrows(() => new UdpUpstream(events, () => 0, 0, fail), Error, "no such protocol");
});

Deno.test("UdpUpstream tells of which socket it is, when a datagram or ICMP comes", () => {
  const harness = new Harness();
  const channel = harness.upstream.pick(0);
  const { events } = defined(harness.sockets[0]);
  events.onDatagram(PEER, viewOf(Uint8Array.of(9, 8, 7)), 2);
  assertEquals(harness.replies, [[channel, Uint8Array.of(9, 8)]]);
  events.onUnreachable?.();
  assert(harness.unreachable.length === 1 && harness.unreachable[0] === channel);
});

Deno.test("UdpUpstream hears replies on a socket that asks no more, when it is not closed", () => {
  const harness = new Harness();
  const first = harness.upstream.pick(0);
  const nowMs = SOCKET_AGE_MAX_MS - 1;
  harness.ask(nowMs, 0);
  harness.upstream.handleTimeout(nowMs);
  assertEquals(harness.open.length, 2);
  harness.sockets[0]?.events.onDatagram(PEER, viewOf(Uint8Array.of(1)), 1);
  assert(harness.replies[0]?.[0] === first);
});

Deno.test("UdpUpstream.close() closes all sockets, when some ask and some only listen", () => {
  const harness = new Harness();
  for (const nowMs of [0, ASKING_MS]) {
    for (let place = 0; place < SOCKETS; place++) harness.ask(nowMs, place);
  }
  assertEquals(harness.open.length, 2 * SOCKETS);
  harness.upstream.close();
  assertEquals([harness.open.length, harness.upstream.nextDeadlineMs], [0, Infinity]);
});

Deno.test("UdpUpstream uses no old socket and keeps few open, when time passes as it likes", () => {
  const step = fc.record({
    waitMs: fc.oneof(fc.constantFrom(0, 1, ASKING_MS, SOCKET_AGE_MAX_MS), fc.nat(20_000)),
    queries: fc.nat(80),
    isTimely: fc.boolean(),
  });
  holds(
    "UdpUpstream",
    fc.property(fc.array(step, { maxLength: 40 }), fc.func(fc.nat(0xffff)), (steps, random) => {
      const harness = new Harness();
      const openedMs = new Map([[harness.sockets[0], 0]]);
      let nowMs = 0;
      let asked = 0;
      for (const { waitMs, queries, isTimely } of steps) {
        nowMs += waitMs;
        // The timer may come late.
        if (isTimely) harness.upstream.handleTimeout(nowMs);
        for (let i = 0; i < queries; i++) {
          const socket = harness.sockets[harness.ask(nowMs, random(asked++))];
          if (!openedMs.has(socket)) openedMs.set(socket, nowMs);
          assert(nowMs - (openedMs.get(socket) ?? -Infinity) < ASKING_MS, "an old socket asks");
        }
        const next = Math.min(...harness.open.map((socket) => openedMs.get(socket) ?? 0));
        assertEquals(harness.upstream.nextDeadlineMs, next + SOCKET_AGE_MAX_MS);
        if (!isTimely) continue;
        assert(harness.open.length <= 2 * SOCKETS, `${harness.open.length} are open`);
      }
      assert(harness.sockets.length <= 1 + asked, "a socket was opened that nobody needs");
    }),
  );
});

Deno.test("randomNumbers() gives 16-bit numbers that do not repeat, when asked on and on", () => {
  const random = randomNumbers();
  const numbers = Array.from({ length: 10_000 }, random);
  assert(numbers.every((n) => Number.isInteger(n) && n >= 0 && n <= 0xffff));
  // 10,000 draws out of 65,536 have 9,276 values on average; 9,000 would be a wonder.
  assert(new Set(numbers).size > 9_000);
});

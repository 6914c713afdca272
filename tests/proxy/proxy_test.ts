/**
 * The path of one query with everything around it faked: what a client gets, what the upstream gets,
 * and what neither gets.
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import type { Failure } from "../../lib/metrics.ts";
import { DnsProxy } from "../../lib/proxy/proxy.ts";
import {
  type Channel,
  CLIENT_IN_FLIGHT_MAX,
  DAMAGED_REPLIES_MAX,
  IN_FLIGHT_MAX,
  type Listener,
  PendingQueries,
  type PendingQuery,
  UPSTREAM_TIMEOUT_MS,
} from "../../lib/proxy/pending.ts";
import type { Barrier } from "../../lib/kernel/barrier.ts";
import { defined } from "../support/defined.ts";
import { bytesOf, viewOf } from "../support/hex.ts";
import { obtain, realAddress } from "../support/nat.ts";
import {
  a,
  aaaa,
  cname,
  concat,
  message,
  type MessageSpec,
  opt,
  pointer,
  query,
  REPLY_FLAGS,
  txt,
} from "../support/packet.ts";
import { holds } from "../support/property.ts";
import { decode } from "../support/reader.ts";
import {
  makeRewriting,
  type Rewriting,
  type RewritingOptions,
  TTL_MAX,
} from "../support/rewriting.ts";

const NAME = "www.example.com";
const OTHER = { name: "www.other.test" };
const TC = 0x0200;
const SERVFAIL_FLAGS = REPLY_FLAGS | 2;

/** A barrier that does as it is told. */
class FakeBarrier implements Pick<Barrier, "isCommitted" | "wait"> {
  settled: number;
  readonly waiting: { revisions: readonly number[]; done: (committed: boolean) => void }[] = [];

  constructor({ log }: Rewriting["nat"]) {
    this.settled = log.revision;
  }

  isCommitted(revision: number): boolean {
    return revision <= this.settled;
  }

  wait(revisions: readonly number[], done: (committed: boolean) => void): void {
    this.waiting.push({ revisions, done });
  }
}

/** A socket to the upstream. */
class FakeChannel implements Channel<PendingQuery<string>> {
  readonly waiting = new Map<number, PendingQuery<string>>();
  readonly #asked: Asked[];

  constructor(asked: Asked[]) {
    this.#asked = asked;
  }

  send(view: DataView, length: number): void {
    this.#asked.push({ socket: this, id: view.getUint16(0), bytes: bytesOf(view, length) });
  }
}

/** A query that went to the upstream. */
interface Asked {
  readonly socket: FakeChannel;
  readonly id: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** An answerer and what comes out of it. */
class Dotp {
  readonly asked: Asked[] = [];
  readonly replies: [peer: string, bytes: Uint8Array<ArrayBuffer>][] = [];
  readonly failures: Failure[] = [];
  readonly rewriting: Rewriting;
  readonly barrier: FakeBarrier;
  readonly inFlight = new PendingQueries<string>(
    () => (this.#nextId = (this.#nextId + 257) & 0xffff),
  );
  /** Clients that ask by UDP. */
  readonly listener: Listener<string> = {
    replyLengthUsual: 512,
    replyLengthMax: 65_507,
    clientOf: (peer) => peer,
    reply: (peer, view, length) => this.replies.push([peer, bytesOf(view, length)]),
  };
  nowMs = 0;
  #nextId = 0x4000;
  /** Sockets that queries take in turn; without any none can be opened. */
  readonly sockets = Array.from({ length: 8 }, () => new FakeChannel(this.asked));
  #nextSocket = 0;
  readonly #answerer: DnsProxy<string>;

  constructor(options: RewritingOptions = {}) {
    this.rewriting = makeRewriting(options);
    this.barrier = new FakeBarrier(this.rewriting.nat);
    this.#answerer = new DnsProxy({
      inFlight: this.inFlight,
      rewriter: this.rewriting.rewriter,
      barrier: this.barrier,
      upstream: { pick: () => this.sockets[this.#nextSocket++ % this.sockets.length] },
      now: () => this.nowMs,
      report: (event) => {
        if (event.kind === "servfail") this.failures.push(event.reason);
      },
    });
  }

  /** A datagram from a client, in a buffer that is used again. */
  query(bytes: Uint8Array, peer = "client", listener = this.listener): void {
    const view = viewOf(concat(bytes, new Uint8Array(100).fill(0xa5)));
    this.#answerer.onQuery(listener, peer, view, bytes.length, this.nowMs);
    new Uint8Array(view.buffer).fill(0x5a);
  }

  /** A datagram from the upstream, in a buffer that is used again. */
  receive(socket: FakeChannel, bytes: Uint8Array): void {
    const view = viewOf(concat(bytes, new Uint8Array(100).fill(0xa5)));
    this.#answerer.onReply(socket, view, bytes.length, this.nowMs);
    new Uint8Array(view.buffer).fill(0x5a);
  }

  /** The reply to the query that was sent on last, or to another. */
  answer(spec: MessageSpec, to = defined(this.asked.at(-1))): void {
    this.receive(to.socket, message({ ...spec, id: to.id }));
  }

  unreachable(socket: FakeChannel): void {
    this.#answerer.onUnreachable(socket);
  }

  time(nowMs: number): void {
    this.nowMs = nowMs;
    this.#answerer.handleTimeout(nowMs);
  }

  /** Replies since the last call, of which the peers are not of interest. */
  takeReplies(): Uint8Array<ArrayBuffer>[] {
    return this.replies.splice(0).map(([, bytes]) => bytes);
  }
}

Deno.test("DnsProxy.onQuery() sends a query on as it is but for the id, when it is a usual one", () => {
  for (
    const bytes of [
      query({ id: 0x1234 }),
      query({ id: 0x1234, flags: 0x0110, additionals: [opt(4096, 0x8000)] }),
      query({
        id: 0x1234,
        flags: 0x7bf & ~0x7800,
        question: { name: NAME, type: 255, class: 255 },
      }),
      query({ id: 0x1234, trailing: new Uint8Array(7) }),
      query({ id: 0x1234, question: { name: "" } }),
    ]
  ) {
    const proxy = new Dotp();
    proxy.query(bytes);
    const asked = defined(proxy.asked[0]);
    assertEquals(proxy.replies, []);
    assertNotEquals(asked.id, 0x1234);
    assertEquals(asked.bytes.slice(2), bytes.slice(2));
  }
});

Deno.test("DnsProxy.onQuery() sends each query on under its own id, when they are the same", () => {
  const proxy = new Dotp();
  for (let i = 0; i < 100; i++) proxy.query(query({ id: 1 }), `client ${i}`);
  for (const each of proxy.sockets) {
    const ids = proxy.asked.filter(({ socket }) => socket === each).map(({ id }) => id);
    assertEquals(new Set(ids).size, ids.length);
  }
  assertEquals(proxy.asked.length, 100);
});

Deno.test("DnsProxy.onQuery() drops a datagram, when it is too short or no query", () => {
  const proxy = new Dotp();
  for (let length = 0; length < 12; length++) proxy.query(query().slice(0, length));
  for (let opcode = 0; opcode < 16; opcode++) {
    proxy.query(message({ flags: REPLY_FLAGS | (opcode << 11) }));
  }
  assertEquals([proxy.asked, proxy.replies], [[], []]);
});

Deno.test("DnsProxy.onQuery() answers NOTIMP with a header, when the opcode is another than 0", () => {
  for (let opcode = 1; opcode < 16; opcode++) {
    const proxy = new Dotp();
    proxy.query(query({ id: 0xbeef, flags: (opcode << 11) | 0x0100 }));
    const expected = message({
      id: 0xbeef,
      flags: REPLY_FLAGS | (opcode << 11) | 4,
      counts: [0, 0, 0, 0],
    });
    assertEquals(proxy.takeReplies(), [expected.slice(0, 12)], `${opcode}`);
    assertEquals(proxy.asked, []);
  }
});

Deno.test("DnsProxy.onQuery() answers FORMERR with a header, when there is no readable question", () => {
  const whole = query({ id: 0xbeef });
  for (
    const [what, bytes] of [
      ["a header", whole.slice(0, 12)],
      ["half a name", whole.slice(0, 20)],
      ["no class", whole.slice(0, -2)],
      ["QDCOUNT 0", query({ id: 0xbeef, counts: [0, 0, 0, 0] })],
      ["QDCOUNT 2", query({ id: 0xbeef, counts: [2, 0, 0, 0] })],
      ["a compressed name", query({ id: 0xbeef, question: { name: pointer(12) } })],
      [
        "a label of another type",
        query({ id: 0xbeef, question: { name: Uint8Array.of(0x41, 0) } }),
      ],
      ["two OPTs", query({ id: 0xbeef, additionals: [opt(512), opt(512)] })],
    ] as const
  ) {
    const proxy = new Dotp();
    proxy.query(bytes);
    const expected = message({ id: 0xbeef, flags: REPLY_FLAGS | 1, counts: [0, 0, 0, 0] });
    assertEquals(proxy.takeReplies(), [expected.slice(0, 12)], what);
    assertEquals(proxy.asked, [], what);
  }
});

Deno.test("DnsProxy.onQuery() answers FORMERR with the question, when a record is damaged", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 7, counts: [1, 0, 0, 1] }));
  proxy.query(query({ id: 7, additionals: [{ ...opt(1232), rdlength: 1 }] }));
  const expected = message({ id: 7, flags: REPLY_FLAGS | 1 });
  assertEquals(proxy.takeReplies(), [expected, expected]);
  proxy.query(query({ id: 7, additionals: [opt(4096)], counts: [1, 0, 0, 2] }));
  assertEquals(proxy.takeReplies(), [
    message({ id: 7, flags: REPLY_FLAGS | 1, additionals: [opt(1232)] }),
  ]);
});

Deno.test("DnsProxy.onReply() passes a reply but for the id, when no name in it is ours", () => {
  for (
    const spec of [
      { question: OTHER, answers: [a(OTHER.name, "192.0.2.1", 86_400)], flags: 0x87f0 },
      { question: OTHER, flags: REPLY_FLAGS | 3 },
      { question: OTHER, counts: [1, 9, 9, 9], trailing: new Uint8Array(50).fill(0xff) },
      { question: OTHER, answers: [a(OTHER.name, "192.0.2.1")], trailing: new Uint8Array(9) },
    ]
  ) {
    const proxy = new Dotp();
    proxy.query(query({ id: 0xbeef, question: OTHER }), "10.0.0.1");
    proxy.answer(spec);
    assertEquals(proxy.replies, [["10.0.0.1", message({ ...spec, id: 0xbeef })]]);
  }
});

Deno.test("DnsProxy.onReply() rewrites, when a name is ours and its mapping is in the kernel", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef }));
  proxy.answer({ answers: [cname(NAME, "cdn.test"), a("cdn.test", "192.0.2.1")] });
  assertEquals(proxy.takeReplies(), [
    message({
      id: 0xbeef,
      answers: [cname(NAME, "cdn.test"), a("cdn.test", "198.18.0.1", TTL_MAX)],
    }),
  ]);
  assertEquals(proxy.barrier.waiting, []);
});

Deno.test("DnsProxy.onReply() holds a reply, when its mapping is not in the kernel yet", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef, additionals: [opt(1232)] }), "first");
  const known = proxy.barrier.settled;
  proxy.answer({ answers: [a(NAME, "203.0.113.1"), a(NAME, "203.0.113.2"), a(NAME, "192.0.2.1")] });
  assertEquals(proxy.replies, []);
  // Another query takes the slot meanwhile, and the table moves on.
  proxy.query(query({ id: 0xdead }), "second");
  const { 4: table } = proxy.rewriting.nat.tables;
  const fakes = ["203.0.113.1", "203.0.113.2"].map((real) => obtain(table, real, 0));
  const [waiting] = proxy.barrier.waiting;
  const unknown = waiting?.revisions.filter((revision) => revision > known);
  assertEquals(unknown, [known + 1, known + 2]);
  waiting?.done(true);
  assertEquals(proxy.replies, [[
    "first",
    message({
      id: 0xbeef,
      answers: [...fakes, "198.18.0.1"].map((fake) => a(NAME, fake, TTL_MAX)),
    }),
  ]]);
  assertEquals(proxy.failures, []);
});

Deno.test("DnsProxy.onReply() holds each reply for its own, when several wait", () => {
  const proxy = new Dotp();
  for (const n of [1, 2, 3]) {
    proxy.query(query({ id: n }), `client ${n}`);
    proxy.answer({ answers: [a(NAME, `203.0.113.${n}`)] });
  }
  const last = proxy.rewriting.nat.log.revision;
  const revisions = proxy.barrier.waiting.map(({ revisions }) => revisions);
  assertEquals(revisions, [[last - 2], [last - 1], [last]]);
  assertEquals(proxy.inFlight.rooms, 3);
  for (const n of [2, 0, 1]) proxy.barrier.waiting[n]?.done(true);
  assertEquals(proxy.inFlight.rooms, 0);
  assertEquals(proxy.replies.map(([peer, bytes]) => [peer, decode(bytes).id]), [
    ["client 3", 3],
    ["client 1", 1],
    ["client 2", 2],
  ]);
});

Deno.test("DnsProxy.onReply() does not wait, when the kernel has the revision", () => {
  const proxy = new Dotp();
  proxy.barrier.settled++;
  proxy.query(query({ id: 5 }));
  proxy.answer({ answers: [a(NAME, "203.0.113.1")] });
  assertEquals([proxy.replies.length, proxy.barrier.waiting.length], [1, 0]);
  proxy.query(query({ id: 6 }));
  proxy.answer({ answers: [a(NAME, "203.0.113.2")] });
  assertEquals([proxy.replies.length, proxy.barrier.waiting.length], [1, 1]);
});

Deno.test("DnsProxy.onReply() answers SERVFAIL, when the mapping cannot be had", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef, additionals: [opt(4096, 0x8000)] }), "first");
  proxy.answer({ answers: [a(NAME, "203.0.113.1")] });
  proxy.query(query({ id: 1, question: OTHER }), "second");
  proxy.barrier.waiting[0]?.done(false);
  assertEquals(proxy.replies, [[
    "first",
    message({ id: 0xbeef, flags: SERVFAIL_FLAGS, additionals: [opt(1232, 0x8000)] }),
  ]]);
  assertEquals(proxy.failures, ["kernel"]);
});

Deno.test("DnsProxy.onReply() answers without records, when a private address is refused", () => {
  for (const additionals of [[], [opt(1232)]]) {
    const proxy = new Dotp({ privateReals: "refuse" });
    proxy.query(query({ id: 0xbeef, additionals }));
    proxy.answer({ answers: [cname(NAME, "www.cdn.net"), a("www.cdn.net", "10.0.0.1")] });
    assertEquals(proxy.takeReplies(), [message({ id: 0xbeef, additionals })]);
    assertEquals(proxy.failures, []);
  }
});

Deno.test("DnsProxy.onReply() answers SERVFAIL, when the pool is full", () => {
  const proxy = new Dotp({ ipv4: "203.0.113.0/30" });
  for (const real of ["10.0.0.1", "10.0.0.2"]) obtain(proxy.rewriting.nat.tables[4], real, 0);
  proxy.query(query({ id: 0xbeef }));
  proxy.answer({ answers: [a(NAME, "10.0.0.3")] });
  assertEquals(proxy.takeReplies(), [message({ id: 0xbeef, flags: SERVFAIL_FLAGS })]);
  assertEquals(proxy.failures, ["full"]);
});

Deno.test("DnsProxy.onReply() answers SERVFAIL, when a reply has too many addresses", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef }));
  const answers = Array.from({ length: 129 }, (_, n) => a(NAME, realAddress(n)));
  proxy.answer({ answers });
  assertEquals(proxy.takeReplies(), [message({ id: 0xbeef, flags: SERVFAIL_FLAGS })]);
  assertEquals(proxy.failures, ["oversized"]);
  assertEquals(proxy.rewriting.nat.log.size, 0);
});

Deno.test("DnsProxy.onReply() answers SERVFAIL to one client and not to another, when the first wants all", () => {
  const proxy = new Dotp({ ipv4: "203.0.113.0/28" });
  const ask = (client: string, n: number) => {
    proxy.query(query({ id: 0xbeef }), client);
    proxy.answer({ answers: [a(NAME, realAddress(n))] });
    for (const { done } of proxy.barrier.waiting.splice(0)) done(true);
    return proxy.takeReplies().map((reply) => reply[3]! & 0xf).join();
  };
  for (let n = 0; n < 12; n++) assertEquals(ask("hog", n), "0");
  assertEquals([ask("hog", 12), ask("other", 13)], ["2", "0"]);
  assertEquals(proxy.failures, ["share"]);
});

Deno.test("DnsProxy.onReply() goes on waiting, when a reply about a configured name is cut short", () => {
  const answers = [cname(NAME, "cdn.test"), a("cdn.test", "192.0.2.1")];
  for (let length = 0; length < message({ answers }).length; length++) {
    const proxy = new Dotp();
    proxy.query(query({ id: 0xbeef }));
    const { socket, id } = proxy.asked[0]!;
    proxy.receive(socket, message({ answers, id }).slice(0, length));
    assertEquals([proxy.replies, proxy.inFlight.rooms], [[], 1], `${length}`);
    proxy.answer({ answers: [a(NAME, "192.0.2.2")] });
    const expected = message({ id: 0xbeef, answers: [a(NAME, "198.18.0.2", TTL_MAX)] });
    assertEquals([proxy.takeReplies(), proxy.failures], [[expected], []], `${length}`);
  }
});

Deno.test("DnsProxy.handleTimeout() answers SERVFAIL and says why, when only damaged replies came", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef }));
  const damaged = { answers: [a(NAME, "203.0.113.1")], counts: [1, 2, 0, 0] };
  for (let i = 1; i < DAMAGED_REPLIES_MAX; i++) proxy.answer(damaged);
  proxy.time(UPSTREAM_TIMEOUT_MS - 1);
  assertEquals([proxy.replies, proxy.failures], [[], []]);
  proxy.time(UPSTREAM_TIMEOUT_MS);
  assertEquals(proxy.takeReplies(), [message({ id: 0xbeef, flags: SERVFAIL_FLAGS })]);
  assertEquals(proxy.failures, ["unreadable"]);
  assertEquals(proxy.rewriting.nat.log.size, 0);
});

Deno.test("DnsProxy.onReply() answers SERVFAIL, when DAMAGED_REPLIES_MAX damaged replies came", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef }));
  const damaged = { answers: [a(NAME, "203.0.113.1")], counts: [1, 2, 0, 0] };
  for (let i = 1; i < DAMAGED_REPLIES_MAX; i++) proxy.answer(damaged);
  assertEquals(proxy.replies, []);
  proxy.answer(damaged);
  assertEquals(proxy.takeReplies(), [message({ id: 0xbeef, flags: SERVFAIL_FLAGS })]);
  assertEquals(proxy.failures, ["unreadable"]);
  proxy.answer({ answers: [a(NAME, "192.0.2.1")] });
  assertEquals(proxy.replies, []);
});

Deno.test("DnsProxy.onReply() removes the OPT that the upstream adds, when the client sent none", () => {
  const answers = [a(OTHER.name, "192.0.2.1")];
  for (const [hasOpt, kept] of [[false, []], [true, [opt(1232)]]] as const) {
    const additionals = hasOpt ? [opt(4096)] : [];
    const proxy = new Dotp();
    proxy.query(query({ id: 0xbeef, question: OTHER, additionals }));
    proxy.answer({ question: OTHER, answers, additionals: [opt(1232)] });
    proxy.query(query({ id: 0xdead, additionals }));
    proxy.answer({ answers: [a(NAME, "192.0.2.1")], additionals: [opt(1232)] });
    assertEquals(proxy.takeReplies(), [
      message({ id: 0xbeef, question: OTHER, answers, additionals: kept }),
      message({ id: 0xdead, answers: [a(NAME, "198.18.0.1", TTL_MAX)], additionals: kept }),
    ]);
  }
});

Deno.test("DnsProxy.onReply() does not set TC, when only octets behind the last record are too many", () => {
  const spec = replyOfLength(512, { question: OTHER });
  for (const octets of [1, 1_000]) {
    const proxy = new Dotp();
    proxy.query(query({ id: 0xbeef, question: OTHER }));
    proxy.answer({ ...spec, trailing: new Uint8Array(octets) });
    assertEquals(proxy.takeReplies(), [message({ ...spec, id: 0xbeef })]);
  }
});

Deno.test("DnsProxy.onReply() passes what there is, when a reply that is not ours is cut", () => {
  const reply = { question: OTHER, answers: [a(OTHER.name, "192.0.2.1")] };
  const questionLength = query({ question: OTHER }).length;
  for (let length = questionLength; length < message(reply).length; length++) {
    const proxy = new Dotp();
    proxy.query(query({ id: 0xbeef, question: OTHER }));
    const { socket, id } = proxy.asked[0]!;
    proxy.receive(socket, message({ ...reply, id }).slice(0, length));
    assertEquals(proxy.takeReplies(), [message({ ...reply, id: 0xbeef }).slice(0, length)]);
  }
});

/** A reply of exactly `length` octets, the last record of its answer section as long as it takes. */
function replyOfLength(length: number, spec: MessageSpec): MessageSpec {
  const answersWith = (octets: number) => [
    a(OTHER.name, "192.0.2.1"),
    { owner: OTHER.name, type: 0xff00, rdata: new Uint8Array(octets) },
  ];
  const octets = length - message({ ...spec, answers: answersWith(0) }).length;
  return { ...spec, answers: answersWith(octets) };
}

Deno.test("DnsProxy.onReply() cuts at a record, when a reply is longer than the client takes", () => {
  for (
    const [what, options, limit] of [
      ["no OPT", [], 512],
      ["OPT of 0", [opt(0)], 512],
      ["OPT of 511", [opt(511)], 512],
      ["OPT of 512", [opt(512)], 512],
      ["OPT of 513", [opt(513)], 513],
      ["OPT of 1232", [opt(1232)], 1232],
      ["OPT of 4096", [opt(4096)], 4096],
    ] as const
  ) {
    const additionals = options.length === 0 ? [] : [opt(1232)];
    for (const length of [limit - 1, limit, limit + 1]) {
      const spec = replyOfLength(length, { question: OTHER, additionals });
      assertEquals(message(spec).length, length, what);
      const proxy = new Dotp();
      proxy.query(query({ id: 0xbeef, question: OTHER, additionals: options }));
      proxy.answer(spec);
      const whole = { ...spec, id: 0xbeef };
      const answers = spec.answers?.slice(0, -1) ?? [];
      const expected = length <= limit ? whole : { ...whole, flags: REPLY_FLAGS | TC, answers };
      assertEquals(proxy.takeReplies(), [message(expected)], `${what} ${length}`);
    }
  }
});

Deno.test("DnsProxy.onReply() cuts nothing, when the client asked by a way that takes it all", () => {
  for (const additionals of [[], [opt(512)]]) {
    const proxy = new Dotp();
    const stream = { ...proxy.listener, replyLengthUsual: 65_535, replyLengthMax: 65_535 };
    proxy.query(query({ id: 0xbeef, question: OTHER, additionals }), "client", stream);
    const spec = replyOfLength(65_535, { question: OTHER, additionals });
    proxy.answer(spec);
    assertEquals(proxy.takeReplies(), [message({ ...spec, id: 0xbeef })]);
  }
});

Deno.test("DnsProxy.onReply() cuts what no datagram holds, when the client says it takes it", () => {
  const proxy = new Dotp();
  const additionals = [opt(0xffff)];
  for (const length of [65_507, 65_508]) {
    proxy.query(query({ id: 0xbeef, question: OTHER, additionals }));
    proxy.answer(replyOfLength(length, { question: OTHER, additionals }));
    const [reply] = proxy.takeReplies();
    assertEquals([reply?.length === length, (reply![2]! & 2) !== 0], [
      length === 65_507,
      length > 65_507,
    ]);
  }
});

Deno.test("DnsProxy.onReply() cuts a rewritten reply, when it is held until the kernel has it", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef }));
  const fillers = [txt(NAME, 200), txt(NAME, 200)];
  proxy.answer({ answers: [a(NAME, "203.0.113.1"), ...fillers, txt(NAME, 200)] });
  const fake = obtain(proxy.rewriting.nat.tables[4], "203.0.113.1", 0);
  proxy.barrier.waiting[0]?.done(true);
  assertEquals(proxy.takeReplies(), [
    message({ id: 0xbeef, flags: REPLY_FLAGS | TC, answers: [a(NAME, fake, TTL_MAX), ...fillers] }),
  ]);
});

Deno.test("DnsProxy.onReply() leaves header and question with TC, when a reply cannot be read", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef, question: OTHER }));
  proxy.answer({
    question: OTHER,
    counts: [1, 99, 0, 0],
    trailing: new Uint8Array(600).fill(0xff),
  });
  assertEquals(proxy.takeReplies(), [
    message({ id: 0xbeef, question: OTHER, flags: REPLY_FLAGS | TC }),
  ]);
});

Deno.test("DnsProxy.onReply() takes the right reply, when forged ones come before it", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef }));
  const { socket, id } = proxy.asked[0]!;
  const others = proxy.sockets.filter((other) => other !== socket);
  const answers = [a(NAME, "192.0.2.66")];
  for (let i = 1; i < 1_000; i++) {
    proxy.receive(socket, message({ id: (id + i) & 0xffff, answers }));
    proxy.receive(defined(others[i % others.length]), message({ id, answers }));
  }
  for (
    const [what, to, bytes] of [
      ["socket", defined(others[0]), message({ id, answers })],
      ["question", socket, message({ id, answers, question: { name: "www.example.org" } })],
      ["type", socket, message({ id, answers, question: { name: NAME, type: 28 } })],
      ["class", socket, message({ id, answers, question: { name: NAME, class: 3 } })],
      ["QR", socket, query({ id, answers })],
      ["opcode", socket, message({ id, answers, flags: REPLY_FLAGS | 0x0800 })],
      ["QDCOUNT 0", socket, message({ id, answers, counts: [0, 1, 0, 0] })],
      ["the client's id", socket, message({ id: 0xbeef, answers })],
      ["nothing", socket, new Uint8Array()],
      ["short", socket, message({ id }).slice(0, 11)],
    ] as const
  ) {
    proxy.receive(to, bytes);
    assertEquals([proxy.replies, proxy.inFlight.rooms], [[], 1], what);
  }
  proxy.answer({ answers: [a(NAME, "192.0.2.1")] });
  assertEquals(proxy.takeReplies(), [
    message({ id: 0xbeef, answers: [a(NAME, "198.18.0.1", TTL_MAX)] }),
  ]);
});

Deno.test("DnsProxy.onReply() takes a reply, when the upstream changed the case of the question", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 0xbeef, question: { name: "wWw.eXAMPle.com" } }));
  const question = { name: "www.EXAMPLE.COM" };
  proxy.answer({ question, answers: [a(question.name, "192.0.2.1")] });
  assertEquals(proxy.takeReplies(), [
    message({ id: 0xbeef, question, answers: [a(question.name, "198.18.0.1", TTL_MAX)] }),
  ]);
});

Deno.test("DnsProxy.onReply() answers each client once, when replies come twice and out of order", () => {
  const proxy = new Dotp();
  for (const n of [1, 2, 3]) proxy.query(query({ id: n, question: OTHER }), `client ${n}`);
  for (const n of [2, 0, 2, 1, 0, 1]) proxy.answer({ question: OTHER }, proxy.asked[n]);
  assertEquals(proxy.replies.map(([peer, bytes]) => [peer, decode(bytes).id]), [
    ["client 3", 3],
    ["client 1", 1],
    ["client 2", 2],
  ]);
});

Deno.test("DnsProxy.handleTimeout() answers SERVFAIL, when the upstream was silent for its time", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 1 }), "first");
  proxy.nowMs = 10;
  proxy.query(query({ id: 2, additionals: [opt(4096)] }), "second");
  proxy.time(UPSTREAM_TIMEOUT_MS - 1);
  assertEquals(proxy.replies, []);
  proxy.time(UPSTREAM_TIMEOUT_MS);
  assertEquals(proxy.replies, [["first", message({ id: 1, flags: SERVFAIL_FLAGS })]]);
  proxy.time(UPSTREAM_TIMEOUT_MS + 10);
  const withOpt = message({ id: 2, flags: SERVFAIL_FLAGS, additionals: [opt(1232)] });
  assertEquals(proxy.replies[1], ["second", withOpt]);
  assertEquals(proxy.failures, ["silent", "silent"]);
  assertEquals(proxy.inFlight.rooms, 0);
});

Deno.test("DnsProxy.onUnreachable() answers SERVFAIL at once, when nobody listens where queries went", () => {
  const proxy = new Dotp();
  for (let id = 0; id < 16; id++) proxy.query(query({ id }), `client ${id}`);
  const { socket } = defined(proxy.asked[3]);
  const waiting = proxy.asked.flatMap((asked, id) => asked.socket === socket ? [id] : []);
  proxy.unreachable(socket);
  assertEquals(
    proxy.replies,
    waiting.map((id) => [`client ${id}`, message({ id, flags: SERVFAIL_FLAGS })]),
  );
  assertEquals(proxy.failures, waiting.map(() => "unreachable"));
  assertEquals([waiting.length, proxy.inFlight.rooms, socket.waiting.size], [2, 14, 0]);
  proxy.unreachable(socket);
  assertEquals(proxy.replies.length, 2);
});

Deno.test("DnsProxy.handleTimeout() gives up all that is due, when many queries waited", () => {
  const proxy = new Dotp();
  for (let i = 0; i < 500; i++) proxy.query(query({ id: i }));
  proxy.time(UPSTREAM_TIMEOUT_MS);
  assertEquals(proxy.replies.length, 500);
});

Deno.test("DnsProxy.onReply() gives a late reply to nobody, when its query has been given up", () => {
  const proxy = new Dotp();
  proxy.query(query());
  proxy.time(UPSTREAM_TIMEOUT_MS);
  proxy.takeReplies();
  proxy.answer({ answers: [a(NAME, "203.0.113.1")] });
  assertEquals([proxy.replies, proxy.rewriting.nat.log.size], [[], 0]);
});

Deno.test("DnsProxy.onQuery() answers SERVFAIL, when IN_FLIGHT_MAX queries are in flight", () => {
  const proxy = new Dotp();
  for (let i = 0; i < IN_FLIGHT_MAX - 1; i++) {
    proxy.query(query({ question: { name: "" } }), `client ${i}`);
  }
  proxy.query(query({ id: 0xbeef }));
  assertEquals([proxy.asked.length, proxy.replies], [IN_FLIGHT_MAX, []]);
  proxy.query(query({ id: 0xbeef }));
  assertEquals(proxy.asked.length, IN_FLIGHT_MAX);
  assertEquals(proxy.takeReplies(), [message({ id: 0xbeef, flags: SERVFAIL_FLAGS })]);
  assertEquals(proxy.failures, ["in-flight"]);
  proxy.answer({ answers: [a(NAME, "192.0.2.1")] });
  proxy.query(query({ id: 0xbeef }));
  assertEquals(proxy.asked.length, IN_FLIGHT_MAX + 1);
});

Deno.test("DnsProxy.onQuery() answers one client SERVFAIL, when it has too many in flight", () => {
  const proxy = new Dotp();
  for (let i = 0; i < CLIENT_IN_FLIGHT_MAX; i++) proxy.query(query(), "greedy");
  assertEquals([proxy.asked.length, proxy.replies], [CLIENT_IN_FLIGHT_MAX, []]);
  proxy.query(query({ id: 0xbeef }), "greedy");
  assertEquals(proxy.takeReplies(), [message({ id: 0xbeef, flags: SERVFAIL_FLAGS })]);
  assertEquals(proxy.failures, ["in-flight"]);
  proxy.query(query(), "other");
  assertEquals(proxy.asked.length, CLIENT_IN_FLIGHT_MAX + 1);
  proxy.answer({ answers: [] }, defined(proxy.asked[0]));
  proxy.query(query(), "greedy");
  assertEquals(proxy.asked.length, CLIENT_IN_FLIGHT_MAX + 2);
});

Deno.test("DnsProxy.onQuery() answers SERVFAIL, when there is no socket to the upstream", () => {
  const proxy = new Dotp();
  proxy.sockets.length = 0;
  proxy.query(query({ id: 0xbeef }));
  assertEquals(proxy.takeReplies(), [message({ id: 0xbeef, flags: SERVFAIL_FLAGS })]);
  assertEquals(proxy.failures, ["no-socket"]);
  assertEquals(proxy.inFlight.rooms, 0);
});

Deno.test("DnsProxy.onQuery() never says more than it was asked, when octets are random", () => {
  const octet = fc.oneof(fc.constantFrom(0, 1, 41, 0xc0), fc.nat(255));
  const octets = fc.array(octet, { maxLength: 80 }).map((all) => Uint8Array.from(all));
  const proxy = new Dotp();
  holds(
    "DnsProxy.onQuery",
    fc.property(octets, fc.constantFrom(0, 12, 33), (tail, kept) => {
      const bytes = concat(query({ counts: [1, 0, 0, 1] }).slice(0, kept), tail);
      proxy.query(bytes);
      const [replies, asked] = [proxy.takeReplies(), proxy.asked.splice(0)];
      assert(replies.length + asked.length <= 1);
      for (const reply of replies) {
        assert(reply.length <= bytes.length, "a reply is longer than its query");
        assertEquals(reply.slice(0, 2), bytes.slice(0, 2));
        assert((reply[2]! & 0x80) !== 0);
      }
      if (asked[0] !== undefined) assertEquals(asked[0].bytes.slice(2), bytes.slice(2));
      proxy.time(proxy.nowMs + UPSTREAM_TIMEOUT_MS);
      for (const reply of proxy.takeReplies()) assert(reply.length <= bytes.length);
    }),
    2_000,
  );
});

Deno.test("DnsProxy.onReply() passes or waits, when a reply is random behind its question", () => {
  const octet = fc.oneof(fc.constantFrom(0, 1, 4, 28, 0xc0, 0x0c), fc.nat(255));
  const octets = fc.array(octet, { maxLength: 100 }).map((all) => Uint8Array.from(all));
  const counts = fc.array(fc.nat(3), { minLength: 3, maxLength: 3 });
  const proxy = new Dotp();
  proxy.barrier.settled = Infinity;
  holds(
    "DnsProxy.onReply",
    fc.property(octets, counts, fc.boolean(), (trailing, counts, isOurs) => {
      const question = isOurs ? { name: NAME } : OTHER;
      proxy.query(query({ id: 0xbeef, question, additionals: [opt(1232)] }));
      const spec = { question, counts: [1, ...counts], trailing };
      proxy.answer(spec);
      const whole = message({ ...spec, id: 0xbeef });
      const [reply] = proxy.takeReplies();
      if (!isOurs) assertEquals(reply?.slice(2), whole.slice(2));
      else assertEquals(reply?.length ?? whole.length, whole.length);
      assertEquals(proxy.inFlight.rooms, reply === undefined ? 1 : 0);
      proxy.time(proxy.nowMs + UPSTREAM_TIMEOUT_MS);
      proxy.takeReplies();
    }),
    1_000,
  );
});

Deno.test("DnsProxy.onReply() rewrites both families, when a reply holds both", () => {
  const proxy = new Dotp();
  proxy.query(query({ id: 1, question: { name: NAME, type: 255 } }));
  proxy.answer({
    question: { name: NAME, type: 255 },
    answers: [a(NAME, "203.0.113.1"), aaaa(NAME, "2001:db8::9")],
  });
  const last = proxy.rewriting.nat.log.revision;
  assertEquals(proxy.barrier.waiting[0]?.revisions, [last - 1, last]);
});

/**
 * The path of one query, and the only place that branches: what is dropped, refused, sent on, passed,
 * rewritten, held until the kernel is ready, or answered with an error of our own.
 *
 * Everything it needs is given: listeners and upstream, time as a parameter. The buffers that it is
 * handed are its own until it returns; what it sends is copied by who sends it.
 *
 * @module
 */
import { Flag, MESSAGE_LENGTH_PLAIN, Offset, OPCODE_QUERY, Rcode } from "../dns/constants.ts";
import { Message, opcodeOf } from "../dns/message.ts";
import { headerOf, partsOf, type QueryParts } from "../dns/query.ts";
import { fitInPlace, writeError } from "../dns/response.ts";
import {
  type Channel,
  DAMAGED_REPLIES_MAX,
  type Listener,
  type PendingQueries,
  type PendingQuery,
} from "./pending.ts";
import type { Barrier } from "../kernel/barrier.ts";
import type { Failure, Report } from "../metrics.ts";
import type { Rewriter } from "./rewriter.ts";

/** The ways to the upstream. */
export interface Ways<Peer> {
  /** One of them, picked so that nobody can guess it; undefined if there is none. */
  pick(nowMs: number): Channel<PendingQuery<Peer>> | undefined;
}

/** What a `DnsProxy` is made of. */
export interface DnsProxyOptions<Peer> {
  readonly inFlight: PendingQueries<Peer>;
  readonly rewriter: Rewriter;
  readonly barrier: Pick<Barrier, "isCommitted" | "wait">;
  readonly upstream: Ways<Peer>;
  /** The time, for replies that were held. */
  readonly now: () => number;
  /** Told of each SERVFAIL. */
  readonly report: Report;
}

/** Room for an error of our own, which is never longer than header, question and a bare OPT. */
const ERROR_ROOM = MESSAGE_LENGTH_PLAIN;

/** Answers queries. */
export class DnsProxy<Peer> {
  readonly #options: DnsProxyOptions<Peer>;
  readonly #query = new Message();
  readonly #reply = new Message();
  readonly #error = new DataView(new ArrayBuffer(ERROR_ROOM));

  constructor(options: DnsProxyOptions<Peer>) {
    this.#options = options;
  }

  /** Takes a message from a client, at the start of `view`. */
  onQuery(
    listener: Listener<Peer>,
    peer: Peer,
    view: DataView,
    length: number,
    nowMs: number,
  ): void {
    if (length < Offset.QUESTION) return;
    const flags = view.getUint16(Offset.FLAGS);
    if ((flags & Flag.QR) !== 0) return;
    if (opcodeOf(flags) !== OPCODE_QUERY) {
      return this.#refuse(listener, peer, headerOf(view), Rcode.NOTIMP);
    }
    const isWhole = this.#query.index(view, length);
    const parts = partsOf(this.#query);
    if (!isWhole || parts === undefined) {
      return this.#refuse(listener, peer, parts ?? headerOf(view), Rcode.FORMERR);
    }
    const { inFlight, upstream } = this.#options;
    const channel = upstream.pick(nowMs);
    const query = channel && inFlight.open(listener, peer, parts, length, nowMs);
    if (query === undefined) {
      this.#refuse(listener, peer, parts, Rcode.SERVFAIL);
      const reason = channel === undefined ? "no-socket" : "in-flight";
      return this.#options.report({ kind: "servfail", reason, query: parts });
    }
    inFlight.send(query, channel!);
  }

  /** Takes a message that came from the upstream itself, on one of the ways to it. */
  onReply(
    channel: Channel<PendingQuery<Peer>>,
    view: DataView,
    length: number,
    nowMs: number,
  ): void {
    const { inFlight, rewriter } = this.#options;
    const query = inFlight.find(channel, view, length);
    if (query === undefined) return;
    const reply = this.#reply;
    const isWhole = reply.index(view, length);
    const outcome = rewriter.rewrite(reply, isWhole, query.client, nowMs);
    // Another one may still come that can be read.
    if (outcome === "malformed" && ++query.damaged < DAMAGED_REPLIES_MAX) return;
    inFlight.settle(query);
    switch (outcome) {
      case "malformed":
        return this.#fail(query, "unreadable");
      case "private":
        return this.#answer(query, Rcode.NOERROR);
      case "oversized":
        return this.#fail(query, "oversized");
      case "full":
        return this.#fail(query, "full");
      case "share":
        return this.#fail(query, "share");
      case "passed":
        return this.#send(query, reply.view, this.#finish(reply, isWhole, query));
      case "rewritten":
        return this.#sendWhenCommitted(query, reply.view, this.#finish(reply, isWhole, query));
    }
  }

  /** Gives up on all queries of a channel, as nobody listens where they went. */
  onUnreachable({ waiting }: Channel<PendingQuery<Peer>>): void {
    for (const query of [...waiting.values()]) {
      this.#options.inFlight.settle(query);
      this.#fail(query, "unreachable");
    }
  }

  /** When the next query runs out of time. */
  get nextDeadlineMs(): number {
    return this.#options.inFlight.nextDeadlineMs;
  }

  /** Gives up on queries that have waited too long. */
  handleTimeout(nowMs: number): void {
    const { inFlight } = this.#options;
    for (;;) {
      const query = inFlight.findExpired(nowMs);
      if (query === undefined) return;
      inFlight.settle(query);
      this.#fail(query, query.damaged > 0 ? "unreadable" : "silent");
    }
  }

  /** Puts the client's id back and makes the reply fit; returns the octets to send. */
  #finish(reply: Message, isWhole: boolean, query: PendingQuery<Peer>): number {
    reply.view.setUint16(Offset.ID, query.clientId);
    return fitInPlace(reply, isWhole, query.hasOpt, query.replyLengthMax);
  }

  #sendWhenCommitted(query: PendingQuery<Peer>, view: DataView, length: number): void {
    const { barrier, rewriter } = this.#options;
    if (barrier.isCommitted(rewriter.revision)) return this.#send(query, view, length);
    const bytes = new Uint8Array(view.buffer, view.byteOffset, length).slice();
    const revisions = rewriter.revisions.slice();
    barrier.wait(revisions, (isCommitted) => {
      if (!isCommitted) return this.#fail(query, "kernel");
      // The client counts from now on.
      rewriter.prolong(revisions, this.#options.now());
      this.#send(query, new DataView(bytes.buffer), length);
    });
  }

  #send(query: PendingQuery<Peer>, view: DataView, length: number): void {
    query.listener.reply(query.peer, view, length);
    this.#options.inFlight.close(query);
  }

  #fail(query: PendingQuery<Peer>, reason: Failure): void {
    this.#options.report({ kind: "servfail", reason, query });
    this.#answer(query, Rcode.SERVFAIL);
  }

  /** Answers a query without records. */
  #answer(query: PendingQuery<Peer>, rcode: Rcode): void {
    this.#refuse(query.listener, query.peer, query, rcode);
    this.#options.inFlight.close(query);
  }

  #refuse(listener: Listener<Peer>, peer: Peer, parts: QueryParts, rcode: Rcode): void {
    listener.reply(peer, this.#error, writeError(this.#error, parts, rcode));
  }
}

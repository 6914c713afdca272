/**
 * The path of one query, and the only place that branches: what is dropped, refused, sent on, passed,
 * rewritten, held until the kernel is ready, or answered with an error of our own.
 *
 * Everything it needs is given: sockets as an `Outlet`, time as a parameter. The buffers that it is
 * handed are its own until it returns; what it hands to the outlet the outlet copies.
 *
 * @module
 */
import {
  Flag,
  MESSAGE_LENGTH_PLAIN,
  Offset,
  OPCODE_QUERY,
  OPT_FLAG_DO,
  Rcode,
} from "../dns/constants.ts";
import { MANY_OPT, Message, NO_OPT, opcodeOf } from "../dns/message.ts";
import { fitInPlace, type QueryParts, writeError } from "../dns/response.ts";
import {
  type Channel,
  DAMAGED_REPLIES_MAX,
  type PendingQueries,
  type PendingQuery,
  type Query,
} from "./pending.ts";
import type { Barrier } from "../kernel/barrier.ts";
import type { Rewriter } from "./rewriter.ts";
import { NONE } from "../util/age_queue.ts";

/** Where messages go. Bytes are copied or sent before a call returns. */
export interface Outlet<Peer> {
  /** A way to the upstream, picked so that nobody can guess it; undefined where there is none. */
  pick(nowMs: number): Channel<PendingQuery<Peer>> | undefined;
  /** Sends a reply to a client. */
  reply(peer: Peer, view: DataView, length: number): void;
}

/** Why a query was answered with SERVFAIL. */
export type Failure =
  | "upstream is silent"
  | "no socket to the upstream can be opened"
  | "too many queries are under way"
  | "the reply about a configured name cannot be read"
  | "the reply about a configured name has too many addresses"
  | "the pool of fake addresses is full"
  | "the fake addresses left are kept for other names and clients"
  | "the mapping could not be brought into the kernel";

const UNREADABLE: Failure = "the reply about a configured name cannot be read";

/** What an `DnsProxy` is made of. */
export interface DnsProxyOptions<Peer> {
  readonly inFlight: PendingQueries<Peer>;
  readonly rewriter: Rewriter;
  readonly barrier: Pick<Barrier, "isCommitted" | "wait">;
  readonly outlet: Outlet<Peer>;
  /** The time, for replies that were held. */
  readonly now: () => number;
  /** Told of each SERVFAIL; `view` and `length` are header and question of the query. */
  readonly onFailure: (why: Failure, query: QueryParts) => void;
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

  /** Takes a datagram from a client, at the start of `view`. */
  onQuery(peer: Peer, view: DataView, length: number, nowMs: number): void {
    if (length < Offset.QUESTION) return;
    const flags = view.getUint16(Offset.FLAGS);
    if ((flags & Flag.QR) !== 0) return;
    if (opcodeOf(flags) !== OPCODE_QUERY) {
      this.#refuse(peer, headerOf(view), Rcode.NOTIMP);
      return;
    }
    const isWhole = this.#query.index(view, length);
    const query = describe(peer, this.#query);
    if (!isWhole || query === undefined) {
      this.#refuse(peer, query ?? headerOf(view), Rcode.FORMERR);
      return;
    }
    const { inFlight, outlet } = this.#options;
    const channel = outlet.pick(nowMs);
    if (channel === undefined) {
      this.#fail(query, "no socket to the upstream can be opened");
      return;
    }
    const id = inFlight.open(channel, query, nowMs);
    if (id === NONE) {
      this.#fail(query, "too many queries are under way");
      return;
    }
    view.setUint16(Offset.ID, id);
    channel.send(view, length);
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
    const client = inFlight.clientOf(query.peer);
    const outcome = rewriter.rewrite(reply, isWhole, client, nowMs);
    // Another one may still come that can be read.
    if (outcome === "malformed" && ++query.damaged < DAMAGED_REPLIES_MAX) return;
    inFlight.close(query);
    switch (outcome) {
      case "malformed":
        return this.#fail(query, UNREADABLE);
      case "private":
        return this.#refuse(query.peer, query, Rcode.NOERROR);
      case "oversized":
        return this.#fail(query, "the reply about a configured name has too many addresses");
      case "full":
        return this.#fail(query, "the pool of fake addresses is full");
      case "share":
        return this.#fail(query, "the fake addresses left are kept for other names and clients");
      case "passed":
        return this.#send(query, this.#finish(reply, isWhole, query), reply.view);
      case "rewritten":
        return this.#sendWhenCommitted(query, this.#finish(reply, isWhole, query), reply.view);
    }
  }

  /** Gives up on queries that have waited too long. */
  onTime(nowMs: number): void {
    for (;;) {
      const query = this.#options.inFlight.takeExpired(nowMs);
      if (query === undefined) return;
      this.#fail(query, query.damaged > 0 ? UNREADABLE : "upstream is silent");
    }
  }

  /** Puts the client's id back and makes the reply fit; returns the octets to send. */
  #finish(reply: Message, isWhole: boolean, query: PendingQuery<Peer>): number {
    reply.view.setUint16(Offset.ID, query.clientId);
    return fitInPlace(reply, isWhole, query.hasOpt, query.sizeMax);
  }

  #sendWhenCommitted(query: PendingQuery<Peer>, length: number, view: DataView): void {
    const { barrier, rewriter } = this.#options;
    if (barrier.isCommitted(rewriter.revision)) return this.#send(query, length, view);
    const held = query.copy();
    const bytes = new Uint8Array(view.buffer, view.byteOffset, length).slice();
    const revisions = rewriter.revisions.slice();
    barrier.wait(revisions, (isCommitted) => {
      if (!isCommitted) {
        return this.#fail(held, "the mapping could not be brought into the kernel");
      }
      // The client counts from now on.
      rewriter.prolong(revisions, this.#options.now());
      this.#send(held, length, new DataView(bytes.buffer));
    });
  }

  #send(query: PendingQuery<Peer>, length: number, view: DataView): void {
    this.#options.outlet.reply(query.peer, view, length);
  }

  #fail(query: Query<Peer>, why: Failure): void {
    this.#refuse(query.peer, query, Rcode.SERVFAIL);
    this.#options.onFailure(why, query);
  }

  #refuse(peer: Peer, query: QueryParts, rcode: Rcode): void {
    this.#options.outlet.reply(peer, this.#error, writeError(this.#error, query, rcode));
  }
}

/** What is known of a query after its index was made; undefined without a readable question. */
function describe<Peer>(peer: Peer, message: Message): Query<Peer> | undefined {
  if (message.questionEnd <= 0) return undefined;
  const opt = message.findOpt();
  if (opt === MANY_OPT) return undefined;
  const hasOpt = opt !== NO_OPT;
  return {
    peer,
    view: message.view,
    length: message.questionEnd,
    hasOpt,
    wantsDnssec: hasOpt && (message.ttlField(opt) & OPT_FLAG_DO) !== 0,
    // Values below 512 count as 512 (RFC 6891 section 6.2.3).
    sizeMax: hasOpt
      ? Math.max(MESSAGE_LENGTH_PLAIN, message.classField(opt))
      : MESSAGE_LENGTH_PLAIN,
  };
}

/** The header of a query whose question cannot be read. */
function headerOf(view: DataView): QueryParts {
  return { view, length: Offset.QUESTION, hasOpt: false, wantsDnssec: false };
}

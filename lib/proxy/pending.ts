/**
 * The queries that are under way to the upstream: who asked, what was asked, on which socket and
 * under which id, and until when a reply is awaited.
 *
 * A reply counts only on the socket and under the id of its query, with QR set, the same opcode and
 * the same question (RFC 5452 section 9.1); who it must come from is checked where it is received.
 * All queries wait equally long, so the queue by age is the queue of deadlines. Slots, ids and the
 * queries' first octets lie in arrays that are used again.
 *
 * @module
 */
import { AgeQueue, NONE } from "../util/age_queue.ts";
import {
  Flag,
  NAME_LENGTH_MAX,
  Offset,
  OPCODE_MASK,
  QUESTION_FIXED_LENGTH,
} from "../dns/constants.ts";
import { sameOctets } from "../dns/name.ts";
import type { QueryParts } from "../dns/response.ts";

/** Queries under way at once; it stops a flood of queries while the upstream is silent. */
export const IN_FLIGHT_MAX = 32_768;

/** Queries of one client under way at once; it stops one that would take every place. */
export const CLIENT_IN_FLIGHT_MAX = 2_048;

/** How long a reply is awaited. */
export const UPSTREAM_TIMEOUT_MS = 5_000;

/**
 * Damaged replies to one query that are read; it stops an upstream that sends nothing else. Who is
 * elsewhere would have to guess port and id for each of them, and then would send a better one.
 */
export const DAMAGED_REPLIES_MAX = 16;

/** Octets kept of each query: the header and the longest question. */
const KEPT_LENGTH = Offset.QUESTION + NAME_LENGTH_MAX + QUESTION_FIXED_LENGTH;

/** A way to the upstream that takes many queries at once, told apart by their ids: a socket. */
export interface Channel<Q> {
  /** What awaits a reply on it, by id. */
  readonly waiting: Map<number, Q>;
  /** Sends a query; the bytes are copied or sent before the call returns. */
  send(view: DataView, length: number): void;
}

/** What is known of a query that is to be sent on. */
export interface Query<Peer> extends QueryParts {
  /** Who asked, opaque to us. */
  readonly peer: Peer;
  /** The largest reply that the client takes, octets. */
  readonly sizeMax: number;
}

/** A query under way, as it is kept; also what is needed to answer it. */
export class PendingQuery<Peer> implements Query<Peer> {
  peer: Peer;
  sizeMax: number;
  length: number;
  hasOpt: boolean;
  wantsDnssec: boolean;
  deadlineMs = 0;
  /** Where it was sent on, and under which id. */
  channel: Channel<PendingQuery<Peer>>;
  id = NONE;
  /** Replies to it that came and could not be read. */
  damaged = 0;
  readonly view: DataView;

  /**
   * @param slot its number among those that are kept
   * @param room where its first octets are kept
   */
  constructor(
    query: Query<Peer>,
    channel: Channel<PendingQuery<Peer>>,
    readonly slot: number,
    room: DataView,
  ) {
    this.view = room;
    this.channel = channel;
    this.peer = query.peer;
    this.sizeMax = query.sizeMax;
    this.length = query.length;
    this.hasOpt = query.hasOpt;
    this.wantsDnssec = query.wantsDnssec;
  }

  /** The client's own id. */
  get clientId(): number {
    return this.view.getUint16(Offset.ID);
  }

  /** A copy that outlives the next query in the same slot. */
  copy(): PendingQuery<Peer> {
    const room = this.view.buffer.slice(0, this.length) as ArrayBuffer;
    return new PendingQuery(this, this.channel, this.slot, new DataView(room));
  }
}

/** The queries under way. */
export class PendingQueries<Peer> {
  readonly #pending: PendingQuery<Peer>[] = [];
  readonly #free: number[] = [];
  readonly #queue = new AgeQueue();
  /** How many queries each client has under way. */
  readonly #byClient = new Map<string, number>();
  readonly #randomId: () => number;
  /** What tells one client from another. */
  readonly clientOf: (peer: Peer) => string;

  /**
   * @param randomId a number from 0 to 65535 that nobody can guess
   * @param clientOf what tells one client from another, best without the port
   */
  constructor(randomId: () => number, clientOf: (peer: Peer) => string) {
    this.#randomId = randomId;
    this.clientOf = clientOf;
  }

  /** How many queries are under way. */
  get size(): number {
    return this.#queue.size;
  }

  /** When the next one runs out of time; `Infinity` without any. */
  get nextDeadlineMs(): number {
    const oldest = this.#queue.oldest;
    return oldest === NONE ? Infinity : this.#pending[oldest]!.deadlineMs;
  }

  /**
   * Notes a query that is about to be sent.
   *
   * @returns the id to send it under, or `NONE` where too many are under way, in all or of this client
   */
  open(channel: Channel<PendingQuery<Peer>>, query: Query<Peer>, nowMs: number): number {
    const client = this.clientOf(query.peer);
    const ofClient = this.#byClient.get(client) ?? 0;
    if (this.#queue.size >= IN_FLIGHT_MAX || ofClient >= CLIENT_IN_FLIGHT_MAX) return NONE;
    this.#byClient.set(client, ofClient + 1);
    let id: number;
    do id = this.#randomId(); while (channel.waiting.has(id));
    const slot = this.#free.pop() ?? this.#pending.length;
    const pending = this.#keep(slot, channel, query);
    pending.deadlineMs = nowMs + UPSTREAM_TIMEOUT_MS;
    pending.id = id;
    pending.damaged = 0;
    channel.waiting.set(id, pending);
    this.#queue.push(slot);
    return id;
  }

  /**
   * The query that a message from the upstream answers, which goes on waiting; undefined where it
   * answers none.
   *
   * @param channel the one it was received on
   */
  find(
    channel: Channel<PendingQuery<Peer>>,
    view: DataView,
    length: number,
  ): PendingQuery<Peer> | undefined {
    if (length < Offset.QUESTION) return undefined;
    const query = channel.waiting.get(view.getUint16(Offset.ID));
    return query !== undefined && answers(view, length, query) ? query : undefined;
  }

  /** Takes a query out that waits; what is known of it is good until the next `open`. */
  close(query: PendingQuery<Peer>): void {
    query.channel.waiting.delete(query.id);
    const client = this.clientOf(query.peer);
    const others = (this.#byClient.get(client) ?? 0) - 1;
    if (others > 0) this.#byClient.set(client, others);
    else this.#byClient.delete(client);
    this.#queue.remove(query.slot);
    this.#free.push(query.slot);
  }

  /** Takes out the next query that ran out of time; undefined where there is none. */
  takeExpired(nowMs: number): PendingQuery<Peer> | undefined {
    if (this.nextDeadlineMs > nowMs) return undefined;
    const query = this.#pending[this.#queue.oldest]!;
    this.close(query);
    return query;
  }

  #keep(
    slot: number,
    channel: Channel<PendingQuery<Peer>>,
    query: Query<Peer>,
  ): PendingQuery<Peer> {
    let pending = this.#pending[slot];
    if (pending === undefined) {
      const room = new DataView(new ArrayBuffer(KEPT_LENGTH));
      pending = new PendingQuery(query, channel, slot, room);
      this.#pending[slot] = pending;
    } else {
      pending.channel = channel;
      pending.peer = query.peer;
      pending.sizeMax = query.sizeMax;
      pending.length = query.length;
      pending.hasOpt = query.hasOpt;
      pending.wantsDnssec = query.wantsDnssec;
    }
    for (let i = 0; i < query.length; i++) pending.view.setUint8(i, query.view.getUint8(i));
    return pending;
  }
}

/** Whether a message of at least a header is a reply to this query. */
function answers<Peer>(view: DataView, length: number, query: PendingQuery<Peer>): boolean {
  const flags = view.getUint16(Offset.FLAGS);
  if ((flags & Flag.QR) === 0) return false;
  if (((flags ^ query.view.getUint16(Offset.FLAGS)) & OPCODE_MASK) !== 0) return false;
  if (view.getUint16(Offset.QDCOUNT) !== 1 || length < query.length) return false;
  const nameLength = query.length - Offset.QUESTION - QUESTION_FIXED_LENGTH;
  const fixed = Offset.QUESTION + nameLength;
  return view.getUint32(fixed) === query.view.getUint32(fixed) &&
    sameOctets(view, Offset.QUESTION, query.view, Offset.QUESTION, nameLength);
}

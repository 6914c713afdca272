/**
 * The queries in flight, each kept whole until it is answered: its octets, who gets the answer and how,
 * by which way to the upstream and under which id it was sent, how often, and until when a reply is
 * awaited. So one can be sent again, by another way or to another upstream.
 *
 * A reply counts only on the channel and under the id that its query was sent with last, and if it
 * answers that query; whom it must come from is checked where it is received. All queries wait equally
 * long, so the queue by age is the queue of deadlines. Queries lie in rooms that are used again; a room
 * that holds a longer one is made for it, and it counts for as many as it takes.
 *
 * @module
 */
import { Offset } from "../dns/constants.ts";
import { isAnswer, type QueryParts } from "../dns/query.ts";
import { AgeQueue, NONE } from "../util/age_queue.ts";

/**
 * Rooms for queries in flight, one for each but the longest; it stops a flood of queries while the
 * upstream is silent. With what is known of its query a room takes 1.2 KiB, all of them 40 MiB.
 */
export const IN_FLIGHT_MAX = 32_768;

/** Rooms of one client; it stops one that would take every room. */
export const CLIENT_IN_FLIGHT_MAX = 2_048;

/**
 * A client may have one room for so many that are free, if that is less: whoever has many addresses
 * and uses each as a client leaves rooms for the others (Choudhury and Hahne, "Dynamic Queue Length
 * Thresholds", 1998).
 */
export const FREE_ROOMS_PER_ROOM = 8;

/** Octets of a room. Longer queries are rare: a name has at most 255 octets, and padding goes to 128. */
export const ROOM_LENGTH = 512;

/** Rooms in one piece of memory, which costs less than one for each. */
const ROOMS_MADE_AT_ONCE = 64;

/** How long a reply is awaited. */
export const UPSTREAM_TIMEOUT_MS = 5_000;

/**
 * Damaged replies to one query that are read; it stops an upstream that sends nothing else. Who is
 * elsewhere would have to guess port and id for each of them, and then would send a better one.
 */
export const DAMAGED_REPLIES_MAX = 16;

/** A way to the upstream that takes many queries at once, told apart by their ids: a socket. */
export interface Channel<Q> {
  /** What awaits a reply on it, by id. */
  readonly waiting: Map<number, Q>;
  /** Sends a query; the bytes are copied or sent before the call returns. */
  send(view: DataView, length: number): void;
}

/** Where queries of one kind come from, and how replies get back to who asked. */
export interface Listener<Peer> {
  /** The longest reply to a client that has not said which it takes, octets. */
  readonly replyLengthUsual: number;
  /** The longest reply at all, octets. */
  readonly replyLengthMax: number;
  /** What tells one client from another, best without the port. */
  clientOf(peer: Peer): string;
  /** Sends a reply; the bytes are copied or sent before the call returns. */
  reply(peer: Peer, view: DataView, length: number): void;
}

/** A query in flight. */
export class PendingQuery<Peer> implements QueryParts {
  /** Its number among the queries in flight. */
  readonly slot: number;
  /** The whole query, under its client's id. */
  view: DataView;
  length = 0;
  questionEnd = 0;
  hasOpt = false;
  wantsDnssec = false;
  udpSize = 0;
  /** Where it came from and who asked: the way back. */
  listener: Listener<Peer>;
  peer: Peer;
  client = "";
  /** How often it was sent. */
  attempts = 0;
  /** By which way it was sent last, and under which id; undefined where no reply is awaited. */
  channel: Channel<PendingQuery<Peer>> | undefined;
  id = NONE;
  deadlineMs = 0;
  /** Replies to it that came and could not be read. */
  damaged = 0;
  readonly #room: DataView;

  constructor(slot: number, room: DataView, listener: Listener<Peer>, peer: Peer) {
    this.slot = slot;
    this.view = this.#room = room;
    this.listener = listener;
    this.peer = peer;
  }

  /** The client's own id. */
  get clientId(): number {
    return this.view.getUint16(Offset.ID);
  }

  /** How many rooms it takes. */
  get rooms(): number {
    return roomsFor(this.length);
  }

  /** The longest reply that its client takes, octets. */
  get replyLengthMax(): number {
    const { replyLengthUsual, replyLengthMax } = this.listener;
    return Math.min(replyLengthMax, Math.max(replyLengthUsual, this.udpSize));
  }

  /** Makes it another query. */
  keep(parts: QueryParts, length: number, nowMs: number): void {
    if (length > ROOM_LENGTH) this.view = new DataView(new ArrayBuffer(length));
    octetsOf(this.view, length).set(octetsOf(parts.view, length));
    this.length = length;
    this.questionEnd = parts.questionEnd;
    this.hasOpt = parts.hasOpt;
    this.wantsDnssec = parts.wantsDnssec;
    this.udpSize = parts.udpSize;
    this.attempts = 0;
    this.damaged = 0;
    this.deadlineMs = nowMs + UPSTREAM_TIMEOUT_MS;
  }

  /** Gives a room of its own back. */
  forget(): void {
    this.view = this.#room;
  }
}

/** The queries in flight. */
export class PendingQueries<Peer> {
  readonly #pending: PendingQuery<Peer>[] = [];
  readonly #free: number[] = [];
  /** Those that await a reply. */
  readonly #queue = new AgeQueue();
  /** How many rooms each client has. */
  readonly #byClient = new Map<string, number>();
  #rooms = 0;
  /** Where the newest rooms are. */
  #newest = new ArrayBuffer(0);
  readonly #randomId: () => number;

  /** @param randomId a number from 0 to 65535 that nobody can guess */
  constructor(randomId: () => number) {
    this.#randomId = randomId;
  }

  /** How many rooms are taken. */
  get rooms(): number {
    return this.#rooms;
  }

  /** When the next query runs out of time; `Infinity` if none awaits a reply. */
  get nextDeadlineMs(): number {
    const oldest = this.#queue.oldest;
    return oldest === NONE ? Infinity : this.#pending[oldest]!.deadlineMs;
  }

  /**
   * Keeps a query that is about to be sent; undefined if there are too many, in all or of this client.
   *
   * @param parts of the query, whose octets are at the start of their view
   * @param length octets of the query
   */
  open(
    listener: Listener<Peer>,
    peer: Peer,
    parts: QueryParts,
    length: number,
    nowMs: number,
  ): PendingQuery<Peer> | undefined {
    const client = listener.clientOf(peer);
    const rooms = roomsFor(length);
    const ofClient = (this.#byClient.get(client) ?? 0) + rooms;
    const free = IN_FLIGHT_MAX - this.#rooms;
    const share = Math.max(1, Math.floor(free / FREE_ROOMS_PER_ROOM));
    if (rooms > free || ofClient > Math.min(share, CLIENT_IN_FLIGHT_MAX)) return undefined;
    this.#rooms += rooms;
    this.#byClient.set(client, ofClient);
    const query = this.#next(listener, peer);
    query.client = client;
    query.keep(parts, length, nowMs);
    this.#queue.push(query.slot);
    return query;
  }

  /** Sends a query, or sends it again: by this way, under an id that is not in use there. */
  send(query: PendingQuery<Peer>, channel: Channel<PendingQuery<Peer>>): void {
    query.channel?.waiting.delete(query.id);
    let id: number;
    do id = this.#randomId(); while (channel.waiting.has(id));
    query.channel = channel;
    query.id = id;
    query.attempts++;
    channel.waiting.set(id, query);
    const { clientId, view } = query;
    view.setUint16(Offset.ID, id);
    channel.send(view, query.length);
    view.setUint16(Offset.ID, clientId);
  }

  /**
   * The query that a message from the upstream answers, which goes on waiting; undefined if it answers
   * none.
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
    if (query === undefined) return undefined;
    return isAnswer(view, length, query.view, query.questionEnd) ? query : undefined;
  }

  /** The next query that has run out of time; undefined if there is none. */
  findExpired(nowMs: number): PendingQuery<Peer> | undefined {
    return this.nextDeadlineMs <= nowMs ? this.#pending[this.#queue.oldest] : undefined;
  }

  /** Awaits no reply to a query any more. It stays as it is until it is closed. */
  settle(query: PendingQuery<Peer>): void {
    query.channel?.waiting.delete(query.id);
    query.channel = undefined;
    this.#queue.remove(query.slot);
  }

  /** Forgets a query that is settled. */
  close(query: PendingQuery<Peer>): void {
    const { client, rooms, slot } = query;
    this.#rooms -= rooms;
    const others = (this.#byClient.get(client) ?? 0) - rooms;
    if (others > 0) this.#byClient.set(client, others);
    else this.#byClient.delete(client);
    query.forget();
    this.#free.push(slot);
  }

  #next(listener: Listener<Peer>, peer: Peer): PendingQuery<Peer> {
    const slot = this.#free.pop() ?? this.#pending.length;
    const query = this.#pending[slot] ??= new PendingQuery(slot, this.#room(slot), listener, peer);
    query.listener = listener;
    query.peer = peer;
    return query;
  }

  /** Room for a slot that has never been used. */
  #room(slot: number): DataView {
    const place = slot % ROOMS_MADE_AT_ONCE;
    if (place === 0) this.#newest = new ArrayBuffer(ROOMS_MADE_AT_ONCE * ROOM_LENGTH);
    return new DataView(this.#newest, place * ROOM_LENGTH, ROOM_LENGTH);
  }
}

function roomsFor(length: number): number {
  return Math.ceil(length / ROOM_LENGTH);
}

function octetsOf({ buffer, byteOffset }: DataView, length: number): Uint8Array {
  return new Uint8Array(buffer, byteOffset, length);
}

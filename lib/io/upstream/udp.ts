/**
 * The sockets to the upstream: many at a time, on ports that the kernel picks at random, each for a few
 * seconds, so that a port that someone has found is soon worth nothing (RFC 5452 section 9.2).
 *
 * A socket is opened when a query needs one, asks for `ASKING_MS`, and then listens until its last query
 * has run out of time. So none is ever old, and none is opened while nobody asks. The
 * sockets that it is given take datagrams from the upstream's address and port only.
 *
 * @module
 */
import { type Channel, UPSTREAM_TIMEOUT_MS } from "../../proxy/pending.ts";
import type { DatagramSocket, SocketEvents } from "../sockets.ts";

/**
 * Sockets that ask at once; each query takes one of them at random. To open and close one costs as much
 * as five queries (280 us of processor time), so this many every `ASKING_MS` take 2 % of what 2,000
 * queries a second take, and 0.2 % of a processor at the most.
 */
export const SOCKETS = 32;
/** How long a socket asks. */
export const ASKING_MS = 5_000;
/** Age at which a socket is closed. */
export const SOCKET_AGE_MAX_MS = ASKING_MS + UPSTREAM_TIMEOUT_MS;
/** Random numbers drawn at a time. */
const RANDOM_BATCH = 4_096;

/** What the upstream tells its owner about. */
export interface UpstreamEvents<Q> {
  /** A datagram from the upstream on one of the sockets. */
  readonly onReply: (socket: Channel<Q>, view: DataView, length: number) => void;
  /** Nobody listens where the queries on a socket went. */
  readonly onUnreachable: (socket: Channel<Q>) => void;
  /** A socket failed to send, to receive or to open. */
  readonly onError: (error: Error) => void;
}

/** Opens a socket to the upstream, on a port that nobody can guess; throws an `Error`. */
export type OpenSocket = (events: SocketEvents) => DatagramSocket;

/** A source of numbers from 0 to 65535 that nobody can guess. */
export function randomNumbers(): () => number {
  const numbers = new Uint16Array(RANDOM_BATCH);
  let next = RANDOM_BATCH;
  return () => {
    if (next === RANDOM_BATCH) {
      crypto.getRandomValues(numbers);
      next = 0;
    }
    return numbers[next++]!;
  };
}

/** One socket to the upstream. */
class UpstreamSocket<Q> implements Channel<Q> {
  readonly waiting = new Map<number, Q>();
  readonly openedMs: number;
  readonly #datagrams: DatagramSocket;

  constructor(openedMs: number, open: OpenSocket, events: UpstreamEvents<Q>) {
    this.openedMs = openedMs;
    this.#datagrams = open({
      onDatagram: (_peer, view, length) => events.onReply(this, view, length),
      onUnreachable: () => events.onUnreachable(this),
      onError: events.onError,
    });
    this.#datagrams.receive();
  }

  send(view: DataView, length: number): void {
    this.#datagrams.send(undefined, view, length);
  }

  close(): void {
    this.#datagrams.close();
  }
}

/** The way to an upstream over UDP. */
export class UdpUpstream<Q> {
  readonly #events: UpstreamEvents<Q>;
  readonly #random: () => number;
  readonly #openSocket: OpenSocket;
  /** The last socket of each place; it may be too old to ask. */
  readonly #places: (UpstreamSocket<Q> | undefined)[] = Array(SOCKETS).fill(undefined);
  /** All that are open, oldest first. */
  readonly #open = new Set<UpstreamSocket<Q>>();

  /**
   * Opens a first socket.
   *
   * @throws {Error} where none can be opened
   */
  constructor(events: UpstreamEvents<Q>, random: () => number, nowMs: number, open: OpenSocket) {
    this.#events = events;
    this.#random = random;
    this.#openSocket = open;
    this.#places[0] = this.#openAt(nowMs);
  }

  /** When a socket is to be closed; `Infinity` while none is open. */
  get nextDeadlineMs(): number {
    for (const { openedMs } of this.#open) return openedMs + SOCKET_AGE_MAX_MS;
    return Infinity;
  }

  /** Closes the sockets that have had their time. */
  handleTimeout(nowMs: number): void {
    for (const socket of this.#open) {
      if (nowMs < socket.openedMs + SOCKET_AGE_MAX_MS) return;
      socket.close();
      this.#open.delete(socket);
    }
  }

  /** A socket for one query; undefined where none is left and none can be opened. */
  pick(nowMs: number): Channel<Q> | undefined {
    const place = this.#random() % SOCKETS;
    const socket = this.#places[place];
    if (asks(socket, nowMs)) return socket;
    try {
      return this.#places[place] = this.#openAt(nowMs);
    } catch (error) {
      this.#events.onError(error as Error);
      return this.#places.find((other) => asks(other, nowMs));
    }
  }

  /** Closes all sockets. */
  close(): void {
    for (const socket of this.#open) socket.close();
    this.#open.clear();
    this.#places.fill(undefined);
  }

  #openAt(nowMs: number): UpstreamSocket<Q> {
    const socket = new UpstreamSocket(nowMs, this.#openSocket, this.#events);
    this.#open.add(socket);
    return socket;
  }
}

/** Whether a place has a socket that may still ask. */
function asks<Q>(socket: UpstreamSocket<Q> | undefined, nowMs: number): boolean {
  return socket !== undefined && nowMs - socket.openedMs < ASKING_MS;
}

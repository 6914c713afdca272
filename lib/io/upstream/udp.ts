/**
 * The sockets to the upstream: a few at a time, on random ports, each replaced when it has served its
 * time or its number of queries, so that a port that someone has guessed is soon worth nothing
 * (RFC 5452 section 9.2). A replaced socket still listens until the last of its queries has run out.
 *
 * A datagram socket cannot be connected here, so that a datagram comes from the upstream's address
 * and port is checked for each; others are dropped without a word.
 *
 * @module
 */
import { type Address, addressToText } from "../../address.ts";
import { UPSTREAM_TIMEOUT_MS } from "../../proxy/pending.ts";
import { DatagramSocket } from "../portable/datagrams.ts";
import { nowMs } from "../runtime/clock.ts";

/** Sockets in use at once. */
const SOCKETS = 8;
/** Queries after which a socket is replaced. */
const SOCKET_QUERIES_MAX = 20_000;
/** Age at which a socket is replaced; one that is not used stays. */
const SOCKET_AGE_MAX_MS = 60_000;
/** How long a replaced socket listens for the replies to its last queries. */
const DRAIN_MS = UPSTREAM_TIMEOUT_MS + 1_000;
/** Numbers for sockets; a number comes again long after its socket is closed. */
const SOCKET_NUMBERS = 1 << 20;
/** Random numbers drawn at a time. */
const RANDOM_BATCH = 4_096;

/** What the upstream tells its owner about. */
export interface UpstreamEvents {
  /** A datagram from the upstream on one of the sockets. */
  readonly onReply: (socket: number, view: DataView, length: number) => void;
  /** A socket failed to send, to receive or to open. */
  readonly onError: (error: Error) => void;
}

interface Socket {
  readonly number: number;
  readonly datagrams: DatagramSocket;
  readonly bornMs: number;
  queries: number;
}

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

/** The way to the upstream. */
export class Upstream {
  readonly #peer: Deno.NetAddr;
  readonly #local: string;
  readonly #events: UpstreamEvents;
  readonly #random: () => number;
  readonly #sockets: Socket[] = [];
  readonly #draining = new Map<Socket, ReturnType<typeof setTimeout>>();
  #nextNumber = 0;

  /**
   * @throws {Error} where no socket can be opened
   */
  constructor(host: Address, port: number, events: UpstreamEvents, random: () => number) {
    this.#peer = { transport: "udp", hostname: addressToText(host.bytes), port };
    this.#local = host.family === 4 ? "0.0.0.0" : "::";
    this.#events = events;
    this.#random = random;
    for (let i = 0; i < SOCKETS; i++) this.#sockets.push(this.#open());
  }

  /** The index of a socket to send the next query on. */
  pick(): number {
    const place = this.#random() % SOCKETS;
    const socket = this.#sockets[place]!;
    const isOld = socket.queries >= SOCKET_QUERIES_MAX ||
      (socket.queries > 0 && nowMs() - socket.bornMs > SOCKET_AGE_MAX_MS);
    if (isOld) this.#replace(place);
    return this.#sockets[place]!.number;
  }

  /** Sends a query on the socket of that number, which was picked just now. */
  ask(number: number, view: DataView, length: number): void {
    const socket = this.#sockets.find((socket) => socket.number === number);
    if (socket === undefined) return;
    socket.queries++;
    socket.datagrams.send(this.#peer, view, length);
  }

  /** Closes all sockets. */
  close(): void {
    for (const { datagrams } of this.#sockets) datagrams.close();
    for (const [{ datagrams }, timer] of this.#draining) {
      clearTimeout(timer);
      datagrams.close();
    }
  }

  #open(): Socket {
    const number = this.#nextNumber;
    this.#nextNumber = (number + 1) % SOCKET_NUMBERS;
    const datagrams = new DatagramSocket(this.#local, 0, {
      onDatagram: (peer, view, length) => {
        if (peer.port !== this.#peer.port || peer.hostname !== this.#peer.hostname) return;
        this.#events.onReply(number, view, length);
      },
      onError: this.#events.onError,
    });
    datagrams.receive();
    return { number, datagrams, bornMs: nowMs(), queries: 0 };
  }

  /** Puts a new socket into a place; where none can be had, the old one stays. */
  #replace(place: number): void {
    const old = this.#sockets[place]!;
    try {
      this.#sockets[place] = this.#open();
    } catch (error) {
      this.#events.onError(error as Error);
      return;
    }
    const timer = setTimeout(() => {
      this.#draining.delete(old);
      old.datagrams.close();
    }, DRAIN_MS);
    this.#draining.set(old, timer);
  }
}

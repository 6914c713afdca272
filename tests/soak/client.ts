/**
 * The soak's DNS clients: some sockets, each at a loopback address of its own as dotp counts queries
 * by client. Contract: each query ends exactly once, with the first datagram that has its id on its
 * socket, or without any after the time a client waits. Nothing is asked twice.
 */

import { Offset } from "../../lib/dns/constants.ts";
import { encodeQuery, type Question } from "./messages.ts";

/** Clients, at 127.0.0.11 and following. */
const CLIENTS = 8;
const FIRST_HOST = 11;

/** An answer that has not come by then is lost. */
export const LOST_MS = 6_000;

const SWEEP_MS = 100;
const IDS = 0x10000;

/** How a query ended. */
export interface Ended {
  readonly question: Question;
  readonly query: Uint8Array;
  /** What came; undefined where nothing did. */
  readonly answer: Uint8Array | undefined;
  readonly sentMs: number;
  readonly endedMs: number;
}

interface Pending {
  readonly question: Question;
  readonly query: Uint8Array;
  readonly sentMs: number;
  readonly onEnd: (ended: Ended) => void;
}

/** Asks dotp. */
export class Client {
  readonly #sockets: Deno.DatagramConn[];
  readonly #to: Deno.NetAddr;
  /** By client and id, in the order in which they were sent. */
  readonly #pending = new Map<number, Pending>();
  readonly #timer: ReturnType<typeof setInterval>;
  #sent = Math.floor(Math.random() * IDS);

  constructor(port: number) {
    this.#to = { transport: "udp", hostname: "127.0.0.1", port };
    this.#sockets = Array.from(
      { length: CLIENTS },
      (_, i) =>
        Deno.listenDatagram({ transport: "udp", hostname: `127.0.0.${FIRST_HOST + i}`, port: 0 }),
    );
    this.#sockets.forEach((socket, index) => void this.#receive(socket, index));
    this.#timer = setInterval(() => this.#sweep(), SWEEP_MS);
  }

  /** Queries that have no answer yet. */
  get outstanding(): number {
    return this.#pending.size;
  }

  /** Sends a query; `onEnd` is told how it ends. */
  ask(question: Question, onEnd: (ended: Ended) => void): void {
    const client = this.#sent % CLIENTS;
    const id = Math.floor(this.#sent++ / CLIENTS) % IDS;
    const query = encodeQuery(id, question);
    this.#pending.set(client * IDS + id, { question, query, sentMs: performance.now(), onEnd });
    this.#sockets[client]!.send(query, this.#to).catch(() => {});
  }

  /** Closes the sockets; what is outstanding never ends. */
  close(): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.close();
  }

  async #receive(socket: Deno.DatagramConn, client: number): Promise<void> {
    const buffer = new Uint8Array(4_096);
    try {
      for (;;) {
        const [bytes] = await socket.receive(buffer);
        const id = bytes[Offset.ID]! << 8 | bytes[Offset.ID + 1]!;
        this.#end(client * IDS + id, bytes);
      }
    } catch {
      // Closed.
    }
  }

  #sweep(): void {
    const nowMs = performance.now();
    for (const [key, { sentMs }] of this.#pending) {
      if (nowMs - sentMs < LOST_MS) return;
      this.#end(key, undefined);
    }
  }

  #end(key: number, answer: Uint8Array | undefined): void {
    const pending = this.#pending.get(key);
    if (pending === undefined) return;
    this.#pending.delete(key);
    const { question, query, sentMs, onEnd } = pending;
    onEnd({ question, query, answer, sentMs, endedMs: performance.now() });
  }
}

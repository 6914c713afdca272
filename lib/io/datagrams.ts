/**
 * A UDP socket as a source and a sink of datagrams.
 *
 * Datagrams are received into one buffer that is used again, so who gets one is done with it, or has
 * copied it, when it returns. `Deno.DatagramConn.send` may read its buffer after it has returned, so
 * sending copies into a buffer that is used again only when its send is done. Both keep to this small
 * interface so that another transport can be put under it: bytes and a peer in, bytes and a peer out.
 *
 * @module
 */
import { MESSAGE_LENGTH_MAX } from "../dns/constants.ts";

/** Where a datagram came from or goes to. */
export type Peer = Deno.NetAddr;

/** Takes a datagram at the start of `view`, which is its own until it returns. */
export type OnDatagram = (peer: Peer, view: DataView, length: number) => void;

/** Octets of a buffer to send from; a longer message gets one of its own. */
const SEND_ROOM = 1_536;

/** Sends under way on one socket; what comes while the network takes no more is dropped, as it would. */
const SENDING_MAX = 2_048;

/** Pause after a receive that failed, so that a broken interface does not take the processor. */
const RECEIVE_RETRY_MS = 100;

/** Buffers that no send is using, shared by all sockets. */
const spare: Uint8Array<ArrayBuffer>[] = [];

/** What a socket tells its owner about. */
export interface DatagramEvents {
  readonly onDatagram: OnDatagram;
  /** A send or a receive failed; the socket goes on. */
  readonly onError: (error: Error) => void;
}

/** A bound UDP socket. */
export class DatagramSocket {
  readonly #conn: Deno.DatagramConn;
  readonly #events: DatagramEvents;
  #sending = 0;
  #isClosed = false;

  /**
   * Binds a socket.
   *
   * @param port 0 for one that the kernel picks at random
   * @throws {Error} where the address or the port cannot be had
   */
  constructor(hostname: string, port: number, events: DatagramEvents) {
    this.#conn = Deno.listenDatagram({ transport: "udp", hostname, port });
    this.#events = events;
  }

  /** Receives until `close`; resolves then. */
  async receive(): Promise<void> {
    const buffer = new Uint8Array(MESSAGE_LENGTH_MAX);
    const view = new DataView(buffer.buffer);
    while (!this.#isClosed) {
      try {
        const [datagram, peer] = await this.#conn.receive(buffer);
        this.#events.onDatagram(peer as Peer, view, datagram.byteLength);
      } catch (error) {
        if (this.#isClosed) return;
        this.#events.onError(error as Error);
        await new Promise((resolve) => setTimeout(resolve, RECEIVE_RETRY_MS));
      }
    }
  }

  /** Sends a copy of the first `length` octets. */
  send(peer: Peer, view: DataView, length: number): void {
    if (this.#sending >= SENDING_MAX || this.#isClosed) return;
    const buffer = length <= SEND_ROOM
      ? spare.pop() ?? new Uint8Array(SEND_ROOM)
      : new Uint8Array(length);
    buffer.set(new Uint8Array(view.buffer, view.byteOffset, length));
    this.#sending++;
    this.#conn.send(buffer.subarray(0, length), peer).then(
      () => this.#sent(buffer),
      (error) => {
        this.#sent(buffer);
        if (!this.#isClosed) this.#events.onError(error);
      },
    );
  }

  /** Closes the socket; what is being sent may be lost. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#conn.close();
  }

  #sent(buffer: Uint8Array<ArrayBuffer>): void {
    this.#sending--;
    if (buffer.length === SEND_ROOM && spare.length < SENDING_MAX) spare.push(buffer);
  }
}

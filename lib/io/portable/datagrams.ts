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
import { type Address, addressToText } from "../../address.ts";
import { MESSAGE_LENGTH_MAX } from "../../dns/constants.ts";
import type { DatagramSocket, Peer, SocketEvents, Sockets } from "../sockets.ts";

/** Octets of a buffer to send from; a longer message gets one of its own. */
const SEND_ROOM = 1_536;

/** Sends in flight on one socket; what comes while the network takes no more is dropped, as it would. */
const SENDING_MAX = 2_048;

/** Pause after a receive that failed, so that a broken interface does not take the processor. */
const RECEIVE_RETRY_MS = 100;

/** A buffer to send from, and what to do when that is done; made once, so that a send makes nothing. */
class Outgoing {
  readonly bytes: Uint8Array<ArrayBuffer>;
  socket: PortableSocket | undefined;
  readonly onSent = () => this.socket?.release(this);
  readonly onFailed = (error: Error) => this.socket?.release(this, error);

  constructor(length: number) {
    this.bytes = new Uint8Array(length);
  }
}

/** Those that no send is using, shared by all sockets. */
const spare: Outgoing[] = [];

/** Makes sockets. None is ever connected: who sends is looked at for each datagram. */
export class PortableSockets implements Sockets {
  bind(host: Address, port: number, events: SocketEvents): DatagramSocket {
    return new PortableSocket(addressToText(host.bytes), port, events);
  }

  connect(host: Address, port: number, events: SocketEvents): DatagramSocket {
    const { onDatagram, onError } = events;
    const hostname = addressToText(host.bytes);
    return new PortableSocket(host.family === 4 ? "0.0.0.0" : "::", 0, {
      onDatagram: (peer, view, length) => {
        if (peer.port === port && peer.hostname === hostname) onDatagram(peer, view, length);
      },
      onError,
    }, { transport: "udp", hostname, port });
  }

  close(): void {}
}

/** A bound UDP socket. */
export class PortableSocket implements DatagramSocket {
  readonly #conn: Deno.DatagramConn;
  readonly #events: SocketEvents;
  readonly #connected: Deno.NetAddr | undefined;
  #sending = 0;
  #isClosed = false;

  /**
   * Binds a socket.
   *
   * @param port 0 for one that the kernel picks at random
   * @param connected whom everything is sent to
   * @throws {Error} if the address or the port is not available
   */
  constructor(
    hostname: string,
    port: number,
    events: SocketEvents,
    connected?: Deno.NetAddr,
  ) {
    this.#connected = connected;
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
        this.#events.onDatagram(peer as Deno.NetAddr, view, datagram.byteLength);
      } catch (error) {
        if (this.#isClosed) return;
        this.#events.onError(error as Error);
        await new Promise((resolve) => setTimeout(resolve, RECEIVE_RETRY_MS));
      }
    }
  }

  /** Sends a copy of the first `length` octets, to whom it is connected, else to a peer that it was given. */
  send(peer: Peer | undefined, view: DataView, length: number): void {
    if (this.#sending >= SENDING_MAX || this.#isClosed) return;
    const outgoing = length <= SEND_ROOM
      ? spare.pop() ?? new Outgoing(SEND_ROOM)
      : new Outgoing(length);
    const { bytes } = outgoing;
    bytes.set(new Uint8Array(view.buffer, view.byteOffset, length));
    outgoing.socket = this;
    this.#sending++;
    const to = this.#connected ?? peer as Deno.NetAddr;
    this.#conn.send(bytes.subarray(0, length), to).then(outgoing.onSent, outgoing.onFailed);
  }

  /** Takes a buffer back whose send is done. */
  release(outgoing: Outgoing, error?: Error): void {
    this.#sending--;
    outgoing.socket = undefined;
    if (outgoing.bytes.length === SEND_ROOM && spare.length < SENDING_MAX) spare.push(outgoing);
    if (error !== undefined && !this.#isClosed) this.#events.onError(error);
  }

  /** Closes the socket; what is being sent may be lost. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#conn.close();
  }
}

/**
 * UDP sockets as the rest of dotp sees them, whichever edge they belong to: datagrams in, datagrams out.
 *
 * Who gets a datagram is done with it, or has copied it, when it returns; what is sent is copied before
 * `send` returns. A peer is opaque but for what is written here, and goes back to the socket that it
 * came from.
 *
 * @module
 */
import type { Address } from "../address.ts";

/** Where a datagram came from or goes to. */
export interface Peer {
  readonly hostname: string;
  readonly port: number;
}

/** Takes a datagram at the start of `view`, which is its own until it returns. */
export type OnDatagram = (peer: Peer, view: DataView, length: number) => void;

/** What a socket tells its owner about. */
export interface SocketEvents {
  readonly onDatagram: OnDatagram;
  /** A send or a receive failed; the socket goes on. */
  readonly onError: (error: Error) => void;
  /** Nobody listens where an earlier datagram went. Only the direct edge is told. */
  readonly onUnreachable?: () => void;
}

/** A UDP socket. */
export interface DatagramSocket {
  /** Receives until `close`. */
  receive(): void;
  /** Sends a copy of the first `length` octets; a connected socket needs no peer. */
  send(peer: Peer | undefined, view: DataView, length: number): void;
  /** Closes the socket; what is being sent may be lost. */
  close(): void;
}

/** Makes sockets. */
export interface Sockets {
  /**
   * A socket bound to an address and port.
   *
   * @throws {Error} if they are not available
   */
  bind(host: Address, port: number, events: SocketEvents): DatagramSocket;
  /**
   * A socket on a port that the kernel picks at random, which takes datagrams from this address and port
   * only.
   *
   * @throws {Error} where none can be had
   */
  connect(host: Address, port: number, events: SocketEvents): DatagramSocket;
  /** Ends what they have in common; each of them is closed before. */
  close(): void;
}

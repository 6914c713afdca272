/**
 * The sockets of the direct edge: all in one loop, with two rooms to receive into, one for clients and
 * one for upstreams.
 *
 * @module
 */
import type { Address } from "../../address.ts";
import type { DatagramSocket, SocketEvents, Sockets } from "../sockets.ts";
import { type DirectPeer, Receiver, type SocketError } from "./datagrams.ts";
import { type DirectEvents, type DirectSocket, Loop } from "./loop.ts";
import { Errno, type Libc } from "./libc.ts";

/** Makes sockets. */
export class DirectSockets implements Sockets {
  readonly loop: Loop;
  readonly #clients: Receiver;
  readonly #upstreams: Receiver;

  constructor(libc: Libc) {
    this.loop = new Loop(libc);
    this.#clients = new Receiver(libc);
    this.#upstreams = new Receiver(libc);
  }

  bind(host: Address, port: number, events: SocketEvents): DatagramSocket {
    try {
      return adapted(this.loop.bind(host, port, this.#clients, directEvents(events)));
    } catch (error) {
      throw denoError(error as SocketError);
    }
  }

  connect(host: Address, port: number, events: SocketEvents): DatagramSocket {
    return adapted(this.loop.connect(host, port, this.#upstreams, directEvents(events)));
  }

  close(): void {
    this.loop.stop();
  }
}

/** A peer that is given back is one that was given. */
function adapted(socket: DirectSocket): DatagramSocket {
  return {
    receive: () => socket.receive(),
    send: (peer, view, length) => socket.send(peer as DirectPeer | undefined, view, length),
    close: () => socket.close(),
  };
}

/** The error that Deno would throw, as who starts dotp is told by its kind what to do. */
function denoError(error: SocketError): Error {
  const { message } = error;
  switch (error.errno) {
    case Errno.ADDRINUSE:
      return new Deno.errors.AddrInUse(message);
    case Errno.ADDRNOTAVAIL:
      return new Deno.errors.AddrNotAvailable(message);
    case Errno.ACCES:
    case Errno.PERM:
      return new Deno.errors.PermissionDenied(message);
    default:
      return error;
  }
}

function directEvents({ onDatagram, onError, onUnreachable }: SocketEvents): DirectEvents {
  return {
    onDatagram,
    onProblem: ({ kind, message }) => {
      if (kind === "unreachable") onUnreachable?.();
      onError(new Error(message));
    },
  };
}

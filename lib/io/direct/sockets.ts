/**
 * The sockets of the direct edge: all in one loop, with two rooms to receive into, one for clients and
 * one for upstreams.
 *
 * @module
 */
import type { Address } from "../../address.ts";
import type { DatagramSocket, Peer, SocketEvents, Sockets } from "../sockets.ts";
import { type DirectPeer, Receiver } from "./datagrams.ts";
import { type DirectEvents, type DirectSocket, Loop } from "./loop.ts";
import type { Libc } from "./libc.ts";

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
    return adapted(this.loop.bind(host, port, this.#clients, directEvents(events)));
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
    send: (peer: Peer, view, length) => socket.send(peer as DirectPeer, view, length),
    close: () => socket.close(),
  };
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

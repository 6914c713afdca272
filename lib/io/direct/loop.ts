/**
 * The loop of the direct edge: waits for sockets, has a batch of datagrams handled, sends what came of
 * it.
 *
 * While there is traffic it waits in this thread, for a millisecond at the most, which costs least; else
 * in another one, so that timers, signals and programs have this thread. After each turn the event
 * loop has one of its own. What is sent within a turn leaves at its end; what promises make of it, as
 * a commit that is done at once, leaves when the next turn begins, which is before it waits.
 *
 * @module
 */
import { setImmediate } from "node:timers";
import { type Address, addressToText, isUnspecified } from "../../address.ts";
import {
  bindSocket,
  connectSocket,
  type DatagramProblem,
  DirectPeer,
  FairShare,
  problemOf,
  type Receiver,
  Sender,
} from "./datagrams.ts";
import { Errno, type Libc, nativeBuffer, Poll, PollLayout } from "./libc.ts";

/** How long it waits in this thread. */
const BUSY_WAIT_MS = 1;
/** Until something happens. */
const FOREVER_MS = -1;
/** Descriptors that are waited for: the upstream's sockets, those they replace, and a few more. */
const WATCHED_MAX = 1_024;

/** What a socket tells its owner about. */
export interface DirectEvents {
  /** Takes a datagram at the start of `view`, which is its own until it returns. */
  readonly onDatagram: (peer: DirectPeer, view: DataView, length: number) => void;
  /** A datagram is lost, or nobody listens where one went; the socket goes on. */
  readonly onProblem: (problem: DatagramProblem) => void;
}

/** Whoever waits for a descriptor. */
export interface Watcher {
  readonly fd: number;
  /** Whether something waits to be sent. */
  readonly isBlocked: boolean;
  onReadable(): void;
  /** Sends what waits. */
  flush(): void;
}

/** The loop. */
export class Loop {
  readonly libc: Libc;
  readonly #watchers: Watcher[] = [];
  /** The watchers that are being waited for, in the order of the structures. */
  #watched: readonly Watcher[] = [];
  readonly #fds = nativeBuffer((WATCHED_MAX + 1) * PollLayout.SIZE);
  readonly #view = new DataView(this.#fds.buffer);
  /** Raised where the loop waits in another thread and something has changed here. */
  readonly #event: number;
  readonly #dirty: DirectSocket[] = [];
  /** What is to be done when the datagrams of this turn have been handled. */
  readonly #deferred: (() => void)[] = [];
  #isHandling = false;
  #isWaiting = false;
  #isBusy = false;
  #isStopped = false;
  readonly #turn = () => this.#run();
  readonly #wake = () => this.#onWake();

  constructor(libc: Libc) {
    this.libc = libc;
    this.#event = libc.event();
    if (this.#event < 0) throw new Error("Cannot make an eventfd");
    setImmediate(this.#turn);
  }

  /**
   * A socket bound to an address and port.
   *
   * @throws {SocketError}
   */
  bind(host: Address, port: number, receiver: Receiver, events: DirectEvents): DirectSocket {
    const fd = bindSocket(this.libc, host, port, isUnspecified(host));
    return new DirectSocket(this, fd, receiver, undefined, events);
  }

  /**
   * A socket connected to an address and port: all that it receives comes from there.
   *
   * @throws {SocketError}
   */
  connect(host: Address, port: number, receiver: Receiver, events: DirectEvents): DirectSocket {
    const fd = connectSocket(this.libc, host, port);
    return new DirectSocket(this, fd, receiver, peerAt(host, port), events);
  }

  /** Has `onReadable` called whenever a descriptor can be read. */
  watch(watcher: Watcher): void {
    if (this.#watchers.length >= WATCHED_MAX) throw new Error("Too many sockets are open");
    this.#watchers.push(watcher);
    this.wake();
  }

  /** Ends that; to be called before the descriptor is closed. */
  unwatch(watcher: Watcher): void {
    const place = this.#watchers.indexOf(watcher);
    if (place >= 0) this.#watchers.splice(place, 1);
    this.wake();
  }

  /** Has a turn begin soon, where the loop waits in another thread. */
  wake(): void {
    if (this.#isWaiting) this.libc.raise(this.#event);
  }

  /** Notes that a socket has something to send. */
  markDirty(socket: DirectSocket): void {
    // Nobody else would send it before the next datagram comes.
    if (this.#dirty.push(socket) === 1 && this.#isWaiting) queueMicrotask(() => this.#flush());
  }

  /** Runs a task once the datagrams of this turn have been handled, before what came of them is sent. */
  defer(task: () => void): void {
    if (this.#isHandling) this.#deferred.push(task);
    else queueMicrotask(task);
  }

  /** Ends the loop; descriptors are for their owners to close. */
  stop(): void {
    if (this.#isStopped) return;
    this.#flush();
    this.#isStopped = true;
    if (this.#isWaiting) this.wake();
    else this.libc.close(this.#event);
  }

  #run(): void {
    if (this.#isStopped) return;
    this.#flush();
    const count = this.#prepare();
    const ready = this.libc.poll(this.#fds, count, this.#isBusy ? BUSY_WAIT_MS : 0);
    this.#isBusy = ready > 0;
    if (this.#isBusy) {
      this.#isHandling = true;
      this.#handle(count);
      this.#isHandling = false;
      for (const task of this.#deferred.splice(0)) task();
      this.#flush();
    }
    if (this.#isBusy || ready === -Errno.INTR) setImmediate(this.#turn);
    else {
      this.#isWaiting = true;
      this.libc.pollAwaited(this.#fds, count, FOREVER_MS).then(this.#wake);
    }
  }

  #onWake(): void {
    this.#isWaiting = false;
    if (this.#isStopped) this.libc.close(this.#event);
    else this.#run();
  }

  /** Says what to wait for; returns how many descriptors. */
  #prepare(): number {
    this.#watched = this.#watchers.slice();
    this.#put(0, this.#event, Poll.IN);
    for (const [i, { fd, isBlocked }] of this.#watched.entries()) {
      this.#put(i + 1, fd, isBlocked ? Poll.IN | Poll.OUT : Poll.IN);
    }
    return this.#watched.length + 1;
  }

  #put(i: number, fd: number, events: number): void {
    const at = i * PollLayout.SIZE;
    this.#view.setInt32(at + PollLayout.FD, fd, true);
    this.#view.setInt16(at + PollLayout.EVENTS, events, true);
  }

  #handle(count: number): void {
    const returned = (i: number) =>
      this.#view.getInt16(i * PollLayout.SIZE + PollLayout.RETURNED, true);
    if (returned(0) !== 0) this.libc.lower(this.#event);
    for (let i = 1; i < count; i++) {
      const watcher = this.#watched[i - 1]!;
      const what = returned(i);
      if ((what & ~Poll.OUT) !== 0) watcher.onReadable();
      if ((what & Poll.OUT) !== 0) watcher.flush();
    }
  }

  #flush(): void {
    for (const socket of this.#dirty.splice(0)) socket.flush();
  }
}

/** A UDP socket in the loop. */
export class DirectSocket implements Watcher {
  readonly fd: number;
  readonly #loop: Loop;
  readonly #receiver: Receiver;
  readonly #sender: Sender;
  readonly #events: DirectEvents;
  /** Whom it is connected to. */
  readonly #connected: DirectPeer | undefined;
  readonly #share = new FairShare();
  #isDirty = false;
  #isClosed = false;

  constructor(
    loop: Loop,
    fd: number,
    receiver: Receiver,
    connected: DirectPeer | undefined,
    events: DirectEvents,
  ) {
    this.fd = fd;
    this.#loop = loop;
    this.#receiver = receiver;
    this.#connected = connected;
    this.#events = events;
    this.#sender = new Sender(loop.libc, fd, events.onProblem);
  }

  /** Receives until `close`. */
  receive(): void {
    this.#loop.watch(this);
  }

  get isBlocked(): boolean {
    return this.#sender.waiting > 0;
  }

  /** Sends a copy of the first `length` octets, at the end of the turn; a connected socket needs no peer. */
  send(peer: DirectPeer | undefined, view: DataView, length: number): void {
    if (this.#isClosed) return;
    this.#sender.add(view, length, this.#connected === undefined ? peer : undefined);
    if (this.#isDirty) return;
    this.#isDirty = true;
    this.#loop.markDirty(this);
  }

  /** Sends what waits. */
  flush(): void {
    this.#isDirty = false;
    if (!this.#isClosed) this.#sender.flush();
  }

  /** Handles one batch; the loop comes back for more. */
  onReadable(): void {
    const count = this.#isClosed ? 0 : this.#receiver.receive(this.fd);
    if (count < 0) {
      if (count !== -Errno.AGAIN) this.#events.onProblem(problemOf(-count));
      return;
    }
    this.#share.begin(count);
    for (let i = 0; i < count; i++) {
      const length = this.#receiver.length(i);
      const peer = this.#connected ?? this.#receiver.peer(i);
      if (this.#connected === undefined && peer !== undefined && !this.#share.admits(peer.client)) {
        continue;
      }
      if (length < 0 || peer === undefined) this.#events.onProblem(problemOf(Errno.MSGSIZE));
      else this.#events.onDatagram(peer, this.#receiver.views[i]!, length);
    }
  }

  /** Closes the socket, after what it was given to send. */
  close(): void {
    if (this.#isClosed) return;
    this.#sender.flush();
    this.#isClosed = true;
    this.#loop.unwatch(this);
    this.#loop.libc.close(this.fd);
  }
}

function peerAt(host: Address, port: number): DirectPeer {
  const { family, bytes } = host;
  return new DirectPeer(
    { family, bytes, hostname: addressToText(bytes), scope: 0, batch: 0, count: 0 },
    port,
    undefined,
  );
}

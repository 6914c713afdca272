/**
 * Datagrams in batches: received up to 64 at a time into memory that is used again, queued by copying
 * them, and sent up to 64 at a time.
 *
 * A `Receiver` serves any number of sockets, one after the other; what it shows is good until its next
 * `receive`. A `Sender` belongs to one socket. It tells apart what an error is about: a datagram that
 * cannot be sent is dropped and reported, what the network has no room for now waits, and what an
 * earlier datagram has caused elsewhere ("port unreachable") is told as that. A reply leaves from the
 * address that was asked, which the kernel tells where the socket is bound to the wildcard.
 *
 * @module
 */
import {
  type Address,
  ADDRESS_LENGTH,
  addressToText,
  type Family,
  unmapped,
} from "../../address.ts";
import { MESSAGE_LENGTH_MAX } from "../../dns/constants.ts";
import {
  ADDRESS_FAMILY,
  ADDRESS_ROOM,
  AddressLayout,
  CONTROL_ROOM,
  ControlLayout,
  IovLayout,
  MessageLayout,
  PacketInfoLayout,
  writeSocketAddress,
} from "./layouts.ts";
import { Errno, errnoText, type Libc, nativeBuffer, Socket } from "./libc.ts";

/** Datagrams that one call receives or sends. */
export const BATCH_DATAGRAMS_MAX = 64;
/** Octets that wait to be sent on one socket; it holds the longest message, and a batch of usual ones. */
const SENDER_LENGTH = 128 * 1_024;
/** Octets that the kernel may hold until they are received, and before they are sent. */
export const RECEIVE_BUFFER_LENGTH = 4 << 20;
const SEND_BUFFER_LENGTH = 1 << 20;
/** Clients and addresses of this machine that are kept; it stops who sends from ever more of them. */
const ENDPOINTS_MAX = 4_096;

const SOL_SOCKET = 1;
const SocketOption = { SNDBUF: 7, RCVBUF: 8, SNDBUFFORCE: 32, RCVBUFFORCE: 33 } as const;
const IpLevel: Readonly<Record<Family, number>> = { 4: 0, 6: 41 };
/** IP_PKTINFO and IPV6_RECVPKTINFO to ask for it, IP_PKTINFO and IPV6_PKTINFO to say it. */
const PacketInfoOption = { 4: { ask: 8, say: 8 }, 6: { ask: 49, say: 50 } } as const;
const MSG_TRUNC = 0x20;

/** What went wrong with one datagram, or what one has caused elsewhere. */
export interface DatagramProblem {
  readonly kind:
    /** Nobody listens where an earlier datagram went, or there is no way to it. */
    | "unreachable"
    /** The datagram is lost. */
    | "lost";
  readonly errno: number;
  readonly message: string;
}

/** An address of a client, or of this machine, made once and used for each datagram with it. */
export interface Endpoint {
  readonly family: Family;
  readonly bytes: Uint8Array;
  /** In text; that of the IPv4 address where it is an IPv4-mapped one. */
  readonly hostname: string;
  /** The interface, where an address means nothing without it; else 0. */
  readonly scope: number;
  /** The batch in which it was counted last, and how often, for `FairShare`. */
  batch: number;
  count: number;
}

/** Where a datagram came from, or goes to. */
export class DirectPeer {
  readonly client: Endpoint;
  readonly port: number;
  /** The address that was asked; undefined where the socket has but one. */
  readonly local: Endpoint | undefined;

  constructor(client: Endpoint, port: number, local: Endpoint | undefined) {
    this.client = client;
    this.port = port;
    this.local = local;
  }

  get hostname(): string {
    return this.client.hostname;
  }
}

/** Makes one object for each address, so that a datagram makes none. */
class Endpoints {
  readonly #byHash = new Map<number, Endpoint[]>();
  /** Nobody can pick addresses that have the same hash. */
  readonly #seed = crypto.getRandomValues(new Int32Array(1))[0]!;
  #count = 0;

  find(view: DataView, offset: number, family: Family, scope: number): Endpoint {
    let hash = this.#seed ^ scope;
    const length = ADDRESS_LENGTH[family];
    for (let i = 0; i < length; i += 4) {
      hash = (Math.imul(hash, 0x9e3779b1) ^ view.getUint32(offset + i)) | 0;
    }
    const candidates = this.#byHash.get(hash);
    const known = candidates?.find((it) =>
      it.family === family && it.scope === scope && sameAddress(view, offset, it.bytes)
    );
    return known ?? this.#add(hash, view, offset, family, scope);
  }

  #add(hash: number, view: DataView, offset: number, family: Family, scope: number): Endpoint {
    if (++this.#count > ENDPOINTS_MAX) {
      this.#byHash.clear();
      this.#count = 1;
    }
    const start = view.byteOffset + offset;
    const bytes = new Uint8Array(view.buffer, start, ADDRESS_LENGTH[family]).slice();
    const hostname = addressToText(unmapped({ family, bytes }).bytes);
    const endpoint = { family, bytes, hostname, scope, batch: 0, count: 0 };
    const candidates = this.#byHash.get(hash);
    if (candidates === undefined) this.#byHash.set(hash, [endpoint]);
    else candidates.push(endpoint);
    return endpoint;
  }
}

function sameAddress(view: DataView, offset: number, bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i++) {
    if (view.getUint8(offset + i) !== bytes[i]) return false;
  }
  return true;
}

/** The structures of a batch, each pointing to its own room; made once. */
class Batch {
  readonly headers = nativeBuffer(BATCH_DATAGRAMS_MAX * MessageLayout.SIZE);
  readonly header = new DataView(this.headers.buffer);
  readonly name = new DataView(new ArrayBuffer(BATCH_DATAGRAMS_MAX * ADDRESS_ROOM));
  readonly control = new DataView(new ArrayBuffer(BATCH_DATAGRAMS_MAX * CONTROL_ROOM));
  readonly iov = new DataView(new ArrayBuffer(BATCH_DATAGRAMS_MAX * IovLayout.SIZE));
  /** An address of this machine has 47 bits, so a number holds it. */
  readonly #dataAddress: number;

  /** @param data room for the datagrams themselves, which this must not outlive */
  constructor(libc: Libc, data: Uint8Array<ArrayBuffer>) {
    this.#dataAddress = Number(libc.addressOf(data));
    const [names, controls, iovs] = [this.name, this.control, this.iov].map(({ buffer }) =>
      libc.addressOf(new Uint8Array(buffer as ArrayBuffer))
    ) as [bigint, bigint, bigint];
    for (let i = 0; i < BATCH_DATAGRAMS_MAX; i++) {
      const at = i * MessageLayout.SIZE;
      const pointer = (offset: number, base: bigint, size: number) =>
        this.header.setBigUint64(at + offset, base + BigInt(i * size), true);
      pointer(MessageLayout.NAME, names, ADDRESS_ROOM);
      pointer(MessageLayout.IOV, iovs, IovLayout.SIZE);
      pointer(MessageLayout.CONTROL, controls, CONTROL_ROOM);
      this.header.setUint32(at + MessageLayout.IOV_LENGTH, 1, true);
    }
  }

  /** Says which octets of the data a datagram has. */
  setOctets(i: number, offset: number, length: number): void {
    const at = i * IovLayout.SIZE;
    const address = this.#dataAddress + offset;
    this.iov.setUint32(at + IovLayout.BASE, address >>> 0, true);
    this.iov.setUint32(at + IovLayout.BASE + 4, address / 0x1_0000_0000, true);
    this.iov.setUint32(at + IovLayout.LENGTH, length, true);
  }

  /** Says how long the address and the control message are, or may be. */
  setLengths(i: number, name: number, control: number): void {
    const at = i * MessageLayout.SIZE;
    this.header.setUint32(at + MessageLayout.NAME_LENGTH, name, true);
    this.header.setUint32(at + MessageLayout.CONTROL_LENGTH, control, true);
  }
}

/** Receives datagrams. */
export class Receiver {
  /** The datagrams that `receive` received, each at the start of its view. */
  readonly views: readonly DataView<ArrayBuffer>[];
  readonly #libc: Libc;
  readonly #batch: Batch;
  readonly #data: Uint8Array<ArrayBuffer>;
  readonly #clients = new Endpoints();
  readonly #locals = new Endpoints();
  /** How many structures the kernel has written to since they were made ready. */
  #used = BATCH_DATAGRAMS_MAX;

  /** Room for a batch of the longest messages; what is never used is never taken from the machine. */
  constructor(libc: Libc) {
    this.#libc = libc;
    this.#data = nativeBuffer(BATCH_DATAGRAMS_MAX * MESSAGE_LENGTH_MAX);
    this.#batch = new Batch(libc, this.#data);
    const { buffer } = this.#data;
    this.views = Array.from(
      { length: BATCH_DATAGRAMS_MAX },
      (_, i) => new DataView(buffer, i * MESSAGE_LENGTH_MAX, MESSAGE_LENGTH_MAX),
    );
    this.views.forEach((view, i) => this.#batch.setOctets(i, view.byteOffset, view.byteLength));
  }

  /** Receives what is there; returns how many datagrams, or a negative error number. */
  receive(fd: number): number {
    for (let i = 0; i < this.#used; i++) this.#batch.setLengths(i, ADDRESS_ROOM, CONTROL_ROOM);
    for (;;) {
      const { headers } = this.#batch;
      const count = this.#libc.receiveMany(fd, headers, BATCH_DATAGRAMS_MAX, 0);
      this.#used = Math.max(count, 1);
      if (count !== -Errno.INTR) return count;
    }
  }

  /** Octets of a datagram; -1 where it was longer than any message can be. */
  length(i: number): number {
    const { header } = this.#batch;
    const at = i * MessageLayout.SIZE;
    const isCut = (header.getUint32(at + MessageLayout.FLAGS, true) & MSG_TRUNC) !== 0;
    return isCut ? -1 : header.getUint32(at + MessageLayout.LENGTH, true);
  }

  /** Who sent a datagram; undefined where the kernel does not say. */
  peer(i: number): DirectPeer | undefined {
    const { name } = this.#batch;
    const at = i * ADDRESS_ROOM;
    const family = familyOf(name.getUint16(at, true));
    if (family === undefined) return undefined;
    const layout = AddressLayout[family];
    const scope = family === 6 ? name.getUint32(at + AddressLayout[6].SCOPE, true) : 0;
    const client = this.#clients.find(name, at + layout.ADDRESS, family, scope);
    return new DirectPeer(client, name.getUint16(at + layout.PORT), this.#local(i));
  }

  /** The address of this machine that a datagram was sent to, where the socket asks for it. */
  #local(i: number): Endpoint | undefined {
    const { header, control } = this.#batch;
    const length = header.getUint32(i * MessageLayout.SIZE + MessageLayout.CONTROL_LENGTH, true);
    if (length < ControlLayout.DATA) return undefined;
    const at = i * CONTROL_ROOM;
    const family: Family = control.getInt32(at + ControlLayout.LEVEL, true) === IpLevel[4] ? 4 : 6;
    const isInfo = control.getInt32(at + ControlLayout.TYPE, true) === PacketInfoOption[family].say;
    if (!isInfo || length < ControlLayout.DATA + PacketInfoLayout[family].SIZE) return undefined;
    const data = at + ControlLayout.DATA;
    const address = data + PacketInfoLayout[family].ADDRESS;
    const isLinkLocal = family === 6 && (control.getUint16(address) & 0xffc0) === 0xfe80;
    const scope = isLinkLocal ? control.getUint32(data + PacketInfoLayout[6].INTERFACE, true) : 0;
    return this.#locals.find(control, address, family, scope);
  }
}

/**
 * Sheds load where a socket is never empty any more: more comes than can be done, and what is not shed
 * here is lost in the kernel, whoever sent it. Then each client has an equal part of a quarter of each
 * batch, so that the rest is soon drained and who asks little is not lost among those who ask much.
 */
export class FairShare {
  /** Full batches in a row. */
  #full = 0;
  #batch = 0;
  #clients = 0;

  /** Begins a batch. */
  begin(datagrams: number): void {
    this.#full = datagrams < BATCH_DATAGRAMS_MAX ? 0 : this.#full + 1;
    this.#batch++;
    this.#clients = 0;
  }

  /** Whether the batch's next datagram of a client is to be handled. */
  admits(client: Endpoint): boolean {
    if (this.#full < FULL_BATCHES_MAX) return true;
    if (client.batch !== this.#batch) {
      client.batch = this.#batch;
      client.count = 0;
      this.#clients++;
    }
    return ++client.count <= BATCH_DATAGRAMS_MAX / 4 / this.#clients;
  }
}

/** Full batches in a row from which on load is shed: more than a resolver sends at once. */
const FULL_BATCHES_MAX = 8;

/** What waits to be sent on one socket. */
export class Sender {
  readonly #libc: Libc;
  readonly #fd: number;
  readonly #onProblem: (problem: DatagramProblem) => void;
  readonly #data = nativeBuffer(SENDER_LENGTH);
  readonly #batch: Batch;
  /** Those from `first` to `count` wait. */
  #first = 0;
  #count = 0;
  #length = 0;
  /** Whether the first of those has been tried already: an error is told once, then it can be sent. */
  #isRetried = false;

  constructor(libc: Libc, fd: number, onProblem: (problem: DatagramProblem) => void) {
    this.#libc = libc;
    this.#fd = fd;
    this.#onProblem = onProblem;
    this.#batch = new Batch(libc, this.#data);
  }

  /** How many datagrams wait. */
  get waiting(): number {
    return this.#count - this.#first;
  }

  /**
   * Queues a copy of the first `length` octets.
   *
   * @param peer where it goes; left out for a connected socket
   */
  add(view: DataView, length: number, peer?: DirectPeer): void {
    if (!this.#hasRoom(length)) this.flush();
    if (!this.#hasRoom(length)) {
      this.#onProblem(problemOf(Errno.NOBUFS));
      return;
    }
    const i = this.#count++;
    this.#data.set(new Uint8Array(view.buffer, view.byteOffset, length), this.#length);
    this.#batch.setOctets(i, this.#length, length);
    this.#length += length;
    if (peer === undefined) this.#batch.setLengths(i, 0, 0);
    else this.#batch.setLengths(i, this.#writeName(i, peer), this.#writeLocal(i, peer.local));
  }

  /** Sends what waits. Where the network takes no more now, the rest goes on waiting. */
  flush(): void {
    const { headers } = this.#batch;
    while (this.#first < this.#count) {
      const from = this.#first === 0 ? headers : headers.subarray(this.#first * MessageLayout.SIZE);
      const sent = this.#libc.sendMany(this.#fd, from, this.#count - this.#first, 0);
      if (sent > 0) {
        this.#first += sent;
        this.#isRetried = false;
      } else if (sent === -Errno.AGAIN) return;
      else if (sent !== -Errno.INTR) this.#onError(-sent);
    }
    this.#first = this.#count = this.#length = 0;
  }

  #hasRoom(length: number): boolean {
    return this.#count < BATCH_DATAGRAMS_MAX && this.#length + length <= SENDER_LENGTH;
  }

  /** Handles the error that the kernel returned instead of sending the first of those that wait. */
  #onError(errno: number): void {
    const isAboutEarlier = isUnreachable(errno) && !this.#isRetried;
    this.#isRetried = isAboutEarlier;
    if (!isAboutEarlier) this.#first++;
    this.#onProblem(problemOf(errno));
  }

  #writeName(i: number, { client, port }: DirectPeer): number {
    const { name } = this.#batch;
    const length = writeSocketAddress(name, i * ADDRESS_ROOM, client, port);
    if (client.scope !== 0) {
      name.setUint32(i * ADDRESS_ROOM + AddressLayout[6].SCOPE, client.scope, true);
    }
    return length;
  }

  #writeLocal(i: number, local: Endpoint | undefined): number {
    if (local === undefined) return 0;
    const { control } = this.#batch;
    const { family, bytes, scope } = local;
    const layout = PacketInfoLayout[family];
    const at = i * CONTROL_ROOM;
    const data = at + ControlLayout.DATA;
    for (let n = at; n < at + CONTROL_ROOM; n++) control.setUint8(n, 0);
    control.setUint32(at + ControlLayout.LENGTH, ControlLayout.DATA + layout.SIZE, true);
    control.setInt32(at + ControlLayout.LEVEL, IpLevel[family], true);
    control.setInt32(at + ControlLayout.TYPE, PacketInfoOption[family].say, true);
    control.setUint32(data + layout.INTERFACE, scope, true);
    bytes.forEach((octet, n) => control.setUint8(data + layout.ADDRESS + n, octet));
    // CMSG_SPACE: the data is padded to a multiple of eight.
    return ControlLayout.DATA + ((layout.SIZE + 7) & ~7);
  }
}

/** Thrown if a socket cannot be opened. */
export class SocketError extends Error {
  constructor(what: string, readonly errno: number) {
    super(`${what}: ${errnoText(errno)}`);
  }
}

/**
 * A socket bound to an address and port.
 *
 * @param isWildcard whether it is asked under several addresses, so that the kernel is to say which
 * @throws {SocketError}
 */
export function bindSocket(libc: Libc, host: Address, port: number, isWildcard: boolean): number {
  const fd = openSocket(libc, host.family);
  if (isWildcard) {
    libc.setOption(fd, IpLevel[host.family], PacketInfoOption[host.family].ask, 1);
  }
  return finish(libc, fd, libc.bind(fd, socketAddress(host, port)), "Cannot bind a socket");
}

/**
 * A socket on a port that the kernel picks at random, connected to an address and port: only who is
 * there gets through.
 *
 * @throws {SocketError}
 */
export function connectSocket(libc: Libc, host: Address, port: number): number {
  const fd = openSocket(libc, host.family);
  const connected = libc.connect(fd, socketAddress(host, port));
  return finish(libc, fd, connected, "Cannot connect a socket");
}

/**
 * Sees to it that datagrams can be sent and received in batches.
 *
 * @throws {SocketError}
 */
export function checkDatagrams(libc: Libc): void {
  const fd = openSocket(libc, 4);
  const { headers } = new Batch(libc, nativeBuffer(0));
  const received = libc.receiveMany(fd, headers, 1, 0);
  const sent = libc.sendMany(fd, headers, 0, 0);
  libc.close(fd);
  if (received !== -Errno.AGAIN) throw new SocketError("Cannot receive in batches", -received);
  if (sent < 0) throw new SocketError("Cannot send in batches", -sent);
}

/** The port that a socket is bound to. */
export function portOf(libc: Libc, fd: number): number {
  const name = nativeBuffer(ADDRESS_ROOM);
  libc.socketName(fd, name);
  return new DataView(name.buffer).getUint16(AddressLayout[4].PORT);
}

/** What an error number of a send or a receive means. */
export function problemOf(errno: number): DatagramProblem {
  return { kind: isUnreachable(errno) ? "unreachable" : "lost", errno, message: errnoText(errno) };
}

/** Whether an error number is what ICMP makes of an earlier datagram, or says that there is no route. */
function isUnreachable(errno: number): boolean {
  return UNREACHABLE.has(errno);
}

const UNREACHABLE = new Set<number>([
  Errno.CONNREFUSED,
  Errno.HOSTUNREACH,
  Errno.NETUNREACH,
  Errno.NOPROTOOPT,
  Errno.ACCES,
]);

function openSocket(libc: Libc, family: Family): number {
  const fd = libc.socket(ADDRESS_FAMILY[family], Socket.DATAGRAM, 0);
  if (fd < 0) throw new SocketError("Cannot open a socket", -fd);
  grow(libc, fd, SocketOption.RCVBUFFORCE, SocketOption.RCVBUF, RECEIVE_BUFFER_LENGTH);
  grow(libc, fd, SocketOption.SNDBUFFORCE, SocketOption.SNDBUF, SEND_BUFFER_LENGTH);
  return fd;
}

/** The first option takes more than the machine's limit and needs CAP_NET_ADMIN, the second does not. */
function grow(libc: Libc, fd: number, forced: number, plain: number, length: number): void {
  if (libc.setOption(fd, SOL_SOCKET, forced, length) < 0) {
    libc.setOption(fd, SOL_SOCKET, plain, length);
  }
}

function socketAddress(host: Address, port: number): Uint8Array<ArrayBuffer> {
  const octets = nativeBuffer(AddressLayout[host.family].SIZE);
  writeSocketAddress(new DataView(octets.buffer), 0, host, port);
  return octets;
}

function finish(libc: Libc, fd: number, result: number, what: string): number {
  if (result >= 0) return fd;
  libc.close(fd);
  throw new SocketError(what, -result);
}

function familyOf(addressFamily: number): Family | undefined {
  if (addressFamily === ADDRESS_FAMILY[4]) return 4;
  return addressFamily === ADDRESS_FAMILY[6] ? 6 : undefined;
}

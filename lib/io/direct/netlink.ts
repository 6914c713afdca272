/**
 * Netlink sockets: transactions, questions, listings, and the groups that tell of changes.
 *
 * All of it happens within a call, as the kernel does what it is asked before `send` returns; only a
 * listing lets others have a turn between its parts. A socket takes messages from the kernel only.
 * What the messages say is for `lib/netlink` to know; here are their way, and what can go wrong on it:
 * an acknowledgement that is lost, a listing that was overtaken by a change, a queue that ran over.
 *
 * @module
 */
import {
  type Acknowledgement,
  Control,
  MessageCursor,
  MessageFlag,
  MessageWriter,
  readAcknowledgement,
} from "../../netlink/attributes.ts";
import { Errno, errnoText, type Libc, nativeBuffer, Socket } from "./libc.ts";

/** NETLINK_NETFILTER (linux/netlink.h). */
const PROTOCOL = 12;
const SOL_SOCKET = 1;
const SocketOption = { ATTACH_FILTER: 26, SNDBUFFORCE: 32, RCVBUFFORCE: 33 } as const;
const SOL_NETLINK = 270;
const NetlinkOption = { ADD_MEMBERSHIP: 1, CAP_ACK: 10, EXT_ACK: 11 } as const;
const MSG_TRUNC = 0x20;

/** struct sockaddr_nl. */
const Address = { FAMILY: 0, PORT: 4, SIZE: 12 } as const;

/** Octets of the messages of one transaction: more than the most changes of one need. */
export const TRANSACTION_LENGTH_MAX = 1 << 20;
/** Octets that are received at a time; the kernel's listings come in parts of 32 KiB at the most. */
const RECEIVE_LENGTH = 1 << 16;
/** What the kernel may queue for a group before it says that something was lost. */
const GROUP_QUEUE_LENGTH = 4 << 20;
/** How often a listing is begun anew that a change has overtaken. */
const LISTING_ATTEMPTS = 5;
/** Parts of a listing between two turns of others: some milliseconds of work. */
const PARTS_AT_ONCE = 4;

/** What became of a transaction. */
export type Transacted =
  | { readonly kind: "done" }
  /** The kernel took nothing of it; the errors are in the order of the messages. */
  | { readonly kind: "refused"; readonly errors: readonly Acknowledgement[] }
  /** Nobody knows what the kernel took, or it takes nothing from us. */
  | { readonly kind: "unavailable"; readonly message: string };

/** A listing that is asked for. */
export interface Listing {
  readonly write: (writer: MessageWriter, sequence: number) => void;
  /** Called where the listing begins, again where a change has overtaken the one before. */
  readonly begin: () => void;
  /** Given each message of it, which is its own until it returns. */
  readonly onMessage: (message: MessageCursor) => void;
  /** Gives others a turn. */
  readonly breathe: () => Promise<void>;
  /**
   * Whether what is listed has changed since `begin`, so that an entry may be missing or there twice:
   * then it is begun anew.
   */
  readonly isOvertaken: () => boolean;
}

/** Thrown where netlink does not work. */
export class NetlinkError extends Error {
  constructor(what: string, readonly errno = 0) {
    super(errno === 0 ? `netlink: ${what}` : `netlink: ${what}: ${errnoText(errno)}`);
  }
}

/** A netlink socket for netfilter. */
export class NetlinkSocket {
  readonly fd: number;
  /** The kernel's name for this socket: what it does is told to the groups with this number. */
  readonly port: number;
  readonly #libc: Libc;
  readonly #writer = new MessageWriter(TRANSACTION_LENGTH_MAX);
  readonly #received = nativeBuffer(RECEIVE_LENGTH);
  readonly #view = new DataView(this.#received.buffer);
  readonly #message = new MessageCursor();
  #sequence = 1;

  /**
   * @throws {NetlinkError} where it cannot be opened
   */
  constructor(libc: Libc) {
    this.#libc = libc;
    this.fd = libc.socket(Socket.NETLINK, Socket.RAW, PROTOCOL);
    if (this.fd < 0) throw new NetlinkError("Cannot open a socket", -this.fd);
    const address = nativeBuffer(Address.SIZE);
    const view = new DataView(address.buffer);
    view.setUint16(Address.FAMILY, Socket.NETLINK, true);
    // Connected to the kernel, which has address 0, so that nobody else gets through.
    for (const result of [libc.bind(this.fd, address), libc.connect(this.fd, address)]) {
      if (result < 0) throw this.#failed("Cannot bind a socket", -result);
    }
    libc.socketName(this.fd, address);
    this.port = view.getUint32(Address.PORT, true);
    libc.setOption(this.fd, SOL_NETLINK, NetlinkOption.CAP_ACK, 1);
    libc.setOption(this.fd, SOL_NETLINK, NetlinkOption.EXT_ACK, 1);
    libc.setOption(this.fd, SOL_SOCKET, SocketOption.SNDBUFFORCE, TRANSACTION_LENGTH_MAX);
  }

  /**
   * Sends messages as one and takes the acknowledgements.
   *
   * @param write writes them, beginning with this sequence number, and returns the one after the last;
   *   the last but one, before the end of the batch, is to ask for its acknowledgement
   */
  transact(write: (writer: MessageWriter, sequence: number) => number): Transacted {
    const first = this.#sequence;
    this.#writer.clear();
    try {
      this.#sequence = write(this.#writer, first) >>> 0;
    } catch (error) {
      return { kind: "unavailable", message: (error as Error).message };
    }
    const errno = this.#send();
    if (errno !== 0) return unavailable("Cannot send", errno);
    const acknowledged = this.#acknowledgements(first);
    if (typeof acknowledged === "number") return unavailable("Cannot receive", acknowledged);
    const errors = acknowledged.filter(({ errno }) => errno !== 0);
    const [whole] = errors.filter(({ sequence }) => sequence === first);
    if (whole !== undefined) return unavailable("The kernel refuses all", whole.errno);
    if (errors.length > 0) return { kind: "refused", errors };
    return acknowledged.length > 0
      ? { kind: "done" }
      : { kind: "unavailable", message: "netlink: An acknowledgement is missing" };
  }

  /** The octets of the last transaction, which its errors refer to; valid until the next call. */
  get sent(): { readonly view: DataView<ArrayBuffer>; readonly length: number } {
    const { bytes, length } = this.#writer;
    return { view: new DataView(bytes.buffer), length };
  }

  /**
   * Sends one message that asks for its acknowledgement, and takes the answer.
   *
   * @param onMessage given each message of the answer, which is its own until it returns
   * @throws {NetlinkError} where there is no answer
   */
  ask(
    write: (writer: MessageWriter, sequence: number) => void,
    onMessage: (message: MessageCursor) => void = () => {},
  ): Acknowledgement {
    const sequence = this.#request(write);
    for (;;) {
      const length = this.#receive();
      if (length < 0) throw new NetlinkError("Cannot receive an answer", -length);
      const message = this.#message.reset(this.#view, 0, length);
      while (message.next()) {
        if (message.sequence !== sequence) continue;
        const acknowledgement = readAcknowledgement(message);
        if (acknowledgement !== undefined) return acknowledgement;
        onMessage(message);
      }
    }
  }

  /**
   * Sends one message that asks for a listing, and takes all of it. Nobody else may use this socket
   * meanwhile.
   *
   * @throws {NetlinkError} where the kernel refuses, or changes overtake every attempt
   */
  async list(listing: Listing): Promise<void> {
    for (let attempt = 1; attempt <= LISTING_ATTEMPTS; attempt++) {
      listing.begin();
      // The last attempt is in one go, so that least can come in between.
      const isWhole = await this.#listOnce(listing, attempt < LISTING_ATTEMPTS);
      if (isWhole && !listing.isOvertaken()) return;
    }
    throw new NetlinkError(`A listing was overtaken by changes ${LISTING_ATTEMPTS} times`);
  }

  /**
   * Joins groups.
   *
   * @param ignoredPort what the socket with this number does is not told
   * @throws {NetlinkError}
   */
  join(groups: readonly number[], ignoredPort?: number): void {
    this.#libc.setOption(this.fd, SOL_SOCKET, SocketOption.RCVBUFFORCE, GROUP_QUEUE_LENGTH);
    if (ignoredPort !== undefined) this.#ignore(ignoredPort);
    for (const group of groups) {
      const result = this.#libc.setOption(
        this.fd,
        SOL_NETLINK,
        NetlinkOption.ADD_MEMBERSHIP,
        group,
      );
      if (result < 0) throw new NetlinkError(`Cannot join group ${group}`, -result);
    }
  }

  /**
   * Takes what the groups have told, at most `most` datagrams.
   *
   * @returns false where something was lost, as the queue was full
   * @throws {NetlinkError}
   */
  takeNotices(onMessage: (message: MessageCursor) => void, most: number): boolean {
    let isWhole = true;
    for (let i = 0; i < most; i++) {
      const length = this.#receive();
      if (length === -Errno.AGAIN) return isWhole;
      if (length < 0 && length !== -Errno.NOBUFS) {
        throw new NetlinkError("Cannot receive notices", -length);
      }
      isWhole &&= length >= 0;
      const message = this.#message.reset(this.#view, 0, Math.max(length, 0));
      while (message.next()) onMessage(message);
      isWhole &&= !message.isDamaged;
    }
    return isWhole;
  }

  /** Closes the socket. */
  close(): void {
    this.#libc.close(this.fd);
  }

  /** Sends what was written; returns an error number, or 0. */
  #send(): number {
    for (;;) {
      const { bytes, length } = this.#writer;
      const sent = this.#libc.send(this.fd, bytes, length, 0);
      if (sent !== -Errno.INTR) return sent < 0 ? -sent : 0;
    }
  }

  /** Receives what is there into the buffer; returns its length, or a negative error number. */
  #receive(): number {
    for (;;) {
      const length = this.#libc.receive(this.fd, this.#received, MSG_TRUNC);
      if (length > RECEIVE_LENGTH) return -Errno.MSGSIZE;
      if (length !== -Errno.INTR) return length;
    }
  }

  /** The acknowledgements of messages from `first` on; an error number where some may be lost. */
  #acknowledgements(first: number): Acknowledgement[] | number {
    const found: Acknowledgement[] = [];
    for (;;) {
      const length = this.#receive();
      if (length === -Errno.AGAIN) return found;
      if (length < 0) return -length;
      const message = this.#message.reset(this.#view, 0, length);
      while (message.next()) {
        const acknowledgement = readAcknowledgement(message);
        // Those of an earlier transaction belong to no request any more.
        if (acknowledgement === undefined || (message.sequence - first) >> 0 < 0) continue;
        found.push(acknowledgement);
      }
    }
  }

  /** Sends one message; returns its sequence number. */
  #request(write: (writer: MessageWriter, sequence: number) => void): number {
    const sequence = this.#sequence;
    this.#sequence = (sequence + 1) >>> 0;
    this.#writer.clear();
    write(this.#writer, sequence);
    const errno = this.#send();
    if (errno !== 0) throw new NetlinkError("Cannot ask", errno);
    return sequence;
  }

  /** Takes one listing; false where the kernel says that a change has overtaken it. */
  async #listOnce({ write, onMessage, breathe }: Listing, mayBreathe: boolean): Promise<boolean> {
    const sequence = this.#request(write);
    let isWhole = true;
    for (let part = 1;; part++) {
      const length = this.#receive();
      if (length < 0) throw new NetlinkError("Cannot receive a listing", -length);
      const message = this.#message.reset(this.#view, 0, length);
      while (message.next()) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & MessageFlag.DUMP_INTERRUPTED) !== 0) isWhole = false;
        const end = readAcknowledgement(message);
        if (end === undefined) onMessage(message);
        else if (end.errno !== 0) throw new NetlinkError("Cannot list", end.errno);
        else if (message.type === Control.DONE) return isWhole;
      }
      if (message.isDamaged) throw new NetlinkError("A listing is damaged");
      if (mayBreathe && part % PARTS_AT_ONCE === 0) await breathe();
    }
  }

  /** Has the kernel drop notices of what another socket of ours does: a program of four steps. */
  #ignore(port: number): void {
    const program = nativeBuffer(4 * FILTER_STEP_LENGTH);
    const view = new DataView(program.buffer);
    const step = (i: number, code: number, whenFalse: number, value: number) => {
      view.setUint16(i * FILTER_STEP_LENGTH, code, true);
      view.setUint8(i * FILTER_STEP_LENGTH + 3, whenFalse);
      view.setUint32(i * FILTER_STEP_LENGTH + 4, value, true);
    };
    // It loads in network order what a message header has in the machine's.
    const swapped = new DataView(new ArrayBuffer(4));
    swapped.setUint32(0, port, true);
    step(0, Filter.LOAD_WORD, 0, MESSAGE_PORT_OFFSET);
    step(1, Filter.JUMP_UNLESS_EQUAL, 1, swapped.getUint32(0));
    step(2, Filter.RETURN, 0, 0);
    step(3, Filter.RETURN, 0, 0xffff_ffff);
    const header = nativeBuffer(16);
    const headerView = new DataView(header.buffer);
    headerView.setUint16(0, 4, true);
    headerView.setBigUint64(8, this.#libc.addressOf(program), true);
    this.#libc.setOptionOctets(this.fd, SOL_SOCKET, SocketOption.ATTACH_FILTER, header);
  }

  #failed(what: string, errno: number): NetlinkError {
    this.close();
    return new NetlinkError(what, errno);
  }
}

/** Steps of a classic BPF program (linux/filter.h). */
const Filter = { LOAD_WORD: 0x20, JUMP_UNLESS_EQUAL: 0x15, RETURN: 0x06 } as const;
const FILTER_STEP_LENGTH = 8;
/** Offset of the port in a message header. */
const MESSAGE_PORT_OFFSET = 12;

function unavailable(what: string, errno: number): Transacted {
  return { kind: "unavailable", message: new NetlinkError(what, errno).message };
}

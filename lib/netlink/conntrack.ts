/**
 * The conntrack messages of netlink (ctnetlink): listing the kernel's connections, deleting one of them,
 * and what it tells of new and ended ones. Layouts are those of
 * linux/netfilter/nfnetlink_conntrack.h.
 *
 * A connection has two tuples: where its first packet was going, and where a reply comes from. For one
 * that was translated these differ, and only the original one names the fake. A connection is deleted
 * by what identifies it, copied as the kernel wrote it: its original tuple, its zone, and its id, which
 * tells it from most later ones with the same tuple. No message is ever written without a tuple, which
 * would delete all.
 *
 * @module
 */
import { ADDRESS_LENGTH, type Family } from "../address.ts";
import {
  AttributeCursor,
  type MessageCursor,
  MessageFlag,
  type MessageWriter,
} from "./attributes.ts";

/** Message types; the kernel's listing consists of `NEW`. */
export const ConntrackType = { NEW: 0x100, GET: 0x101, DELETE: 0x102, STATISTICS: 0x105 } as const;

/** Multicast groups (enum nfnetlink_groups). */
export const ConntrackGroup = { NEW: 1, UPDATE: 2, DESTROY: 3 } as const;

/** Bits of a connection's status (linux/netfilter/nf_conntrack_common.h). */
export const ConntrackStatus = {
  SEEN_REPLY: 0x02,
  ASSURED: 0x04,
  CONFIRMED: 0x08,
  SOURCE_NAT: 0x10,
  DESTINATION_NAT: 0x20,
} as const;

/** Address families of Linux. */
const ADDRESS_FAMILY: Readonly<Record<Family, number>> = { 4: 2, 6: 10 };

const Connection = { ORIGINAL: 1, REPLY: 2, STATUS: 3, ID: 12, ZONE: 18, STATUS_MASK: 26 } as const;
const TupleAttribute = { ADDRESSES: 1, PROTOCOL: 2, ZONE: 3 } as const;
const AddressAttribute = {
  4: { source: 1, destination: 2 },
  6: { source: 3, destination: 4 },
} as const;
const ProtocolAttribute = { NUMBER: 1, SOURCE_PORT: 2, DESTINATION_PORT: 3 } as const;

/** One direction of a connection. */
export interface Tuple {
  readonly source: Uint8Array;
  readonly destination: Uint8Array;
  /** IP protocol number. */
  readonly protocol: number;
  /** 0 for protocols without ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/**
 * Asks for all connections of an IP version.
 *
 * @param status only those with all of these bits, where the kernel can choose (from Linux 5.15);
 *   older ones list all, so whoever asks looks at the status too
 */
export function writeListConnections(
  writer: MessageWriter,
  family: Family,
  sequence: number,
  status = 0,
): void {
  const flags = MessageFlag.REQUEST | MessageFlag.DUMP;
  writer.begin(ConntrackType.GET, flags, sequence, ADDRESS_FAMILY[family]);
  if (status !== 0) {
    writer.uint32(Connection.STATUS, status);
    writer.uint32(Connection.STATUS_MASK, status);
  }
  writer.end();
}

/** Asks how many connections there are: a question that costs nothing, of whether conntrack answers. */
export function writeCountConnections(writer: MessageWriter, sequence: number): void {
  const flags = MessageFlag.REQUEST | MessageFlag.ACK;
  writer.begin(ConntrackType.STATISTICS, flags, sequence, 0);
  writer.end();
}

/**
 * Deletes one connection; the acknowledgement has error number 2 where it has ended already.
 *
 * @param identity what `ConnectionView.identity` returned
 * @throws {RangeError} where the identity is empty
 */
export function writeDeleteConnection(
  writer: MessageWriter,
  family: Family,
  identity: Uint8Array,
  sequence: number,
): void {
  if (identity.length === 0) throw new RangeError("Cannot delete a connection without its tuple");
  const flags = MessageFlag.REQUEST | MessageFlag.ACK;
  writer.begin(ConntrackType.DELETE, flags, sequence, ADDRESS_FAMILY[family]);
  writer.copy(identity);
  writer.end();
}

/** What a message says of one connection, read where it lies. */
export class ConnectionView {
  family: Family = 4;
  view = new DataView(new ArrayBuffer(0));
  status = 0;
  zone = 0;
  /** Tells most connections with the same tuple apart; the kernel makes it from where it keeps them. */
  id = 0;
  /** Where the original destination lies in `view`: a fake, or what was never translated. */
  destinationStart = 0;
  readonly #attributes = new AttributeCursor();
  readonly #tuple = new AttributeCursor();
  readonly #part = new AttributeCursor();
  /** Where the attributes of the connection lie that others are read from on demand. */
  #original = NOWHERE;
  #reply = NOWHERE;
  #zone = NOWHERE;
  #id = NOWHERE;

  /** Reads a message of type `NEW` or `DELETE`; false where it does not describe a connection. */
  read(message: MessageCursor): boolean {
    this.view = message.view;
    this.family = message.family === ADDRESS_FAMILY[6] ? 6 : 4;
    this.status = this.zone = this.id = 0;
    this.#original =
      this.#reply =
      this.#zone =
      this.#id =
        NOWHERE;
    if (message.family !== ADDRESS_FAMILY[this.family]) return false;
    const attributes = this.#attributes.of(message);
    while (attributes.next()) {
      const { start, end, header } = attributes;
      switch (attributes.type) {
        case Connection.ORIGINAL:
          this.#original = { header, start, end };
          break;
        case Connection.REPLY:
          this.#reply = { header, start, end };
          break;
        case Connection.STATUS:
          this.status = attributes.uint();
          break;
        case Connection.ID:
          this.#id = { header, start, end };
          this.id = attributes.uint();
          break;
        case Connection.ZONE:
          this.#zone = { header, start, end };
          this.zone = attributes.uint();
      }
    }
    return !attributes.isDamaged && this.#findDestination();
  }

  /** The direction of the first packet. */
  original(): Tuple {
    return this.#read(this.#original);
  }

  /** The direction of the replies. */
  reply(): Tuple {
    return this.#read(this.#reply);
  }

  /** What identifies the connection, for `writeDeleteConnection`. */
  identity(): Uint8Array<ArrayBuffer> {
    const parts = [this.#original, this.#zone, this.#id].filter((part) => part !== NOWHERE);
    const identity = new Uint8Array(parts.reduce((sum, part) => sum + paddedLength(part), 0));
    let at = 0;
    for (const part of parts) {
      const { buffer, byteOffset } = this.view;
      identity.set(new Uint8Array(buffer, byteOffset + part.header, part.end - part.header), at);
      at += paddedLength(part);
    }
    return identity;
  }

  #findDestination(): boolean {
    const { start, end } = this.#original;
    const wanted = AddressAttribute[this.family].destination;
    const tuple = this.#tuple.reset(this.view, start, end);
    while (tuple.next()) {
      if (tuple.type !== TupleAttribute.ADDRESSES) continue;
      const address = this.#part.reset(this.view, tuple.start, tuple.end);
      while (address.next()) {
        if (address.type !== wanted || address.length !== ADDRESS_LENGTH[this.family]) continue;
        this.destinationStart = address.start;
        return true;
      }
    }
    return false;
  }

  #read({ start, end }: Place): Tuple {
    const { source, destination } = AddressAttribute[this.family];
    const read = { ...NO_TUPLE };
    const tuple = this.#tuple.reset(this.view, start, end);
    while (tuple.next()) {
      const part = this.#part.reset(this.view, tuple.start, tuple.end);
      while (part.next()) {
        if (tuple.type === TupleAttribute.ADDRESSES) {
          if (part.type === source) read.source = part.octets();
          else if (part.type === destination) read.destination = part.octets();
        } else if (tuple.type === TupleAttribute.PROTOCOL) {
          if (part.type === ProtocolAttribute.NUMBER) read.protocol = part.uint();
          else if (part.type === ProtocolAttribute.SOURCE_PORT) read.sourcePort = part.uint();
          else if (part.type === ProtocolAttribute.DESTINATION_PORT) {
            read.destinationPort = part.uint();
          }
        }
      }
    }
    return read;
  }
}

/** Where an attribute lies. */
interface Place {
  readonly header: number;
  readonly start: number;
  readonly end: number;
}

const NOWHERE: Place = { header: 0, start: 0, end: 0 };

const NO_TUPLE = {
  source: new Uint8Array(),
  destination: new Uint8Array(),
  protocol: 0,
  sourcePort: 0,
  destinationPort: 0,
};

function paddedLength({ header, end }: Place): number {
  return (end - header + 3) & ~3;
}

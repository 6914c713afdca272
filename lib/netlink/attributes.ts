/**
 * Netlink messages and their attributes: a writer for what is sent, cursors for what is received.
 *
 * A message is a header of 16 octets, a fixed part that depends on its type, and attributes; each
 * begins at a multiple of four (netlink(7)). Headers are in the byte order of the machine, which is
 * little-endian wherever dotp talks netlink, and what nftables and conntrack put into attributes is in
 * network order. Cursors check every length before they move, so the offsets that they show can be read;
 * one that meets a damaged length stops and says so. Nothing here sends or receives.
 *
 * @module
 */

/** Offsets in a message header, and its length (linux/netlink.h, struct nlmsghdr). */
const Header = { LENGTH: 0, TYPE: 4, FLAGS: 6, SEQUENCE: 8, PORT: 12, SIZE: 16 } as const;

/** Offsets in the fixed part of a netfilter message, and its length (linux/netfilter/nfnetlink.h). */
const Netfilter = { FAMILY: 0, VERSION: 1, RESOURCE: 2, SIZE: 4 } as const;

/** Offsets in an attribute header, and its length (struct nlattr). */
const Attribute = { LENGTH: 0, TYPE: 2, SIZE: 4 } as const;

/** In place of an offset: there is none. */
const NONE = -1;

/** The bits of an attribute's type that are its number; the others say what its value is. */
const ATTRIBUTE_TYPE_MASK = 0x3fff;
const ATTRIBUTE_NESTED = 0x8000;
/** The most that an attribute may hold, header included: its length has 16 bits. */
export const ATTRIBUTE_LENGTH_MAX = 0xffff;

/** Message types of every netlink family. */
export const Control = { NOOP: 1, ERROR: 2, DONE: 3, OVERRUN: 4 } as const;

/** Flags of a message. */
export const MessageFlag = {
  REQUEST: 0x1,
  MULTI: 0x2,
  ACK: 0x4,
  /** Of a dump: something changed meanwhile, so it may be incomplete or hold an entry twice. */
  DUMP_INTERRUPTED: 0x10,
  DUMP: 0x300,
  CREATE: 0x400,
  /** Of an error: the refused message is not repeated behind its header. */
  CAPPED: 0x100,
  /** Of an error: attributes follow. */
  EXTENDED: 0x200,
} as const;

/** Attributes of an error (enum nlmsgerr_attrs). */
const ErrorAttribute = { MESSAGE: 1, OFFSET: 2 } as const;

/** Octets of the error number before the refused message. */
const ERROR_NUMBER_LENGTH = 4;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function aligned(length: number): number {
  return (length + 3) & ~3;
}

/** Writes messages one behind the other into a buffer that is allocated once. */
export class MessageWriter {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #view: DataView<ArrayBuffer>;
  #length = 0;
  #message = 0;

  /** @param capacity octets; what does not fit is a RangeError */
  constructor(capacity: number) {
    this.bytes = new Uint8Array(new ArrayBuffer(capacity));
    this.#view = new DataView(this.bytes.buffer);
  }

  /** Octets written. */
  get length(): number {
    return this.#length;
  }

  /** Octets that are left. */
  get room(): number {
    return this.bytes.length - this.#length;
  }

  /** Begins anew, at the start of the buffer. */
  clear(): void {
    this.#length = 0;
  }

  /** Begins a netfilter message; `end` completes it. */
  begin(type: number, flags: number, sequence: number, family: number, resource = 0): void {
    const at = this.#take(Header.SIZE + Netfilter.SIZE);
    this.#message = at;
    this.#view.setUint16(at + Header.TYPE, type, true);
    this.#view.setUint16(at + Header.FLAGS, flags, true);
    this.#view.setUint32(at + Header.SEQUENCE, sequence, true);
    this.#view.setUint8(at + Header.SIZE + Netfilter.FAMILY, family);
    this.#view.setUint16(at + Header.SIZE + Netfilter.RESOURCE, resource);
  }

  /** Completes the message that was begun last. */
  end(): void {
    this.#view.setUint32(this.#message + Header.LENGTH, this.#length - this.#message, true);
  }

  /** Asks for the acknowledgement of the message that was begun last. */
  acknowledge(): void {
    const at = this.#message + Header.FLAGS;
    this.#view.setUint16(at, this.#view.getUint16(at, true) | MessageFlag.ACK, true);
  }

  /** Begins an attribute that holds attributes; returns what `close` is to be given. */
  open(type: number): number {
    return this.#attribute(type | ATTRIBUTE_NESTED, 0) - Attribute.SIZE;
  }

  /**
   * Completes an attribute that holds attributes.
   *
   * @throws {RangeError} where it has become longer than an attribute can be
   */
  close(at: number): void {
    const length = this.#length - at;
    if (length > ATTRIBUTE_LENGTH_MAX) {
      throw new RangeError(`Cannot write an attribute of ${length} octets`);
    }
    this.#view.setUint16(at + Attribute.LENGTH, length, true);
  }

  /** An attribute of octets as they are. */
  octets(type: number, octets: Uint8Array): void {
    const at = this.#attribute(type, octets.length);
    this.bytes.set(octets, at);
  }

  /** Attributes that are written already, as they were received. */
  copy(attributes: Uint8Array): void {
    const at = this.#take(aligned(attributes.length));
    this.bytes.set(attributes, at);
  }

  /** A text that ends with a zero octet. */
  text(type: number, text: string): void {
    const octets = encoder.encode(text);
    const at = this.#attribute(type, octets.length + 1);
    this.bytes.set(octets, at);
  }

  /** 32 bits in network order. */
  uint32(type: number, value: number): void {
    const at = this.#attribute(type, 4);
    this.#view.setUint32(at, value);
  }

  /** 64 bits in network order; exact up to 2^53. */
  uint64(type: number, value: number): void {
    const at = this.#attribute(type, 8);
    this.#view.setUint32(at, value / 0x1_0000_0000);
    this.#view.setUint32(at + 4, value >>> 0);
  }

  /** Takes room for an attribute; returns where its value begins. */
  #attribute(type: number, length: number): number {
    const at = this.#take(aligned(Attribute.SIZE + length));
    this.#view.setUint16(at + Attribute.LENGTH, Attribute.SIZE + length, true);
    this.#view.setUint16(at + Attribute.TYPE, type, true);
    return at + Attribute.SIZE;
  }

  /** Takes zeroed room: the buffer may hold an older message, and padding is sent too. */
  #take(length: number): number {
    const at = this.#length;
    if (at + length > this.bytes.length) {
      throw new RangeError(`Cannot write ${length} octets: ${this.room} are left`);
    }
    this.bytes.fill(0, at, at + length);
    this.#length = at + length;
    return at;
  }
}

/** Goes through what begins with its length and is padded: the messages of a datagram, or attributes. */
abstract class Cursor {
  view = new DataView(new ArrayBuffer(0));
  /** Where what it is at ends. */
  end = 0;
  /** Whether it stopped before the end, as a length is wrong. */
  isDamaged = false;
  #next = 0;
  #limit = 0;

  /** Begins with the octets from `start` to `end`. */
  reset(view: DataView<ArrayBuffer>, start: number, end: number): this {
    this.view = view;
    this.#next = start;
    this.#limit = end;
    this.isDamaged = false;
    return this;
  }

  /** Moves on; returns where the header of the next begins, and NONE if there is none. */
  protected advance(headerLength: number): number {
    const start = this.#next;
    const left = this.#limit - start;
    if (left <= 0) return NONE;
    const length = left < headerLength ? 0 : this.lengthAt(start);
    if (length < headerLength || length > left) {
      this.isDamaged = true;
      return NONE;
    }
    this.end = start + length;
    this.#next = start + aligned(length);
    return start;
  }

  /** The length that the header here tells, of itself and what is behind it. */
  protected abstract lengthAt(start: number): number;
}

/** Goes through the messages of a datagram. */
export class MessageCursor extends Cursor {
  /** Where the message begins, and where its fixed part does. */
  start = 0;
  body = 0;

  /** Moves to the next message; false where there is none. */
  next(): boolean {
    const start = this.advance(Header.SIZE);
    if (start === NONE) return false;
    this.start = start;
    this.body = start + Header.SIZE;
    return true;
  }

  protected override lengthAt(start: number): number {
    return this.view.getUint32(start + Header.LENGTH, true);
  }

  get type(): number {
    return this.view.getUint16(this.start + Header.TYPE, true);
  }

  get flags(): number {
    return this.view.getUint16(this.start + Header.FLAGS, true);
  }

  get sequence(): number {
    return this.view.getUint32(this.start + Header.SEQUENCE, true);
  }

  /** The netlink address of who asked for the message, or made the change that it tells of. */
  get port(): number {
    return this.view.getUint32(this.start + Header.PORT, true);
  }

  /** The address family of a netfilter message. */
  get family(): number {
    return this.body < this.end ? this.view.getUint8(this.body + Netfilter.FAMILY) : 0;
  }

  /** Where the attributes of a netfilter message begin. */
  get attributes(): number {
    return Math.min(this.body + Netfilter.SIZE, this.end);
  }
}

/** Goes through the attributes of a message or of an attribute. */
export class AttributeCursor extends Cursor {
  /** The number of the attribute, and where its value begins. */
  type = 0;
  start = 0;

  /** Begins with the attributes of a netfilter message. */
  of(message: MessageCursor): this {
    return this.reset(message.view, message.attributes, message.end);
  }

  /** Moves to the next attribute; false where there is none. */
  next(): boolean {
    const start = this.advance(Attribute.SIZE);
    if (start === NONE) return false;
    this.type = this.view.getUint16(start + Attribute.TYPE, true) & ATTRIBUTE_TYPE_MASK;
    this.start = start + Attribute.SIZE;
    return true;
  }

  protected override lengthAt(start: number): number {
    return this.view.getUint16(start + Attribute.LENGTH, true);
  }

  /** Where the attribute itself begins. */
  get header(): number {
    return this.start - Attribute.SIZE;
  }

  /** Octets of the value. */
  get length(): number {
    return this.end - this.start;
  }

  /** A copy of the value. */
  octets(): Uint8Array<ArrayBuffer> {
    return copyOf(this.view, this.start, this.end);
  }

  /** A copy of the attribute with its header. */
  whole(): Uint8Array<ArrayBuffer> {
    return copyOf(this.view, this.header, this.end);
  }

  /** The value as text, up to its first zero octet. */
  text(): string {
    const octets = new Uint8Array(this.view.buffer, this.view.byteOffset + this.start, this.length);
    const zero = octets.indexOf(0);
    return decoder.decode(zero < 0 ? octets : octets.subarray(0, zero));
  }

  /** The value as an unsigned integer in network order, up to 2^53; NaN where it has another length. */
  uint(): number {
    switch (this.length) {
      case 1:
        return this.view.getUint8(this.start);
      case 2:
        return this.view.getUint16(this.start);
      case 4:
        return this.view.getUint32(this.start);
      case 8:
        return this.view.getUint32(this.start) * 0x1_0000_0000 +
          this.view.getUint32(this.start + 4);
      default:
        return NaN;
    }
  }
}

/** What the kernel says of one message: done where `errno` is 0. */
export interface Acknowledgement {
  readonly sequence: number;
  readonly errno: number;
  /** Where in the message the attribute lies that it did not like; undefined where it does not say. */
  readonly offset: number | undefined;
  /** The kernel's own words; empty where it has none. */
  readonly message: string;
}

/** Reads an acknowledgement or the end of a dump; undefined where the message is neither. */
export function readAcknowledgement(message: MessageCursor): Acknowledgement | undefined {
  const { view, body, end, type, sequence } = message;
  if (type !== Control.ERROR && type !== Control.DONE) return undefined;
  if (end - body < ERROR_NUMBER_LENGTH) return undefined;
  const errno = -view.getInt32(body, true);
  let offset: number | undefined;
  let text = "";
  if ((message.flags & MessageFlag.EXTENDED) !== 0) {
    const attributes = new AttributeCursor().reset(view, extensionsOf(message), end);
    while (attributes.next()) {
      if (attributes.type === ErrorAttribute.MESSAGE) text = attributes.text();
      else if (attributes.type === ErrorAttribute.OFFSET && attributes.length === 4) {
        offset = view.getUint32(attributes.start, true);
      }
    }
  }
  return { sequence, errno, offset, message: text };
}

/** Where the attributes of an acknowledgement begin: behind what it repeats of the message. */
function extensionsOf(message: MessageCursor): number {
  const { view, body, end } = message;
  const repeated = body + ERROR_NUMBER_LENGTH;
  if (message.type === Control.DONE) return repeated;
  if (end - repeated < Header.SIZE) return end;
  const isCapped = (message.flags & MessageFlag.CAPPED) !== 0;
  const length = isCapped ? Header.SIZE : view.getUint32(repeated + Header.LENGTH, true);
  return Math.min(repeated + aligned(length), end);
}

function copyOf(view: DataView<ArrayBuffer>, start: number, end: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(view.buffer, view.byteOffset + start, end - start).slice();
}

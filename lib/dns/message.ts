/**
 * A checked view over one DNS message (RFC 1035 section 4.1): an index of its records by offset, and
 * setters for what cannot change the index.
 *
 * `index()` makes one bounded forward pass. It never trusts a count to reserve memory, steps over
 * names without following them, and stops at the first octet that does not fit. After it the
 * accessors of records `0` to `count - 1` check nothing and cannot fail; after a pass that returned
 * false, these are the records before the damage. What follows the last counted record is not looked
 * at. Setters exist only for what cannot make an offset wrong: addresses, TTLs, flags and the id may
 * change, and the last record may go. One object serves all messages, one after the other.
 *
 * @module
 */
import {
  CLASS_IN,
  Fixed,
  MESSAGE_LENGTH_MAX,
  Offset,
  OPCODE_MASK,
  OPCODE_SHIFT,
  QUESTION_FIXED_LENGTH,
  RCODE_MASK,
  RECORDS_MAX,
  TTL_MAX,
  Type,
} from "./constants.ts";
import { INVALID, skipName } from "./name.ts";

/** A view of bytes that no message has been read from yet. */
const NO_VIEW = new DataView(new ArrayBuffer(Offset.QUESTION));

/** One message where it lies in a buffer. */
export class Message {
  /** The buffer the message lies in, from its first octet on. */
  view: DataView = NO_VIEW;
  /** Octets of the message. */
  length = 0;
  /** Records that were indexed, all sections together. */
  count = 0;
  /** Octets up to the end of the question section. */
  questionEnd = 0;
  readonly #owners = new Int32Array(RECORDS_MAX);
  readonly #fixed = new Int32Array(RECORDS_MAX);

  /**
   * Reads a message of one question; true where all its records are whole.
   *
   * @param view a buffer with the message at its start
   * @param length octets of the message
   */
  index(view: DataView, length: number): boolean {
    this.view = view;
    this.length = Math.min(length, MESSAGE_LENGTH_MAX);
    this.count = 0;
    this.questionEnd = 0;
    if (length < Offset.QUESTION || view.getUint16(Offset.QDCOUNT) !== 1) return false;
    this.questionEnd = questionEnd(view, this.length);
    if (this.questionEnd === INVALID) return false;
    const records = this.answers + this.authorities + this.additionals;
    let position = this.questionEnd;
    while (this.count < records) {
      const fixed = skipName(view, this.length, position);
      if (fixed === INVALID || fixed + Fixed.RDATA > this.length) return false;
      const end = fixed + Fixed.RDATA + view.getUint16(fixed + Fixed.RDLENGTH);
      if (end > this.length) return false;
      this.#owners[this.count] = position;
      this.#fixed[this.count] = fixed;
      this.count++;
      position = end;
    }
    return true;
  }

  /** The flags word; `Flag` has its bits. */
  get flags(): number {
    return this.view.getUint16(Offset.FLAGS);
  }

  /** The response code in the header, without OPT's upper half. */
  get rcode(): number {
    return this.flags & RCODE_MASK;
  }

  /** What the header claims of the answer section; so with the two below. */
  get answers(): number {
    return this.view.getUint16(Offset.ANCOUNT);
  }

  get authorities(): number {
    return this.view.getUint16(Offset.NSCOUNT);
  }

  get additionals(): number {
    return this.view.getUint16(Offset.ARCOUNT);
  }

  /** Where the owner name of record `i` starts. */
  ownerOffset(i: number): number {
    return this.#owners[i]!;
  }

  /** The type of record `i`. */
  type(i: number): number {
    return this.view.getUint16(this.#fixed[i]! + Fixed.TYPE);
  }

  /** Whether record `i` is of the Internet class. */
  isInternet(i: number): boolean {
    return this.view.getUint16(this.#fixed[i]! + Fixed.CLASS) === CLASS_IN;
  }

  /** The class field of record `i`; OPT keeps a size in it (RFC 6891 section 6.1.2). */
  classField(i: number): number {
    return this.view.getUint16(this.#fixed[i]! + Fixed.CLASS);
  }

  /** The TTL field of record `i` as it stands; OPT keeps flags in it (RFC 6891 section 6.1.3). */
  ttlField(i: number): number {
    return this.view.getUint32(this.#fixed[i]! + Fixed.TTL);
  }

  /** Where the RDATA of record `i` starts. */
  rdataOffset(i: number): number {
    return this.#fixed[i]! + Fixed.RDATA;
  }

  /** Octets of the RDATA of record `i`. */
  rdataLength(i: number): number {
    return this.view.getUint16(this.#fixed[i]! + Fixed.RDLENGTH);
  }

  /** Where record `i` ends. */
  recordEnd(i: number): number {
    return this.rdataOffset(i) + this.rdataLength(i);
  }

  /** Where the last record ends, or the question where there is none. */
  get end(): number {
    return this.count === 0 ? this.questionEnd : this.recordEnd(this.count - 1);
  }

  /** Takes the last record away, which is one of the additional section, and what is behind it. */
  dropLast(): void {
    this.view.setUint16(Offset.ARCOUNT, this.additionals - 1);
    this.count--;
    this.length = this.end;
  }

  /** Lowers the TTL of record `i` to `ttlMax` seconds; a TTL with its top bit set becomes 0. */
  capTtl(i: number, ttlMax: number): void {
    const ttl = this.ttlField(i);
    const counted = ttl > TTL_MAX ? 0 : ttl;
    this.view.setUint32(this.#fixed[i]! + Fixed.TTL, Math.min(counted, ttlMax));
  }

  /** Clears bits of the flags word. */
  clearFlags(mask: number): void {
    this.view.setUint16(Offset.FLAGS, this.flags & ~mask);
  }

  /** The record that is the message's one OPT, `NO_OPT` without one, `MANY_OPT` with several. */
  findOpt(): number {
    let found = NO_OPT;
    for (let i = this.count - 1; i >= this.answers + this.authorities; i--) {
      if (this.type(i) !== Type.OPT) continue;
      if (found !== NO_OPT) return MANY_OPT;
      found = i;
    }
    return found;
  }
}

/** What `findOpt` returns where there is none. */
export const NO_OPT = -1;
/** What `findOpt` returns where a message breaks the rule of one OPT (RFC 6891 section 6.1.1). */
export const MANY_OPT = -2;

/** The opcode within a flags word. */
export function opcodeOf(flags: number): number {
  return (flags & OPCODE_MASK) >>> OPCODE_SHIFT;
}

/**
 * The offset behind a question section of one entry, or `INVALID`. Its name has nothing before it to
 * point at, so `skipName` takes it only as a plain run of labels.
 */
export function questionEnd(view: DataView, length: number): number {
  const nameEnd = skipName(view, length, Offset.QUESTION);
  if (nameEnd === INVALID || nameEnd + QUESTION_FIXED_LENGTH > length) return INVALID;
  return nameEnd + QUESTION_FIXED_LENGTH;
}

/**
 * Which fake for a real: the prefix as a ring of offsets, entered at a keyed hash of the real address
 * and walked in steps that come from the same hash.
 *
 * The size of the ring is a power of two and the step odd, so a walk meets every offset once before
 * it meets one again. With one key a real has the same walk on every run and on every gateway, so it
 * gets the same fake after expiry, after a restart and from a twin, unless that is taken. The pool
 * keeps no state: `table.ts` knows what is taken.
 *
 * Never given are the first and the last address of an IPv4 prefix (network and broadcast, RFC 919
 * section 7) and the first of an IPv6 one (Subnet-Router anycast, RFC 4291 section 2.6.1).
 *
 * @module
 */
import type { Prefix } from "../address.ts";
import { readWords, type Width, WORD_LENGTH } from "./rows.ts";
import { SipHash } from "../util/siphash.ts";

const WORD_BITS = WORD_LENGTH * 8;
/**
 * Offsets are taken from the low 64 bits of an IPv6 address at the most: an interface identifier
 * (RFC 4291 section 2.5.1). A longer one would not make a clash less likely than never.
 */
const OFFSET_BITS_MAX = 64;

/** The fakes of one prefix. */
export class Pool {
  readonly prefix: Prefix;
  readonly width: Width;
  /** How many fakes can be given. */
  readonly capacity: number;
  readonly #base: Uint32Array;
  /** Bits of each word that are the prefix's. */
  readonly #prefixMasks: Uint32Array;
  /** Bits of an offset that lie in the last word and in the one before it. */
  readonly #lowMask: number;
  readonly #highMask: number;

  readonly #hash: SipHash;
  readonly #message: Uint8Array;
  readonly #messageView: DataView;

  /**
   * @param prefix with no host bits set; at most /30 for IPv4, /64 for IPv6
   * @param key of the hash, 16 octets
   */
  constructor(prefix: Prefix, key: Uint8Array) {
    this.prefix = prefix;
    this.width = prefix.family === 4 ? 1 : 4;
    this.#base = wordsOf(prefix.bytes);
    this.#prefixMasks = this.#base.map((_, i) => ~maskOf((i + 1) * WORD_BITS - prefix.length));
    this.#hash = new SipHash(key);
    this.#message = new Uint8Array(prefix.bytes.length);
    this.#messageView = new DataView(this.#message.buffer);
    const bits = offsetBits(prefix);
    this.capacity = capacityOf(prefix);
    this.#lowMask = maskOf(bits);
    this.#highMask = maskOf(bits - WORD_BITS);
  }

  /** Whether an address, given as words, lies in the prefix. */
  contains(address: Uint32Array): boolean {
    for (let i = 0; i < this.width; i++) {
      if (((address[i]! ^ this.#base[i]!) & this.#prefixMasks[i]!) !== 0) return false;
    }
    return true;
  }

  /** Whether an address that lies in the prefix is one that may be given. */
  isUsable(address: Uint32Array): boolean {
    const last = this.width - 1;
    const low = (address[last]! & this.#lowMask) >>> 0;
    if (this.width === 1) return low !== 0 && low !== this.#lowMask;
    const high = (address[last - 1]! & this.#highMask) >>> 0;
    return low !== 0 || high !== 0 || !this.#isBaseAbove(address);
  }

  /**
   * The first fake on the walk of `real` that is usable and not taken, into `fake`. There must be one.
   *
   * @param real words of the real address
   * @param fake where the words go
   * @param isTaken whether an address on the walk is out of the question
   */
  choose(real: Uint32Array, fake: Uint32Array, isTaken: (fake: Uint32Array) => boolean): void {
    const last = this.width - 1;
    for (let i = 0; i <= last; i++) this.#messageView.setUint32(i * WORD_LENGTH, real[i]!);
    this.#hash.hash(this.#message);
    const step = this.#hash.high | 1;
    let low = this.#hash.low;
    for (let i = 0; i <= last; i++) fake[i] = this.#base[i]!;
    if (this.width === 4) fake[last - 1]! |= this.#hash.high & this.#highMask;
    for (;; low = (low + step) | 0) {
      fake[last] = this.#base[last]! | (low & this.#lowMask);
      if (this.isUsable(fake) && !isTaken(fake)) return;
    }
  }

  #isBaseAbove(address: Uint32Array): boolean {
    return address[0] === this.#base[0] && address[1] === this.#base[1];
  }
}

/** How many fakes a prefix can give. */
export function capacityOf(prefix: Prefix): number {
  return 2 ** offsetBits(prefix) - (prefix.family === 4 ? 2 : 1);
}

function offsetBits({ bytes, length }: Prefix): number {
  return Math.min(bytes.length * 8 - length, OFFSET_BITS_MAX);
}

/** An address as words in network order. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  const words = new Uint32Array(bytes.length / WORD_LENGTH);
  readWords(bytes, words);
  return words;
}

/** A word with its lowest `bits` set, none where `bits` is not positive. */
function maskOf(bits: number): number {
  if (bits >= WORD_BITS) return 0xffffffff;
  return bits <= 0 ? 0 : (2 ** bits - 1);
}

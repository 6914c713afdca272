/**
 * A keyed hash of a label and of where it hangs: simple tabulation (Patrascu and Thorup, "The power of
 * simple tabulation hashing", 2012). Each octet picks a random word from the table of its position,
 * and the hash is the exclusive or of these words.
 *
 * The tables come from a key by SipHash, so whoever writes a list of names, or asks for some, cannot
 * make labels collide without it. Upper and lower case pick the same word (RFC 4343 section 3). A
 * lookup costs one load for each octet.
 *
 * @module
 */
import { LABEL_LENGTH_MAX } from "../dns/constants.ts";
import { lowerCase } from "../dns/name.ts";
import { KEY_LENGTH, SipHash } from "../util/siphash.ts";

export { KEY_LENGTH };

/** Values of an octet, and so words of a table. */
const OCTETS = 256;
/** Octets of the number that says where a label hangs. */
const PARENT_LENGTH = 4;

/** Hashes under one key. */
export class LabelHash {
  /** The tables one after the other: for each octet of the parent, then for each of the label. */
  readonly #words: Int32Array = new Int32Array((PARENT_LENGTH + LABEL_LENGTH_MAX) * OCTETS);

  /** @param key `KEY_LENGTH` octets that nobody else knows */
  constructor(key: Uint8Array) {
    const hash = new SipHash(key);
    const counter = new Int32Array(1);
    for (let i = 0; i < this.#words.length; i += 2) {
      counter[0] = i;
      hash.hash(new Uint8Array(counter.buffer));
      this.#words[i] = hash.low;
      this.#words[i + 1] = hash.high;
    }
    for (let i = PARENT_LENGTH * OCTETS; i < this.#words.length; i++) {
      const octet = i % OCTETS;
      this.#words[i] = this.#words[i - octet + lowerCase(octet)]!;
    }
  }

  /**
   * The hash of a label, a 32-bit number.
   *
   * @param parent what it hangs from
   * @param at offset of its length octet
   */
  of(parent: number, view: DataView, at: number): number {
    const words = this.#words;
    let hash = words[parent & 0xff]! ^ words[OCTETS + (parent >>> 8 & 0xff)]! ^
      words[2 * OCTETS + (parent >>> 16 & 0xff)]! ^ words[3 * OCTETS + (parent >>> 24)]!;
    const length = view.getUint8(at);
    let table = PARENT_LENGTH * OCTETS;
    for (let i = at + 1; i <= at + length; i++) {
      hash ^= words[table + view.getUint8(i)]!;
      table += OCTETS;
    }
    return hash;
  }
}

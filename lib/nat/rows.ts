/**
 * Addresses in rows of 32-bit words, and a hash index that finds the row of an address.
 *
 * An IPv4 address is one word, an IPv6 address four. A lookup compares numbers only and makes no
 * object. The index is open addressing with linear probing, at most half full; deletion moves what
 * follows back, so there are no tombstones and a long-lived index does not slow down.
 *
 * @module
 */
import { NONE } from "../util/age_queue.ts";

/** Words of an address: 1 for IPv4, 4 for IPv6. */
export type Width = 1 | 4;

/** Octets of a word. */
export const WORD_LENGTH = 4;

/**
 * Octets in network order as words, into `to`. By shifts, as a `DataView` on a few octets makes the
 * runtime give them a buffer of their own, which costs more than everything else that is done with them.
 */
export function readWords(bytes: Uint8Array, to: Uint32Array): void {
  for (let i = 0; i < to.length; i++) {
    const at = i * WORD_LENGTH;
    to[i] = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  }
}

/** Addresses of one width by row number. */
export class Rows {
  readonly width: Width;
  words: Uint32Array = new Uint32Array(64);

  constructor(width: Width) {
    this.width = width;
  }

  /** Writes an address of `width` words into a row. */
  set(row: number, address: Uint32Array): void {
    const at = row * this.width;
    if (at + this.width > this.words.length) {
      const larger = new Uint32Array(Math.max(at + this.width, this.words.length * 2));
      larger.set(this.words);
      this.words = larger;
    }
    for (let i = 0; i < this.width; i++) this.words[at + i] = address[i]!;
  }

  /** Copies a row into `to`. */
  get(row: number, to: Uint32Array): void {
    const at = row * this.width;
    for (let i = 0; i < this.width; i++) to[i] = this.words[at + i]!;
  }

  /** Whether a row holds this address. */
  equals(row: number, address: Uint32Array): boolean {
    const at = row * this.width;
    for (let i = 0; i < this.width; i++) {
      if (this.words[at + i] !== address[i]) return false;
    }
    return true;
  }

  /** A row as bytes in network order. */
  toBytes(row: number): Uint8Array {
    const bytes = new Uint8Array(this.width * WORD_LENGTH);
    const at = row * this.width;
    for (let i = 0; i < this.width; i++) {
      const word = this.words[at + i]!;
      bytes[i * WORD_LENGTH] = word >>> 24;
      bytes[i * WORD_LENGTH + 1] = word >>> 16;
      bytes[i * WORD_LENGTH + 2] = word >>> 8;
      bytes[i * WORD_LENGTH + 3] = word;
    }
    return bytes;
  }
}

/** Which row holds an address; each address is in at most one row. */
export class RowIndex {
  readonly #rows: Rows;
  readonly #key: number;
  #cells = new Int32Array(64).fill(NONE);
  #used = 0;
  readonly #scratch = new Uint32Array(4);

  /**
   * @param rows the addresses
   * @param key for the hash, so that nobody outside can choose addresses that collide
   */
  constructor(rows: Rows, key: number) {
    this.#rows = rows;
    this.#key = key;
  }

  /** The row of an address, or `NONE`. */
  find(address: Uint32Array): number {
    const mask = this.#cells.length - 1;
    for (let cell = this.#home(address) & mask;; cell = (cell + 1) & mask) {
      const row = this.#cells[cell]!;
      if (row === NONE || this.#rows.equals(row, address)) return row;
    }
  }

  /** Enters a row whose address is not in the index. */
  add(row: number): void {
    if ((this.#used + 1) * 2 > this.#cells.length) this.#grow();
    this.#place(row);
    this.#used++;
  }

  /** Takes a row out that is in the index; its address must still be there. */
  remove(row: number): void {
    const mask = this.#cells.length - 1;
    this.#rows.get(row, this.#scratch);
    let hole = this.#home(this.#scratch) & mask;
    while (this.#cells[hole] !== row) hole = (hole + 1) & mask;
    for (let cell = (hole + 1) & mask; this.#cells[cell] !== NONE; cell = (cell + 1) & mask) {
      const moved = this.#cells[cell]!;
      this.#rows.get(moved, this.#scratch);
      const home = this.#home(this.#scratch) & mask;
      // It may move back unless its home lies behind the hole.
      if (((cell - home) & mask) < ((cell - hole) & mask)) continue;
      this.#cells[hole] = moved;
      hole = cell;
    }
    this.#cells[hole] = NONE;
    this.#used--;
  }

  #home(address: Uint32Array): number {
    return hashWords(address, this.#rows.width, this.#key);
  }

  #place(row: number): void {
    const mask = this.#cells.length - 1;
    this.#rows.get(row, this.#scratch);
    let cell = this.#home(this.#scratch) & mask;
    while (this.#cells[cell] !== NONE) cell = (cell + 1) & mask;
    this.#cells[cell] = row;
  }

  #grow(): void {
    const rows = this.#cells.filter((row) => row !== NONE);
    this.#cells = new Int32Array(this.#cells.length * 2).fill(NONE);
    for (const row of rows) this.#place(row);
  }
}

/**
 * A keyed hash of the first `width` words, 32 bits, never negative: the mixing steps of MurmurHash3
 * (x86, 32 bits).
 */
export function hashWords(words: Uint32Array, width: Width, key: number): number {
  let hash = key | 0;
  for (let i = 0; i < width; i++) {
    let word = Math.imul(words[i]!, 0xcc9e2d51);
    word = (word << 15) | (word >>> 17);
    hash ^= Math.imul(word, 0x1b873593);
    hash = Math.imul((hash << 13) | (hash >>> 19), 5) + 0xe6546b64;
  }
  hash ^= width * WORD_LENGTH;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

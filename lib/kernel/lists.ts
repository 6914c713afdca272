/**
 * What the kernel lists, in arrays of octets and numbers: a map of a quarter of a million elements is
 * some megabytes here and would be a hundred times as many as objects. A list is written once, while
 * it is read from the kernel, and can then be gone through any number of times.
 *
 * @module
 */
import { ADDRESS_LENGTH, type Family } from "../address.ts";
import type { Pair } from "../nat/changes.ts";

/** Rows that there is room for at first. */
const ROOM = 64;

/** Rows of octets of one length, each with a number. */
class Rows {
  readonly #length: number;
  #octets: Uint8Array<ArrayBuffer>;
  #numbers = new Float64Array(ROOM);
  size = 0;

  constructor(length: number) {
    this.#length = length;
    this.#octets = new Uint8Array(ROOM * length);
  }

  /** A new row to be filled. */
  add(number: number): Uint8Array {
    const row = this.size++;
    if (row === this.#numbers.length) this.#grow();
    this.#numbers[row] = number;
    return this.octets(row);
  }

  octets(row: number): Uint8Array {
    return this.#octets.subarray(row * this.#length, (row + 1) * this.#length);
  }

  number(row: number): number {
    return this.#numbers[row]!;
  }

  #grow(): void {
    const octets = new Uint8Array(this.#octets.length * 2);
    octets.set(this.#octets);
    this.#octets = octets;
    const numbers = new Float64Array(this.#numbers.length * 2);
    numbers.set(this.#numbers);
    this.#numbers = numbers;
  }
}

/** Addresses of one IP version, each with an age in seconds. */
export class AddressList implements Iterable<Uint8Array> {
  readonly #length: number;
  readonly #rows: Rows;

  constructor(family: Family) {
    this.#length = ADDRESS_LENGTH[family];
    this.#rows = new Rows(this.#length);
  }

  /** How many there are. */
  get size(): number {
    return this.#rows.size;
  }

  /** Appends an address, which is copied; one of the other IP version is left out. */
  add(address: Uint8Array, ageS = 0): void {
    if (address.length === this.#length) this.#rows.add(ageS).set(address);
  }

  /** For how many seconds the kernel has had the n-th address, or since when it was noted. */
  ageS(n: number): number {
    return this.#rows.number(n);
  }

  /** The addresses; their octets are those of the list. */
  *[Symbol.iterator](): Generator<Uint8Array> {
    for (let n = 0; n < this.size; n++) yield this.#rows.octets(n);
  }
}

/** Pairs of fake and real of one IP version, each with an age in seconds. */
export class PairList implements Iterable<Pair> {
  readonly #length: number;
  readonly #rows: Rows;

  constructor(family: Family) {
    this.#length = ADDRESS_LENGTH[family];
    this.#rows = new Rows(2 * this.#length);
  }

  /** How many there are. */
  get size(): number {
    return this.#rows.size;
  }

  /** Appends a pair, which is copied; one of the other IP version is left out. */
  add(fake: Uint8Array, real: Uint8Array, ageS = 0): void {
    if (fake.length !== this.#length || real.length !== this.#length) return;
    const row = this.#rows.add(ageS);
    row.set(fake);
    row.set(real, this.#length);
  }

  /** For how many seconds the kernel has had the n-th pair. */
  ageS(n: number): number {
    return this.#rows.number(n);
  }

  /** The n-th pair; its octets are those of the list. */
  pair(n: number): Pair {
    const row = this.#rows.octets(n);
    return { fake: row.subarray(0, this.#length), real: row.subarray(this.#length) };
  }

  /** The pairs; their octets are those of the list. */
  *[Symbol.iterator](): Generator<Pair> {
    for (let n = 0; n < this.size; n++) yield this.pair(n);
  }

  /** The numbers of the pairs, the oldest first; of those as old as another the earlier one. */
  oldestFirst(): Uint32Array {
    const { size } = this;
    // One number for age and place is sorted without calling back, which takes a tenth of the time.
    const keys = Float64Array.from({ length: size }, (_, n) => {
      const ageS = Math.min(Math.floor(this.ageS(n)), AGE_MAX_S);
      return (AGE_MAX_S - ageS) * size + n;
    });
    return Uint32Array.from(keys.sort(), (key) => key % size);
  }
}

/** Ages above this count as equal; so that an age times the pairs that fit into memory is a whole number. */
const AGE_MAX_S = 2 ** 27;

/**
 * The live mappings of one IP version, one-to-one between real and fake.
 *
 * A mapping lives for a fixed time from its last look-up, so the queue of the living is in the order
 * in which they expire. A mapping that has expired leaves the kernel, but its fake rests: it stays
 * bound to its real address, which gets it back when it is asked for again, and only a pool without
 * an unused fake gives the one that rests longest to another real address, never before its rest is
 * over. Time is a parameter, monotonic, in milliseconds. Each change is noted in the log, whose
 * revision tells when a mapping is safe to hand out. `MAPPINGS_MAX` bounds everything.
 *
 * @module
 */
import { AgeQueue, NONE } from "../age_queue.ts";
import { ADDRESS_LENGTH, type Family } from "../address.ts";
import type { ChangeLog } from "./changes.ts";
import { RowIndex, Rows, WORD_LENGTH } from "./index.ts";
import type { Pool } from "./pool.ts";

/** Mappings of one family, living and resting: what a /14 of fakes holds, and about 20 MiB. */
export const MAPPINGS_MAX = 262_144;

/** What `lookUp` returns where the pool has no fake to give. */
export const FULL = -2;

/** What `Table` is made of. */
export interface TableOptions {
  readonly pool: Pool;
  /** Where changes are noted. */
  readonly log: ChangeLog;
  /** How long a mapping lives from its last look-up. */
  readonly ttlMs: number;
  /** How long a fake rests before another real address may have it. */
  readonly restMs: number;
  /** Key of the look-up hashes, best a random one. */
  readonly hashKey: number;
}

/** The mappings of one family. */
export class Table {
  readonly family: Family;
  readonly #pool: Pool;
  readonly #log: ChangeLog;
  readonly #ttlMs: number;
  readonly #restMs: number;
  readonly #slotsMax: number;
  readonly #reals: Rows;
  readonly #fakes: Rows;
  readonly #byReal: RowIndex;
  readonly #byFake: RowIndex;
  readonly #living = new AgeQueue();
  readonly #resting = new AgeQueue();
  /** By slot: when a living mapping ends or since when a resting one rests; and its revision. */
  #times = new Float64Array(64);
  #revisions = new Float64Array(64);
  #states = new Uint8Array(64);
  readonly #free: number[] = [];
  #slots = 0;
  readonly #real: Uint32Array;
  readonly #fake: Uint32Array;
  readonly #isTaken = (fake: Uint32Array) => this.#byFake.find(fake) !== NONE;

  constructor(options: TableOptions) {
    const { width, prefix, capacity } = options.pool;
    this.family = prefix.family;
    this.#pool = options.pool;
    this.#log = options.log;
    this.#ttlMs = options.ttlMs;
    this.#restMs = options.restMs;
    this.#slotsMax = Math.min(capacity, MAPPINGS_MAX);
    this.#reals = new Rows(width);
    this.#fakes = new Rows(width);
    this.#byReal = new RowIndex(this.#reals, options.hashKey);
    this.#byFake = new RowIndex(this.#fakes, ~options.hashKey);
    this.#real = new Uint32Array(width);
    this.#fake = new Uint32Array(width);
  }

  /** How many mappings live. */
  get size(): number {
    return this.#living.size;
  }

  /** How many fakes rest. */
  get resting(): number {
    return this.#resting.size;
  }

  /** How many mappings can live at once. */
  get capacity(): number {
    return this.#slotsMax;
  }

  /** When the next mapping expires unless it is looked up before; `Infinity` without one. */
  get nextExpiryMs(): number {
    const oldest = this.#living.oldest;
    return oldest === NONE ? Infinity : this.#times[oldest]!;
  }

  /** Whether an address in a message is inside the prefix of the fakes. */
  holdsFake(view: DataView, offset: number): boolean {
    this.#read(view, offset, this.#real);
    return this.#pool.contains(this.#real);
  }

  /**
   * The mapping of the real address at `offset`: known and renewed, woken, or new.
   *
   * @returns its slot, good until the next call that changes the table, or `FULL`
   */
  lookUp(view: DataView, offset: number, nowMs: number): number {
    this.#read(view, offset, this.#real);
    const known = this.#byReal.find(this.#real);
    if (known === NONE) return this.#allocate(nowMs);
    if (this.#states[known] === State.LIVING) {
      this.#living.renew(known);
      this.#times[known] = nowMs + this.#ttlMs;
    } else {
      this.#resting.remove(known);
      this.#revive(known, nowMs);
    }
    return known;
  }

  /** The revision that the kernel must have reached before this mapping is handed out. */
  revision(slot: number): number {
    return this.#revisions[slot]!;
  }

  /** Writes the fake address of a mapping over the real one in a message. */
  writeFake(slot: number, view: DataView, offset: number): void {
    const at = slot * this.#fakes.width;
    for (let i = 0; i < this.#fakes.width; i++) {
      view.setUint32(offset + i * WORD_LENGTH, this.#fakes.words[at + i]!);
    }
  }

  /** Lets what has outlived its time rest; returns how many. */
  expire(nowMs: number): number {
    let expired = 0;
    while (this.nextExpiryMs <= nowMs) {
      const slot = this.#living.oldest;
      this.#living.remove(slot);
      this.#log.push("delete", this.family, this.#fakes.toBytes(slot), this.#reals.toBytes(slot));
      this.#rest(slot, nowMs);
      expired++;
    }
    return expired;
  }

  /**
   * Takes over a pair that the kernel has, with a full lifetime and as known there.
   *
   * @returns false where it cannot be one of ours: the fake outside the prefix or never given, the
   * real inside it, or one of the two in another pair
   */
  adopt(fake: Uint8Array, real: Uint8Array, nowMs: number): boolean {
    if (fake.length !== ADDRESS_LENGTH[this.family] || real.length !== fake.length) return false;
    this.#read(viewOf(fake), 0, this.#fake);
    this.#read(viewOf(real), 0, this.#real);
    if (!this.#pool.contains(this.#fake) || !this.#pool.isUsable(this.#fake)) return false;
    if (this.#pool.contains(this.#real)) return false;
    if (this.#byReal.find(this.#real) !== NONE || this.#isTaken(this.#fake)) return false;
    const slot = this.#takeSlot();
    if (slot === NONE) return false;
    this.#bind(slot);
    this.#live(slot, nowMs);
    this.#revisions[slot] = 0;
    return true;
  }

  /** Lets the mapping that change `revision` made rest, as the kernel refused it. */
  drop(fake: Uint8Array, revision: number): void {
    this.#read(viewOf(fake), 0, this.#fake);
    const slot = this.#byFake.find(this.#fake);
    if (slot === NONE || this.#revisions[slot] !== revision) return;
    if (this.#states[slot] !== State.LIVING) return;
    this.#living.remove(slot);
    this.#rest(slot, this.#times[slot]! - this.#ttlMs);
  }

  /** The living pairs as octets, those first that expire first. */
  *pairs(): Generator<{ fake: Uint8Array; real: Uint8Array; revision: number }> {
    for (let slot = this.#living.oldest; slot !== NONE; slot = this.#living.after(slot)) {
      yield {
        fake: this.#fakes.toBytes(slot),
        real: this.#reals.toBytes(slot),
        revision: this.#revisions[slot]!,
      };
    }
  }

  /** A slot and a fake for `#real`, which has neither. */
  #allocate(nowMs: number): number {
    const isFull = this.#living.size + this.#resting.size >= this.#slotsMax;
    if (isFull && !this.#reclaim(nowMs)) return FULL;
    // A ring that was full has but the one fake that was just freed: no need to walk to it.
    if (!isFull || this.#slotsMax < this.#pool.capacity) {
      this.#pool.choose(this.#real, this.#fake, this.#isTaken);
    }
    const slot = this.#takeSlot();
    this.#bind(slot);
    this.#revive(slot, nowMs);
    return slot;
  }

  /** Frees the slot that rests longest, its fake in `#fake`; false where its rest is not over. */
  #reclaim(nowMs: number): boolean {
    const slot = this.#resting.oldest;
    if (slot === NONE || nowMs - this.#times[slot]! < this.#restMs) return false;
    this.#fakes.get(slot, this.#fake);
    this.#resting.remove(slot);
    this.#byReal.remove(slot);
    this.#byFake.remove(slot);
    this.#free.push(slot);
    return true;
  }

  #takeSlot(): number {
    const freed = this.#free.pop();
    if (freed !== undefined) return freed;
    if (this.#slots >= this.#slotsMax) return NONE;
    if (this.#slots === this.#states.length) this.#grow();
    return this.#slots++;
  }

  #bind(slot: number): void {
    this.#reals.set(slot, this.#real);
    this.#fakes.set(slot, this.#fake);
    this.#byReal.add(slot);
    this.#byFake.add(slot);
  }

  /** Lets a slot that is in no queue live, in the kernel too. */
  #revive(slot: number, nowMs: number): void {
    this.#live(slot, nowMs);
    const fake = this.#fakes.toBytes(slot);
    this.#revisions[slot] = this.#log.push("add", this.family, fake, this.#reals.toBytes(slot));
  }

  #live(slot: number, nowMs: number): void {
    this.#states[slot] = State.LIVING;
    this.#times[slot] = nowMs + this.#ttlMs;
    this.#living.push(slot);
  }

  #rest(slot: number, nowMs: number): void {
    this.#states[slot] = State.RESTING;
    this.#times[slot] = nowMs;
    this.#resting.push(slot);
  }

  #read(view: DataView, offset: number, to: Uint32Array): void {
    for (let i = 0; i < to.length; i++) to[i] = view.getUint32(offset + i * WORD_LENGTH);
  }

  #grow(): void {
    const length = this.#states.length * 2;
    const [times, revisions] = [new Float64Array(length), new Float64Array(length)];
    const states = new Uint8Array(length);
    times.set(this.#times);
    revisions.set(this.#revisions);
    states.set(this.#states);
    this.#times = times;
    this.#revisions = revisions;
    this.#states = states;
  }
}

/** What a slot that is bound to a pair does. */
const State = { LIVING: 1, RESTING: 2 } as const;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

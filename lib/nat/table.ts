/**
 * The mappings of one IP version, one-to-one between real and fake: which fake a real gets, and how
 * long it stands for it.
 *
 * A mapping is active for a fixed time from the last DNS answer or, within a limit, from the last
 * traffic to its fake, so the queue of the active ones is in the order in which they expire. A mapping
 * that has expired leaves the kernel and its fake is quarantined: it stays bound to its real address,
 * which gets it back when it is asked for again or when a packet comes for the fake. Only a pool
 * without an unused fake gives the one quarantined longest to another real address, never before its
 * quarantine is over; where that is not enough and eviction is allowed, it ends the mapping that was
 * idle longest, if no client may still use its answer.
 *
 * Time is a parameter, monotonic, in milliseconds. Each change is noted in the log, whose revision
 * tells when a mapping is safe to hand out. `MAPPINGS_MAX` bounds everything.
 *
 * @module
 */
import { AgeQueue, NONE } from "../util/age_queue.ts";
import { ADDRESS_LENGTH, type Family } from "../address.ts";
import type { Change, ChangeLog, Pair } from "./changes.ts";
import { readWords, RowIndex, Rows, WORD_LENGTH } from "./rows.ts";
import type { Pool } from "./pool.ts";

/** Mappings of one family, active and quarantined: what a /14 of fakes holds, and about 20 MiB. */
export const MAPPINGS_MAX = 262_144;

/** What `obtain` returns where the pool has no fake to give. */
export const FULL = -2;

/** Shares of a pool, in percent, whose crossing is worth a word. */
export const FILL_MARKS = [80, 95] as const;

/** What `Table` is made of. */
export interface TableOptions {
  readonly pool: Pool;
  /** Where changes are noted. */
  readonly log: ChangeLog;
  /** How long a mapping is active from the last answer with it. */
  readonly ttlMs: number;
  /** How long traffic can keep a mapping active from that answer; without it, while it flows. */
  readonly ttlMaxMs?: number;
  /** How long a fake is quarantined before another real address may have it. */
  readonly quarantineMs: number;
  /** After how long of idleness a full pool may evict; without it, never. */
  readonly evictAfterMs?: number;
  /** Key of the hashes that find a mapping, best a random one. */
  readonly hashKey: number;
  /** Told when the share of active mappings crosses one of `FILL_MARKS` upwards. */
  readonly onFill?: (percent: number) => void;
}

/** The mappings of one family. */
export class Table {
  readonly family: Family;
  readonly #options: TableOptions;
  readonly #slotsMax: number;
  readonly #ttlMaxMs: number;
  readonly #reals: Rows;
  readonly #fakes: Rows;
  readonly #byReal: RowIndex;
  readonly #byFake: RowIndex;
  /** By their last use; by the beginning of their quarantine. */
  readonly #active = new AgeQueue();
  readonly #quarantined = new AgeQueue();
  /** The active ones, by when they were added to the kernel. */
  readonly #inKernel = new AgeQueue();
  readonly #slots: Slots = new Slots();
  /** The slots of the active ones by the revision that made them so. */
  readonly #byRevision = new Map<number, number>();
  readonly #free: number[] = [];
  #slotsUsed = 0;
  /** After how long an element must be renewed in the kernel; `Infinity` where it never expires. */
  #renewMs = Infinity;
  #mark = 0;
  readonly #real: Uint32Array;
  readonly #fake: Uint32Array;
  readonly #isTaken = (fake: Uint32Array) => this.#byFake.find(fake) !== NONE;

  constructor(options: TableOptions) {
    const { width, prefix, capacity } = options.pool;
    this.family = prefix.family;
    this.#options = options;
    this.#slotsMax = Math.min(capacity, MAPPINGS_MAX);
    this.#ttlMaxMs = options.ttlMaxMs ?? Infinity;
    this.#reals = new Rows(width);
    this.#fakes = new Rows(width);
    this.#byReal = new RowIndex(this.#reals, options.hashKey);
    this.#byFake = new RowIndex(this.#fakes, ~options.hashKey);
    this.#real = new Uint32Array(width);
    this.#fake = new Uint32Array(width);
  }

  /** How many mappings are active. */
  get size(): number {
    return this.#active.size;
  }

  /** How many fakes are quarantined. */
  get quarantined(): number {
    return this.#quarantined.size;
  }

  /** Whether no mapping is active and no fake quarantined. */
  get isEmpty(): boolean {
    return this.size + this.quarantined === 0;
  }

  /** How many mappings can be active at once. */
  get capacity(): number {
    return this.#slotsMax;
  }

  /** When the next mapping expires unless it is used before; `Infinity` without one. */
  get nextExpiryMs(): number {
    const oldest = this.#active.oldest;
    return oldest === NONE ? Infinity : this.#slots.usedMs[oldest]! + this.#options.ttlMs;
  }

  /** When the next element must be renewed in the kernel; `Infinity` where none must. */
  get nextRenewalMs(): number {
    const oldest = this.#inKernel.oldest;
    return oldest === NONE ? Infinity : this.#slots.addedMs[oldest]! + this.#renewMs;
  }

  /** To be told after how long the kernel forgets an element; until then it counts as never. */
  expectTimeout(timeoutMs: number): void {
    this.#renewMs = timeoutMs * RENEW_SHARE;
  }

  /** Whether an address in a message is inside the prefix of the fakes. */
  holdsFake(view: DataView, offset: number): boolean {
    this.#read(view, offset, this.#real);
    return this.#options.pool.contains(this.#real);
  }

  /**
   * The mapping of the real address at `offset`: known and renewed, reactivated, or new.
   *
   * @returns its slot, good until the next call that changes the table, or `FULL`
   */
  obtain(view: DataView, offset: number, nowMs: number): number {
    this.#read(view, offset, this.#real);
    const known = this.#byReal.find(this.#real);
    const slot = known === NONE ? this.#allocate(nowMs) : known;
    if (slot === FULL) return FULL;
    if (known !== NONE && this.#isActive(known)) this.#touch(known, nowMs);
    else if (known !== NONE) this.#reactivate(known, nowMs);
    this.#slots.answeredMs[slot] = nowMs;
    return slot;
  }

  /** The revision that the kernel must have reached before this mapping is handed out. */
  revision(slot: number): number {
    return this.#slots.revisions[slot]!;
  }

  /** Whether the mapping that became active with a revision has been active since. */
  holds(revision: number): boolean {
    return this.#byRevision.has(revision);
  }

  /** Begins the lifetime of that mapping anew, if it is active. */
  prolong(revision: number, nowMs: number): void {
    const slot = this.#byRevision.get(revision);
    if (slot !== undefined) this.#touch(slot, nowMs);
  }

  /** Writes the fake address of a mapping over the real one in a message. */
  writeFake(slot: number, view: DataView, offset: number): void {
    const at = slot * this.#fakes.width;
    for (let i = 0; i < this.#fakes.width; i++) {
      view.setUint32(offset + i * WORD_LENGTH, this.#fakes.words[at + i]!);
    }
  }

  /**
   * Notes that packets were seen for these fakes: an active mapping stays active, within `ttlMaxMs` of
   * the last answer with it; the quarantine of a fake begins anew.
   */
  noteTraffic(fakes: Iterable<Uint8Array>, nowMs: number): void {
    for (const fake of fakes) {
      const slot = this.#findFake(fake);
      if (slot === NONE) continue;
      if (!this.#isActive(slot)) {
        this.#quarantined.renew(slot);
        this.#slots.usedMs[slot] = nowMs;
      } else if (nowMs - this.#slots.answeredMs[slot]! < this.#ttlMaxMs) {
        this.#touch(slot, nowMs);
      }
    }
  }

  /**
   * Reactivates the mapping of a fake that a packet came for after it had expired.
   *
   * @returns `"active"` if it has not expired: the kernel should have known it; `"unknown"` if there
   * is none, or none that may become active without an answer
   */
  reactivate(fake: Uint8Array, nowMs: number): "reactivated" | "active" | "unknown" {
    const slot = this.#findFake(fake);
    if (slot === NONE) return "unknown";
    if (this.#isActive(slot)) return "active";
    if (nowMs - this.#slots.answeredMs[slot]! >= this.#ttlMaxMs) return "unknown";
    this.#reactivate(slot, nowMs);
    return "reactivated";
  }

  /** Quarantines what has outlived its time; returns how many. */
  expire(nowMs: number): number {
    let expired = 0;
    for (; this.nextExpiryMs <= nowMs; expired++) {
      const slot = this.#active.oldest;
      this.#end(slot);
      this.#quarantine(slot, nowMs);
    }
    this.#noteFill();
    return expired;
  }

  /**
   * Renews in the kernel what has been there for long, and of the others those that have been there
   * for longest: that fails where somebody has taken them out.
   *
   * @param most how many of the others
   */
  renew(nowMs: number, most = 0): void {
    for (let n = 0; n < Math.min(most, this.size) || this.nextRenewalMs <= nowMs; n++) {
      const slot = this.#inKernel.oldest;
      this.#inKernel.renew(slot);
      this.#slots.addedMs[slot] = nowMs;
      this.#options.log.push("renew", this.family, this.#pair(slot));
    }
  }

  /**
   * Takes over a pair that the kernel has, with a full lifetime and as known there.
   *
   * @param ageMs for how long the kernel has had it, as far as its own timeout is concerned
   * @returns false where it cannot be one of ours: the fake outside the prefix or never given, the
   * real inside it, or one of the two in another pair
   */
  adopt({ fake, real }: Pair, nowMs: number, ageMs = 0): boolean {
    if (fake.length !== ADDRESS_LENGTH[this.family] || real.length !== fake.length) return false;
    const { pool } = this.#options;
    readWords(fake, this.#fake);
    readWords(real, this.#real);
    if (!pool.contains(this.#fake) || !pool.isUsable(this.#fake)) return false;
    if (pool.contains(this.#real)) return false;
    if (this.#byReal.find(this.#real) !== NONE || this.#isTaken(this.#fake)) return false;
    const slot = this.#takeSlot();
    if (slot === NONE) return false;
    this.#bind(slot);
    this.#enter(slot, nowMs, nowMs - ageMs, this.#options.log.skip());
    this.#slots.answeredMs[slot] = nowMs;
    return true;
  }

  /**
   * Quarantines the mapping that became active with a revision, as the kernel refused it.
   *
   * @returns false if it has expired, or became active anew
   */
  drop(revision: number): boolean {
    const slot = this.#byRevision.get(revision);
    if (slot === undefined) return false;
    this.#die(slot);
    this.#quarantine(slot, this.#slots.usedMs[slot]!);
    return true;
  }

  /** Forgets all active mappings without a word in the log; none of them may have been handed out. */
  startOver(): void {
    for (let slot = this.#active.oldest; slot !== NONE; slot = this.#active.oldest) {
      this.#die(slot);
      this.#byReal.remove(slot);
      this.#byFake.remove(slot);
      this.#free.push(slot);
    }
  }

  /** Whether a fake stands for a real now. */
  leads({ fake, real }: Pair): boolean {
    const slot = this.#findFake(fake);
    return slot !== NONE && this.#isActive(slot) && this.#findReal(real) === slot;
  }

  /**
   * What turns sets with these elements into what the table says: what is wrong goes, then what is
   * missing comes. Of a mapping that is there in part, the whole is named again.
   */
  difference(pairs: Iterable<Pair>, reals: Iterable<Uint8Array>): Change[] {
    const { family } = this;
    const changes: Change[] = [];
    const found = new Uint8Array(this.#slotsUsed);
    for (const { fake, real } of pairs) {
      if (this.leads({ fake, real })) found[this.#findFake(fake)]! |= FOUND_PAIR;
      else changes.push({ kind: "delete", family, fake, real, revision: 0, part: "map" });
    }
    for (const real of reals) {
      const slot = this.#findReal(real);
      if (slot !== NONE && this.#isActive(slot)) found[slot]! |= FOUND_REAL;
      else changes.push({ kind: "delete", family, fake: real, real, revision: 0, part: "set" });
    }
    for (let slot = this.#active.oldest; slot !== NONE; slot = this.#active.after(slot)) {
      if (found[slot] === (FOUND_PAIR | FOUND_REAL)) continue;
      const revision = this.#slots.revisions[slot]!;
      changes.push({ kind: "add", family, ...this.#pair(slot), revision });
    }
    return changes;
  }

  /** An active slot for `#real`, which has none, or `FULL`. */
  #allocate(nowMs: number): number {
    const isFull = this.#active.size + this.#quarantined.size >= this.#slotsMax;
    if (isFull && !this.#reclaim(nowMs)) return FULL;
    // The fake that was just freed is taken at once: nobody would remember that it was another's.
    if (!isFull) this.#options.pool.choose(this.#real, this.#fake, this.#isTaken);
    const slot = this.#takeSlot();
    this.#bind(slot);
    this.#activate(slot, nowMs, isFull);
    return slot;
  }

  /** Frees a slot, its fake in `#fake`: the one quarantined longest, else one to evict. */
  #reclaim(nowMs: number): boolean {
    let slot = this.#quarantined.oldest;
    if (slot !== NONE && nowMs - this.#slots.usedMs[slot]! >= this.#options.quarantineMs) {
      this.#quarantined.remove(slot);
    } else {
      slot = this.#active.oldest;
      const { evictAfterMs = Infinity } = this.#options;
      if (slot === NONE || nowMs - this.#slots.usedMs[slot]! < evictAfterMs) return false;
      this.#end(slot);
    }
    this.#fakes.get(slot, this.#fake);
    this.#byReal.remove(slot);
    this.#byFake.remove(slot);
    this.#free.push(slot);
    return true;
  }

  #takeSlot(): number {
    const freed = this.#free.pop();
    if (freed !== undefined) return freed;
    if (this.#slotsUsed >= this.#slotsMax) return NONE;
    this.#slots.makeRoom(this.#slotsUsed);
    return this.#slotsUsed++;
  }

  #bind(slot: number): void {
    this.#reals.set(slot, this.#real);
    this.#fakes.set(slot, this.#fake);
    this.#byReal.add(slot);
    this.#byFake.add(slot);
  }

  /** Renews an active mapping. */
  #touch(slot: number, nowMs: number): void {
    this.#active.renew(slot);
    this.#slots.usedMs[slot] = nowMs;
  }

  #reactivate(slot: number, nowMs: number): void {
    this.#quarantined.remove(slot);
    this.#activate(slot, nowMs, false);
  }

  /** Makes the mapping of a slot that is in no queue active, in the kernel too. */
  #activate(slot: number, nowMs: number, isReused: boolean): void {
    const revision = this.#options.log.push("add", this.family, this.#pair(slot), isReused);
    this.#enter(slot, nowMs, nowMs, revision);
    this.#noteFill();
  }

  #enter(slot: number, nowMs: number, addedMs: number, revision: number): void {
    this.#slots.revisions[slot] = revision;
    this.#byRevision.set(revision, slot);
    this.#slots.isActive[slot] = 1;
    this.#slots.usedMs[slot] = nowMs;
    this.#slots.addedMs[slot] = addedMs;
    this.#active.push(slot);
    this.#inKernel.push(slot);
  }

  /** Takes an active mapping out of the kernel. */
  #end(slot: number): void {
    this.#die(slot);
    this.#options.log.push("delete", this.family, this.#pair(slot));
  }

  #die(slot: number): void {
    this.#byRevision.delete(this.#slots.revisions[slot]!);
    this.#active.remove(slot);
    this.#inKernel.remove(slot);
  }

  #quarantine(slot: number, sinceMs: number): void {
    this.#slots.isActive[slot] = 0;
    this.#slots.usedMs[slot] = sinceMs;
    this.#quarantined.push(slot);
  }

  #noteFill(): void {
    const percent = this.#active.size / this.#slotsMax * 100;
    const mark = FILL_MARKS.findLast((mark) => percent >= mark) ?? 0;
    if (mark > this.#mark) this.#options.onFill?.(mark);
    // Below a mark by a little is not worth a second word when it is crossed again.
    if (mark > this.#mark || percent < this.#mark - FILL_SLACK) this.#mark = mark;
  }

  #isActive(slot: number): boolean {
    return this.#slots.isActive[slot] === 1;
  }

  #findFake(fake: Uint8Array): number {
    if (fake.length !== ADDRESS_LENGTH[this.family]) return NONE;
    readWords(fake, this.#fake);
    return this.#byFake.find(this.#fake);
  }

  #findReal(real: Uint8Array): number {
    if (real.length !== ADDRESS_LENGTH[this.family]) return NONE;
    readWords(real, this.#real);
    return this.#byReal.find(this.#real);
  }

  #pair(slot: number): Pair {
    return { fake: this.#fakes.toBytes(slot), real: this.#reals.toBytes(slot) };
  }

  #read(view: DataView, offset: number, to: Uint32Array): void {
    for (let i = 0; i < to.length; i++) to[i] = view.getUint32(offset + i * WORD_LENGTH);
  }
}

/** What was found of a mapping in the kernel. */
const FOUND_PAIR = 1;
const FOUND_REAL = 2;

/**
 * Share of the kernel's own timeout after which an element is renewed: less than half, as an element
 * that was deleted and added in one batch is as old as it was.
 */
const RENEW_SHARE = 0.4;

/** Percent below a mark from which it is crossed anew. */
const FILL_SLACK = 5;

/** What is kept for each slot, in arrays that grow together. */
class Slots {
  isActive = new Uint8Array(64);
  /** When it was last answered with or carried traffic; since when it is quarantined. */
  usedMs = new Float64Array(64);
  answeredMs = new Float64Array(64);
  addedMs = new Float64Array(64);
  revisions = new Float64Array(64);

  /** Sees to it that `slot` has a place. */
  makeRoom(slot: number): void {
    if (slot < this.isActive.length) return;
    const length = this.isActive.length * 2;
    const isActive = new Uint8Array(length);
    isActive.set(this.isActive);
    this.isActive = isActive;
    this.usedMs = grown(this.usedMs, length);
    this.answeredMs = grown(this.answeredMs, length);
    this.addedMs = grown(this.addedMs, length);
    this.revisions = grown(this.revisions, length);
  }
}

function grown(from: Float64Array, length: number): Float64Array<ArrayBuffer> {
  const to = new Float64Array(length);
  to.set(from);
  return to;
}

/**
 * The mappings of one IP version, one-to-one between real and fake: which fake a real gets, and how
 * long it stands for it.
 *
 * A mapping is active for a fixed time from the last DNS answer or, within a limit, from the last
 * traffic to its fake, so the queue of the active ones is in the order in which they expire. One that
 * has expired leaves the kernel and its fake is quarantined: it stays bound to its real address, which
 * gets it back when it is asked for again or when a packet comes for the fake. Only a pool without an
 * unused fake gives one whose quarantine is over to another real; where that is not enough and
 * eviction is allowed, it ends the mapping that was idle longest, if no client may still use its answer
 * and traffic was read lately.
 *
 * The addresses of one reply are mapped all or none: `find`, then `plan`, which changes nothing that
 * `cancel` does not undo, then `carryOut`, which cannot fail. Time is a parameter, monotonic, in
 * milliseconds. Each change is noted in the log, whose revision tells when a mapping is safe to hand
 * out. `MAPPINGS_MAX` bounds everything.
 *
 * @module
 */
import { AgeQueue, Links, NONE } from "../util/age_queue.ts";
import { grown } from "../util/grown.ts";
import { ADDRESS_LENGTH, type Family } from "../address.ts";
import type { ReplyAddresses } from "./reply_addresses.ts";
import type { Change, ChangeLog, Pair } from "./changes.ts";
import { FillMarks } from "./fill_marks.ts";
import type { Pool } from "./pool.ts";
import { Quarantine } from "./quarantine.ts";
import { readWords, RowIndex, Rows, WORD_LENGTH } from "./rows.ts";
import { type Holder, Part, Shares } from "./shares.ts";

/** Mappings of one family, active and quarantined: what a /14 of fakes holds, and 30 to 40 MiB. */
export const MAPPINGS_MAX = 262_144;

/** Mappings that are looked at to find one to evict. */
export const EVICTION_STEPS_MAX = 1_000;

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
  /** How long a client may use an answer, if a full pool may evict what is idle longer; else never. */
  readonly evictAfterMs?: number;
  /** Key of the hashes that find a mapping, best a random one. */
  readonly hashKey: number;
  /** Told when the share of the common part in use crosses one of `FILL_MARKS` upwards. */
  readonly onFill?: (percent: number) => void;
}

/** Fakes that carried packets, and for each how long ago the last one was, in seconds, rounded up. */
export interface Traffic extends Iterable<Uint8Array> {
  ageS(n: number): number;
}

/** Why addresses are not mapped: nobody, or not this holder, may have one of the fakes needed. */
export type Refusal = "full" | "share";

/** The mappings of one family. */
export class Table {
  readonly family: Family;
  readonly #options: TableOptions;
  readonly #slotsMax: number;
  readonly #ttlMaxMs: number;
  readonly #evictAfterMs: number;
  /**
   * By how much longer than a client may use its answer a mapping must be idle to be evicted, and for
   * how long a reading of traffic counts: at the reading it had been idle for long enough.
   */
  readonly #marginMs: number;
  readonly #reals: Rows;
  readonly #fakes: Rows;
  readonly #byReal: RowIndex;
  readonly #byFake: RowIndex;
  /** A slot is in one of these queues at most. */
  readonly #links = new Links();
  /** By their last use. */
  readonly #active = new AgeQueue(this.#links);
  /** Active only as an earlier run has promised it; until `#promiseEndsMs`. */
  readonly #promised = new AgeQueue(this.#links);
  readonly #quarantine: Quarantine;
  /** The active ones, by when they were added to the kernel. */
  readonly #inKernel = new AgeQueue();
  readonly #shares: Shares;
  readonly #slots: Slots = new Slots();
  /** The slots of the active ones by the revision that made them so. */
  readonly #byRevision = new Map<number, number>();
  readonly #freeSlots: number[] = [];
  #slotsUsed = 0;
  /** After how long an element must be renewed in the kernel; `Infinity` where it never expires. */
  #renewMs = Infinity;
  #promiseEndsMs = -Infinity;
  #trafficReadMs = -Infinity;
  readonly #marks: FillMarks;
  /** What a reply that is planned takes: parts of the pool, each for a slot or, `NONE`, a new one. */
  readonly #plannedParts: Part[] = [];
  readonly #plannedSlots: number[] = [];
  readonly #plannedEvictions: number[] = [];
  readonly #real: Uint32Array;
  readonly #fake: Uint32Array;
  readonly #isTaken = (fake: Uint32Array) => this.#byFake.find(fake) !== NONE;

  constructor(options: TableOptions) {
    const { width, prefix, capacity } = options.pool;
    this.family = prefix.family;
    this.#options = options;
    this.#slotsMax = Math.min(capacity, MAPPINGS_MAX);
    this.#ttlMaxMs = options.ttlMaxMs ?? Infinity;
    this.#evictAfterMs = options.evictAfterMs ?? Infinity;
    this.#marginMs = this.#evictAfterMs * MARGIN_SHARE;
    this.#quarantine = new Quarantine(options.quarantineMs, this.#links);
    this.#shares = new Shares(this.#slotsMax);
    this.#marks = new FillMarks(options.onFill ?? (() => {}));
    this.#reals = new Rows(width);
    this.#fakes = new Rows(width);
    this.#byReal = new RowIndex(this.#reals, options.hashKey);
    this.#byFake = new RowIndex(this.#fakes, ~options.hashKey);
    this.#real = new Uint32Array(width);
    this.#fake = new Uint32Array(width);
  }

  /** How many mappings are active. */
  get size(): number {
    return this.#inKernel.size;
  }

  /** How many fakes are quarantined, or may be reused and are not yet. */
  get quarantined(): number {
    return this.#quarantine.size;
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
    const { oldest } = this.#active;
    const dueMs = oldest === NONE ? Infinity : this.#slots.usedMs[oldest]! + this.#options.ttlMs;
    return this.#promised.size === 0 ? dueMs : Math.min(dueMs, this.#promiseEndsMs);
  }

  /** When the next element must be renewed in the kernel; `Infinity` where none must. */
  get nextRenewalMs(): number {
    const { oldest } = this.#inKernel;
    return oldest === NONE ? Infinity : this.#slots.addedMs[oldest]! + this.#renewMs;
  }

  /**
   * When traffic should be read again, as the pool is nearly full and only what is known to be idle is
   * evicted; `Infinity` if it need not be for that.
   */
  get trafficDueMs(): number {
    const isPressed = this.#evictAfterMs < Infinity && this.#shares.commonShare >= PRESSURE;
    return isPressed ? this.#trafficReadMs + this.#marginMs / 2 : Infinity;
  }

  /** Whether an address in a message is inside the prefix of the fakes. */
  holdsFake(view: DataView, offset: number): boolean {
    this.#read(view, offset, this.#real);
    return this.#options.pool.contains(this.#real);
  }

  /** Finds the slots of a reply's addresses of this family; true if all mappings are active. */
  find(addresses: ReplyAddresses): boolean {
    let areActive = true;
    for (let n = 0; n < addresses.count; n++) {
      if (addresses.families[n] !== this.family) continue;
      this.#read(addresses.view, addresses.offsets[n]!, this.#real);
      const slot = this.#byReal.find(this.#real);
      addresses.slots[n] = slot;
      areActive &&= slot !== NONE && this.#isActive(slot);
    }
    return areActive;
  }

  /** Begins the lifetimes of a reply's mappings anew, which are all active. */
  answer(addresses: ReplyAddresses, nowMs: number): void {
    for (let n = 0; n < addresses.count; n++) {
      if (addresses.families[n] === this.family) this.#answer(addresses.slots[n]!, nowMs);
    }
  }

  /**
   * Plans how the addresses that `find` looked for get active mappings; `carryOut` or `cancel` must
   * follow before anything else is done with the table.
   *
   * @returns why not all of them can have one; then nothing is planned
   */
  plan(addresses: ReplyAddresses, holder: Holder | undefined, nowMs: number): Refusal | undefined {
    this.#release(nowMs);
    for (let n = 0; n < addresses.count; n++) {
      if (addresses.families[n] !== this.family) continue;
      const slot = addresses.slots[n]!;
      const isHeld = slot === NONE
        ? addresses.isRepeated(n)
        : !this.#quarantine.isReusable(slot) || this.#plannedSlots.includes(slot);
      if (isHeld) continue;
      let part = this.#shares.take(holder);
      while (part === Part.NONE && this.#planEviction(addresses, nowMs)) {
        part = this.#shares.take(holder);
      }
      if (part === Part.NONE) {
        const isFull = this.#shares.isFull;
        this.cancel(holder);
        return isFull ? "full" : "share";
      }
      this.#plannedParts.push(part);
      this.#plannedSlots.push(slot);
    }
    return undefined;
  }

  /** Undoes what is planned. */
  cancel(holder: Holder | undefined): void {
    for (const part of this.#plannedParts) this.#shares.giveBack(part, holder);
    this.#forgetPlan();
  }

  /** Makes the mappings active that are planned, and notes their slots with the addresses. */
  carryOut(addresses: ReplyAddresses, holder: Holder | undefined, nowMs: number): void {
    for (const slot of this.#plannedEvictions) this.#evict(slot, nowMs);
    const parts = this.#plannedParts;
    for (let i = 0; i < parts.length; i++) {
      const slot = this.#plannedSlots[i]!;
      if (slot !== NONE) this.#shares.assign(slot, parts[i]!, holder);
    }
    // Those that have a fake first, so that it is not given to another of the same reply.
    for (let n = 0; n < addresses.count; n++) {
      const slot = addresses.slots[n]!;
      if (addresses.families[n] !== this.family || slot === NONE) continue;
      if (!this.#isActive(slot)) this.#reactivate(slot, nowMs);
      this.#answer(slot, nowMs);
    }
    let next = 0;
    for (let n = 0; n < addresses.count; n++) {
      if (addresses.families[n] !== this.family || addresses.slots[n] !== NONE) continue;
      this.#read(addresses.view, addresses.offsets[n]!, this.#real);
      const known = this.#byReal.find(this.#real);
      if (known === NONE) next = this.#plannedSlots.indexOf(NONE, next);
      addresses.slots[n] = known === NONE ? this.#allocate(parts[next++]!, holder, nowMs) : known;
    }
    this.#forgetPlan();
    this.#noteFill(nowMs);
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
   * Notes a reading of which fakes carried traffic. A mapping whose fake was used after all that was
   * known stays active, within `ttlMaxMs` of the last answer with it; the quarantine of a fake begins
   * anew.
   *
   * @param readAtMs when the reading began
   */
  noteTraffic(seen: Traffic, readAtMs: number, nowMs: number): void {
    let n = 0;
    for (const fake of seen) {
      const seenAtMs = nowMs - Math.max(0, seen.ageS(n++) - 1) * 1_000;
      const slot = this.#findFake(fake);
      if (slot === NONE) continue;
      if (!this.#isActive(slot)) {
        if (seenAtMs > this.#quarantine.sinceMs(slot)) this.#requarantine(slot, nowMs);
      } else if (
        seenAtMs > this.#slots.usedMs[slot]! &&
        nowMs - this.#slots.answeredMs[slot]! < this.#ttlMaxMs
      ) {
        this.#touch(slot, nowMs);
      }
    }
    this.#trafficReadMs = readAtMs;
  }

  /**
   * Notes a listing of the connections that conntrack knows; a quarantined fake that is not among them
   * is clean.
   *
   * @param revision what the kernel had when the listing began
   */
  noteConnections(connections: Iterable<Pick<Pair, "fake">>, revision: number): void {
    const slots = [];
    for (const { fake } of connections) {
      const slot = this.#findFake(fake);
      if (slot !== NONE) slots.push(slot);
    }
    this.#quarantine.noteConnections(slots, revision);
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
    if (this.#quarantine.isReusable(slot)) {
      const part = this.#shares.take();
      if (part === Part.NONE) return "unknown";
      this.#shares.assign(slot, part);
    }
    this.#reactivate(slot, nowMs);
    this.#noteFill(nowMs);
    return "reactivated";
  }

  /** Quarantines what has outlived its time; returns how many. */
  expire(nowMs: number): number {
    const before = this.size;
    const { ttlMs } = this.#options;
    for (let slot = this.#active.oldest; slot !== NONE; slot = this.#active.oldest) {
      if (this.#slots.usedMs[slot]! + ttlMs > nowMs) break;
      if (this.#isPromised(slot, nowMs)) this.#setAside(slot);
      else this.#end(slot, nowMs);
    }
    if (nowMs >= this.#promiseEndsMs) {
      while (this.#promised.size > 0) this.#end(this.#promised.oldest, nowMs);
    }
    this.#release(nowMs);
    this.#noteFill(nowMs);
    return before - this.size;
  }

  /**
   * Renews in the kernel what has been there for long, and of the others those that have been there
   * for longest: that fails where somebody has taken them out.
   *
   * @param most how many of the others
   */
  renew(nowMs: number, most = 0): void {
    for (let n = 0; n < Math.min(most, this.size) || this.nextRenewalMs <= nowMs; n++) {
      this.#renew(this.#inKernel.oldest, nowMs);
    }
  }

  /**
   * Renews in the kernel the mapping of a fake that was not found there though it is active, unless the
   * kernel got it later than that: it fails where somebody has taken it out.
   *
   * @returns whether it is renewed
   */
  recheck(fake: Uint8Array, missedAtMs: number, nowMs: number): boolean {
    const slot = this.#findFake(fake);
    if (slot === NONE || !this.#isActive(slot)) return false;
    if (this.#slots.addedMs[slot]! >= missedAtMs) return false;
    this.#renew(slot, nowMs);
    return true;
  }

  /**
   * Takes over a pair that the kernel has, with a full lifetime and as known there.
   *
   * @param ageMs for how long the kernel has had it, as far as its own timeout is concerned
   * @returns false where it cannot be one of ours: the fake outside the prefix or never given, the
   * real inside it, or one of the two in another pair
   */
  adopt(pair: Pair, nowMs: number, ageMs = 0): boolean {
    const slot = this.#adopt(pair, nowMs);
    if (slot === NONE) return false;
    this.#enter(slot, nowMs, nowMs - ageMs, this.#options.log.skip());
    if (this.#isPromised(slot, nowMs)) this.#setAside(slot);
    return true;
  }

  /**
   * Takes over a pair that only conntrack knows, so that its fake is quarantined.
   *
   * @returns false where it cannot be one of ours, as with `adopt`
   */
  adoptQuarantined(pair: Pair, nowMs: number): boolean {
    const slot = this.#adopt(pair, nowMs);
    if (slot === NONE) return false;
    this.#slots.states[slot] = State.INACTIVE;
    this.#quarantine.put(slot, nowMs, this.#options.log.skip());
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
    this.#deactivate(slot);
    this.#quarantine.put(slot, this.#slots.usedMs[slot]!, revision);
    return true;
  }

  /** Takes note of how long the kernel keeps an element; `Infinity` if it never forgets one. */
  expectTimeout(timeoutMs: number): void {
    this.#renewMs = timeoutMs * RENEW_SHARE;
  }

  /**
   * Forgets all mappings without a word in the log, so that what the kernel has can be adopted;
   * none of them may have been handed out.
   *
   * @param promiseEndsMs until when an earlier run has promised that what is adopted now is active
   */
  startOver(promiseEndsMs = -Infinity): void {
    this.#promiseEndsMs = promiseEndsMs;
    for (let slot = this.#inKernel.oldest; slot !== NONE; slot = this.#inKernel.oldest) {
      this.#deactivate(slot);
      this.#shares.free(slot);
      this.#unbind(slot);
      this.#freeSlots.push(slot);
    }
    for (let slot = this.#quarantine.any; slot !== NONE; slot = this.#quarantine.any) {
      if (!this.#quarantine.isReusable(slot)) this.#shares.free(slot);
      this.#quarantine.take(slot);
      this.#unbind(slot);
      this.#slots.isPromised[slot] = 0;
      this.#freeSlots.push(slot);
    }
  }

  /** Whether a fake is a real's, be its mapping active or not. */
  binds({ fake, real }: Pair): boolean {
    const slot = this.#findFake(fake);
    return slot !== NONE && this.#findReal(real) === slot;
  }

  /** Whether a fake stands for a real now. */
  leads({ fake, real }: Pair): boolean {
    return this.binds({ fake, real }) && this.#isActive(this.#findFake(fake));
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
    for (const queue of [this.#promised, this.#active]) {
      for (let slot = queue.oldest; slot !== NONE; slot = queue.after(slot)) {
        if (found[slot] === (FOUND_PAIR | FOUND_REAL)) continue;
        const revision = this.#slots.revisions[slot]!;
        changes.push({ kind: "add", family, ...this.#pair(slot), revision });
      }
    }
    return changes;
  }

  /** An active slot for `#real`, which has none. */
  #allocate(part: Part, holder: Holder | undefined, nowMs: number): number {
    const isFull = this.size + this.quarantined >= this.#slotsMax;
    const slot = isFull ? this.#quarantine.next : this.#takeSlot();
    const isReused = isFull && !this.#quarantine.isClean(slot);
    if (isFull) this.#free(slot);
    else this.#options.pool.choose(this.#real, this.#fake, this.#isTaken);
    this.#bind(slot);
    this.#shares.assign(slot, part, holder);
    this.#activate(slot, nowMs, isReused);
    this.#slots.answeredMs[slot] = nowMs;
    return slot;
  }

  /** Takes a fake that is to be reused from its real; it goes to `#fake`. */
  #free(slot: number): void {
    this.#quarantine.take(slot);
    this.#fakes.get(slot, this.#fake);
    this.#unbind(slot);
  }

  #takeSlot(): number {
    const slot = this.#freeSlots.pop() ?? this.#slotsUsed++;
    this.#slots.makeRoom(slot);
    return slot;
  }

  #bind(slot: number): void {
    this.#reals.set(slot, this.#real);
    this.#fakes.set(slot, this.#fake);
    this.#byReal.add(slot);
    this.#byFake.add(slot);
  }

  #unbind(slot: number): void {
    this.#byReal.remove(slot);
    this.#byFake.remove(slot);
  }

  /** A slot for a pair that is taken over, in no queue yet, or `NONE`. */
  #adopt({ fake, real }: Pair, nowMs: number): number {
    if (fake.length !== ADDRESS_LENGTH[this.family] || real.length !== fake.length) return NONE;
    const { pool } = this.#options;
    readWords(fake, this.#fake);
    readWords(real, this.#real);
    if (!pool.contains(this.#fake) || !pool.isUsable(this.#fake)) return NONE;
    if (pool.contains(this.#real)) return NONE;
    if (this.#byReal.find(this.#real) !== NONE || this.#isTaken(this.#fake)) return NONE;
    if (this.size + this.quarantined >= this.#slotsMax) return NONE;
    const slot = this.#takeSlot();
    this.#bind(slot);
    this.#shares.assignAnyway(slot);
    this.#slots.isPromised[slot] = nowMs + this.#options.ttlMs < this.#promiseEndsMs ? 1 : 0;
    this.#slots.answeredMs[slot] = nowMs;
    return slot;
  }

  /** Begins the lifetime of an active mapping anew, as a client gets it. */
  #answer(slot: number, nowMs: number): void {
    this.#touch(slot, nowMs);
    this.#shares.ease(slot);
    this.#slots.answeredMs[slot] = nowMs;
  }

  /** Begins the lifetime of an active mapping anew. */
  #touch(slot: number, nowMs: number): void {
    if (this.#slots.states[slot] === State.ACTIVE) {
      this.#active.renew(slot);
    } else {
      this.#promised.remove(slot);
      this.#active.push(slot);
      this.#slots.states[slot] = State.ACTIVE;
    }
    this.#slots.usedMs[slot] = nowMs;
  }

  #reactivate(slot: number, nowMs: number): void {
    this.#quarantine.take(slot);
    this.#activate(slot, nowMs, false);
  }

  /** Makes the mapping of a slot that is in no queue active, in the kernel too. */
  #activate(slot: number, nowMs: number, isReused: boolean): void {
    const revision = this.#options.log.push("add", this.family, this.#pair(slot), isReused);
    this.#enter(slot, nowMs, nowMs, revision);
  }

  #enter(slot: number, nowMs: number, addedMs: number, revision: number): void {
    this.#slots.revisions[slot] = revision;
    this.#byRevision.set(revision, slot);
    this.#slots.states[slot] = State.ACTIVE;
    this.#slots.usedMs[slot] = nowMs;
    this.#slots.addedMs[slot] = addedMs;
    this.#active.push(slot);
    this.#inKernel.push(slot);
  }

  /** Whether an earlier run has promised that a mapping is active still. */
  #isPromised(slot: number, nowMs: number): boolean {
    return this.#slots.isPromised[slot] === 1 && nowMs < this.#promiseEndsMs;
  }

  #setAside(slot: number): void {
    this.#active.remove(slot);
    this.#promised.push(slot);
    this.#slots.states[slot] = State.PROMISED;
  }

  /** Takes an active mapping out of the kernel, its fake into quarantine. */
  #end(slot: number, nowMs: number): void {
    this.#quarantine.put(slot, nowMs, this.#remove(slot));
  }

  /** Takes an idle mapping out of the kernel; its fake may be reused at once. */
  #evict(slot: number, nowMs: number): void {
    this.#quarantine.putReusable(slot, nowMs, this.#remove(slot));
    this.#shares.free(slot);
  }

  /** Takes an active mapping out of the kernel; returns the revision of that. */
  #remove(slot: number): number {
    this.#deactivate(slot);
    return this.#options.log.push("delete", this.family, this.#pair(slot));
  }

  #deactivate(slot: number): void {
    this.#byRevision.delete(this.#slots.revisions[slot]!);
    const isSetAside = this.#slots.states[slot] === State.PROMISED;
    (isSetAside ? this.#promised : this.#active).remove(slot);
    this.#inKernel.remove(slot);
    this.#slots.states[slot] = State.INACTIVE;
    this.#slots.isPromised[slot] = 0;
  }

  #requarantine(slot: number, nowMs: number): void {
    if (this.#quarantine.isReusable(slot)) this.#shares.assignAnyway(slot);
    this.#quarantine.restart(slot, nowMs);
  }

  /** Frees what is behind its quarantine. */
  #release(nowMs: number): void {
    for (;;) {
      const slot = this.#quarantine.release(nowMs);
      if (slot === NONE) return;
      this.#shares.free(slot);
    }
  }

  /** Plans to evict the mapping that is idle longest; false if there is none that may be. */
  #planEviction(addresses: ReplyAddresses, nowMs: number): boolean {
    if (nowMs - this.#trafficReadMs > this.#marginMs) return false;
    const idleMs = this.#evictAfterMs + this.#marginMs;
    const last = this.#plannedEvictions.at(-1);
    let slot = last === undefined ? this.#active.oldest : this.#active.after(last);
    for (let steps = 0; slot !== NONE && steps < EVICTION_STEPS_MAX; steps++) {
      if (nowMs - this.#slots.usedMs[slot]! < idleMs) return false;
      const isCommon = this.#shares.partOf(slot) === Part.COMMON;
      if (isCommon && !this.#isPromised(slot, nowMs) && !this.#isIn(addresses, slot)) {
        this.#plannedEvictions.push(slot);
        this.#shares.credit++;
        return true;
      }
      slot = this.#active.after(slot);
    }
    return false;
  }

  #isIn(addresses: ReplyAddresses, slot: number): boolean {
    for (let n = 0; n < addresses.count; n++) {
      if (addresses.slots[n] === slot && addresses.families[n] === this.family) return true;
    }
    return false;
  }

  #forgetPlan(): void {
    this.#plannedParts.length = this.#plannedSlots.length = this.#plannedEvictions.length = 0;
    this.#shares.credit = 0;
  }

  #noteFill(nowMs: number): void {
    this.#marks.note(this.#shares.commonShare * 100, nowMs);
  }

  #renew(slot: number, nowMs: number): void {
    this.#inKernel.renew(slot);
    this.#slots.addedMs[slot] = nowMs;
    this.#options.log.push("renew", this.family, this.#pair(slot));
  }

  #isActive(slot: number): boolean {
    return this.#slots.states[slot] !== State.INACTIVE;
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

/** Whether the mapping of a slot is active: by itself, or only by what an earlier run promised. */
const State = { INACTIVE: 0, ACTIVE: 1, PROMISED: 2 } as const;

/** What was found of a mapping in the kernel. */
const FOUND_PAIR = 1;
const FOUND_REAL = 2;

/**
 * Share of the kernel's own timeout after which an element is renewed: less than half, as an element
 * that was deleted and added in one batch is as old as it was.
 */
const RENEW_SHARE = 0.4;

/** The margin of an eviction beyond the time for which a client may use its answer, as a share of it. */
const MARGIN_SHARE = 1 / 4;

/** Share of the common part in use from which traffic is read in time for evictions. */
const PRESSURE = 15 / 16;

/** What is kept for each slot, in arrays that grow together. */
class Slots {
  states = new Uint8Array(64);
  isPromised = new Uint8Array(64);
  /** When it was last answered with or carried traffic. */
  usedMs = new Float64Array(64);
  answeredMs = new Float64Array(64);
  addedMs = new Float64Array(64);
  revisions = new Float64Array(64);

  /** Sees to it that `slot` has a place. */
  makeRoom(slot: number): void {
    this.states = grown(this.states, slot);
    this.isPromised = grown(this.isPromised, slot);
    this.usedMs = grown(this.usedMs, slot);
    this.answeredMs = grown(this.answeredMs, slot);
    this.addedMs = grown(this.addedMs, slot);
    this.revisions = grown(this.revisions, slot);
  }
}

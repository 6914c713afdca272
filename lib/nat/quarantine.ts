/**
 * Fakes whose mapping has expired: how long they must not get another real, and which of them gets one
 * first.
 *
 * A quarantine lasts for a fixed time; then the fake may be reused. One that is *clean* goes first:
 * conntrack was listed after the kernel had lost the mapping, and had no connection to the fake. What
 * conntrack knows of any other must be deleted before it stands for another real.
 *
 * Fakes are slots of the table. Time is a parameter, monotonic, in milliseconds.
 *
 * @module
 */
import { AgeQueue, Links, NONE } from "../util/age_queue.ts";
import { grown } from "../util/grown.ts";

/** The slots of one table that are in quarantine or behind it. */
export class Quarantine {
  readonly #durationMs: number;
  /** By when their quarantine began. */
  readonly #serving: AgeQueue;
  /** Those that may be reused, by when they became what they are: clean, or not known to be. */
  readonly #clean: AgeQueue;
  readonly #unclean: AgeQueue;
  /** What is known of each slot. */
  #queues = new Uint8Array(64);
  #isClean = new Uint8Array(64);
  #sinceMs = new Float64Array(64);
  #revisions = new Float64Array(64);
  /** The number of the last listing that showed a connection. */
  #listings = new Uint32Array(64);
  #listing = 0;

  /**
   * @param durationMs how long a quarantine lasts
   * @param links shared with queues that hold none of these slots
   */
  constructor(durationMs: number, links: Links = new Links()) {
    this.#durationMs = durationMs;
    this.#serving = new AgeQueue(links);
    this.#clean = new AgeQueue(links);
    this.#unclean = new AgeQueue(links);
  }

  /** How many slots are in quarantine or behind it. */
  get size(): number {
    return this.#serving.size + this.reusable;
  }

  /** How many of them may be reused. */
  get reusable(): number {
    return this.#clean.size + this.#unclean.size;
  }

  /** When the next quarantine is over; `Infinity` without one. */
  get nextEndMs(): number {
    const { oldest } = this.#serving;
    return oldest === NONE ? Infinity : this.#sinceMs[oldest]! + this.#durationMs;
  }

  /** Whether a slot may be reused. */
  isReusable(slot: number): boolean {
    return this.#queues[slot] === Queue.CLEAN || this.#queues[slot] === Queue.UNCLEAN;
  }

  /** Whether conntrack is known to have nothing of a slot's fake. */
  isClean(slot: number): boolean {
    return this.#isClean[slot] === 1;
  }

  /** Since when a slot is in quarantine. */
  sinceMs(slot: number): number {
    return this.#sinceMs[slot]!;
  }

  /**
   * Quarantines a slot that is in no queue.
   *
   * @param revision of the change that takes its mapping out of the kernel
   */
  put(slot: number, sinceMs: number, revision: number): void {
    this.#enter(slot, sinceMs, revision);
    this.#push(slot, Queue.SERVING);
  }

  /** Lets a slot that is in no queue be reused without a quarantine. */
  putReusable(slot: number, nowMs: number, revision: number): void {
    this.#enter(slot, nowMs, revision);
    this.#push(slot, Queue.UNCLEAN);
  }

  /** Begins the quarantine of a slot anew, as its fake was used. */
  restart(slot: number, nowMs: number): void {
    this.take(slot);
    this.put(slot, nowMs, this.#revisions[slot]!);
  }

  /** Takes a slot out. */
  take(slot: number): void {
    this.#queueOf(slot).remove(slot);
    this.#queues[slot] = Queue.NONE;
  }

  /** Ends the next quarantine that is over; its slot, or `NONE`. */
  release(nowMs: number): number {
    if (this.nextEndMs > nowMs) return NONE;
    const slot = this.#serving.oldest;
    this.#serving.remove(slot);
    this.#push(slot, this.isClean(slot) ? Queue.CLEAN : Queue.UNCLEAN);
    return slot;
  }

  /** Any slot that is in quarantine or behind it, or `NONE`. */
  get any(): number {
    return this.#serving.oldest !== NONE ? this.#serving.oldest : this.next;
  }

  /** The slot to be reused next, or `NONE`. */
  get next(): number {
    return this.#clean.oldest !== NONE ? this.#clean.oldest : this.#unclean.oldest;
  }

  /**
   * Notes a listing of what conntrack knows.
   *
   * @param slots those whose fakes have connections
   * @param revision what the kernel had when the listing began
   */
  noteConnections(slots: Iterable<number>, revision: number): void {
    this.#listing++;
    for (const slot of slots) {
      this.#listings = grown(this.#listings, slot);
      this.#listings[slot] = this.#listing;
    }
    for (const queue of [this.#serving, this.#clean, this.#unclean]) {
      for (let slot = queue.oldest, after = NONE; slot !== NONE; slot = after) {
        after = queue.after(slot);
        const isShown = this.#listings[slot] === this.#listing;
        if (isShown) this.#mark(slot, false);
        else if (this.#revisions[slot]! <= revision) this.#mark(slot, true);
      }
    }
  }

  #mark(slot: number, isClean: boolean): void {
    if (this.isClean(slot) === isClean) return;
    this.#isClean[slot] = isClean ? 1 : 0;
    if (!this.isReusable(slot)) return;
    this.#queueOf(slot).remove(slot);
    this.#push(slot, isClean ? Queue.CLEAN : Queue.UNCLEAN);
  }

  #enter(slot: number, sinceMs: number, revision: number): void {
    this.#queues = grown(this.#queues, slot);
    this.#isClean = grown(this.#isClean, slot);
    this.#sinceMs = grown(this.#sinceMs, slot);
    this.#revisions = grown(this.#revisions, slot);
    this.#isClean[slot] = 0;
    this.#sinceMs[slot] = sinceMs;
    this.#revisions[slot] = revision;
  }

  #push(slot: number, queue: Queue): void {
    this.#queues[slot] = queue;
    this.#queueOf(slot).push(slot);
  }

  #queueOf(slot: number): AgeQueue {
    const queue = this.#queues[slot];
    if (queue === Queue.SERVING) return this.#serving;
    return queue === Queue.CLEAN ? this.#clean : this.#unclean;
  }
}

/** Which queue a slot is in. */
const Queue = { NONE: 0, SERVING: 1, CLEAN: 2, UNCLEAN: 3 } as const;
type Queue = typeof Queue[keyof typeof Queue];

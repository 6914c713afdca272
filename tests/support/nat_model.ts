/**
 * What a NAT table is to do, said plainly: two maps in order of age. The model does not know which
 * fake a new real gets; it is told, and says whether that may be.
 */
import { assert, assertEquals } from "@std/assert";

/** Numbers of the table under test. */
export interface NatModelOptions {
  /** Every fake that may be given. */
  readonly usable: ReadonlySet<string>;
  readonly ttlMs: number;
  readonly restMs: number;
}

interface Living {
  readonly fake: string;
  readonly endsAtMs: number;
  readonly revision: number;
}

interface Resting {
  readonly fake: string;
  readonly sinceMs: number;
}

/** The model of one table. */
export class NatModel {
  /** By real, oldest first. */
  readonly living = new Map<string, Living>();
  /** By real, what rests longest first. */
  readonly resting = new Map<string, Resting>();
  readonly #options: NatModelOptions;
  #changes: string[] = [];

  constructor(options: NatModelOptions) {
    this.#options = options;
  }

  /**
   * Checks what a look-up returned, and notes it.
   *
   * @param newest the newest revision of the log, which a new mapping must have
   */
  lookUp(real: string, nowMs: number, actual: string, newest: number): void {
    const known = this.living.get(real);
    const bound = known ?? this.resting.get(real);
    if (bound !== undefined) assertEquals(actual, bound.fake, "the same real, the same fake");
    else if (!this.#allocate(real, nowMs, actual)) return;
    if (known === undefined) this.#changes.push(`add ${actual} ${real}`);
    this.#live(real, actual, nowMs, known?.revision ?? newest);
  }

  expire(nowMs: number): number {
    const expired = [...this.living].filter(([, { endsAtMs }]) => endsAtMs <= nowMs);
    for (const [real, { fake }] of expired) {
      this.#changes.push(`delete ${fake} ${real}`);
      this.#rest(real, fake, nowMs);
    }
    return expired.length;
  }

  /** Whether the pair may be taken over; notes it, with a revision that is the table's affair. */
  adopt(fake: string, real: string, nowMs: number, revision: number): boolean {
    const isFree = this.#options.usable.has(fake) && !this.#fakes().has(fake) &&
      !this.living.has(real) && !this.resting.has(real);
    if (isFree) this.#live(real, fake, nowMs, revision);
    return isFree;
  }

  drop(revision: number): boolean {
    for (const [real, { fake, endsAtMs, revision: own }] of this.living) {
      if (own !== revision) continue;
      this.#rest(real, fake, endsAtMs - this.#options.ttlMs);
      return true;
    }
    return false;
  }

  /** The changes that the log should hold since the last call, as `add fake real`. */
  takeChanges(): string[] {
    const changes = this.#changes;
    this.#changes = [];
    return changes;
  }

  /** Whether a real that had no fake may get this one. */
  #allocate(real: string, nowMs: number, actual: string): boolean {
    const fakes = this.#fakes();
    if (fakes.size < this.#options.usable.size) {
      assert(this.#options.usable.has(actual), `${actual} is never to be given`);
      assert(!fakes.has(actual), `${actual} is bound to another real than ${real}`);
      return true;
    }
    const [oldest] = this.resting;
    if (oldest === undefined || nowMs - oldest[1].sinceMs < this.#options.restMs) {
      assertEquals(actual, "full");
      return false;
    }
    assertEquals(actual, oldest[1].fake, "the fake that rests longest");
    this.resting.delete(oldest[0]);
    return true;
  }

  #fakes(): Set<string> {
    return new Set([...this.living.values(), ...this.resting.values()].map(({ fake }) => fake));
  }

  #live(real: string, fake: string, nowMs: number, revision: number): void {
    this.living.delete(real);
    this.resting.delete(real);
    this.living.set(real, { fake, endsAtMs: nowMs + this.#options.ttlMs, revision });
  }

  #rest(real: string, fake: string, sinceMs: number): void {
    this.living.delete(real);
    this.resting.set(real, { fake, sinceMs });
  }
}

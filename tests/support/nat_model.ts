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
  readonly quarantineMs: number;
}

interface Active {
  readonly fake: string;
  readonly endsAtMs: number;
  readonly revision: number;
}

interface Quarantined {
  readonly fake: string;
  readonly sinceMs: number;
}

/** The model of one table. */
export class NatModel {
  /** By real, oldest first. */
  readonly active = new Map<string, Active>();
  /** By real, quarantined longest first. */
  readonly quarantined = new Map<string, Quarantined>();
  readonly #options: NatModelOptions;
  #changes: string[] = [];

  constructor(options: NatModelOptions) {
    this.#options = options;
  }

  /**
   * Checks what an answer got, and notes it.
   *
   * @param newest the newest revision of the log, which a new mapping must have
   */
  obtain(real: string, nowMs: number, actual: string, newest: number): void {
    const known = this.active.get(real);
    const bound = known ?? this.quarantined.get(real);
    if (bound !== undefined) assertEquals(actual, bound.fake, "the same real, the same fake");
    else if (!this.#allocate(real, nowMs, actual)) return;
    if (known === undefined) this.#changes.push(`add ${actual} ${real}`);
    this.#activate(real, actual, nowMs, known?.revision ?? newest);
  }

  expire(nowMs: number): number {
    const expired = [...this.active].filter(([, { endsAtMs }]) => endsAtMs <= nowMs);
    for (const [real, { fake }] of expired) {
      this.#changes.push(`delete ${fake} ${real}`);
      this.#quarantine(real, fake, nowMs);
    }
    return expired.length;
  }

  /** Whether the pair may be taken over; notes it, with a revision that is the table's affair. */
  adopt(fake: string, real: string, nowMs: number, revision: number): boolean {
    const isFree = this.#options.usable.has(fake) && !this.#fakes().has(fake) &&
      !this.active.has(real) && !this.quarantined.has(real);
    if (isFree) this.#activate(real, fake, nowMs, revision);
    return isFree;
  }

  drop(revision: number): boolean {
    for (const [real, { fake, endsAtMs, revision: own }] of this.active) {
      if (own !== revision) continue;
      this.#quarantine(real, fake, endsAtMs - this.#options.ttlMs);
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
    const [oldest] = this.quarantined;
    if (oldest === undefined || nowMs - oldest[1].sinceMs < this.#options.quarantineMs) {
      assertEquals(actual, "full");
      return false;
    }
    assertEquals(actual, oldest[1].fake, "the fake quarantined longest");
    this.quarantined.delete(oldest[0]);
    return true;
  }

  #fakes(): Set<string> {
    return new Set([...this.active.values(), ...this.quarantined.values()].map(({ fake }) => fake));
  }

  #activate(real: string, fake: string, nowMs: number, revision: number): void {
    this.active.delete(real);
    this.quarantined.delete(real);
    this.active.set(real, { fake, endsAtMs: nowMs + this.#options.ttlMs, revision });
  }

  #quarantine(real: string, fake: string, sinceMs: number): void {
    this.active.delete(real);
    this.quarantined.set(real, { fake, sinceMs });
  }
}

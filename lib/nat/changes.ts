/**
 * The ordered log of changes between the NAT tables and the kernel.
 *
 * Each change has a revision, one higher than the one before it, over both families. Who takes
 * changes takes the oldest; what the kernel has is then told by one number.
 *
 * @module
 */
import type { Family } from "../address.ts";

/** A fake and the real address that it stands for, octets in network order. */
export interface Pair {
  readonly fake: Uint8Array;
  readonly real: Uint8Array;
}

/** One pair to add to the kernel's sets, to delete from them, or to give a new lifetime there. */
export interface Change extends Pair {
  readonly kind: "add" | "delete" | "renew";
  readonly family: Family;
  readonly revision: number;
  /** Only the map's element (fake : real) or only the set's (real); both where it is left out. */
  readonly part?: "map" | "set";
  /** Whether the fake has stood for another real before: conntrack may know it by that. */
  readonly isReused?: boolean;
}

/** Changes that nobody has taken yet, oldest first. */
export class ChangeLog {
  #pending: Change[] = [];
  /** The revision of the newest change ever; 0 before the first. */
  revision = 0;

  /** How many changes wait to be taken. */
  get size(): number {
    return this.#pending.length;
  }

  /** Notes a change and returns its revision. */
  push(kind: Change["kind"], family: Family, { fake, real }: Pair, isReused = false): number {
    this.#pending.push({ kind, family, fake, real, revision: ++this.revision, isReused });
    return this.revision;
  }

  /** A revision for what the kernel has already, so that nothing need be done. */
  skip(): number {
    return ++this.revision;
  }

  /** Takes the oldest changes, at most `most`. */
  take(most: number): Change[] {
    if (this.#pending.length <= most) return this.takeAll();
    return this.#pending.splice(0, most);
  }

  /** Takes every change. */
  takeAll(): Change[] {
    const taken = this.#pending;
    this.#pending = [];
    return taken;
  }
}

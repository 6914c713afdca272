/**
 * The addresses of one reply that are to be mapped: where they lie in it and, once they are mapped,
 * which mapping each has. One list serves all replies, one after the other; it holds a bounded number
 * and makes no objects.
 *
 * @module
 */
import { NONE } from "../util/age_queue.ts";
import type { Family } from "../address.ts";

/**
 * Addresses that are mapped for one reply. A reply of 1232 octets, the usual limit over UDP, has room
 * for 75 A records; it stops one reply that would take a pool, or much time.
 */
export const ADDRESSES_PER_REPLY_MAX = 128;

const NO_VIEW = new DataView(new ArrayBuffer(0));

/** Addresses by their number, the first one 0. */
export class ReplyAddresses {
  /** The message that they lie in. */
  view: DataView = NO_VIEW;
  /** How many there are. */
  count = 0;
  /** Where each begins in the message. */
  readonly offsets: Int32Array = new Int32Array(ADDRESSES_PER_REPLY_MAX);
  /** The IP version of each. */
  readonly families: Uint8Array = new Uint8Array(ADDRESSES_PER_REPLY_MAX);
  /** Slot of the mapping of each in the table of its IP version, `NONE` while it has none. */
  readonly slots: Int32Array = new Int32Array(ADDRESSES_PER_REPLY_MAX);

  /** Empties the list for another message. */
  reset(view: DataView): void {
    this.view = view;
    this.count = 0;
  }

  /** Adds the address at an offset; false if the list is full. */
  add(offset: number, family: Family): boolean {
    const n = this.count;
    if (n === ADDRESSES_PER_REPLY_MAX) return false;
    this.offsets[n] = offset;
    this.families[n] = family;
    this.slots[n] = NONE;
    this.count++;
    return true;
  }

  /** Whether an address stands more than once in the list and this is not the first place. */
  isRepeated(n: number): boolean {
    for (let before = 0; before < n; before++) {
      if (this.families[before] === this.families[n] && this.#equals(before, n)) return true;
    }
    return false;
  }

  #equals(a: number, b: number): boolean {
    const { view, offsets, families } = this;
    const length = families[a] === 4 ? 4 : 16;
    for (let i = 0; i < length; i += 4) {
      if (view.getUint32(offsets[a]! + i) !== view.getUint32(offsets[b]! + i)) return false;
    }
    return true;
  }
}

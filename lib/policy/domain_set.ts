/**
 * A set of rules about names, matched on bytes where a name lies in a message.
 *
 * A rule is about a name and all below it, about exactly that name, or excepts a name and all below
 * it; the most specific one decides. `www.example.com` is below `example.com`, `notexample.com` is
 * not, and everything is below the root.
 *
 * The names form a tree of labels, which is walked from the root. It lies in two flat arrays: a record
 * for each label, and a hash table of where the records are. A lookup reads a slot and a record for
 * each label that it knows, and a slot for the first that it does not; it makes no string and no
 * object. Rules can be added and not removed: other rules make another set.
 *
 * @module
 */
import { LABEL_LENGTH_MAX, NAME_LABELS_MAX } from "../dns/constants.ts";
import { type LabelWalk, lowerCase, sameOctets } from "../dns/name.ts";
import type { LabelHash } from "./label_hash.ts";

/** What a rule says of its name. */
export const Rule = {
  /** The name and all below it are in the set. */
  SUBTREE: 1,
  /** The name and all below it are not; for the same name it wins over `SUBTREE`. */
  EXCEPTION: 2,
  /** The name itself is in the set, whatever the others say. */
  EXACT: 4,
} as const;
/** A value of `Rule`. */
export type Rule = typeof Rule[keyof typeof Rule];

/** A rule and its name in wire format, uncompressed, as `nameFromText` makes it. */
export interface DomainRule {
  readonly name: Uint8Array;
  readonly rule: Rule;
}

/** In the flags of a record: there are labels below this one. */
const IS_PARENT = 8;

/** Offsets in a record: the record of the label above, flags, and the label itself. */
const Field = { PARENT: 0, FLAGS: 4, LABEL: 5 } as const;
const RECORD_LENGTH_MAX = Field.LABEL + 1 + LABEL_LENGTH_MAX;
/** Records begin at multiples of four octets, so a slot holds a quarter of the offset. */
const ALIGNMENT_BITS = 2;

/** A slot holds where a record is, and in the bits above some of the hash: few records are read in vain. */
const PLACE_MASK = 0x03ff_ffff;
const SLOTS_MIN = 64;

/** Octets of all records: what a slot can tell apart, and enough for ten million names. */
export const OCTETS_MAX = (PLACE_MASK + 1) << ALIGNMENT_BITS;

const ROOT = 0;
/** No record, and a slot that is free: the root is in no slot. */
const NONE = 0;

/** Rules about names. */
export class DomainSet {
  /** How many rules there are; one that was added twice counts once. */
  size = 0;
  readonly #hash: LabelHash;
  readonly #octetsMax: number;
  /** Open addressing with linear probing. */
  #slots: Int32Array = new Int32Array(SLOTS_MIN);
  #mask = SLOTS_MIN - 1;
  #records: DataView = new DataView(new ArrayBuffer(2 * RECORD_LENGTH_MAX));
  #count = 0;
  /** Where the next record goes; the root's is the first. */
  #end: number = recordEnd(ROOT, 0);
  readonly #offsets = new Int32Array(NAME_LABELS_MAX);

  /**
   * @param hash keyed, so that nobody can make lookups slow
   * @param expected how many labels there may be: no pause to make room for so many
   */
  constructor(
    hash: LabelHash,
    rules: Iterable<DomainRule> = [],
    { expected = 0, octetsMax = OCTETS_MAX } = {},
  ) {
    this.#hash = hash;
    this.#octetsMax = octetsMax;
    while (isCrowded(expected, this.#slots.length)) this.#growSlots();
    for (const { name, rule } of rules) {
      this.add(new DataView(name.buffer, name.byteOffset, name.byteLength), 0, rule);
    }
  }

  /** Whether the name that `walk` followed last is in the set. */
  covers(view: DataView, walk: LabelWalk): boolean {
    let record = ROOT;
    let flags = this.#records.getUint8(ROOT + Field.FLAGS);
    let isCovered = (flags & (Rule.SUBTREE | Rule.EXCEPTION)) === Rule.SUBTREE;
    for (let i = walk.count - 1; i >= 0; i--) {
      if ((flags & IS_PARENT) === 0) return isCovered;
      const at = walk.offsets[i]!;
      record = this.#find(record, view, at, this.#hash.of(record, view, at));
      if (record === NONE) return isCovered;
      flags = this.#records.getUint8(record + Field.FLAGS);
      if ((flags & Rule.EXCEPTION) !== 0) isCovered = false;
      else if ((flags & Rule.SUBTREE) !== 0) isCovered = true;
    }
    return isCovered || (flags & Rule.EXACT) !== 0;
  }

  /**
   * Adds a rule about a name.
   *
   * @param at offset of the name, which is in wire format and not compressed
   * @returns whether there was room for it
   */
  add(view: DataView, at: number, rule: Rule): boolean {
    let count = 0;
    for (let label = at; view.getUint8(label) !== 0; label += 1 + view.getUint8(label)) {
      this.#offsets[count++] = label;
    }
    let record = ROOT;
    while (count > 0) {
      const label = this.#offsets[--count]!;
      const hash = this.#hash.of(record, view, label);
      const known = this.#find(record, view, label, hash);
      record = known === NONE ? this.#append(record, view, label, hash) : known;
      if (record === NONE) return false;
    }
    const flags = this.#records.getUint8(record + Field.FLAGS);
    if ((flags & rule) === 0) this.size++;
    this.#records.setUint8(record + Field.FLAGS, flags | rule);
    return true;
  }

  #find(parent: number, view: DataView, label: number, hash: number): number {
    const slots = this.#slots;
    for (let i = hash & this.#mask;; i = (i + 1) & this.#mask) {
      const slot = slots[i]!;
      if (slot === NONE) return NONE;
      if (((slot ^ hash) & ~PLACE_MASK) !== 0) continue;
      const record = (slot & PLACE_MASK) << ALIGNMENT_BITS;
      if (this.#is(record, parent, view, label)) return record;
    }
  }

  #is(record: number, parent: number, view: DataView, label: number): boolean {
    const records = this.#records;
    const length = view.getUint8(label);
    return records.getInt32(record + Field.PARENT) === parent &&
      records.getUint8(record + Field.LABEL) === length &&
      sameOctets(records, record + Field.LABEL + 1, view, label + 1, length);
  }

  #append(parent: number, view: DataView, label: number, hash: number): number {
    const record = this.#end;
    const length = view.getUint8(label);
    const end = recordEnd(record, length);
    if (end > this.#octetsMax) return NONE;
    if (end > this.#records.byteLength) {
      const larger = new Uint8Array(this.#records.byteLength * 2);
      larger.set(new Uint8Array(this.#records.buffer));
      this.#records = new DataView(larger.buffer);
    }
    const records = this.#records;
    records.setInt32(record + Field.PARENT, parent);
    for (let i = 0; i <= length; i++) {
      records.setUint8(record + Field.LABEL + i, lowerCase(view.getUint8(label + i)));
    }
    const above = records.getUint8(parent + Field.FLAGS);
    records.setUint8(parent + Field.FLAGS, above | IS_PARENT);
    this.#end = end;
    this.#count++;
    if (isCrowded(this.#count, this.#slots.length)) this.#growSlots();
    else this.#fillSlot(record, hash);
    return record;
  }

  #fillSlot(record: number, hash: number): void {
    let i = hash & this.#mask;
    while (this.#slots[i] !== NONE) i = (i + 1) & this.#mask;
    this.#slots[i] = (hash & ~PLACE_MASK) | (record >> ALIGNMENT_BITS);
  }

  /** Makes twice as many slots and finds a place in them for every record. */
  #growSlots(): void {
    this.#slots = new Int32Array(this.#slots.length * 2);
    this.#mask = this.#slots.length - 1;
    const records = this.#records;
    for (let record = recordEnd(ROOT, 0); record < this.#end;) {
      const label = record + Field.LABEL;
      this.#fillSlot(record, this.#hash.of(records.getInt32(record), records, label));
      record = recordEnd(record, records.getUint8(label));
    }
  }
}

/** Whether more than two in three slots are taken: linear probing would be slow. */
function isCrowded(count: number, slots: number): boolean {
  return count * 3 > slots * 2;
}

/** Where the record behind one with a label of `length` octets begins. */
function recordEnd(record: number, length: number): number {
  const end = record + Field.LABEL + 1 + length;
  return (end + (1 << ALIGNMENT_BITS) - 1) >> ALIGNMENT_BITS << ALIGNMENT_BITS;
}

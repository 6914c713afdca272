/**
 * Who may have a fake of a pool, so that no configured name and no client takes it from all others.
 *
 * A pool has three parts. The common one, three quarters, goes to whoever comes first. Of the rest, one
 * half is kept for names and one for clients that hold little: fewer fakes than are left in that half.
 * So a lone name or a lone client may have three quarters; whatever it does, another name still gets
 * fakes for any client, and another client for any name, each the fewer the more of them come.
 *
 * A fake counts from when it is taken until its quarantine is over, for the name and the client that
 * it was taken for. What is not taken for anyone, as an earlier run left it, is common. Names and
 * clients that hold nothing are not remembered.
 *
 * @module
 */
import { grown } from "../util/grown.ts";

/** What a fake is taken for. */
export interface Holder {
  /** The configured name that a reply is about. */
  readonly name: string;
  /** The client that asked. */
  readonly client: string;
}

/** The part of a pool that a fake is taken from. */
export const Part = { NONE: 0, COMMON: 1, FOR_NAMES: 2, FOR_CLIENTS: 3 } as const;
export type Part = typeof Part[keyof typeof Part];

/** Share of a pool that is kept for names that hold little, and again for such clients. */
export const KEPT_SHARE = 1 / 8;

/** A name or a client, and how many fakes it holds in all parts. */
interface Holding {
  readonly key: string;
  count: number;
}

/** The parts of one pool, and who holds what. */
export class Shares {
  readonly capacity: number;
  readonly #limits: readonly number[];
  readonly #used = [0, 0, 0, 0];
  readonly #names = new Map<string, Holding>();
  readonly #clients = new Map<string, Holding>();
  /** By slot. */
  #parts = new Uint8Array(64);
  readonly #nameOf: (Holding | undefined)[] = [];
  readonly #clientOf: (Holding | undefined)[] = [];
  /** Fakes of the common part that count as free already, since they are about to be freed. */
  credit = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    const kept = Math.floor(capacity * KEPT_SHARE);
    this.#limits = [0, capacity - 2 * kept, kept, kept];
  }

  /** How many fakes are held. */
  get held(): number {
    return this.#used[Part.COMMON]! + this.#used[Part.FOR_NAMES]! + this.#used[Part.FOR_CLIENTS]!;
  }

  /** Whether none is left, for whomever. */
  get isFull(): boolean {
    return this.held - this.credit >= this.capacity;
  }

  /** How much of the common part is held, 1 for all. */
  get commonShare(): number {
    return this.#used[Part.COMMON]! / this.#limits[Part.COMMON]!;
  }

  /** How many names and clients are remembered. */
  get holders(): number {
    return this.#names.size + this.#clients.size;
  }

  /** The part that the fake of a slot is held in. */
  partOf(slot: number): Part {
    return (this.#parts[slot] ?? Part.NONE) as Part;
  }

  /**
   * Takes a fake for a holder, or for nobody; `assign` says later which.
   *
   * @returns `Part.NONE` if it may have none
   */
  take(holder?: Holder): Part {
    const part = this.#partFor(holder);
    if (part !== Part.NONE) this.#count(part, holder, 1);
    return part;
  }

  /** Undoes a `take` that was not assigned. */
  giveBack(part: Part, holder?: Holder): void {
    this.#count(part, holder, -1);
  }

  /** Names the slot of a fake that was taken. */
  assign(slot: number, part: Part, holder?: Holder): void {
    this.#parts = grown(this.#parts, slot);
    this.#parts[slot] = part;
    this.#nameOf[slot] = holder && this.#names.get(holder.name);
    this.#clientOf[slot] = holder && this.#clients.get(holder.client);
  }

  /** Takes a fake of the common part for nobody, as it is in use whether there is room or not. */
  assignAnyway(slot: number): void {
    this.#count(Part.COMMON, undefined, 1);
    this.assign(slot, Part.COMMON);
  }

  /** Moves the fake of a slot to the common part, if that has room again. */
  ease(slot: number): void {
    if (this.#parts[slot] === Part.COMMON || this.#leftIn(Part.COMMON) <= 0) return;
    this.#used[this.#parts[slot]!]!--;
    this.#used[Part.COMMON]!++;
    this.#parts[slot] = Part.COMMON;
  }

  /** Frees the fake of a slot. */
  free(slot: number): void {
    this.#used[this.partOf(slot)]!--;
    add(this.#names, this.#nameOf[slot], -1);
    add(this.#clients, this.#clientOf[slot], -1);
    this.#nameOf[slot] = this.#clientOf[slot] = undefined;
    this.#parts[slot] = Part.NONE;
  }

  #partFor(holder?: Holder): Part {
    if (this.isFull) return Part.NONE;
    if (this.#leftIn(Part.COMMON) + this.credit > 0) return Part.COMMON;
    if (holder === undefined) return Part.NONE;
    const { name, client } = holder;
    if ((this.#names.get(name)?.count ?? 0) < this.#leftIn(Part.FOR_NAMES)) return Part.FOR_NAMES;
    const ofClient = this.#clients.get(client)?.count ?? 0;
    return ofClient < this.#leftIn(Part.FOR_CLIENTS) ? Part.FOR_CLIENTS : Part.NONE;
  }

  #leftIn(part: Part): number {
    return this.#limits[part]! - this.#used[part]!;
  }

  #count(part: Part, holder: Holder | undefined, change: 1 | -1): void {
    this.#used[part]! += change;
    if (holder === undefined) return;
    add(this.#names, find(this.#names, holder.name), change);
    add(this.#clients, find(this.#clients, holder.client), change);
  }
}

function find(holdings: Map<string, Holding>, key: string): Holding {
  return holdings.get(key) ?? { key, count: 0 };
}

/** Changes what is held; only who holds something is remembered. */
function add(holdings: Map<string, Holding>, holding: Holding | undefined, change: 1 | -1): void {
  if (holding === undefined) return;
  holding.count += change;
  if (holding.count === 0) holdings.delete(holding.key);
  else if (change === 1 && holding.count === 1) holdings.set(holding.key, holding);
}

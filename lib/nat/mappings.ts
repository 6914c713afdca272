/**
 * The mappings of both IP versions as one: what holds for all of them, whichever table they are in.
 *
 * A lease is what a reply has of a mapping: the revision with which the mapping became active. It is
 * one number over both tables, good until the mapping expires or is dropped. What concerns one IP
 * version only (addresses, the kernel's sets) is asked of that table.
 *
 * @module
 */
import type { Family } from "../address.ts";
import type { ReplyAddresses } from "./reply_addresses.ts";
import type { Holder } from "./shares.ts";
import type { Refusal, Table } from "./table.ts";

/** The mappings of both IP versions. */
export class Mappings {
  readonly #ipv4: Table;
  readonly #ipv6: Table;

  constructor(ipv4: Table, ipv6: Table) {
    this.#ipv4 = ipv4;
    this.#ipv6 = ipv6;
  }

  /** Those of one IP version. */
  of(family: Family): Table {
    return family === 4 ? this.#ipv4 : this.#ipv6;
  }

  /** How many mappings are active. */
  get size(): number {
    return this.#ipv4.size + this.#ipv6.size;
  }

  /** Whether no mapping is active and no fake quarantined. */
  get isEmpty(): boolean {
    return this.#ipv4.isEmpty && this.#ipv6.isEmpty;
  }

  /** When the next mapping expires unless it is used before; `Infinity` without one. */
  get nextExpiryMs(): number {
    return Math.min(this.#ipv4.nextExpiryMs, this.#ipv6.nextExpiryMs);
  }

  /** When `expire` or `renew` has something to do; `Infinity` if never. */
  get nextDeadlineMs(): number {
    return Math.min(this.nextExpiryMs, this.#ipv4.nextRenewalMs, this.#ipv6.nextRenewalMs);
  }

  /**
   * When traffic should be read again, as only what is known to be idle is evicted; `Infinity` if it
   * need not be for that.
   */
  get trafficDueMs(): number {
    return Math.min(this.#ipv4.trafficDueMs, this.#ipv6.trafficDueMs);
  }

  /** Finds the mappings of a reply's addresses; if all are active, begins their lifetimes anew. */
  renewAll(addresses: ReplyAddresses, nowMs: number): boolean {
    const areActive = this.#ipv4.find(addresses);
    if (!this.#ipv6.find(addresses) || !areActive) return false;
    this.#ipv4.answer(addresses, nowMs);
    this.#ipv6.answer(addresses, nowMs);
    return true;
  }

  /**
   * Maps the addresses that `renewAll` has looked for, all or none.
   *
   * @param holder whom the fakes that are taken for them count for
   * @returns why none is mapped; then nothing has changed
   */
  mapAll(
    addresses: ReplyAddresses,
    holder: Holder | undefined,
    nowMs: number,
  ): Refusal | undefined {
    const refusal = this.#ipv4.plan(addresses, holder, nowMs);
    if (refusal !== undefined) return refusal;
    const refusal6 = this.#ipv6.plan(addresses, holder, nowMs);
    if (refusal6 !== undefined) {
      this.#ipv4.cancel(holder);
      return refusal6;
    }
    this.#ipv4.carryOut(addresses, holder, nowMs);
    this.#ipv6.carryOut(addresses, holder, nowMs);
    return undefined;
  }

  /** The lease of a mapping in a list: what the kernel must have before it is handed out. */
  lease(addresses: ReplyAddresses, n: number): number {
    return (addresses.families[n] === 4 ? this.#ipv4 : this.#ipv6).revision(addresses.slots[n]!);
  }

  /** Writes the fakes of a list over the real addresses in its message. */
  writeFakes(addresses: ReplyAddresses): void {
    for (let n = 0; n < addresses.count; n++) {
      const table = addresses.families[n] === 4 ? this.#ipv4 : this.#ipv6;
      table.writeFake(addresses.slots[n]!, addresses.view, addresses.offsets[n]!);
    }
  }

  /** Whether the mapping of a lease has been active since. */
  holds(lease: number): boolean {
    return this.#ipv4.holds(lease) || this.#ipv6.holds(lease);
  }

  /** Begins the lifetime of the mapping of a lease anew, if it is active. */
  prolong(lease: number, nowMs: number): void {
    this.#ipv4.prolong(lease, nowMs);
    this.#ipv6.prolong(lease, nowMs);
  }

  /**
   * Quarantines the mapping of a lease, as the kernel refused it.
   *
   * @returns false if it has expired, or became active anew
   */
  drop(lease: number): boolean {
    return this.#ipv4.drop(lease) || this.#ipv6.drop(lease);
  }

  /** Quarantines what has outlived its time; returns how many. */
  expire(nowMs: number): number {
    return this.#ipv4.expire(nowMs) + this.#ipv6.expire(nowMs);
  }

  /** Renews in the kernel what has been there for long, and in each table `most` of the others. */
  renew(nowMs: number, most = 0): void {
    this.#ipv4.renew(nowMs, most);
    this.#ipv6.renew(nowMs, most);
  }
}

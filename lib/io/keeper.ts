/**
 * Keeps mappings and kernel together over time: lets mappings expire, renews what the kernel would
 * forget, and looks for what nobody tells dotp: traffic to a fake, packets to a fake that stands for
 * nothing, sets that somebody else has changed.
 *
 * All of it is paced so that it costs next to nothing. Each second, while there are mappings, those
 * that were in the kernel for longest are added anew, which fails where somebody has flushed the sets
 * or taken one of them out; no look-up in nft is as cheap, since nft reads a whole set to find one
 * element. Small sets are also read whole, for no more than a hundredth of the time.
 *
 * @module
 */
import type { Config } from "../config.ts";
import type { Family } from "../address.ts";
import type { Committer } from "../kernel/committer.ts";
import type { KernelNote } from "../nft/listing.ts";
import { FAMILIES, type NoteSet } from "../nft/script.ts";
import type { Table } from "../nat/table.ts";
import { Alarm, nowMs } from "./runtime/clock.ts";
import { log } from "./runtime/log.ts";
import type { NftProgram } from "./portable/nft.ts";

/** How often dotp looks after the kernel while there are mappings. */
export const ROUND_MS = 1_000;
/** Mappings of each IP version that are added anew in a round. */
const RENEWED_PER_ROUND = 8;
/** Up to so many mappings the sets are read whole; larger ones would take nft too much memory. */
export const VERIFY_MAPPINGS_MAX = 2_000;
/** Rounds between two looks at the fakes that were asked for in vain. */
const ROUNDS_TO_MISSES = 2;
/** How much longer than a listing of the sets took is the time until the next one. */
const VERIFY_SHARE = 100;
/** And the most that it is: a listing that took long because nft hung says nothing about the next. */
const VERIFY_PAUSE_MAX_MS = 30_000;
/** The shortest and the longest time that an expired mapping may wait for others to go with it. */
const EXPIRY_INTERVAL_MS = { least: 50, most: 5_000 } as const;
/** Share of the lifetime that it may wait. */
const EXPIRY_SHARE = 20;
/** How long after it woke a mapping may still be in the set of those that were missed. */
const MISSED_MS = 10_000;

/** What a `Keeper` is made of. */
export interface KeeperOptions {
  readonly config: Config;
  readonly tables: Readonly<Record<Family, Table>>;
  readonly committer: Committer;
  readonly nft: NftProgram;
}

/** Looks after mappings and kernel. */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #both: readonly Table[];
  readonly #ttlMs: number;
  readonly #expiry: Alarm;
  readonly #rounds: Alarm;
  /** Sets that could not be read last time, as the rules in use may have none. */
  readonly #unreadable = new Set<NoteSet>();
  #round = 0;
  #nextVerifyMs = 0;
  #misses = new Map<string, number>();

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#both = FAMILIES.map((family) => options.tables[family]);
    this.#ttlMs = options.config.natTtl * 1_000;
    const { least, most } = EXPIRY_INTERVAL_MS;
    const interval = Math.min(most, Math.max(least, this.#ttlMs / EXPIRY_SHARE));
    this.#expiry = new Alarm(interval, () => this.#nextDueMs(), () => this.#expire());
    this.#rounds = new Alarm(
      ROUND_MS,
      () => this.#both.some((table) => table.size + table.resting > 0) ? 0 : Infinity,
      () => this.#lookAround(),
    );
  }

  /** To be called when there may be mappings that were not there before. */
  check(): void {
    this.#expiry.check();
    this.#rounds.check();
  }

  /** Looks no more. */
  stop(): void {
    this.#expiry.stop();
    this.#rounds.stop();
  }

  #nextDueMs(): number {
    return Math.min(...this.#both.map((t) => Math.min(t.nextExpiryMs, t.nextRenewalMs)));
  }

  async #expire(): Promise<void> {
    if (this.#both.some((table) => table.nextExpiryMs <= nowMs())) await this.#noteTraffic();
    for (const table of this.#both) {
      table.expire(nowMs());
      table.renew(nowMs());
    }
    this.#options.committer.start();
  }

  async #noteTraffic(): Promise<void> {
    for (const [table, notes] of await this.#readNotes("seen")) {
      const used = notes.filter(({ ageS }) => ageS * 1_000 < this.#ttlMs);
      table.noteTraffic(used.map(({ fake }) => fake), nowMs());
    }
  }

  async #lookAround(): Promise<void> {
    const { committer } = this.#options;
    for (const table of this.#both) table.renew(nowMs(), RENEWED_PER_ROUND);
    committer.start();
    await committer.caughtUp();
    if (++this.#round % ROUNDS_TO_MISSES === 0) await this.#restoreMissed();
    const mappings = this.#both.reduce((sum, table) => sum + table.size, 0);
    if (mappings > VERIFY_MAPPINGS_MAX || nowMs() < this.#nextVerifyMs) return;
    const startMs = nowMs();
    await committer.verify();
    const pauseMs = Math.min(VERIFY_PAUSE_MAX_MS, (nowMs() - startMs) * VERIFY_SHARE);
    this.#nextVerifyMs = nowMs() + pauseMs;
  }

  /** Wakes mappings that a stale answer still leads to, and finds those that the kernel has lost. */
  async #restoreMissed(): Promise<void> {
    const { committer } = this.#options;
    let isLost = false;
    for (const [table, notes] of await this.#readNotes("missed")) {
      for (const { fake } of notes) {
        const what = table.restore(fake, nowMs());
        const sinceMs = this.#misses.get(fake.join());
        if (what === "woken") this.#misses.set(fake.join(), nowMs());
        isLost ||= what === "living" && sinceMs === undefined;
      }
    }
    for (const [fake, sinceMs] of this.#misses) {
      if (nowMs() - sinceMs > MISSED_MS) this.#misses.delete(fake);
    }
    committer.start();
    if (isLost) await committer.verify();
  }

  /** What the rules have noted of each IP version that has mappings. */
  async #readNotes(set: NoteSet): Promise<[Table, KernelNote[]][]> {
    const { nft } = this.#options;
    const read: [Table, KernelNote[]][] = [];
    try {
      for (const table of this.#both) {
        if (table.size + table.resting === 0) continue;
        read.push([table, await nft.readNotes(table.family, set)]);
      }
      this.#unreadable.delete(set);
    } catch (error) {
      const { message } = error as Error;
      if (!this.#unreadable.has(set)) {
        log.warning("Cannot read what the rules note in nat_{set}: {message}", { set, message });
      }
      this.#unreadable.add(set);
    }
    return read;
  }
}

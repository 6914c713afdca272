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
import { FAMILIES } from "../address.ts";
import type { Committer } from "../kernel/committer.ts";
import type { Kernel, NoteSet } from "../kernel/kernel.ts";
import type { AddressList } from "../kernel/lists.ts";
import type { Mappings } from "../nat/mappings.ts";
import type { Table } from "../nat/table.ts";
import { Alarm, nowMs } from "./runtime/clock.ts";
import { log } from "./runtime/log.ts";

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
/** How long after it was reactivated a mapping may still be in the set of those that were missed. */
const MISSED_MS = 10_000;

/** What a `Keeper` is made of. */
export interface KeeperOptions {
  readonly config: Config;
  readonly mappings: Mappings;
  readonly committer: Committer;
  readonly kernel: Kernel;
}

/** Looks after mappings and kernel. */
export class Keeper {
  readonly #options: KeeperOptions;
  readonly #expiry: Alarm;
  readonly #rounds: Alarm;
  /** Sets that could not be read last time, as the rules in use may have none. */
  readonly #unreadable = new Set<NoteSet>();
  #round = 0;
  #nextVerifyMs = 0;
  #misses = new Map<string, number>();

  constructor(options: KeeperOptions) {
    this.#options = options;
    const ttlMs = options.config.natTtl * 1_000;
    const { least, most } = EXPIRY_INTERVAL_MS;
    const interval = Math.min(most, Math.max(least, ttlMs / EXPIRY_SHARE));
    this.#expiry = new Alarm(interval, () => options.mappings.nextDeadlineMs, () => this.#expire());
    this.#rounds = new Alarm(
      ROUND_MS,
      () => options.mappings.isEmpty ? Infinity : 0,
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

  async #expire(): Promise<void> {
    const { mappings } = this.#options;
    if (mappings.nextExpiryMs <= nowMs()) await this.#noteTraffic();
    mappings.expire(nowMs());
    mappings.renew(nowMs());
    this.#options.committer.start();
  }

  async #noteTraffic(): Promise<void> {
    const readAtMs = nowMs();
    for (const [table, notes] of await this.#readNotes("seen")) {
      table.noteTraffic(notes, readAtMs, nowMs());
    }
  }

  async #lookAround(): Promise<void> {
    const { committer, mappings } = this.#options;
    mappings.renew(nowMs(), RENEWED_PER_ROUND);
    committer.start();
    if (mappings.trafficDueMs <= nowMs()) await this.#noteTraffic();
    await committer.caughtUp();
    if (++this.#round % ROUNDS_TO_MISSES === 0) await this.#restoreMissed();
    if (mappings.size > VERIFY_MAPPINGS_MAX || nowMs() < this.#nextVerifyMs) return;
    const startMs = nowMs();
    await committer.verify();
    const pauseMs = Math.min(VERIFY_PAUSE_MAX_MS, (nowMs() - startMs) * VERIFY_SHARE);
    this.#nextVerifyMs = nowMs() + pauseMs;
  }

  /** Reactivates mappings that a stale answer still leads to, and finds those that the kernel has lost. */
  async #restoreMissed(): Promise<void> {
    const { committer } = this.#options;
    let isLost = false;
    for (const [table, notes] of await this.#readNotes("missed")) {
      for (const fake of notes) {
        const what = table.reactivate(fake, nowMs());
        const sinceMs = this.#misses.get(fake.join());
        if (what === "reactivated") this.#misses.set(fake.join(), nowMs());
        isLost ||= what === "active" && sinceMs === undefined;
      }
    }
    for (const [fake, sinceMs] of this.#misses) {
      if (nowMs() - sinceMs > MISSED_MS) this.#misses.delete(fake);
    }
    committer.start();
    if (isLost) await committer.verify();
  }

  /** What the rules have noted of each IP version that has mappings. */
  async #readNotes(set: NoteSet): Promise<[Table, AddressList][]> {
    const read: [Table, AddressList][] = [];
    for (const family of FAMILIES) {
      const table = this.#options.mappings.of(family);
      if (table.isEmpty) continue;
      const result = await this.#options.kernel.readNotes(family, set);
      if (result.kind === "done") read.push([table, result.value]);
      else return this.#noteUnreadable(set, result.detail);
    }
    this.#unreadable.delete(set);
    return read;
  }

  #noteUnreadable(set: NoteSet, message: string): [] {
    if (!this.#unreadable.has(set)) {
      log.warning("Cannot read what the rules note in nat_{set}: {message}", { set, message });
    }
    this.#unreadable.add(set);
    return [];
  }
}

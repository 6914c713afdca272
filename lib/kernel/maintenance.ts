/**
 * Keeps mappings and kernel together over time: lets mappings expire, renews what the kernel would
 * forget, and finds out what nobody tells dotp: traffic to a fake, packets to a fake that stands for
 * nothing, sets that somebody else has changed, quarantined fakes that have no connections any more.
 *
 * Time is pulled: whoever has a clock asks for `nextDeadlineMs` and calls `handleTimeout` then. What is
 * read of the kernel is paced by how long the last time took, so that it costs next to nothing, and
 * what a packet can make dotp do is bounded, however many come. No lookup in nft is cheap, as nft
 * reads a whole set to find one element, so dotp asks by writing: each second the elements that were in
 * the kernel for longest are renewed, which fails where somebody has flushed the sets or taken one of
 * them out. Only small sets are also read whole.
 *
 * @module
 */
import { FAMILIES } from "../address.ts";
import type { Mappings } from "../nat/mappings.ts";
import type { Table } from "../nat/table.ts";
import { settled, type Steps, take } from "../util/steps.ts";
import type { Committer } from "./committer.ts";
import type { Kernel, KernelEvent, NoteSet } from "./kernel.ts";
import type { AddressList } from "./lists.ts";

/** How often dotp looks after the kernel while there are mappings. */
export const ROUND_MS = 1_000;
/** Mappings of each IP version that are renewed in a round. */
export const RENEWED_PER_ROUND = 8;
/** Rounds between two looks at the fakes that were asked for in vain. */
export const ROUNDS_TO_MISSES = 2;
/** Mappings of an IP version that such a look reactivates, and active ones that it renews. */
export const REACTIVATED_PER_LOOK = 256;
export const RENEWED_PER_LOOK = 8;
/** Up to so many mappings the sets are read whole; larger ones would take nft too much memory. */
export const VERIFY_MAPPINGS_MAX = 2_000;
/** The shortest and the longest time that an expired mapping may wait for others to go with it. */
const EXPIRY_INTERVAL_MS = { least: 50, most: 5_000 } as const;
/** Share of the lifetime that it may wait. */
const EXPIRY_SHARE = 20;

/**
 * By how much longer than something took is the pause before it is done again, and the longest pause:
 * what took long because nft hung says nothing about the next time.
 */
const Pace = {
  /** Reading which fakes carried traffic, before mappings expire. */
  TRAFFIC: { times: 5, mostMs: 30_000 },
  /** Reading the sets whole. */
  VERIFY: { times: 100, mostMs: 30_000 },
  /** Looking for stray connections, and deleting those that were found. */
  STRAY: { times: 50, mostMs: 30_000 },
  STRAY_FOUND: { times: 3, mostMs: 10_000 },
} as const;

/** The longest pause between two listings of connections, if they are worthwhile. */
const CLEANING_PAUSE_MAX_MS = 30_000;

/** Connections are listed while fewer fakes than this share of a pool have never been used. */
export const UNUSED_SHARE = 1 / 8;

/** What a `Maintenance` is made of. */
export interface MaintenanceOptions {
  readonly mappings: Mappings;
  readonly committer: Committer;
  readonly kernel: Kernel;
  /** How long a mapping is active from the last answer with it. */
  readonly ttlMs: number;
  /** The time, asked for when something has been waited for. */
  readonly now: () => number;
  readonly report: (event: KernelEvent) => void;
}

/** Looks after mappings and kernel. */
export class Maintenance {
  readonly #options: MaintenanceOptions;
  /** The shortest time from one expiry to the next. */
  readonly #intervalMs: number;
  #isBusy = false;
  #nextExpiryMs = -Infinity;
  #nextRoundMs = -Infinity;
  #nextVerifyMs = -Infinity;
  #nextConnectionsMs = -Infinity;
  #nextTidyMs = -Infinity;
  #round = 0;
  /** Sets that could not be read last time, as the rules in use may have none. */
  readonly #unreadable = new Set<NoteSet>();

  constructor(options: MaintenanceOptions) {
    this.#options = options;
    const { least, most } = EXPIRY_INTERVAL_MS;
    this.#intervalMs = Math.min(most, Math.max(least, options.ttlMs / EXPIRY_SHARE));
  }

  /** When `handleTimeout` has something to do; `Infinity` while it is at work, or if never. */
  get nextDeadlineMs(): number {
    return this.#isBusy ? Infinity : Math.min(this.#expiryDueMs, this.#roundDueMs);
  }

  get #expiryDueMs(): number {
    return Math.max(this.#options.mappings.nextDeadlineMs, this.#nextExpiryMs);
  }

  get #roundDueMs(): number {
    return this.#options.mappings.isEmpty ? Infinity : this.#nextRoundMs;
  }

  /** Does what is due; the deadline is to be asked for again when that is done. */
  handleTimeout(nowMs: number): void | Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    return take(this.#handle(nowMs));
  }

  *#handle(nowMs: number): Steps<void> {
    try {
      if (this.#expiryDueMs <= nowMs) yield* this.#expire(nowMs);
      if (this.#roundDueMs <= nowMs) {
        yield* this.#lookAround();
        this.#nextRoundMs = this.#options.now() + ROUND_MS;
      }
    } finally {
      this.#isBusy = false;
    }
  }

  *#expire(startMs: number): Steps<void> {
    const { mappings, committer, now } = this.#options;
    this.#nextExpiryMs = startMs + this.#intervalMs;
    if (mappings.nextExpiryMs <= startMs) {
      yield* this.#noteTraffic();
      this.#nextExpiryMs = Math.max(this.#nextExpiryMs, pauseUntil(Pace.TRAFFIC, startMs, now()));
    }
    mappings.expire(now());
    mappings.renew(now());
    committer.start();
  }

  *#lookAround(): Steps<void> {
    const { committer, mappings, now } = this.#options;
    mappings.renew(now(), RENEWED_PER_ROUND);
    committer.start();
    // While nft fails or hangs there is nothing to be learned from it.
    if (!committer.isInStep) return;
    if (mappings.trafficDueMs <= now()) yield* this.#noteTraffic();
    if (++this.#round % ROUNDS_TO_MISSES === 0) yield* this.#handleMisses();
    if (this.#nextTidyMs <= now() && committer.connections.isTidyDue) yield* this.#tidy();
    if (this.#nextConnectionsMs <= now()) yield* this.#noteConnections();
    if (mappings.size <= VERIFY_MAPPINGS_MAX && this.#nextVerifyMs <= now()) this.#verify();
  }

  *#noteTraffic(): Steps<void> {
    const readAtMs = this.#options.now();
    for (const [table, notes] of yield* this.#readNotes("seen")) {
      table.noteTraffic(notes, readAtMs, this.#options.now());
    }
  }

  /**
   * Reactivates mappings that a stale answer still leads to, and renews those that the kernel should
   * have known: that fails where it has lost them. Where it has not, the packet may belong to a
   * connection that was never translated. Whoever sends packets can make notes of any fake, so no more
   * than a few at a time are looked at, and no set is read for them.
   */
  *#handleMisses(): Steps<void> {
    const { committer, now } = this.#options;
    for (const [table, notes] of yield* this.#readNotes("missed")) {
      let reactivated = 0;
      let renewed = 0;
      let n = 0;
      for (const fake of notes) {
        const missedAtMs = now() - notes.ageS(n++) * 1_000;
        if (reactivated === REACTIVATED_PER_LOOK) break;
        const what = table.reactivate(fake, now());
        if (what === "reactivated") reactivated++;
        if (what !== "active") continue;
        committer.connections.expectStray();
        if (renewed < RENEWED_PER_LOOK && table.recheck(fake, missedAtMs, now())) renewed++;
      }
    }
    committer.start();
  }

  *#tidy(): Steps<void> {
    const { committer: { connections }, now } = this.#options;
    const startMs = now();
    yield* connections.tidy(startMs);
    const pace = connections.isTidyDue ? Pace.STRAY_FOUND : Pace.STRAY;
    this.#nextTidyMs = pauseUntil(pace, startMs, now());
  }

  /** Finds the quarantined fakes without connections, where it will matter soon. */
  *#noteConnections(): Steps<void> {
    const { committer: { barrier }, kernel, mappings, now, report, ttlMs } = this.#options;
    for (const family of FAMILIES) {
      const table = mappings.of(family);
      if (!isWorthCleaning(table)) continue;
      const startMs = now();
      // What the kernel has by now it has had before conntrack is asked.
      const { settled: revision } = barrier;
      const result = yield* settled(kernel.readConnections(family));
      if (result.kind === "done") table.noteConnections(result.value, revision);
      else report({ kind: "connections", detail: result.detail });
      const pauseMs = cleaningPauseMs(now() - startMs, ttlMs);
      this.#nextConnectionsMs = Math.max(this.#nextConnectionsMs, now() + pauseMs);
    }
  }

  #verify(): void {
    const { committer, now } = this.#options;
    const startMs = now();
    this.#nextVerifyMs = Infinity;
    void committer.verify().then(() => {
      this.#nextVerifyMs = pauseUntil(Pace.VERIFY, startMs, now());
    });
  }

  /** What the rules have noted of each IP version that has mappings. */
  *#readNotes(set: NoteSet): Steps<[Table, AddressList][]> {
    const { kernel, mappings, report } = this.#options;
    const read: [Table, AddressList][] = [];
    for (const family of FAMILIES) {
      const table = mappings.of(family);
      if (table.isEmpty) continue;
      const result = yield* settled(kernel.readNotes(family, set));
      if (result.kind !== "done") {
        if (!this.#unreadable.has(set)) report({ kind: "notes", set, detail: result.detail });
        this.#unreadable.add(set);
        return [];
      }
      read.push([table, result.value]);
    }
    this.#unreadable.delete(set);
    return read;
  }
}

/** When something may be done again that was begun and has ended just now. */
function pauseUntil(pace: typeof Pace[keyof typeof Pace], startMs: number, endMs: number): number {
  return endMs + Math.min(pace.mostMs, (endMs - startMs) * pace.times);
}

/**
 * The pause after a listing of connections that took so long: a hundred times that, and less where a
 * quarantine, which is as long as a lifetime, would be over by then; but never less than ten times.
 */
function cleaningPauseMs(tookMs: number, ttlMs: number): number {
  return Math.max(10 * tookMs, Math.min(100 * tookMs, CLEANING_PAUSE_MAX_MS, ttlMs / 2));
}

/** Whether a fake in quarantine may be needed soon, as few others are left. */
function isWorthCleaning({ capacity, size, quarantined }: Table): boolean {
  return quarantined > 0 && capacity - size - quarantined < capacity * UNUSED_SHARE;
}

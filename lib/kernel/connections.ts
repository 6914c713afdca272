/**
 * What conntrack knows of fakes, next to what the mappings say: a connection leads where its fake led as
 * it began, whatever the fake has come to stand for since.
 *
 * A fake that gets another real is *used* until its connections to any other address are gone, which is
 * looked at after they have been deleted; it is remembered until that has worked, whatever happens in
 * between. Connections that an earlier run has left are taken over with the mappings: such a fake is
 * quarantined together with the real that its connections lead to, so that nobody else gets it and
 * that real gets it back. *Stray* is what fits no mapping: it leads elsewhere than the fake does now, or
 * was never translated, as its first packet came while the table was absent. Stray ones are deleted.
 *
 * @module
 */
import { FAMILIES, type Family } from "../address.ts";
import type { Change, Pair } from "../nat/changes.ts";
import type { Mappings } from "../nat/mappings.ts";
import { keyOf } from "../nat/net.ts";
import { settled, type Steps } from "../util/steps.ts";
import type { Kernel, KernelEvent } from "./kernel.ts";
import type { PairList } from "./lists.ts";

/** How often in a row it is tried in vain to delete stray connections, before they are left alone. */
export const TIDY_ATTEMPTS_MAX = 5;

/** What a `Connections` is made of. */
export interface ConnectionsOptions {
  readonly kernel: Kernel;
  readonly mappings: Mappings;
  readonly report: (event: KernelEvent) => void;
}

/** Connections of both IP versions, as conntrack lists them. */
export type ConnectionLists = Readonly<Record<Family, PairList>>;

/** Sees to it that connections lead where the mappings do. */
export class Connections {
  readonly #options: ConnectionsOptions;
  /** Fakes that have stood for another real, and that connections to it may be left of. */
  readonly #used = new Set<string>();
  /** How many stray ones the last look has found; undefined while none has. */
  #stray: number | undefined;
  /** How often it may still be tried to delete stray ones in vain. */
  #attempts = 0;

  constructor(options: ConnectionsOptions) {
    this.#options = options;
  }

  /** Remembers the fakes that get another real; to be told of each change before it is written. */
  noteReuse(changes: Iterable<Change>): void {
    for (const { kind, isReused, fake } of changes) {
      if (kind === "add" && isReused) this.#used.add(keyOf(fake));
    }
  }

  /** Whether a change gives a used fake to a real. */
  isUsed({ kind, fake }: Change): boolean {
    return kind === "add" && this.#used.size > 0 && this.#used.has(keyOf(fake));
  }

  /**
   * Deletes the connections of used fakes to others than the reals that they get; a fake counts as used
   * no more once none of them is left.
   */
  *clean(additions: readonly Change[]): Steps<void> {
    for (const family of FAMILIES) {
      const ours = additions.filter((change) => change.family === family);
      if (ours.length === 0) continue;
      let found = yield* this.#findOther(family, ours);
      if (found !== undefined && found.length > 0) {
        yield* this.#delete(found);
        found = yield* this.#findOther(family, ours);
      }
      if (found === undefined) continue;
      const left = new Set(found.map(({ fake }) => keyOf(fake)));
      for (const { fake } of ours) {
        if (!left.has(keyOf(fake))) this.#used.delete(keyOf(fake));
      }
    }
  }

  /** Whether there may be stray connections. */
  get isTidyDue(): boolean {
    return this.#attempts > 0;
  }

  /** To be called when stray connections may have come to be. */
  expectStray(): void {
    this.#attempts = TIDY_ATTEMPTS_MAX;
    this.#stray = undefined;
  }

  /** Lists the connections; undefined where they cannot be listed. */
  *list(): Steps<ConnectionLists | undefined> {
    const lists: Partial<Record<Family, PairList>> = {};
    for (const family of FAMILIES) {
      const list = yield* this.#read(family);
      if (list === undefined) return undefined;
      lists[family] = list;
    }
    return lists as ConnectionLists;
  }

  /**
   * Quarantines fakes whose connections lead to an address that has no other fake, and finds out which
   * connections are stray. Their fakes count as used.
   */
  takeOver(lists: ConnectionLists, nowMs: number): Pair[] {
    const stray: Pair[] = [];
    for (const family of FAMILIES) {
      const table = this.#options.mappings.of(family);
      for (const pair of lists[family]) {
        if (table.binds(pair) || table.adoptQuarantined(pair, nowMs)) continue;
        stray.push(pair);
        this.#used.add(keyOf(pair.fake));
      }
    }
    return stray;
  }

  /** Deletes stray connections, if there are any. How many at a time is the kernel's affair. */
  *tidy(nowMs: number): Steps<void> {
    const lists = yield* this.list();
    const stray = lists && this.takeOver(lists, nowMs);
    const isBetter = stray !== undefined && stray.length < (this.#stray ?? Infinity);
    this.#attempts = isBetter ? TIDY_ATTEMPTS_MAX : this.#attempts - 1;
    this.#stray = stray?.length ?? this.#stray;
    if (stray?.length === 0) this.#attempts = 0;
    else if (stray !== undefined) yield* this.#delete(stray);
  }

  *#delete(pairs: readonly Pair[]): Steps<void> {
    const result = yield* settled(this.#options.kernel.disconnect(pairs));
    if (result.kind === "done") return;
    this.#options.report({ kind: "connections", detail: result.detail });
  }

  *#read(family: Family): Steps<PairList | undefined> {
    const result = yield* settled(this.#options.kernel.readConnections(family));
    if (result.kind === "done") return result.value;
    this.#options.report({ kind: "connections", detail: result.detail });
    return undefined;
  }

  /** Connections of fakes to others than the reals that they get; undefined where nobody can tell. */
  *#findOther(family: Family, additions: readonly Change[]): Steps<Pair[] | undefined> {
    const list = yield* this.#read(family);
    if (list === undefined) return undefined;
    const reals = new Map(additions.map(({ fake, real }) => [keyOf(fake), keyOf(real)]));
    return Array.from(list).filter(({ fake, real }) => {
      const wanted = reals.get(keyOf(fake));
      return wanted !== undefined && wanted !== keyOf(real);
    });
  }
}

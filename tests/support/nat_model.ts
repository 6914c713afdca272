/**
 * What the mappings of one IP version are to do, said plainly: entries in lists by age, and counts that
 * are counted anew each time. The model does not know which unused fake a new real gets; it is told,
 * and says whether that may be.
 */
import { assert, assertEquals } from "@std/assert";
import type { Holder } from "../../lib/nat/shares.ts";
import type { Refusal } from "../../lib/nat/table.ts";

/** Numbers of the table under test. */
export interface NatModelOptions {
  /** Every fake that may be given. */
  readonly usable: ReadonlySet<string>;
  readonly ttlMs: number;
  readonly ttlMaxMs: number;
  readonly quarantineMs: number;
  readonly evictAfterMs: number;
}

type Where = "active" | "promised" | "quarantined" | "clean" | "unclean";
type Part = "common" | "names" | "clients";

interface Entry {
  readonly real: string;
  readonly fake: string;
  where: Where;
  usedMs: number;
  answeredMs: number;
  sinceMs: number;
  /** Of what made it active; of what took it out of the kernel. */
  revision: number;
  endRevision: number;
  isClean: boolean;
  isPromised: boolean;
  part: Part | undefined;
  holder: Holder | undefined;
}

/** What a reply will take. */
export interface Plan {
  /** For each real that takes a fake. */
  readonly parts: Map<string, Part>;
  readonly evicted: Entry[];
}

/** What a reply takes whose mappings are all active. */
export const NOTHING: Plan = { parts: new Map(), evicted: [] };

/** The model of one table. */
export class NatModel {
  readonly #options: NatModelOptions;
  /** Each list by age, oldest first. */
  readonly #lists: Record<Where, Entry[]> = {
    active: [],
    promised: [],
    quarantined: [],
    clean: [],
    unclean: [],
  };
  #promiseEndsMs = -Infinity;
  #readMs = -Infinity;
  #changes: string[] = [];

  constructor(options: NatModelOptions) {
    this.#options = options;
  }

  /** Whether the mappings of all these reals are active. */
  knows(reals: readonly string[]): boolean {
    return reals.every((real) => this.#isActive(this.#of(real)));
  }

  /** What an answer with these reals takes; why it is refused. */
  plan(reals: readonly string[], holder: Holder, nowMs: number): Plan | Refusal {
    this.#release(nowMs);
    const plan: Plan = { parts: new Map(), evicted: [] };
    for (const real of reals) {
      const entry = this.#of(real);
      if (entry?.part !== undefined || plan.parts.has(real)) continue;
      let part = this.#partFor(holder, plan);
      while (part === undefined) {
        const evicted = this.#idlest(reals, plan, nowMs);
        if (evicted === undefined) {
          return this.#isFull(plan) ? "full" : "share";
        }
        plan.evicted.push(evicted);
        part = this.#partFor(holder, plan);
      }
      plan.parts.set(real, part);
    }
    return plan;
  }

  /**
   * Notes an answer with these reals.
   *
   * @param actual the fakes that they got
   * @param revision the oldest of the changes that were noted for it
   * @returns the revision of the change after them
   */
  answer(
    reals: readonly string[],
    plan: Plan,
    holder: Holder,
    nowMs: number,
    actual: readonly string[],
    revision: number,
  ): number {
    let next = revision;
    const { parts, evicted } = plan;
    for (const entry of evicted) {
      this.#leave(entry, next++);
      entry.part = entry.holder = undefined;
      entry.sinceMs = nowMs;
      this.#move(entry, "unclean");
    }
    for (const [real, part] of parts) {
      const entry = this.#of(real);
      if (entry !== undefined) Object.assign(entry, { part, holder });
    }
    const isNew = reals.map((real) => this.#of(real) === undefined);
    const news = new Map([...parts].filter(([real]) => this.#of(real) === undefined));
    for (const [n, real] of reals.entries()) {
      const entry = this.#of(real);
      if (entry === undefined) continue;
      assertEquals(actual[n], entry.fake, "the same real, the same fake");
      if (!this.#isActive(entry)) this.#activate(entry, nowMs, next++);
      this.#touch(entry, nowMs);
      entry.answeredMs = nowMs;
      const common = this.#used("common") + [...news.values()].filter((p) => p === "common").length;
      if (common < this.#limit("common")) entry.part = "common";
    }
    for (const [n, real] of reals.entries()) {
      const fake = actual[n]!;
      if (!isNew[n]) continue;
      const part = news.get(real);
      news.delete(real);
      if (part === undefined) assertEquals(fake, this.#of(real)?.fake, "the same in one reply");
      else this.#bind(real, fake, { part, holder }, nowMs, next++);
    }
    return next;
  }

  expire(nowMs: number, revision: number): number {
    const { active, promised } = this.#lists;
    const before = active.length + promised.length;
    let next = revision;
    while (active.length > 0 && active[0]!.usedMs + this.#options.ttlMs <= nowMs) {
      const entry = active[0]!;
      if (entry.isPromised && nowMs < this.#promiseEndsMs) this.#move(entry, "promised");
      else this.#end(entry, nowMs, next++);
    }
    while (promised.length > 0 && nowMs >= this.#promiseEndsMs) {
      this.#end(promised[0]!, nowMs, next++);
    }
    this.#release(nowMs);
    return before - active.length - promised.length;
  }

  /** Whether the pair may be taken over; notes it. */
  adopt(fake: string, real: string, nowMs: number, revision: number, isActive: boolean): boolean {
    const { usable, ttlMs } = this.#options;
    const all = this.#all();
    const isFree = usable.has(fake) && all.length < usable.size &&
      all.every((entry) => entry.fake !== fake && entry.real !== real);
    if (!isFree) return false;
    const isPromised = nowMs + ttlMs < this.#promiseEndsMs;
    this.#add({
      ...{ real, fake, where: isActive ? isPromised ? "promised" : "active" : "quarantined" },
      ...{ usedMs: nowMs, answeredMs: nowMs, sinceMs: nowMs, revision, endRevision: revision },
      ...{ isClean: false, isPromised, part: "common", holder: undefined },
    });
    return true;
  }

  startOver(promiseEndsMs: number): void {
    this.#promiseEndsMs = promiseEndsMs;
    for (const list of Object.values(this.#lists)) list.length = 0;
  }

  drop(revision: number): boolean {
    const entry = this.active().find((entry) => entry.revision === revision);
    if (entry === undefined) return false;
    entry.isPromised = entry.isClean = false;
    entry.sinceMs = entry.usedMs;
    entry.endRevision = revision;
    this.#move(entry, "quarantined");
    return true;
  }

  noteTraffic(fakes: readonly string[], ageS: number, nowMs: number): void {
    const seenAtMs = nowMs - Math.max(0, ageS - 1) * 1_000;
    for (const fake of fakes) {
      const entry = this.#all().find((entry) => entry.fake === fake);
      if (entry === undefined) continue;
      if (this.#isActive(entry)) {
        const isWithin = nowMs - entry.answeredMs < this.#options.ttlMaxMs;
        if (seenAtMs > entry.usedMs && isWithin) this.#touch(entry, nowMs);
      } else if (seenAtMs > entry.sinceMs) {
        entry.part ??= "common";
        entry.sinceMs = nowMs;
        entry.isClean = false;
        this.#move(entry, "quarantined");
      }
    }
    this.#readMs = nowMs;
  }

  noteConnections(fakes: readonly string[], revision: number): void {
    const { quarantined, clean, unclean } = this.#lists;
    for (const entry of [...quarantined, ...clean, ...unclean]) {
      if (fakes.includes(entry.fake)) entry.isClean = false;
      else if (entry.endRevision <= revision) entry.isClean = true;
      const where = entry.isClean ? "clean" : "unclean";
      if (entry.where !== "quarantined" && entry.where !== where) this.#move(entry, where);
    }
  }

  reactivate(fake: string, nowMs: number, revision: number): "reactivated" | "active" | "unknown" {
    const entry = this.#all().find((entry) => entry.fake === fake);
    if (entry === undefined) return "unknown";
    if (this.#isActive(entry)) return "active";
    if (nowMs - entry.answeredMs >= this.#options.ttlMaxMs) return "unknown";
    if (entry.part === undefined) {
      if (this.#used("common") >= this.#limit("common")) return "unknown";
      entry.part = "common";
    }
    this.#activate(entry, nowMs, revision);
    return "reactivated";
  }

  /** Those that are active, oldest first. */
  active(): Entry[] {
    return [...this.#lists.promised, ...this.#lists.active];
  }

  /** How many fakes are quarantined or may be reused. */
  get quarantined(): number {
    return this.#all().length - this.active().length;
  }

  get nextExpiryMs(): number {
    const { active: [oldest], promised } = this.#lists;
    const dueMs = oldest === undefined ? Infinity : oldest.usedMs + this.#options.ttlMs;
    return promised.length === 0 ? dueMs : Math.min(dueMs, this.#promiseEndsMs);
  }

  get trafficDueMs(): number {
    const { evictAfterMs } = this.#options;
    const isPressed = this.#used("common") / this.#limit("common") >= 15 / 16;
    return isPressed && evictAfterMs < Infinity ? this.#readMs + evictAfterMs / 8 : Infinity;
  }

  /** The changes that the log should hold since the last call, as `add fake real true`. */
  takeChanges(): string[] {
    const changes = this.#changes;
    this.#changes = [];
    return changes;
  }

  #partFor({ name, client }: Holder, { parts, evicted }: Plan): Part | undefined {
    const taken = [...parts.values()];
    const used = (part: Part) => this.#used(part) + taken.filter((p) => p === part).length;
    if (this.#isFull({ parts, evicted })) return undefined;
    if (used("common") - evicted.length < this.#limit("common")) return "common";
    const of = (key: keyof Holder, value: string) =>
      this.#held().filter(({ holder }) => holder?.[key] === value).length + taken.length;
    if (of("name", name) < this.#limit("names") - used("names")) return "names";
    if (of("client", client) < this.#limit("clients") - used("clients")) return "clients";
    return undefined;
  }

  #isFull({ parts, evicted }: Plan): boolean {
    return this.#held().length + parts.size - evicted.length >= this.#options.usable.size;
  }

  #limit(part: Part): number {
    const { size } = this.#options.usable;
    const kept = Math.floor(size / 8);
    return part === "common" ? size - 2 * kept : kept;
  }

  #used(part: Part): number {
    return this.#held().filter((entry) => entry.part === part).length;
  }

  #held(): Entry[] {
    return this.#all().filter(({ part }) => part !== undefined);
  }

  #idlest(reals: readonly string[], { evicted }: Plan, nowMs: number): Entry | undefined {
    const { evictAfterMs } = this.#options;
    const marginMs = evictAfterMs / 4;
    if (nowMs - this.#readMs > marginMs) return undefined;
    return this.#lists.active.find((entry) =>
      nowMs - entry.usedMs >= evictAfterMs + marginMs && entry.part === "common" &&
      !(entry.isPromised && nowMs < this.#promiseEndsMs) &&
      !reals.includes(entry.real) && !evicted.includes(entry)
    );
  }

  /** A real that had no fake gets this one. */
  #bind(
    real: string,
    fake: string,
    share: Pick<Entry, "part" | "holder">,
    nowMs: number,
    revision: number,
  ): void {
    const { usable } = this.#options;
    const isFull = this.#all().length >= usable.size;
    const reused = isFull ? this.#lists.clean[0] ?? this.#lists.unclean[0] : undefined;
    if (isFull) {
      assertEquals(fake, reused?.fake, "the one that is clean for longest, else the oldest");
      this.#take(reused!);
    } else {
      assert(usable.has(fake), `${fake} is never to be given`);
      assert(!this.#all().some((entry) => entry.fake === fake), `${fake} is bound already`);
    }
    const entry: Entry = {
      ...{ real, fake, where: "active", usedMs: nowMs, answeredMs: nowMs, sinceMs: 0 },
      ...{ revision, endRevision: 0, isClean: false, isPromised: false, ...share },
    };
    this.#add(entry);
    this.#changes.push(`add ${fake} ${real} ${reused !== undefined && !reused.isClean}`);
  }

  #activate(entry: Entry, nowMs: number, revision: number): void {
    this.#changes.push(`add ${entry.fake} ${entry.real} false`);
    entry.revision = revision;
    this.#touch(entry, nowMs);
  }

  #touch(entry: Entry, nowMs: number): void {
    entry.usedMs = nowMs;
    this.#move(entry, "active");
  }

  #end(entry: Entry, nowMs: number, revision: number): void {
    this.#leave(entry, revision);
    entry.sinceMs = nowMs;
    this.#move(entry, "quarantined");
  }

  #leave(entry: Entry, revision: number): void {
    this.#changes.push(`delete ${entry.fake} ${entry.real} false`);
    entry.isPromised = entry.isClean = false;
    entry.endRevision = revision;
  }

  #release(nowMs: number): void {
    const { quarantined } = this.#lists;
    while (quarantined.length > 0) {
      const entry = quarantined[0]!;
      if (entry.sinceMs + this.#options.quarantineMs > nowMs) return;
      entry.part = entry.holder = undefined;
      this.#move(entry, entry.isClean ? "clean" : "unclean");
    }
  }

  #move(entry: Entry, where: Where): void {
    this.#take(entry);
    entry.where = where;
    this.#add(entry);
  }

  #take(entry: Entry): void {
    const list = this.#lists[entry.where];
    list.splice(list.indexOf(entry), 1);
  }

  #add(entry: Entry): void {
    this.#lists[entry.where].push(entry);
  }

  #isActive(entry: Entry | undefined): boolean {
    return entry?.where === "active" || entry?.where === "promised";
  }

  #of(real: string): Entry | undefined {
    return this.#all().find((entry) => entry.real === real);
  }

  #all(): Entry[] {
    return Object.values(this.#lists).flat();
  }
}

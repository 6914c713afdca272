/** What is done for mappings and kernel as time passes, and how much of it. */
import { assert, assertEquals } from "@std/assert";
import {
  Maintenance,
  REACTIVATED_PER_LOOK,
  RENEWED_PER_LOOK,
  RENEWED_PER_ROUND,
  ROUND_MS,
  ROUNDS_TO_MISSES,
  UNUSED_SHARE,
  VERIFY_MAPPINGS_MAX,
} from "../../lib/kernel/maintenance.ts";
import { Committing, type CommittingOptions } from "../support/committing.ts";
import { defined } from "../support/defined.ts";
import { FakeNft } from "../support/fake_nft.ts";
import { adopt, realAddress } from "../support/nat.ts";

const TTL_MS = 10_000;
/** Share of it that an expired mapping may wait for others. */
const INTERVAL_MS = TTL_MS / 20;

/** Mappings and their maintenance before a kernel that answers at once, with a clock that tests move. */
class World extends Committing {
  /** When mappings expired. */
  readonly times: number[] = [];
  /** How long the kernel takes to list something. */
  readonly lagMs = { sets: 0, notes: 0, connections: 0 };
  readonly maintenance: Maintenance;

  constructor(options: CommittingOptions = {}) {
    const nft = new FakeNft();
    nft.isImmediate = true;
    const immediate = { begin: (run: () => void) => run(), pace: () => undefined };
    super({ ttlMs: TTL_MS, quarantineMs: TTL_MS, ...immediate, ...options }, nft);
    nft.onRead = (what) => this.nowMs += this.lagMs[what];
    this.maintenance = new Maintenance({
      mappings: this.nat.mappings,
      committer: this.committer,
      kernel: nft,
      ttlMs: TTL_MS,
      now: () => this.nowMs,
      report: (event) => this.events.push(event),
    });
  }

  /** Lets time pass up to a moment; what is due is done when it is. */
  async runTo(endMs: number): Promise<void> {
    for (let dueMs = this.dueMs; dueMs <= endMs; dueMs = this.dueMs) {
      this.#moveTo(dueMs);
      const before = this.nat.mappings.size;
      await this.maintenance.handleTimeout(this.nowMs);
      if (this.nat.mappings.size < before) this.times.push(this.nowMs);
      // A verification is not waited for.
      await this.settle();
    }
    this.#moveTo(Math.max(this.nowMs, endMs));
  }

  get dueMs(): number {
    return Math.max(this.nowMs, this.maintenance.nextDeadlineMs);
  }

  #moveTo(ms: number): void {
    this.nft.kernel.pass(ms - this.nowMs);
    this.nowMs = ms;
  }

  /** Fakes of reals that are asked for now. */
  fakesOf(...reals: readonly string[]): string[] {
    return reals.map((real) => defined(this.ask(real)).fake);
  }

  get kinds(): string[] {
    return this.events.map(({ kind }) => kind);
  }

  /** How many mappings were renewed in the kernel, and how often something was brought there. */
  renewals(): number {
    return this.nft.scripts.filter((script) => /delete.*;add/.test(script))
      .flatMap((script) => script.split(";")[0]!.split(",")).length;
  }
}

function reals(count: number): string[] {
  return Array.from({ length: count }, (_, n) => realAddress(n + 1));
}

Deno.test("Maintenance has nothing to do, when there are no mappings", async () => {
  const world = new World();
  assertEquals(world.maintenance.nextDeadlineMs, Infinity);
  world.ask("192.0.2.1");
  assert(world.maintenance.nextDeadlineMs < Infinity);
  await world.runTo(2 * TTL_MS);
  assertEquals(world.nft.kernel.list(4), []);
  // What is quarantined is looked after for as long as it is.
  assert(world.maintenance.nextDeadlineMs < Infinity);
});

Deno.test("Maintenance lets mappings expire at their time, when nobody uses them", async () => {
  for (const real of ["192.0.2.1", "2001:db8::1"]) {
    const world = new World();
    const { family, fake } = defined(world.ask(real));
    await world.runTo(TTL_MS - 1);
    assert(world.nft.kernel.holds(family, fake, real));
    await world.runTo(TTL_MS);
    assertEquals(world.nft.kernel.list(family), []);
    assert(world.isInStep);
  }
});

Deno.test("Maintenance lets mappings expire together, when they do within a twentieth of the lifetime", async () => {
  const world = new World();
  await world.runTo(3);
  for (const [n, real] of reals(4).entries()) {
    await world.runTo(3 + n * INTERVAL_MS / 3);
    world.ask(real);
  }
  const before = world.nft.noteReads;
  const counts = [];
  for (const afterMs of [0, INTERVAL_MS - 1, INTERVAL_MS, 2 * INTERVAL_MS]) {
    await world.runTo(3 + TTL_MS + afterMs);
    counts.push(world.nat.mappings.size);
  }
  assertEquals(counts, [3, 3, 0, 0]);
  // Traffic is read once for each of the two times; the other readings are those of the rounds.
  assert(world.nft.noteReads > before);
});

Deno.test("Maintenance keeps a mapping, when its fake carried packets", async () => {
  const world = new World();
  const [used = ""] = world.fakesOf("192.0.2.1", "192.0.2.2");
  await world.runTo(TTL_MS - 100);
  world.nft.notes.seen.set(used, 1);
  await world.runTo(TTL_MS + INTERVAL_MS);
  assertEquals(world.nft.kernel.list(4), ["192.0.2.1", `${used} 192.0.2.1`]);
  world.nft.notes.seen.clear();
  await world.runTo(3 * TTL_MS);
  assertEquals(world.nft.kernel.list(4), []);
});

Deno.test("Maintenance reads traffic the more rarely, when the kernel takes long for it", async () => {
  for (
    const [lagMs, gapMs] of [[0, INTERVAL_MS], [200, 1_000], [1_000, 5_000], [
      8_000,
      30_000,
    ]] as const
  ) {
    const world = new World();
    // One expires in each interval.
    for (const [n, real] of reals(400).entries()) {
      await world.runTo(n * INTERVAL_MS);
      if (n === 20) world.lagMs.notes = lagMs;
      if (world.nowMs < n * INTERVAL_MS + INTERVAL_MS) world.ask(real);
    }
    const { times } = world;
    assert(times.length > 2, `${lagMs} ms: ${times}`);
    for (let n = 2; n < times.length; n++) {
      assert(times[n]! - times[n - 1]! >= gapMs, `${lagMs} ms: ${times}`);
    }
  }
});

Deno.test("Maintenance renews a few elements each second, when there are more", async () => {
  const world = new World({ ttlMs: 1e9 });
  world.askAll(reals(50));
  await world.runTo(ROUND_MS);
  const before = world.renewals();
  await world.runTo(11 * ROUND_MS);
  assertEquals(world.renewals() - before, 10 * RENEWED_PER_ROUND);
  assertEquals(world.kinds, []);
});

Deno.test("Maintenance finds out and repairs it, when an element is gone", async () => {
  // More than are read whole.
  const world = new World({ ttlMs: 1e9 });
  for (let n = 0; n <= VERIFY_MAPPINGS_MAX; n++) {
    assert(adopt(world.nat.tables[4], `198.18.${1 + (n >>> 8)}.${n & 0xff}`, realAddress(n)));
  }
  await world.committer.verify();
  world.events.length = 0;
  const [fake = ""] = world.fakesOf("192.0.2.1");
  world.nft.kernel.elements("nat_map").delete(fake);
  const rounds = Math.ceil(world.nat.mappings.size / RENEWED_PER_ROUND) + 1;
  await world.runTo(world.nowMs + rounds * ROUND_MS);
  assertEquals(world.kinds, ["drift"]);
  assert(world.isInStep);
});

Deno.test("Maintenance reactivates a mapping, when a packet came for its fake", async () => {
  for (const real of ["192.0.2.1", "2001:db8::1"]) {
    const world = new World();
    const { family, fake } = defined(world.ask(real));
    await world.runTo(TTL_MS + 1);
    assert(!world.nft.kernel.holds(family, fake, real));
    world.nft.notes.missed.set(fake, 0);
    await world.runTo(world.nowMs + ROUNDS_TO_MISSES * ROUND_MS);
    assert(world.nft.kernel.holds(family, fake, real));
  }
});

Deno.test("Maintenance reads no set and renews little, when packets come for fakes that are there", async () => {
  const world = new World({ ttlMs: 1e9 });
  const fakes = world.askAll(reals(500)).map(({ fake }) => fake);
  assert(world.nat.mappings.size < VERIFY_MAPPINGS_MAX);
  await world.runTo(ROUNDS_TO_MISSES * ROUND_MS);
  const [reads, renewals] = [world.nft.reads, world.renewals()];
  // As the segments outside of its window do that somebody sends: a note each second, of each fake.
  const looks = 10;
  for (let look = 0; look < looks; look++) {
    for (const fake of fakes) world.nft.notes.missed.set(fake, 0);
    await world.runTo(world.nowMs + ROUNDS_TO_MISSES * ROUND_MS);
  }
  const rounds = looks * ROUNDS_TO_MISSES;
  assertEquals(world.kinds, []);
  // Sets as small as this one are read whole beside that, whatever comes.
  assert(world.nft.reads - reads <= 2 * (rounds + 1), `${world.nft.reads - reads} reads`);
  const most = rounds * RENEWED_PER_ROUND + looks * RENEWED_PER_LOOK;
  assert(world.renewals() - renewals <= most, `${world.renewals() - renewals} renewals`);
});

Deno.test("Maintenance repairs an active mapping at once, when a packet finds it missing", async () => {
  const world = new World({ ttlMs: 1e9 });
  const fakes = world.askAll(reals(VERIFY_MAPPINGS_MAX + 500)).map(({ fake }) => fake);
  await world.runTo(3 * ROUND_MS);
  const lost = defined(fakes.at(-1));
  world.nft.kernel.elements("nat_map").delete(lost);
  world.nft.notes.missed.set(lost, 0);
  await world.runTo(world.nowMs + ROUNDS_TO_MISSES * ROUND_MS);
  assertEquals(world.kinds, ["drift"]);
  assert(world.isInStep);
});

Deno.test("Maintenance reactivates no more than some at a time, when packets come for very many", async () => {
  const world = new World();
  const fakes = world.askAll(reals(REACTIVATED_PER_LOOK + 50)).map(({ fake }) => fake);
  await world.runTo(TTL_MS + INTERVAL_MS);
  assertEquals(world.nat.mappings.size, 0);
  for (const fake of fakes) world.nft.notes.missed.set(fake, 0);
  await world.runTo(world.nowMs + ROUNDS_TO_MISSES * ROUND_MS);
  assertEquals(world.nat.mappings.size, REACTIVATED_PER_LOOK);
  await world.runTo(world.nowMs + ROUNDS_TO_MISSES * ROUND_MS);
  assertEquals(world.nat.mappings.size, REACTIVATED_PER_LOOK + 50);
});

Deno.test("Maintenance reads sets whole, when they are small, and for a hundredth of the time", async () => {
  for (
    const [count, lagMs, reads] of [
      [VERIFY_MAPPINGS_MAX, 0, 10],
      [VERIFY_MAPPINGS_MAX + 1, 0, 0],
      [10, 20, 3],
    ] as const
  ) {
    const world = new World({ ttlMs: 1e9 });
    world.askAll(reals(count));
    await world.runTo(0);
    world.nft.reads = 0;
    world.lagMs.sets = lagMs;
    await world.runTo(10.5 * ROUND_MS);
    // Both IP versions are read at a time.
    assertEquals(world.nft.reads / 2, reads, `${count} mappings, ${lagMs} ms`);
  }
});

/** A pool of six fakes, of which some have expired; conntrack knows one of these. */
async function usedPool(): Promise<{ world: World; fakes: string[] }> {
  const world = new World({ ipv4: "198.18.0.0/29" });
  const fakes = world.fakesOf(...reals(6));
  world.nft.kernel.connect(defined(fakes[0]));
  await world.runTo(TTL_MS + INTERVAL_MS);
  assertEquals([world.nat.mappings.size, world.nat.tables[4].quarantined], [0, 6]);
  return { world, fakes };
}

Deno.test("Maintenance finds fakes without connections, so that reuse need not look", async () => {
  const { world, fakes } = await usedPool();
  await world.runTo(2 * TTL_MS + 2 * INTERVAL_MS + ROUND_MS);
  assert(world.nft.connectionReads > 0);
  world.nft.connectionReads = 0;
  const asked = world.askAll(reals(11).slice(6));
  assertEquals(asked.map(({ answer, wasTrue }) => answer && wasTrue), Array(5).fill(true));
  assert(!asked.some(({ fake }) => fake === fakes[0]), "the one with a connection goes last");
  assertEquals(world.nft.connectionReads, 0);
});

Deno.test("Maintenance lists no connections, when the pool has fakes enough that were never used", async () => {
  const pool = 254;
  for (
    const [used, isListed] of [[Math.floor(pool * (1 - UNUSED_SHARE)), false], [
      pool * (1 - UNUSED_SHARE) + 1,
      true,
    ]] as const
  ) {
    const world = new World({ ipv4: "198.18.0.0/24" });
    for (let n = 1; n <= used; n++) {
      const [fake, real] = [`198.18.0.${n}`, realAddress(n)];
      adopt(world.nat.tables[4], fake, real);
      world.nft.kernel.elements("nat_map").set(fake, real);
      world.nft.kernel.elements("nat_addr").set(real, "");
    }
    await world.committer.verify();
    await world.runTo(2 * ROUND_MS);
    world.nft.connectionReads = 0;
    await world.runTo(2 * TTL_MS);
    assertEquals(world.nft.connectionReads > 0, isListed, `${used} used`);
  }
});

Deno.test("Maintenance lists connections at a pace, which is that of conntrack and of lifetimes", async () => {
  for (const [lagMs, pauseMs] of [[20, 2_000], [100, TTL_MS / 2], [1_000, 10_000]] as const) {
    const { world } = await usedPool();
    await world.runTo(world.nowMs + 2 * ROUND_MS);
    world.lagMs.connections = lagMs;
    await world.runTo(world.nowMs + TTL_MS);
    world.nft.connectionReads = 0;
    await world.runTo(world.nowMs + 60_000);
    const times = 60_000 / (pauseMs + lagMs);
    const reads = world.nft.connectionReads;
    // Rounds are a second apart.
    assert(reads <= times + 1 && reads >= times / 2 - 1, `${reads} times with ${lagMs} ms`);
  }
});

Deno.test("Maintenance goes on, when connections cannot be listed", async () => {
  const { world } = await usedPool();
  world.events.length = 0;
  world.nft.connectionsProblem = "conntrack is not there";
  await world.runTo(world.nowMs + 5 * ROUND_MS);
  assertEquals(new Set(world.kinds), new Set(["connections"]));
});

Deno.test("Maintenance says once that notes cannot be read, when the table has no sets for them", async () => {
  const world = new World();
  world.nft.hasNotes = false;
  const [fake = ""] = world.fakesOf("192.0.2.1");
  await world.runTo(TTL_MS + INTERVAL_MS);
  assert(!world.nft.kernel.holds(4, fake, "192.0.2.1"));
  assertEquals(world.kinds, ["notes", "notes"], "one for each set");
  world.nft.hasNotes = true;
  await world.runTo(world.nowMs + 5 * ROUND_MS);
  world.nft.hasNotes = false;
  await world.runTo(world.nowMs + 5 * ROUND_MS);
  assertEquals(world.kinds, ["notes", "notes", "notes"]);
});

Deno.test("Maintenance reads nothing and mappings expire, when nft is away", async () => {
  const world = new World();
  world.askAll(reals(3));
  await world.runTo(ROUND_MS);
  world.nft.state = "away";
  await world.runTo(5 * ROUND_MS);
  const { noteReads, connectionReads } = world.nft;
  await world.runTo(TTL_MS - 1);
  assertEquals([world.nft.noteReads, world.nft.connectionReads], [noteReads, connectionReads]);
  await world.runTo(TTL_MS + INTERVAL_MS);
  assertEquals(world.nat.mappings.size, 0);
  world.nft.state = "up";
  world.retry();
  await world.committer.idle();
  assert(world.isInStep);
});

Deno.test("Maintenance.handleTimeout() does one thing at a time, when the kernel lets it wait", async () => {
  const world = new World();
  world.ask("192.0.2.1");
  world.nft.isImmediate = false;
  world.nft.hold();
  world.nowMs = TTL_MS;
  const first = world.maintenance.handleTimeout(world.nowMs);
  assert(first instanceof Promise);
  assertEquals(world.maintenance.nextDeadlineMs, Infinity);
  const { noteReads } = world.nft;
  assertEquals(world.maintenance.handleTimeout(world.nowMs), undefined);
  assertEquals(world.nft.noteReads, noteReads);
  world.nft.release();
  await first;
  assert(world.maintenance.nextDeadlineMs < Infinity);
});

for (const fake of ["198.18.0.5", "2001:2::5"]) {
  Deno.test(`Maintenance deletes a connection that was never translated, when its packets to ${fake} go on`, async () => {
    const world = new World({ ttlMs: 1e9 });
    const real = fake.includes(":") ? "2001:db8::5" : "192.0.2.5";
    adopt(world.nat.tables[fake.includes(":") ? 6 : 4], fake, real);
    await world.committer.verify();
    await world.runTo(3 * ROUND_MS);
    world.nft.kernel.connections.add(`${fake} ${fake}`).add(`${fake} ${real}`);
    const { connectionReads } = world.nft;
    await world.runTo(6 * ROUND_MS);
    assertEquals(world.nft.connectionReads, connectionReads, "nothing says that there is one");
    world.nft.notes.missed.set(fake, 0);
    await world.runTo(9 * ROUND_MS);
    assertEquals([...world.nft.kernel.connections], [`${fake} ${real}`]);
  });
}

Deno.test("Maintenance lists connections for a fiftieth of the time, when packets come that are none of them", async () => {
  const world = new World({ ttlMs: 1e9 });
  const [fake = ""] = world.fakesOf("192.0.2.1");
  world.lagMs.connections = 100;
  for (let s = 0; s < 100; s++) {
    world.nft.notes.missed.set(fake, 0);
    await world.runTo(s * ROUND_MS);
  }
  // Two IP versions each time.
  assert(world.nft.connectionReads <= 2 * 11, `${world.nft.connectionReads}`);
  assert(world.nft.connectionReads >= 2 * 8, `${world.nft.connectionReads}`);
});

/** Group commit against a fake kernel: order, batches, refusals, failures, hands that meddle. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Committer } from "../../lib/kernel/committer.ts";
import { BATCH_CHANGES_MAX } from "../../lib/kernel/writer.ts";
import { type Asked, Committing, type CommittingOptions } from "../support/committing.ts";
import { defined } from "../support/defined.ts";
import { activePairs, bytesOf, noteTraffic, realAddress } from "../support/nat.ts";
import { holdsAsync } from "../support/property.ts";

const TTL_MS = 10_000;
const QUARANTINE_MS = 3_000;

function make(options: CommittingOptions = {}): Committing {
  return new Committing({ ttlMs: TTL_MS, quarantineMs: QUARANTINE_MS, ...options });
}

function reals(count: number, from = 1): string[] {
  return Array.from({ length: count }, (_, i) => realAddress(from + i));
}

function kindsOf({ events }: Committing): string[] {
  return events.map(({ kind }) => kind);
}

function answers(asked: readonly (Asked | undefined)[]): (boolean | undefined)[] {
  return asked.map((one) => one?.answer);
}

function assertInStep(world: Committing, what?: string): void {
  for (const family of [4, 6] as const) {
    assertEquals(world.nft.kernel.list(family), world.expected(family), what);
  }
}

Deno.test("Barrier.wait() calls back, when the kernel has the mapping and not before", async () => {
  const world = make();
  world.nft.hold();
  const asked = world.ask("192.0.2.1");
  await world.settle();
  assertEquals([asked?.answer, world.nft.scripts.length], [undefined, 1]);
  assert(!world.barrier.isCommitted(1));
  world.nft.release();
  await world.committer.idle();
  assertEquals([asked?.answer, asked?.wasTrue], [true, true]);
  assert(world.barrier.isCommitted(1) && !world.barrier.isCommitted(2));
  assertInStep(world);
});

Deno.test("Barrier.isCommitted() is true without a wait, when the mapping is known", async () => {
  const world = make();
  world.ask("192.0.2.1");
  await world.committer.idle();
  assertEquals(world.ask("192.0.2.1")?.answer, true);
  assertEquals(world.nft.scripts.length, 1);
});

Deno.test("Committer makes one batch, when changes come in one turn", async () => {
  const world = make();
  const asked = world.askAll(["192.0.2.1", "2001:db8::1", "192.0.2.2"]);
  await world.committer.idle();
  assertEquals(answers(asked), [true, true, true]);
  assertEquals(world.nft.scripts.length, 1);
  assertInStep(world);
});

Deno.test("Committer makes the next batch of what comes, while one is under way", async () => {
  const world = make();
  world.nft.hold();
  world.ask("192.0.2.1");
  await world.settle();
  const later = world.askAll(reals(50));
  await world.settle();
  assertEquals(world.nft.scripts.length, 1);
  world.nft.release();
  await world.committer.idle();
  assertEquals(world.nft.scripts.length, 2);
  assertEquals(new Set(answers(later)), new Set([true]));
  assertInStep(world);
});

Deno.test("Barrier.wait() waits for the revision that another made, when it is under way", async () => {
  const world = make();
  world.nft.hold();
  const first = world.ask("192.0.2.1");
  await world.settle();
  const second = world.ask("192.0.2.1");
  assertEquals([first?.revision, second?.revision, second?.answer], [1, 1, undefined]);
  world.nft.release();
  await world.committer.idle();
  assertEquals(answers([first, second]), [true, true]);
});

Deno.test("Committer keeps the order of changes, when mappings come and go", async () => {
  const world = make({ ipv4: "198.18.0.0/30" });
  const [one] = world.askAll(["192.0.2.1", "192.0.2.2"]);
  await world.committer.idle();
  world.pass(TTL_MS);
  world.pass(QUARANTINE_MS);
  await world.committer.idle();
  assertEquals(world.nft.kernel.list(4), []);
  const [third] = world.askAll(["192.0.2.3"]);
  await world.committer.idle();
  assertEquals(third?.fake, one?.fake);
  assertEquals(world.nft.scripts.length, 3);
  assertInStep(world);
});

Deno.test("Committer starts by itself with start(), when mappings expire and nobody waits", async () => {
  const world = make();
  world.askAll(reals(5));
  await world.committer.idle();
  world.pass(TTL_MS);
  await world.committer.idle();
  assertEquals(world.nft.kernel.list(4), []);
});

Deno.test("Committer asks nft nothing, when a batch cancels itself out or is empty", async () => {
  const world = make();
  const pair = { fake: bytesOf("198.18.0.1"), real: bytesOf("192.0.2.1") };
  world.nat.log.push("add", 4, pair);
  world.nat.log.push("delete", 4, pair);
  world.committer.start();
  await world.committer.idle();
  world.committer.start();
  await world.committer.idle();
  assertEquals([world.nft.scripts, world.nat.log.size], [[], 0]);
});

Deno.test("Committer takes into a batch what comes, while it keeps its pace", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const world = make({ pace: () => promise });
  const asked = world.askAll(["192.0.2.1"]);
  await world.settle();
  asked.push(...world.askAll(["192.0.2.2", "2001:db8::1"]));
  await world.settle();
  assertEquals(world.nft.scripts, []);
  resolve();
  await world.committer.idle();
  assertEquals([world.nft.scripts.length, ...answers(asked)], [1, true, true, true]);
});

Deno.test("Committer is done when wait() returns, when the kernel answers at once", () => {
  const world = make({ begin: (run) => run(), pace: () => undefined });
  world.nft.isImmediate = true;
  const asked = world.askAll(["192.0.2.1", "2001:db8::1", "192.0.2.1"]);
  assertEquals(asked.map(({ answer, wasTrue }) => [answer, wasTrue]), Array(3).fill([true, true]));
  assertEquals(world.nft.scripts.length, 2);
  world.nft.kernel.elements("nat_map").clear();
  void world.committer.verify();
  assertInStep(world);
  assertEquals(kindsOf(world), ["foreign"]);
});

Deno.test("Committer makes one batch of a turn, when the kernel answers at once and begin() waits for its end", () => {
  const turn: (() => void)[] = [];
  const world = make({ begin: (run) => turn.push(run), pace: () => undefined });
  world.nft.isImmediate = true;
  const asked = world.askAll(reals(64));
  assertEquals([turn.length, world.nft.scripts.length], [1, 0]);
  turn[0]?.();
  assert(asked.every(({ answer, wasTrue }) => answer && wasTrue));
  assertEquals(world.nft.scripts.length, 1);
});

Deno.test("Committer splits what is too much, when BATCH_CHANGES_MAX is passed", async () => {
  for (
    const [count, batches] of [
      [BATCH_CHANGES_MAX - 1, 1],
      [BATCH_CHANGES_MAX, 1],
      [BATCH_CHANGES_MAX + 1, 2],
      [3 * BATCH_CHANGES_MAX, 3],
    ] as const
  ) {
    const world = make();
    const asked = world.askAll(reals(count));
    await world.committer.idle();
    assertEquals(world.nft.scripts.length, batches, `${count}`);
    assert(asked.every(({ answer, wasTrue }) => answer && wasTrue), `${count}`);
    assertInStep(world);
  }
});

Deno.test("Barrier.wait() answers with its own batch, when a later one was asked first", async () => {
  const world = make();
  const many = world.askAll(reals(BATCH_CHANGES_MAX + 1));
  const again = world.ask(realAddress(1));
  world.nft.hold();
  await world.settle();
  world.nft.release();
  world.nft.hold();
  await world.settle();
  assertEquals([many[0]?.answer, many.at(-1)?.answer, again?.answer], [true, undefined, true]);
  world.nft.release();
  await world.committer.idle();
});

Deno.test("Committer ends one mapping only, when the kernel refuses one of a batch", async () => {
  for (const at of [0, 1, 50, 98, 99]) {
    const world = make();
    const all = reals(100);
    world.nft.kernel.refused.add(all[at]!);
    const asked = world.askAll(all);
    await world.committer.idle();
    assertEquals(answers(asked), all.map((_, i) => i !== at), `${at}`);
    assertEquals(world.nat.tables[4].size, 99);
    assertEquals(kindsOf(world), ["refused"]);
    assertInStep(world, `${at}`);
    // The kernel may think better of it.
    world.nft.kernel.refused.clear();
    const again = world.ask(all[at]!);
    await world.committer.idle();
    assertEquals([again?.answer, again?.fake], [true, asked[at]?.fake]);
    assertInStep(world, `${at}`);
  }
});

Deno.test("Committer ends several mappings only, when the kernel refuses several", async () => {
  const world = make();
  const all = reals(64);
  const bad = new Set([3, 4, 17, 40, 63].map((i) => all[i]!));
  for (const real of bad) world.nft.kernel.refused.add(real);
  const asked = world.askAll(all);
  await world.committer.idle();
  assertEquals(answers(asked), all.map((real) => !bad.has(real)));
  assertInStep(world);
});

Deno.test("Barrier.wait() is false, when one of several mappings in a reply is refused", async () => {
  const world = make();
  world.nft.kernel.refused.add("192.0.2.2");
  world.nft.hold();
  const [one, two] = world.askAll(["192.0.2.1", "192.0.2.2"]);
  let both: boolean | undefined;
  world.barrier.wait([2, 1], (isCommitted) => both = isCommitted);
  world.nft.release();
  await world.committer.idle();
  assertEquals([one?.answer, two?.answer, both], [true, false, false]);
});

Deno.test("Committer ends the new mapping only, when the kernel's map is full", async () => {
  const world = make();
  world.nft.kernel.sizeMax = 3;
  const asked = world.askAll(reals(5));
  await world.committer.idle();
  assertEquals(answers(asked).filter(Boolean).length, 3);
  assertInStep(world);
  world.pass(TTL_MS);
  await world.committer.idle();
  assertEquals(answers(world.askAll(reals(3, 100))), [undefined, undefined, undefined]);
  await world.committer.idle();
  assertInStep(world);
});

Deno.test("Committer puts a leftover out of the way, when it clashes with a new mapping", async () => {
  const world = make();
  const fake = make().ask("192.0.2.1")?.fake ?? "";
  world.nft.kernel.put(fake, "203.0.113.66");
  const asked = world.askAll(["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
  await world.committer.idle();
  assertEquals(asked[0]?.fake, fake);
  assertEquals(answers(asked), [true, true, true]);
  assert(asked.every(({ wasTrue }) => wasTrue));
  assertEquals(kindsOf(world), ["drift"]);
  assertInStep(world);
});

/** What an admin may do by hand to three mappings that live. */
const BY_HAND: readonly (readonly [what: string, edit: (world: Committing, one: Asked) => void])[] =
  [
    ["flushes the map", (world) => world.nft.kernel.elements("nat_map").clear()],
    ["flushes the set", (world) => world.nft.kernel.elements("nat_addr").clear()],
    ["flushes both", (world) => {
      world.nft.kernel.elements("nat_map").clear();
      world.nft.kernel.elements("nat_addr").clear();
    }],
    ["deletes one from the map", (world, one) => {
      world.nft.kernel.elements("nat_map").delete(one.fake);
    }],
    ["deletes one from the set", (world, one) => {
      world.nft.kernel.elements("nat_addr").delete(one.real);
    }],
    ["leads a fake elsewhere", (world, one) => {
      world.nft.kernel.elements("nat_map").set(one.fake, "203.0.113.66");
    }],
    ["adds what is none of ours", (world) => {
      world.nft.kernel.elements("nat_map").set("203.0.113.1", "203.0.113.2");
      world.nft.kernel.elements("nat_addr").set("203.0.113.3", "");
    }],
  ];

Deno.test("Committer.verify() makes the kernel what the tables say, when someone meddled", async () => {
  for (const [what, edit] of BY_HAND) {
    const world = make();
    const one = defined(world.askAll([...reals(3), "2001:db8::1"])[0]);
    await world.committer.idle();
    edit(world, one);
    assert(!world.isInStep, what);
    const asked = world.ask("192.0.2.77");
    await world.committer.verify();
    assertInStep(world, what);
    const known = world.ask(one.real);
    assertEquals(
      [asked?.answer, asked?.wasTrue, known?.answer, known?.wasTrue],
      Array(4).fill(true),
      what,
    );
    assertEquals(kindsOf(world), ["foreign"], what);
  }
});

Deno.test("Committer.verify() lets no reply leave, when it has seen that mappings are gone", async () => {
  const world = make();
  const one = defined(world.ask("192.0.2.1"));
  await world.committer.idle();
  world.nft.kernel.elements("nat_map").clear();
  const scripts = world.nft.scripts.length;
  const verified = world.committer.verify();
  await world.until("both sets to be read", () => world.nft.reads >= 2);
  world.nft.hold();
  // Both families have been read; the transaction that mends waits.
  await world.until("a transaction", () => world.nft.scripts.length > scripts);
  const known = defined(world.ask(one.real));
  assertEquals([known.answer, world.barrier.isCommitted(one.revision)], [undefined, false]);
  world.nft.release();
  await verified;
  assertEquals([known.answer, known.wasTrue], [true, true]);
});

Deno.test("Committer.distrust() repairs and lets no reply leave before, when somebody has meddled", async () => {
  for (const [what, edit] of BY_HAND) {
    const world = make();
    const one = defined(world.askAll([...reals(3), "2001:db8::1"])[0]);
    await world.committer.idle();
    edit(world, one);
    world.committer.distrust();
    const known = defined(world.ask(one.real));
    assertEquals([known.answer, world.barrier.isCommitted(one.revision)], [undefined, false], what);
    await world.committer.idle();
    assertInStep(world, what);
    assertEquals([known.answer, known.wasTrue], [true, true], what);
    assertEquals(kindsOf(world), ["foreign"], what);
  }
});

Deno.test("Committer.distrust() reports nothing, when what was changed is as dotp left it", async () => {
  const world = make();
  const one = defined(world.ask("192.0.2.1"));
  await world.committer.idle();
  world.committer.distrust();
  await world.committer.idle();
  assertEquals(kindsOf(world), []);
  assertEquals(world.ask(one.real)?.answer, true);
});

Deno.test("Committer.distrust() has the sets read again, when somebody meddles while they are read", async () => {
  const world = make();
  const one = defined(world.ask("192.0.2.1"));
  await world.committer.idle();
  world.committer.distrust();
  await world.until("the first set to be read", () => world.nft.reads >= 1);
  world.nft.kernel.elements("nat_map").clear();
  world.committer.distrust();
  const known = defined(world.ask(one.real));
  await world.committer.idle();
  assertInStep(world);
  assertEquals([known.answer, known.wasTrue], [true, true]);
});

for (
  const [what, ask] of [
    ["adopt", (committer) => committer.adopt()],
    ["verify", (committer) => committer.verify()],
  ] as [string, (committer: Committer) => Promise<unknown>][]
) {
  Deno.test(`Committer.${what}() resolves, when there is always more to commit`, async () => {
    const world = new Committing();
    let [isOver, isResolved, last] = [false, false, 0];
    const { commit } = world.nft;
    world.nft.commit = (changes) => {
      // While each batch is in flight another change comes.
      if (!isOver) world.ask(`10.0.${++last >> 8}.${last & 0xff}`);
      return commit.call(world.nft, changes);
    };
    // So that adoption has a batch, too.
    world.nft.kernel.elements("nat_addr").set("203.0.113.3", "");
    world.ask("192.0.2.1");
    void ask(world.committer).then(() => isResolved = true);
    await world.settle();
    isOver = true;
    assert(isResolved);
    await world.committer.idle();
  });
}

Deno.test("Committer.verify() changes nothing and reports nothing, when the kernel is in step", async () => {
  const world = make();
  world.askAll([...reals(3), "2001:db8::1"]);
  await world.committer.verify();
  assertEquals([world.nft.scripts.length, world.nft.reads, kindsOf(world)], [1, 2, []]);
  await world.committer.verify();
  assertEquals([world.nft.scripts.length, world.nft.reads, kindsOf(world)], [1, 4, []]);
  assertInStep(world);
});

Deno.test("Committer.verify() reports nothing, when mappings come and go while it reads", async () => {
  for (const step of ["come", "go", "are renewed"]) {
    const world = make();
    world.askAll(reals(3));
    await world.committer.idle();
    world.nft.hold();
    const verified = world.committer.verify();
    await world.until("a set to be read", () => world.nft.reads > 0);
    if (step === "come") world.askAll(reals(2, 100));
    else if (step === "go") world.pass(TTL_MS);
    else world.nat.tables[4].renew(world.nowMs, 2);
    world.nft.release();
    await verified;
    assertEquals(kindsOf(world), [], step);
    assertInStep(world, step);
  }
});

Deno.test("Committer.verify() reports a hand's edit, when dotp has changes of its own under way", async () => {
  const world = make();
  const one = defined(world.askAll(reals(3))[0]);
  await world.committer.idle();
  world.nft.kernel.elements("nat_map").delete(one.fake);
  world.nft.hold();
  const verified = world.committer.verify();
  await world.until("a set to be read", () => world.nft.reads > 0);
  world.nat.tables[4].renew(world.nowMs, 3);
  world.nft.release();
  await verified;
  assertEquals(kindsOf(world), ["foreign"]);
  assertInStep(world);
});

Deno.test("Committer mends a flush by itself, when a deletion finds its element missing", async () => {
  const world = make();
  const one = defined(world.askAll(reals(2))[0]);
  await world.committer.idle();
  world.pass(TTL_MS / 2);
  const two = defined(world.ask(realAddress(2)));
  await world.committer.idle();
  world.nft.kernel.elements("nat_map").clear();
  world.pass(TTL_MS / 2);
  const asked = world.ask("192.0.2.9");
  await world.committer.idle();
  assertEquals([asked?.answer, asked?.wasTrue], [true, true]);
  assert(!world.nft.kernel.holds(4, one.fake, one.real));
  assert(world.nft.kernel.holds(4, two.fake, two.real));
  assertEquals(kindsOf(world), ["drift"]);
  assertInStep(world);
});

Deno.test("Committer.verify() looks once more, when it is called during mending", async () => {
  const world = make();
  world.askAll([...reals(3), "2001:db8::1"]);
  await world.committer.idle();
  world.nft.kernel.elements("nat_map").clear();
  void world.committer.verify();
  // Both families have been read; the transaction that mends waits.
  await world.until("both sets to be read", () => world.nft.reads >= 2);
  world.nft.hold();
  await world.settle();
  world.nft.kernel.elements("nat_map6").clear();
  void world.committer.verify();
  world.nft.release();
  await world.committer.idle();
  assertInStep(world);
});

Deno.test("Committer tells all who wait and all who come, when nft is away", async () => {
  const world = make();
  world.nft.hold();
  const waiting = world.askAll(reals(3));
  await world.settle();
  world.nft.state = "away";
  world.nft.release();
  await world.settle();
  assertEquals(answers(waiting), [false, false, false]);
  assert(world.isPausing);
  assertEquals(answers(world.askAll([...reals(2), "192.0.2.9"])), [false, false, false]);
  assert(!world.barrier.isCommitted(0));
  assertEquals(kindsOf(world), ["failed"]);
});

Deno.test("Committer lets nobody wait for an nft that hangs again, when it has failed before", async () => {
  const world = make();
  world.nft.state = "away";
  world.ask("192.0.2.1");
  await world.settle();
  world.nft.hold();
  world.retry();
  await world.settle();
  assertEquals(world.ask("192.0.2.1")?.answer, false);
  world.nft.state = "up";
  world.nft.release();
  await world.committer.idle();
  assertEquals(world.ask("192.0.2.1")?.wasTrue, true);
});

Deno.test("Committer recovers after the pause, when nft is back", async () => {
  const world = make();
  const before = world.ask("192.0.2.1");
  await world.committer.idle();
  world.nft.state = "away";
  world.ask("192.0.2.2");
  await world.settle();
  for (let i = 0; i < 3; i++) {
    world.retry();
    await world.settle();
    assert(world.isPausing, "nft is still away");
    assertEquals(world.ask("192.0.2.1")?.answer, false);
  }
  world.nft.state = "up";
  world.retry();
  await world.committer.idle();
  assert(!world.isPausing);
  assertInStep(world);
  const after = world.askAll(["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
  await world.committer.idle();
  assertEquals(after[0]?.fake, before?.fake);
  assertEquals(answers(after), [true, true, true]);
  assertInStep(world);
});

Deno.test("Committer comes in step, when nft died after the kernel took the batch", async () => {
  const world = make();
  world.nft.state = "dies";
  const [asked] = world.askAll(["192.0.2.1"]);
  await world.settle();
  assertEquals([asked?.answer, world.nft.kernel.list(4).length], [false, 2]);
  world.pass(TTL_MS);
  world.nft.state = "up";
  world.retry();
  await world.committer.idle();
  assertEquals(world.nft.kernel.list(4), []);
  assertInStep(world);
});

Deno.test("Committer stops trying, when the pause says that it is not worthwhile", async () => {
  const world = make();
  world.nft.state = "away";
  world.ask("192.0.2.1");
  await world.settle();
  const reads = world.nft.reads;
  world.retry(false);
  await world.committer.idle();
  assertEquals(world.nft.reads, reads);
  assertEquals(world.ask("192.0.2.1")?.answer, false);
});

Deno.test("Committer keeps no more changes than mappings, when nft is away for long", async () => {
  const world = make();
  world.nft.state = "away";
  for (let i = 0; i < 50; i++) {
    world.askAll(reals(10));
    await world.settle();
    world.pass(TTL_MS);
    world.retry();
    await world.settle();
  }
  assert(world.nat.log.size <= 50, `${world.nat.log.size} changes wait`);
});

Deno.test("Barrier.wait() is not true, when the mapping has expired meanwhile", async () => {
  const world = make();
  world.nft.hold();
  world.ask("192.0.2.1");
  await world.settle();
  const asked = defined(world.ask("192.0.2.2"));
  world.pass(TTL_MS);
  world.nft.release();
  await world.committer.idle();
  assert(!world.nft.kernel.holds(4, asked.fake, asked.real));
  assertEquals(asked.answer, false);
});

Deno.test("Barrier.wait() is not true, when a refused mapping went and came meanwhile", async () => {
  const world = make();
  world.nft.kernel.refused.add("192.0.2.1");
  world.nft.hold();
  world.ask("192.0.2.1");
  await world.settle();
  world.pass(TTL_MS);
  const again = world.ask("192.0.2.1");
  world.nft.release();
  await world.committer.idle();
  assertEquals([again?.wasTrue, again?.answer], [false, false]);
  assertInStep(world);
});

Deno.test("Committer.adopt() takes over what is ours and removes the rest, when it starts", async () => {
  const world = make();
  const [map, set] = ["nat_map", "nat_addr"].map((name) => world.nft.kernel.elements(name));
  const [map6, set6] = ["nat_map6", "nat_addr6"].map((name) => world.nft.kernel.elements(name));
  for (
    const [fake, real] of [
      ["198.18.0.1", "192.0.2.1"],
      ["198.18.0.2", "192.0.2.2"],
      ["203.0.113.1", "192.0.2.3"],
      ["198.18.0.3", "192.0.2.1"],
      ["198.18.0.0", "192.0.2.5"],
    ] as const
  ) map?.set(fake, real);
  for (const real of ["192.0.2.1", "192.0.2.3", "192.0.2.99"]) set?.set(real, "");
  map6?.set("2001:2::1", "2001:db8::1");
  set6?.set("2001:db8::1", "").set("2001:db8::2", "");
  assertEquals(await world.committer.adopt(), 3);
  assertEquals(world.expected(4), [
    "192.0.2.1",
    "192.0.2.2",
    "198.18.0.1 192.0.2.1",
    "198.18.0.2 192.0.2.2",
  ]);
  assertInStep(world);
  const known = world.ask("192.0.2.2");
  assertEquals([known?.fake, known?.answer, known?.wasTrue], ["198.18.0.2", true, true]);
});

Deno.test("Committer.adopt() repairs in chunks, when much of what is there is none of ours", async () => {
  const world = make();
  const count = 2 * BATCH_CHANGES_MAX + 1;
  for (const real of reals(count)) world.nft.kernel.elements("nat_addr").set(real, "");
  assertEquals(await world.committer.adopt(), 0);
  assertEquals(world.nft.kernel.list(4), []);
  assertEquals(world.nft.scripts.length, 3);
});

Deno.test("Committer.adopt() asks nft to change nothing, when the kernel is in step", async () => {
  const world = make();
  world.nft.kernel.put("198.18.0.1", "192.0.2.1");
  assertEquals(await world.committer.adopt(), 1);
  assertEquals(world.nft.scripts, []);
});

Deno.test("Committer.adopt() tries until nft is well and fails replies, when nft is away", async () => {
  for (const state of ["away", "dies"] as const) {
    const world = make();
    world.nft.kernel.elements("nat_map").set("198.18.0.1", "192.0.2.1");
    world.nft.kernel.elements("nat_addr").set("192.0.2.1", "").set("192.0.2.9", "");
    world.nft.state = state;
    const adopted = world.committer.adopt();
    const early = world.ask("192.0.2.2");
    await world.settle();
    assertEquals([early?.answer, world.ask("192.0.2.2")?.answer], [false, false], state);
    assertEquals([world.isPausing, kindsOf(world)[0]], [true, "failed"], state);
    world.nft.state = "up";
    world.retry();
    assert(await adopted >= 1, state);
    assertInStep(world, state);
    assertEquals(world.ask("192.0.2.1")?.fake, "198.18.0.1", state);
  }
});

Deno.test("Committer.adopt() lets replies wait, when the kernel is still being read", async () => {
  const world = make();
  world.nft.kernel.put("198.18.0.1", "192.0.2.1");
  world.nft.hold();
  const adopted = world.committer.adopt();
  const fresh = defined(world.ask("192.0.2.2"));
  await world.settle();
  assertEquals([fresh.answer, world.barrier.isCommitted(0)], [undefined, false]);
  world.nft.release();
  assert(await adopted >= 1);
  assertEquals(fresh.answer, fresh.wasTrue);
  assert(world.nft.kernel.holds(4, "198.18.0.1", "192.0.2.1"));
  assertInStep(world);
  assertEquals(kindsOf(world), []);
});

Deno.test("Committer.adopt() leaves a fake to its real, when another real is asked for first", async () => {
  const world = make({ ipv4: "198.18.0.0/30" });
  const fake = defined(make({ ipv4: "198.18.0.0/30" }).ask("192.0.2.7")).fake;
  world.nft.kernel.put(fake, "192.0.2.1");
  const adopted = world.committer.adopt();
  // Whoever has the fake from before the restart goes on using it.
  const early = world.ask("192.0.2.7");
  await adopted;
  assert(world.nft.kernel.holds(4, fake, "192.0.2.1"));
  assert(early?.fake !== fake || early.answer !== true);
  assertInStep(world);
});

Deno.test("Committer.adopt() gives no fake away that conntrack knows, when its mapping had expired", async () => {
  const world = make({ ipv4: "198.18.0.0/29" });
  const free = Array.from({ length: 6 }, (_, n) => `198.18.0.${n + 1}`);
  const known = free.slice(0, 4).map((fake, n) => `${fake} 203.0.113.${n + 1}`);
  for (const pair of known) world.nft.kernel.connections.add(pair);
  const early = world.ask("192.0.2.1");
  await world.committer.adopt();
  const asked = world.askAll(["203.0.113.2", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]);
  await world.committer.idle();
  // The real whose fake it was gets it back; others get the two that nobody knows.
  assertEquals(asked.map(({ fake }) => fake).sort(), ["198.18.0.2", "198.18.0.5", "198.18.0.6"]);
  assertEquals([asked[0]?.fake, early?.answer], ["198.18.0.2", false]);
  assertEquals([...world.nft.kernel.connections], known);
  // Once their quarantine is over they go to others, without what they were connected to.
  world.pass(QUARANTINE_MS);
  const late = defined(world.ask("192.0.2.9"));
  await world.committer.idle();
  assertEquals([late.answer, world.nft.kernel.connectedTo(late.fake)], [true, []]);
});

Deno.test("Committer deletes stray connections before anyone is answered, at its start and when the table was gone", async () => {
  const world = make();
  world.nft.kernel.connections.add("198.18.0.9 198.18.0.9");
  await world.committer.adopt();
  assertEquals(world.nft.kernel.connections.size, 0);
  const one = defined(world.ask("192.0.2.1"));
  await world.committer.idle();
  world.nft.kernel.connect(one.fake);
  // The table is replaced by an empty one; a packet passed in between, and another as it led elsewhere.
  world.nft.kernel.elements("nat_map").clear();
  world.nft.kernel.connections.add(`${one.fake} ${one.fake}`).add(`${one.fake} 203.0.113.9`);
  let left: string[] | undefined;
  void world.committer.verify();
  world.barrier.hold();
  world.barrier.wait([one.revision], () => left = world.nft.kernel.connectedTo(one.fake));
  await world.committer.idle();
  assertEquals(left, ["192.0.2.1"]);
});

Deno.test("Committer.adopt() renews what is old in the kernel, when elements have a lifetime", async () => {
  const world = make({ ttlMs: 1e9 });
  const { kernel } = world.nft;
  kernel.timeoutS = 100;
  kernel.nowMs = 60_000;
  // A kernel lists its elements in no order of age.
  for (const [n, addedMs] of [[2, 30_000], [1, 0], [3, 20_000]] as const) {
    kernel.put(`198.18.0.${n}`, `192.0.2.${n}`, addedMs);
  }
  assertEquals(await world.committer.adopt(), 3);
  const table = world.nat.tables[4];
  // They were 30, 60 and 40 seconds old, and two fifths of the lifetime may pass.
  assertEquals(table.nextRenewalMs, -20_000);
  table.renew(0);
  assertEquals(table.nextRenewalMs, 10_000);
  world.committer.start();
  await world.committer.idle();
  assertEquals(kernel.expiresS("nat_map", "198.18.0.1"), 100);
  assertEquals(kernel.expiresS("nat_addr", "192.0.2.1"), 100);
  assertEquals(kernel.expiresS("nat_map", "198.18.0.2"), 70);
});

Deno.test("Committer renews by delete and add in one transaction, when a table asks for it", async () => {
  const world = make({ ttlMs: 1e9 });
  world.nft.kernel.timeoutS = 100;
  await world.committer.adopt();
  const asked = defined(world.ask("192.0.2.1"));
  await world.committer.idle();
  assertEquals(world.nat.tables[4].nextRenewalMs, 40_000);
  for (let round = 1; round <= 5; round++) {
    world.pass(40_000);
    world.nat.tables[4].renew(world.nowMs);
    world.committer.start();
    await world.committer.idle();
    assertEquals(world.nft.scripts.length, 1 + round);
    assertEquals(world.nft.kernel.expiresS("nat_map", asked.fake), 100);
    assertInStep(world);
  }
  assertEquals(
    world.nft.scripts.at(-1),
    [
      `delete element inet dotp nat_map {${asked.fake}}`,
      "delete element inet dotp nat_addr {192.0.2.1}",
      `add element inet dotp nat_map {${asked.fake} : 192.0.2.1}`,
      "add element inet dotp nat_addr {192.0.2.1}",
    ].join(";"),
  );
  assertEquals(kindsOf(world), []);
});

Deno.test("Committer renews after all, when nft was away as it was due", async () => {
  const world = make({ ttlMs: 1e9 });
  world.nft.kernel.timeoutS = 100;
  await world.committer.adopt();
  const asked = defined(world.ask("192.0.2.1"));
  await world.committer.idle();
  const table = world.nat.tables[4];
  world.nft.state = "away";
  world.pass(40_000);
  table.renew(world.nowMs);
  world.committer.start();
  await world.settle();
  world.nft.state = "up";
  world.retry();
  await world.committer.idle();
  for (let s = 0; s < 60; s++) {
    world.pass(1_000);
    assert(world.nft.kernel.holds(4, asked.fake, asked.real), `${s} s later`);
    table.renew(world.nowMs);
    world.committer.start();
    await world.committer.idle();
  }
});

Deno.test("Committer notices a missing element, when it renews it", async () => {
  const world = make();
  const one = defined(world.ask("192.0.2.1"));
  await world.committer.idle();
  world.nft.kernel.elements("nat_map").delete(one.fake);
  world.nat.tables[4].renew(world.nowMs, 1);
  world.committer.start();
  await world.committer.idle();
  assertInStep(world);
  assertEquals(kindsOf(world), ["drift"]);
});

/** A pool of two fakes, both of which have stood for other reals and may stand for new ones. */
async function usedPool(): Promise<Committing> {
  const world = make({ ipv4: "198.18.0.0/30" });
  const used = world.askAll(["192.0.2.1", "192.0.2.2"]);
  await world.committer.idle();
  for (const { fake } of used) world.nft.kernel.connect(fake);
  world.pass(TTL_MS);
  world.pass(QUARANTINE_MS);
  await world.committer.idle();
  assertEquals([world.nft.connectionReads, world.nft.kernel.connections.size], [0, 2]);
  return world;
}

Deno.test("Committer deletes connections before the addition, when a fake gets another real", async () => {
  const world = await usedPool();
  const scripts = world.nft.scripts.length;
  const asked = world.askAll(["192.0.2.3", "2001:db8::1"]);
  const fake = defined(asked[0]).fake;
  const [former] = world.nft.kernel.connectedTo(fake);
  await world.committer.idle();
  assertEquals(answers(asked), [true, true]);
  assertEquals(world.nft.disconnected, [{ pairs: [`${fake} ${former}`], scripts }]);
  assertEquals(world.nft.kernel.connectedTo(fake), []);
  // The other fake's stay, and nothing is listed for the new one of IPv6.
  assertEquals([world.nft.kernel.connections.size, world.nft.connectionReads], [1, 2]);
});

Deno.test("Committer deletes no connections, when a fake that is reused has none", async () => {
  const world = await usedPool();
  world.nft.kernel.connections.clear();
  assertEquals((await answered(world, "192.0.2.3")).answer, true);
  assertEquals([world.nft.disconnected, world.nft.connectionReads], [[], 1]);
  // Once it has been found clean nobody looks again.
  world.pass(TTL_MS);
  assertEquals((await answered(world, "192.0.2.3")).answer, true);
  assertEquals(world.nft.connectionReads, 1);
});

Deno.test("Committer looks at no connections, when a real gets its own fake back", async () => {
  const world = await usedPool();
  world.askAll(["192.0.2.1", "192.0.2.2"]);
  await world.committer.idle();
  assertEquals([world.nft.connectionReads, world.nft.kernel.connections.size], [0, 2]);
});

Deno.test("Committer deletes connections of an evicted mapping, when it has left the kernel", async () => {
  const world = make({ ipv4: "198.18.0.0/30", evictAfterMs: 500 });
  const [one] = world.askAll(["192.0.2.1", "192.0.2.2"]);
  await world.committer.idle();
  world.nft.kernel.connect(defined(one).fake);
  // A quarter more than a client may use its answer, and seen to be idle.
  world.pass(625);
  noteTraffic(world.nat.tables[4], [], world.nowMs);
  const scripts = world.nft.scripts.length;
  const three = await answered(world, "192.0.2.3");
  assertEquals([three.fake, three.answer, three.wasTrue], [one?.fake, true, true]);
  assertEquals(world.nft.disconnected, [{
    pairs: [`${three.fake} 192.0.2.1`],
    scripts: scripts + 1,
  }]);
  assertInStep(world);
});

Deno.test("Committer deletes connections that were never translated, when it adopts or the sets were emptied", async () => {
  const world = make();
  const { committer, nft: { kernel } } = world;
  const pin = () => {
    for (const fake of ["198.18.0.9", "2001:2::9"]) kernel.connections.add(`${fake} ${fake}`);
  };
  pin();
  await committer.adopt();
  assertEquals([...kernel.connections], []);
  const one = await answered(world, "192.0.2.1");
  kernel.connect(one.fake);
  kernel.elements("nat_map").clear();
  pin();
  await committer.verify();
  assertEquals([...kernel.connections], [`${one.fake} 192.0.2.1`]);
  assertInStep(world);
  // Nobody has changed anything, so nothing can have been absent.
  const reads = world.nft.connectionReads;
  await committer.verify();
  assertEquals(world.nft.connectionReads, reads);
});

/** Asks for a real, and waits until nothing is in flight. */
async function answered(world: Committing, real: string): Promise<Asked> {
  const asked = defined(world.ask(real));
  await world.committer.idle();
  return asked;
}

/** What may keep connections from being deleted, and how that is set right. */
const OBSTACLES: readonly (readonly [what: string, obstruct: (world: Committing) => void])[] = [
  ["cannot be listed", (world) => world.nft.connectionsProblem = "conntrack is not there"],
  ["stay where they are", (world) => world.nft.isDeletionVain = true],
];

for (const [what, obstruct] of OBSTACLES) {
  Deno.test(`Committer gives no fake to another real, when its connections ${what}`, async () => {
    const world = await usedPool();
    obstruct(world);
    const [refused, other] = world.askAll(["192.0.2.3", "2001:db8::3"]);
    await world.committer.idle();
    assertEquals([refused?.answer, other?.answer, other?.wasTrue], [false, true, true]);
    assertEquals(world.nft.kernel.list(4), []);
    assertInStep(world);
    // It is not forgotten by then that the fake is another's: it is still bound to the refused one.
    world.pass(1);
    assertEquals((await answered(world, "192.0.2.3")).answer, false);
    world.nft.connectionsProblem = undefined;
    world.nft.isDeletionVain = false;
    const again = await answered(world, "192.0.2.3");
    assertEquals([again.answer, again.wasTrue], [true, true]);
    assertEquals(world.nft.kernel.connectedTo(again.fake), []);
    assertInStep(world);
  });
}

for (const state of ["away", "dies"] as const) {
  Deno.test(`Committer deletes connections all the same, when nft ${state} amid the batch`, async () => {
    const world = await usedPool();
    world.nft.state = state;
    world.ask("192.0.2.9");
    world.ask("2001:db8::9");
    await world.settle();
    const four = defined(world.ask("192.0.2.4"));
    world.nft.state = "up";
    world.retry();
    await world.committer.idle();
    for (const real of ["192.0.2.9", "192.0.2.4"]) {
      const { fake, answer, wasTrue } = await answered(world, real);
      assertEquals([answer, wasTrue, world.nft.kernel.connectedTo(fake)], [true, true, []]);
    }
    assertEquals(four.answer, false);
    assertInStep(world);
  });
}

Deno.test("Committer deletes connections all the same, when the batch drifts or is refused", async () => {
  for (const trouble of ["drift", "refusal"]) {
    const world = await usedPool();
    const six = await answered(world, "2001:db8::6");
    if (trouble === "drift") world.nft.kernel.elements("nat_map6").delete(six.fake);
    else world.nft.kernel.refused.add("192.0.2.3");
    const three = defined(world.ask("192.0.2.3"));
    // In the same batch, so that the deletions before the reuse find the kernel changed.
    world.nat.tables[6].renew(world.nowMs, 1);
    await world.committer.idle();
    world.nft.kernel.refused.clear();
    const again = await answered(world, "192.0.2.3");
    assertEquals([three.fake, again.answer, again.wasTrue], [again.fake, true, true], trouble);
    assertEquals(world.nft.kernel.connectedTo(again.fake), [], trouble);
    assertInStep(world);
  }
});

Deno.test("Committer refuses an adopted mapping alone, when the kernel no longer takes it", async () => {
  const world = make();
  for (const n of [1, 2]) {
    world.nft.kernel.put(`198.18.0.${n}`, `192.0.2.${n}`);
  }
  await world.committer.adopt();
  world.nft.kernel.elements("nat_map").clear();
  world.nft.kernel.elements("nat_addr").clear();
  world.nft.kernel.refused.add("192.0.2.1");
  await world.committer.verify();
  const known = world.ask("192.0.2.2");
  assertEquals([known?.answer, known?.wasTrue], [true, true]);
  assertEquals(world.nat.tables[4].size, 1);
  assertInStep(world);
});

Deno.test("Committer leaves nothing behind, when half of a mapping is refused", async () => {
  const world = make();
  const asked = defined(world.ask("192.0.2.1"));
  await world.committer.idle();
  world.nft.kernel.elements("nat_addr").clear();
  world.nft.kernel.refused.add("192.0.2.1");
  void world.committer.verify();
  await world.committer.idle();
  assert(!world.nft.kernel.holds(4, asked.fake, asked.real));
  assertInStep(world);
});

type Step =
  | { readonly what: "ask"; readonly n: number }
  | { readonly what: "pass"; readonly ms: number }
  | { readonly what: "settle" | "hold" | "release" | "up" | "away" | "dies" | "retry" }
  | { readonly what: "refuse" | "allow" | "meddle"; readonly n: number };

const ASK = fc.record({ what: fc.constant("ask" as const), n: fc.nat(11) });
const PASS = fc.record({
  what: fc.constant("pass" as const),
  ms: fc.constantFrom(0, 1, 500, QUARANTINE_MS, TTL_MS / 2, TTL_MS),
});
const MOVE = fc.record({
  what: fc.constantFrom("settle" as const, "settle" as const, "hold" as const, "release" as const),
});
const FAULT = fc.record({
  what: fc.constantFrom(
    "up" as const,
    "up" as const,
    "away" as const,
    "dies" as const,
    "retry" as const,
  ),
});
const REFUSE = fc.record({
  what: fc.constantFrom("refuse" as const, "allow" as const),
  n: fc.nat(11),
});
const MEDDLE = fc.record({ what: fc.constant("meddle" as const), n: fc.nat(BY_HAND.length - 1) });

/** One of twelve reals, half of them IPv6; six IPv4 ones share a pool of two. */
function realOf(n: number): string {
  return n % 2 === 0 ? `192.0.2.${n + 1}` : `2001:db8::${n + 1}`;
}

async function take(world: Committing, step: Step, asked: Asked[]): Promise<void> {
  switch (step.what) {
    case "ask":
      return void asked.push(...world.askAll([realOf(step.n)]));
    case "pass":
      return world.pass(step.ms);
    case "settle":
      return await world.settle();
    case "hold":
      return world.nft.hold();
    case "release":
      return world.nft.release();
    case "up":
    case "away":
    case "dies":
      world.nft.state = step.what;
      return;
    case "retry":
      return world.retry();
    case "refuse":
      return void world.nft.kernel.refused.add(realOf(step.n));
    case "allow":
      return void world.nft.kernel.refused.delete(realOf(step.n));
    case "meddle": {
      const [pair] = activePairs(world.nat.tables[4]);
      const [fake, real] = [
        pair?.fake.join(".") ?? "198.18.0.1",
        pair?.real.join(".") ?? "192.0.2.1",
      ];
      BY_HAND[step.n]?.[1](world, { family: 4, fake, real, revision: 0 });
      void world.committer.verify();
    }
  }
}

/** Lets everything become well and come to rest. */
async function comeToRest(world: Committing): Promise<void> {
  world.nft.state = "up";
  world.nft.kernel.refused.clear();
  world.nft.release();
  for (let i = 0; i < 3; i++) {
    await world.settle();
    world.retry();
  }
  world.committer.start();
  await world.committer.idle();
}

function property(step: fc.Arbitrary<Step>, wasTrueAlways: boolean) {
  return fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
    const world = make({ ipv4: "198.18.0.0/30" });
    const asked: Asked[] = [];
    for (const one of steps) await take(world, one, asked);
    await comeToRest(world);
    assertInStep(world);
    for (const { answer, wasTrue, real } of asked) {
      assert(answer !== undefined, `nobody told the reply about ${real}`);
      assert(
        !wasTrueAlways || !answer || wasTrue,
        `${real} was handed out and is not in the kernel`,
      );
    }
  });
}

Deno.test("Committer hands out only what the kernel has, when nft fails at random", async () => {
  const step = fc.oneof({ weight: 4, arbitrary: ASK }, { weight: 2, arbitrary: PASS }, MOVE, FAULT);
  await holdsAsync("Committer and faults", property(step, true));
});

Deno.test("Committer hands out only what the kernel has, when elements are refused", async () => {
  const step = fc.oneof(
    { weight: 4, arbitrary: ASK },
    { weight: 2, arbitrary: PASS },
    MOVE,
    REFUSE,
  );
  await holdsAsync("Committer and refusals", property(step, true));
});

Deno.test("Committer makes the kernel equal the tables, when everything goes wrong", async () => {
  const step = fc.oneof({ weight: 4, arbitrary: ASK }, PASS, MOVE, FAULT, REFUSE, MEDDLE);
  await holdsAsync("Committer and everything", property(step, false));
});

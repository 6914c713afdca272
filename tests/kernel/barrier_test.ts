/** Who waits for what, and what each is told. */
import { assert, assertEquals } from "@std/assert";
import { ANSWERED_AT_ONCE, Barrier, WAITING_MAX } from "../../lib/kernel/barrier.ts";
import { take } from "../../lib/util/steps.ts";

/** A barrier, what those who wait were told, and which mappings have ended. */
class World {
  readonly told: string[] = [];
  readonly ended = new Set<number>();
  /** How many were told something before each turn that others had. */
  readonly turns: number[] = [];
  waits = 0;
  readonly barrier = new Barrier({
    isActive: (revision) => !this.ended.has(revision),
    breathe: () => {
      this.turns.push(this.told.length);
      return Promise.resolve();
    },
    onWait: () => this.waits++,
  });

  wait(...revisions: readonly number[]): void {
    this.barrier.wait(revisions, (isCommitted) => this.told.push(`${revisions} ${isCommitted}`));
  }
}

Deno.test("Barrier.wait() calls back in the order of coming, when the last revision is settled", () => {
  const world = new World();
  world.wait(2);
  world.wait(3, 1);
  world.wait(1);
  assertEquals([world.told, world.waits], [[], 3]);
  take(world.barrier.open(1));
  assertEquals(world.told, ["1 true"]);
  take(world.barrier.open(3));
  assertEquals(world.told, ["1 true", "2 true", "3,1 true"]);
  assertEquals([world.barrier.settled, world.barrier.isCommitted(3)], [3, true]);
});

Deno.test("Barrier.wait() calls back at once, when everything is settled", () => {
  const world = new World();
  take(world.barrier.open(5));
  world.wait(5);
  world.ended.add(4);
  world.wait(4, 5);
  assertEquals([world.told, world.waits], [["5 true", "4,5 false"], 0]);
});

Deno.test("Barrier.wait() is false, when one of the mappings has ended meanwhile", () => {
  const world = new World();
  world.wait(1, 2);
  world.wait(2);
  world.ended.add(1);
  take(world.barrier.open(2));
  assertEquals(world.told, ["1,2 false", "2 true"]);
});

Deno.test("Barrier.hold() lets nobody pass, when their revisions are settled already", () => {
  const world = new World();
  take(world.barrier.open(5));
  world.barrier.hold();
  world.wait(5);
  assertEquals([world.told, world.barrier.isCommitted(0)], [[], false]);
  take(world.barrier.open(4));
  assertEquals([world.told, world.barrier.settled], [["5 true"], 5]);
});

Deno.test("Barrier.shut() sends everybody away, when they wait already or come later", () => {
  const world = new World();
  world.wait(1);
  take(world.barrier.shut());
  world.wait(0);
  assertEquals(world.told, ["1 false", "0 false"]);
  assert(!world.barrier.isCommitted(0));
  world.barrier.hold();
  world.wait(2);
  take(world.barrier.open(2));
  assertEquals(world.told.slice(2), ["2 true"]);
});

Deno.test("Barrier.wait() is false at once, when WAITING_MAX wait already", () => {
  const world = new World();
  for (let i = 0; i < WAITING_MAX; i++) world.wait(1);
  assertEquals(world.told, []);
  world.wait(1);
  assertEquals(world.told, ["1 false"]);
});

for (const outcome of ["open", "shut"] as const) {
  Deno.test(`Barrier.${outcome}() lets others have a turn, when very many wait`, async () => {
    const world = new World();
    for (let i = 0; i < 2 * ANSWERED_AT_ONCE + 1; i++) world.wait(1);
    await take(outcome === "open" ? world.barrier.open(1) : world.barrier.shut());
    assertEquals(world.turns, [ANSWERED_AT_ONCE, 2 * ANSWERED_AT_ONCE]);
    assertEquals(new Set(world.told), new Set([`1 ${outcome === "open"}`]));
    assertEquals(world.told.length, 2 * ANSWERED_AT_ONCE + 1);
  });
}

Deno.test("Barrier.wait() may be called by who is told something, when the barrier is being opened", () => {
  const world = new World();
  world.barrier.wait([1], () => world.wait(2));
  world.barrier.wait([1], () => world.wait(1));
  take(world.barrier.open(1));
  assertEquals(world.told, ["1 true"]);
  take(world.barrier.open(2));
  assertEquals(world.told, ["1 true", "2 true"]);
});

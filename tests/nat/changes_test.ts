/** The log of changes: revisions, order, and taking from the old end. */
import { assertEquals } from "@std/assert";
import { type Change, ChangeLog } from "../../lib/nat/changes.ts";
import { bytesOf } from "../support/nat.ts";

const FAKE = bytesOf("198.18.0.1");
const REAL = bytesOf("192.0.2.1");
const PAIR = { fake: FAKE, real: REAL };

function logOf(count: number): ChangeLog {
  const log = new ChangeLog();
  for (let i = 0; i < count; i++) log.push("add", 4, PAIR);
  return log;
}

function revisionsOf(changes: readonly Change[]): number[] {
  return changes.map(({ revision }) => revision);
}

Deno.test("ChangeLog.push() returns revisions that rise by one, over both families", () => {
  const log = new ChangeLog();
  assertEquals([log.revision, log.size], [0, 0]);
  assertEquals(log.push("add", 4, PAIR), 1);
  assertEquals(log.push("delete", 6, PAIR), 2);
  assertEquals([log.revision, log.size], [2, 2]);
  assertEquals(log.takeAll(), [
    { kind: "add", family: 4, fake: FAKE, real: REAL, revision: 1, isReused: false },
    { kind: "delete", family: 6, fake: FAKE, real: REAL, revision: 2, isReused: false },
  ]);
  assertEquals([log.revision, log.size], [2, 0]);
  assertEquals(log.push("add", 4, PAIR), 3);
});

Deno.test("ChangeLog.take() takes the oldest and leaves the rest, when there are more", () => {
  for (
    const [count, most, taken, left] of [
      [0, 3, [], []],
      [2, 3, [1, 2], []],
      [3, 3, [1, 2, 3], []],
      [4, 3, [1, 2, 3], [4]],
      [7, 3, [1, 2, 3], [4, 5, 6, 7]],
    ] as const
  ) {
    const log = logOf(count);
    assertEquals(revisionsOf(log.take(most)), taken);
    assertEquals(log.size, left.length);
    assertEquals(revisionsOf(log.takeAll()), left);
  }
});

Deno.test("ChangeLog.take() does not see what comes later, when it is still being used", () => {
  const log = logOf(2);
  const taken = log.take(5);
  log.push("add", 4, PAIR);
  assertEquals(revisionsOf(taken), [1, 2]);
  assertEquals(revisionsOf(log.take(5)), [3]);
});

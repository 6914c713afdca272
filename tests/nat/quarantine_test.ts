/** Quarantine: how long it lasts, and who goes first when fakes are reused. */
import { assertEquals } from "@std/assert";
import { Quarantine } from "../../lib/nat/quarantine.ts";
import { NONE } from "../../lib/util/age_queue.ts";

const DURATION_MS = 100;

/** The slots that may be reused, in the order in which they are, which empties the quarantine. */
function drain(quarantine: Quarantine): number[] {
  const slots: number[] = [];
  for (let slot = quarantine.next; slot !== NONE; slot = quarantine.next) {
    quarantine.take(slot);
    slots.push(slot);
  }
  return slots;
}

Deno.test("Quarantine.release() ends one quarantine after the other, when its time is over", () => {
  const quarantine = new Quarantine(DURATION_MS);
  assertEquals([quarantine.release(1e9), quarantine.nextEndMs], [NONE, Infinity]);
  quarantine.put(7, 10, 1);
  quarantine.put(3, 20, 2);
  assertEquals([quarantine.size, quarantine.reusable, quarantine.nextEndMs], [2, 0, 110]);
  assertEquals([quarantine.release(109), quarantine.next], [NONE, NONE]);
  assertEquals([quarantine.release(110), quarantine.release(110)], [7, NONE]);
  assertEquals([quarantine.isReusable(7), quarantine.isReusable(3)], [true, false]);
  assertEquals([quarantine.size, quarantine.reusable, quarantine.next], [2, 1, 7]);
  assertEquals(quarantine.release(120), 3);
  assertEquals(drain(quarantine), [7, 3]);
  assertEquals([quarantine.size, quarantine.isReusable(7)], [0, false]);
});

Deno.test("Quarantine.restart() begins anew, when a fake was used, reusable or not", () => {
  const quarantine = new Quarantine(DURATION_MS);
  quarantine.put(1, 0, 1);
  quarantine.put(2, 0, 2);
  quarantine.noteConnections([], 2);
  quarantine.restart(1, 50);
  assertEquals([quarantine.release(100), quarantine.release(100)], [2, NONE]);
  quarantine.restart(2, 120);
  assertEquals([quarantine.isReusable(2), quarantine.nextEndMs], [false, 150]);
  // What was known of them was known before they were used.
  assertEquals([quarantine.isClean(1), quarantine.isClean(2)], [false, false]);
  assertEquals([quarantine.release(220), quarantine.release(220)], [1, 2]);
});

Deno.test("Quarantine.noteConnections() makes clean what is not shown, when the kernel had lost it", () => {
  const quarantine = new Quarantine(DURATION_MS);
  for (const slot of [1, 2, 3, 4]) quarantine.put(slot, 0, slot);
  quarantine.noteConnections([2, 99], 3);
  assertEquals([1, 2, 3, 4].map((slot) => quarantine.isClean(slot)), [true, false, true, false]);
  // What is shown later is clean no more, and what has gone is.
  quarantine.noteConnections([1], 4);
  assertEquals([1, 2, 3, 4].map((slot) => quarantine.isClean(slot)), [false, true, true, true]);
});

Deno.test("Quarantine.next is what is clean, oldest first, and only then anything else", () => {
  const quarantine = new Quarantine(DURATION_MS);
  for (const slot of [1, 2, 3, 4, 5]) quarantine.put(slot, slot, slot);
  quarantine.noteConnections([1, 3], 9);
  quarantine.release(0);
  while (quarantine.release(200) !== NONE);
  assertEquals(drain(quarantine), [2, 4, 5, 1, 3]);
});

Deno.test("Quarantine.noteConnections() sorts anew, when what may be reused becomes clean or stops", () => {
  const quarantine = new Quarantine(DURATION_MS);
  for (const slot of [1, 2, 3, 4]) quarantine.put(slot, 0, slot);
  while (quarantine.release(200) !== NONE);
  quarantine.noteConnections([1, 4], 9);
  quarantine.noteConnections([2], 9);
  assertEquals([quarantine.size, quarantine.reusable], [4, 4]);
  assertEquals(drain(quarantine), [3, 1, 4, 2]);
});

Deno.test("Quarantine.putReusable() leaves out the quarantine, when a mapping was evicted", () => {
  const quarantine = new Quarantine(DURATION_MS);
  quarantine.put(1, 0, 1);
  quarantine.release(100);
  quarantine.putReusable(2, 100, 2);
  assertEquals([quarantine.reusable, quarantine.sinceMs(2)], [2, 100]);
  assertEquals([quarantine.isClean(2), quarantine.next], [false, 1]);
  quarantine.noteConnections([1], 1);
  assertEquals([quarantine.isClean(2), quarantine.next], [false, 1]);
  quarantine.noteConnections([1], 2);
  assertEquals(drain(quarantine), [2, 1]);
});

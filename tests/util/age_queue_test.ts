/** The queue by age, against an array that does the same slowly. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { AgeQueue, NONE } from "../../lib/util/age_queue.ts";
import { holds } from "../support/property.ts";

Deno.test("AgeQueue is empty, when nothing has been put in", () => {
  const queue = new AgeQueue();
  assertEquals([queue.oldest, queue.size], [NONE, 0]);
});

Deno.test("AgeQueue.push() keeps the order, when numbers come in any", () => {
  const queue = queueOf([5, 3, 9, 0]);
  assertEquals(toArray(queue), [5, 3, 9, 0]);
  assertEquals(queue.size, 4);
});

Deno.test("AgeQueue.remove() takes the number out, wherever it stands", () => {
  for (const [n, left] of [[1, [2, 3]], [2, [1, 3]], [3, [1, 2]]] as const) {
    const queue = queueOf([1, 2, 3]);
    queue.remove(n);
    assertEquals(toArray(queue), left);
    queue.push(n);
    assertEquals(toArray(queue), [...left, n]);
  }
});

Deno.test("AgeQueue.remove() leaves an empty queue that works, when it takes the last number", () => {
  const queue = queueOf([7]);
  queue.remove(7);
  assertEquals([queue.oldest, queue.size], [NONE, 0]);
  queue.push(7);
  queue.push(8);
  assertEquals(toArray(queue), [7, 8]);
});

Deno.test("AgeQueue.renew() moves the number to the young end, wherever it stands", () => {
  for (const [n, order] of [[1, [2, 3, 1]], [2, [1, 3, 2]], [3, [1, 2, 3]]] as const) {
    const queue = queueOf([1, 2, 3]);
    queue.renew(n);
    assertEquals(toArray(queue), order);
  }
});

Deno.test("AgeQueue.push() grows, when a number is at, just above or far above its room", () => {
  for (const n of [62, 63, 64, 65, 127, 128, 100_000]) {
    const queue = queueOf([1, n, 2]);
    assertEquals(toArray(queue), [1, n, 2]);
    queue.remove(n);
    assertEquals(toArray(queue), [1, 2]);
  }
});

type Step = readonly [what: "push" | "remove" | "renew", n: number];

Deno.test("AgeQueue does what an array does, when steps are random", () => {
  const step: fc.Arbitrary<Step> = fc.tuple(
    fc.constantFrom("push" as const, "remove" as const, "renew" as const),
    fc.oneof(fc.nat(8), fc.nat(300)),
  );
  holds(
    "AgeQueue",
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const queue = new AgeQueue();
      const model: number[] = [];
      for (const [what, n] of steps) {
        const at = model.indexOf(n);
        if ((what === "push") === (at >= 0)) continue;
        if (at >= 0) model.splice(at, 1);
        if (what !== "remove") model.push(n);
        queue[what](n);
        assertEquals([queue.oldest, queue.size], [model[0] ?? NONE, model.length]);
      }
      assertEquals(toArray(queue), model);
    }),
  );
});

function queueOf(numbers: readonly number[]): AgeQueue {
  const queue = new AgeQueue();
  for (const n of numbers) queue.push(n);
  return queue;
}

function toArray(queue: AgeQueue): number[] {
  const numbers = [];
  for (let n = queue.oldest; n !== NONE; n = queue.after(n)) numbers.push(n);
  return numbers;
}

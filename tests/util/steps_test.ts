/** Steps that wait and steps that need not. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { settled, type Steps, take } from "../../lib/util/steps.ts";

function* sum(...values: readonly (number | Promise<number>)[]): Steps<number> {
  let sum = 0;
  for (const value of values) sum += yield* settled(value);
  return sum;
}

Deno.test("take() returns the result itself, when no step has to wait", () => {
  assertEquals(take(sum()), 0);
  assertEquals(take(sum(1, 2, 3)), 6);
});

Deno.test("take() returns a promise, when a step has to wait", async () => {
  for (const values of [[Promise.resolve(1)], [1, Promise.resolve(2)], [Promise.resolve(1), 2]]) {
    const result = take(sum(...values));
    assert(result instanceof Promise);
    assertEquals(await result, values.length === 1 ? 1 : 3);
  }
});

Deno.test("take() lets steps catch what they wait for, when it is rejected", async () => {
  function* careful(): Steps<string> {
    try {
      return String(yield* settled(Promise.reject(new Error("gone"))));
    } catch (error) {
      return (error as Error).message + (yield* settled(Promise.resolve("!")));
    }
  }
  assertEquals(await take(careful()), "gone!");
});

Deno.test("take() fails as its steps do, when they throw before or after a wait", async () => {
  function* failing(first: Promise<void> | undefined): Steps<void> {
    yield* settled(first);
    throw new RangeError("no");
  }
  assertThrows(() => take(failing(undefined)), RangeError);
  await assertRejects(() => Promise.resolve(take(failing(Promise.resolve()))), RangeError);
});

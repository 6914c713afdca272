/**
 * Work in steps some of which may have to be waited for. Where none has to, all of it is done before
 * `take` returns: an `async` function would not be, and who has the answer at hand would wait for a
 * turn of the event loop all the same. The work is a generator that yields what it waits for.
 *
 * ```ts
 * function* sum(a: number | Promise<number>, b: number | Promise<number>): Steps<number> {
 *   return (yield* settled(a)) + (yield* settled(b));
 * }
 * take(sum(1, 2)); // 3
 * take(sum(1, Promise.resolve(2))); // a promise of 3
 * ```
 *
 * @module
 */

/** Work with a result; each yielded promise is waited for. */
export type Steps<T> = Generator<Promise<unknown>, T, unknown>;

/** The value, once it is there. */
export function* settled<T>(value: T | Promise<T>): Steps<T> {
  return value instanceof Promise ? (yield value) as T : value;
}

/** Takes all the steps; returns the result, or a promise of it where one of them waits. */
export function take<T>(steps: Steps<T>): T | Promise<T> {
  const { done, value } = steps.next();
  return done ? value : takeRest(steps, value);
}

async function takeRest<T>(steps: Steps<T>, first: Promise<unknown>): Promise<T> {
  let step: IteratorResult<Promise<unknown>, T> = { done: false, value: first };
  while (!step.done) {
    const [outcome]: [PromiseSettledResult<unknown>] = await Promise.allSettled([step.value]);
    step = outcome.status === "fulfilled" ? steps.next(outcome.value) : steps.throw(outcome.reason);
  }
  return step.value;
}

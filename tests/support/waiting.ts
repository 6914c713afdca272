/**
 * Waits that end: no test waits without a limit. Contract: what was waited for comes, or an error says
 * what did not. The limit is no threshold of speed: what is waited for takes a fraction of it, on a
 * busy machine too.
 */

/** How long what should happen may take. */
export const WAIT_MS = 30_000;

/** How often `eventually` looks. */
const POLL_INTERVAL_MS = 20;

/** Waits for a promise. */
export async function within<T>(
  what: string,
  promise: Promise<T>,
  limitMs: number = WAIT_MS,
): Promise<T> {
  const { promise: over, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(inVain(what, limitMs)), limitMs);
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}

/** Looks again and again until what is seen will do, and returns that. */
export async function eventually<T>(
  what: string,
  look: () => T | Promise<T>,
  willDo: (seen: T) => boolean,
  limitMs: number = WAIT_MS,
): Promise<T> {
  const deadlineMs = performance.now() + limitMs;
  for (;;) {
    const seen = await within(what, Promise.resolve(look()), limitMs);
    if (willDo(seen)) return seen;
    if (performance.now() > deadlineMs) throw inVain(what, limitMs, seen);
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
  }
}

function inVain(what: string, limitMs: number, ...[seen]: unknown[]): Error {
  const last = seen === undefined ? "" : `; seen last: ${Deno.inspect(seen)}`;
  return new Error(`Waited in vain for ${what}, ${limitMs / 1_000} s${last}`);
}

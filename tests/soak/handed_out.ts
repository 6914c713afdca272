/**
 * A model of what clients were told: which fake for which real, and until when each side of such a
 * pair may be in no other. Contract: pure, time is a parameter in milliseconds. It knows nothing of
 * dotp's tables and says only what a client can hold against dotp:
 *
 * - within a lifetime of the last answer a fake stands for one real, and a real has one fake;
 * - within a rest after that too, unless rests were forgotten or cut short meanwhile, as a restart
 *   and an element that nft refuses do.
 *
 * A lifetime is counted from when the query was sent, and a new pair from when its answer came, so
 * what it calls wrong is wrong however long a datagram took.
 */

/** How long pairs last. */
export interface Lifetimes {
  /** From the look-up of a pair until it may expire. */
  readonly lifetimeMs: number;
  /** From then on until its fake may be another real's. */
  readonly restMs: number;
}

/** An answer with a fake, addresses as hex. */
export interface Answer {
  readonly fake: string;
  readonly real: string;
  readonly sentMs: number;
  readonly receivedMs: number;
  readonly ttlMs: number;
}

/** A pair that a client may still use. */
export interface Promised {
  readonly fake: string;
  readonly real: string;
  /** When the first answer with it came, since it was nobody's. */
  sinceMs: number;
  /** When the client that was told last has to forget it. */
  untilMs: number;
  /** When the query of the last answer was sent. */
  lookedUpMs: number;
}

/** What clients were told. */
export class HandedOut {
  readonly #lifetimes: Lifetimes;
  readonly #byFake = new Map<string, Promised>();
  readonly #byReal = new Map<string, Promised>();
  /** Whose each fake was last, long after it binds anybody: as many as the pool has fakes. */
  readonly #lastReal = new Map<string, string>();
  #restsForgottenMs = -Infinity;
  #reused = 0;

  constructor(lifetimes: Lifetimes) {
    this.#lifetimes = lifetimes;
  }

  /** How often a fake went to another real, as it may after its rest. */
  get reused(): number {
    return this.#reused;
  }

  /** How many pairs are remembered. */
  get size(): number {
    return this.#byFake.size;
  }

  /**
   * Notes an answer.
   *
   * @returns what is wrong with it, or undefined
   */
  note(answer: Answer): string | undefined {
    const { fake, real, sentMs, receivedMs, ttlMs } = answer;
    const untilMs = receivedMs + ttlMs;
    const known = this.#byFake.get(fake);
    if (known !== undefined && known.real === real) {
      if (receivedMs > known.untilMs) known.sinceMs = receivedMs;
      known.untilMs = Math.max(known.untilMs, untilMs);
      known.lookedUpMs = Math.max(known.lookedUpMs, sentMs);
      return undefined;
    }
    const before = this.#byReal.get(real);
    const problem = this.#problem(known, answer) ?? this.#problem(before, answer);
    if ((this.#lastReal.get(fake) ?? real) !== real) this.#reused++;
    this.#lastReal.set(fake, real);
    for (const old of [known, before]) if (old !== undefined) this.#forget(old);
    const promised = { fake, real, sinceMs: receivedMs, untilMs, lookedUpMs: sentMs };
    this.#byFake.set(fake, promised);
    this.#byReal.set(real, promised);
    return problem;
  }

  /** Says that rests up to now no longer count. */
  forgetRests(nowMs: number): void {
    this.#restsForgottenMs = nowMs;
  }

  /** What some client may use from one time to another, by what it was told before. */
  *usable(fromMs: number, toMs: number): Generator<Promised> {
    for (const promised of this.#byFake.values()) {
      if (promised.sinceMs < fromMs && promised.untilMs > toMs) yield promised;
    }
  }

  /** Forgets what binds nobody any more. */
  prune(nowMs: number): void {
    for (const promised of this.#byFake.values()) {
      if (this.#boundUntilMs(promised) < nowMs) this.#forget(promised);
    }
  }

  #problem(old: Promised | undefined, answer: Answer): string | undefined {
    if (old === undefined || answer.receivedMs >= this.#boundUntilMs(old)) return undefined;
    const ms = Math.round(answer.receivedMs - old.lookedUpMs);
    return old.fake === answer.fake
      ? `fake ${old.fake} of ${old.real} went to ${answer.real} after ${ms} ms`
      : `real ${old.real} with fake ${old.fake} got ${answer.fake} too, after ${ms} ms`;
  }

  #boundUntilMs({ lookedUpMs }: Promised): number {
    const { lifetimeMs, restMs } = this.#lifetimes;
    const hasRest = lookedUpMs > this.#restsForgottenMs;
    return lookedUpMs + lifetimeMs + (hasRest ? restMs : 0);
  }

  #forget(promised: Promised): void {
    // Either side may be in a newer pair already.
    if (this.#byFake.get(promised.fake) === promised) this.#byFake.delete(promised.fake);
    if (this.#byReal.get(promised.real) === promised) this.#byReal.delete(promised.real);
  }
}

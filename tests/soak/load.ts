/**
 * The load and the truth about it: asks the mixture, checks every answer, notes what was handed out,
 * goes to the real address through some of the fakes, and compares the kernel's maps with all of
 * them. Contract: everything is counted in the tally once, with whether a fault excuses it.
 */

import { addressToText, parseAddress } from "../../lib/address.ts";
import type { Block } from "../bench/names.ts";
import { readMap } from "../bench/kernel.ts";
import { sleep } from "../bench/process.ts";
import { WEB_PORT } from "../lab/addresses.ts";
import type { Client, Ended } from "./client.ts";
import { HandedOut } from "./handed_out.ts";
import { BLOCKS, isConfigured, judge, NAT_TTL_S, type Question, realOf } from "./messages.ts";
import type { Outcome, Tally } from "./tally.ts";
import type { Subject, Windows } from "./windows.ts";

/** Right, but later than this, is late. */
const LATE_MS = 1_000;

/** Queries outstanding while the rate is measured, as in the bench. */
const OUTSTANDING = 100;

/** Queries that are sent at once at the most, when the clock was missed for a while. */
const BURST_MAX = 100;
const TICK_MS = 5;

/**
 * New names come by the clock, whatever the rate: life and rest of a fake take twenty seconds, so
 * the pool is half full of those that may not be used yet, and two thirds after a restart.
 */
const FRESH_PER_SECOND = 100;
/** Of them, one in so many asks for an IPv6 address, as of all others. */
const AAAA_EACH = 8;
/** Share of names that are not configured among the others. */
const PLAIN_SHARE = 0.6;

/** One fake in so many answers is used at once, and again before its TTL is over. */
const VISITED_EACH = 40;
const VISIT_TIMEOUT_MS = 3_000;
/** Part of the TTL that is left for a visit to end in. */
const VISIT_MARGIN = 0.9;

/** Datagrams per second to dotp that are no queries. */
const GARBAGE_PER_SECOND = 50;
const GARBAGE_LENGTH_MAX = 100;

const KNOWN_AAAA = 100;
/** New IPv6 names come round sooner: their pool is never used up, and would grow all the time. */
const FRESH_AAAA = 1_000;

/** What a `Load` works with. */
export interface LoadOptions {
  readonly client: Client;
  readonly tally: Tally;
  readonly windows: Windows;
}

/** Asks and checks. */
export class Load {
  readonly handedOut = new HandedOut({
    lifetimeMs: NAT_TTL_S * 1_000,
    restMs: NAT_TTL_S * 1_000,
  });
  readonly #options: LoadOptions;
  readonly #visits = new Set<Promise<void>>();
  readonly #startMs = performance.now();
  #fresh = 0;
  #freshAaaa = 0;
  #fakes = 0;
  #isOver = false;
  #completed = 0;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** Asks as fast as answers come, for so long; returns queries per second of the second half. */
  async calibrate(ms: number): Promise<number> {
    const { client } = this.#options;
    const startMs = performance.now();
    let [halfMs, halfCompleted] = [startMs, 0];
    const isHalf = () => halfMs > startMs;
    for (let nowMs = startMs; nowMs < startMs + ms; nowMs = performance.now()) {
      if (!isHalf() && nowMs > startMs + ms / 2) {
        [halfMs, halfCompleted] = [nowMs, this.#completed];
      }
      while (client.outstanding < OUTSTANDING) this.#askNext();
      await sleep(0);
    }
    return (this.#completed - halfCompleted) / (performance.now() - halfMs) * 1_000;
  }

  /** Asks so many queries per second until `stop`. */
  async run(queriesPerSecond: number): Promise<void> {
    let dueMs = performance.now();
    while (!this.#isOver) {
      const nowMs = performance.now();
      const due = Math.min(BURST_MAX, Math.floor((nowMs - dueMs) * queriesPerSecond / 1_000));
      // What a burst at its most leaves undone is not caught up with.
      dueMs = due === BURST_MAX ? nowMs : dueMs + due * 1_000 / queriesPerSecond;
      for (let i = 0; i < due; i++) this.#askNext();
      await sleep(TICK_MS);
    }
  }

  /** Sends what is no query, until `stop`. */
  async disturb(port: number): Promise<void> {
    const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
    void drain(socket);
    while (!this.#isOver) {
      const garbage = new Uint8Array(Math.floor(Math.random() * GARBAGE_LENGTH_MAX));
      crypto.getRandomValues(garbage);
      await socket.send(garbage, { transport: "udp", hostname: "127.0.0.1", port }).catch(() => {});
      await sleep(1_000 / GARBAGE_PER_SECOND);
    }
    socket.close();
  }

  /** Asks no more; resolves when all that was asked and visited has ended. */
  async stop(): Promise<void> {
    this.#isOver = true;
    while (this.#options.client.outstanding > 0 || this.#visits.size > 0) await sleep(TICK_MS);
  }

  /** Asks for a new name, beside the load; tells whether a fake came. */
  askFresh(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    this.#options.client.ask(this.#nextFresh(), (ended) => resolve(this.#onEnd(ended) === "right"));
    return promise;
  }

  /**
   * Compares the kernel's maps with what clients may use now, and counts it.
   *
   * @returns how many pairs are missing
   */
  async compareKernel(): Promise<number> {
    const { tally, windows } = this.#options;
    const startMs = performance.now();
    const maps = await Promise.all([readMap("nat_map"), readMap("nat_map6")]).catch(() => []);
    const endMs = performance.now();
    const held = new Map(maps.flatMap((map) => [...map]).map(([f, r]) => [hexOf(f), hexOf(r)]));
    const isExcused = windows.excuses("kernel", startMs, endMs);
    let missing = 0;
    this.handedOut.prune(endMs);
    for (const { fake, real } of this.handedOut.usable(startMs, endMs)) {
      const found = held.get(fake);
      if (found === undefined) missing++;
      const outcome = found === undefined ? "lost" : found === real ? "right" : "wrong";
      tally.count("kernel", outcome, isExcused, () => `${fake} for ${real} is ${found}`);
    }
    return missing;
  }

  /** Goes to the real address of a fake, and counts what is found there. */
  async visit(fake: Uint8Array, real: Uint8Array): Promise<void> {
    const { tally, windows } = this.#options;
    const startMs = performance.now();
    const [hostname, expected] = [addressToText(fake), addressToText(real)];
    const found = await reach(hostname);
    const endMs = performance.now();
    const isExcused = windows.excuses("traffic", startMs, endMs);
    const outcome = found === undefined ? "lost" : found !== expected ? "wrong" : "right";
    const isLate = outcome === "right" && endMs - startMs > LATE_MS;
    const example = () => `${hostname} for ${expected} led to ${found ?? "nowhere"}`;
    tally.count("traffic", isLate ? "late" : outcome, isExcused, example);
  }

  #askNext(): void {
    this.#options.client.ask(this.#nextQuestion(), (ended) => {
      this.#completed++;
      this.#onEnd(ended);
    });
  }

  #nextQuestion(): Question {
    const fresh = this.#fresh + this.#freshAaaa;
    if (fresh * 1_000 < (performance.now() - this.#startMs) * FRESH_PER_SECOND) {
      return this.#nextFresh();
    }
    const [chance, isAaaa] = [Math.random(), Math.random() * AAAA_EACH < 1];
    if (chance < PLAIN_SHARE) return pick(BLOCKS.plain, BLOCKS.plain.count, isAaaa);
    return pick(BLOCKS.known, isAaaa ? KNOWN_AAAA : BLOCKS.known.count, isAaaa);
  }

  #nextFresh(): Question {
    if ((this.#fresh + this.#freshAaaa) % AAAA_EACH === 0) {
      return { block: BLOCKS.fresh, index: this.#freshAaaa++ % FRESH_AAAA, family: 6 };
    }
    return { block: BLOCKS.fresh, index: this.#fresh++, family: 4 };
  }

  #onEnd(ended: Ended): Outcome {
    const { tally, windows } = this.#options;
    const { question, sentMs, endedMs } = ended;
    const subject: Subject = isConfigured(question) ? "configured" : "not configured";
    const { outcome, why } = this.#judge(ended);
    const isExcused = windows.excuses(subject, sentMs, endedMs);
    const isLate = outcome === "right" && endedMs - sentMs > LATE_MS;
    const example = () =>
      `${question.block.label}${question.index} IPv${question.family} at ` +
      `${seconds(sentMs - this.#startMs)}: ${why ?? `after ${seconds(endedMs - sentMs)}`}`;
    tally.count(subject, isLate ? "late" : outcome, isExcused, example);
    return outcome;
  }

  #judge({ question, query, answer, sentMs, endedMs }: Ended): { outcome: Outcome; why?: string } {
    if (answer === undefined) return { outcome: "lost" };
    const verdict = judge(question, query, answer);
    if (verdict.kind === "wrong") return { outcome: "wrong", why: verdict.why };
    if (verdict.kind === "servfail") return { outcome: "servfail" };
    const { fake, ttlS } = verdict;
    if (fake === undefined) return { outcome: "right" };
    const real = realOf(question);
    const [sides, ttlMs] = [{ fake: fake.toHex(), real: real.toHex() }, ttlS * 1_000];
    const why = this.handedOut.note({ ...sides, sentMs, receivedMs: endedMs, ttlMs });
    if (this.#fakes++ % VISITED_EACH === 0) this.#visitTwice(fake, real, ttlMs);
    return why === undefined ? { outcome: "right" } : { outcome: "wrong", why };
  }

  #visitTwice(fake: Uint8Array, real: Uint8Array, ttlMs: number): void {
    const endsMs = performance.now() + ttlMs * VISIT_MARGIN;
    const twice = async () => {
      await this.visit(fake, real);
      await sleep(Math.max(0, endsMs - performance.now()) * Math.random());
      // A visit that took too long may have used the time up.
      if (performance.now() < endsMs) await this.visit(fake, real);
    };
    const visits = twice().finally(() => this.#visits.delete(visits));
    this.#visits.add(visits);
  }
}

function pick(block: Block, count: number, isAaaa: boolean): Question {
  return { block, index: Math.floor(Math.random() * count), family: isAaaa ? 6 : 4 };
}

/** The address that answers there; undefined where none does. */
async function reach(hostname: string): Promise<string | undefined> {
  const signal = AbortSignal.timeout(VISIT_TIMEOUT_MS);
  try {
    using connection = await Deno.connect({ hostname, port: WEB_PORT, signal });
    const closing = () => connection.close();
    signal.addEventListener("abort", closing);
    const buffer = new Uint8Array(64);
    const length = await connection.read(buffer);
    signal.removeEventListener("abort", closing);
    return new TextDecoder().decode(buffer.subarray(0, length ?? 0));
  } catch {
    return undefined;
  }
}

async function drain(socket: Deno.DatagramConn): Promise<void> {
  try {
    for await (const _ of socket);
  } catch {
    // Closed.
  }
}

function hexOf(address: string): string {
  return parseAddress(address).bytes.toHex();
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

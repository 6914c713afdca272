/** Mappings, a committer and a fake nft put together, as `lib/io/app.ts` does it with the real one. */
import { addressToText, type Family } from "../../lib/address.ts";
import type { Barrier } from "../../lib/kernel/barrier.ts";
import { Committer } from "../../lib/kernel/committer.ts";
import type { KernelEvent } from "../../lib/kernel/kernel.ts";
import type { Holder } from "../../lib/nat/shares.ts";
import { FakeNft } from "./fake_nft.ts";
import { activePairs, addressesOf, makeNat, type Nat, type NatOptions } from "./nat.ts";

/** Turns of the event loop after which nothing moves that waits for nobody. */
const TURNS = 200;

/** Whom a question comes from that says nothing else. */
const HOLDER: Holder = { name: "example.com", client: "192.0.2.99" };

/** What mappings and committer are made with. */
export interface CommittingOptions extends NatOptions {
  /** How a first batch is begun. */
  readonly begin?: (run: () => void) => void;
  /** What each batch waits for. */
  readonly pace?: () => Promise<void> | undefined;
  /** What many answers wait for in between. */
  readonly breathe?: () => Promise<void>;
}

/** A question and what became of the reply that needed it. */
export interface Asked {
  readonly family: Family;
  readonly real: string;
  readonly fake: string;
  readonly revision: number;
  /** What the reply was told, once it was. */
  answer?: boolean;
  /** Whether the kernel had the mapping when the reply was told that it has. */
  wasTrue?: boolean;
  /** When that was. */
  answeredMs?: number;
}

/** Everything between a question and the kernel. */
export class Committing {
  readonly nat: Nat;
  readonly nft: FakeNft;
  readonly committer: Committer;
  readonly events: KernelEvent[] = [];
  nowMs = 0;
  /** Ends the pause that is under way, if one is. */
  #pause: ((isWorthwhile: boolean) => void) | undefined;

  /** @param nft one that outlives this run of the program, where there is one */
  constructor(options: CommittingOptions = {}, nft = new FakeNft()) {
    this.nat = makeNat(options);
    this.nft = nft;
    this.committer = new Committer({
      kernel: this.nft,
      log: this.nat.log,
      mappings: this.nat.mappings,
      begin: options.begin ?? queueMicrotask,
      pace: options.pace ?? (() => Promise.resolve()),
      breathe: options.breathe ?? (() => Promise.resolve()),
      pause: () => new Promise((resolve) => this.#pause = resolve),
      now: () => this.nowMs,
      report: (event) => this.events.push(event),
    });
  }

  /** Where replies wait. */
  get barrier(): Barrier {
    return this.committer.barrier;
  }

  /** Whether the committer waits before it tries again. */
  get isPausing(): boolean {
    return this.#pause !== undefined;
  }

  /** Asks for a real as a rewritten reply does, and waits like one; undefined where the pool is full. */
  ask(real: string, holder: Holder = HOLDER): Asked | undefined {
    const family = real.includes(":") ? 6 : 4;
    const addresses = addressesOf([real]);
    const { mappings } = this.nat;
    const isKnown = mappings.renewAll(addresses, this.nowMs);
    if (!isKnown && mappings.mapAll(addresses, holder, this.nowMs) !== undefined) return undefined;
    const revision = mappings.lease(addresses, 0);
    mappings.writeFakes(addresses);
    const fake = addressToText(new Uint8Array(addresses.view.buffer));
    const asked: Asked = { family, real, fake, revision };
    const done = (isCommitted: boolean) => {
      if (asked.answer !== undefined) throw new Error("a reply was answered twice");
      asked.answer = isCommitted;
      asked.answeredMs = this.nowMs;
      // As a reply does it that was held: the client counts from now on.
      if (isCommitted) mappings.prolong(asked.revision, this.nowMs);
      asked.wasTrue = this.nft.kernel.holds(family, fake, real);
    };
    if (this.barrier.isCommitted(asked.revision)) done(true);
    else this.barrier.wait([asked.revision], done);
    return asked;
  }

  /** Asks for several at once. */
  askAll(reals: Iterable<string>): Asked[] {
    return Array.from(reals, (real) => this.ask(real)).filter((asked) => asked !== undefined);
  }

  /** Lets time pass, and what has outlived its time go. */
  pass(ms: number): void {
    this.nowMs += ms;
    this.nft.kernel.pass(ms);
    if (this.nat.mappings.expire(this.nowMs) > 0) this.committer.start();
  }

  /** Ends the pause after a failure. */
  retry(isWorthwhile = true): void {
    this.#pause?.(isWorthwhile);
    this.#pause = undefined;
  }

  /** Lets everything happen that can without time, nft or a pause. */
  async settle(): Promise<void> {
    for (let i = 0; i < TURNS; i++) await Promise.resolve();
  }

  /** Lets things happen as `settle` does, but only until it holds, which it must. */
  async until(what: string, holds: () => boolean): Promise<void> {
    for (let i = 0; i < TURNS; i++) {
      if (holds()) return;
      await Promise.resolve();
    }
    throw new Error(`Waited in vain for ${what}`);
  }

  /** Whether the kernel has what the table has; nothing else, nothing less. */
  get isInStep(): boolean {
    return ([4, 6] as const).every((family) =>
      this.nft.kernel.list(family).join() === this.expected(family).join()
    );
  }

  /** What the kernel should hold, as the fake kernel lists it. */
  expected(family: Family): string[] {
    return Array.from(activePairs(this.nat.tables[family]), ({ fake, real }) => {
      const realText = addressToText(real);
      return [`${addressToText(fake)} ${realText}`, realText];
    }).flat().sort();
  }
}

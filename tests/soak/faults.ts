/**
 * Carries faults out, one after the other, and measures how long dotp takes to recover from each.
 * Contract: a fault is excused from its beginning until dotp has recovered: a new name gets a fake,
 * and the kernel holds whatever clients may use. Each kind has a bound on that time, and on what it
 * may make fail.
 */

import { addressToText } from "../../lib/address.ts";
import { DOTP_TABLE, RULES_FILE } from "../bench/kernel.ts";
import { sleep } from "../bench/process.ts";
import type { Running } from "../bench/servers.ts";
import { treeOf } from "../bench/usage.ts";
import type { Load } from "./load.ts";
import type { NftMode, NftStub } from "../support/nft_stub.ts";
import { mustRun, run, signal } from "../support/run.ts";
import type { Fault } from "./schedule.ts";
import type { Subject, Windows } from "./windows.ts";

/** dotp gives this up at the latest; it then counts as not recovered. */
const GIVE_UP_MS = 45_000;

const POLL_MS = 100;

/** How long the upstream is silent, and nft does not do its work. */
const SILENCE_MS = 3_000;
const NFT_MS = 4_000;
/** Longer than dotp lets an nft hang. */
const HANG_MS = 5_000;

/** A client may still use what is to be deleted by hand for so long. */
const DELETED_USABLE_MS = 3_000;
const DELETE_ATTEMPTS = 10;
const ADDED_ATTEMPTS = 10;
/** What is added by hand leads to nobody. */
const ADDED_REAL = "10.99.99.99";

/** What may fail, how soon dotp must be well again, and whether fakes may be reused sooner. */
interface Terms {
  readonly excused: readonly Subject[];
  /** From the end of the cause until dotp has recovered. */
  readonly boundMs: number;
  /**
   * Whether it may cut the rest of a fake short: a restart forgets rests, and a mapping that nft
   * refuses rests from its last look-up.
   */
  readonly cutsRests: boolean;
}

const ANSWERS: readonly Subject[] = ["not configured", "configured"];
const FAKES: readonly Subject[] = ["configured"];
const ALL_OF_FAKES: readonly Subject[] = ["configured", "traffic", "kernel"];

/**
 * Whoever flushes the sets breaks traffic, and so does an nft that refuses what has to be put back. All
 * else must not: while dotp is away or nft hangs, what was handed out works on. The bounds come from
 * dotp's own time limits (a second between two attempts, three for a batch, ten for a listing) and
 * leave a busy machine some seconds more; after a hang conntrack has hundreds of fakes to forget.
 */
export const TERMS: Readonly<Record<Fault, Terms>> = {
  "restart": { excused: ANSWERS, boundMs: 8_000, cutsRests: true },
  "crash": { excused: ANSWERS, boundMs: 8_000, cutsRests: true },
  "silence": { excused: ANSWERS, boundMs: 3_000, cutsRests: false },
  "flush": { excused: ALL_OF_FAKES, boundMs: 8_000, cutsRests: false },
  "table": { excused: ALL_OF_FAKES, boundMs: 8_000, cutsRests: true },
  "by hand": { excused: ALL_OF_FAKES, boundMs: 8_000, cutsRests: true },
  "kill nft": { excused: FAKES, boundMs: 5_000, cutsRests: false },
  "nft fails": { excused: FAKES, boundMs: 5_000, cutsRests: false },
  "nft dies": { excused: FAKES, boundMs: 5_000, cutsRests: false },
  "nft refuses": { excused: ALL_OF_FAKES, boundMs: 8_000, cutsRests: true },
  "nft hangs": { excused: FAKES, boundMs: 30_000, cutsRests: false },
};

/** What faults are made of. */
export interface FaultsOptions {
  readonly load: Load;
  readonly windows: Windows;
  readonly stub: NftStub;
  /** Starts dotp. */
  readonly start: () => Promise<Running>;
  readonly setSilent: (isSilent: boolean) => void;
}

/** Makes faults. */
export class Faults {
  readonly #options: FaultsOptions;
  #dotp: Running;
  #isRestarting = false;

  /** @param dotp the one that runs now */
  constructor(options: FaultsOptions, dotp: Running) {
    this.#options = options;
    this.#dotp = dotp;
  }

  /** The dotp that runs, or ran last. */
  get dotp(): Running {
    return this.#dotp;
  }

  /** Whether dotp should be running and is not. */
  get isGone(): boolean {
    return this.#dotp.server.ended && !this.#isRestarting;
  }

  /**
   * Makes one fault, and waits until dotp has recovered.
   *
   * @returns how long that took, from the end of the cause; `Infinity` where it did not
   */
  async make(fault: Fault): Promise<number> {
    const { load, windows } = this.#options;
    const { excused, cutsRests } = TERMS[fault];
    const close = windows.open(excused, performance.now());
    if (cutsRests) load.handedOut.forgetRests(performance.now());
    const endMs = await this.#cause(fault);
    const isWell = await this.#recovered(endMs + GIVE_UP_MS);
    const nowMs = performance.now();
    close(nowMs);
    if (cutsRests) load.handedOut.forgetRests(nowMs);
    return isWell ? nowMs - endMs : Infinity;
  }

  /** Returns when the cause was gone. */
  async #cause(fault: Fault): Promise<number> {
    const table = ["inet", DOTP_TABLE] as const;
    const { setSilent } = this.#options;
    switch (fault) {
      case "restart":
        return await this.#restart("SIGTERM");
      case "crash":
        return await this.#restart("SIGKILL");
      case "silence":
        setSilent(true);
        await sleep(SILENCE_MS);
        setSilent(false);
        break;
      case "flush":
        await mustRun(["nft", "flush", "map", ...table, "nat_map"]);
        break;
      case "table":
        await mustRun(["nft", "delete", "table", ...table]);
        await mustRun(["nft", "-f", RULES_FILE]);
        break;
      case "by hand":
        await this.#changeByHand();
        break;
      case "kill nft":
        this.#signalNft("SIGKILL");
        break;
      case "nft fails":
        await this.#spoilNft("fail", "SIGKILL", NFT_MS);
        break;
      case "nft dies":
        await this.#spoilNft("die", "SIGKILL", NFT_MS);
        break;
      case "nft refuses":
        await this.#spoilNft("refuse some", "SIGKILL", NFT_MS);
        break;
      case "nft hangs":
        await this.#spoilNft("hang", "SIGSTOP", HANG_MS);
    }
    return performance.now();
  }

  /** From here on clients wait, so that the time counts from the signal. */
  async #restart(how: "SIGTERM" | "SIGKILL"): Promise<number> {
    const startMs = performance.now();
    this.#isRestarting = true;
    await this.#dotp.server.stop(how);
    this.#dotp = await this.#options.start();
    this.#isRestarting = false;
    return startMs;
  }

  async #changeByHand(): Promise<void> {
    for (let attempt = 0; attempt < ADDED_ATTEMPTS; attempt++) {
      const fake = `198.18.${pickBelow(16)}.${1 + pickBelow(254)}`;
      if (await this.#changeElement("add", `${fake} : ${ADDED_REAL}`)) break;
    }
    for (let attempt = 0; attempt < DELETE_ATTEMPTS; attempt++) {
      const nowMs = performance.now();
      const [pair] = this.#options.load.handedOut.usable(nowMs, nowMs + DELETED_USABLE_MS);
      if (pair === undefined || pair.fake.length > 8) continue;
      const [fake, real] = [pair.fake, pair.real].map((hex) => Uint8Array.fromHex(hex)) as [
        Uint8Array,
        Uint8Array,
      ];
      if (!await this.#changeElement("delete", addressToText(fake))) continue;
      await this.#options.load.visit(fake, real);
      return;
    }
  }

  async #changeElement(verb: "add" | "delete", element: string): Promise<boolean> {
    const command = `${verb} element inet ${DOTP_TABLE} nat_map { ${element} }`;
    return (await run(["nft", command])).code === 0;
  }

  async #spoilNft(mode: NftMode, how: Deno.Signal, ms: number): Promise<void> {
    await this.#options.stub.set(mode);
    this.#signalNft(how);
    await sleep(ms);
    await this.#options.stub.set("pass");
  }

  /** Signals the long-lived nft; there is none where nothing has changed yet. */
  #signalNft(how: Deno.Signal): void {
    for (const pid of treeOf(this.#dotp.server.pid)) {
      const [program, option] = commandOf(pid);
      if (program === "nft" && option === "-i") signal(pid, how);
    }
  }

  async #recovered(deadlineMs: number): Promise<boolean> {
    const { load } = this.#options;
    let isAnswering = false;
    // A query may be held for long, so one after the other is asked.
    while (!isAnswering && performance.now() < deadlineMs) {
      void load.askFresh().then((hasFake) => isAnswering ||= hasFake);
      await sleep(POLL_MS);
    }
    while (await load.compareKernel() > 0) {
      if (performance.now() > deadlineMs) return false;
      await sleep(POLL_MS);
    }
    return isAnswering;
  }
}

function commandOf(pid: number): string[] {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0");
  } catch {
    return []; // It has ended meanwhile.
  }
}

function pickBelow(count: number): number {
  return Math.floor(Math.random() * count);
}

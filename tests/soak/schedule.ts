/**
 * What goes wrong and when. Contract: pure. Every kind of fault occurs at least once however short
 * the run is; what ends dotp comes in the first part of it only, so that one dotp lives long enough
 * afterwards for its memory to be judged.
 */

/** What the faults are called, and what each is. */
export const FAULTS = {
  "restart": "SIGTERM, and started again",
  "crash": "kill -9, and started again",
  "silence": "the upstream is silent",
  "flush": "a map is flushed",
  "table": "the table is deleted and rules.nft loaded again",
  "by hand": "one element is deleted by hand, another added",
  "kill nft": "the long-lived nft is killed",
  "nft fails": "each nft ends with an error",
  "nft dies": "each nft is killed at its start",
  "nft refuses": "the kernel refuses one batch in a few",
  "nft hangs": "each nft hangs",
} as const;

/** A kind of fault. */
export type Fault = keyof typeof FAULTS;

/** In the first part alone: these disturb names that are not configured too. */
export const DISTURBING: readonly Fault[] = ["restart", "crash", "silence"];

/** Throughout: faults of nft and of the kernel's sets. */
export const OF_NFT = (Object.keys(FAULTS) as Fault[]).filter((f) => !DISTURBING.includes(f));

/** Share of the run that is its first part. */
export const FIRST_PART = 0.4;

/** Time from one fault to the next; less in a run that would not see all of them otherwise. */
const INTERVAL_S = 10;

/** Faults at the least: the first part has five of them then, every other one disturbing. */
const FAULTS_MIN = 12;

/** A fault to be made. */
export interface Planned {
  readonly atS: number;
  readonly fault: Fault;
}

/** The faults of a run of so many seconds, in order. */
export function plan(totalS: number): Planned[] {
  const count = Math.max(FAULTS_MIN, Math.floor(totalS / INTERVAL_S) - 1);
  let [disturbing, ofNft] = [0, 0];
  return Array.from({ length: count }, (_, index) => {
    const atS = (index + 1) * totalS / (count + 1);
    const isDisturbing = atS < totalS * FIRST_PART && index % 2 === 0;
    const fault = isDisturbing
      ? DISTURBING[disturbing++ % DISTURBING.length]!
      : OF_NFT[ofNft++ % OF_NFT.length]!;
    return { atS, fault };
  });
}

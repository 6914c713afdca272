/**
 * The NAT state as a running whole: the mappings, what brings them into the kernel, and what keeps
 * both together.
 *
 * @module
 */
import type { Family } from "../address.ts";
import type { Config } from "../config.ts";
import { ChangeLog } from "../nat/changes.ts";
import { Pool } from "../nat/pool.ts";
import { KEY_LENGTH } from "../util/siphash.ts";
import { Mappings } from "../nat/mappings.ts";
import { Table } from "../nat/table.ts";
import { Committer } from "../kernel/committer.ts";
import type { KernelEvent } from "../kernel/kernel.ts";
import { Maintenance } from "../kernel/maintenance.ts";
import type { Engine } from "./engine.ts";
import { nowMs } from "./runtime/clock.ts";
import type { Report } from "../metrics.ts";
import { log } from "./runtime/log.ts";

/** Pause before a failed attempt to reach the kernel is repeated. */
const RETRY_MS = 1_000;

/** The NAT state and who looks after it. */
export interface Nat {
  readonly mappings: Mappings;
  readonly committer: Committer;
  readonly maintenance: Maintenance;
  /** Takes over what an earlier run has left in the kernel; replies with fakes wait for it. */
  adopt(): Promise<void>;
  /** Tries no more what fails; a batch that is in flight goes on. */
  stop(): void;
}

/** Makes the NAT state, empty. */
export async function makeNat(config: Config, engine: Engine, report: Report): Promise<Nat> {
  const changes = new ChangeLog();
  const mappings = await makeMappings(config, changes, report);
  const { kernel, begin, pace, breathe } = engine;
  await warnOfConnections(engine);
  const { pause, giveUp } = makeRetry();
  const reportKernel = (event: KernelEvent) => report({ kind: "kernel", event });
  const committer = new Committer({
    kernel,
    log: changes,
    mappings,
    begin,
    ...(pace === undefined ? {} : { pace }),
    breathe,
    pause,
    now: nowMs,
    report: reportKernel,
  });
  engine.watch(() => committer.distrust());
  const ttlMs = config.natTtl * 1_000;
  const maintenance = new Maintenance({
    mappings,
    committer,
    kernel,
    ttlMs,
    now: nowMs,
    report: reportKernel,
  });
  return {
    mappings,
    committer,
    maintenance,
    adopt: async () => {
      const adopted = await committer.adopt();
      if (adopted > 0) log.info("took over {adopted} mappings from the kernel", { adopted });
    },
    stop: giveUp,
  };
}

/** Says where connections cannot be deleted: then no fake is given to another real address. */
async function warnOfConnections({ probeConnections }: Engine): Promise<void> {
  const problem = await probeConnections();
  if (problem === undefined) return;
  log.warning("{problem}: a fake that has stood for an address is not given to another one", {
    problem,
  });
}

async function makeMappings(
  config: Config,
  changes: ChangeLog,
  report: Report,
): Promise<Mappings> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(config.poolKey));
  const key = new Uint8Array(digest).slice(0, KEY_LENGTH);
  const ttlMs = config.natTtl * 1_000;
  const hashKey = crypto.getRandomValues(new Int32Array(1))[0]!;
  const make = (family: Family) =>
    new Table({
      pool: new Pool(config.prefixes[family], key),
      log: changes,
      ttlMs,
      ttlMaxMs: config.natMaxTtl === 0 ? Infinity : config.natMaxTtl * 1_000,
      quarantineMs: ttlMs,
      evictAfterMs: config.poolFull === "evict" ? ttlMs / 2 : Infinity,
      hashKey,
      onFill: (percent) => report({ kind: "fill", family, percent }),
    });
  return new Mappings(make(4), make(6));
}

/** A pause before each further attempt, which can be cut short for good. */
function makeRetry(): { pause: () => Promise<boolean>; giveUp: () => void } {
  const over = Promise.withResolvers<false>();
  const pause = () => {
    const { promise, resolve } = Promise.withResolvers<true>();
    const timer = setTimeout(resolve, RETRY_MS, true);
    return Promise.race([promise, over.promise]).finally(() => clearTimeout(timer));
  };
  return { pause, giveUp: () => over.resolve(false) };
}

/**
 * Two remarks beside the comparison. What a mapping costs dotp over its whole life, made, kept and
 * removed again: dnsmasq never removes what it adds, so there is nothing to compare it with, but a
 * cost that falls after the last answer is a cost. And what a mere echo costs in Deno on this
 * machine, the floor under dotp's figures. Contract: both are bounded in count and time.
 */

import { load } from "./dnsperf.ts";
import { readDotpSet, readMap, resetTables } from "./kernel.ts";
import { type Host, writeQueries } from "./names.ts";
import { sleep } from "./process.ts";
import { type Running, startDotp, startEcho } from "./servers.ts";
import { cpuSecondsOf } from "./usage.ts";
import type { Workload } from "./workloads.ts";

/** Long enough to load all mappings before the first one expires. */
const NAT_TTL_SECONDS = 20;

/** When the last mapping is gone, at the latest, counted from its expiry. */
const REMOVAL_TIMEOUT_MS = 15_000;

const POLL_INTERVAL_MS = 2_000;

/** What was found. */
export interface Expiry {
  /** Processor time per mapping until the last answer. */
  readonly madeMicros: number;
  /** Processor time per mapping from then on until all are removed. */
  readonly removedMicros: number;
  readonly problems: readonly string[];
}

/**
 * Loads mappings and watches them go.
 *
 * @param hosts One for each mapping
 * @param warm Asked beforehand; not configured
 * @param directory For query files
 * @param isBare Without rules in the kernel, only sets
 */
export async function measureExpiry(
  hosts: readonly Host[],
  warm: readonly Host[],
  directory: string,
  isBare: boolean,
): Promise<Expiry> {
  await resetTables("dotp", isBare);
  const { server, port } = await startDotp({ natTtlSeconds: NAT_TTL_SECONDS });
  try {
    const file = `${directory}/queries`;
    await writeQueries(file, warm);
    await load(port, file);
    await writeQueries(file, hosts);
    const start = cpuSecondsOf(server.pid);
    const { completed } = await load(port, file);
    const made = cpuSecondsOf(server.pid);
    const deadlineMs = Date.now() + NAT_TTL_SECONDS * 1_000 + REMOVAL_TIMEOUT_MS;
    while ((await readMap()).size > 0 && Date.now() < deadlineMs) await sleep(POLL_INTERVAL_MS);
    const removed = cpuSecondsOf(server.pid);

    const left = (await readMap()).size + (await readDotpSet()).size;
    const perMapping = 1e6 / Math.max(1, completed);
    return {
      madeMicros: (made - start) * perMapping,
      removedMicros: (removed - made) * perMapping,
      problems: left === 0 ? [] : [`${left} elements left in the kernel after they expired`],
    };
  } finally {
    await server.stop();
  }
}

/** Processor time per datagram sent back. */
export interface Echo {
  readonly fullMicros: number;
  readonly pacedMicros: number;
}

/**
 * Asks the echo what the servers are asked, at full load and at the fixed rate.
 *
 * @param workload Names
 * @param directory For query files
 * @param rate Queries per second of the fixed rate
 */
export async function measureEcho(
  workload: Workload,
  directory: string,
  rate: number,
): Promise<Echo> {
  const probe = workload.full[0];
  if (probe === undefined) throw new RangeError("Cannot measure the echo: no names");
  const running = await startEcho(probe);
  try {
    const file = `${directory}/queries`;
    await writeQueries(file, workload.warm);
    await load(running.port, file);
    await writeQueries(file, workload.full);
    const fullMicros = await microsPerQuery(running, file);
    await writeQueries(file, workload.paced);
    return { fullMicros, pacedMicros: await microsPerQuery(running, file, rate) };
  } finally {
    await running.server.stop();
  }
}

async function microsPerQuery({ server, port }: Running, file: string, rate?: number) {
  const before = cpuSecondsOf(server.pid);
  const { completed } = await load(port, file, rate);
  return (cpuSecondsOf(server.pid) - before) * 1e6 / Math.max(1, completed);
}

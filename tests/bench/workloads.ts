/**
 * The three workloads, and one run of one of them against one server. Contract: each run gets a
 * freshly started server and empty sets, is warmed up with the same queries whichever server it is,
 * and is measured from the first query of dnsperf until shortly after its last answer. Afterwards the
 * answers and the kernel's sets are checked.
 */

import { type Load, load } from "./dnsperf.ts";
import { resetTables } from "./kernel.ts";
import { type Blocks, CONFIGURED, type Host, hostsOf, writeQueries } from "./names.ts";
import { sleep } from "./process.ts";
import type { Running } from "./servers.ts";
import { cpuSecondsOf, type Memory, MemoryWatch, OthersWatch, residentOf } from "./usage.ts";
import { type Behaviour, verify } from "./verify.ts";

/** Work that a server puts off until after its last answer is still that run's. */
const SETTLE_MS = 300;

/** At most so much of a run may be lost or fail before it counts as broken. */
const LOSS_TOLERANCE = 0.001;

/** How much is asked. */
export interface Counts {
  /** Queries as fast as they are answered, of names not configured or known. */
  readonly full: number;
  /** Queries at a fixed rate, in each workload. */
  readonly paced: number;
  /** Queries of the warm-up. */
  readonly warm: number;
}

/** What is asked, and beforehand. */
export interface Workload {
  readonly title: string;
  /** What is aimed at, at full load; at a fixed rate it is dnsmasq's processor time everywhere. */
  readonly goals: readonly Goal[];
  readonly warm: readonly Host[];
  readonly full: readonly Host[];
  readonly paced: readonly Host[];
}

/** A figure of dotp's over the same of another server's, and the most or the least that it may be. */
export interface Goal {
  readonly than: string;
  readonly figure: "cpuMicros" | "queriesPerSecond";
  readonly most?: number;
  readonly least?: number;
}

/** Result of one run. */
export interface Result {
  readonly load: Load;
  /** Processor time per completed query. */
  readonly cpuMicros: number;
  readonly queriesPerSecond: number;
  readonly peak: Memory;
  /** At the end of the run, all mappings loaded. */
  readonly resident: Memory;
  readonly mappings: number;
  /** Share of the processors that other processes took meanwhile. */
  readonly othersShare: number;
  /** What broke, in words. */
  readonly problems: readonly string[];
}

/** One run to be made. */
export interface Run {
  readonly workload: Workload;
  readonly behaviour: Behaviour;
  readonly start: () => Promise<Running>;
  /** Queries per second; as fast as answers come when left out. */
  readonly rate?: number;
  /** Without rules in the kernel, only sets. */
  readonly isBare: boolean;
  /** For query files. */
  readonly directory: string;
}

/** Makes the three workloads: no configured name, known mappings, every name new. */
export function makeWorkloads(blocks: Blocks, counts: Counts): [Workload, Workload, Workload] {
  const plainWarm = hostsOf(blocks.plain, counts.warm);
  return [
    {
      title: "no configured name",
      goals: [
        { than: "forwarder", figure: "cpuMicros", most: 1.15 },
        { than: "dnsdist", figure: "cpuMicros", most: 1 },
      ],
      warm: plainWarm,
      full: hostsOf(blocks.plain, counts.full),
      paced: hostsOf(blocks.plain, counts.paced),
    },
    {
      title: "known mappings",
      goals: [{ than: "forwarder", figure: "cpuMicros", most: 1.2 }],
      warm: hostsOf(blocks.known, blocks.known.count + counts.warm),
      full: hostsOf(blocks.known, counts.full),
      paced: hostsOf(blocks.known, counts.paced),
    },
    {
      title: "every name new",
      goals: [
        { than: "forwarder", figure: "cpuMicros", most: 2 },
        { than: "smartdns", figure: "cpuMicros", most: 1 },
        { than: "dnsmasq", figure: "queriesPerSecond", least: 5 },
      ],
      warm: [...plainWarm, ...hostsOf(blocks.warm)],
      full: hostsOf(blocks.fresh),
      paced: hostsOf(blocks.fresh, Math.min(counts.paced, blocks.fresh.count)),
    },
  ];
}

/** Runs a workload against a server, from its start to its end. */
export async function execute(run: Run): Promise<Result> {
  await resetTables(run.behaviour, run.isBare);
  const { server, port } = await run.start();
  try {
    const hosts = run.rate === undefined ? run.workload.full : run.workload.paced;
    const file = `${run.directory}/queries`;
    await writeQueries(file, run.workload.warm);
    await load(port, file);
    await writeQueries(file, hosts);

    const others = new OthersWatch();
    const watch = new MemoryWatch(server.pid);
    const before = cpuSecondsOf(server.pid);
    const measured = await load(port, file, run.rate);
    await sleep(SETTLE_MS);
    const cpuSeconds = cpuSecondsOf(server.pid) - before;
    const resident = residentOf(server.pid);
    const peak = watch.stop();
    const othersShare = others.share();

    const mapped = new Set([...run.workload.warm, ...hosts].filter(isMapped));
    const problems = [
      ...lossesOf(measured),
      ...(server.ended ? [`it ended by itself\n${server.log}`] : []),
      ...await verify(run.behaviour, port, hosts, [...mapped]),
    ];
    const cpuMicros = cpuSeconds * 1e6 / Math.max(1, measured.completed);
    const mappings = new Set([...mapped].map((host) => host.real)).size;
    const { queriesPerSecond } = measured;
    return {
      ...{ load: measured, cpuMicros, queriesPerSecond },
      ...{ peak, resident, mappings, othersShare, problems },
    };
  } finally {
    await server.stop();
  }
}

function isMapped(host: Host): boolean {
  return host.name.endsWith(`.${CONFIGURED}`);
}

function lossesOf(measured: Load): string[] {
  const missing = measured.lost + measured.failed;
  if (missing <= measured.sent * LOSS_TOLERANCE) return [];
  return [`${measured.lost} of ${measured.sent} queries lost, ${measured.failed} failed`];
}

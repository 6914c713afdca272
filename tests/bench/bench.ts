/**
 * `deno task bench`: dotp against its peers, with the same upstream, in one run, inside a user and network
 * namespace of its own (no root, loopback only).
 *
 * Contract: prints medians over the rounds, in which the servers alternate, and how they stand to
 * the goals. Two kinds of load are measured, for neither tells all. At full load, both serve the same
 * number of queries outstanding as fast as they can; that shows what a processor is good for, but the
 * faster one works in larger batches. At a fixed rate that both can bear, both do the same work in
 * the same time, which is what a gateway does all day; each query then pays for a wake-up of its own.
 *
 * The exit status is 0 unless something broke: queries lost, wrong answers, a set that does not hold
 * what was asked. A missed goal is not a failure.
 */

import { isInside, runInside } from "../lab/namespace.ts";
import { install, prepare, widenPath } from "../lab/tools.ts";
import { hasProgram, packageOf } from "../support/programs.ts";
import { endAll, mustRun } from "../support/run.ts";
import { OUTSTANDING } from "./dnsperf.ts";
import { type Blocks, type BlockSizes, hostAt, makeBlocks, writeZone } from "./names.ts";
import { measurePolicy } from "./policy.ts";
import { measureEcho, measureExpiry } from "./remarks.ts";
import {
  disturbance,
  goals,
  latency,
  memory,
  progress,
  type Row,
  type Section,
  table,
} from "./report.ts";
import { say } from "./say.ts";
import {
  type Running,
  startDnsdist,
  startDnsmasq,
  startDotp,
  startForwarder,
  startSmartdns,
  startUpstream,
  versions,
} from "./servers.ts";
import type { Behaviour } from "./verify.ts";
import {
  type Counts,
  execute,
  type Goal,
  makeWorkloads,
  type Result,
  type Workload,
} from "./workloads.ts";

const USAGE = `Usage: deno task bench [--quick] [--rounds N] [--only SERVER,...] [--bare]

  --quick        A smoke run: few queries, one round; its figures mean little
  --rounds N     Rounds in which the servers alternate (3)
  --only SERVER  Leave all but these out: dotp, forwarder, dnsdist, smartdns, dnsmasq
  --bare         Sets alone in the kernel: no rules, no connection tracking

DOTP_BIN=PROGRAM measures that program in place of main.ts.`;

/** Programs needed besides those of the lab. */
const PROGRAMS = ["dnsperf", "dnsmasq", "knotd"];

/** The program that each further peer needs; without it the peer is left out. */
const PEERS = { forwarder: "cc", dnsdist: "dnsdist", smartdns: "smartdns" } as const;

/** All servers, in the order of the report. */
const SERVERS = ["dotp", "forwarder", "dnsdist", "smartdns", "dnsmasq"] as const;

/** Status after Ctrl-C, as a shell would give it. */
const EXIT_INTERRUPTED = 130;

/** How big a bench is. */
interface Scale {
  readonly sizes: BlockSizes;
  readonly counts: Counts;
  readonly rounds: number;
  readonly queriesPerSecond: number;
  /** In the long list. */
  readonly names: number;
}

const FULL: Scale = {
  sizes: { plain: 10_000, known: 3_000, fresh: 50_000, warm: 3_000 },
  counts: { full: 100_000, paced: 20_000, warm: 20_000 },
  rounds: 3,
  queriesPerSecond: 2_000,
  names: 1_000_000,
};

const QUICK: Scale = {
  sizes: { plain: 2_000, known: 500, fresh: 5_000, warm: 500 },
  counts: { full: 10_000, paced: 2_000, warm: 5_000 },
  rounds: 1,
  queriesPerSecond: 2_000,
  names: 100_000,
};

interface Options {
  readonly scale: Scale;
  readonly only: readonly string[];
  readonly isBare: boolean;
}

/** What all runs of a bench share. */
interface Bench {
  readonly directory: string;
  readonly isBare: boolean;
  readonly results: Results;
  /** What broke, in words. */
  readonly problems: string[];
  /** Lines below the tables. */
  readonly remarks: string[];
}

/** A server that takes part. */
interface Contestant {
  readonly name: string;
  readonly behaviour: Behaviour;
  readonly start: () => Promise<Running>;
}

/** One kind of load. */
interface Mode {
  readonly title: string;
  readonly rate?: number;
}

/** At a fixed rate a query costs no more than dnsmasq takes. */
const PACED_GOALS: readonly Goal[] = [{ than: "dnsmasq", figure: "cpuMicros", most: 1 }];

/** Rows are keyed by these three. */
type Results = Map<string, Result[]>;

function parseOptions(args: readonly string[]): Options | undefined {
  let scale = FULL;
  let rounds: number | undefined;
  let only: readonly string[] = SERVERS;
  let isBare = false;
  const rest = [...args];
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--quick") scale = QUICK;
    else if (arg === "--rounds") rounds = Number(rest.shift());
    else if (arg === "--only") only = (rest.shift() ?? "").split(",");
    else if (arg === "--bare") isBare = true;
    else return undefined;
  }
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) return undefined;
  if (!only.every((name) => SERVERS.some((server) => server === name))) return undefined;
  return { scale: { ...scale, rounds: rounds ?? scale.rounds }, only, isBare };
}

async function main(args: readonly string[]): Promise<number> {
  const options = parseOptions(args);
  if (options === undefined) {
    say(USAGE);
    return args.includes("--help") || args.includes("-h") ? 0 : 2;
  }
  widenPath();
  if (!isInside()) {
    const script = new URL(import.meta.url).pathname;
    if (!await prepare([script]) || !await install(PROGRAMS)) return 1;
    return await runInside(args);
  }
  const directory = await Deno.makeTempDir({ prefix: "dotp-bench-" });
  const leave = () => {
    endAll();
    Deno.removeSync(directory, { recursive: true });
    Deno.exit(EXIT_INTERRUPTED);
  };
  Deno.addSignalListener("SIGINT", leave);
  Deno.addSignalListener("SIGTERM", leave);
  try {
    return await bench(directory, options);
  } finally {
    endAll();
    await Deno.remove(directory, { recursive: true });
  }
}

async function bench(directory: string, options: Options): Promise<number> {
  const { scale, only, isBare } = options;
  await mustRun(["ip", "link", "set", "lo", "up"]);
  say(`${await versions()}; ${navigator.hardwareConcurrency} processors; rounds: ${scale.rounds}`);
  const blocks = makeBlocks(scale.sizes);
  const workloads = makeWorkloads(blocks, scale.counts);
  const zoneFile = `${directory}/zone`;
  await writeZone(zoneFile, blocks);
  const upstream = await startUpstream(directory, zoneFile, hostAt(blocks.plain, 0));
  const bench: Bench = { directory, isBare, results: new Map(), problems: [], remarks: [] };
  const modes = makeModes(scale);
  try {
    const contestants = makeContestants(blocks, directory).filter(({ name }) =>
      only.includes(name)
    );
    for (const mode of modes) {
      for (const workload of workloads) {
        for (let round = 1; round <= scale.rounds; round++) {
          for (const contestant of contestants) await runOnce(bench, mode, workload, contestant);
        }
      }
    }
    const [fullLoad] = modes;
    const [plain, known, fresh] = workloads;
    if (only.includes("dnsmasq")) await runOnce(bench, fullLoad, known, makeCached(blocks));
    if (only.includes("dotp")) {
      await remarkOnExpiry(bench, plain, fresh);
      await remarkOnEcho(bench, plain, scale.queriesPerSecond);
    }
    const probe = hostAt(blocks.plain, 0);
    bench.remarks.push("", ...await measurePolicy(directory, scale.names, probe, only));
  } catch (error) {
    // A server that does not start ends the bench, but what was measured is still worth a report.
    bench.problems.push(messageOf(error));
  } finally {
    await upstream.server.stop();
  }
  printReport(bench, modes, workloads);
  return bench.problems.length === 0 ? 0 : 1;
}

function makeModes({ queriesPerSecond }: Scale): [Mode, Mode] {
  return [
    { title: `full load: ${OUTSTANDING} queries outstanding, as fast as answers come` },
    { title: `fixed rate: ${queriesPerSecond} queries per second`, rate: queriesPerSecond },
  ];
}

function makeContestants(blocks: Blocks, directory: string): Contestant[] {
  const probe = hostAt(blocks.plain, 0);
  const all: Contestant[] = [
    { name: "dotp", behaviour: "dotp", start: () => startDotp() },
    { name: "forwarder", behaviour: "forward", start: () => startForwarder(directory, probe) },
    { name: "dnsdist", behaviour: "forward", start: () => startDnsdist(directory, probe) },
    { name: "smartdns", behaviour: "set", start: () => startSmartdns(directory, probe) },
    { name: "dnsmasq", behaviour: "set", start: () => startDnsmasq(probe, false) },
  ];
  return all.filter(({ name }) => {
    const program = Object.entries(PEERS).find(([peer]) => peer === name)?.[1];
    if (program === undefined || hasProgram(program)) return true;
    say(`${name} is left out: ${program} is not installed (Debian: ${packageOf(program)})`);
    return false;
  });
}

/** Run once, as a remark: what dnsmasq's cache saves it, which dotp does not have. */
function makeCached(blocks: Blocks): Contestant {
  const probe = hostAt(blocks.plain, 0);
  return { name: "dnsmasq+cache", behaviour: "set", start: () => startDnsmasq(probe, true) };
}

async function runOnce(
  { results, problems, directory, isBare }: Bench,
  mode: Mode,
  workload: Workload,
  { name, behaviour, start }: Contestant,
): Promise<void> {
  const pace = mode.rate === undefined ? {} : { rate: mode.rate };
  const result = await execute({ workload, behaviour, start, directory, isBare, ...pace });
  const run = `${mode.rate === undefined ? "full load" : "fixed rate"}, ${workload.title}`;
  say(run.padEnd(32) + name.padEnd(14) + progress(result));
  problems.push(...result.problems.map((problem) => `${run}, ${name}: ${problem}`));
  const key = keyOf(mode, workload, name);
  results.set(key, [...results.get(key) ?? [], result]);
}

async function remarkOnExpiry(
  { directory, isBare, problems, remarks }: Bench,
  plain: Workload,
  fresh: Workload,
): Promise<void> {
  const expiry = await measureExpiry(fresh.full, plain.warm, directory, isBare);
  problems.push(...expiry.problems.map((problem) => `expiry: ${problem}`));
  const [made, removed] = [expiry.madeMicros.toFixed(1), expiry.removedMicros.toFixed(1)];
  remarks.push(
    "",
    `dotp, processor time of one mapping: ${made} us to make, ${removed} us to remove`,
  );
}

async function remarkOnEcho(bench: Bench, plain: Workload, rate: number): Promise<void> {
  const echo = await measureEcho(plain, bench.directory, rate);
  const [full, paced] = [echo.fullMicros.toFixed(1), echo.pacedMicros.toFixed(1)];
  bench.remarks.push(
    `Deno, processor time to echo a datagram: ${full} us at full load, ${paced} us at the fixed rate`,
  );
}

function keyOf(mode: Mode, workload: Workload, name: string): string {
  return [mode.title, workload.title, name].join("\n");
}

function sectionsOf(results: Results, mode: Mode, workloads: readonly Workload[]): Section[] {
  return workloads.map((workload) => {
    const rows = [...SERVERS, "dnsmasq+cache"].map((server): Row => {
      return { server, results: results.get(keyOf(mode, workload, server)) ?? [] };
    });
    const withResults = rows.filter((row) => row.results.length > 0);
    const goals = mode.rate === undefined ? workload.goals : PACED_GOALS;
    return { workload: workload.title, goals, rows: withResults };
  });
}

function printReport(
  { results, problems, remarks }: Bench,
  modes: readonly Mode[],
  workloads: readonly Workload[],
): void {
  const all = modes.map((mode) => ({ mode, sections: sectionsOf(results, mode, workloads) }));
  const lines = all.flatMap(({ mode, sections }) => table(mode.title, sections));
  for (const { mode, sections } of all) lines.push(...goals(mode.title, sections));
  const [, known, fresh] = all[1]?.sections ?? [];
  if (known !== undefined && fresh !== undefined) lines.push(...latency(known, fresh));
  const loaded = all[0]?.sections.at(-1);
  if (loaded !== undefined) lines.push(...memory(loaded));
  lines.push(...remarks, ...disturbance([...results.values()].flat()));
  if (problems.length > 0) lines.push("", ...problems.map((problem) => `BROKEN: ${problem}`));
  lines.forEach((line) => say(line));
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    say(`bench: ${messageOf(error)}`);
    Deno.exit(1);
  }
}

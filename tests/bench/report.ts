/**
 * Turns results into the printed tables: medians over the rounds, ratios, and how the figures stand
 * to the goals. Contract: pure; returns lines. A missed goal is a word in the report and nothing
 * else: figures depend on the machine.
 */

import type { Goal, Result } from "./workloads.ts";

/** dotp's memory with all mappings of the last workload loaded. */
const MEMORY_GOAL_MIB = 150;

/** How much longer than a known name's answer a new one's may take on average. */
const LATENCY_GOAL_MS = 0.1;

/** So many mappings must be loaded for the memory goal to be judged. */
const MEMORY_GOAL_MAPPINGS = 50_000;

/** Width of the columns: workload, server, then the figures. */
const WIDTHS = [20, 15, 10, 18, 9, 9, 6, 10] as const;

const HEADINGS = [
  ...["workload", "server", "queries/s", "CPU us/query", "avg ms", "max ms", "lost", "peak MiB"],
];

/** All rounds of one server in one workload. */
export interface Row {
  readonly server: string;
  readonly results: readonly Result[];
}

/** All servers in one workload, under one kind of load. */
export interface Section {
  readonly workload: string;
  readonly goals: readonly Goal[];
  readonly rows: readonly Row[];
}

/** One table for one kind of load. */
export function table(title: string, sections: readonly Section[]): string[] {
  if (sections.every((section) => section.rows.length === 0)) return [];
  const lines = ["", title, cells(HEADINGS)];
  for (const section of sections) {
    section.rows.forEach((row, index) => {
      const workload = index === 0 ? section.workload : "";
      lines.push(cells([workload, row.server, ...figuresOf(row.results)]));
    });
  }
  return lines;
}

/** How dotp's figures stand to the goals; nothing where there are none to compare with. */
export function goals(title: string, sections: readonly Section[]): string[] {
  const lines = sections.flatMap((section) =>
    section.goals.flatMap((goal) => {
      const share = ratio(section, goal);
      if (!Number.isFinite(share)) return [];
      const { most = Infinity, least = 0 } = goal;
      const limit = goal.most === undefined
        ? `at least ${least.toFixed(2)}`
        : `at most ${most.toFixed(2)}`;
      const figure = goal.figure === "cpuMicros" ? "processor time" : "queries/s";
      const what = `${section.workload.padEnd(20)}${`${figure} / ${goal.than}'s`.padEnd(30)}`;
      const verdict = share <= most && share >= least ? "met" : "missed";
      return [`  ${what}${share.toFixed(2).padStart(6)}   goal ${limit}   ${verdict}`];
    })
  );
  return lines.length === 0 ? [] : ["", `dotp's figures over others'; ${title}`, ...lines];
}

/** How much longer than a known name's answer a new one's takes, at a fixed rate. */
export function latency(known: Section, fresh: Section): string[] {
  const of = ({ rows }: Section) =>
    median(
      rows.find(({ server }) => server === "dotp")?.results.map((r) => r.load.averageMs) ?? [],
    );
  const moreMs = of(fresh) - of(known);
  if (!Number.isFinite(moreMs)) return [];
  const verdict = moreMs <= LATENCY_GOAL_MS ? "met" : "missed";
  const goal = `goal at most ${LATENCY_GOAL_MS.toFixed(2)}   ${verdict}`;
  return [`  a new name waits ${moreMs.toFixed(2)} ms longer than a known one   ${goal}`];
}

/** What is resident once all mappings of a workload are loaded. */
export function memory(section: Section): string[] {
  if (section.rows.length === 0) return [];
  const lines: string[] = [];
  for (const row of section.rows) {
    const mappings = row.results[0]?.mappings;
    if (mappings === undefined) continue;
    const own = mebibytes(median(row.results.map((r) => r.resident.ownBytes)));
    const helpers = mebibytes(median(row.results.map((r) => r.resident.helperBytes)));
    const total = own + helpers;
    const isJudged = row.server === "dotp" && mappings >= MEMORY_GOAL_MAPPINGS;
    const verdict = total < MEMORY_GOAL_MIB ? "met" : "missed";
    const goal = isJudged ? `   goal ${MEMORY_GOAL_MIB}   ${verdict}` : "";
    const parts = `${own.toFixed(1)} itself + ${helpers.toFixed(1)} its nft`;
    lines.push(`  ${row.server.padEnd(12)}${total.toFixed(1).padStart(7)} MiB (${parts})${goal}`);
  }
  const mappings = section.rows[0]?.results[0]?.mappings ?? 0;
  return ["", `resident memory with ${thousands(mappings)} mappings loaded`, ...lines];
}

/** How far others disturbed the runs. */
export function disturbance(results: readonly Result[]): string[] {
  if (results.length === 0) return [];
  const shares = results.map((result) => result.othersShare);
  const [middle, worst] = [median(shares), Math.max(...shares)].map((x) => (x * 100).toFixed(0));
  return [
    "",
    `taken by other processes: ${middle}% of the processors (median), ${worst}% at worst`,
  ];
}

/** The middle of some figures; of an even number, the mean of the middle two. */
export function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const upper = sorted[Math.floor(sorted.length / 2)] ?? NaN;
  const lower = sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN;
  return (lower + upper) / 2;
}

/** One short line about one run, printed while the bench goes on. */
export function progress(result: Result): string {
  const rate = thousands(result.load.queriesPerSecond).padStart(7);
  const others = `${(result.othersShare * 100).toFixed(0).padStart(3)}% others`;
  return `${rate} queries/s ${result.cpuMicros.toFixed(1).padStart(7)} us/query ${others}`;
}

function figuresOf(results: readonly Result[]): string[] {
  const cpu = results.map((result) => result.cpuMicros);
  const range = `(${Math.min(...cpu).toFixed(0)}-${Math.max(...cpu).toFixed(0)})`;
  return [
    thousands(median(results.map((result) => result.load.queriesPerSecond))),
    `${median(cpu).toFixed(1)} ${range.padEnd(9)}`,
    median(results.map((result) => result.load.averageMs)).toFixed(2),
    median(results.map((result) => result.load.maxMs)).toFixed(1),
    String(results.reduce((sum, { load }) => sum + load.lost + load.failed, 0)),
    mebibytes(median(results.map((result) => sum(result.peak)))).toFixed(1),
  ];
}

/** A figure of dotp's over that of another server; NaN where one of them was not measured. */
function ratio({ rows }: Section, { than, figure }: Goal): number {
  const of = (server: string) =>
    median(
      rows.find((row) => row.server === server)?.results.map((result) => result[figure]) ?? [],
    );
  return of("dotp") / of(than);
}

function cells(texts: readonly string[]): string {
  const padded = texts.map((text, index) => {
    const width = WIDTHS[index] ?? 0;
    return index < 2 ? text.padEnd(width) : text.padStart(width);
  });
  return padded.join("").trimEnd();
}

function sum(memory: Result["peak"]): number {
  return memory.ownBytes + memory.helperBytes;
}

function mebibytes(bytes: number): number {
  return bytes / 2 ** 20;
}

function thousands(figure: number): string {
  return Math.round(figure).toLocaleString("en-US");
}

/**
 * Runs dnsperf and reads its report. Contract: every run is bounded in count (its query file, once)
 * and in time. The number of queries outstanding is the same for every server. It is 100 because a
 * UDP socket's default receive buffer takes fewer than 300 small datagrams: from about 200 on, what
 * is lost says how big that buffer is, not how fast the server.
 */

import { mustRun } from "../support/run.ts";

/** Queries in flight. */
export const OUTSTANDING = 100;

/** Sockets that dnsperf sends from: some clients, not one. */
const CLIENTS = 8;

/** No run lasts longer, whatever the server does. */
const TIME_LIMIT_SECONDS = 120;

/** A query without an answer after so long is lost. */
const TIMEOUT_SECONDS = 5;

/** What a run gave. */
export interface Load {
  readonly sent: number;
  readonly completed: number;
  readonly lost: number;
  /** Answers with an RCODE other than NOERROR. */
  readonly failed: number;
  readonly queriesPerSecond: number;
  readonly averageMs: number;
  readonly maxMs: number;
}

/**
 * Asks every line of a query file once.
 *
 * @param port The server's port on 127.0.0.1
 * @param file The query file
 * @param queriesPerSecond A fixed rate; as fast as answers come when left out
 */
export async function load(port: number, file: string, queriesPerSecond?: number): Promise<Load> {
  const pace = queriesPerSecond === undefined ? [] : ["-Q", String(queriesPerSecond)];
  const command = [
    "dnsperf",
    ...["-s", "127.0.0.1", "-p", String(port), "-d", file, "-n", "1"],
    ...["-q", String(OUTSTANDING), "-c", String(CLIENTS)],
    ...["-l", String(TIME_LIMIT_SECONDS), "-t", String(TIMEOUT_SECONDS)],
    ...pace,
  ];
  return parseReport(await mustRun(command, { limitMs: 2 * TIME_LIMIT_SECONDS * 1_000 }));
}

/**
 * Reads dnsperf's statistics.
 *
 * @throws {SyntaxError} If a figure is missing
 */
export function parseReport(report: string): Load {
  const completed = figure(report, /Queries completed:\s+(\d+)/);
  return {
    sent: figure(report, /Queries sent:\s+(\d+)/),
    completed,
    lost: figure(report, /Queries lost:\s+(\d+)/),
    failed: completed - (completed > 0 ? figure(report, /NOERROR (\d+)/, 0) : 0),
    queriesPerSecond: figure(report, /Queries per second:\s+([\d.]+)/),
    averageMs: figure(report, /Average Latency \(s\):\s+([\d.]+)/) * 1_000,
    maxMs: figure(report, /Average Latency .* max ([\d.]+)/) * 1_000,
  };
}

function figure(report: string, pattern: RegExp, otherwise?: number): number {
  const found = report.match(pattern)?.[1];
  if (found !== undefined) return Number(found);
  if (otherwise !== undefined) return otherwise;
  throw new SyntaxError(`Cannot read dnsperf's report: no ${pattern.source}\n${report}`);
}

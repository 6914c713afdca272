/**
 * What a server costs: processor time and memory of a process and all it started, from /proc.
 * Contract: processor time is user and system time of the process, of its live descendants, and of
 * the children that have ended and been waited for (cutime and cstime), so that short-lived helpers
 * count too. The kernel keeps these sums in nanoseconds and shows them in ticks of 10 ms. Peak memory
 * of helpers is sampled: one that lives for less than a sampling interval may be missed.
 */

/** Ticks per second in /proc/PID/stat: USER_HZ, 100 wherever Deno runs on Linux. */
const TICKS_PER_SECOND = 100;

/** How often memory is sampled; each sample reads all of /proc, so not too often. */
const SAMPLE_INTERVAL_MS = 200;

/** A helper may end while /proc is read; then the reading is taken again, at most so often. */
const MAX_READINGS = 10;

/** Fields of /proc/PID/stat, counted from the one behind the name: proc(5). */
const Stat = { PPID: 1, UTIME: 11, STIME: 12, CUTIME: 13, CSTIME: 14 } as const;

interface ProcessStat {
  readonly pid: number;
  readonly ppid: number;
  readonly cpuTicks: number;
}

/** Process ids of the process and its live descendants, itself first. */
export function treeOf(pid: number): number[] {
  return readTree(pid).map((stat) => stat.pid);
}

/** Processor time used so far by the process and all it started, in seconds. */
export function cpuSecondsOf(pid: number): number {
  let tree = readTree(pid);
  for (let reading = 1; reading < MAX_READINGS; reading++) {
    const again = readTree(pid);
    // The same processes twice: none ended in between and slipped through both sums.
    const stable = again.length === tree.length && again.every((s, i) => s.pid === tree[i]?.pid);
    tree = again;
    if (stable) break;
  }
  return tree.reduce((sum, stat) => sum + stat.cpuTicks, 0) / TICKS_PER_SECOND;
}

/**
 * Watches how much of the processors others take: processes outside the bench, and the host of a
 * virtual machine. Figures taken meanwhile are that much less certain.
 */
export class OthersWatch {
  readonly #before = readMachine();
  readonly #benchBefore = cpuSecondsOf(Deno.pid);

  /** The share of all processors' time that others have taken since, from 0 to 1. */
  share(): number {
    const now = readMachine();
    const total = now.total - this.#before.total;
    const bench = (cpuSecondsOf(Deno.pid) - this.#benchBefore) * TICKS_PER_SECOND;
    const others = now.busy - this.#before.busy - bench;
    return total === 0 ? 0 : Math.max(0, others / total);
  }
}

/** Memory in bytes: the server's own and its helpers', apart. */
export interface Memory {
  readonly ownBytes: number;
  readonly helperBytes: number;
}

/** Resident memory now. */
export function residentOf(pid: number): Memory {
  const [, ...helpers] = treeOf(pid);
  return {
    ownBytes: statusBytes(pid, "VmRSS"),
    helperBytes: helpers.reduce((sum, helper) => sum + statusBytes(helper, "VmRSS"), 0),
  };
}

/** Watches a server's memory. Its own peak is exact (VmHWM), that of its helpers sampled. */
export class MemoryWatch {
  readonly #pid: number;
  readonly #timer: ReturnType<typeof setInterval>;
  #helperBytes = 0;

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.#sample(), SAMPLE_INTERVAL_MS);
  }

  /** Ends the watch and returns the peaks, an upper bound: they need not have met. */
  stop(): Memory {
    clearInterval(this.#timer);
    this.#sample();
    return { ownBytes: statusBytes(this.#pid, "VmHWM"), helperBytes: this.#helperBytes };
  }

  #sample(): void {
    this.#helperBytes = Math.max(this.#helperBytes, residentOf(this.#pid).helperBytes);
  }
}

/** Time of all processors so far, in ticks: the first line of /proc/stat, proc(5). */
function readMachine(): { busy: number; total: number } {
  const fields = readProc("/proc/stat").split("\n", 1)[0]?.trim().split(/\s+/).slice(1, 9) ?? [];
  const total = fields.reduce((sum, field) => sum + Number(field), 0);
  const [, , , idle, iowait] = fields.map(Number);
  return { busy: total - (idle ?? 0) - (iowait ?? 0), total };
}

function readTree(root: number): ProcessStat[] {
  const all: ProcessStat[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const stat = /^\d+$/.test(entry.name) ? readStat(Number(entry.name)) : undefined;
    if (stat !== undefined) all.push(stat);
  }
  const tree = all.filter((stat) => stat.pid === root);
  // The list grows while it is walked: children of children follow.
  for (const parent of tree) {
    tree.push(...all.filter((stat) => stat.ppid === parent.pid));
  }
  return tree;
}

function readStat(pid: number): ProcessStat | undefined {
  const text = readProc(`/proc/${pid}/stat`);
  // The name may hold spaces and parentheses: the fields start behind the last one.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  const ppid = fields[Stat.PPID];
  if (ppid === undefined || Number.isNaN(ppid)) return undefined;
  const times = [Stat.UTIME, Stat.STIME, Stat.CUTIME, Stat.CSTIME];
  const cpuTicks = times.reduce((sum, index) => sum + (fields[index] ?? 0), 0);
  return { pid, ppid, cpuTicks };
}

function statusBytes(pid: number, field: "VmRSS" | "VmHWM"): number {
  const match = readProc(`/proc/${pid}/status`).match(new RegExp(`^${field}:\\s+(\\d+) kB`, "m"));
  return Number(match?.[1] ?? 0) * 1024;
}

function readProc(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return ""; // It ended meanwhile.
  }
}

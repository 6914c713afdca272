/**
 * `deno task soak [MINUTES]`: dotp under load, ten minutes when left out, with restarts and faults of
 * nft, the kernel's sets and the upstream in it, inside user and network namespaces of its own (no
 * root, loopback only, nothing left behind).
 *
 * Contract: every answer is checked, against a model of what was handed out before; the traffic
 * through the fakes is tried; the kernel's maps are compared with what clients may use. Exit status 0
 * only if nothing was wrong, nothing failed outside of faults beyond a tiny share, dotp recovered from
 * each fault in time, and its memory does not grow.
 */

import { RULES_FILE } from "../bench/kernel.ts";
import { sleep } from "../bench/process.ts";
import { Port, type Running, startDotp } from "../bench/servers.ts";
import { residentOf } from "../bench/usage.ts";
import { interrupted, isInside, runInside } from "../lab/namespace.ts";
import { err, out } from "../lab/out.ts";
import { killOthers, otherProcesses } from "../lab/processes.ts";
import { prepare, widenPath } from "../lab/tools.ts";
import { Client } from "./client.ts";
import { Faults, TERMS } from "./faults.ts";
import { Load } from "./load.ts";
import { NAT_TTL_S, PREFIX4, PREFIX6 } from "./messages.ts";
import { NftStub } from "../support/nft_stub.ts";
import { endAll, mustRun } from "../support/run.ts";
import { type Fault, FAULTS, plan } from "./schedule.ts";
import { minimaOf, type Point, slopeOf } from "./slope.ts";
import { Tally } from "./tally.ts";
import { SUBJECTS, Windows } from "./windows.ts";

const USAGE = "Usage: deno task soak [MINUTES]";
const DEFAULT_MINUTES = 10;

/** Status after Ctrl-C, as a shell would give it. */
const EXIT_INTERRUPTED = 130;

const CALIBRATION_MS = 6_000;
const KERNEL_INTERVAL_MS = 3_000;
const MEMORY_INTERVAL_MS = 1_000;
/** A gap between the end of a fault and the next one, however late it is. */
const PAUSE_MS = 1_000;
/** How long what dotp started may take to end when dotp has. */
const LEFT_BEHIND_MS = 3_000;

/** The beginning of a life that is not judged: the tables and V8's heap find their size. */
const WARM_UP = { share: 0.25, mostS: 90 } as const;
/**
 * V8 lets garbage lie as long as there is memory, so its resident memory says little. In a small heap
 * it shows what is really kept, and a leak ends in a crash.
 */
const HEAP_LIMIT = "--max-old-space-size=96";
/** Runs shorter than this are not judged by their memory: a garbage collection weighs too much. */
const SLOPE_MIN_MINUTES = 5;
/** Growth of dotp's own resident memory that is taken for noise, KiB per minute. */
const SLOPE_MAX_KIB = 1_024;

/** The lab: every real address is this machine's, and the fakes have a route. */
const NETWORK = [
  "ip link set lo up",
  "ip addr add 192.0.2.1/32 dev lo",
  "ip addr add 2001:db8:ffff::1/128 dev lo nodad",
  "ip route add local 10.0.0.0/7 dev lo",
  "ip route add local 12.0.0.0/7 dev lo",
  "ip route add 198.18.0.0/15 dev lo src 192.0.2.1",
  "ip -6 route add local 2001:db8::/64 dev lo",
  "ip -6 route add 2001:2::/48 dev lo src 2001:db8:ffff::1",
];

/** Memory of one dotp over its life. */
interface Life {
  readonly startMs: number;
  /** KiB of dotp itself, over minutes since its start. */
  readonly own: Point[];
  /** KiB of the programs that it runs, at most. */
  helpersKib: number;
  /** Open descriptors, over minutes. */
  readonly descriptors: Point[];
}

/** How dotp recovered from one kind of fault. */
interface Recoveries {
  times: number;
  worstMs: number;
}

async function main(args: readonly string[]): Promise<number> {
  const minutes = Number(args[0] ?? DEFAULT_MINUTES);
  if (args.length > 1 || !(minutes > 0)) {
    err(USAGE);
    return 2;
  }
  if (isInside()) return await inside(minutes);
  const script = new URL(import.meta.url).pathname;
  const farSide = new URL("far_side.ts", import.meta.url).pathname;
  if (!await prepare([script, farSide])) return 1;
  return await runInside(args);
}

async function inside(minutes: number): Promise<number> {
  widenPath();
  const directory = await Deno.makeTempDir({ prefix: "dotp-soak-" });
  try {
    const stopped = interrupted().then(() => EXIT_INTERRUPTED);
    return await Promise.race([soak(minutes, directory), stopped]);
  } finally {
    endAll();
    await killOthers();
    await Deno.remove(directory, { recursive: true });
  }
}

async function soak(minutes: number, directory: string): Promise<number> {
  for (const line of NETWORK) await mustRun(line.split(" "));
  await mustRun(["nft", "-f", RULES_FILE]);
  const stub = await NftStub.make(directory);
  const setSilent = await startFarSide();
  const lives: Life[] = [];
  const start = async () => {
    const env = { ...stub.env, DENO_V8_FLAGS: HEAP_LIMIT };
    const pool = { prefix4: PREFIX4, prefix6: PREFIX6 };
    const running = await startDotp({ natTtlSeconds: NAT_TTL_S, ...pool, env });
    lives.push({ startMs: performance.now(), own: [], helpersKib: 0, descriptors: [] });
    return running;
  };
  const [tally, windows, client] = [new Tally(), new Windows(), new Client(Port.DOTP)];
  const load = new Load({ client, tally, windows });
  const faults = new Faults({ load, windows, stub, start, setSilent }, await start());

  const fullRate = await load.calibrate(CALIBRATION_MS);
  const rate = Math.floor(fullRate / 2);
  out(
    `${Math.round(fullRate)} queries per second at full load; ${rate} from now on, ${minutes} min`,
  );
  const startMs = performance.now();
  const totalMs = minutes * 60_000;
  let isOver = false;
  const whileRunning = async (intervalMs: number, work: () => unknown) => {
    for (; !isOver; await sleep(intervalMs)) await work();
  };
  const others = [
    load.run(rate),
    load.disturb(Port.DOTP),
    whileRunning(KERNEL_INTERVAL_MS, () => load.compareKernel()),
    whileRunning(MEMORY_INTERVAL_MS, () => measure(lives.at(-1)!, faults.dotp)),
  ];
  const { recoveries, problems } = await makeFaults(faults, startMs, totalMs);
  await sleep(Math.max(0, startMs + totalMs - performance.now()));
  isOver = true;
  await load.stop();
  await Promise.all(others);
  client.close();
  const ranMinutes = (performance.now() - startMs) / 60_000;
  await faults.dotp.server.stop();

  const memory = judgeMemory(lives, ranMinutes);
  problems.push(...await leftBehind(), ...tally.verdict(), ...memory.problems);
  ["", ...tally.table(), "", ...recoveryTable(recoveries), ""].forEach((line) => out(line));
  out(`fakes given to another real address after their rest: ${load.handedOut.reused}`);
  out(memory.line);
  if (problems.length > 0) out(`\nthe last of dotp's log:\n${faults.dotp.server.log}`);
  for (const example of tally.examples) out(`seen: ${example}`);
  for (const problem of problems) out(`BROKEN: ${problem}`);
  out(closingLine(tally, memory.slope, problems.length));
  return problems.length === 0 ? 0 : 1;
}

/** Starts upstream and web server; returns what makes the upstream silent. */
async function startFarSide(): Promise<(isSilent: boolean) => void> {
  const worker = new Worker(new URL("far_side.ts", import.meta.url), { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  return (isSilent) => worker.postMessage({ isSilent });
}

async function makeFaults(
  faults: Faults,
  startMs: number,
  totalMs: number,
): Promise<{ recoveries: Map<Fault, Recoveries>; problems: string[] }> {
  const recoveries = new Map<Fault, Recoveries>();
  const problems: string[] = [];
  for (const { atS, fault } of plan(totalMs / 1_000)) {
    await sleep(Math.max(PAUSE_MS, startMs + atS * 1_000 - performance.now()));
    if (faults.isGone) throw new Error(`dotp has ended by itself\n${faults.dotp.server.log}`);
    const at = ((performance.now() - startMs) / 1_000).toFixed(1).padStart(6);
    const ms = await faults.make(fault);
    const { boundMs } = TERMS[fault];
    out(`${at} s  ${fault.padEnd(12)} ${FAULTS[fault].padEnd(50)} well after ${seconds(ms)}`);
    if (ms > boundMs) problems.push(`${fault} at ${at} s: well after ${seconds(ms)} only`);
    const { times, worstMs } = recoveries.get(fault) ?? { times: 0, worstMs: 0 };
    recoveries.set(fault, { times: times + 1, worstMs: Math.max(worstMs, ms) });
  }
  return { recoveries, problems };
}

function measure(life: Life, { server }: Running): void {
  if (server.ended) return;
  const x = (performance.now() - life.startMs) / 60_000;
  const { ownBytes, helperBytes } = residentOf(server.pid);
  life.helpersKib = Math.max(life.helpersKib, helperBytes / 1_024);
  if (ownBytes === 0) return; // It has ended meanwhile.
  life.own.push({ x, y: ownBytes / 1_024 });
  life.descriptors.push({ x, y: [...Deno.readDirSync(`/proc/${server.pid}/fd`)].length });
}

function judgeMemory(lives: readonly Life[], minutes: number) {
  const spanOf = ({ own }: Life) => own.at(-1)?.x ?? 0;
  const life = lives.toSorted((a, b) => spanOf(b) - spanOf(a))[0]!;
  const warmUp = Math.min(spanOf(life) * WARM_UP.share, WARM_UP.mostS / 60);
  const own = life.own.filter(({ x }) => x >= warmUp);
  // What a fault needs comes and goes; what is kept for good raises the minima.
  const minima = minimaOf(own, 1);
  const slope = Math.round(slopeOf(minima));
  const mib = (kib: number) => (kib / 1_024).toFixed(1);
  const [least, most] = [Math.min, Math.max].map((of) => of(...own.map(({ y }) => y)));
  const descriptors = life.descriptors.filter(({ x }) => x >= warmUp).map(({ y }) => y);
  const line = `memory over the longest life, ${spanOf(life).toFixed(1)} min, after a warm-up of ` +
    `${warmUp.toFixed(1)}: ${slope} KiB/min of the minima, ` +
    `${Math.round(slopeOf(own))} of all samples, ${mib(least!)} to ${mib(most!)} MiB, ` +
    `minute by minute at least ${minima.map(({ y }) => mib(y)).join(" ")}; ` +
    `its programs ${mib(life.helpersKib)} MiB at most; ` +
    `${descriptors[0]} descriptors, then ${descriptors.at(-1)}, ${
      Math.max(...descriptors)
    } at most`;
  const isJudged = minutes >= SLOPE_MIN_MINUTES;
  const isGrowing = isJudged && slope > SLOPE_MAX_KIB;
  return { slope, line, problems: isGrowing ? [`memory grows by ${slope} KiB/min`] : [] };
}

function recoveryTable(recoveries: ReadonlyMap<Fault, Recoveries>): string[] {
  const cells = (cells: readonly string[]) =>
    cells[0]!.padEnd(30) + cells.slice(1).map((cell) => cell.padStart(11)).join("");
  const rows = Array.from(recoveries, ([fault, { times, worstMs }]) => {
    return cells([fault, String(times), seconds(worstMs), seconds(TERMS[fault].boundMs)]);
  });
  return [cells(["well again after", "times", "at worst", "bound"]), ...rows];
}

/** What dotp has left running; nothing should. */
async function leftBehind(): Promise<string[]> {
  const deadlineMs = performance.now() + LEFT_BEHIND_MS;
  while (otherProcesses().length > 0 && performance.now() < deadlineMs) await sleep(50);
  return otherProcesses().map(({ command }) => `left running: ${command}`);
}

function closingLine(tally: Tally, slope: number, problems: number): string {
  const [lost, late, servfail] = (["lost", "late", "servfail"] as const)
    .map((outcome) => tally.total(outcome, SUBJECTS, false));
  const all = (["right", "late", "servfail", "lost", "wrong"] as const)
    .reduce((sum, outcome) => sum + tally.total(outcome, ["not configured", "configured"]), 0);
  return `${problems === 0 ? "ok" : "FAILED"} | ${all} answers | ${tally.total("wrong")} wrong | ` +
    `outside of faults: ${lost} lost, ${late} late, ${servfail} SERVFAIL | ` +
    `memory ${slope} KiB/min`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`;
}

if (import.meta.main) {
  try {
    Deno.exit(await main(Deno.args));
  } catch (error) {
    err(`soak: ${error instanceof Error ? error.message : String(error)}`);
    Deno.exit(1);
  }
}

/**
 * A remark beside the comparison: what a long list of names costs. dotp's own part is measured by
 * itself, in a process that does nothing else: the file is read, and names are looked up as they lie
 * in a message, all over the list. dnsmasq gets the same names as one nftset
 * line each and is asked for a name that none of them is about.
 *
 * Run by itself with the path of a domain file, it prints dotp's figures as JSON.
 */

import { LabelWalk } from "../../lib/dns/name.ts";
import { DomainFile } from "../../lib/policy/domain_file.ts";
import { DomainSet } from "../../lib/policy/domain_set.ts";
import { KEY_LENGTH, LabelHash } from "../../lib/policy/label_hash.ts";
import { mustRun } from "../support/run.ts";
import { PEER_SET, resetTables } from "./kernel.ts";
import type { Host } from "./names.ts";
import { Server } from "./process.ts";
import { say } from "./say.ts";
import { LOOPBACK, Port } from "./servers.ts";
import { cpuSecondsOf, residentOf } from "./usage.ts";
import { ask } from "./verify.ts";

/** As `lib/io/policy.ts` reads it. */
const PIECE_LENGTH = 32_768;
const LABEL_LENGTH_USUAL = 16;

const LOOKUPS = 100_000;
const ROUNDS = 15;
/** Queries to dnsmasq, one after the other. */
const QUERIES = 100;
const MIB = 2 ** 20;

/** What a list costs dotp. */
interface Figures {
  readonly seconds: number;
  readonly residentMiB: number;
  /** A lookup of a name below one in the list, and of one that is not. */
  readonly foundMicros: number;
  readonly missedMicros: number;
}

/** Name number `i`: of many lengths, below a few suffixes, in no order. */
function nameOf(i: number): string {
  const suffix = ["com", "net", "org", "example", "co.uk"][i % 5];
  return `${(Math.imul(i, 2_654_435_761) >>> 0).toString(36)}x-site${i % 977}.${suffix}`;
}

/**
 * Measures both and says how they compare.
 *
 * @param directory For the list
 * @param count Names in it
 * @param probe A host of the upstream that is not in it
 * @param only The servers that take part
 */
export async function measurePolicy(
  directory: string,
  count: number,
  probe: Host,
  only: readonly string[],
): Promise<string[]> {
  const names = Array.from({ length: count }, (_, i) => nameOf(i));
  const lines = [`${count} names:`];
  if (only.includes("dotp")) {
    const file = `${directory}/names`;
    await Deno.writeTextFile(file, `${names.join("\n")}\n`);
    const script = new URL(import.meta.url).pathname;
    const own = await mustRun([Deno.execPath(), "run", "--quiet", "--allow-read", script, file]);
    const { seconds, residentMiB, foundMicros, missedMicros }: Figures = JSON.parse(own);
    lines.push(
      `  dotp     read in ${seconds.toFixed(2)} s, ${residentMiB.toFixed(0)} MiB more, ` +
        `a lookup ${foundMicros.toFixed(2)} us of a name in it, ${
          missedMicros.toFixed(2)
        } us of others`,
    );
  }
  if (only.includes("dnsmasq")) {
    lines.push(await measureDnsmasq(`${directory}/names.conf`, names, probe));
  }
  return lines;
}

async function measureDnsmasq(file: string, names: string[], probe: Host): Promise<string> {
  await resetTables("set", true);
  const sets = names.map((name) => `nftset=/${name}/4#${PEER_SET}\n`).join("");
  const [none, all] = [await askDnsmasq(file, "", probe), await askDnsmasq(file, sets, probe)];
  const micros = all.queryMicros - none.queryMicros;
  return `  dnsmasq  read in ${(all.seconds - none.seconds).toFixed(2)} s, ` +
    `${(all.residentMiB - none.residentMiB).toFixed(0)} MiB more, ` +
    `a query ${micros.toFixed(0)} us of processor time more`;
}

/** Starts dnsmasq with this configuration, asks it, and ends it. */
async function askDnsmasq(file: string, configuration: string, probe: Host) {
  await Deno.writeTextFile(file, configuration);
  const startMs = performance.now();
  const server = new Server("dnsmasq", [
    "dnsmasq",
    ...[`--conf-file=${file}`, "--no-resolv", "--no-poll", "--no-hosts", "--pid-file="],
    ...["--keep-in-foreground", "--user=", "--group=", "--log-facility=-", "--cache-size=0"],
    ...[`--listen-address=${LOOPBACK}`, `--port=${Port.DNSMASQ}`, "--bind-interfaces"],
    `--server=${LOOPBACK}#${Port.UPSTREAM}`,
  ]);
  try {
    await server.ready(async () => await ask(Port.DNSMASQ, probe.name) === probe.real);
    const seconds = (performance.now() - startMs) / 1_000;
    const residentMiB = residentOf(server.pid).ownBytes / MIB;
    const before = cpuSecondsOf(server.pid);
    for (let i = 0; i < QUERIES; i++) await ask(Port.DNSMASQ, probe.name);
    const queryMicros = (cpuSecondsOf(server.pid) - before) / QUERIES * 1e6;
    return { seconds, residentMiB, queryMicros };
  } finally {
    await server.stop();
  }
}

function measureOwn(path: string): Figures {
  const hash = new LabelHash(crypto.getRandomValues(new Uint8Array(KEY_LENGTH)));
  const residentBefore = Deno.memoryUsage().rss;
  const startMs = performance.now();
  const { size } = Deno.statSync(path);
  const set = new DomainSet(hash, [], { expected: size / LABEL_LENGTH_USUAL });
  const file = new DomainFile(set);
  using handle = Deno.openSync(path);
  const piece = new Uint8Array(PIECE_LENGTH);
  for (let n = handle.readSync(piece); n !== null; n = handle.readSync(piece)) {
    file.push(piece.subarray(0, n));
  }
  file.end();
  const seconds = (performance.now() - startMs) / 1_000;
  const residentMiB = (Deno.memoryUsage().rss - residentBefore) / MIB;
  const [foundMicros, missedMicros] = [measureLookups(set, true), measureLookups(set, false)];
  return { seconds, residentMiB, foundMicros, missedMicros };
}

/** The median of some rounds. */
function measureLookups(set: DomainSet, isListed: boolean): number {
  const { view, starts, end } = makeQuestions(set.size, isListed);
  const walk = new LabelWalk();
  const rounds = Array.from({ length: ROUNDS }, () => {
    const startMs = performance.now();
    let found = 0;
    for (const start of starts) {
      walk.reset();
      if (walk.follow(view, end, start) && set.covers(view, walk)) found++;
    }
    const wanted = isListed ? LOOKUPS : 0;
    if (found !== wanted) throw new Error(`Cannot find ${wanted} names: ${found}`);
    return (performance.now() - startMs) * 1_000 / LOOKUPS;
  });
  return rounds.sort((a, b) => a - b)[ROUNDS >> 1]!;
}

/** Names in wire format one after the other. */
function makeQuestions(count: number, isListed: boolean) {
  const texts = Array.from({ length: LOOKUPS }, (_, i) => {
    const name = nameOf(Math.imul(i, 7_919) % count);
    return isListed ? `www.${name}` : `www.other-${name}`;
  });
  const octets = texts.flatMap((text) => {
    const labels = text.split(".").flatMap((label) => [
      label.length,
      ...new TextEncoder().encode(label),
    ]);
    return [...labels, 0];
  });
  const starts = new Int32Array(LOOKUPS);
  let end = 0;
  for (const [i, text] of texts.entries()) {
    starts[i] = end;
    end += text.length + 2;
  }
  return { view: new DataView(Uint8Array.from(octets).buffer), starts, end };
}

if (import.meta.main) say(JSON.stringify(measureOwn(Deno.args[0] ?? "")));

/**
 * Looks at the machine by way of its own programs, which is all that Deno's `--allow-run` and
 * `--allow-net` let dotp do: `ip`, `ss` or `netstat`, and `grep` and `cat` for /proc.
 *
 * Programs only show things here, nothing is changed. One that is missing, not permitted, unwilling or
 * slow is a problem in words instead of a text; nobody is ever asked for a permission.
 *
 * @module
 */
import { FAMILIES } from "../address.ts";
import { type OtherTable, otherTables } from "../check/firewall.ts";
import type { Seen } from "../check/finding.ts";
import { SETTINGS_PATHS } from "../check/kernel.ts";
import { routeArgs } from "../check/network.ts";
import type { Surroundings } from "../check/surroundings.ts";
import { readCandidates, readHolders, type Taken } from "../check/port.ts";
import { readRunning } from "../cli/parse.ts";
import type { Config, Endpoint } from "../config.ts";
import { leaveToRun, runProgram } from "./runtime/process.ts";

/** How long a program may take before it is ended. */
const PROGRAM_TIMEOUT_MS = 3_000;
/** Characters of a program's output that are kept; it stops one that prints without end. */
const OUTPUT_MAX = 4 * 1024 * 1024;
/** Characters of a complaint that are kept. */
const COMPLAINT_LENGTH_MAX = 200;

/** Looks at addresses, routes, policy rules and settings, all at once. */
export async function lookAround(config: Config, signal: AbortSignal): Promise<Surroundings> {
  const routeLists = FAMILIES.flatMap((family) => routeArgs(config.prefixes[family]));
  const [addresses, rules, settings, ...routes] = await Promise.all([
    capture("ip", ["-o", "address"], signal),
    capture("ip", ["-4", "rule", "show"], signal),
    // Where one of the files is missing grep complains, but prints the others.
    capture("grep", ["-rH", "", ...SETTINGS_PATHS], signal, true),
    ...routeLists.map((args) => capture("ip", args, signal)),
  ]);
  return { addresses, rules, settings, routes: joined(routes) };
}

/** Looks who has a UDP port, and which of them, or of all where they may not be seen, are dotps. */
export async function lookAtHolders(endpoint: Endpoint, signal: AbortSignal): Promise<Taken> {
  let seen = await capture("ss", ["-lunpH"], signal);
  if ("problem" in seen) {
    const other = await capture("netstat", ["-lunp"], signal);
    if ("text" in other) seen = other;
  }
  const holders = readHolders(seen, endpoint);
  const running = new Map<number, Config>();
  const seenIds = holders.flatMap(({ process }) => process?.id ?? []);
  const ids = seenIds.length > 0
    ? seenIds
    : readCandidates(await capture("ps", ["-ewwo", "pid=,args="], signal));
  for (const id of new Set(ids)) {
    const read = await capture("cat", [`/proc/${id}/cmdline`], signal);
    if ("problem" in read) continue;
    const dotp = readRunning(read.text.split("\0").slice(0, -1));
    if (dotp !== undefined) running.set(id, dotp);
  }
  return { holders, running, ...("problem" in seen ? { problem: seen.problem } : {}) };
}

/** Lists the tables that are not dotp's, one by one: for a whole ruleset nft reads dotp's elements too. */
export async function lookAtTables(config: Config, signal: AbortSignal): Promise<OtherTable[]> {
  const seen = await capture("nft", ["-j", "list", "tables"], signal);
  if ("problem" in seen) return [];
  const tables: OtherTable[] = [];
  for (const { family, name } of otherTables(config, seen.text)) {
    const listed = await capture("nft", ["-j", "-t", "list", "table", family, name], signal);
    tables.push({ family, name, listed });
  }
  return tables;
}

/**
 * What a program prints.
 *
 * @param signal ends the program
 * @param mayFail whether what it prints counts though it does not end with 0
 */
export async function capture(
  program: string,
  args: readonly string[],
  signal: AbortSignal,
  mayFail = false,
): Promise<Seen> {
  const missing = { problem: `${program} is not there: install it or add it to PATH` };
  const leave = await leaveToRun(program);
  if (leave === "missing") return missing;
  if (leave === "withheld") {
    return { problem: `Deno does not let dotp run ${program}: add it to --allow-run` };
  }
  try {
    const limits = { signal, outputMax: OUTPUT_MAX };
    const ended = await runProgram(program, args, "", PROGRAM_TIMEOUT_MS, limits);
    const { success, stdout, stderr } = ended;
    if (success || (mayFail && stdout !== "")) return { text: stdout };
    const [complaint = ""] = stderr.trim().split("\n");
    const why = complaint.slice(0, COMPLAINT_LENGTH_MAX) || "no answer";
    return { problem: `${program} fails: ${why}` };
  } catch (error) {
    const { message, cause } = error as Error;
    return cause instanceof Deno.errors.NotFound ? missing : { problem: message };
  }
}

/** All texts one after the other, or the first problem. */
function joined(all: readonly Seen[]): Seen {
  const problem = all.find((seen) => "problem" in seen);
  return problem ?? { text: all.map((seen) => "text" in seen ? seen.text : "").join("") };
}

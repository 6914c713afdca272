/**
 * What is checked at every start: what must be right, or dotp does not start, each with a message
 * that says how to correct it; and what may go wrong later, as warnings in the log. `dotp check` looks
 * at all of that and at more (`check.ts`), and both judge alike (`lib/check/`).
 *
 * @module
 */
import { error as problem, type Finding, findingToText } from "../check/finding.ts";
import { judgePrefixes } from "../check/network.ts";
import { judgeRules, judgeSets, nftProblem } from "../check/nft.ts";
import { judgeSurroundings } from "../check/surroundings.ts";
import type { Config, Endpoint } from "../config.ts";
import { FAMILIES } from "../address.ts";
import { probeScript } from "../nft/script.ts";
import { log } from "./runtime/log.ts";
import { lookAround } from "./look.ts";
import type { NftProgram } from "./portable/nft.ts";
import { leaveToRun } from "./runtime/process.ts";

/** Why dotp cannot start, and what would correct it, in one line. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/**
 * Sees to it that Deno lets dotp do its work, so that nothing is asked later.
 *
 * @throws {StartError}
 */
export async function checkPermissions(config: Config): Promise<void> {
  const needed: [Deno.PermissionDescriptor, string][] = [[{ name: "net" }, "--allow-net"]];
  if (config.pidFile !== undefined) {
    needed.push([{ name: "write", path: config.pidFile }, `--allow-write=${config.pidFile}`]);
  }
  for (const path of config.domainFiles) {
    needed.push([{ name: "read", path }, `--allow-read=${path}`]);
  }
  for (const [descriptor, flag] of needed) {
    const { state } = await Deno.permissions.query(descriptor);
    if (state !== "granted") throw withheld(flag);
  }
  // Where it is missing its first start tells.
  if (await leaveToRun("nft") === "withheld") throw withheld("--allow-run");
}

function withheld(flag: string): StartError {
  return new StartError(`Deno does not let dotp do its work: start it with deno run ${flag}`);
}

/**
 * Sees to it that nft is there and permitted and that the table has the sets and maps that dotp fills.
 * They are tried with a write; nothing is listed unless that fails, as to list a table of many
 * elements takes nft seconds.
 *
 * @throws {StartError}
 */
export async function checkTable(config: Config, nft: NftProgram): Promise<void> {
  let refused = await writeProblem(config, nft);
  if (refused?.subject === "table" && config.rulesFile !== undefined) {
    refused = await loadTable(config, nft);
  }
  if (refused === undefined) return;
  let wrong: Finding | undefined;
  try {
    wrong = judgeSets(config, await nft.listTable());
  } catch (error) {
    const finding = nftProblem(config.table, (error as Error).message, config.rulesFile);
    throw new StartError(findingToText(finding), { cause: error });
  }
  throw new StartError(findingToText(wrong ?? refused));
}

/** Loads the table; what keeps dotp from writing then, or undefined. */
async function loadTable(config: Config, nft: NftProgram): Promise<Finding | undefined> {
  try {
    await nft.loadRules();
  } catch (error) {
    throw new StartError((error as Error).message, { cause: error });
  }
  return await writeProblem(config, nft);
}

/**
 * What keeps dotp from writing, or undefined. It adds an element to each set and map and takes it
 * away, all in one transaction. The elements are the first addresses of the prefixes, which are never
 * given as fakes.
 */
export async function writeProblem(config: Config, nft: NftProgram): Promise<Finding | undefined> {
  const unused = FAMILIES.map((family) => config.prefixes[family].bytes);
  const result = await nft.run(probeScript(config.table, unused), unused.length);
  return result.kind === "done"
    ? undefined
    : nftProblem(config.table, result.detail, config.rulesFile);
}

/** Logs where the table's rules do not use its sets; for a table of few elements. */
export async function warnOfRules(config: Config, nft: NftProgram): Promise<void> {
  try {
    warn(judgeRules(config, await nft.listTable()));
  } catch (error) {
    const { message } = error as Error;
    log.warning("Cannot look at the rules: {message}", { message });
  }
}

/** Warnings about the prefixes, a line each. */
export function prefixWarnings(config: Config): string[] {
  return judgePrefixes(config).filter(({ level }) => level !== "ok").map(findingToText);
}

/**
 * Looks at the machine around and logs what may go wrong. To be called once dotp works: nothing waits
 * for it, it takes a handful of short-lived processes, and what it cannot see it leaves out.
 *
 * @param signal ends it
 */
export async function warnOfSurroundings(config: Config, signal: AbortSignal): Promise<void> {
  try {
    const seen = await lookAround(config, signal);
    if (!signal.aborted) warn(judgeSurroundings(config, seen));
  } catch (error) {
    // What is only a help must not end a dotp that works.
    const { message } = error as Error;
    log.warning("Cannot look at the machine: {message}", { message });
  }
}

/** Why the direct engine that was asked for is not available, and what would correct it, in one line. */
export function engineProblem(error: Error): string {
  return findingToText(engineFinding(error));
}

/** Why the direct engine is not available. */
export function engineFinding({ message }: Error): Finding {
  const advice = "give --engine auto or portable, or see to it that dotp may do that";
  return problem("engine", `--engine direct: ${message}`, advice);
}

/** Why a socket cannot be bound, and what would correct it, in one line. */
export function bindProblem(error: unknown, endpoint: Endpoint, hostname: string): string {
  return findingToText(bindFinding(error, endpoint, hostname));
}

/** Why a socket cannot be bound. */
export function bindFinding(error: unknown, { port }: Endpoint, hostname: string): Finding {
  if (error instanceof Deno.errors.AddrInUse) {
    const advice =
      `end what listens there (ss -lunp "sport = :${port}" names it) or give another ` +
      "port";
    return problem("port", `--port ${port}: it is taken on ${hostname}`, advice);
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    const what = `--host ${hostname}: it is no address of this machine`;
    return problem("port", what, `give one that "ip address" lists`);
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    const advice = "run dotp as root or with CAP_NET_BIND_SERVICE, or give a port from 1024 on";
    return problem("port", `--port ${port}: not permitted`, advice);
  }
  const what = `Cannot listen on ${hostname} port ${port}: ${(error as Error).message}`;
  return problem("port", what, "give another --host or --port");
}

/** Logs what is not well; the words are for people, so the level is not told twice. */
function warn(findings: readonly Finding[]): void {
  for (const finding of findings) {
    if (finding.level === "ok" || finding.isUnseen) continue;
    log.warning("{finding}", { finding: findingToText(finding) });
  }
}

/**
 * What must be right before dotp starts, each with a message that says how to mend it.
 *
 * @module
 */
import { overlaps, parsePrefix, prefixToText } from "../address.ts";
import type { Config, Endpoint } from "../config.ts";
import { FAMILIES, probeScript, tableProblem } from "../nft/script.ts";
import type { NftProgram } from "./nft.ts";

/** Why dotp cannot start, and what would mend it, in one line. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** Prefixes that browsers with Local Network Access checks treat as local (RFC 6598, RFC 4193). */
const LOCAL_PREFIXES = [parsePrefix("100.64.0.0/10", 4), parsePrefix("fc00::/7", 6)];

/**
 * Sees to it that Deno lets dotp do its work, so that nothing is asked later.
 *
 * @throws {StartError}
 */
export async function checkPermissions(config: Config): Promise<void> {
  const needed: [Deno.PermissionDescriptor, string][] = [
    [{ name: "net" }, "--allow-net"],
    [{ name: "run", command: "nft" }, "--allow-run"],
  ];
  if (config.pidFile !== undefined) {
    needed.push([{ name: "write", path: config.pidFile }, `--allow-write=${config.pidFile}`]);
  }
  for (const [descriptor, flag] of needed) {
    const { state } = await Deno.permissions.query(descriptor);
    if (state === "granted") continue;
    throw new StartError(`Deno does not let dotp do its work: start it with deno run ${flag}`);
  }
}

/**
 * Sees to it that nft is there and permitted and that dotp may write to the table: adds an element to
 * each set and map and takes it away, all in one transaction. The elements are the first addresses of
 * the prefixes, which are never given as fakes. Nothing is listed unless that fails, as to list a
 * table of many elements takes nft seconds.
 *
 * @throws {StartError}
 */
export async function checkTable(config: Config, nft: NftProgram): Promise<void> {
  const { table } = config;
  const unused = FAMILIES.map((family) => config.prefixes[family].bytes);
  const result = await nft.run(probeScript(table, unused), unused.length);
  if (result.kind === "done") return;
  if (result.kind === "unavailable") throw new StartError(nftProblem(table, result.message));
  let problem: string | undefined;
  try {
    problem = tableProblem(table, await nft.listTable());
  } catch (error) {
    throw new StartError(nftProblem(table, (error as Error).message), { cause: error });
  }
  if (problem === undefined) throw new StartError(nftProblem(table, result.message));
  throw new StartError(`${problem}: delete the table and load rules.nft: nft -f rules.nft`);
}

/** Warnings about the prefixes, a line each. */
export function prefixWarnings(config: Config): string[] {
  return FAMILIES.map((family) => config.prefixes[family])
    .filter((prefix) => LOCAL_PREFIXES.some((local) => overlaps(local, prefix)))
    .map((prefix) => {
      const better = prefix.family === 4 ? "198.18.0.0/15" : "2001:2::/48";
      return `browsers treat ${prefixToText(prefix)} as a local network and block pages from ` +
        `reaching into it: ${better} has no such trouble`;
    });
}

/** Why a socket cannot be bound, and what would mend it. */
export function bindProblem(error: unknown, { port }: Endpoint, hostname: string): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return `--port ${port}: it is taken on ${hostname}: end what listens there ` +
      `(ss -lunp "sport = :${port}" names it) or give another port`;
  }
  if (error instanceof Deno.errors.AddrNotAvailable) {
    return `--host ${hostname}: it is no address of this machine: give one that "ip address" lists`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `--port ${port}: not permitted: run dotp as root or with CAP_NET_BIND_SERVICE, ` +
      "or give a port from 1024 on";
  }
  return `Cannot listen on ${hostname} port ${port}: ${(error as Error).message}`;
}

/** What nft's complaint means for an admin. */
function nftProblem(table: string, message: string): string {
  if (/cannot be started/.test(message)) {
    return "nft cannot be started: install it (apt-get install nftables) or add it to PATH";
  }
  if (/not permitted|Permission denied/.test(message)) {
    return "nft is not permitted: run dotp as root or with CAP_NET_ADMIN";
  }
  if (/No such file or directory/.test(message)) {
    return `table inet ${table} is missing: load it with: nft -f rules.nft`;
  }
  return `nft does not work with table inet ${table}: ${message}`;
}

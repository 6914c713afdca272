/**
 * The programs of the machine that tests and demo use. Where some are missing, root gets them from
 * Debian's packages without further ado; everybody else gets the one line to run. Nothing else is
 * installed.
 */

import { hasProgram, packageOf, widePath } from "../support/programs.ts";
import { run } from "../support/run.ts";
import { err, out } from "./out.ts";

/** Programs that single tests need; systemd and compilers are more than one installs in passing. */
export const WANTED = ["busybox", "dnsmasq", "fish", "groff", "man", "mandoc", "shellcheck", "zsh"];

/** What the lab cannot do without. */
export const NEEDED = ["nft", "ip", "conntrack", "unshare"];

/** How long apt-get, or Deno when it gets modules, may take over a slow network. */
const NETWORK_LIMIT_MS = 300_000;

/** Puts the directories of the system's tools on the PATH, where only root has them on Debian. */
export function widenPath(): void {
  Deno.env.set("PATH", widePath());
}

/**
 * Gets what a lab needs while there is a network: the programs, and the modules of what will run in
 * it. Tells whether all is there.
 */
export async function prepare(scripts: string[] = []): Promise<boolean> {
  widenPath();
  if (!await install(NEEDED)) return false;
  const modules = ["../../main.ts", "agent.ts"].map((module) =>
    new URL(module, import.meta.url).pathname
  );
  const cache = [Deno.execPath(), "cache", "--quiet", ...modules, ...scripts];
  const { code, stderr } = await run(cache, { limitMs: NETWORK_LIMIT_MS });
  if (code !== 0) err(stderr.trim());
  return code === 0;
}

/** Makes sure that programs are there; tells whether they are, and says what would bring them. */
export async function install(programs: readonly string[]): Promise<boolean> {
  const packages = missingPackages(programs);
  if (packages.length === 0) return true;
  if (Deno.uid() !== 0) {
    err(`Run this first: sudo apt-get install -y ${packages.join(" ")}`);
    return false;
  }
  out(`Installing ${packages.join(", ")} ...`);
  const command = ["install", "-y", "-qq", "--no-install-recommends", ...packages];
  let problem = await aptGet(command);
  if (problem !== undefined) {
    await aptGet(["update", "-qq"]);
    problem = await aptGet(command);
  }
  const left = missingPackages(programs);
  if (left.length > 0) err(`Cannot install ${left.join(", ")}: ${problem ?? "programs missing"}`);
  return left.length === 0;
}

function missingPackages(programs: readonly string[]): string[] {
  return [...new Set(programs.filter((program) => !hasProgram(program)).map(packageOf))];
}

/** Runs apt-get; tells the problem where there is one. */
async function aptGet(args: string[]): Promise<string | undefined> {
  // In this runlevel Debian starts no server that it installs.
  const env = { DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
  try {
    const options = { env, limitMs: NETWORK_LIMIT_MS };
    const { code, stderr } = await run(["apt-get", ...args], options);
    if (code === 0) return undefined;
    return stderr.trim().split("\n").at(-1) ?? "apt-get failed";
  } catch (error) {
    return (error as Error).message;
  }
}

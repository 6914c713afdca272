/**
 * The place where the bench runs: a user, network and mount namespace of its own, entered by running
 * the same script again inside `unshare`. Contract: no root is needed, only loopback exists inside,
 * and nothing outside is changed, with one exception that is announced: where the bench runs as root
 * and Debian packages are missing, it installs them.
 */

import { type CommandLine, mustRun, run } from "./process.ts";
import { say } from "./say.ts";

/** Set in the environment of the process inside, so that it does not go in again. */
const INSIDE_VARIABLE = "DOTP_BENCH_INSIDE";

/** Programs needed, and the Debian packages that bring them. */
const PROGRAMS: Readonly<Record<string, string>> = {
  unshare: "util-linux",
  ip: "iproute2",
  nft: "nftables",
  dnsperf: "dnsperf",
  dnsmasq: "dnsmasq-base",
  knotd: "knot",
};

/** Whether this process runs inside the namespace already. */
export function isInside(): boolean {
  return Deno.env.get(INSIDE_VARIABLE) === "1";
}

/** Lets programs be found that an ordinary user's PATH leaves out on Debian. */
export function extendPath(): void {
  Deno.env.set("PATH", `${Deno.env.get("PATH") ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`);
}

/**
 * Sees to it that all programs are there, by installing packages where root may.
 *
 * @throws {Error} If some are missing and cannot be installed; says the line to run
 */
export async function requirePrograms(): Promise<void> {
  const missing = await missingPackages();
  if (missing.length === 0) return;
  const line: CommandLine = ["apt-get", "install", "-y", "--no-install-recommends", ...missing];
  if (Deno.uid() !== 0) throw new Error(`Programs are missing. As root, run: ${line.join(" ")}`);
  say(`installing ${missing.join(" ")}`);
  // Single-user runlevel keeps Debian from starting the name servers that it installs.
  await mustRun(["env", "RUNLEVEL=1", "DEBIAN_FRONTEND=noninteractive", ...line]);
}

/**
 * Runs this script again inside new namespaces.
 *
 * @param script The script's URL
 * @param args Its arguments
 * @returns Its exit code
 */
export async function reenter(script: string, args: readonly string[]): Promise<number> {
  const child = new Deno.Command("unshare", {
    args: ["-Urnm", Deno.execPath(), "run", "--allow-all", script, ...args],
    env: { [INSIDE_VARIABLE]: "1" },
  }).spawn();
  // The terminal sends Ctrl-C to both; the one inside cleans up, so this one only waits for it.
  Deno.addSignalListener("SIGINT", () => {});
  Deno.addSignalListener("SIGTERM", () => child.kill("SIGTERM"));
  return (await child.status).code;
}

/** Brings the namespace's loopback up. */
export async function raiseLoopback(): Promise<void> {
  await mustRun(["ip", "link", "set", "lo", "up"]);
}

async function missingPackages(): Promise<string[]> {
  const missing: string[] = [];
  for (const [program, debianPackage] of Object.entries(PROGRAMS)) {
    const found = await run(["sh", "-c", 'command -v "$1"', "sh", program]);
    if (found.code !== 0) missing.push(debianPackage);
  }
  return missing;
}

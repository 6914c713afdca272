/**
 * The programs of the machine that the lab uses. Where some are missing, root gets them from
 * Debian's packages without further ado; everybody else gets the one line to run. Nothing else is
 * installed.
 */

import { err, out } from "./out.ts";

/** Each program and the Debian package that it is in. */
const PACKAGES: Record<string, string> = {
  nft: "nftables",
  ip: "iproute2",
  conntrack: "conntrack",
  unshare: "util-linux",
};

/** Puts the directories of the system's tools on the PATH, where only root has them on Debian. */
export function widenPath(): void {
  const path = (Deno.env.get("PATH") ?? "").split(":");
  const system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].filter((dir) => !path.includes(dir));
  Deno.env.set("PATH", [...path, ...system].join(":"));
}

/**
 * Gets what a lab needs while there is a network: the programs, and the modules of what will run in
 * it. Tells whether all is there.
 */
export async function prepare(scripts: string[] = []): Promise<boolean> {
  if (!await ensureTools()) return false;
  const modules = ["../../main.ts", "agent.ts"].map((module) =>
    new URL(module, import.meta.url).pathname
  );
  const args = ["cache", "--quiet", ...modules, ...scripts];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  if (!success) err(new TextDecoder().decode(stderr).trim());
  return success;
}

/** Makes sure that the programs are there; tells whether they are. */
export async function ensureTools(): Promise<boolean> {
  widenPath();
  const packages = missingPackages();
  if (packages.length === 0) return true;
  if (Deno.uid() !== 0) {
    err(`Run this first: sudo apt-get install -y ${packages.join(" ")}`);
    return false;
  }
  out(`Installing ${packages.join(", ")} ...`);
  const install = ["install", "-y", "-qq", "--no-install-recommends", ...packages];
  let problem = await aptGet(install);
  if (problem !== undefined) {
    await aptGet(["update", "-qq"]);
    problem = await aptGet(install);
  }
  const left = missingPackages();
  if (left.length > 0) err(`Cannot install ${left.join(", ")}: ${problem ?? "programs missing"}`);
  return left.length === 0;
}

function missingPackages(): string[] {
  const missing = Object.entries(PACKAGES).filter(([program]) => !isThere(program));
  return missing.map(([, name]) => name);
}

function isThere(program: string): boolean {
  return (Deno.env.get("PATH") ?? "").split(":").some((directory) => {
    try {
      return Deno.statSync(`${directory}/${program}`).isFile;
    } catch {
      return false;
    }
  });
}

async function aptGet(args: string[]): Promise<string | undefined> {
  try {
    const env = { DEBIAN_FRONTEND: "noninteractive" };
    const output = await new Deno.Command("apt-get", { args, env, stdin: "null" }).output();
    if (output.success) return undefined;
    return new TextDecoder().decode(output.stderr).trim().split("\n").at(-1) ?? "apt-get failed";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

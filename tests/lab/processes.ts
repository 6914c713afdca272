/**
 * The processes in this process's network namespace, which must be one of its own: what is in it was
 * started here, directly or not.
 */

import { signal } from "../support/run.ts";
import type { ProcessInfo } from "./protocol.ts";

/** Rounds of killing before giving up on a namespace; each takes a few milliseconds. */
const KILL_ROUNDS_MAX = 200;

/** Names the namespace that this process is in. */
export const OWN_NAMESPACE = Deno.readLinkSync("/proc/self/ns/net");

/** Lists the other processes in this namespace; those that are ending already do not count. */
export function otherProcesses(): ProcessInfo[] {
  const found: ProcessInfo[] = [];
  for (const entry of Deno.readDirSync("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    try {
      if (Deno.readLinkSync(`/proc/${pid}/ns/net`) !== OWN_NAMESPACE) continue;
      const command = Deno.readTextFileSync(`/proc/${pid}/cmdline`).split("\0").join(" ").trim();
      found.push({ pid, command });
    } catch {
      // Ended meanwhile, or somebody else's.
    }
  }
  return found;
}

/** Kills what is left in this namespace, what others have started and left behind there too. */
export async function killOthers(): Promise<void> {
  for (let round = 0; round < KILL_ROUNDS_MAX; round++) {
    const left = otherProcesses();
    if (left.length === 0) return;
    for (const { pid } of left) signal(pid, "SIGKILL");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/**
 * The conntrack program: makes the kernel forget connections to a fake before it stands for another
 * real address, which they would otherwise be taken to the old one of.
 *
 * @module
 */
import { ADDRESS_LENGTH, type Family, type Prefix } from "../../address.ts";
import { connectionTargets } from "../../nft/listing.ts";
import { FAMILIES, forgetArgs, listConnectionsArgs } from "../../nft/script.ts";
import { leaveToRun, runProgram } from "../runtime/process.ts";

/** How long conntrack may take over one batch. */
const TIMEOUT_MS = 3_000;
/** Fakes in a batch: as many as it gets through in time with 100,000 connections. */
const FORGOTTEN_AT_ONCE = 5;

/** Whether dotp may run conntrack and can. */
export async function hasConntrack(): Promise<boolean> {
  if (await leaveToRun("conntrack") !== "granted") return false;
  try {
    return (await runProgram("conntrack", ["--version"], "", TIMEOUT_MS)).success;
  } catch {
    return false;
  }
}

/**
 * Makes the kernel forget the connections to these fakes.
 *
 * Each deletion goes through all that conntrack knows (50 ms at 10,000 connections), and of most fakes
 * that have rested it knows nothing. So it is asked once which of them it knows.
 *
 * @param prefixes where fakes are taken from
 * @throws {Error} where conntrack cannot be run or hangs
 */
export async function forgetConnections(
  fakes: readonly Uint8Array[],
  prefixes: Readonly<Record<Family, Prefix>>,
): Promise<void> {
  for (const family of FAMILIES) {
    const ours = fakes.filter((fake) => fake.length === ADDRESS_LENGTH[family]);
    if (ours.length === 0) continue;
    const known = await listTargets(prefixes[family]);
    const due = known === undefined ? ours : ours.filter((fake) => known.has(fake.join()));
    for (let i = 0; i < due.length; i += FORGOTTEN_AT_ONCE) {
      await forget(due.slice(i, i + FORGOTTEN_AT_ONCE));
    }
  }
}

/** The fakes that conntrack knows connections to; undefined where it does not say. */
async function listTargets(prefix: Prefix): Promise<Set<string> | undefined> {
  const args = listConnectionsArgs(prefix);
  const { success, stdout } = await runProgram("conntrack", args, "", TIMEOUT_MS);
  if (!success) return undefined;
  return new Set(Array.from(connectionTargets(stdout), (address) => address.join()));
}

async function forget(fakes: readonly Uint8Array[]): Promise<void> {
  const lines = fakes.map((fake) => `${forgetArgs(fake).join(" ")}\n`).join("");
  const { success } = await runProgram("conntrack", ["--load-file", "-"], lines, TIMEOUT_MS);
  if (success) return;
  // Before 1.4.7 it takes one command a process. It fails where there is nothing to forget.
  for (const fake of fakes) await runProgram("conntrack", forgetArgs(fake), "", TIMEOUT_MS);
}

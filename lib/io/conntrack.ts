/**
 * The conntrack program: makes the kernel forget connections to a fake before it stands for another
 * real address, which they would otherwise be taken to the old one of.
 *
 * @module
 */
import { forgetArgs } from "../nft/script.ts";
import { leaveToRun, runProgram } from "./program.ts";

/** How long conntrack may take over one batch. */
const TIMEOUT_MS = 3_000;

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
 * @throws {Error} where conntrack cannot be run
 */
export async function forgetConnections(fakes: readonly Uint8Array[]): Promise<void> {
  const lines = fakes.map((fake) => `${forgetArgs(fake).join(" ")}\n`).join("");
  const { success } = await runProgram("conntrack", ["--load-file", "-"], lines, TIMEOUT_MS);
  if (success) return;
  // Before 1.4.7 it takes one command a process. It fails where there is nothing to forget.
  for (const fake of fakes) await runProgram("conntrack", forgetArgs(fake), "", TIMEOUT_MS);
}

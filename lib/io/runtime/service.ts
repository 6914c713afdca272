/**
 * Telling systemd that dotp is ready (`Type=notify`, `NotifyAccess=all`), through systemd-notify(1).
 *
 * Deno cannot send to systemd's socket without permission to read and write files, so the program that comes
 * with systemd does it. Whether systemd waits is in NOTIFY_SOCKET, so without permission to read that one
 * variable nothing happens.
 *
 * @module
 */
import { log } from "./log.ts";
import { runProgram } from "./process.ts";

const VARIABLE = "NOTIFY_SOCKET";

/** How long systemd-notify may take; it waits until systemd has read what it sends. */
const TIMEOUT_MS = 10_000;

/**
 * Says that dotp is ready, where systemd waits for it. Nobody needs to wait for that: what goes wrong is
 * in the log.
 */
export async function tellSystemd(): Promise<void> {
  const { state } = await Deno.permissions.query({ name: "env", variable: VARIABLE });
  if (state !== "granted" || Deno.env.get(VARIABLE) === undefined) return;
  const failed = (message: string) =>
    log.warning("Cannot tell systemd that dotp is ready: {message}", { message });
  try {
    const { success, stderr } = await runProgram("systemd-notify", ["--ready"], "", TIMEOUT_MS);
    if (!success) failed(stderr.trim() || "systemd-notify failed");
  } catch (error) {
    failed((error as Error).message);
  }
}

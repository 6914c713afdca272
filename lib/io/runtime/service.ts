/**
 * Telling systemd that dotp is ready (`Type=notify`, `NotifyAccess=all`), through systemd-notify(1).
 *
 * Deno cannot send to systemd's socket without leave to read and write files, so the program that comes
 * with systemd does it. Whether systemd waits is in NOTIFY_SOCKET, so without leave to read that one
 * variable nothing happens.
 *
 * @module
 */
import { log } from "./log.ts";

const VARIABLE = "NOTIFY_SOCKET";

/** Says that dotp is ready, where systemd waits for it. */
export async function tellSystemd(): Promise<void> {
  const { state } = await Deno.permissions.query({ name: "env", variable: VARIABLE });
  if (state !== "granted" || Deno.env.get(VARIABLE) === undefined) return;
  try {
    const { success } = await new Deno.Command("systemd-notify", {
      args: ["--ready"],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn().status;
    if (!success) log.warning("systemd-notify failed: systemd does not hear that dotp is ready");
  } catch (error) {
    const { message } = error as Error;
    log.warning("Cannot tell systemd that dotp is ready: {message}", { message });
  }
}

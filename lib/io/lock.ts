/**
 * Takes the lock that makes this dotp the only one with its table (`lib/check/lock.ts`).
 *
 * Where there can be no lock, as while the loopback interface has no address, dotp says so and goes on:
 * what works today must not fail for want of it.
 *
 * @module
 */
import { addressToText } from "../address.ts";
import { findingToText } from "../check/finding.ts";
import { isTakenBy, judgeLock, LOCK_PORTS, lockHost } from "../check/lock.ts";
import type { Config } from "../config.ts";
import { lookAtHolders } from "./look.ts";
import { StartError } from "./preflight.ts";
import { log } from "./runtime/log.ts";

/**
 * Locks the table until the process ends, however it does.
 *
 * @param signal ends the look at who has it
 * @throws {StartError} where another dotp has it
 */
export async function lockTable(config: Config, signal: AbortSignal): Promise<void> {
  let problem = "";
  for (const port of LOCK_PORTS) {
    const lock = { host: lockHost(config.table), port };
    if (isTakenBy(config.listen, lock)) return;
    try {
      Deno.listenDatagram({ transport: "udp", hostname: addressToText(lock.host.bytes), port });
      return;
    } catch (error) {
      if (error instanceof Deno.errors.AddrInUse) {
        const finding = judgeLock(config, lock, await lookAtHolders(lock, signal));
        throw new StartError(findingToText(finding), { cause: error });
      }
      problem = (error as Error).message;
      // The next port may be taken without privileges; another error is not about the port.
      if (!(error instanceof Deno.errors.PermissionDenied)) break;
    }
  }
  log.warning(
    "nothing keeps another dotp from table inet {table} (does lo have 127.0.0.1/8?): {problem}",
    { table: config.table, problem },
  );
}

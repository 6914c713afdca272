/**
 * What is around dotp on its machine, and all that is judged of it, in the order in which it is told:
 * the same for `dotp check` and for the warnings at every start.
 *
 * @module
 */
import type { Config } from "../config.ts";
import type { Finding, Seen } from "./finding.ts";
import { judgeForwarding, judgeReversePath } from "./kernel.ts";
import { judgeListener, judgeOverlap } from "./network.ts";

/** What was seen of the machine. */
export interface Surroundings {
  /** What `ip -o address` prints. */
  readonly addresses: Seen;
  /** What `ip route show` prints for the prefixes, see `routeArgs`. */
  readonly routes: Seen;
  /** What `ip -4 rule show` prints. */
  readonly rules: Seen;
  /** What `grep -rH ""` prints for `SETTINGS_PATHS`. */
  readonly settings: Seen;
}

/** All findings about the machine. */
export function judgeSurroundings(config: Config, seen: Surroundings): Finding[] {
  return [
    ...judgeForwarding(seen.settings),
    ...judgeReversePath(seen.settings, seen.rules),
    ...judgeOverlap(config, seen.addresses, seen.routes),
    ...judgeListener(config, seen.addresses),
  ];
}

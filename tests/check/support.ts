/** What the tests of the checks share: a configuration from a command line, and findings as lines. */
import { parseCommand } from "../../lib/cli/parse.ts";
import type { Config } from "../../lib/config.ts";
import { type Finding, findingToText } from "../../lib/check/finding.ts";

/** Options of the gateway that the recorded outputs come from. */
const USUAL: Readonly<Record<string, string>> = {
  "--host": "192.0.2.1",
  "--ipv4-prefix": "198.18.0.0/15",
  "--ipv6-prefix": "2001:2::/48",
  "--upstream-host": "198.51.100.2",
};

/** Arguments of a start, some of them other than usual, and more behind them. */
export function args(other: Readonly<Record<string, string>> = {}, ...more: string[]): string[] {
  return [...Object.entries({ ...USUAL, ...other }).flat(), ...more];
}

/** The configuration that these arguments make. */
export function config(other: Readonly<Record<string, string>> = {}, ...more: string[]): Config {
  const command = parseCommand(args(other, ...more));
  if (command.kind !== "run") throw new Error(`Cannot run: it is ${command.kind}`);
  return command.config;
}

/** A finding as `level what: advice`. */
export function lineOf(finding: Finding): string {
  return `${finding.level} ${findingToText(finding)}`;
}

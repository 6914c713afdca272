/**
 * The usage text that `dotp --help` prints, made from the tables in `options.ts`.
 *
 * @module
 */
import { COMMANDS, describe, type Option, OPTIONS, wordsOf } from "./options.ts";

/** The usage text; lines end with a newline. */
export function usage(): string {
  const options = OPTIONS.map((option) => [flagsOf(option), describe(option)] as const);
  const commands = COMMANDS.map((command) => [wordsOf(command), command.help] as const);
  const width = Math.max(...[...options, ...commands].map(([left]) => left.length));
  const row = ([left, help]: readonly [string, string]) => `  ${left.padEnd(width)}  ${help}`;
  return [
    `Usage: ${SYNOPSIS}`,
    "       dotp check [TOPIC]... (the same options) [--json]",
    "",
    "A DNS proxy that answers for chosen domains with fake addresses, which nftables translates",
    "back to the real ones.",
    "",
    ...options.map(row),
    "",
    "Commands:",
    ...commands.map(row),
    "",
  ].join("\n");
}

const SYNOPSIS =
  "dotp -H ADDRESS -4 PREFIX -6 PREFIX --upstream-host ADDRESS [-d DOMAIN]... [options]";

function flagsOf({ name, short, value }: Option): string {
  const flags = short === undefined ? `    --${name}` : `-${short}, --${name}`;
  return value === undefined ? flags : `${flags} ${value}`;
}

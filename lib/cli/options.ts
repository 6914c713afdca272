/**
 * The one table of options and the one of commands: parsing, messages, the usage text, the shells'
 * completions and the manual are all made from them.
 *
 * @module
 */
import { TOPICS } from "../check/finding.ts";
import { ENGINES, LOG_FORMATS, LOG_LEVELS, POOL_FULL } from "../config.ts";
import { PRIVATE_REALS } from "../policy/policy.ts";
import { PROGRAM, UNITS } from "./unit.ts";

/** Shells that `dotp completions` takes. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
/** A shell of `SHELLS`. */
export type Shell = typeof SHELLS[number];

/** A word that has dotp do something else than run. */
export interface CommandWord {
  readonly name: "check" | "rules" | "unit" | "completions" | "manual";
  /** What stands for the word behind it, and what that may be. */
  readonly value?: string;
  readonly choices?: readonly string[];
  /** Whether there may be none of these words, or several. */
  readonly isRepeatable?: true;
  /** Whether there may be none, which stands for the first of the choices. */
  readonly isOptional?: true;
  /** Whether it takes the options of a run, and whether those that a run requires must be there. */
  readonly options: "required" | "optional" | "none";
  readonly help: string;
}

/** All commands, in the order of the usage text. */
export const COMMANDS: readonly CommandWord[] = [
  {
    name: "check",
    value: "TOPIC",
    choices: TOPICS,
    isRepeatable: true,
    options: "required",
    help: `look at what it needs: all, or ${TOPICS.join(", ")}`,
  },
  { name: "rules", options: "optional", help: "print rules.nft for this table and these prefixes" },
  {
    name: "unit",
    value: "UNIT",
    choices: UNITS,
    isOptional: true,
    options: "optional",
    help: "print a unit of systemd: service, dotp.service, or table, dotp-table.service",
  },
  {
    name: "completions",
    value: "SHELL",
    choices: SHELLS,
    options: "none",
    help: `print completions for a shell: ${SHELLS.join(", ")}`,
  },
  { name: "manual", options: "none", help: "print the manual page, dotp(8)" },
];

/** An option as it is typed, parsed and described. */
export interface Option {
  readonly name: string;
  readonly short?: string;
  /** What stands for its value; an option without one is a switch. */
  readonly value?: string;
  readonly isRequired?: true;
  readonly isRepeatable?: true;
  readonly defaultValue?: string;
  /** The only values there are. */
  readonly choices?: readonly string[];
  /** The one command that it goes with; any other goes with a run and with commands that take those. */
  readonly command?: CommandWord["name"];
  readonly help: string;
}

/** All options, in the order of the usage text. */
export const OPTIONS: readonly Option[] = [
  {
    name: "host",
    short: "H",
    value: "ADDRESS",
    isRequired: true,
    help: "IPv4 or IPv6 address to listen on",
  },
  { name: "port", short: "p", value: "PORT", defaultValue: "53", help: "UDP port to listen on" },
  {
    name: "domain",
    short: "d",
    value: "DOMAIN",
    isRepeatable: true,
    help: "give fakes for this name and below it; !NAME: none, =NAME: it alone",
  },
  {
    name: "domain-file",
    value: "PATH",
    isRepeatable: true,
    help: "more of these, one a line; read again on SIGHUP (Deno: --allow-read)",
  },
  { name: "domain-file-strict", help: "refuse a domain file with a line that is none" },
  {
    name: "ipv4-prefix",
    short: "4",
    value: "PREFIX",
    isRequired: true,
    help: "take fake IPv4 addresses from here, at most /30, such as 198.18.0.0/15",
  },
  {
    name: "ipv6-prefix",
    short: "6",
    value: "PREFIX",
    isRequired: true,
    help: "take fake IPv6 addresses from here, at most /64, such as 2001:2::/48",
  },
  {
    name: "upstream-host",
    value: "ADDRESS",
    isRequired: true,
    help: "IPv4 or IPv6 address of the DNS server to ask",
  },
  { name: "upstream-port", value: "PORT", defaultValue: "53", help: "its UDP port" },
  {
    name: "nat-ttl",
    value: "SECONDS",
    defaultValue: "120",
    help: "how long a mapping is active from the last answer with it, at least 2",
  },
  {
    name: "nat-max-ttl",
    value: "SECONDS",
    defaultValue: "0",
    help: "how long traffic keeps a mapping active after that answer, 0 for no limit",
  },
  {
    name: "pool-key",
    value: "TEXT",
    defaultValue: "dotp",
    help: "gateways with the same key and prefixes give the same fakes",
  },
  {
    name: "pool-full",
    value: "CHOICE",
    defaultValue: "servfail",
    choices: POOL_FULL,
    help: "where no fake is left: servfail, or evict the mapping that is idle for longest",
  },
  {
    name: "private-reals",
    value: "CHOICE",
    defaultValue: "map",
    choices: PRIVATE_REALS,
    help: "private real addresses: map them, pass them as they are, or refuse the reply",
  },
  { name: "table", value: "NAME", defaultValue: "dotp", help: "nft table, of family inet" },
  {
    name: "rules-file",
    value: "PATH",
    help: "rules.nft, to be loaded whenever the table is missing",
  },
  {
    name: "engine",
    value: "CHOICE",
    defaultValue: "auto",
    choices: ENGINES,
    help: "way to the kernel: direct through libc (Deno: --allow-ffi), portable, or auto",
  },
  {
    name: "log-level",
    value: "LEVEL",
    defaultValue: "info",
    choices: LOG_LEVELS,
    help: LOG_LEVELS.join(", "),
  },
  {
    name: "log-format",
    value: "FORMAT",
    defaultValue: "text",
    choices: LOG_FORMATS,
    help: LOG_FORMATS.join(" or "),
  },
  { name: "daemonize", help: "go to the background once everything works; log to syslog" },
  {
    name: "pid-file",
    value: "PATH",
    help: "with --daemonize: write the process id here (Deno: --allow-write)",
  },
  { name: "json", command: "check", help: "with check: print one JSON object" },
  {
    name: "lan",
    value: "NAME",
    isRepeatable: true,
    command: "rules",
    help: "with rules: translate only what comes in by this interface",
  },
  {
    name: "program",
    value: "PATH",
    command: "unit",
    defaultValue: PROGRAM,
    help: "with unit: where dotp is installed",
  },
  { name: "help", short: "h", help: "print this and exit" },
  { name: "version", help: "print the version and exit" },
];

/** What an option does, with what is to know about giving it. */
export function describe({ help, defaultValue, isRequired, isRepeatable }: Option): string {
  if (isRequired) return `${help} (required)`;
  if (isRepeatable) return `${help} (may be repeated)`;
  return defaultValue === undefined ? help : `${help} (${defaultValue})`;
}

/** A command with what stands behind it. */
export function wordsOf({ name, value, isRepeatable, isOptional }: CommandWord): string {
  if (value === undefined) return name;
  if (isOptional) return `${name} [${value}]`;
  return isRepeatable ? `${name} [${value}]...` : `${name} ${value}`;
}

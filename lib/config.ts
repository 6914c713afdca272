/**
 * The command line: from arguments to a validated, frozen `Config`, or to one line that says what is
 * wrong. One table of options and one of commands serve parsing, messages, the usage text, the shells'
 * completions and the manual.
 *
 * Nothing is read but the arguments, and nothing is done: a port that is taken or an address that is
 * not ours is found when it is bound.
 *
 * @module
 */
import { parseArgs } from "node:util";
import {
  type Address,
  addressToText,
  type Family,
  isUnspecified,
  overlaps,
  parseAddress,
  parsePrefix,
  type Prefix,
  prefixToText,
  unmapped,
  withoutHostBits,
} from "./address.ts";
import { nameFromText } from "./dns/name.ts";

/** Levels that `--log-level` takes, most talkative first. */
export const LOG_LEVELS = ["debug", "info", "warning", "error"] as const;
/** A level of `LOG_LEVELS`. */
export type LogLevel = typeof LOG_LEVELS[number];
/** Forms of a log line that `--log-format` takes. */
export const LOG_FORMATS = ["text", "json"] as const;
/** A form of `LOG_FORMATS`. */
export type LogFormat = typeof LOG_FORMATS[number];
/** What to do where the pool has no fake left, as `--pool-full` takes it. */
export const POOL_FULL = ["servfail", "evict"] as const;
/** A choice of `POOL_FULL`. */
export type PoolFull = typeof POOL_FULL[number];

/** The longest prefix for fakes, bits: two fakes in IPv4, an interface identifier in IPv6. */
export const PREFIX_LENGTH_MAX: Readonly<Record<Family, number>> = { 4: 30, 6: 64 };
/** The shortest lifetime of a mapping, seconds: its half must be a TTL of at least 1. */
export const NAT_TTL_MIN = 2;
/** The longest: a day. */
export const NAT_TTL_MAX = 86_400;
/** The longest that traffic may be allowed to keep a mapping: a year. */
export const NAT_MAX_TTL_MAX = 31_536_000;
/** nft's limit on a name is far above; a longer one is a mistake. */
const TABLE_LENGTH_MAX = 64;
const PORT_MAX = 65_535;

/** Where a server listens. */
export interface Endpoint {
  readonly host: Address;
  readonly port: number;
}

/** What dotp is told to do; valid as a whole. */
export interface Config {
  readonly listen: Endpoint;
  readonly upstream: Endpoint;
  /** The prefixes that fakes are taken from, no host bits set. */
  readonly prefixes: Readonly<Record<Family, Prefix>>;
  /** Configured names in wire format. */
  readonly domains: readonly Uint8Array[];
  /** How long a mapping lives from its last look-up, seconds. */
  readonly natTtl: number;
  /** How long traffic may keep a mapping from its last look-up, seconds; 0 for no limit. */
  readonly natMaxTtl: number;
  /** What the choice of fakes depends on. */
  readonly poolKey: string;
  readonly poolFull: PoolFull;
  /** Name of the nft table in family inet. */
  readonly table: string;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly daemonize: boolean;
  /** Absolute path, or undefined. */
  readonly pidFile: string | undefined;
}

/** Shells that `dotp completions` takes. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
/** A shell of `SHELLS`. */
export type Shell = typeof SHELLS[number];

/** What the command line asks for. */
export type Command =
  | { readonly kind: "run"; readonly config: Config }
  | { readonly kind: "check"; readonly config: Config; readonly json: boolean }
  | { readonly kind: "completions"; readonly shell: Shell }
  | { readonly kind: "manual" }
  | { readonly kind: "help" }
  | { readonly kind: "version" };

/** A word that has dotp do something else than run. */
export interface CommandWord {
  readonly name: "check" | "completions" | "manual";
  /** What stands for the word behind it, and what that may be. */
  readonly value?: string;
  readonly choices?: readonly string[];
  readonly help: string;
}

/** All commands, in the order of the usage text. */
export const COMMANDS: readonly CommandWord[] = [
  {
    name: "check",
    help: "look whether dotp would work with these options, and what is in its way",
  },
  {
    name: "completions",
    value: "SHELL",
    choices: SHELLS,
    help: `print completions for a shell: ${SHELLS.join(", ")}`,
  },
  { name: "manual", help: "print the manual page, dotp(8)" },
];

/** An option as it is typed, parsed and described. */
export interface Option {
  readonly name: string;
  readonly short?: string;
  /** What stands for its value; an option without one is a switch. */
  readonly value?: string;
  readonly isRequired?: true;
  readonly isRepeatable?: true;
  readonly standard?: string;
  /** The only values there are. */
  readonly choices?: readonly string[];
  /** The one command that it goes with; an option without one goes with a run and with its check. */
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
  { name: "port", short: "p", value: "PORT", standard: "53", help: "UDP port to listen on" },
  {
    name: "domain",
    short: "d",
    value: "DOMAIN",
    isRepeatable: true,
    help: "give fake addresses for this name and all below it",
  },
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
  { name: "upstream-port", value: "PORT", standard: "53", help: "its UDP port" },
  {
    name: "nat-ttl",
    value: "SECONDS",
    standard: "120",
    help: "how long a mapping lives from its last look-up, at least 2",
  },
  {
    name: "nat-max-ttl",
    value: "SECONDS",
    standard: "0",
    help: "how long traffic keeps a mapping alive after its last look-up, 0 for no limit",
  },
  {
    name: "pool-key",
    value: "TEXT",
    standard: "dotp",
    help: "gateways with the same key and prefixes give the same fakes",
  },
  {
    name: "pool-full",
    value: "CHOICE",
    standard: "servfail",
    choices: POOL_FULL,
    help: "where no fake is left: servfail, or evict the mapping that is idle for longest",
  },
  { name: "table", value: "NAME", standard: "dotp", help: "nft table, of family inet" },
  {
    name: "log-level",
    value: "LEVEL",
    standard: "info",
    choices: LOG_LEVELS,
    help: LOG_LEVELS.join(", "),
  },
  {
    name: "log-format",
    value: "FORMAT",
    standard: "text",
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
  { name: "help", short: "h", help: "print this and exit" },
  { name: "version", help: "print the version and exit" },
];

/** What is wrong with the command line, as one line without a stack trace. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * Reads the command line.
 *
 * @param args the arguments without the program
 * @throws {UsageError}
 */
export function parseCommand(args: readonly string[]): Command {
  const { values, words } = readArguments(args);
  const command = toCommandWord(words);
  if (values.has("help")) return { kind: "help" };
  if (values.has("version")) return { kind: "version" };
  switch (command?.name) {
    case "completions":
    case "manual":
      checkAlone(command, values);
      return command.name === "manual"
        ? { kind: "manual" }
        : { kind: "completions", shell: toShell(words[1]) };
  }
  for (const { name, command: needed } of OPTIONS) {
    if (values.has(name) && needed !== undefined && needed !== command?.name) {
      throw new UsageError(`--${name} goes with the command ${needed}: give both or none`);
    }
  }
  for (const { name, value, isRequired } of OPTIONS) {
    if (isRequired && !values.has(name)) {
      throw new UsageError(`--${name} is missing: give --${name} ${value}`);
    }
  }
  const config = Object.freeze(toConfig(values));
  return command === undefined
    ? { kind: "run", config }
    : { kind: "check", config, json: values.has("json") };
}

/** The usage text; lines end with a newline. */
export function usage(): string {
  const options = OPTIONS.map((option) => [flagsOf(option), describe(option)] as const);
  const commands = COMMANDS.map(({ name, value, help }) =>
    [
      value === undefined ? name : `${name} ${value}`,
      help,
    ] as const
  );
  const width = Math.max(...[...options, ...commands].map(([left]) => left.length));
  const row = ([left, help]: readonly [string, string]) => `  ${left.padEnd(width)}  ${help}`;
  return [
    `Usage: ${SYNOPSIS}`,
    "       dotp check (the same options) [--json]",
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

/** What an option does, with what is to know about giving it. */
export function describe({ help, standard, isRequired, isRepeatable }: Option): string {
  if (isRequired) return `${help} (required)`;
  if (isRepeatable) return `${help} (may be repeated)`;
  return standard === undefined ? help : `${help} (${standard})`;
}

/** What stands on the command line, before it is known to make sense. */
interface Arguments {
  /** Values by option name; a switch has the empty string. */
  readonly values: Map<string, string[]>;
  /** What is not an option. */
  readonly words: readonly string[];
}

function readArguments(args: readonly string[]): Arguments {
  const { tokens } = parseArgs({
    args: [...args],
    strict: false,
    allowPositionals: true,
    tokens: true,
    options: Object.fromEntries(OPTIONS.map(({ name, short, value }) => [name, {
      type: value === undefined ? "boolean" as const : "string" as const,
      ...(short === undefined ? {} : { short }),
    }])),
  });
  const values = new Map<string, string[]>();
  const words: string[] = [];
  for (const token of tokens) {
    if (token.kind === "option-terminator") continue;
    if (token.kind === "positional") {
      words.push(token.value);
      continue;
    }
    const option = OPTIONS.find(({ name }) => name === token.name);
    if (option === undefined) {
      throw new UsageError(`${quote(token.rawName)} is not an option of dotp: see --help`);
    }
    const seen = values.get(option.name) ?? [];
    if (seen.length > 0 && !option.isRepeatable) {
      throw new UsageError(`--${option.name} is given more than once: give it once`);
    }
    // What is an option itself was not meant as the value of the one before it.
    const isSwallowed = token.inlineValue === false && isFlag(token.value);
    const value = isSwallowed ? undefined : token.value;
    values.set(option.name, [...seen, checkedValue(option, value)]);
  }
  return { values, words };
}

/** The command that the words make, or undefined without any. */
function toCommandWord([name, ...more]: readonly string[]): CommandWord | undefined {
  if (name === undefined) return undefined;
  const command = COMMANDS.find((command) => command.name === name);
  if (command === undefined) {
    throw new UsageError(`${quote(name)} is not a command of dotp: see --help`);
  }
  const [extra] = more.slice(command.value === undefined ? 0 : 1);
  if (extra === undefined) return command;
  throw new UsageError(`${quote(extra)} is one word too many for ${name}: see --help`);
}

function checkAlone(command: CommandWord, values: Map<string, string[]>): void {
  const [name] = values.keys();
  if (name !== undefined) {
    throw new UsageError(`--${name} does not go with the command ${command.name}: leave it out`);
  }
}

function toShell(value: string | undefined): Shell {
  const shell = SHELLS.find((shell) => shell === value);
  if (shell !== undefined) return shell;
  const what = value === undefined ? "no shell is given" : `${quote(value)} is not known`;
  throw new UsageError(`completions: ${what}: give one of ${SHELLS.join(", ")}`);
}

function isFlag(text: string): boolean {
  return OPTIONS.some(({ name, short }) => text === `--${name}` || text === `-${short}`);
}

function checkedValue(option: Option, value: string | undefined): string {
  if (option.value === undefined) {
    if (value === undefined) return "";
    throw new UsageError(`--${option.name} ${quote(value)}: it takes no value`);
  }
  if (value === undefined || value === "") {
    throw new UsageError(`--${option.name} has no value: give --${option.name} ${option.value}`);
  }
  return value;
}

function toConfig(values: Map<string, string[]>): Config {
  const valueOf = (name: string) =>
    values.get(name)?.[0] ?? OPTIONS.find((option) => option.name === name)?.standard ?? "";
  const config: Config = {
    listen: { host: toHost("host", valueOf("host")), port: toPort("port", valueOf("port")) },
    prefixes: {
      4: toPrefix("ipv4-prefix", valueOf("ipv4-prefix"), 4),
      6: toPrefix("ipv6-prefix", valueOf("ipv6-prefix"), 6),
    },
    upstream: {
      host: toHost("upstream-host", valueOf("upstream-host")),
      port: toPort("upstream-port", valueOf("upstream-port")),
    },
    domains: (values.get("domain") ?? []).map(toDomain),
    natTtl: toNumber("nat-ttl", valueOf("nat-ttl"), NAT_TTL_MIN, NAT_TTL_MAX, "seconds"),
    natMaxTtl: toNumber("nat-max-ttl", valueOf("nat-max-ttl"), 0, NAT_MAX_TTL_MAX, "seconds"),
    poolKey: valueOf("pool-key"),
    poolFull: toChoice("pool-full", valueOf("pool-full"), POOL_FULL),
    table: toTable(valueOf("table")),
    logLevel: toChoice("log-level", valueOf("log-level"), LOG_LEVELS),
    logFormat: toChoice("log-format", valueOf("log-format"), LOG_FORMATS),
    daemonize: values.has("daemonize"),
    pidFile: values.get("pid-file")?.[0],
  };
  checkTogether(config);
  return config;
}

/** What no option can tell by itself. */
function checkTogether({ listen, upstream, prefixes, pidFile, daemonize }: Config): void {
  const upstreamText = addressToText(upstream.host.bytes);
  if (isUnspecified(upstream.host)) {
    throw new UsageError(`--upstream-host ${upstreamText}: it must be the address of one server`);
  }
  if (addressToText(listen.host.bytes) === upstreamText && listen.port === upstream.port) {
    throw new UsageError(
      `--upstream-host ${upstreamText}: dotp itself would listen there: give another server`,
    );
  }
  for (const [name, { host }] of [["host", listen], ["upstream-host", upstream]] as const) {
    const prefix = prefixes[host.family];
    const single = { ...host, length: host.bytes.length * 8 };
    if (!isUnspecified(host) && overlaps(prefix, single)) {
      const text = addressToText(host.bytes);
      throw new UsageError(`--${name} ${text}: it lies in the prefix of the fake addresses`);
    }
  }
  if (pidFile === undefined) return;
  if (!daemonize) throw new UsageError("--pid-file goes with --daemonize: give both or none");
  if (!pidFile.startsWith("/")) {
    throw new UsageError(`--pid-file ${quote(pidFile)}: give an absolute path`);
  }
}

function toHost(name: string, value: string): Address {
  try {
    return unmapped(parseAddress(value));
  } catch {
    throw new UsageError(
      `--${name} ${quote(value)} is not an address: give one such as 192.0.2.1 or 2001:db8::1`,
    );
  }
}

function toPrefix(name: string, value: string, family: Family): Prefix {
  const most = PREFIX_LENGTH_MAX[family];
  const example = family === 4 ? "198.18.0.0/15" : "2001:2::/48";
  let prefix: Prefix;
  try {
    prefix = parsePrefix(value, family);
  } catch {
    throw new UsageError(
      `--${name} ${quote(value)} is not an IPv${family} prefix: give one such as ${example}`,
    );
  }
  if (prefix.length > most) {
    throw new UsageError(`--${name} ${value} is too small: its length may be 0 to ${most}`);
  }
  const meant = withoutHostBits(prefix);
  if (prefixToText(meant) !== prefixToText(prefix)) {
    throw new UsageError(`--${name} ${value} has host bits set: give ${prefixToText(meant)}`);
  }
  return prefix;
}

function toDomain(value: string): Uint8Array {
  try {
    return nameFromText(value);
  } catch (error) {
    const why = error instanceof Error ? error.message : "";
    throw new UsageError(
      `--domain ${quote(value)} is not a domain name, ${why}: give one such as example.com`,
    );
  }
}

function toPort(name: string, value: string): number {
  return toNumber(name, value, 1, PORT_MAX, "a port");
}

function toNumber(name: string, value: string, least: number, most: number, what: string): number {
  const number = /^\d{1,9}$/.test(value) ? Number(value) : NaN;
  if (number >= least && number <= most) return number;
  throw new UsageError(`--${name} ${quote(value)} is not valid: give ${what}, ${least} to ${most}`);
}

function toTable(value: string): string {
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(value) && value.length <= TABLE_LENGTH_MAX) return value;
  throw new UsageError(
    `--table ${quote(value)} is not a table name: give letters, digits and '_', no digit first`,
  );
}

function toChoice<T extends string>(name: string, value: string, choices: readonly T[]): T {
  const choice = choices.find((choice) => choice === value);
  if (choice !== undefined) return choice;
  throw new UsageError(`--${name} ${quote(value)} is not valid: give one of ${choices.join(", ")}`);
}

/** A value from outside as it may stand in one line. */
function quote(text: string): string {
  return JSON.stringify(text);
}

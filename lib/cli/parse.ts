/**
 * The command line: from arguments to a validated, frozen `Config`, or to one line that says what is
 * wrong.
 *
 * Nothing is read but the arguments, and nothing is done.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import {
  type Address,
  type Family,
  parseAddress,
  parsePrefix,
  type Prefix,
  prefixToText,
  unmapped,
  withoutHostBits,
} from "../address.ts";
import { type Topic, TOPICS } from "../check/finding.ts";
import {
  checkTogether,
  type Config,
  ENGINES,
  LOG_FORMATS,
  LOG_LEVELS,
  NAT_MAX_TTL_MAX,
  NAT_TTL_MAX,
  NAT_TTL_MIN,
  POOL_FULL,
  PORT_MAX,
  PREFIX_LENGTH_MAX,
  quote,
  TABLE_LENGTH_MAX,
  UsageError,
} from "../config.ts";
import { ruleFromText } from "../policy/domain_rule.ts";
import type { DomainRule } from "../policy/domain_set.ts";
import { PRIVATE_REALS } from "../policy/policy.ts";
import { COMMANDS, type CommandWord, type Option, OPTIONS, type Shell, SHELLS } from "./options.ts";
import { PROGRAM, type UnitName, UNITS } from "./unit.ts";

/** What the command line asks for. */
export type Command =
  | { readonly kind: "run"; readonly config: Config }
  | {
    readonly kind: "check";
    readonly config: Config;
    readonly topics: readonly Topic[];
    readonly json: boolean;
  }
  | { readonly kind: "rules"; readonly config: Config; readonly lan: readonly string[] }
  | { readonly kind: "unit"; readonly unit: UnitName; readonly program: string }
  | { readonly kind: "completions"; readonly shell: Shell }
  | { readonly kind: "manual" }
  | { readonly kind: "help" }
  | { readonly kind: "version" };

/** What stands for a required option where it is not needed; the prefixes are those of rules.nft. */
const UNNEEDED: readonly (readonly [name: string, value: string])[] = [
  ["host", "::"],
  ["upstream-host", "::"],
  ["ipv4-prefix", "198.18.0.0/15"],
  ["ipv6-prefix", "2001:2::/48"],
];

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
  checkOptions(command, values);
  switch (command?.name) {
    case undefined:
      return { kind: "run", config: toWhole(values) };
    case "check": {
      const some = words.slice(1).map((word) => toWord(command, word, TOPICS));
      const topics = some.length > 0 ? some : TOPICS;
      return { kind: "check", config: toWhole(values), topics, json: values.has("json") };
    }
    case "rules":
      return {
        kind: "rules",
        config: toConfig(values),
        lan: (values.get("lan") ?? []).map(toInterface),
      };
    case "unit":
      // Refuses what is not valid, as everywhere.
      toConfig(values);
      return {
        kind: "unit",
        unit: toWord(command, words[1] ?? UNITS[0], UNITS),
        program: toProgram(values),
      };
    case "completions":
      return { kind: "completions", shell: toWord(command, words[1], SHELLS) };
    case "manual":
      return { kind: "manual" };
  }
}

/** Arguments of a process that are tried as the beginning of dotp's own. */
const BEGINNINGS_MAX = 32;

/**
 * What a process was told to do, if some end of its command line is one of a dotp that serves. The
 * program, Deno's own arguments and the script stand before dotp's.
 */
export function readRunning(commandLine: readonly string[]): Config | undefined {
  for (let from = 1; from < Math.min(commandLine.length, BEGINNINGS_MAX); from++) {
    // One that runs a command, such as this very check, is not one that listens.
    if (COMMANDS.some(({ name }) => name === commandLine[from])) return undefined;
    // A child in the background has one more, at its end.
    for (const to of [commandLine.length, commandLine.length - 1]) {
      try {
        const command = parseCommand(commandLine.slice(from, to));
        if (command.kind === "run") return command.config;
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
      }
    }
  }
  return undefined;
}

/** What stands on the command line, before it is known to make sense. */
interface Arguments {
  /** Values by option name; a switch has the empty string. */
  readonly values: Map<string, string[]>;
  /** What is not an option. */
  readonly words: readonly string[];
}

/** What is used of parse-args, which has no types: options by name, words behind `--`. */
const readSpelledOut: (
  args: readonly string[],
  options: {
    readonly string: readonly string[];
    readonly collect: readonly string[];
    readonly "--": true;
    readonly unknown: (arg: string) => never;
  },
) => Record<string, (string | number | true)[]> & { readonly "--": string[] } = parseArgs;

function readArguments(args: readonly string[]): Arguments {
  const { "--": words, ...given } = readSpelledOut(spellOut(args), {
    string: OPTIONS.filter(({ value }) => value !== undefined).map(({ name }) => name),
    collect: OPTIONS.map(({ name }) => name),
    "--": true,
    unknown: refuseOption,
  });
  const values = new Map<string, string[]>();
  for (const option of OPTIONS) {
    const { name, isRepeatable } = option;
    const found = given[name] ?? [];
    if (found.length === 0) continue;
    if (found.length > 1 && !isRepeatable) {
      throw new UsageError(`--${name} is given more than once: give it once`);
    }
    values.set(name, found.map((value) => checkedValue(option, value)));
  }
  return { values, words };
}

/**
 * The same arguments as parse-args understands them in one way only: each option long and with its
 * value, `--name=value`, and the words behind `--`. Left to itself it takes no value that begins with
 * `-`, takes the word behind a switch for its value, and takes `-dNAME` apart into letters.
 */
function spellOut(args: readonly string[]): string[] {
  const options: string[] = [];
  const words: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const arg = args[at]!;
    if (arg === "--") {
      words.push(...args.slice(at + 1));
      break;
    }
    if (!arg.startsWith("-") || arg === "-") {
      words.push(arg);
      continue;
    }
    const flags = arg.startsWith("--") ? [arg] : unbundle(arg);
    const last = flags.pop()!;
    const next = args[at + 1];
    const takesNext = OPTIONS.some(({ name, value }) =>
      value !== undefined && last === `--${name}`
    );
    // What is an option itself was not meant as the value of the one before it.
    if (!takesNext || next === undefined || isFlag(next)) {
      options.push(...flags, last);
      continue;
    }
    options.push(...flags, `${last}=${next}`);
    at++;
  }
  return [...options, "--", ...words];
}

/** Short options as long ones: `-hp53` is `--help --port=53`. */
function unbundle(arg: string): string[] {
  const [, letter = "", ...letters] = arg;
  const option = OPTIONS.find(({ short }) => short === letter);
  if (option === undefined) return refuseOption(`-${letter}`);
  const name = `--${option.name}`;
  const rest = letters.join("");
  if (rest === "") return [name];
  return option.value === undefined ? [name, ...unbundle(`-${rest}`)] : [`${name}=${rest}`];
}

function refuseOption(arg: string): never {
  const [name = ""] = /^-.[^=]*/s.exec(arg) ?? [];
  throw new UsageError(`${quote(name)} is not an option of dotp: see --help`);
}

/** The command that the words make, or undefined without any. */
function toCommandWord([name, ...more]: readonly string[]): CommandWord | undefined {
  if (name === undefined) return undefined;
  const command = COMMANDS.find((command) => command.name === name);
  if (command === undefined) {
    throw new UsageError(`${quote(name)} is not a command of dotp: see --help`);
  }
  if (command.isRepeatable) return command;
  const [extra] = more.slice(command.value === undefined ? 0 : 1);
  if (extra === undefined) return command;
  throw new UsageError(`${quote(extra)} is one word too many for ${name}: see --help`);
}

/** Refuses options that do not go with a command, or with a run, and asks for those it requires. */
function checkOptions(command: CommandWord | undefined, values: Map<string, string[]>): void {
  const { name, options } = command ?? { options: "required" };
  for (const option of OPTIONS.filter(({ name }) => values.has(name))) {
    if (options === "none") {
      throw new UsageError(`--${option.name} does not go with the command ${name}: leave it out`);
    }
    if (option.command !== undefined && option.command !== name) {
      throw new UsageError(
        `--${option.name} goes with the command ${option.command}: give both or none`,
      );
    }
  }
  const missing = OPTIONS.find(({ name, isRequired }) => isRequired && !values.has(name));
  if (options !== "required" || missing === undefined) return;
  throw new UsageError(`--${missing.name} is missing: give --${missing.name} ${missing.value}`);
}

/** One of the words that a command takes. */
function toWord<T extends string>(
  { name, value = "" }: CommandWord,
  word: string | undefined,
  choices: readonly T[],
): T {
  const choice = choices.find((choice) => choice === word);
  if (choice !== undefined) return choice;
  const what = word === undefined
    ? `no ${value.toLowerCase()} is given`
    : `${quote(word)} is not known`;
  throw new UsageError(`${name}: ${what}: give one of ${choices.join(", ")}`);
}

function isFlag(text: string): boolean {
  return OPTIONS.some(({ name, short }) => text === `--${name}` || text === `-${short}`);
}

function checkedValue(option: Option, value: string | number | true): string {
  if (option.value === undefined) {
    if (value === true) return "";
    throw new UsageError(`--${option.name} ${quote(`${value}`)}: it takes no value`);
  }
  if (value === "") {
    throw new UsageError(`--${option.name} has no value: give --${option.name} ${option.value}`);
  }
  return `${value}`;
}

/** The configuration of a run: all that is required was given, and it goes together. */
function toWhole(values: Map<string, string[]>): Config {
  const config = toConfig(values);
  checkTogether(config);
  return config;
}

/** Each value by itself; a required one that is not given is one of `UNNEEDED`. */
function toConfig(values: Map<string, string[]>): Config {
  const defaults = new Map([
    ...OPTIONS.map(({ name, defaultValue }) => [name, defaultValue] as const),
    ...UNNEEDED,
  ]);
  const valueOf = (name: string) => values.get(name)?.[0] ?? defaults.get(name) ?? "";
  return Object.freeze({
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
    domainFiles: values.get("domain-file") ?? [],
    domainFileStrict: values.has("domain-file-strict"),
    natTtl: toNumber("nat-ttl", valueOf("nat-ttl"), NAT_TTL_MIN, NAT_TTL_MAX, "seconds"),
    natMaxTtl: toNumber("nat-max-ttl", valueOf("nat-max-ttl"), 0, NAT_MAX_TTL_MAX, "seconds"),
    poolKey: valueOf("pool-key"),
    poolFull: toChoice("pool-full", valueOf("pool-full"), POOL_FULL),
    privateReals: toChoice("private-reals", valueOf("private-reals"), PRIVATE_REALS),
    engine: toChoice("engine", valueOf("engine"), ENGINES),
    table: toTable(valueOf("table")),
    rulesFile: values.get("rules-file")?.[0],
    logLevel: toChoice("log-level", valueOf("log-level"), LOG_LEVELS),
    logFormat: toChoice("log-format", valueOf("log-format"), LOG_FORMATS),
    daemonize: values.has("daemonize"),
    pidFile: values.get("pid-file")?.[0],
  });
}

/** The name of an interface: Linux takes more, but not all of that can be told to nft. */
function toInterface(value: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._:@-]{0,14}$/.test(value)) return value;
  throw new UsageError(`--lan ${quote(value)} is not an interface: give one that "ip link" lists`);
}

/** A path that systemd takes as it is: no blanks, quotes, `%` or `$`. */
function toProgram(values: Map<string, string[]>): string {
  const program = values.get("program")?.[0] ?? PROGRAM;
  if (/^(\/[A-Za-z0-9._+-]+)+$/.test(program)) return program;
  throw new UsageError(
    `--program ${quote(program)}: give an absolute path of letters, digits and '._+-/'`,
  );
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

function toDomain(value: string): DomainRule {
  try {
    return ruleFromText(value);
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

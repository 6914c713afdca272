/**
 * What dotp is told to do, and what its parts must have in common.
 *
 * A `Config` is plain data that is valid as a whole: whoever makes one from text, such as
 * `cli/parse.ts`, reads each value by itself and then calls `checkTogether`. Nothing else is known of
 * where the values came from, and nothing is done: a port that is taken or an address that is not
 * this machine's is found when it is bound.
 *
 * @module
 */
import {
  type Address,
  addressToText,
  type Family,
  isUnspecified,
  overlaps,
  type Prefix,
} from "./address.ts";
import type { DomainRule } from "./policy/domain_set.ts";
import type { PrivateReals } from "./policy/policy.ts";

/** Levels that `--log-level` takes, most verbose first. */
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

/** Ways to the kernel that `--engine` takes. */
export const ENGINES = ["auto", "portable", "direct"] as const;
/** A choice of `ENGINES`. */
export type EngineChoice = typeof ENGINES[number];

/** The longest prefix for fakes, bits: two fakes in IPv4, an interface identifier in IPv6. */
export const PREFIX_LENGTH_MAX: Readonly<Record<Family, number>> = { 4: 30, 6: 64 };
/** The shortest lifetime of a mapping, seconds: its half must be a TTL of at least 1. */
export const NAT_TTL_MIN = 2;
/** The longest: a day. */
export const NAT_TTL_MAX = 86_400;
/** The longest that traffic may be allowed to keep a mapping: a year. */
export const NAT_MAX_TTL_MAX = 31_536_000;
/** nft's limit on a name is far above; a longer one is a mistake. */
export const TABLE_LENGTH_MAX = 64;
export const PORT_MAX = 65_535;

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
  /** Rules about names, from the command line. */
  readonly domains: readonly DomainRule[];
  /** Absolute paths of files with more of them. */
  readonly domainFiles: readonly string[];
  /** Whether a file with a line that is no rule is refused as a whole. */
  readonly domainFileStrict: boolean;
  /** How long a mapping is active from the last answer with it, seconds. */
  readonly natTtl: number;
  /** How long traffic may keep a mapping active after that answer, seconds; 0 for no limit. */
  readonly natMaxTtl: number;
  /** What the choice of fakes depends on. */
  readonly poolKey: string;
  readonly poolFull: PoolFull;
  readonly privateReals: PrivateReals;
  readonly engine: EngineChoice;
  /** Name of the nft table in family inet. */
  readonly table: string;
  /** Absolute path of the rules that make the table, or undefined. */
  readonly rulesFile: string | undefined;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly daemonize: boolean;
  /** Absolute path, or undefined. */
  readonly pidFile: string | undefined;
}

/** What is wrong with the command line, as one line without a stack trace. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/**
 * Refuses values that do not go together, each of which is valid by itself.
 *
 * @throws {UsageError}
 */
export function checkTogether(config: Config): void {
  const { listen, upstream, prefixes, domainFiles, rulesFile, pidFile, daemonize } = config;
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
  if (pidFile !== undefined && !daemonize) {
    throw new UsageError("--pid-file goes with --daemonize: give both or none");
  }
  if (config.domainFileStrict && domainFiles.length === 0) {
    throw new UsageError("--domain-file-strict goes with --domain-file: give both or none");
  }
  const paths = [
    ...domainFiles.map((path) => ["domain-file", path] as const),
    ...[["rules-file", rulesFile], ["pid-file", pidFile]] as const,
  ];
  for (const [name, path] of paths) {
    if (path === undefined || path.startsWith("/")) continue;
    throw new UsageError(`--${name} ${quote(path)}: give an absolute path`);
  }
}

/** A value from outside as it may stand in one line. */
export function quote(text: string): string {
  return JSON.stringify(text);
}

/**
 * A ruleset as nft lists it in JSON, read as far as the checks must know it: which rules packets meet
 * from a hook on, under which conditions, and what some conditions are about.
 *
 * Nothing is judged here. What is of another form than expected is left out or is no condition that is
 * known; verdict maps are not followed.
 *
 * @module
 */
import { ADDRESS_LENGTH, type Family, overlaps, parsePrefix, type Prefix } from "../address.ts";

/** Rules that are followed from one hook: it stops a table of chains that fan out. */
const STEPS_MAX = 10_000;
/** Chains within chains: as deep as the kernel itself lets them be. */
const DEPTH_MAX = 16;

/** An object of JSON. */
export type Json = Record<string, unknown>;

/** A rule that packets meet. */
export interface Reached {
  /** The base chain that it is reached from. */
  readonly base: Json;
  /** The name of the chain that it is in. */
  readonly chain: string;
  /** What it does, and its own conditions. */
  readonly own: readonly Json[];
  /** The same, behind the conditions that lead to its chain. */
  readonly all: readonly Json[];
}

/** A listed table: its chains and their rules. */
export class Ruleset {
  readonly #chains: Json[] = [];
  readonly #sizes = new Map<unknown, number>();
  readonly #rules = new Map<unknown, Json[][]>();

  constructor(listed: string) {
    for (const object of records(record(JSON.parse(listed))["nftables"])) {
      if ("chain" in object) this.#chains.push(record(object["chain"]));
      const { name, size } = record(object["set"] ?? object["map"]);
      if (typeof size === "number") this.#sizes.set(name, size);
      if (!("rule" in object)) continue;
      const { chain, expr } = record(object["rule"]);
      const rules = this.#rules.get(chain) ?? [];
      rules.push(records(expr));
      this.#rules.set(chain, rules);
    }
  }

  /** The size that a set or a map states. */
  sizeOf(name: string): number | undefined {
    return this.#sizes.get(name);
  }

  /** The rules that packets meet from chains of that hook and type on. */
  reachedFrom(hook: string, type: string): Reached[] {
    const reached: Reached[] = [];
    const follow = (base: Json, chain: string, conditions: readonly Json[], depth: number) => {
      for (const own of this.#rules.get(chain) ?? []) {
        if (reached.length >= STEPS_MAX) return;
        const all = [...conditions, ...own];
        reached.push({ base, chain, own, all });
        for (const expression of own) {
          const { target } = record(expression["jump"] ?? expression["goto"]);
          if (typeof target === "string" && depth < DEPTH_MAX) follow(base, target, all, depth + 1);
        }
      }
    };
    for (const base of this.#chains) {
      const isMeant = base["hook"] === hook && base["type"] === type;
      if (isMeant && typeof base["name"] === "string") follow(base, base["name"], [], 0);
    }
    return reached;
  }
}

/** Whether every address of a prefix meets these conditions, as far as they are understood. */
export function isAboutAll(conditions: readonly Json[], prefix: Prefix): boolean {
  return conditions.every((condition) => {
    const { op, left, right } = record(condition["match"]);
    const family = destinationFamily(condition) ?? protocolFamily(left, right);
    if (family === undefined) return true;
    if (family !== prefix.family) return false;
    const matched = toPrefix(right, family);
    if (op !== "==" || matched === undefined) return true;
    return overlaps(matched, prefix) && matched.length <= prefix.length;
  });
}

/** IP version of the destination address that a condition compares, now or before translation. */
export function destinationFamily(condition: Json): Family | undefined {
  const { protocol, field } = record(record(leftOf(condition))["payload"]);
  if (field === "daddr" && (protocol === "ip" || protocol === "ip6")) {
    return protocol === "ip" ? 4 : 6;
  }
  return originalFamily(condition);
}

/** IP version of the destination address before translation that a condition compares. */
export function originalFamily(condition: Json): Family | undefined {
  const { key, dir } = record(record(leftOf(condition))["ct"]);
  if (dir !== "original") return undefined;
  return key === "ip daddr" ? 4 : key === "ip6 daddr" ? 6 : undefined;
}

/** What a condition compares. */
export function leftOf(condition: Json): unknown {
  return record(condition["match"])["left"];
}

/** IP version that a condition asks for outright. */
function protocolFamily(left: unknown, right: unknown): Family | undefined {
  if (record(record(left)["meta"])["key"] !== "nfproto") return undefined;
  return right === "ipv4" ? 4 : right === "ipv6" ? 6 : undefined;
}

/** What an address is compared with, where that is an address or a prefix. */
function toPrefix(right: unknown, family: Family): Prefix | undefined {
  const { addr, len } = record(record(right)["prefix"]);
  const text = typeof right === "string"
    ? `${right}/${ADDRESS_LENGTH[family] * 8}`
    : `${addr}/${len}`;
  try {
    return parsePrefix(text, family);
  } catch {
    return undefined;
  }
}

/** Whether a value holds this text anywhere. */
export function mentions(value: unknown, text: string): boolean {
  if (typeof value !== "object" || value === null) return value === text;
  return Object.values(value).some((each) => mentions(each, text));
}

/** A value as an object, an empty one where it is none. */
export function record(value: unknown): Json {
  return typeof value === "object" && value !== null ? value as Json : {};
}

/** The objects in a value, none where it is no array. */
export function records(value: unknown): Json[] {
  return Array.isArray(value) ? value.map(record) : [];
}

/**
 * Judges what nft says of the table: whether nft works at all, and whether the table has what dotp
 * fills and rules that make use of it.
 *
 * Rules are read from nft's JSON as far as dotp must know them: which prefix a rule is about, where it
 * is reached from and what it does. A condition that is not understood counts as met, and what stands
 * in other tables is not looked at, so that an unusual table is not called broken; verdict maps are
 * not followed. The table of an older rules.nft works, and is called what it lacks.
 *
 * @module
 */
import {
  ADDRESS_LENGTH,
  FAMILIES,
  type Family,
  overlaps,
  parsePrefix,
  type Prefix,
  prefixToText,
} from "../address.ts";
import type { Config } from "../config.ts";
import { capacityOf } from "../nat/pool.ts";
import { MAPPINGS_MAX } from "../nat/table.ts";
import { reasonOf } from "../nft/complaint.ts";
import { tableProblem } from "../nft/listing.ts";
import { SET_NAMES } from "../nft/script.ts";
import { error, type Finding, ok, warning } from "./finding.ts";

/** Rules that are followed from one hook: it stops a table of chains that fan out. */
const STEPS_MAX = 10_000;
/** Chains within chains: as deep as the kernel itself lets them be. */
const DEPTH_MAX = 16;

const LOAD = "load rules.nft: nft -f rules.nft";

type Json = Record<string, unknown>;

/** A rule with the conditions that led to its chain. */
interface Reached {
  readonly conditions: readonly Json[];
  readonly expressions: readonly Json[];
}

/**
 * What is to be done where the table, or one of its sets, is not there.
 *
 * @param rulesFile what makes the table
 */
export function missingTable(table: string, rulesFile = "rules.nft"): Finding {
  return error("table", `table inet ${table} is missing`, `load it with: nft -f ${rulesFile}`);
}

/**
 * What nft's complaint means for an admin.
 *
 * @param rulesFile what makes the table
 */
export function nftProblem(table: string, message: string, rulesFile?: string): Finding {
  if (/^nft is not there/.test(message)) {
    const advice = "install it (apt-get install nftables) or add it to PATH";
    return error("nft", "nft is not there", advice);
  }
  if (/^nft cannot be started/.test(message)) {
    return error("nft", message, "see to it that dotp's user may execute it");
  }
  if (/not permitted|Permission denied/.test(message)) {
    return error("nft", "nft is not permitted", "run dotp as root or with CAP_NET_ADMIN");
  }
  if (reasonOf(message) === "missing") return missingTable(table, rulesFile);
  const what = `nft does not work with table inet ${table}: ${message}`;
  return error("nft", what, `look at it with: nft list table inet ${table}`);
}

/** What is wrong with the sets and maps that `listTableArgs` listed, or undefined. */
export function judgeSets({ table }: Config, listed: string): Finding | undefined {
  const problem = tableProblem(table, listed);
  if (problem === undefined) return undefined;
  return error("table", problem, "delete the table and load rules.nft: nft -f rules.nft");
}

/** Whether the sets and maps are large enough and the table's rules use them: a finding a matter. */
export function judgeRules(config: Config, listed: string): Finding[] {
  const ruleset = new Ruleset(listed);
  return FAMILIES.flatMap((family) => {
    const found = [
      judgeSize(config, ruleset, family),
      judgeTranslation(config, ruleset, family),
      judgeStrays(config, ruleset, family),
      judgeMasquerade(config, ruleset, family),
      judgeGuard(config, ruleset, family),
      judgeInput(config, ruleset, family),
    ].filter((finding) => finding !== undefined);
    if (found.length > 0) return found;
    const what = "are translated, masqueraded, and refused where they stand for nothing";
    return [ok("rules", `connections to ${prefixToText(config.prefixes[family])} ${what}`)];
  });
}

function judgeSize({ prefixes }: Config, ruleset: Ruleset, family: Family): Finding | undefined {
  const needed = Math.min(capacityOf(prefixes[family]), MAPPINGS_MAX);
  for (const name of [SET_NAMES[family].set, SET_NAMES[family].map]) {
    const size = ruleset.sizeOf(name);
    if (size === undefined || size >= needed) continue;
    return warning(
      "table",
      `${name} holds ${size} elements, fewer than the ${needed} fakes there may be`,
      "set its size in rules.nft, delete the table, load the file and restart dotp",
    );
  }
  return undefined;
}

function judgeTranslation(
  { table, prefixes }: Config,
  ruleset: Ruleset,
  family: Family,
): Finding | undefined {
  const { map } = SET_NAMES[family];
  const prefix = prefixes[family];
  const covers = ruleset.translations(family).map((rule) => isAboutAll(rule, prefix));
  if (covers.includes(true)) return undefined;
  if (covers.length === 0) {
    const what = `no rule in a prerouting chain of table inet ${table} translates by ${map}`;
    return error("rules", what, LOAD);
  }
  return error(
    "rules",
    `the rules that translate by ${map} are not about all of ${prefixToText(prefix)}`,
    `make it FAKE${family} at the top of rules.nft and load the file, or give dotp what is there`,
  );
}

/** Whether segments of old connections are translated as if they opened new ones. */
function judgeStrays(
  { table, prefixes }: Config,
  ruleset: Ruleset,
  family: Family,
): Finding | undefined {
  if (ruleset.translations(family).every((rule) => rule.some(isAboutProtocol))) return undefined;
  return warning(
    "rules",
    `the rules of table inet ${table} translate more than what opens a connection, so what an old ` +
      `one still sends to a fake in ${
        prefixToText(prefixes[family])
      } may arrive at another address`,
    LOAD,
  );
}

function judgeMasquerade(
  { table, prefixes }: Config,
  ruleset: Ruleset,
  family: Family,
): Finding | undefined {
  const prefix = prefixes[family];
  const isThere = ruleset.reachedFrom("postrouting", "nat")
    .filter(({ expressions }) => expressions.some((each) => "masquerade" in each || "snat" in each))
    .some((rule) => isAboutAll([...rule.conditions, ...rule.expressions], prefix));
  if (isThere) return undefined;
  return warning(
    "rules",
    `no rule in table inet ${table} masquerades connections to ${prefixToText(prefix)}, so the ` +
      "answers may come back another way, or not at all",
    LOAD,
  );
}

function judgeGuard(
  { table, prefixes }: Config,
  ruleset: Ruleset,
  family: Family,
): Finding | undefined {
  const prefix = prefixes[family];
  // What comes before a drop that is about everything has been accepted by other rules.
  const isThere = ["prerouting", "forward"].some((hook) =>
    ruleset.refusals(hook).some((rule) =>
      isAboutAll(rule, prefix) && rule.some((each) => destinationFamily(each) !== undefined) &&
      !rule.some(isAboutState)
    )
  );
  if (isThere) return undefined;
  return warning(
    "rules",
    `no rule in table inet ${table} refuses what goes to a fake in ` +
      `${prefixToText(prefix)} that stands for nothing, so such connections hang`,
    LOAD,
  );
}

/** Whether others are kept from reaching the gateway itself by a fake. */
function judgeInput(
  { table, prefixes }: Config,
  ruleset: Ruleset,
  family: Family,
): Finding | undefined {
  const prefix = prefixes[family];
  const isThere = ruleset.refusals("input").some((rule) =>
    isAboutAll(rule, prefix) && rule.some((each) => originalFamily(each) === family)
  );
  if (isThere) return undefined;
  return warning(
    "rules",
    `no rule in an input chain of table inet ${table} refuses what comes by a fake in ` +
      `${
        prefixToText(prefix)
      } to the gateway itself, so a name that resolves to its address opens ` +
      "what a firewall that accepts translated connections closes",
    LOAD,
  );
}

/** A listed table: its chains and their rules. */
class Ruleset {
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

  /** The rules, each with the conditions that lead to it, that translate forwarded traffic by the map. */
  translations(family: Family): Json[][] {
    const map = `@${SET_NAMES[family].map}`;
    return this.reachedFrom("prerouting", "nat")
      .filter(({ expressions }) => expressions.some((each) => mentions(each["dnat"], map)))
      .map(({ conditions, expressions }) => [...conditions, ...expressions]);
  }

  /** The rules, each with the conditions that lead to it, that refuse or drop. */
  refusals(hook: string): Json[][] {
    return this.reachedFrom(hook, "filter")
      .filter(({ expressions }) => expressions.some((each) => "reject" in each || "drop" in each))
      .map(({ conditions, expressions }) => [...conditions, ...expressions]);
  }

  /** The rules that packets meet from chains of that hook and type on. */
  reachedFrom(hook: string, type: string): Reached[] {
    const reached: Reached[] = [];
    const follow = (chain: unknown, conditions: readonly Json[], depth: number) => {
      for (const expressions of this.#rules.get(chain) ?? []) {
        if (reached.length >= STEPS_MAX) return;
        reached.push({ conditions, expressions });
        for (const expression of expressions) {
          const { target } = record(expression["jump"] ?? expression["goto"]);
          if (target === undefined || depth >= DEPTH_MAX) continue;
          follow(target, [...conditions, ...expressions], depth + 1);
        }
      }
    };
    for (const chain of this.#chains) {
      if (chain["hook"] === hook && chain["type"] === type) follow(chain["name"], [], 0);
    }
    return reached;
  }
}

/** Whether every address of a prefix meets these conditions, as far as they are understood. */
function isAboutAll(conditions: readonly Json[], prefix: Prefix): boolean {
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
function destinationFamily(condition: Json): Family | undefined {
  const { protocol, field } = record(record(leftOf(condition))["payload"]);
  if (field === "daddr" && (protocol === "ip" || protocol === "ip6")) {
    return protocol === "ip" ? 4 : 6;
  }
  return originalFamily(condition);
}

/** IP version of the destination address before translation that a condition compares. */
function originalFamily(condition: Json): Family | undefined {
  const { key, dir } = record(record(leftOf(condition))["ct"]);
  if (dir !== "original") return undefined;
  return key === "ip daddr" ? 4 : key === "ip6 daddr" ? 6 : undefined;
}

/** Whether a condition is about the protocol that IP carries, or about how a connection of it opens. */
function isAboutProtocol(condition: Json): boolean {
  return ["l4proto", "flags", "sctp", "dccp"].some((name) => mentions(leftOf(condition), name));
}

/** Whether a condition is about what conntrack says of the packet. */
function isAboutState(condition: Json): boolean {
  return record(record(leftOf(condition))["ct"])["key"] === "state";
}

function leftOf(condition: Json): unknown {
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
function mentions(value: unknown, text: string): boolean {
  if (typeof value !== "object" || value === null) return value === text;
  return Object.values(value).some((each) => mentions(each, text));
}

function record(value: unknown): Json {
  return typeof value === "object" && value !== null ? value as Json : {};
}

function records(value: unknown): Json[] {
  return Array.isArray(value) ? value.map(record) : [];
}

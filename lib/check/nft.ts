/**
 * Judges what nft says of the table: whether nft works at all, and whether the table has what dotp
 * fills and rules that make use of it.
 *
 * A condition that is not understood counts as met, so that an unusual table is not called broken. The
 * table of an older rules.nft works, and is called what it lacks. Other tables are judged in
 * `firewall.ts`.
 *
 * @module
 */
import { FAMILIES, type Family, prefixToText } from "../address.ts";
import type { Config } from "../config.ts";
import { capacityOf } from "../nat/pool.ts";
import { MAPPINGS_MAX } from "../nat/table.ts";
import { reasonOf } from "../nft/complaint.ts";
import { tableProblem } from "../nft/listing.ts";
import { SET_NAMES } from "../nft/script.ts";
import { error, type Finding, ok, warning } from "./finding.ts";
import {
  destinationFamily,
  isAboutAll,
  type Json,
  leftOf,
  mentions,
  originalFamily,
  type Reached,
  record,
  Ruleset,
} from "./ruleset.ts";

const LOAD = "load rules.nft: nft -f rules.nft";

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
  const covers = translations(ruleset, family).map(({ all }) => isAboutAll(all, prefix));
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
  if (translations(ruleset, family).every(({ all }) => all.some(isAboutProtocol))) return undefined;
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
    .filter(({ own }) => own.some((each) => "masquerade" in each || "snat" in each))
    .some(({ all }) => isAboutAll(all, prefix));
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
    refusals(ruleset, hook).some(({ all }) =>
      isAboutAll(all, prefix) && all.some((each) => destinationFamily(each) !== undefined) &&
      !all.some(isAboutState)
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
  const isThere = refusals(ruleset, "input").some(({ all }) =>
    isAboutAll(all, prefix) && all.some((each) => originalFamily(each) === family)
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

/** The rules that translate forwarded traffic by the map. */
function translations(ruleset: Ruleset, family: Family): Reached[] {
  const map = `@${SET_NAMES[family].map}`;
  return ruleset.reachedFrom("prerouting", "nat")
    .filter(({ own }) => own.some((each) => mentions(each["dnat"], map)));
}

/** The rules that refuse or drop. */
function refusals(ruleset: Ruleset, hook: string): Reached[] {
  return ruleset.reachedFrom(hook, "filter")
    .filter(({ own }) => own.some((each) => "reject" in each || "drop" in each));
}

/** Whether a condition is about the protocol that IP carries, or about how a connection of it opens. */
function isAboutProtocol(condition: Json): boolean {
  return ["l4proto", "flags", "sctp", "dccp"].some((name) => mentions(leftOf(condition), name));
}

/** Whether a condition is about what conntrack says of the packet. */
function isAboutState(condition: Json): boolean {
  return record(record(leftOf(condition))["ct"])["key"] === "state";
}

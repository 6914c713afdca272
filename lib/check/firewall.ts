/**
 * Judges the tables of nft that are not dotp's: a firewall that accepts whatever was translated, which
 * a name's address then decides about, and port forwards that take what goes to a fake.
 *
 * A rule counts only if all of its conditions are understood and let through what a client in the LAN
 * sends to a fake; so what is found is so, and not all is found. Of iptables' own matches nft does not
 * tell what they match. The chain `input` needs no look: rules.nft itself refuses there.
 *
 * @module
 */
import { addressToText } from "../address.ts";
import type { Config } from "../config.ts";
import { type Finding, ok, type Seen, unseen, warning } from "./finding.ts";
import { readAddresses } from "./network.ts";
import {
  type Json,
  leftOf,
  mentions,
  originalFamily,
  type Reached,
  record,
  records,
  Ruleset,
} from "./ruleset.ts";

/** Tables of others that are listed: it stops a machine that is full of them. */
export const OTHER_TABLES_MAX = 64;

/** Families of tables that a packet between two hosts meets. */
const TABLE_FAMILIES: readonly unknown[] = ["inet", "ip", "ip6"];
/** The priority of rules.nft's translation, dstnat: what comes later finds it done. */
const DSTNAT = -100;
/** The port of DNS: to redirect it is what dotp asks for. */
const DNS_PORT = 53;

/** A table that is not dotp's. */
export interface OtherTable {
  readonly family: string;
  readonly name: string;
  /** What `nft -j -t list table` prints of it. */
  readonly listed: Seen;
}

/** The tables to list, from `nft -j list tables`: those that are not dotp's. */
export function otherTables({ table }: Config, listed: string): Omit<OtherTable, "listed">[] {
  return records(record(JSON.parse(listed))["nftables"]).flatMap((object) => {
    const { family, name } = record(object["table"]);
    if (!TABLE_FAMILIES.includes(family) || typeof family !== "string") return [];
    if (typeof name !== "string" || (family === "inet" && name === table)) return [];
    return [{ family, name }];
  }).slice(0, OTHER_TABLES_MAX);
}

/**
 * What other tables do to connections that are translated, a finding a matter.
 *
 * @param own what `nft -j -t list table` prints of dotp's table
 * @param addresses of this machine, for the interface of the LAN
 */
export function judgeFirewall(
  config: Config,
  own: string,
  others: readonly OtherTable[],
  addresses: Seen,
): Finding[] {
  const devices = devicesOfLan(config, addresses);
  const accepting: string[] = [];
  const forwarding: string[] = [];
  const findings: Finding[] = [];
  for (const { family, name, listed } of others) {
    if ("problem" in listed) {
      findings.push(unseen("firewall", `table ${family} ${name}`, listed.problem));
      continue;
    }
    const ruleset = new Ruleset(listed.text);
    const concerns = ({ all }: Reached) => !all.some((each) => isElsewhere(each, devices));
    const add = (chains: string[], { chain }: Reached) => {
      const text = `${chain} of table ${family} ${name}`;
      if (!chains.includes(text)) chains.push(text);
    };
    for (const rule of ruleset.reachedFrom("forward", "filter").filter(concerns)) {
      if (acceptsTranslated(rule)) add(accepting, rule);
    }
    for (const rule of ruleset.reachedFrom("prerouting", "nat").filter(concerns)) {
      if (translatesFirst(rule)) add(forwarding, rule);
    }
  }
  if (accepting.length > 0) findings.push(acceptFinding(config, own, accepting));
  if (forwarding.length > 0) findings.push(forwardFinding(forwarding));
  if (findings.length > 0) return findings;
  return [ok("firewall", "no other table accepts all that is translated, or translates first")];
}

function acceptFinding({ privateReals }: Config, own: string, chains: readonly string[]): Finding {
  const what = `chain ${chains.join(", chain ")} accepts all that was translated (ct status dnat)`;
  if (privateReals !== "map") {
    return ok("firewall", `${what}, and private addresses are not translated`);
  }
  if (isLimited(own)) return ok("firewall", `${what}, and rules.nft says where that may go out`);
  return warning(
    "firewall",
    `${what}, so a name that resolves to a private address opens what is closed there`,
    "give --private-reals pass, or take the example only_to_wan of rules.nft",
  );
}

function forwardFinding(chains: readonly string[]): Finding {
  return warning(
    "firewall",
    `chain ${
      chains.join(", chain ")
    } translates or redirects a port whatever the destination, so ` +
      "what goes to that port of a fake does not arrive at its real address",
    "name the destination in that rule (ip daddr), or give its chain a priority behind dstnat",
  );
}

function acceptsTranslated({ own, all }: Reached): boolean {
  return own.some((each) => "accept" in each) && all.some(isStatusDnat);
}

/** Whether a rule translates before rules.nft does; at the same priority, what was loaded later. */
function translatesFirst({ base, own, all }: Reached): boolean {
  return own.some((each) => "dnat" in each || "redirect" in each) &&
    Number(base["prio"]) <= DSTNAT &&
    !all.some((each) => record(each["match"])["right"] === DNS_PORT);
}

/** Whether dotp's table says by which interfaces translated connections may go out. */
function isLimited(own: string): boolean {
  return new Ruleset(own).reachedFrom("forward", "filter").some(({ all }) =>
    all.some((each) => originalFamily(each) !== undefined) &&
    all.some((each) => ["oif", "oifname"].includes(String(metaKey(each))))
  );
}

/**
 * Whether a condition keeps out what a client of the LAN sends to a fake, or is not understood.
 *
 * @param devices of the LAN; undefined where that is not known
 */
function isElsewhere(expression: Json, devices: readonly string[] | undefined): boolean {
  if ("xt" in expression || "vmap" in expression) return true;
  if (!("match" in expression) || isStatusDnat(expression)) return false;
  switch (metaKey(expression)) {
    case "iif":
    case "iifname": {
      const { op, right } = record(expression["match"]);
      const isNamed = devices?.some((device) => mentions(right, device)) ?? op === "==";
      return isNamed !== (op === "==");
    }
    case "l4proto":
    case "nfproto":
      return false;
  }
  if (isAboutCt(expression, "state", "new")) return false;
  const { field } = record(record(leftOf(expression))["payload"]);
  return field !== "dport" && field !== "sport";
}

function isStatusDnat(expression: Json): boolean {
  return isAboutCt(expression, "status", "dnat");
}

/** Whether a condition is met by what conntrack says this of. */
function isAboutCt(expression: Json, key: string, value: string): boolean {
  const { op, left, right } = record(expression["match"]);
  return record(record(left)["ct"])["key"] === key && op !== "!=" && mentions(right, value);
}

function metaKey(expression: Json): unknown {
  return record(record(leftOf(expression))["meta"])["key"];
}

/** The interfaces that have the address that dotp listens on; undefined where none has. */
function devicesOfLan({ listen }: Config, addresses: Seen): string[] | undefined {
  if ("problem" in addresses) return undefined;
  const own = addressToText(listen.host.bytes);
  const devices = readAddresses(addresses.text)
    .filter(({ address }) => addressToText(address.bytes) === own)
    .map(({ device }) => device);
  return devices.length > 0 && !devices.includes("lo") ? devices : undefined;
}

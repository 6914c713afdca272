/**
 * Judges the kernel's settings: whether it forwards, and whether reverse path filtering may drop the
 * answers.
 *
 * Settings come as `grep -rH ""` prints them, a line each: `/proc/sys/net/ipv4/conf/lan0/rp_filter:1`.
 * GNU's and BusyBox's grep print the same.
 *
 * @module
 */
import { error, type Finding, ok, type Seen, unseen, warning } from "./finding.ts";

/** What grep is given: files and directories. A kernel without IPv6 does not have the second. */
export const SETTINGS_PATHS = [
  "/proc/sys/net/ipv4/conf",
  "/proc/sys/net/ipv6/conf/all/forwarding",
] as const;

/**
 * Policy rules by which nothing takes another way: those that every machine has, for the tables local,
 * main and default, and such as lead to no table, as dotp-table.service makes them.
 */
const USUAL_RULE =
  /^\d+:\s+from all (lookup (local|main|default)|.*\bunreachable|.*\bgoto \d+|nop)( proto \w+)?\s*$/;
/** Interfaces that are none: what is set for all, and for those to come. */
const NO_INTERFACES: readonly string[] = ["all", "default", "lo"];
/** Names that a line has room for. */
const NAMES_MAX = 4;

/** A setting of `rp_filter`: drop what did not come in where its answer would go out. */
const STRICT = 1;

/** Values by `ipv4/INTERFACE/KEY`. */
type Settings = ReadonlyMap<string, number>;

/** Whether packets are forwarded, of both IP versions. */
export function judgeForwarding(seen: Seen): Finding[] {
  if ("problem" in seen) return [unseen("forwarding", "the kernel's settings", seen.problem)];
  const settings = readSettings(seen.text);
  const findings: Finding[] = [];
  if (settings.get("ipv4/all/forwarding") === undefined) {
    const problem = "/proc/sys is not there to be read: see to it with sysctl net.ipv4.ip_forward";
    return [unseen("forwarding", "the kernel's settings", problem)];
  }
  // An interface may forward though it is not set for all of them.
  const forwards = interfaces(settings, "forwarding").some((name) => {
    return settings.get(`ipv4/${name}/forwarding`) !== 0;
  });
  if (!forwards && settings.get("ipv4/all/forwarding") === 0) {
    const what = "IPv4 is not forwarded, so no client gets through to what a fake stands for";
    findings.push(error("forwarding", what, "sysctl -w net.ipv4.ip_forward=1"));
  }
  const forwarding6 = settings.get("ipv6/all/forwarding");
  if (forwarding6 === undefined) {
    const what = "this kernel has no IPv6, so fake IPv6 addresses lead nowhere";
    findings.push(warning("forwarding", what, "enable it, or let clients ask for A records only"));
  } else if (forwarding6 === 0) {
    const what = "IPv6 is not forwarded, so no client gets through to what an IPv6 fake stands for";
    findings.push(warning("forwarding", what, "sysctl -w net.ipv6.conf.all.forwarding=1"));
  }
  return findings.length > 0 ? findings : [ok("forwarding", "IPv4 and IPv6 are forwarded")];
}

/**
 * Whether strict reverse path filtering may drop answers. It does where they come in on another
 * interface than the main table would send to, which takes policy routing: a tunnel by mark, say.
 *
 * @param rules what `ip -4 rule show` prints
 */
export function judgeReversePath(settingsSeen: Seen, rulesSeen: Seen): Finding[] {
  if ("problem" in settingsSeen) return []; // Said above.
  const settings = readSettings(settingsSeen.text);
  const forAll = settings.get("ipv4/all/rp_filter") ?? 0;
  const strict = interfaces(settings, "rp_filter").filter((name) => {
    // The kernel takes the larger of the two.
    return Math.max(forAll, settings.get(`ipv4/${name}/rp_filter`) ?? 0) === STRICT;
  });
  if (strict.length === 0) return [ok("rp_filter", "reverse path filtering is strict nowhere")];
  const names = listNames(strict);
  if (!("problem" in rulesSeen) && !hasPolicy(rulesSeen.text)) {
    const what = `reverse path filtering is strict on ${names}, and all traffic takes one table`;
    return [ok("rp_filter", what)];
  }
  return [
    warning(
      "rp_filter",
      `reverse path filtering is strict on ${names}: answers to what policy routing sends ` +
        "through another interface, such as a tunnel, are dropped",
      "sysctl -w net.ipv4.conf.NAME.rp_filter=2 for the interface they come in on",
    ),
  ];
}

function hasPolicy(rules: string): boolean {
  return rules.split("\n").some((line) => line.trim() !== "" && !USUAL_RULE.test(line));
}

function readSettings(text: string): Settings {
  const settings = new Map<string, number>();
  for (const line of text.split("\n")) {
    const found = /^\/proc\/sys\/net\/(ipv[46])\/conf\/([^/]+)\/(\w+):(\d+)$/.exec(line);
    if (found !== null) settings.set(`${found[1]}/${found[2]}/${found[3]}`, Number(found[4]));
  }
  return settings;
}

/** The interfaces that have an IPv4 setting. */
function interfaces(settings: Settings, key: string): string[] {
  return [...settings.keys()].flatMap((path) => {
    const [version, name = "", last] = path.split("/");
    return version === "ipv4" && last === key && !NO_INTERFACES.includes(name) ? [name] : [];
  });
}

function listNames(names: readonly string[]): string {
  const more = names.length - NAMES_MAX;
  const text = names.slice(0, NAMES_MAX).join(", ");
  return more > 0 ? `${text} and ${more} more` : text;
}

/**
 * What a check has found, one line each, and how findings are told to people and to machines.
 *
 * A finding says what is and, where that is not well, what to do about it. What comes from outside
 * (names of processes and interfaces, words of nft) stands in it as it came: it is escaped here, where
 * a line is made of it, so that no line can be forged. Nothing is printed here.
 *
 * @module
 */

/** How well it is, best first. */
export const LEVELS = ["ok", "warning", "error"] as const;
/** A level of `LEVELS`. */
export type Level = typeof LEVELS[number];

/** What was looked at; machines tell findings apart by it, so a name stays what it is. */
export type Subject =
  | "permissions"
  | "nft"
  | "engine"
  | "table"
  | "rules"
  | "domains"
  | "firewall"
  | "forwarding"
  | "rp_filter"
  | "overlap"
  | "prefix"
  | "port"
  | "listener"
  | "upstream"
  | "name";

/** What `dotp check` can be asked to look at by itself, in the order in which it is told. */
export const TOPICS = [
  "nft",
  "engine",
  "domains",
  "prefixes",
  "forwarding",
  "port",
  "upstream",
] as const;
/** A topic of `TOPICS`. */
export type Topic = typeof TOPICS[number];

/** The topic of each subject; without permissions nothing can be looked at, so they belong to all. */
const TOPIC_OF: Readonly<Record<Subject, Topic | undefined>> = {
  permissions: undefined,
  nft: "nft",
  engine: "engine",
  table: "nft",
  rules: "nft",
  domains: "domains",
  firewall: "nft",
  prefix: "prefixes",
  overlap: "prefixes",
  forwarding: "forwarding",
  rp_filter: "forwarding",
  port: "port",
  listener: "port",
  upstream: "upstream",
  name: "upstream",
};

/** Whether a finding is about one of these topics. */
export function isAbout({ subject }: Finding, topics: readonly Topic[]): boolean {
  const topic = TOPIC_OF[subject];
  return topic === undefined || topics.includes(topic);
}

/** One thing that was looked at. */
export interface Finding {
  readonly subject: Subject;
  readonly level: Level;
  readonly what: string;
  /** What would correct it; a finding that is ok has none. */
  readonly advice?: string;
  /** Whether it says only that something could not be looked at. */
  readonly isUnseen?: true;
}

/** Something that a program printed, or why that could not be had. */
export type Seen = { readonly text: string } | { readonly problem: string };

/** A finding that all is well. */
export function ok(subject: Subject, what: string): Finding {
  return { subject, level: "ok", what };
}

/** A finding that something may go wrong, or that it could not be looked at. */
export function warning(subject: Subject, what: string, advice: string): Finding {
  return { subject, level: "warning", what, advice };
}

/** A finding that something does not work. */
export function error(subject: Subject, what: string, advice: string): Finding {
  return { subject, level: "error", what, advice };
}

/** A finding that something could not be looked at. */
export function unseen(subject: Subject, what: string, problem: string): Finding {
  return { ...warning(subject, `could not look at ${what}`, problem), isUnseen: true };
}

/** The worst level among findings. */
export function worstLevel(findings: readonly Finding[]): Level {
  const worst = Math.max(0, ...findings.map(({ level }) => LEVELS.indexOf(level)));
  return LEVELS[worst] ?? "error";
}

/** What is, and what to do about it, without the level. */
export function findingToText({ what, advice }: Finding): string {
  return printable(advice === undefined ? what : `${what}: ${advice}`);
}

/** A line each: the level, what is, and what to do about it. */
export function findingsToText(findings: readonly Finding[]): string {
  const width = Math.max(...LEVELS.map((level) => level.length));
  return findings.map((finding) => `${finding.level.padEnd(width)}  ${findingToText(finding)}\n`)
    .join("");
}

/** One JSON object in one line: `{"level": worst, "findings": [{subject, level, what, advice?, isUnseen?}]}`. */
export function findingsToJson(findings: readonly Finding[]): string {
  return JSON.stringify({ level: worstLevel(findings), findings }) + "\n";
}

/** Text without anything that a terminal would act on. */
function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

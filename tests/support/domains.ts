/** Sets of names for tests, under a key that stays the same. */
import { type DomainRule, DomainSet, Rule } from "../../lib/policy/domain_set.ts";
import { nameFromText } from "../../lib/dns/name.ts";
import { KEY_LENGTH, LabelHash } from "../../lib/policy/label_hash.ts";

/** One hash for all: its tables take some milliseconds to make. */
export const LABEL_HASH = new LabelHash(Uint8Array.from({ length: KEY_LENGTH }, (_, i) => i));

/** A rule as the command line has it: `name`, `=name`, `!name`; `.` is the root. */
export function ruleOf(text: string): DomainRule {
  const rule = text.startsWith("!")
    ? Rule.EXCEPTION
    : text.startsWith("=")
    ? Rule.EXACT
    : Rule.SUBTREE;
  const name = rule === Rule.SUBTREE ? text : text.slice(1);
  return { name: name === "." ? new Uint8Array(1) : nameFromText(name), rule };
}

/** A set of rules. */
export function setOf(...rules: string[]): DomainSet {
  return new DomainSet(LABEL_HASH, rules.map(ruleOf));
}

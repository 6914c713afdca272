/**
 * A rule about names as people write it: `name`, `!name` to except it, `=name` for exactly that name,
 * `.` for the root. Names that are not ASCII become A-labels (RFC 5891 section 4), as clients ask for
 * them.
 *
 * @module
 */
import { domainToASCII } from "node:url";
import { nameFromText } from "../dns/name.ts";
import { type DomainRule, Rule } from "./domain_set.ts";

/** The root in wire format. */
const ROOT = new Uint8Array(1);

/**
 * Reads a rule.
 *
 * @throws {SyntaxError} that says why the text is none
 */
export function ruleFromText(text: string): DomainRule {
  if (text.startsWith("!")) return { name: nameOf(text.slice(1)), rule: Rule.EXCEPTION };
  if (text.startsWith("=")) return { name: nameOf(text.slice(1)), rule: Rule.EXACT };
  return { name: nameOf(text), rule: Rule.SUBTREE };
}

function nameOf(text: string): Uint8Array {
  if (text === ".") return ROOT;
  // deno-lint-ignore no-control-regex
  if (!/[^\u0000-\u007f]/.test(text)) return nameFromText(text);
  // It is made for URLs and would take away what ends a host there.
  // deno-lint-ignore no-control-regex
  const ascii = /[\u0000-\u007f]/g;
  if (text.match(ascii)?.some((character) => !/[A-Za-z0-9._-]/.test(character))) {
    throw new SyntaxError("a label may hold only letters, digits, '-' and '_'");
  }
  const name = domainToASCII(text);
  if (name === "") throw new SyntaxError("it is no internationalised name");
  return nameFromText(name);
}

/**
 * Reads rules about names from a file, a piece at a time, into a `DomainSet`.
 *
 * A line is a rule as in `domain_rule.ts`, also with `*.` or `.` before the name, a line of a hosts
 * file, of which the address is left out, or one of dnsmasq with names between slashes
 * (`server=/a.example/b.example/192.0.2.1`, where `#` is any name). What stands behind `#` after a
 * blank is a comment. A line that is none of these is kept with its number and a reason, and the
 * others count.
 *
 * A plain name is read octet by octet, without a string; anything else takes the longer way. Both take the
 * same names.
 *
 * @module
 */
import { parseAddress } from "../address.ts";
import { LABEL_LENGTH_MAX, NAME_LENGTH_MAX } from "../dns/constants.ts";
import { lowerCase } from "../dns/name.ts";
import { ruleFromText } from "./domain_rule.ts";
import { type DomainRule, type DomainSet, Rule } from "./domain_set.ts";

/** Octets of a line that are read; it stops a file that is no text. */
export const LINE_LENGTH_MAX = 4_096;
/** Bad lines that are kept; of the others only the number. */
export const BAD_LINES_MAX = 10;
/** Characters of a bad name that are repeated. */
const TEXT_LENGTH_MAX = 80;

const LINE_FEED = 0x0a;
const HASH = 0x23;
const EXCLAMATION_MARK = 0x21;
const EQUALS_SIGN = 0x3d;
const ASTERISK = 0x2a;
const FULL_STOP = 0x2e;
const HYPHEN = 0x2d;

/** Octets that a label may hold. */
const IS_INNER = Uint8Array.from({ length: 256 }, (_, octet) => {
  return /[A-Za-z0-9_-]/.test(String.fromCharCode(octet)) ? 1 : 0;
});

/** A line that is no rule. */
export interface BadLine {
  /** Counted from 1. */
  readonly line: number;
  readonly why: string;
}

/** Reads one file. */
export class DomainFile {
  /** The first bad lines. */
  readonly bad: BadLine[] = [];
  /** How many there are. */
  badCount = 0;
  /** Whether the set took no more: what follows is not read. */
  isFull = false;
  readonly #set: DomainSet;
  #line = 0;
  /** A line that has begun in an earlier piece; one that is too long is counted to the end. */
  readonly #begun = new Uint8Array(LINE_LENGTH_MAX);
  #begunLength = 0;
  readonly #name = new DataView(new ArrayBuffer(NAME_LENGTH_MAX));
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  constructor(set: DomainSet) {
    this.#set = set;
  }

  /** Reads the next piece of the file. */
  push(octets: Uint8Array): void {
    let start = 0;
    for (
      let end = octets.indexOf(LINE_FEED);
      end >= 0 && !this.isFull;
      end = octets.indexOf(LINE_FEED, start)
    ) {
      if (this.#begunLength === 0 && end - start <= LINE_LENGTH_MAX) {
        this.#line++;
        this.#readLine(octets, start, end);
      } else {
        this.#begin(octets, start, end);
        this.end();
      }
      start = end + 1;
    }
    this.#begin(octets, start, octets.length);
  }

  /** Reads what is left: the last line need not end. */
  end(): void {
    if (this.#begunLength === 0) return;
    this.#line++;
    if (this.#begunLength <= LINE_LENGTH_MAX) this.#readLine(this.#begun, 0, this.#begunLength);
    else this.#complain(`it is longer than ${LINE_LENGTH_MAX} octets`);
    this.#begunLength = 0;
  }

  #begin(octets: Uint8Array, start: number, end: number): void {
    const room = this.#begun.length - this.#begunLength;
    if (room > 0) {
      this.#begun.set(octets.subarray(start, Math.min(end, start + room)), this.#begunLength);
    }
    this.#begunLength += end - start;
  }

  #readLine(octets: Uint8Array, lineStart: number, lineEnd: number): void {
    let start = lineStart;
    let end = lineEnd;
    while (start < end && isBlank(octets[start]!)) start++;
    while (start < end && isBlank(octets[end - 1]!)) end--;
    if (start === end || octets[start] === HASH) return;
    const mark = octets[start];
    const rule = mark === EXCLAMATION_MARK
      ? Rule.EXCEPTION
      : mark === EQUALS_SIGN
      ? Rule.EXACT
      : Rule.SUBTREE;
    let at = rule === Rule.SUBTREE ? start : start + 1;
    if (octets[at] === ASTERISK && octets[at + 1] === FULL_STOP) at += 2;
    else if (octets[at] === FULL_STOP && at + 1 < end) at++;
    if (this.#readName(octets, at, end)) this.#add(this.#name, rule);
    else this.#readText(octets.subarray(start, end));
  }

  /** Writes a name in wire format into `#name`; false where it is no plain one. */
  #readName(octets: Uint8Array, start: number, end: number): boolean {
    // A dot at the end is the root's.
    const last = octets[end - 1] === FULL_STOP ? end - 1 : end;
    if (last <= start || last - start > NAME_LENGTH_MAX - 2) return false;
    const name = this.#name;
    let label = 0;
    for (let i = start; i <= last; i++) {
      const octet = i < last ? octets[i]! : FULL_STOP;
      const at = i - start + 1;
      if (octet !== FULL_STOP) {
        if (IS_INNER[octet] === 0) return false;
        name.setUint8(at, lowerCase(octet));
        continue;
      }
      const length = at - label - 1;
      if (length === 0 || length > LABEL_LENGTH_MAX) return false;
      if (name.getUint8(label + 1) === HYPHEN || name.getUint8(at - 1) === HYPHEN) return false;
      name.setUint8(label, length);
      label = at;
    }
    name.setUint8(label, 0);
    return true;
  }

  #readText(line: Uint8Array): void {
    let rules: DomainRule[];
    try {
      rules = rulesFromLine(this.#decoder.decode(line));
    } catch (error) {
      // A decoder throws a TypeError for what is not UTF-8.
      this.#complain(error instanceof SyntaxError ? error.message : "it is not UTF-8");
      return;
    }
    for (const { name, rule } of rules) {
      this.#add(new DataView(name.buffer, name.byteOffset, name.byteLength), rule);
    }
  }

  #add(name: DataView, rule: Rule): void {
    if (!this.#set.add(name, 0, rule)) this.isFull = true;
  }

  #complain(why: string): void {
    this.badCount++;
    if (this.bad.length < BAD_LINES_MAX) this.bad.push({ line: this.#line, why });
  }
}

/**
 * The rules of a line in any of the forms; none of a comment.
 *
 * @throws {SyntaxError} that says why it is none
 */
export function rulesFromLine(line: string): DomainRule[] {
  const [first = "", ...more] = line.replace(/(^|\s)#.*$/s, "").trim().split(/\s+/);
  if (first === "") return [];
  if (more.length > 0) {
    if (isAddress(first)) return more.map(rule);
    throw new SyntaxError("there is more than one name, and no address before them");
  }
  const [, names] = /^[\w-]*=?\/(.*)\//s.exec(first) ?? [];
  if (names === undefined) return [rule(first)];
  return names.split("/").map((name) => rule(name === "#" ? "." : name));
}

function rule(text: string): DomainRule {
  const [, mark = "", name = ""] = /^([!=]?)(?:\*?\.(?=[^.]))?(.*)$/s.exec(text) ?? [];
  try {
    return ruleFromText(mark + name);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new SyntaxError(
      `${JSON.stringify(text.slice(0, TEXT_LENGTH_MAX))} is not a domain name, ${error.message}`,
    );
  }
}

/** Whether an octet is a space, or one of what a tab, a line's end and a form feed are. */
function isBlank(octet: number): boolean {
  return octet === 0x20 || (octet >= 0x09 && octet <= 0x0d);
}

/** Whether a hosts line may begin with it; an IPv6 address may name an interface. */
function isAddress(text: string): boolean {
  try {
    parseAddress(text.replace(/%.*$/s, ""));
    return true;
  } catch {
    return false;
  }
}

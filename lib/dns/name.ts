/**
 * Names where they lie: in wire format, compressed or not, inside a message (RFC 1035 section 4.1.4).
 *
 * Functions take a view, the end of what may be read and an offset; nothing is decoded or copied.
 * `skipName` steps over a name without following it. `LabelWalk` follows one and leaves the offsets
 * of its labels. A compression pointer must point before the run of labels that it ends, so the
 * readable window shrinks with every jump and a loop cannot be expressed; the steps of one message
 * share one budget, so many short names that point at one long name cost no more than a few.
 * Case is ignored for ASCII letters only (RFC 4343 section 3).
 *
 * @module
 */
import {
  LABEL_LENGTH_MAX,
  LABEL_TYPE_MASK,
  LABEL_TYPE_POINTER,
  NAME_LABELS_MAX,
  NAME_LENGTH_MAX,
  Offset,
  POINTER_LENGTH,
  POINTER_OFFSET_MASK,
} from "./constants.ts";

/** What the name functions return for a name that is none. */
export const INVALID = -1;

/**
 * Labels and pointers that are followed in one message, over all its names. A message of 64 KiB
 * that names a record in full each time has fewer; it stops one that is all pointers to one name.
 */
export const STEPS_PER_MESSAGE_MAX = 65_536;

/**
 * The offset behind the name at `offset`, or `INVALID`. A pointer is checked to point backwards and
 * ends the name; what it points at is not looked at.
 */
export function skipName(view: DataView, end: number, offset: number): number {
  let position = offset;
  while (position < end) {
    const length = view.getUint8(position);
    if (length === 0) return position + 1;
    if (length <= LABEL_LENGTH_MAX) {
      position += 1 + length;
      if (position - offset >= NAME_LENGTH_MAX) return INVALID;
      continue;
    }
    if ((length & LABEL_TYPE_MASK) !== LABEL_TYPE_POINTER) return INVALID;
    if (position + POINTER_LENGTH > end) return INVALID;
    const target = view.getUint16(position) & POINTER_OFFSET_MASK;
    if (target < Offset.QUESTION || target >= offset) return INVALID;
    return position + POINTER_LENGTH;
  }
  return INVALID;
}

/** Follows names of one message and keeps the offsets of the labels of the last one. */
export class LabelWalk {
  /** Offsets of the labels' length octets, leftmost first; `count` of them are meant. */
  readonly offsets: Int32Array = new Int32Array(NAME_LABELS_MAX);
  /** How many labels the last name had; the root is none. */
  count = 0;
  #stepsLeft = STEPS_PER_MESSAGE_MAX;

  /** Gives the next message its own budget of steps. */
  reset(): void {
    this.#stepsLeft = STEPS_PER_MESSAGE_MAX;
  }

  /** Follows the name at `offset` to its root; false where it is invalid or the budget is spent. */
  follow(view: DataView, end: number, offset: number): boolean {
    this.count = 0;
    let window = end;
    let runStart = offset;
    let position = offset;
    let octets = 1;
    while (position < window) {
      if (this.#stepsLeft-- <= 0) return false;
      const length = view.getUint8(position);
      if (length === 0) return true;
      if (length <= LABEL_LENGTH_MAX) {
        octets += 1 + length;
        if (octets > NAME_LENGTH_MAX || position + 1 + length > window) return false;
        this.offsets[this.count++] = position;
        position += 1 + length;
        continue;
      }
      if ((length & LABEL_TYPE_MASK) !== LABEL_TYPE_POINTER) return false;
      if (position + POINTER_LENGTH > window) return false;
      const target = view.getUint16(position) & POINTER_OFFSET_MASK;
      if (target < Offset.QUESTION || target >= runStart) return false;
      // The name that is pointed at ended before this one began.
      window = runStart;
      runStart = target;
      position = target;
    }
    return false;
  }
}

/** Whether the last names of two walks over the same view are equal, case ignored. */
export function sameName(view: DataView, a: LabelWalk, b: LabelWalk): boolean {
  if (a.count !== b.count) return false;
  for (let i = 0; i < a.count; i++) {
    const left = a.offsets[i]!;
    const right = b.offsets[i]!;
    if (left === right) continue;
    const length = view.getUint8(left);
    if (!sameOctets(view, left, view, right, 1 + length)) return false;
  }
  return true;
}

/**
 * Whether `length` octets are equal but for the case of ASCII letters. Length octets may be among
 * them: none is as large as a letter.
 */
export function sameOctets(
  a: DataView,
  aOffset: number,
  b: DataView,
  bOffset: number,
  length: number,
): boolean {
  for (let i = 0; i < length; i++) {
    const left = a.getUint8(aOffset + i);
    const right = b.getUint8(bOffset + i);
    if (left !== right && lowerCase(left) !== lowerCase(right)) return false;
  }
  return true;
}

/** An octet with A to Z made small (RFC 4343 section 3). */
export function lowerCase(octet: number): number {
  return octet >= 0x41 && octet <= 0x5a ? octet | 0x20 : octet;
}

/** The last name of a walk as a text that equals another's where the names do, case ignored. */
export function nameKey(view: DataView, walk: LabelWalk): string {
  const octets = [];
  for (let i = 0; i < walk.count; i++) {
    const start = walk.offsets[i]!;
    const end = start + 1 + view.getUint8(start);
    for (let at = start; at < end; at++) octets.push(lowerCase(view.getUint8(at)));
  }
  return String.fromCharCode(...octets);
}

/**
 * The name at `offset` in presentation format, for the log: what is not a letter, a digit, `-` or `_`
 * stands as `\DDD` (RFC 1035 section 5.1), so that no line can be forged.
 */
export function nameToText(view: DataView, end: number, offset: number): string {
  const walk = new LabelWalk();
  if (!walk.follow(view, end, offset)) return "(invalid)";
  let text = "";
  for (let i = 0; i < walk.count; i++) {
    const start = walk.offsets[i]! + 1;
    const length = view.getUint8(start - 1);
    for (let j = start; j < start + length; j++) text += octetToText(view.getUint8(j));
    text += ".";
  }
  return text === "" ? "." : text;
}

function octetToText(octet: number): string {
  const text = String.fromCharCode(octet);
  return /[A-Za-z0-9_-]/.test(text) ? text : `\\${String(octet).padStart(3, "0")}`;
}

/**
 * A name in presentation format as wire format, lowercase, root included.
 *
 * @throws {SyntaxError} where a label is not made of letters, digits, `_` and inner `-`, or is longer than
 * 63 octets, or the name is longer than 253 characters (RFC 1035 sections 2.3.1 and 2.3.4)
 */
export function nameFromText(text: string): Uint8Array {
  const name = text.endsWith(".") ? text.slice(0, -1) : text;
  if (name === "") throw new SyntaxError("it has no label");
  if (name.length > NAME_LENGTH_MAX - 2) {
    throw new SyntaxError(`it has ${name.length} characters, at most ${NAME_LENGTH_MAX - 2} fit`);
  }
  const octets = [];
  for (const label of name.split(".")) {
    if (label === "") throw new SyntaxError("it has an empty label");
    if (label.length > LABEL_LENGTH_MAX) {
      throw new SyntaxError(`a label has ${label.length} characters, at most 63 fit`);
    }
    if (!/^[A-Za-z0-9_-]+$/.test(label)) {
      throw new SyntaxError("a label may hold only letters, digits, '-' and '_'");
    }
    if (label.startsWith("-") || label.endsWith("-")) {
      throw new SyntaxError("a label may not begin or end with '-'");
    }
    octets.push(label.length, ...new TextEncoder().encode(label.toLowerCase()));
  }
  return new Uint8Array([...octets, 0]);
}

/**
 * What must hold for any bytes at all, for the parser alone and for the whole path of a reply. A
 * target throws where something does not; what it is given it leaves as it was.
 */
import packet from "dns-packet";
import { Fixed, Flag, MESSAGE_LENGTH_PLAIN, Offset, TTL_MAX } from "../../lib/dns/constants.ts";
import { Message } from "../../lib/dns/message.ts";
import { LabelWalk, nameToText } from "../../lib/dns/name.ts";
import { fitInPlace } from "../../lib/dns/response.ts";
import { bytesOf, viewOf } from "../support/hex.ts";
import { makeRewriting, TTL_MAX as TTL_SERVED_MAX } from "../support/rewriting.ts";

/** Tries one input; throws where it shows a fault. */
export type Target = (bytes: Uint8Array) => void;

/** The targets by name. */
export const TARGETS: Readonly<Record<string, Target>> = { parser: tryParser, reply: tryReply };

const message = new Message();
const walk = new LabelWalk();
/** Fakes are never rewritten again, so mappings of earlier inputs do no harm: a full table is made anew. */
let rewriting = makeRewriting();
const MAPPINGS_BEFORE_NEW = 50_000;

/** The index lies within the message and in order; names and text of names come to an end. */
function tryParser(bytes: Uint8Array): void {
  const view = viewOf(bytes);
  message.index(view, bytes.length);
  walk.reset();
  let end = message.questionEnd;
  for (let i = 0; i < message.count; i++) {
    const owner = message.ownerOffset(i);
    if (owner !== end) throw new Error(`record ${i} starts at ${owner}, not ${end}`);
    end = message.recordEnd(i);
    if (end > bytes.length) throw new Error(`record ${i} ends at ${end} of ${bytes.length}`);
    walk.follow(view, bytes.length, owner);
    if (!/^[ -~]*$/.test(nameToText(view, bytes.length, owner))) throw new Error("unprintable");
  }
  if (!same(bytes, bytesOf(view))) throw new Error("reading has changed the message");
}

/** A reply is rewritten whole or not at all and takes fakes only then, only where it may be, and cut. */
function tryReply(bytes: Uint8Array): void {
  const { tables } = rewriting.nat;
  if (tables[4].size + tables[6].size > MAPPINGS_BEFORE_NEW) rewriting = makeRewriting();
  const { log } = rewriting.nat;
  const { revision } = log;
  const { outcome, bytes: after } = rewriting.rewrite(bytes);
  if (outcome !== "rewritten") {
    if (!same(bytes, after)) throw new Error(`changed, although ${outcome}`);
    if (log.revision !== revision) throw new Error(`a fake was taken, although ${outcome}`);
  } else {
    checkChanges(bytes, after);
    const again = rewriting.rewrite(after);
    // A name that runs through an address or a TTL reads otherwise afterwards. No server makes such a
    // message, and whoever does could have said at once what it says then.
    const isStable = names(viewOf(bytes)) === names(viewOf(after));
    if (isStable && (again.outcome !== "passed" || !same(after, again.bytes))) {
      throw new Error("rewritten a second time");
    }
    if (decodes(bytes) && !decodes(after)) {
      throw new Error("another reader cannot read it any more");
    }
  }
  for (const hasOpt of [false, true]) checkFit(after, hasOpt);
}

/** Octets before the name in the RDATA of types that lead to another name. */
const LEADING: Readonly<Record<number, number>> = { 2: 0, 5: 0, 15: 2, 33: 6, 64: 2, 65: 2 };

/** The owner names of a message and those that its records lead to, in presentation format. */
function names(view: DataView): string {
  message.index(view, view.byteLength);
  const names = Array.from({ length: message.count }, (_, i) => {
    const before = LEADING[message.type(i)];
    const owner = nameToText(view, view.byteLength, message.ownerOffset(i));
    if (before === undefined) return owner;
    return `${owner} ${nameToText(view, message.recordEnd(i), message.rdataOffset(i) + before)}`;
  });
  return names.join(" ");
}

/** Only A, AAAA and SVCB RDATA, TTLs and AD may differ; TTLs only become smaller. */
function checkChanges(before: Uint8Array, after: Uint8Array): void {
  if (before.length !== after.length) throw new Error("the length has changed");
  const view = viewOf(before);
  const later = viewOf(after);
  if (!message.index(view, before.length)) throw new Error("rewritten, although damaged");
  const mayDiffer = new Set([Offset.FLAGS + 1]);
  for (let i = 0; i < message.count; i++) {
    if (![1, 28, 64, 65].includes(message.type(i))) continue;
    const ttlAt = message.rdataOffset(i) - Fixed.RDATA + Fixed.TTL;
    const ttl = view.getUint32(ttlAt);
    const expected = [ttl, ttl > TTL_MAX ? 0 : Math.min(ttl, TTL_SERVED_MAX)];
    if (!expected.includes(later.getUint32(ttlAt))) throw new Error(`TTL of record ${i}`);
    for (let at = ttlAt; at < ttlAt + 4; at++) mayDiffer.add(at);
    for (let at = message.rdataOffset(i); at < message.recordEnd(i); at++) mayDiffer.add(at);
  }
  for (const [at, octet] of after.entries()) {
    if (octet !== before[at] && !mayDiffer.has(at)) throw new Error(`octet ${at} has changed`);
  }
  if ((later.getUint16(Offset.FLAGS) | Flag.AD) !== (view.getUint16(Offset.FLAGS) | Flag.AD)) {
    throw new Error("a flag other than AD has changed");
  }
}

/** What is too long becomes short enough and whole, and says so where records are missing. */
function checkFit(bytes: Uint8Array, hasOpt: boolean): void {
  const view = viewOf(bytes);
  const isWhole = message.index(view, bytes.length);
  // Without a question that can be read a message answers no query and gets no further.
  if (message.questionEnd <= 0) return;
  const before = message.count;
  const isExtra = !hasOpt && before > 0 && message.findOpt() === before - 1;
  const length = fitInPlace(message, isWhole, hasOpt, MESSAGE_LENGTH_PLAIN);
  if (length > MESSAGE_LENGTH_PLAIN) throw new Error(`${length} octets are left`);
  if (!isWhole && length === bytes.length) return;
  if (!message.index(view, length)) throw new Error("what is left is not whole");
  const missing = before - message.count - (isWhole && isExtra ? 1 : 0);
  if (missing > 0 && (message.flags & Flag.TC) === 0) {
    throw new Error("records are missing without TC");
  }
}

function decodes(bytes: Uint8Array): boolean {
  try {
    packet.decode(bytes as unknown as Parameters<typeof packet.decode>[0]);
    return true;
  } catch {
    return false;
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}

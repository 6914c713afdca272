/**
 * The plan and the patch of one reply: real addresses of configured names become fakes.
 *
 * First everything is planned: which records belong to a configured name, by their owner or through
 * CNAMEs in whatever order they stand, and which fake each of their addresses gets. Then everything
 * is patched, same bytes, same length: addresses, TTLs, AD. So a reply is rewritten whole or not at
 * all. Rewritten are A and AAAA records of class IN, and the address hints of SVCB and HTTPS records
 * (RFC 9460 section 7.3), which a client would otherwise connect to directly.
 *
 * A `Rewriter` keeps its plan in arrays that it uses again, so it handles one reply at a time.
 *
 * @module
 */
import {
  A_LENGTH,
  AAAA_LENGTH,
  Flag,
  LABEL_TYPE_MASK,
  LABEL_TYPE_POINTER,
  Offset,
  POINTER_OFFSET_MASK,
  Rcode,
  SVCB_PRIORITY_LENGTH,
  SvcParam,
  SVCPARAM_HEADER_LENGTH,
  Type,
} from "../dns/constants.ts";
import type { ActivePolicy } from "../policy/policy.ts";
import type { Message } from "../dns/message.ts";
import { INVALID, LabelWalk, sameName, skipName } from "../dns/name.ts";
import type { Family } from "../address.ts";
import type { Mappings } from "../nat/mappings.ts";
import { FULL } from "../nat/table.ts";

/** What became of a reply. */
export type Outcome =
  /** Nothing in it is for us; no byte was changed. */
  | "passed"
  /** Patched; `revisions` says what to wait for. */
  | "rewritten"
  /** It concerns a configured name and is damaged; no byte was changed. */
  | "malformed"
  /** The pool has no fake for one of its addresses; no byte was changed. */
  | "full";

/** Comparisons of names along CNAMEs in one reply; it stops one that is all CNAMEs. */
export const CHAIN_COMPARISONS_MAX = 4_096;

/** Rewrites replies. */
export class Rewriter {
  /** Revisions that the kernel must have before the last rewritten reply is sent. */
  readonly revisions: number[] = [];
  /** The highest of them. */
  revision = 0;

  readonly #policy: ActivePolicy;
  readonly #mappings: Mappings;
  readonly #ttlMax: number;
  readonly #owner = new LabelWalk();
  readonly #target = new LabelWalk();
  /** Records of a configured name, in the order in which they were found. */
  readonly #matched: number[] = [];
  readonly #unmatched: number[] = [];
  /** Whether an owner could not be followed, or the steps for it were spent. */
  #isDamaged = false;
  /** Addresses to patch: offset, slot, and which table. */
  readonly #offsets: number[] = [];
  readonly #slots: number[] = [];
  readonly #families: Family[] = [];
  /** Records whose TTL is to be lowered. */
  readonly #capped: number[] = [];

  /**
   * @param ttlMax seconds that a client may keep a rewritten record
   */
  constructor(
    policy: ActivePolicy,
    mappings: Mappings,
    ttlMax: number,
  ) {
    this.#policy = policy;
    this.#mappings = mappings;
    this.#ttlMax = ttlMax;
  }

  /**
   * Rewrites an indexed reply where it lies.
   *
   * @param whole whether `index()` took it to its end
   */
  rewrite(reply: Message, whole: boolean, nowMs: number): Outcome {
    if (reply.rcode !== Rcode.NOERROR) return "passed";
    if (!this.#match(reply)) return "malformed";
    const isSound = whole && !this.#isDamaged;
    if (this.#matched.length === 0 && (isSound || !this.#asksForOurs(reply))) return "passed";
    if (!isSound) return "malformed";
    const planned = this.#plan(reply, nowMs);
    if (planned !== "rewritten") return planned;
    this.#patch(reply);
    return "rewritten";
  }

  /** Begins the lifetime of mappings anew, as their reply leaves only now. */
  prolong(revisions: readonly number[], nowMs: number): void {
    for (const revision of revisions) this.#mappings.prolong(revision, nowMs);
  }

  /** Finds the records of configured names; false where a chain of ours cannot be followed. */
  #match(reply: Message): boolean {
    const { view, length } = reply;
    this.#matched.length = 0;
    this.#unmatched.length = 0;
    this.#isDamaged = false;
    this.#owner.reset();
    this.#target.reset();
    const { domains } = this.#policy.current;
    let hasChain = false;
    let lastStart = INVALID;
    let lastCovered = false;
    for (let i = 0; i < reply.count; i++) {
      if (!isOfInterest(reply, i)) continue;
      const start = startOf(reply, i);
      if (start !== lastStart) {
        lastStart = start;
        // From the owner itself: a pointer's target must end before the pointer.
        const isName = this.#owner.follow(view, length, reply.ownerOffset(i));
        this.#isDamaged ||= !isName;
        lastCovered = isName && domains.covers(view, this.#owner);
      }
      (lastCovered ? this.#matched : this.#unmatched).push(i);
      hasChain ||= lastCovered && reply.type(i) === Type.CNAME;
    }
    return !hasChain || this.#unmatched.length === 0 || this.#followChains(reply);
  }

  /** Moves the owners that matched CNAMEs lead to over to the matched. */
  #followChains(reply: Message): boolean {
    const { view, length } = reply;
    let comparisons = 0;
    // The list grows while it is walked: a target may be the owner of the next CNAME.
    for (let m = 0; m < this.#matched.length; m++) {
      const alias = this.#matched[m]!;
      if (reply.type(alias) !== Type.CNAME) continue;
      if (!this.#target.follow(view, length, reply.rdataOffset(alias))) return false;
      let kept = 0;
      for (const i of this.#unmatched) {
        if (++comparisons > CHAIN_COMPARISONS_MAX) return false;
        if (!this.#owner.follow(view, length, reply.ownerOffset(i))) return false;
        const leadsHere = sameName(view, this.#owner, this.#target);
        if (leadsHere) this.#matched.push(i);
        else this.#unmatched[kept++] = i;
      }
      this.#unmatched.length = kept;
    }
    return true;
  }

  #asksForOurs(reply: Message): boolean {
    this.#owner.reset();
    return reply.questionEnd > 0 &&
      this.#owner.follow(reply.view, reply.length, Offset.QUESTION) &&
      this.#policy.current.domains.covers(reply.view, this.#owner);
  }

  #plan(reply: Message, nowMs: number): Outcome {
    this.#offsets.length =
      this.#slots.length =
      this.#families.length =
      this.#capped.length =
        0;
    this.revisions.length = 0;
    this.revision = 0;
    for (const i of this.#matched) {
      const before = this.#offsets.length;
      const type = reply.type(i);
      const outcome = type === Type.A || type === Type.AAAA
        ? this.#planAddress(reply, reply.rdataOffset(i), type === Type.A ? 4 : 6, nowMs)
        : type === Type.CNAME
        ? "rewritten"
        : this.#planHints(reply, i, nowMs);
      if (outcome !== "rewritten") return outcome;
      if (this.#offsets.length > before) this.#capped.push(i);
    }
    return this.#offsets.length === 0 ? "passed" : "rewritten";
  }

  #planAddress(reply: Message, offset: number, family: Family, nowMs: number): Outcome {
    const table = this.#mappings.of(family);
    if (isNeverMapped(reply.view, offset, family) || table.holdsFake(reply.view, offset)) {
      return "rewritten";
    }
    const slot = table.obtain(reply.view, offset, nowMs);
    if (slot === FULL) return "full";
    this.#offsets.push(offset);
    this.#slots.push(slot);
    this.#families.push(family);
    const revision = table.revision(slot);
    this.revisions.push(revision);
    this.revision = Math.max(this.revision, revision);
    return "rewritten";
  }

  /** Plans each address in the hints of an SVCB or HTTPS record (RFC 9460 section 7.3). */
  #planHints(reply: Message, i: number, nowMs: number): Outcome {
    const { view } = reply;
    const end = reply.recordEnd(i);
    // The target name is not compressed, but a proxy need not insist.
    let position = skipName(view, end, reply.rdataOffset(i) + SVCB_PRIORITY_LENGTH);
    if (position === INVALID) return "malformed";
    while (position < end) {
      if (position + SVCPARAM_HEADER_LENGTH > end) return "malformed";
      const key = view.getUint16(position);
      const value = position + SVCPARAM_HEADER_LENGTH;
      position = value + view.getUint16(position + 2);
      if (position > end) return "malformed";
      if (key !== SvcParam.IPV4HINT && key !== SvcParam.IPV6HINT) continue;
      const family = key === SvcParam.IPV4HINT ? 4 : 6;
      const step = family === 4 ? A_LENGTH : AAAA_LENGTH;
      if ((position - value) % step !== 0) return "malformed";
      for (let at = value; at < position; at += step) {
        const outcome = this.#planAddress(reply, at, family, nowMs);
        if (outcome !== "rewritten") return outcome;
      }
    }
    return "rewritten";
  }

  #patch(reply: Message): void {
    for (let n = 0; n < this.#offsets.length; n++) {
      const table = this.#mappings.of(this.#families[n]!);
      table.writeFake(this.#slots[n]!, reply.view, this.#offsets[n]!);
    }
    for (const i of this.#capped) reply.capTtl(i, this.#ttlMax);
    // What was changed is no longer what a validator upstream vouched for (RFC 4035 section 3.2.3).
    reply.clearFlags(Flag.AD);
  }
}

/** Whether a record can hold an address of ours or lead to one. */
function isOfInterest(reply: Message, i: number): boolean {
  switch (reply.type(i)) {
    case Type.A:
      return reply.rdataLength(i) === A_LENGTH && reply.isInternet(i);
    case Type.AAAA:
      return reply.rdataLength(i) === AAAA_LENGTH && reply.isInternet(i);
    case Type.CNAME:
    case Type.SVCB:
    case Type.HTTPS:
      return reply.isInternet(i);
    default:
      return false;
  }
}

/** Where an owner name really starts; most are nothing but a pointer to the question. */
function startOf(reply: Message, i: number): number {
  const offset = reply.ownerOffset(i);
  const isPointer = (reply.view.getUint8(offset) & LABEL_TYPE_MASK) === LABEL_TYPE_POINTER;
  return isPointer ? reply.view.getUint16(offset) & POINTER_OFFSET_MASK : offset;
}

/**
 * Whether an address can be nobody's real one: unspecified, loopback, multicast, limited broadcast
 * (RFC 6890 section 2.2), or an IPv4 address in IPv6 clothes (RFC 4291 section 2.5.5.2).
 */
function isNeverMapped(view: DataView, offset: number, family: Family): boolean {
  const first = view.getUint32(offset);
  if (family === 4) {
    const octet = first >>> 24;
    return first === 0 || octet === 127 || (octet & 0xf0) === 224 || first === 0xffffffff;
  }
  if (first >>> 24 === 0xff) return true;
  if (first !== 0 || view.getUint32(offset + 4) !== 0) return false;
  const third = view.getUint32(offset + 8);
  return third === 0xffff || (third === 0 && view.getUint32(offset + 12) <= 1);
}

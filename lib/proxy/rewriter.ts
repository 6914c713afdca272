/**
 * The plan and the patch of one reply: real addresses of configured names become fakes.
 *
 * First everything is collected and validated: which records belong to a configured name, by their
 * owner or as one of its records leads there, in whatever order they stand, and which addresses are in
 * them. CNAME, SVCB and HTTPS records lead to their targets, and so do SRV, MX and NS records that are
 * answers. Then all of
 * these get fakes, or none. Then everything is patched, same bytes, same length: addresses, TTLs, AD.
 * So a reply is rewritten whole or not at all, and one that is not has taken no fake. Rewritten are A
 * and AAAA records of class IN, and the address hints of SVCB and HTTPS records (RFC 9460 section 7.3),
 * which a client would otherwise connect to directly.
 *
 * A `Rewriter` keeps what it collects in arrays that it uses again, so it handles one reply at a time.
 *
 * @module
 */
import {
  A_LENGTH,
  AAAA_LENGTH,
  Flag,
  LABEL_TYPE_MASK,
  LABEL_TYPE_POINTER,
  MX_PREFERENCE_LENGTH,
  Offset,
  POINTER_OFFSET_MASK,
  Rcode,
  SRV_FIXED_LENGTH,
  SVCB_PRIORITY_LENGTH,
  SvcParam,
  SVCPARAM_HEADER_LENGTH,
  Type,
} from "../dns/constants.ts";
import type { ActivePolicy } from "../policy/policy.ts";
import type { Message } from "../dns/message.ts";
import { INVALID, LabelWalk, nameKey, sameName, skipName } from "../dns/name.ts";
import { type Family, kindOf } from "../address.ts";
import type { Mappings } from "../nat/mappings.ts";
import { ReplyAddresses } from "../nat/reply_addresses.ts";

/** What became of a reply. */
export type Outcome =
  /** Nothing in it is for us; no byte was changed. */
  | "passed"
  /** Patched; `revisions` says what to wait for. */
  | "rewritten"
  /** It concerns a configured name and is damaged; no byte was changed. */
  | "malformed"
  /** It has a private address of a configured name, which is not to be had; no byte was changed. */
  | "private"
  /** It has more addresses than are mapped for one reply; no byte was changed. */
  | "oversized"
  /** The pool has no fake for one of its addresses; no byte was changed. */
  | "full"
  /** What the pool has left is kept for other names and clients; no byte was changed. */
  | "share";

/** Comparisons of names with targets in one reply; it stops one that is all CNAMEs. */
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
  /** Addresses to patch. */
  readonly #addresses = new ReplyAddresses();
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
   * @param client who asked: what tells one client from another
   */
  rewrite(reply: Message, whole: boolean, client: string, nowMs: number): Outcome {
    if (reply.rcode !== Rcode.NOERROR) return "passed";
    if (!this.#match(reply)) return "malformed";
    const isSound = whole && !this.#isDamaged;
    if (this.#matched.length === 0 && (isSound || !this.#asksForOurs(reply))) return "passed";
    if (!isSound) return "malformed";
    const collected = this.#collect(reply);
    if (collected !== "rewritten") return collected;
    if (!this.#mappings.renewAll(this.#addresses, nowMs)) {
      const holder = { name: this.#nameOf(reply), client };
      const refusal = this.#mappings.mapAll(this.#addresses, holder, nowMs);
      if (refusal !== undefined) return refusal;
    }
    this.#patch(reply);
    return "rewritten";
  }

  /** Begins the lifetime of mappings anew, as their reply leaves only now. */
  prolong(revisions: readonly number[], nowMs: number): void {
    for (const revision of revisions) this.#mappings.prolong(revision, nowMs);
  }

  /** Finds the records of configured names; false if the target of one cannot be followed. */
  #match(reply: Message): boolean {
    const { view, length } = reply;
    this.#matched.length = 0;
    this.#unmatched.length = 0;
    this.#isDamaged = false;
    this.#owner.reset();
    this.#target.reset();
    const { domains } = this.#policy.current;
    let isLeading = false;
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
      isLeading ||= lastCovered && leadsOn(reply.type(i));
    }
    return !isLeading || this.#unmatched.length === 0 || this.#followTargets(reply);
  }

  /** Moves the records of owners that matched records lead to over to the matched. */
  #followTargets(reply: Message): boolean {
    const { view, length } = reply;
    let comparisons = 0;
    // The list grows while it is walked: a target may be the owner of the next one.
    for (let m = 0; m < this.#matched.length; m++) {
      const lead = this.#matched[m]!;
      const type = reply.type(lead);
      if (!leadsOn(type)) continue;
      const target = reply.rdataOffset(lead) + targetOffset(type);
      if (!this.#target.follow(view, reply.recordEnd(lead), target)) return false;
      // As a target of anything but a CNAME, the root is the owner itself or nothing.
      if (this.#target.count === 0 && type !== Type.CNAME) continue;
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

  /** Collects what is to be patched; nothing is known of its mappings yet. */
  #collect(reply: Message): Outcome {
    const addresses = this.#addresses;
    addresses.reset(reply.view);
    this.#capped.length = 0;
    for (const i of this.#matched) {
      const before = addresses.count;
      const outcome = this.#collectRecord(reply, i);
      if (outcome !== "rewritten") return outcome;
      if (addresses.count > before) this.#capped.push(i);
    }
    return addresses.count === 0 ? "passed" : "rewritten";
  }

  #collectRecord(reply: Message, i: number): Outcome {
    switch (reply.type(i)) {
      case Type.A:
        if (reply.rdataLength(i) !== A_LENGTH) return "malformed";
        return this.#collectAddress(reply, reply.rdataOffset(i), 4);
      case Type.AAAA:
        if (reply.rdataLength(i) !== AAAA_LENGTH) return "malformed";
        return this.#collectAddress(reply, reply.rdataOffset(i), 6);
      case Type.SVCB:
      case Type.HTTPS:
        return this.#collectHints(reply, i);
      default:
        return "rewritten";
    }
  }

  #collectAddress({ view }: Message, offset: number, family: Family): Outcome {
    const kind = kindOf(view, offset, family);
    if (kind === "unmappable" || this.#mappings.of(family).holdsFake(view, offset)) {
      return "rewritten";
    }
    const { privateReals = "map" } = this.#policy.current;
    if (kind === "private" && privateReals !== "map") {
      return privateReals === "pass" ? "rewritten" : "private";
    }
    return this.#addresses.add(offset, family) ? "rewritten" : "oversized";
  }

  /** Collects each address in the hints of an SVCB or HTTPS record (RFC 9460 section 7.3). */
  #collectHints(reply: Message, i: number): Outcome {
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
        const outcome = this.#collectAddress(reply, at, family);
        if (outcome !== "rewritten") return outcome;
      }
    }
    return "rewritten";
  }

  /** The configured name that a reply counts for: the question's, else that of the first record. */
  #nameOf(reply: Message): string {
    this.#owner.reset();
    this.#target.reset();
    return this.#configuredName(reply, Offset.QUESTION) ??
      this.#configuredName(reply, reply.ownerOffset(this.#matched[0]!)) ?? "";
  }

  /** The shortest end of the name at `offset` that is configured. */
  #configuredName({ view, length }: Message, offset: number): string | undefined {
    const [name, end] = [this.#owner, this.#target];
    const { domains } = this.#policy.current;
    if (!name.follow(view, length, offset)) return undefined;
    for (let label = name.count - 1; label >= 0; label--) {
      if (!end.follow(view, length, name.offsets[label]!)) return undefined;
      if (domains.covers(view, end)) return nameKey(view, end);
    }
    return undefined;
  }

  #patch(reply: Message): void {
    const mappings = this.#mappings;
    this.revisions.length = 0;
    this.revision = 0;
    for (let n = 0; n < this.#addresses.count; n++) {
      const revision = mappings.lease(this.#addresses, n);
      this.revisions.push(revision);
      this.revision = Math.max(this.revision, revision);
    }
    mappings.writeFakes(this.#addresses);
    for (const i of this.#capped) reply.capTtl(i, this.#ttlMax);
    // What was changed is no longer what a validator upstream vouched for (RFC 4035 section 3.2.3).
    reply.clearFlags(Flag.AD);
  }
}

/** Whether a record can hold an address of ours or lead to one. */
function isOfInterest(reply: Message, i: number): boolean {
  switch (reply.type(i)) {
    case Type.A:
    case Type.AAAA:
    case Type.CNAME:
    case Type.SVCB:
    case Type.HTTPS:
      return reply.isInternet(i);
    case Type.SRV:
    case Type.MX:
    case Type.NS:
      return i < reply.answers && reply.isInternet(i);
    default:
      return false;
  }
}

/** Whether records of a type, which are of interest, lead to another name. */
function leadsOn(type: number): boolean {
  return type !== Type.A && type !== Type.AAAA;
}

/** Where that name begins in the RDATA. */
function targetOffset(type: number): number {
  switch (type) {
    case Type.SVCB:
    case Type.HTTPS:
      return SVCB_PRIORITY_LENGTH;
    case Type.SRV:
      return SRV_FIXED_LENGTH;
    case Type.MX:
      return MX_PREFERENCE_LENGTH;
    default:
      return 0;
  }
}

/** Where an owner name really starts; most are nothing but a pointer to the question. */
function startOf(reply: Message, i: number): number {
  const offset = reply.ownerOffset(i);
  const isPointer = (reply.view.getUint8(offset) & LABEL_TYPE_MASK) === LABEL_TYPE_POINTER;
  return isPointer ? reply.view.getUint16(offset) & POINTER_OFFSET_MASK : offset;
}

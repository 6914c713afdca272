/**
 * Replies that dotp makes itself, and replies of the upstream made fit for the client.
 *
 * Each function returns the octets of the reply. An error is never longer than the query it answers:
 * header, question where it could be read, and a bare OPT where the query had one (RFC 6891 section
 * 6.1.1). A reply that is truncated ends between two records and has TC set (RFC 2181 section 9).
 *
 * @module
 */
import {
  Fixed,
  Flag,
  Offset,
  OPCODE_MASK,
  OPT_FLAG_DO,
  OPT_LENGTH_MIN,
  type Rcode,
  Type,
} from "./constants.ts";
import { type Message, NO_OPT } from "./message.ts";
import type { QueryParts } from "./query.ts";

/** The UDP size that dotp itself states in an OPT of its own (RFC 6891 section 6.2.5). */
const OWN_UDP_SIZE = 1232;

/**
 * An error in answer to a query, or with NOERROR an answer without records, into `out`.
 *
 * @returns octets written
 */
export function writeError(out: DataView, query: QueryParts, rcode: Rcode): number {
  copy(out, 0, query.view, 0, query.questionEnd);
  const kept = query.view.getUint16(Offset.FLAGS) & (OPCODE_MASK | Flag.RD | Flag.CD);
  out.setUint16(Offset.FLAGS, Flag.QR | Flag.RA | kept | rcode);
  out.setUint16(Offset.QDCOUNT, query.questionEnd > Offset.QUESTION ? 1 : 0);
  out.setUint16(Offset.ANCOUNT, 0);
  out.setUint16(Offset.NSCOUNT, 0);
  out.setUint16(Offset.ARCOUNT, query.hasOpt ? 1 : 0);
  if (!query.hasOpt) return query.questionEnd;
  const fixed = query.questionEnd + 1;
  out.setUint8(query.questionEnd, 0);
  out.setUint16(fixed + Fixed.TYPE, Type.OPT);
  out.setUint16(fixed + Fixed.CLASS, OWN_UDP_SIZE);
  out.setUint32(fixed + Fixed.TTL, query.wantsDnssec ? OPT_FLAG_DO : 0);
  out.setUint16(fixed + Fixed.RDLENGTH, 0);
  return query.questionEnd + OPT_LENGTH_MIN;
}

/**
 * Makes an indexed reply fit its client, where it lies. A client that sent no OPT gets none (RFC 6891
 * section 6.1.1) where it is the last record, so that nothing has to move. What is too long loses the
 * octets behind its last record, which nobody reads, and then records.
 *
 * @param whole whether `index()` took the reply to its end
 * @param hasOpt whether the query had an OPT
 * @param limit at least the header and the question
 * @returns octets of the reply now
 */
export function fitInPlace(
  reply: Message,
  whole: boolean,
  hasOpt: boolean,
  limit: number,
): number {
  const opt = whole ? reply.findOpt() : NO_OPT;
  if (!hasOpt && opt >= 0 && opt === reply.count - 1) reply.dropLast();
  if (reply.length <= limit) return reply.length;
  if (whole && reply.end <= limit) return reply.end;
  return truncate(reply, whole ? reply.count : 0, opt, hasOpt, limit);
}

/**
 * Keeps as many of the first `count` records as fit, and the OPT for who sent one. It is moved up
 * behind the last record that stays: it must be in the reply and, its owner being the root, it may lie
 * anywhere.
 */
function truncate(
  reply: Message,
  count: number,
  opt: number,
  hasOpt: boolean,
  limit: number,
): number {
  const { view, answers, authorities } = reply;
  const wantsOpt = hasOpt && opt >= 0;
  const optLength = wantsOpt ? reply.recordEnd(opt) - reply.ownerOffset(opt) : 0;
  const keepsOpt = wantsOpt && reply.questionEnd + optLength <= limit;
  const room = limit - (keepsOpt ? optLength : 0);
  let end = reply.questionEnd;
  let kept = 0;
  while (kept < count && kept !== opt && reply.recordEnd(kept) <= room) {
    end = reply.recordEnd(kept++);
  }
  if (keepsOpt) copy(view, end, view, reply.ownerOffset(opt), optLength);
  const keptAnswers = Math.min(kept, answers);
  const keptAuthorities = Math.min(kept - keptAnswers, authorities);
  const keptAdditionals = kept - keptAnswers - keptAuthorities;
  view.setUint16(Offset.FLAGS, reply.flags | Flag.TC);
  view.setUint16(Offset.ANCOUNT, keptAnswers);
  view.setUint16(Offset.NSCOUNT, keptAuthorities);
  view.setUint16(Offset.ARCOUNT, keptAdditionals + (keepsOpt ? 1 : 0));
  return end + (keepsOpt ? optLength : 0);
}

function copy(to: DataView, at: number, from: DataView, offset: number, length: number): void {
  new Uint8Array(to.buffer, to.byteOffset + at, length).set(
    new Uint8Array(from.buffer, from.byteOffset + offset, length),
  );
}

/**
 * Replies that dotp makes itself, from the query or from a reply that is too long: errors and cuts.
 *
 * Each function writes into `out` and returns the octets written. An error is never longer than the
 * query it answers: header, question where it could be read, and a bare OPT where the query had one
 * (RFC 6891 section 6.1.1). A cut ends between two records and sets TC (RFC 2181 section 9).
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

/** The UDP size that dotp itself states in an OPT of its own (RFC 6891 section 6.2.5). */
const OWN_UDP_SIZE = 1232;

/** What is kept of a query so that an error can answer it. */
export interface QueryParts {
  /** Header and, where it could be read, the question. */
  readonly view: DataView;
  /** Octets of these; `Offset.QUESTION` without a question. */
  readonly length: number;
  /** Whether the query had an OPT. */
  readonly hasOpt: boolean;
  /** Whether that OPT had DO set. */
  readonly wantsDnssec: boolean;
}

/**
 * An error in answer to a query, into `out`.
 *
 * @returns octets written
 */
export function writeError(out: DataView, query: QueryParts, rcode: Rcode): number {
  copy(out, 0, query.view, 0, query.length);
  const kept = query.view.getUint16(Offset.FLAGS) & (OPCODE_MASK | Flag.RD | Flag.CD);
  out.setUint16(Offset.FLAGS, Flag.QR | Flag.RA | kept | rcode);
  out.setUint16(Offset.QDCOUNT, query.length > Offset.QUESTION ? 1 : 0);
  out.setUint16(Offset.ANCOUNT, 0);
  out.setUint16(Offset.NSCOUNT, 0);
  out.setUint16(Offset.ARCOUNT, query.hasOpt ? 1 : 0);
  if (!query.hasOpt) return query.length;
  const fixed = query.length + 1;
  out.setUint8(query.length, 0);
  out.setUint16(fixed + Fixed.TYPE, Type.OPT);
  out.setUint16(fixed + Fixed.CLASS, OWN_UDP_SIZE);
  out.setUint32(fixed + Fixed.TTL, query.wantsDnssec ? OPT_FLAG_DO : 0);
  out.setUint16(fixed + Fixed.RDLENGTH, 0);
  return query.length + OPT_LENGTH_MIN;
}

/**
 * Cuts an indexed reply, where it lies, to at most `limit` octets. Its OPT is moved up behind the
 * last record that stays, since it must be in a reply to a query that had one and, its owner being
 * the root, it may lie anywhere. A reply that was not indexed to its end loses all its records.
 *
 * @param whole whether `index()` took the reply to its end
 * @param limit at least the header and the question
 * @returns octets of the reply now
 */
export function cutInPlace(reply: Message, whole: boolean, limit: number): number {
  const { view } = reply;
  const opt = whole ? reply.findOpt() : NO_OPT;
  const optLength = opt < 0 ? 0 : reply.recordEnd(opt) - reply.ownerOffset(opt);
  const keepsOpt = opt >= 0 && reply.questionEnd + optLength <= limit;
  const room = limit - (keepsOpt ? optLength : 0);
  const counts = [reply.answers, reply.authorities, reply.additionals];
  let end = reply.questionEnd;
  let kept = 0;
  while (whole && kept < reply.count && kept !== opt && reply.recordEnd(kept) <= room) {
    end = reply.recordEnd(kept++);
  }
  if (keepsOpt) copy(view, end, view, reply.ownerOffset(opt), optLength);
  const answers = Math.min(kept, counts[0]!);
  const authorities = Math.min(kept - answers, counts[1]!);
  const additionals = kept - answers - authorities;
  view.setUint16(Offset.FLAGS, reply.flags | Flag.TC);
  view.setUint16(Offset.ANCOUNT, answers);
  view.setUint16(Offset.NSCOUNT, authorities);
  view.setUint16(Offset.ARCOUNT, additionals + (keepsOpt ? 1 : 0));
  return end + (keepsOpt ? optLength : 0);
}

function copy(to: DataView, at: number, from: DataView, offset: number, length: number): void {
  new Uint8Array(to.buffer, to.byteOffset + at, length).set(
    new Uint8Array(from.buffer, from.byteOffset + offset, length),
  );
}

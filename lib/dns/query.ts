/**
 * Queries: what must be known of one to answer it, and which message is an answer to it.
 *
 * Nothing is copied: offsets count from the start of the buffer that holds the query. Where a query
 * came from, and where a message that might answer it came from, is for the caller to know.
 *
 * @module
 */
import {
  Flag,
  MESSAGE_LENGTH_PLAIN,
  Offset,
  OPCODE_MASK,
  OPT_FLAG_DO,
  QUESTION_FIXED_LENGTH,
} from "./constants.ts";
import { MANY_OPT, type Message, NO_OPT } from "./message.ts";
import { sameOctets } from "./name.ts";

/** What an answer to a query needs of it. */
export interface QueryParts {
  /** The query: its header and, if it could be read, its question. */
  readonly view: DataView;
  /** Where the question ends; `Offset.QUESTION` without a question. */
  readonly questionEnd: number;
  /** Whether the query had an OPT. */
  readonly hasOpt: boolean;
  /** Whether that OPT had DO set. */
  readonly wantsDnssec: boolean;
  /** The largest UDP message that its OPT says its sender takes, octets; 0 without an OPT. */
  readonly udpSize: number;
}

/** The parts of an indexed query; undefined without a readable question, or with more than one OPT. */
export function partsOf(message: Message): QueryParts | undefined {
  const { view, questionEnd } = message;
  if (questionEnd <= 0) return undefined;
  const opt = message.findOpt();
  if (opt === MANY_OPT) return undefined;
  if (opt === NO_OPT) return { view, questionEnd, hasOpt: false, wantsDnssec: false, udpSize: 0 };
  return {
    view,
    questionEnd,
    hasOpt: true,
    wantsDnssec: (message.ttlField(opt) & OPT_FLAG_DO) !== 0,
    // Values below 512 count as 512 (RFC 6891 section 6.2.3).
    udpSize: Math.max(MESSAGE_LENGTH_PLAIN, message.classField(opt)),
  };
}

/** The parts of a query that has a header and no readable question. */
export function headerOf(view: DataView): QueryParts {
  return { view, questionEnd: Offset.QUESTION, hasOpt: false, wantsDnssec: false, udpSize: 0 };
}

/**
 * Whether a message answers a query (RFC 5452 section 9.1): QR is set, opcode and question are the same,
 * case ignored. Its id is for the caller to compare, who may have sent the query under another.
 *
 * @param questionEnd where the question of the query ends
 */
export function isAnswer(
  view: DataView,
  length: number,
  query: DataView,
  questionEnd: number,
): boolean {
  if (length < questionEnd) return false;
  const flags = view.getUint16(Offset.FLAGS);
  if ((flags & Flag.QR) === 0) return false;
  if (((flags ^ query.getUint16(Offset.FLAGS)) & OPCODE_MASK) !== 0) return false;
  if (view.getUint16(Offset.QDCOUNT) !== 1) return false;
  const nameEnd = questionEnd - QUESTION_FIXED_LENGTH;
  return view.getUint32(nameEnd) === query.getUint32(nameEnd) &&
    sameOctets(view, Offset.QUESTION, query, Offset.QUESTION, nameEnd - Offset.QUESTION);
}

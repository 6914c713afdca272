/**
 * The numbers of the DNS wire format: offsets, masks, types, response codes and limits.
 *
 * Every constant names where it is defined. Offsets are octets from the start of the message, or
 * from the start of the part that the name says (`Fixed` counts from the end of the owner name).
 * Nothing here computes; `message.ts` reads and `response.ts` writes with these.
 *
 * @module
 */

/** Header fields, octets from the start of the message (RFC 1035 section 4.1.1). */
export const Offset = {
  ID: 0,
  FLAGS: 2,
  QDCOUNT: 4,
  ANCOUNT: 6,
  NSCOUNT: 8,
  ARCOUNT: 10,
  /** Where the question's name starts: right behind the header (RFC 1035 section 4.1.2). */
  QUESTION: 12,
} as const;

/**
 * The flags word (RFC 1035 section 4.1.1, AD and CD from RFC 4035 section 3.2).
 *
 * ```text
 *   0  1  2  3  4  5  6  7  8  9 10 11 12 13 14 15
 * |QR|   Opcode  |AA|TC|RD|RA| Z|AD|CD|   RCODE   |
 * ```
 */
export const Flag = {
  QR: 1 << 15,
  AA: 1 << 10,
  TC: 1 << 9,
  RD: 1 << 8,
  RA: 1 << 7,
  AD: 1 << 5,
  CD: 1 << 4,
} as const;

/** The opcode's place in the flags word (RFC 1035 section 4.1.1). */
export const OPCODE_SHIFT = 11;
const OPCODE_WIDTH = 4;
/** Mask of the opcode in the flags word. */
export const OPCODE_MASK = ((1 << OPCODE_WIDTH) - 1) << OPCODE_SHIFT;
/** A standard query (RFC 1035 section 4.1.1). */
export const OPCODE_QUERY = 0;

const RCODE_WIDTH = 4;
/** Mask of the response code in the flags word (RFC 1035 section 4.1.1). */
export const RCODE_MASK = (1 << RCODE_WIDTH) - 1;

/** Response codes (RFC 1035 section 4.1.1). */
export const Rcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
} as const;

/** A response code of `Rcode`. */
export type Rcode = typeof Rcode[keyof typeof Rcode];

/** Record types that dotp looks at; all others pass. */
export const Type = {
  /** RFC 1035 section 3.4.1 */
  A: 1,
  /** RFC 1035 section 3.3.11 */
  NS: 2,
  /** RFC 1035 section 3.3.1 */
  CNAME: 5,
  /** RFC 1035 section 3.3.9 */
  MX: 15,
  /** RFC 3596 section 2.1 */
  AAAA: 28,
  /** RFC 2782 */
  SRV: 33,
  /** RFC 6891 section 6.1.1 */
  OPT: 41,
  /** RFC 9460 section 14.1 */
  SVCB: 64,
  /** RFC 9460 section 14.1 */
  HTTPS: 65,
} as const;

/** The Internet class (RFC 1035 section 3.2.4). */
export const CLASS_IN = 1;

/** Fields behind a record's owner name, octets from where that name ends (RFC 1035 section 4.1.3). */
export const Fixed = {
  TYPE: 0,
  CLASS: 2,
  TTL: 4,
  RDLENGTH: 8,
  RDATA: 10,
} as const;

/** Octets of QTYPE and QCLASS (RFC 1035 section 4.1.2). */
export const QUESTION_FIXED_LENGTH = 4;

/** A TTL with its top bit set counts as 0 (RFC 2181 section 8). */
export const TTL_MAX = 0x7fffffff;

/** Octets of the RDATA of A (RFC 1035 section 3.4.1). */
export const A_LENGTH = 4;
/** Octets of the RDATA of AAAA (RFC 3596 section 2.2). */
export const AAAA_LENGTH = 16;

/** The first two bits of a length octet: 00 a label, 11 a compression pointer (RFC 1035 section 4.1.4). */
export const LABEL_TYPE_MASK = 0xc0;
/** Both bits set: what follows is a compression pointer (RFC 1035 section 4.1.4). */
export const LABEL_TYPE_POINTER = 0xc0;
/** The offset within a compression pointer of two octets (RFC 1035 section 4.1.4). */
export const POINTER_OFFSET_MASK = 0x3fff;
/** Octets of a compression pointer (RFC 1035 section 4.1.4). */
export const POINTER_LENGTH = 2;

/** A label's octets without its length octet (RFC 1035 section 2.3.4). */
export const LABEL_LENGTH_MAX = 63;
/** A name's octets on the wire, length octets and root included (RFC 1035 section 2.3.4). */
export const NAME_LENGTH_MAX = 255;
/** Labels in a name of `NAME_LENGTH_MAX`: one octet of length and one of text each, and the root. */
export const NAME_LABELS_MAX = (NAME_LENGTH_MAX - 1) / 2;

/** The largest message: what a UDP datagram's or a TCP message's length field can say. */
export const MESSAGE_LENGTH_MAX = 0xffff;
/** The largest message in a UDP datagram over IPv4: without its header and UDP's (RFC 768, RFC 791). */
export const DATAGRAM_LENGTH_MAX = MESSAGE_LENGTH_MAX - 20 - 8;
/** The largest message to a client that sent no OPT (RFC 1035 section 2.3.4, RFC 6891 section 6.2.3). */
export const MESSAGE_LENGTH_PLAIN = 512;
/** The smallest record: a root owner name and the fixed fields. */
export const RECORD_LENGTH_MIN = 1 + Fixed.RDATA;
/** The most records that fit into one message, whatever its header's counts claim. */
export const RECORDS_MAX = Math.floor((MESSAGE_LENGTH_MAX - Offset.QUESTION) / RECORD_LENGTH_MIN);

/** An OPT record without options: root owner, fixed fields, no RDATA (RFC 6891 section 6.1.2). */
export const OPT_LENGTH_MIN = RECORD_LENGTH_MIN;
/** DO in the upper half of OPT's TTL, here as a bit of the whole TTL (RFC 3225 section 3). */
export const OPT_FLAG_DO = 1 << 15;

/** MX's preference, before the exchange (RFC 1035 section 3.3.9). */
export const MX_PREFERENCE_LENGTH = 2;
/** SRV's priority, weight and port, before the target (RFC 2782). */
export const SRV_FIXED_LENGTH = 6;

/** SVCB's SvcPriority, before the target name (RFC 9460 section 2.2). */
export const SVCB_PRIORITY_LENGTH = 2;
/** A SvcParam's key and length (RFC 9460 section 2.2). */
export const SVCPARAM_HEADER_LENGTH = 4;
/** SvcParam keys that hold addresses (RFC 9460 section 14.3.2). */
export const SvcParam = { IPV4HINT: 4, IPV6HINT: 6 } as const;

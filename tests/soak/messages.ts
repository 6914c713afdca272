/**
 * The messages of the soak: queries, the upstream's replies, and what an answer to a query must look
 * like, octet by octet. Contract: pure. A reply is the query with its flags changed and one address
 * record behind it, so client and upstream agree on every octet of it without sharing any state, and
 * only the address and the TTL are dotp's to change.
 */

import { contains, type Family, parsePrefix } from "../../lib/address.ts";
import {
  Fixed,
  Offset,
  QUESTION_FIXED_LENGTH,
  Rcode,
  RCODE_MASK,
} from "../../lib/dns/constants.ts";
import { type Block, type Blocks, hostAt, makeBlocks } from "../bench/names.ts";
import { message, pointer, query } from "../support/packet.ts";

/** How long dotp keeps a mapping, seconds: short, so that expiry and reuse happen all the time. */
export const NAT_TTL_S = 10;

/** The longest a client may keep an answer with a fake, seconds. */
export const FAKE_TTL_MAX_S = NAT_TTL_S / 2;

/** 4094 fakes: at the pace of new names enough for life and rest, and used up in less than a minute. */
export const PREFIX4 = "198.18.0.0/20";
export const PREFIX6 = "2001:2::/48";

const PREFIXES = { 4: parsePrefix(PREFIX4, 4), 6: parsePrefix(PREFIX6, 6) } as const;

/** The names that are asked. New ones come round again long after their mappings have expired. */
export const BLOCKS: Blocks = makeBlocks({ plain: 10_000, known: 300, fresh: 50_000, warm: 1_000 });

/** The real IPv6 addresses: these twelve octets, then the real IPv4 address of the same name. */
export const REAL6_START = Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0);

/** The upstream's TTL, seconds. */
const TTL_S = 300;

/** A pointer to the name of the question, behind the header: RFC 1035 section 4.1.4. */
const QUESTION_POINTER = pointer(Offset.QUESTION);

const TYPE = { 4: 1, 6: 28 } as const;
const TYPE_AAAA = TYPE[6];

/** What is asked. */
export interface Question {
  readonly block: Block;
  readonly index: number;
  readonly family: Family;
}

/** What came back: as it must be, with the fake where there is one; an error; or nonsense. */
export type Verdict =
  | { readonly kind: "right"; readonly fake?: Uint8Array; readonly ttlS: number }
  | { readonly kind: "servfail" }
  | { readonly kind: "wrong"; readonly why: string };

/** Whether dotp is to answer with a fake. */
export function isConfigured({ block }: Question): boolean {
  return block.label !== BLOCKS.plain.label;
}

/** The real address of a name. */
export function realOf({ block, index, family }: Question): Uint8Array {
  const number = index % block.count;
  const four = [block.firstOctet, number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff];
  return family === 4 ? Uint8Array.from(four) : Uint8Array.from([...REAL6_START, ...four]);
}

/** Writes a query. */
export function encodeQuery(id: number, question: Question): Uint8Array<ArrayBuffer> {
  const { name } = hostAt(question.block, question.index);
  return query({ id, question: { name, type: TYPE[question.family] } });
}

/** What a query that `encodeQuery` wrote asks for; undefined where it is none. */
export function decodeQuestion(asked: Uint8Array): Question | undefined {
  const labelLength = asked[Offset.QUESTION] ?? 0;
  const start = Offset.QUESTION + 1;
  const label = String.fromCharCode(...asked.subarray(start, start + labelLength));
  const block = Object.values(BLOCKS).find((block: Block) => label.startsWith(block.label));
  const number = label.slice(1);
  if (block === undefined || !/^\d{6}$/.test(number)) return undefined;
  const isAaaa = asked[asked.length - 3] === TYPE_AAAA;
  return { block, index: Number(number), family: isAaaa ? 6 : 4 };
}

/** Writes the upstream's reply to a query, with this address. */
export function encodeReply(asked: Uint8Array, address: Uint8Array): Uint8Array<ArrayBuffer> {
  const type = address.length === 4 ? TYPE[4] : TYPE[6];
  return message({
    id: asked[Offset.ID]! << 8 | asked[Offset.ID + 1]!,
    question: { name: asked.subarray(Offset.QUESTION, -QUESTION_FIXED_LENGTH), type },
    answers: [{ owner: QUESTION_POINTER, type, ttl: TTL_S, rdata: address }],
  });
}

/** Judges an answer by itself: whether fake and real belong together is for `HandedOut` to say. */
export function judge(question: Question, asked: Uint8Array, answer: Uint8Array): Verdict {
  const view = new DataView(answer.buffer, answer.byteOffset, answer.length);
  if (answer.length < Offset.QUESTION) return wrong("shorter than a header", answer);
  if ((view.getUint16(Offset.FLAGS) & RCODE_MASK) === Rcode.SERVFAIL) {
    const isAboutIt = isSame(answer, asked, Offset.QUESTION, asked.length);
    return isAboutIt ? { kind: "servfail" } : wrong("SERVFAIL to another question", answer);
  }
  const real = realOf(question);
  const expected = encodeReply(asked, real);
  const ttlAt = asked.length + QUESTION_POINTER.length + Fixed.TTL;
  const addressAt = asked.length + QUESTION_POINTER.length + Fixed.RDATA;
  if (answer.length !== expected.length) return wrong("another length", answer);
  if (!isConfigured(question)) {
    const isSameAll = isSame(answer, expected, 0, expected.length);
    return isSameAll ? { kind: "right", ttlS: TTL_S } : wrong("not as the upstream said", answer);
  }
  const isSameElse = isSame(answer, expected, 0, ttlAt) &&
    isSame(answer, expected, ttlAt + 4, addressAt);
  if (!isSameElse) return wrong("changed beside address and TTL", answer);
  const fake = answer.slice(addressAt);
  const ttlS = view.getUint32(ttlAt);
  if (!contains(PREFIXES[question.family], fake)) return wrong("no fake", answer);
  if (ttlS > FAKE_TTL_MAX_S) return wrong(`TTL ${ttlS}`, answer);
  return { kind: "right", fake, ttlS };
}

function wrong(why: string, answer: Uint8Array): Verdict {
  return { kind: "wrong", why: `${why}: ${answer.toHex()}` };
}

function isSame(a: Uint8Array, b: Uint8Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (a[i] !== b[i]) return false;
  return true;
}

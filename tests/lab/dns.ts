/**
 * DNS messages for the tests, by way of npm:dns-packet: queries, replies, and a reader that is none
 * of dotp's own code. Replies are compressed as real servers compress them: owner names that were
 * written before become pointers. Nothing that ships may import this.
 */

import { Buffer } from "node:buffer";
import dnsPacket from "dns-packet";
import type { Reply, ResourceRecord } from "./protocol.ts";
import { many4, many6 } from "./addresses.ts";

/** A message as dns-packet reads it; only what the tests look at. */
export interface Message {
  id: number;
  type: "query" | "response";
  opcode: string;
  rcode: string;
  flag_aa: boolean;
  flag_tc: boolean;
  flag_rd: boolean;
  flag_ra: boolean;
  flag_ad: boolean;
  questions: { name: string; type: string; class: string }[];
  answers: Required<ResourceRecord>[];
  authorities: Required<ResourceRecord>[];
  additionals: Required<ResourceRecord>[];
}

/** How to ask. */
export interface QueryOptions {
  id?: number;
  /** Sends an OPT record with this UDP payload size. */
  edns?: number;
  /** Flag bits of the header; recursion desired alone if left out. */
  flags?: number;
}

/** Header flags, RFC 1035 section 4.1.1 and RFC 4035 section 3.2. */
export const Flag = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, AD: 0x0020 };

/** Pointers reach the first 2^14 octets, RFC 1035 section 4.1.4. */
const POINTER_LIMIT = 0x4000;

/** Reads a message; throws where it is none. */
export function decode(bytes: Uint8Array): Message {
  return dnsPacket.decode(Buffer.from(bytes));
}

/** Writes a query. */
export function encodeQuery(name: string, type: string, options: QueryOptions = {}): Uint8Array {
  const bytes: Uint8Array = dnsPacket.encode({
    type: "query",
    id: options.id ?? Math.floor(Math.random() * 0x10000),
    questions: [{ name, type, class: "IN" }],
    additionals: options.edns === undefined ? [] : [opt(options.edns)],
  });
  // dns-packet itself would clear QR in a query.
  const flags = options.flags ?? Flag.RD;
  bytes.set([flags >> 8, flags & 0xff], 2);
  return bytes;
}

/** Writes what a scripted reply says to a query, faults and all. */
export function encodeReply(query: Uint8Array, reply: Reply): Uint8Array {
  const id = ((query[0] ?? 0) << 8 | (query[1] ?? 0)) ^ (reply.wrongId ? 1 : 0);
  const body = reply.hex === undefined
    ? encodeMessage(query, reply)
    : Uint8Array.fromHex(`0000${reply.hex}`);
  const extra = Uint8Array.fromHex(reply.extraHex ?? "");
  const bytes = new Uint8Array(body.length + extra.length);
  bytes.set(body);
  bytes.set(extra, body.length);
  if (bytes.length >= 2) bytes.set([id >> 8, id & 0xff]);
  return reply.cutTo === undefined ? bytes : bytes.subarray(0, reply.cutTo);
}

function encodeMessage(query: Uint8Array, reply: Reply): Uint8Array {
  const asked = decode(query);
  const question = reply.question ?? asked.questions[0] ?? { name: ".", type: "A" };
  const sections = [
    reply.numbered ? [numbered(question)] : reply.answers ?? [],
    reply.authorities ?? [],
    [...reply.additionals ?? [], ...reply.opt ? [opt(1232)] : []],
  ];
  const flags = (reply.isQuery ? 0 : Flag.QR) | Flag.RD | Flag.RA | (reply.flags ?? 0) |
    (reply.opcode ?? 0) << 11 | (reply.rcode ?? 0);
  const message = new Writer(!reply.uncompressed);
  message.u16(0, flags, 1, ...sections.map((records) => records.length));
  message.name(question.name);
  message.append(afterRoot(dnsPacket.question, question));
  for (const record of sections.flat()) message.record(record);
  return message.bytes();
}

/** Writes the parts of one message; knows where each name was written first. */
class Writer {
  #bytes: number[] = [];
  #names = new Map<string, number>();
  #compress: boolean;

  constructor(compress: boolean) {
    this.#compress = compress;
  }

  u16(...values: number[]): void {
    for (const value of values) this.#bytes.push(value >> 8 & 0xff, value & 0xff);
  }

  append(bytes: Iterable<number>): void {
    this.#bytes.push(...bytes);
  }

  name(name: string): void {
    let labels = name.split(".").filter((label) => label !== "");
    while (labels.length > 0) {
      const suffix = labels.join(".").toLowerCase();
      const offset = this.#names.get(suffix);
      if (offset !== undefined && this.#compress) return this.u16(0xc000 | offset);
      if (this.#bytes.length < POINTER_LIMIT) this.#names.set(suffix, this.#bytes.length);
      const label = new TextEncoder().encode(labels[0]);
      this.append([label.length, ...label]);
      labels = labels.slice(1);
    }
    this.append([0]);
  }

  record(record: ResourceRecord): void {
    const encoded = afterRoot(dnsPacket.answer, { ttl: 300, ...record });
    this.name(record.name);
    if (record.type !== "CNAME") return this.append(encoded);
    this.append(encoded.subarray(0, 8));
    const lengthAt = this.#bytes.length;
    this.u16(0);
    this.name(String(record.data));
    const length = this.#bytes.length - lengthAt - 2;
    this.#bytes.splice(lengthAt, 2, length >> 8, length & 0xff);
  }

  bytes(): Uint8Array {
    return Uint8Array.from(this.#bytes);
  }
}

/** Encodes what follows the name, in whose place dns-packet writes the one octet of the root. */
function afterRoot(codec: typeof dnsPacket.answer, value: Record<string, unknown>): Uint8Array {
  const nameless = { ...value, name: "." };
  const buffer = Buffer.alloc(codec.encodingLength(nameless));
  codec.encode(nameless, buffer, 0);
  return buffer.subarray(1);
}

function opt(udpPayloadSize: number) {
  return { name: ".", type: "OPT", udpPayloadSize, flags: 0, options: [], data: [] };
}

function numbered(question: { name: string; type: string }): ResourceRecord {
  const n = Number(question.name.match(/^n(\d+)\./)?.[1] ?? 0);
  const { name, type } = question;
  return { name, type, data: type === "AAAA" ? many6(n) : many4(n) };
}

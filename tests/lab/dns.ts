/**
 * Queries and replies as the lab scripts them, faults and all. `support/packet.ts` writes them; RDATA
 * are as dns-packet writes them, as the script has them in its form. Replies are compressed as real
 * servers compress them. Nothing that ships may import this.
 */

import { Buffer } from "node:buffer";
import dnsPacket from "dns-packet";
import { concat, message, opt, query, type RecordSpec } from "../support/packet.ts";
import { decode } from "../support/reader.ts";
import type { Reply, ResourceRecord } from "./protocol.ts";
import { many4, many6 } from "./addresses.ts";

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

/** Writes a query. */
export function encodeQuery(name: string, type: string, options: QueryOptions = {}): Uint8Array {
  const { id = Math.floor(Math.random() * 0x10000), edns, flags = Flag.RD } = options;
  const additionals = edns === undefined ? [] : [opt(edns)];
  return query({ id, flags, question: questionOf({ name, type }), additionals });
}

/** Writes what a scripted reply says to a query, faults and all. */
export function encodeReply(query: Uint8Array, reply: Reply): Uint8Array {
  const id = ((query[0] ?? 0) << 8 | (query[1] ?? 0)) ^ (reply.wrongId ? 1 : 0);
  const body = reply.hex === undefined
    ? encodeMessage(query, reply)
    : Uint8Array.fromHex(`0000${reply.hex}`);
  const bytes = concat(body, Uint8Array.fromHex(reply.extraHex ?? ""));
  if (bytes.length >= 2) bytes.set([id >> 8, id & 0xff]);
  return reply.cutTo === undefined ? bytes : bytes.subarray(0, reply.cutTo);
}

function encodeMessage(query: Uint8Array, reply: Reply): Uint8Array {
  const question = reply.question ?? decode(query).questions[0] ?? { name: ".", type: "A" };
  const additionals = (reply.additionals ?? []).map(recordOf);
  return message({
    flags: (reply.isQuery ? 0 : Flag.QR) | Flag.RD | Flag.RA | (reply.flags ?? 0) |
      (reply.opcode ?? 0) << 11 | (reply.rcode ?? 0),
    question: questionOf(question),
    answers: (reply.numbered ? [numbered(question)] : reply.answers ?? []).map(recordOf),
    authorities: (reply.authorities ?? []).map(recordOf),
    additionals: reply.opt ? [...additionals, opt(1232)] : additionals,
    compress: !reply.uncompressed,
  });
}

function questionOf(question: { name: string; type: string; class?: string }) {
  const fixed = afterName(dnsPacket.question, question);
  return { name: question.name, type: fixed.getUint16(0), class: fixed.getUint16(2) };
}

function recordOf(record: ResourceRecord): RecordSpec {
  const fixed = afterName(dnsPacket.answer, { ttl: 300, ...record });
  const rdata = new Uint8Array(fixed.buffer, fixed.byteOffset + 10, fixed.getUint16(8));
  return {
    owner: record.name,
    type: fixed.getUint16(0),
    class: fixed.getUint16(2),
    ttl: fixed.getUint32(4),
    rdata: record.type === "CNAME" ? { name: String(record.data) } : rdata,
  };
}

/** What dns-packet writes after the name, in whose place it writes the one octet of the root. */
function afterName(codec: typeof dnsPacket.answer, value: object): DataView<ArrayBuffer> {
  const nameless = { ...value, name: "." };
  const buffer = Buffer.alloc(codec.encodingLength(nameless));
  codec.encode(nameless, buffer, 0);
  return new DataView(Uint8Array.from(buffer).buffer, 1);
}

function numbered({ name, type }: { name: string; type: string }): ResourceRecord {
  const n = Number(name.match(/^n(\d+)\./)?.[1] ?? 0);
  return { name, type, data: type === "AAAA" ? many6(n) : many4(n) };
}

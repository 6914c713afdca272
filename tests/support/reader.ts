/**
 * Messages read and written by `npm:dns-packet`, which shares no code with `lib/` and none with
 * `packet.ts`. It brings no types; these are what the tests use of it.
 */
import { Buffer } from "node:buffer";
import dnsPacket from "dns-packet";

/** A record as dns-packet has it. */
export interface ReadRecord {
  readonly name: string;
  readonly type: string;
  readonly class?: string;
  readonly ttl?: number;
  /** What it makes of the RDATA: an address, a name, octets. */
  readonly data?: unknown;
  readonly udpPayloadSize?: number;
  readonly flags?: number;
}

/** A message as dns-packet has it. */
export interface Message {
  readonly id: number;
  readonly type: string;
  readonly opcode: string;
  readonly rcode: string;
  /** The bits of the flags word; `decode` does not tell opcode and rcode here. */
  readonly flags: number;
  readonly flag_aa: boolean;
  readonly flag_tc: boolean;
  readonly flag_rd: boolean;
  readonly flag_ra: boolean;
  readonly flag_ad: boolean;
  readonly questions: readonly ReadRecord[];
  readonly answers: readonly ReadRecord[];
  readonly authorities: readonly ReadRecord[];
  readonly additionals: readonly ReadRecord[];
}

/** Bits of the flags word and of OPT's flags by dns-packet's own names. */
export const { AUTHENTIC_DATA, RECURSION_AVAILABLE, RECURSION_DESIRED, DNSSEC_OK } =
  dnsPacket as Readonly<Record<string, number>> as {
    AUTHENTIC_DATA: number;
    RECURSION_AVAILABLE: number;
    RECURSION_DESIRED: number;
    DNSSEC_OK: number;
  };

/** Reads a message; throws where it is none. */
export function decode(bytes: Uint8Array): Message {
  return dnsPacket.decode(Buffer.from(bytes));
}

/** Writes a message, names uncompressed. */
export function encode(message: Partial<Message>): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(dnsPacket.encode(message) as Uint8Array);
}

/** The records of a section as `name type ttl data`. */
export function lines(section: readonly ReadRecord[] = []): string[] {
  return section.map(({ name, type, ttl, data }) => `${name} ${type} ${ttl} ${data}`);
}

/**
 * Addresses and prefixes: text to bytes and back, and what a prefix contains.
 *
 * Bytes are in network order, 4 of them for IPv4 and 16 for IPv6. Text is read strictly: four decimal
 * parts without leading zeros for IPv4 (RFC 6943 section 3.1.1), no zone for IPv6, and written as
 * RFC 5952 recommends. Reading text is for the command line and for what nft lists, never for the
 * path of a query. `kindOf` is for that path: it reads octets where they lie and makes no objects.
 *
 * @module
 */
import ipaddr from "ipaddr.js";

/** IP version. */
export type Family = 4 | 6;

/** IP versions in the order in which dotp goes through them. */
export const FAMILIES: readonly Family[] = [4, 6];

/** Octets of an address. */
export const ADDRESS_LENGTH: Readonly<Record<Family, number>> = { 4: 4, 6: 16 };

/** An address: 4 or 16 octets. */
export interface Address {
  readonly family: Family;
  readonly bytes: Uint8Array;
}

/** A prefix; no bit of `bytes` behind the first `length` is set. */
export interface Prefix extends Address {
  /** Bits, 0 to 32 or 128. */
  readonly length: number;
}

/**
 * Reads an address.
 *
 * @throws {SyntaxError} where it is none
 */
export function parseAddress(text: string): Address {
  const family = text.includes(":") ? 6 : 4;
  const bytes = toBytes(text, family);
  if (bytes === undefined) throw new SyntaxError(`Cannot read "${text}" as an address`);
  return { family, bytes };
}

/** The IPv4 address in an IPv4-mapped IPv6 one (RFC 4291 section 2.5.5.2), any other as it is. */
export function unmapped(address: Address): Address {
  if (address.family === 4 || !contains(IPV4_MAPPED, address.bytes)) return address;
  return { family: 4, bytes: address.bytes.slice(12) };
}

/**
 * Reads a prefix of one family in the form `address/length`. Bits behind the length may be set;
 * `withoutHostBits` clears them.
 *
 * @throws {SyntaxError} where it is none of that family
 */
export function parsePrefix(text: string, family: Family): Prefix {
  const [host = "", bits = "", ...rest] = text.split("/");
  const bytes = toBytes(host, family);
  const isLength = /^(0|[1-9]\d{0,2})$/.test(bits) && Number(bits) <= ADDRESS_LENGTH[family] * 8;
  if (bytes === undefined || !isLength || rest.length > 0) {
    throw new SyntaxError(`Cannot read "${text}" as an IPv${family} prefix`);
  }
  return { family, bytes, length: Number(bits) };
}

/** The prefix with the bits behind its length cleared. */
export function withoutHostBits(prefix: Prefix): Prefix {
  const bytes = prefix.bytes.map((octet, i) => octet & octetMask(prefix.length, i));
  return { ...prefix, bytes };
}

/** Whether the address at `offset` of `bytes`, of the prefix's family, lies in the prefix. */
export function contains(prefix: Prefix, bytes: Uint8Array): boolean {
  return prefix.bytes.every((octet, i) => octet === (bytes[i]! & octetMask(prefix.length, i)));
}

/** Prefix of IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2). */
export const IPV4_MAPPED: Prefix = withoutHostBits(parsePrefix("::ffff:0:0/96", 6));

/** Whether the two prefixes share an address. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.family === b.family &&
    (a.length <= b.length ? contains(a, b.bytes) : contains(b, a.bytes));
}

/** The address in the form of RFC 5952. */
export function addressToText(bytes: Uint8Array): string {
  return bytes.length === ADDRESS_LENGTH[4]
    ? bytes.join(".")
    : new ipaddr.IPv6(Array.from(bytes)).toRFC5952String();
}

/** The prefix in the form `address/length`. */
export function prefixToText(prefix: Prefix): string {
  return `${addressToText(prefix.bytes)}/${prefix.length}`;
}

/** Whether the address is the unspecified one: all bits 0. */
export function isUnspecified(address: Address): boolean {
  return address.bytes.every((octet) => octet === 0);
}

/** What an address can be to a name: see `kindOf`. */
export type AddressKind = "ordinary" | "private" | "unmappable";

/**
 * What the address at `offset` can be to a name (RFC 6890).
 *
 * `unmappable` addresses mean something on the client's own link or host only, or are no unicast
 * address, so they are never what a fake stands for: unspecified, loopback, link-local, multicast,
 * limited broadcast, and IPv4-mapped or IPv4-compatible IPv6 addresses (RFC 4291 section 2.5.5).
 * `private` ones are some network's own: RFC 1918, shared address space (RFC 6598), unique local
 * (RFC 4193) and site-local (RFC 3879). An address of the well-known prefix of NAT64 (RFC 6052) is
 * what the IPv4 address in it is, as that is where it leads.
 */
export function kindOf(view: DataView, offset: number, family: Family): AddressKind {
  return family === 4 ? kindOf4(view.getUint32(offset)) : kindOf6(view, offset);
}

function kindOf4(address: number): AddressKind {
  switch (address >>> 24) {
    case 10:
      return "private";
    case 100:
      return (address & 0x00c00000) === 0x00400000 ? "private" : "ordinary"; // 100.64.0.0/10
    case 127:
      return "unmappable";
    case 169:
      return (address & 0x00ff0000) === 0x00fe0000 ? "unmappable" : "ordinary"; // 169.254.0.0/16
    case 172:
      return (address & 0x00f00000) === 0x00100000 ? "private" : "ordinary"; // 172.16.0.0/12
    case 192:
      return (address & 0x00ff0000) === 0x00a80000 ? "private" : "ordinary"; // 192.168.0.0/16
    default: {
      const isMulticast = (address & 0xf0000000) === (0xe0000000 | 0); // 224.0.0.0/4
      return address === 0 || isMulticast || address === 0xffffffff ? "unmappable" : "ordinary";
    }
  }
}

function kindOf6(view: DataView, offset: number): AddressKind {
  const first = view.getUint32(offset);
  switch (first >>> 24) {
    case 0xff: // multicast
      return "unmappable";
    case 0xfc: // fc00::/7
    case 0xfd:
      return "private";
    case 0xfe:
      if ((first & 0x00c00000) === 0x00800000) return "unmappable"; // fe80::/10
      return (first & 0x00c00000) === 0x00c00000 ? "private" : "ordinary"; // fec0::/10
    case 0x00:
      break;
    default:
      return "ordinary";
  }
  if (view.getUint32(offset + 4) !== 0) return "ordinary";
  const third = view.getUint32(offset + 8);
  if (first === 0) return third === 0 || third === 0xffff ? "unmappable" : "ordinary";
  // 64:ff9b::/96
  return first === 0x0064ff9b && third === 0 ? kindOf4(view.getUint32(offset + 12)) : "ordinary";
}

/** The octets of an address in text, or undefined. */
function toBytes(text: string, family: Family): Uint8Array | undefined {
  if (family === 4) {
    return ipaddr.IPv4.isValidFourPartDecimal(text)
      ? new Uint8Array(ipaddr.IPv4.parse(text).toByteArray())
      : undefined;
  }
  // The library takes "::1.2.3.4" for "::ffff:1.2.3.4", octal and hexadecimal parts, and zones.
  const [, head, tail] = /^(.*:)([^:]*\..*)$/.exec(text) ?? [text, text];
  const end = tail === undefined ? new Uint8Array() : toBytes(tail, 4);
  if (end === undefined || head === undefined) return undefined;
  const groups = tail === undefined ? head : `${head}0:0`;
  if (groups.includes("%") || !ipaddr.IPv6.isValid(groups)) return undefined;
  const bytes = new Uint8Array(ipaddr.IPv6.parse(groups).toByteArray());
  bytes.set(end, bytes.length - end.length);
  return bytes;
}

/** The bits of octet `i` that lie within the first `length` bits. */
function octetMask(length: number, i: number): number {
  const bits = Math.max(0, Math.min(8, length - i * 8));
  return (0xff << (8 - bits)) & 0xff;
}

/**
 * Addresses as nft and conntrack write them, read from octets of ASCII (inet_ntop(3)). The library takes
 * several times as long, and dotp may have some hundred thousand to read before it is ready.
 *
 * @module
 */
import { ADDRESS_LENGTH, parseAddress } from "../address.ts";

/** The longest text of an address (INET6_ADDRSTRLEN without the zero octet). */
export const ADDRESS_TEXT_MAX = 45;

const Ascii = { DOT: 0x2e, ZERO: 0x30, NINE: 0x39, COLON: 0x3a, A: 0x61, F: 0x66 } as const;

/** Octets of the group that a decimal or hexadecimal number may have. */
const GROUP_DIGITS_MAX = 4;

/**
 * Reads an address.
 *
 * @param to 16 octets, where it goes
 * @returns how many octets it has, 0 where the text is none
 */
export function readAddress(text: Uint8Array, length: number, to: Uint8Array): number {
  let hasDot = false;
  let hasColon = false;
  for (let i = 0; i < length; i++) {
    hasDot ||= text[i] === Ascii.DOT;
    hasColon ||= text[i] === Ascii.COLON;
  }
  if (!hasColon) return readIpv4(text, length, to);
  return hasDot ? readMixed(text, length, to) : readIpv6(text, length, to);
}

function readIpv4(text: Uint8Array, length: number, to: Uint8Array): number {
  let parts = 0;
  let value = 0;
  let digits = 0;
  for (let i = 0; i <= length; i++) {
    const octet = i < length ? text[i]! : Ascii.DOT;
    if (octet === Ascii.DOT) {
      if (digits === 0 || value > 0xff || parts === ADDRESS_LENGTH[4]) return 0;
      to[parts++] = value;
      value = digits = 0;
    } else {
      // No digit may follow a leading zero.
      if (octet < Ascii.ZERO || octet > Ascii.NINE || (digits > 0 && value === 0)) return 0;
      value = value * 10 + octet - Ascii.ZERO;
      digits++;
    }
  }
  return parts === ADDRESS_LENGTH[4] ? parts : 0;
}

function readIpv6(text: Uint8Array, length: number, to: Uint8Array): number {
  const { 6: end } = ADDRESS_LENGTH;
  let at = 0;
  let gap = -1;
  let i = 0;
  if (text[0] === Ascii.COLON) {
    if (text[1] !== Ascii.COLON) return 0;
    gap = 0;
    i = 2;
  }
  while (i < length) {
    let value = 0;
    const start = i;
    for (; i < length && text[i] !== Ascii.COLON; i++) {
      const digit = hexDigit(text[i]!);
      if (digit < 0 || i - start === GROUP_DIGITS_MAX) return 0;
      value = (value << 4) | digit;
    }
    if (at === end || i === start) return 0;
    to[at++] = value >>> 8;
    to[at++] = value & 0xff;
    if (i === length) break;
    i++;
    // A colon is followed by a group, or by a second one where the zeros were.
    if (text[i] === Ascii.COLON && i < length) {
      if (gap >= 0) return 0;
      gap = at;
      i++;
    } else if (i === length) return 0;
  }
  if (gap < 0) return at === end ? at : 0;
  if (at === end) return 0;
  const behind = end - (at - gap);
  to.copyWithin(behind, gap, at);
  to.fill(0, gap, behind);
  return end;
}

function hexDigit(octet: number): number {
  if (octet >= Ascii.ZERO && octet <= Ascii.NINE) return octet - Ascii.ZERO;
  return octet >= Ascii.A && octet <= Ascii.F ? octet - Ascii.A + 10 : -1;
}

/** An IPv6 address whose last four octets are written as an IPv4 address is: too rare to be read here. */
function readMixed(text: Uint8Array, length: number, to: Uint8Array): number {
  try {
    const { bytes } = parseAddress(String.fromCharCode(...text.subarray(0, length)));
    to.set(bytes);
    return bytes.length;
  } catch {
    return 0;
  }
}

/**
 * Who may ask, and who gets real addresses: prefixes of clients, matched on octets where an address
 * lies.
 *
 * Of prefixes that overlap only the outer one is kept, so those that are left are apart from each other,
 * and the one that can hold an address is found by halving. An IPv4-mapped address, as a socket of both
 * IP versions has it, is judged as the IPv4 one in it. Nothing is refused here: what becomes of a client
 * is for its caller to do.
 *
 * @module
 */
import { type Family, IPV4_MAPPED, parsePrefix, type Prefix, withoutHostBits } from "../address.ts";

/** Prefixes in one `Acl`, each way; it bounds what a look at a client costs. */
export const PREFIXES_MAX = 4_096;

/**
 * Who may ask if nothing else is said, beside the subnets of the interfaces that are listened on:
 * loopback, private and link-local addresses (RFC 1122, RFC 1918, RFC 3927, RFC 4193, RFC 4291).
 */
export const ALLOWED_BY_DEFAULT: readonly Prefix[] = [
  ...["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"]
    .map((text) => parsePrefix(text, 4)),
  ...["::1/128", "fc00::/7", "fe80::/10"].map((text) => parsePrefix(text, 6)),
];

const WORD_BITS = 32;
const WORD_LENGTH = 4;

/** What is decided about clients. */
export class Acl {
  readonly #allowed: Prefixes;
  readonly #exempt: Prefixes;

  /**
   * @param allowed who may ask
   * @param exempt who of them gets real addresses
   * @throws {RangeError} if there are too many prefixes
   */
  constructor(allowed: Iterable<Prefix>, exempt: Iterable<Prefix> = []) {
    this.#allowed = new Prefixes(allowed);
    this.#exempt = new Prefixes(exempt);
  }

  /** Whether the client with the address at `offset` may ask. */
  mayAsk(family: Family, view: DataView, offset: number): boolean {
    return this.#allowed.hold(family, view, offset);
  }

  /** Whether the client with the address at `offset` gets real addresses. */
  isExempt(family: Family, view: DataView, offset: number): boolean {
    return this.#exempt.hold(family, view, offset);
  }
}

/** Prefixes of both families. */
class Prefixes {
  readonly #of: Readonly<Record<Family, Sorted>>;

  constructor(prefixes: Iterable<Prefix>) {
    const all = Array.from(prefixes, withoutHostBits);
    if (all.length > PREFIXES_MAX) {
      throw new RangeError(`Cannot keep ${all.length} prefixes: at most ${PREFIXES_MAX}`);
    }
    this.#of = { 4: new Sorted(all, 4), 6: new Sorted(all, 6) };
  }

  hold(family: Family, view: DataView, offset: number): boolean {
    if (family === 6 && isMapped(view, offset)) return this.#of[4].hold(view, offset + 12);
    return this.#of[family].hold(view, offset);
  }
}

/** Prefixes of one family that are apart from each other, in order. */
class Sorted {
  /** Words of an address. */
  readonly #width: number;
  readonly #bases: Uint32Array;
  readonly #lengths: Uint8Array;

  constructor(prefixes: readonly Prefix[], family: Family) {
    const sorted = prefixes.filter((prefix) => prefix.family === family).toSorted(compare);
    // An outer prefix comes right before those within it.
    const kept: Prefix[] = [];
    for (const prefix of sorted) {
      const outer = kept.at(-1);
      if (outer === undefined || !isWithin(prefix, outer)) kept.push(prefix);
    }
    this.#width = family === 4 ? 1 : 4;
    this.#bases = Uint32Array.from(kept.flatMap(wordsOf));
    this.#lengths = Uint8Array.from(kept, ({ length }) => length);
  }

  hold(view: DataView, offset: number): boolean {
    // The last prefix that does not begin behind the address.
    let from = 0;
    let to = this.#lengths.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#beginsBehind(middle, view, offset)) to = middle;
      else from = middle + 1;
    }
    return from > 0 && this.#holds(from - 1, view, offset);
  }

  #beginsBehind(i: number, view: DataView, offset: number): boolean {
    for (let word = 0; word < this.#width; word++) {
      const base = this.#bases[i * this.#width + word]!;
      const address = view.getUint32(offset + word * WORD_LENGTH);
      if (base !== address) return base > address;
    }
    return false;
  }

  #holds(i: number, view: DataView, offset: number): boolean {
    let bits = this.#lengths[i]!;
    for (let word = 0; bits > 0; word++, bits -= WORD_BITS) {
      const base = this.#bases[i * this.#width + word]!;
      const address = view.getUint32(offset + word * WORD_LENGTH);
      const unused = Math.max(0, WORD_BITS - bits);
      if ((base ^ address) >>> unused !== 0) return false;
    }
    return true;
  }
}

function isMapped(view: DataView, offset: number): boolean {
  for (let i = 0; i < IPV4_MAPPED.length / 8; i++) {
    if (view.getUint8(offset + i) !== IPV4_MAPPED.bytes[i]) return false;
  }
  return true;
}

function isWithin({ bytes, length }: Prefix, outer: Prefix): boolean {
  return length >= outer.length && withoutHostBits({ ...outer, bytes }).bytes
    .every((octet, i) => octet === outer.bytes[i]);
}

/** By their first addresses, the shorter prefix first. */
function compare(a: Prefix, b: Prefix): number {
  const at = a.bytes.findIndex((octet, i) => octet !== b.bytes[i]);
  return at < 0 ? a.length - b.length : a.bytes[at]! - b.bytes[at]!;
}

function wordsOf({ bytes }: Prefix): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / WORD_LENGTH }, (_, i) => {
    return view.getUint32(i * WORD_LENGTH);
  });
}

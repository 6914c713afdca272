/**
 * The elements of a set or map as `nft -j list` prints them, read octet by octet as they come: what
 * nft prints of some hundred thousand is tens of megabytes, and neither it nor the objects of its JSON
 * are ever kept.
 *
 * An element of a set is a string, or `{"elem": {"val": string, "timeout": n, "expires": n, …}}` where it
 * has a lifetime, a comment or a counter. An element of a map is an array of such a key and a string.
 * A string is taken for an address only where one may stand, told by its depth and the name before it,
 * so nothing that a comment says counts. What is no single address (a prefix, a range, a
 * concatenation) is left out. Text that is not JSON gives other elements or none, and no error.
 *
 * @module
 */
import { ADDRESS_LENGTH } from "../address.ts";
import { ADDRESS_TEXT_MAX, readAddress } from "./addresses.ts";

/** Receives an element; the octets are good for the time of the call. */
export type OnElement = (
  key: Uint8Array,
  /** What a map has for the key; undefined in a set. */
  value: Uint8Array | undefined,
  /** For how many seconds the kernel has had it, by what is left of its lifetime; 0 without one. */
  ageS: number,
) => void;

const Ascii = {
  QUOTE: 0x22,
  COMMA: 0x2c,
  ZERO: 0x30,
  NINE: 0x39,
  COLON: 0x3a,
  BRACKET: 0x5b,
  BACKSLASH: 0x5c,
  BRACKET_END: 0x5d,
  BRACE: 0x7b,
  BRACE_END: 0x7d,
} as const;

/** How many objects and arrays stand around something: `{"nftables": [{"set": {"elem": [[`. */
const Depth = { SET: 4, LIST: 5, PAIR: 6 } as const;
/** How many more stand around what is said of an element: `{"elem": {`. */
const DEPTH_OF_ELEMENT = 2;

/** The names that matter, in ASCII. */
const Name = {
  ELEM: new TextEncoder().encode("elem"),
  TIMEOUT: new TextEncoder().encode("timeout"),
  VAL: new TextEncoder().encode("val"),
  EXPIRES: new TextEncoder().encode("expires"),
} as const;
const NAMES = Object.values(Name);

/** An address that has been read, or none. */
class Slot {
  readonly #octets = new Uint8Array(ADDRESS_LENGTH[6]);
  #length = 0;

  get octets(): Uint8Array | undefined {
    return this.#length === 0 ? undefined : this.#octets.subarray(0, this.#length);
  }

  read(text: Uint8Array, length: number): void {
    this.#length = length > ADDRESS_TEXT_MAX ? 0 : readAddress(text, length, this.#octets);
  }

  clear(): void {
    this.#length = 0;
  }
}

/** Reads what nft lists of one set or map. */
export class ElementReader {
  /** After how many seconds the kernel forgets an element; `Infinity` where it does not. */
  timeoutS = Infinity;
  readonly #onElement: OnElement;
  #depth = 0;
  /** Whether what is read stands in the list of elements. */
  #isInList = false;
  /** The string that is being read or was read last; of a longer one the length counts on. */
  readonly #text = new Uint8Array(ADDRESS_TEXT_MAX);
  #length = 0;
  #isInString = false;
  #isEscaped = false;
  /** The number that is being read; NaN where none is. */
  #number = NaN;
  /** The name of the value that comes next, where it is one of those above. */
  #name: Uint8Array | undefined;
  /** What has been read of an element. */
  readonly #key = new Slot();
  readonly #value = new Slot();
  #expiresS: number | undefined;
  /** Whether it is an array, and which of its values comes next. */
  #isPair = false;
  #position = 0;

  constructor(onElement: OnElement) {
    this.#onElement = onElement;
  }

  /** Reads the next octets. */
  push(chunk: Uint8Array): void {
    for (let i = 0; i < chunk.length; i++) {
      const octet = chunk[i]!;
      if (this.#isInString) this.#readString(octet);
      else if (octet >= Ascii.ZERO && octet <= Ascii.NINE) {
        this.#number = (this.#number || 0) * 10 + octet - Ascii.ZERO;
      } else {
        if (!Number.isNaN(this.#number)) this.#endNumber();
        this.#readToken(octet);
      }
    }
  }

  #readString(octet: number): void {
    if (!this.#isEscaped && octet === Ascii.QUOTE) {
      this.#isInString = false;
      if (this.#isInList) this.#endString();
      return;
    }
    this.#isEscaped = !this.#isEscaped && octet === Ascii.BACKSLASH;
    if (this.#length < ADDRESS_TEXT_MAX) this.#text[this.#length] = octet;
    this.#length++;
  }

  #readToken(octet: number): void {
    switch (octet) {
      case Ascii.QUOTE:
        this.#isInString = true;
        this.#length = 0;
        return;
      case Ascii.COLON:
        this.#name = NAMES.find((name) => this.#isText(name));
        return;
      case Ascii.COMMA:
        this.#name = undefined;
        if (this.#depth === Depth.PAIR && this.#isPair) this.#position++;
        return;
      case Ascii.BRACKET:
      case Ascii.BRACE:
        return this.#open(octet === Ascii.BRACKET);
      case Ascii.BRACKET_END:
      case Ascii.BRACE_END:
        return this.#close();
    }
  }

  #open(isArray: boolean): void {
    if (this.#depth === Depth.SET && isArray && this.#name === Name.ELEM) this.#isInList = true;
    else if (this.#isInList && this.#depth === Depth.LIST) {
      this.#isPair = isArray;
      this.#position = 0;
    }
    this.#depth++;
  }

  #close(): void {
    this.#depth--;
    this.#name = undefined;
    if (this.#depth === Depth.LIST) this.#endElement();
    else if (this.#depth < Depth.LIST) this.#isInList = false;
  }

  /** How deep what is said of the element's key stands. */
  get #elementDepth(): number {
    return (this.#isPair ? Depth.PAIR : Depth.LIST) + DEPTH_OF_ELEMENT;
  }

  #endString(): void {
    if (this.#depth === Depth.LIST) {
      this.#key.read(this.#text, this.#length);
      this.#isPair = false;
      this.#endElement();
    } else if (this.#depth === Depth.PAIR && this.#isPair) {
      if (this.#position === 0) this.#key.read(this.#text, this.#length);
      if (this.#position === 1) this.#value.read(this.#text, this.#length);
    } else if (
      this.#depth === this.#elementDepth && this.#name === Name.VAL && this.#position === 0
    ) this.#key.read(this.#text, this.#length);
  }

  #endNumber(): void {
    const number = this.#number;
    this.#number = NaN;
    if (this.#depth === Depth.SET && this.#name === Name.TIMEOUT) {
      // A part of a second is printed as 0, which cannot be worked with.
      this.timeoutS = number || Infinity;
    } else if (
      this.#isInList && this.#depth === this.#elementDepth && this.#name === Name.EXPIRES &&
      this.#position === 0
    ) this.#expiresS = number;
    this.#name = undefined;
  }

  get #ageS(): number {
    const left = this.#expiresS;
    const { timeoutS } = this;
    return left === undefined || timeoutS === Infinity ? 0 : Math.max(0, timeoutS - left);
  }

  #endElement(): void {
    const key = this.#key.octets;
    const value = this.#value.octets;
    if (this.#isInList && key !== undefined && (!this.#isPair || key.length === value?.length)) {
      this.#onElement(key, value, this.#ageS);
    }
    this.#key.clear();
    this.#value.clear();
    this.#expiresS = undefined;
    this.#isPair = false;
    this.#position = 0;
  }

  #isText(name: Uint8Array): boolean {
    return this.#length === name.length && name.every((octet, i) => this.#text[i] === octet);
  }
}

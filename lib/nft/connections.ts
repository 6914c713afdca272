/**
 * What `conntrack -L` lists, read octet by octet as it comes: a line a connection, of words such as
 * `dst=198.18.0.1`, first those of its first packet and then those of a reply. conntrack may know some
 * hundred thousand, so nothing of a line is kept but the two addresses that are asked for.
 *
 * @module
 */
import { ADDRESS_LENGTH } from "../address.ts";
import { ADDRESS_TEXT_MAX, readAddress } from "./addresses.ts";

/**
 * Receives where a connection goes, as its first packet had it, and where replies come from: another
 * address where it was translated. The octets are good for the time of the call.
 */
export type OnConnection = (to: Uint8Array, from: Uint8Array) => void;

const Ascii = { LINE_FEED: 0x0a, SPACE: 0x20, EQUALS: 0x3d, D: 0x64, S: 0x73 } as const;

/** The words that matter are `dst=` and `src=`, which differ from all others in their first letter and length. */
const NAME_LENGTH = 4;

/** Reads what conntrack lists. */
export class ConnectionReader {
  readonly #onConnection: OnConnection;
  /** The word that is being read; of a longer one the length counts on. */
  readonly #word = new Uint8Array(NAME_LENGTH + ADDRESS_TEXT_MAX);
  #length = 0;
  /** How many destinations and sources the line has had. */
  #destinations = 0;
  #sources = 0;
  readonly #to = new Uint8Array(ADDRESS_LENGTH[6]);
  readonly #from = new Uint8Array(ADDRESS_LENGTH[6]);
  #toLength = 0;
  #fromLength = 0;

  constructor(onConnection: OnConnection) {
    this.#onConnection = onConnection;
  }

  /** Reads the next octets. */
  push(chunk: Uint8Array): void {
    for (let i = 0; i < chunk.length; i++) {
      const octet = chunk[i]!;
      if (octet > Ascii.SPACE) {
        if (this.#length < this.#word.length) this.#word[this.#length] = octet;
        this.#length++;
        continue;
      }
      this.#endWord();
      if (octet === Ascii.LINE_FEED) this.#endLine();
    }
  }

  #endWord(): void {
    const length = this.#length;
    this.#length = 0;
    if (length <= NAME_LENGTH || length > this.#word.length) return;
    if (this.#isNamed(Ascii.D) && ++this.#destinations === 1) {
      this.#toLength = this.#read(length, this.#to);
    } else if (this.#isNamed(Ascii.S) && ++this.#sources === 2) {
      this.#fromLength = this.#read(length, this.#from);
    }
  }

  /** Whether the word begins with `dst=` or `src=`, by its first letter: `sport=` is longer. */
  #isNamed(letter: number): boolean {
    return this.#word[0] === letter && this.#word[NAME_LENGTH - 1] === Ascii.EQUALS;
  }

  #read(length: number, to: Uint8Array): number {
    return readAddress(this.#word.subarray(NAME_LENGTH), length - NAME_LENGTH, to);
  }

  #endLine(): void {
    const length = this.#toLength;
    if (length > 0 && length === this.#fromLength) {
      this.#onConnection(this.#to.subarray(0, length), this.#from.subarray(0, length));
    }
    this.#destinations =
      this.#sources =
      this.#toLength =
      this.#fromLength =
        0;
  }
}

/**
 * SipHash-2-4 of an address: a keyed hash that nobody without the key can steer (Aumasson and
 * Bernstein, "SipHash: a fast short-input PRF", 2012). It chooses fakes, so it is worth its price once
 * for each new mapping; lookups use the cheaper hash in `nat/rows.ts`.
 *
 * A 64-bit word is a pair of 32-bit halves, low one first, as JavaScript has no other that is fast.
 *
 * @module
 */

/** Octets of a key. */
export const KEY_LENGTH = 16;
/** Octets of a message that a hash takes; longer ones are not needed here. */
export const MESSAGE_LENGTH_MAX = 16;

/** The state v0 to v3, and the word that is absorbed, as halves. */
const v = new Int32Array(8);
const V0 = 0;
const V1 = 2;
const V2 = 4;
const V3 = 6;

/** A key, ready for use. */
export class SipHash {
  /** The halves of the last hash, each from 0 to 2^32 - 1. */
  low = 0;
  high = 0;
  readonly #start: Int32Array;
  /** The message in whole words, the last of which ends with its length. */
  readonly #words = new DataView(new ArrayBuffer(MESSAGE_LENGTH_MAX + 8));

  /** @param key `KEY_LENGTH` octets */
  constructor(key: Uint8Array) {
    if (key.length !== KEY_LENGTH) throw new RangeError(`Cannot use a key of ${key.length} octets`);
    const view = new DataView(key.buffer, key.byteOffset, key.byteLength);
    const [k0, k0High, k1, k1High] = [0, 4, 8, 12].map((at) => view.getInt32(at, true)) as [
      number,
      number,
      number,
      number,
    ];
    this.#start = Int32Array.of(
      ...[k0 ^ 0x70736575, k0High ^ 0x736f6d65, k1 ^ 0x6e646f6d, k1High ^ 0x646f7261],
      ...[k0 ^ 0x6e657261, k0High ^ 0x6c796765, k1 ^ 0x79746573, k1High ^ 0x74656462],
    );
  }

  /** Hashes a message of at most `MESSAGE_LENGTH_MAX` octets into `low` and `high`. */
  hash(message: Uint8Array): void {
    const words = this.#words;
    const end = message.length - message.length % 8 + 8;
    for (let i = 0; i < end - 1; i++) words.setUint8(i, message[i] ?? 0);
    words.setUint8(end - 1, message.length);
    v.set(this.#start);
    for (let at = 0; at < end; at += 8) {
      const low = words.getInt32(at, true);
      const high = words.getInt32(at + 4, true);
      v[V3]! ^= low;
      v[V3 + 1]! ^= high;
      round();
      round();
      v[V0]! ^= low;
      v[V0 + 1]! ^= high;
    }
    v[V2]! ^= 0xff;
    for (let i = 0; i < 4; i++) round();
    this.low = (v[V0]! ^ v[V1]! ^ v[V2]! ^ v[V3]!) >>> 0;
    this.high = (v[V0 + 1]! ^ v[V1 + 1]! ^ v[V2 + 1]! ^ v[V3 + 1]!) >>> 0;
  }
}

function round(): void {
  add(V0, V1);
  rotate(V1, 13);
  xor(V1, V0);
  swap(V0);
  add(V2, V3);
  rotate(V3, 16);
  xor(V3, V2);
  add(V0, V3);
  rotate(V3, 21);
  xor(V3, V0);
  add(V2, V1);
  rotate(V1, 17);
  xor(V1, V2);
  swap(V2);
}

function add(a: number, b: number): void {
  const low = (v[a]! >>> 0) + (v[b]! >>> 0);
  v[a] = low;
  v[a + 1] = v[a + 1]! + v[b + 1]! + (low > 0xffffffff ? 1 : 0);
}

function xor(a: number, b: number): void {
  v[a]! ^= v[b]!;
  v[a + 1]! ^= v[b + 1]!;
}

/** Rotates left by less than 32 bits. */
function rotate(a: number, by: number): void {
  const low = v[a]!;
  const high = v[a + 1]!;
  v[a] = (low << by) | (high >>> (32 - by));
  v[a + 1] = (high << by) | (low >>> (32 - by));
}

/** Rotates by 32 bits. */
function swap(a: number): void {
  const low = v[a]!;
  v[a] = v[a + 1]!;
  v[a + 1] = low;
}

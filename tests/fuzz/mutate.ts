/** Inputs for the fuzz targets: known messages, damaged in the ways that hurt a parser of DNS most. */

/** Octets that mean something where a length, a pointer or a count is read. */
const TELLING = [0x00, 0x01, 0x0c, 0x3f, 0x40, 0x80, 0xbf, 0xc0, 0xff];
const LENGTH_MAX = 4_096;

/** Random numbers from a seed, so that a run can be repeated (xorshift32). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0 || 1;
  }

  /** A number from 0 to `limit` - 1. */
  below(limit: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % limit;
  }

  /** One of the values. */
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
}

/** A damaged copy of one of the seeds. */
export function mutate(random: Random, seeds: readonly Uint8Array[]): Uint8Array {
  let bytes = Uint8Array.from(random.pick(seeds));
  for (let n = 1 + random.below(4); n > 0; n--) bytes = damage(random, bytes, seeds);
  return bytes.subarray(0, LENGTH_MAX);
}

function damage(
  random: Random,
  bytes: Uint8Array<ArrayBuffer>,
  seeds: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const at = random.below(bytes.length + 1);
  const length = random.below(16);
  switch (random.below(7)) {
    case 0:
      return replaced(bytes, at, 1, [1 << random.below(8) ^ (bytes[at] ?? 0)]);
    case 1:
      return replaced(bytes, at, 1, [random.pick(TELLING)]);
    case 2:
      return replaced(bytes, at, length, []);
    case 3:
      return replaced(bytes, at, 0, Array.from({ length }, () => random.below(256)));
    case 4: // a compression pointer to anywhere
      return replaced(bytes, at, 2, [0xc0 | random.below(2), random.below(256)]);
    case 5: { // a piece of another message
      const other = random.pick(seeds);
      const from = random.below(other.length);
      return replaced(bytes, at, length, other.subarray(from, from + random.below(64)));
    }
    default: // the same again, many times
      return replaced(bytes, at, 0, repeated(bytes.subarray(at, at + length), random.below(64)));
  }
}

function replaced(
  bytes: Uint8Array,
  at: number,
  length: number,
  by: ArrayLike<number>,
): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(...bytes.subarray(0, at), ...Array.from(by), ...bytes.subarray(at + length));
}

function repeated(bytes: Uint8Array, times: number): number[] {
  return Array.from({ length: times }, () => [...bytes]).flat();
}

/**
 * A queue of small numbers, oldest first, from which any one can be taken: a doubly linked list in
 * two arrays. What lives equally long needs no timer of its own and no heap: its expiry queue is this.
 * `NONE` stands for no number. Every operation but growing takes constant time and makes no object.
 *
 * @module
 */

/** No number. */
export const NONE = -1;

/** Numbers in the order in which they were put in; each at most once. */
export class AgeQueue {
  #next = new Int32Array(64).fill(NONE);
  #previous = new Int32Array(64).fill(NONE);
  #newest = NONE;
  /** The number that was put in first, or `NONE`. */
  oldest = NONE;
  /** How many numbers there are. */
  size = 0;

  /** Puts a number that is not in the queue at its young end. */
  push(n: number): void {
    if (n >= this.#next.length) this.#grow(n);
    this.#next[n] = NONE;
    this.#previous[n] = this.#newest;
    if (this.#newest === NONE) this.oldest = n;
    else this.#next[this.#newest] = n;
    this.#newest = n;
    this.size++;
  }

  /** Takes a number out that is in the queue. */
  remove(n: number): void {
    const next = this.#next[n]!;
    const previous = this.#previous[n]!;
    if (previous === NONE) this.oldest = next;
    else this.#next[previous] = next;
    if (next === NONE) this.#newest = previous;
    else this.#previous[next] = previous;
    this.size--;
  }

  /** Moves a number that is in the queue to its young end. */
  renew(n: number): void {
    if (n === this.#newest) return;
    this.remove(n);
    this.push(n);
  }

  /** The number put in right after `n`, or `NONE`. */
  after(n: number): number {
    return this.#next[n]!;
  }

  #grow(n: number): void {
    const length = Math.max(n + 1, this.#next.length * 2);
    this.#next = resized(this.#next, length);
    this.#previous = resized(this.#previous, length);
  }
}

function resized(from: Int32Array, length: number): Int32Array<ArrayBuffer> {
  const to = new Int32Array(length).fill(NONE);
  to.set(from);
  return to;
}

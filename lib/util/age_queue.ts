/**
 * A queue of small numbers, oldest first, from which any one can be taken: a doubly linked list in
 * two arrays. What lives equally long needs no timer of its own and no heap: its expiry queue is this.
 * Queues that never hold the same number may share these arrays.
 * `NONE` stands for no number. Every operation but growing takes constant time and makes no object.
 *
 * @module
 */
import { grown } from "./grown.ts";

/** No number. */
export const NONE = -1;

/** What stands before and behind each number, in whichever queue that is in. */
export class Links {
  next: Int32Array = new Int32Array(64);
  previous: Int32Array = new Int32Array(64);
}

/** Numbers in the order in which they were put in; each at most once. */
export class AgeQueue {
  readonly #links: Links;
  #newest = NONE;
  /** The number that was put in first, or `NONE`. */
  oldest = NONE;
  /** How many numbers there are. */
  size = 0;

  /** @param links shared with queues that hold none of the same numbers */
  constructor(links: Links = new Links()) {
    this.#links = links;
  }

  /** Puts a number that is not in the queue at its young end. */
  push(n: number): void {
    const links = this.#links;
    if (n >= links.next.length) {
      links.next = grown(links.next, n);
      links.previous = grown(links.previous, n);
    }
    links.next[n] = NONE;
    links.previous[n] = this.#newest;
    if (this.#newest === NONE) this.oldest = n;
    else links.next[this.#newest] = n;
    this.#newest = n;
    this.size++;
  }

  /** Takes a number out that is in the queue. */
  remove(n: number): void {
    const links = this.#links;
    const next = links.next[n]!;
    const previous = links.previous[n]!;
    if (previous === NONE) this.oldest = next;
    else links.next[previous] = next;
    if (next === NONE) this.#newest = previous;
    else links.previous[next] = previous;
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
    return this.#links.next[n]!;
  }
}

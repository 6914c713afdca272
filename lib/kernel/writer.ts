/**
 * Writes changes to the kernel: in as few transactions as can be, and where one is refused in halves of
 * it, until what the kernel does not take stands alone; that mapping ends and the others do not notice.
 *
 * A fake that gets another real is written in three moves: what it stood for leaves the kernel; the
 * connections that conntrack would still take there are deleted, and it is seen that they are gone; and
 * only then comes the new. The fake is remembered until that has been done, so a batch that hangs or
 * is refused does not lose it. Where it cannot be done the mapping is refused.
 *
 * @module
 */
import { FAMILIES, type Family } from "../address.ts";
import type { Change, Pair } from "../nat/changes.ts";
import { keyOf, netOf } from "../nat/net.ts";
import { settled, type Steps } from "../util/steps.ts";
import type { Kernel, KernelEvent, Refused, Unavailable } from "./kernel.ts";

/** The most changes in one transaction; Netlink answers a much larger one `Message too long`. */
export const BATCH_CHANGES_MAX = 1_000;

/** What a `KernelWriter` is made of. */
export interface KernelWriterOptions {
  readonly kernel: Kernel;
  /** Ends the mapping that a refused addition is about; false where it has changed meanwhile. */
  readonly drop: (change: Change) => boolean;
  readonly report: (event: KernelEvent) => void;
}

/**
 * How a write ended: everything is there but what was refused; the kernel was not as dotp left it and
 * what remained was not tried; or all was tried and what became of it must be looked at.
 */
export type Written = "done" | "drift" | "unclear";

const STILL_CONNECTED: Refused = {
  kind: "refused",
  reason: "other",
  detail: "connections to the fake's former real address cannot be deleted",
};

/** Thrown within this room where the kernel must be asked and cannot be, or refuses what it must take. */
export class KernelProblem extends Error {
  readonly failure: Refused | Unavailable;

  constructor(failure: Refused | Unavailable) {
    super(failure.detail);
    this.failure = failure;
  }
}

/** Writes changes to the kernel. */
export class KernelWriter {
  readonly #options: KernelWriterOptions;
  /** Fakes that have stood for another real, and of which connections to it may be left. */
  readonly #used = new Set<string>();

  constructor(options: KernelWriterOptions) {
    this.#options = options;
  }

  /** Remembers the fakes that get another real; to be told of each change before it is written. */
  noteReuse(changes: Iterable<Change>): void {
    for (const { kind, isReused, fake } of changes) {
      if (kind === "add" && isReused) this.#used.add(keyOf(fake));
    }
  }

  /**
   * Writes changes, which are in their order.
   *
   * @param isTrusting whether to stop where the kernel turns out not to be as dotp left it; else that
   *   is a refusal like any other, and each refused addition is to be looked at
   * @throws {KernelProblem} where the kernel cannot be asked: nobody knows what it took
   */
  *write(changes: readonly Change[], isTrusting: boolean): Steps<Written> {
    if (!changes.some((change) => this.#isUsed(change))) {
      return yield* this.#writeAll(changes, isTrusting);
    }
    const { deletions, renewals, additions } = netOf(changes);
    const deleted = yield* this.#writeAll(deletions, isTrusting);
    if (deleted === "drift") return deleted;
    yield* this.#disconnect(additions.filter((change) => this.#isUsed(change)));
    let isClear = deleted === "done";
    for (const change of additions.filter((change) => this.#isUsed(change))) {
      isClear = this.#refuse(change, STILL_CONNECTED, isTrusting) && isClear;
    }
    const safe = [...renewals, ...additions.filter((change) => !this.#isUsed(change))];
    const written = yield* this.#writeAll(safe, isTrusting);
    return written === "done" && !isClear ? "unclear" : written;
  }

  /**
   * Deletes the connections to fakes that were never translated, as they began while the table was
   * absent: conntrack would leave each of them so for as long as packets come.
   */
  *unpin(): Steps<void> {
    const { kernel, report } = this.#options;
    for (const family of FAMILIES) {
      const result = yield* settled(kernel.readConnections(family));
      if (result.kind !== "done") return report({ kind: "connections", detail: result.detail });
      const pinned = Array.from(result.value)
        .filter(({ fake, real }) => keyOf(fake) === keyOf(real));
      if (pinned.length > 0) yield* this.#delete(pinned);
    }
  }

  #isUsed({ kind, fake }: Change): boolean {
    return kind === "add" && this.#used.size > 0 && this.#used.has(keyOf(fake));
  }

  *#writeAll(changes: readonly Change[], isTrusting: boolean): Steps<Written> {
    let all: Written = "done";
    for (let i = 0; i < changes.length && all !== "drift"; i += BATCH_CHANGES_MAX) {
      const chunk = changes.slice(i, i + BATCH_CHANGES_MAX);
      all = worse(all, yield* this.#commit(chunk, isTrusting));
    }
    return all;
  }

  /** Makes changes in one transaction, or in several where one is refused. */
  *#commit(changes: readonly Change[], isTrusting: boolean): Steps<Written> {
    const { kernel, report } = this.#options;
    const result = yield* settled(kernel.commit(changes));
    if (result.kind === "done") return "done";
    if (result.kind === "unavailable") throw new KernelProblem(result);
    if (isTrusting && (result.reason === "missing" || result.reason === "exists")) {
      report({ kind: "drift", detail: result.detail });
      return "drift";
    }
    if (changes.length === 1) {
      return this.#refuse(changes[0]!, result, isTrusting) ? "done" : "unclear";
    }
    const middle = changes.length >>> 1;
    const first = yield* this.#commit(changes.slice(0, middle), isTrusting);
    if (first === "drift") return first;
    return worse(first, yield* this.#commit(changes.slice(middle), isTrusting));
  }

  /** Gives one change up; false where it must be looked at what became of its mapping. */
  #refuse(change: Change, { reason, detail }: Refused, isTrusting: boolean): boolean {
    const { drop, report } = this.#options;
    report({ kind: "refused", change: change.kind, reason, detail });
    // It may have changed meanwhile, by changes that count on this one; or half of it may be there.
    return change.kind !== "add" || (drop(change) && isTrusting);
  }

  /**
   * Deletes the connections of fakes to others than the reals that they get now; fakes of which none is
   * left count as used no more.
   */
  *#disconnect(additions: readonly Change[]): Steps<void> {
    for (const family of FAMILIES) {
      const ours = additions.filter((change) => change.family === family);
      if (ours.length === 0) continue;
      let stray = yield* this.#findStray(family, ours);
      if (stray !== undefined && stray.length > 0) {
        yield* this.#delete(stray);
        stray = yield* this.#findStray(family, ours);
      }
      if (stray === undefined) continue;
      const left = new Set(stray.map(({ fake }) => keyOf(fake)));
      for (const { fake } of ours) {
        if (!left.has(keyOf(fake))) this.#used.delete(keyOf(fake));
      }
    }
  }

  *#delete(pairs: readonly Pair[]): Steps<void> {
    const result = yield* settled(this.#options.kernel.disconnect(pairs));
    if (result.kind === "done") return;
    this.#options.report({ kind: "connections", detail: result.detail });
  }

  /** Connections that would take what is sent to a fake to another real; undefined where none can tell. */
  *#findStray(family: Family, additions: readonly Change[]): Steps<Pair[] | undefined> {
    const { kernel, report } = this.#options;
    const result = yield* settled(kernel.readConnections(family));
    if (result.kind !== "done") {
      report({ kind: "connections", detail: result.detail });
      return undefined;
    }
    const reals = new Map(additions.map(({ fake, real }) => [keyOf(fake), keyOf(real)]));
    return Array.from(result.value).filter(({ fake, real }) => {
      const wanted = reals.get(keyOf(fake));
      return wanted !== undefined && wanted !== keyOf(real);
    });
  }
}

function worse(a: Written, b: Written): Written {
  return b === "done" ? a : b;
}

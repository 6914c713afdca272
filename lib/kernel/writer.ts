/**
 * Writes changes to the kernel: in as few transactions as can be, and where one is refused in halves of
 * it, until what the kernel does not take stands alone; that mapping ends and the others do not notice.
 *
 * A fake that gets another real is written in three moves: what it stood for leaves the kernel; the
 * connections that conntrack would still take there are deleted, and it is seen that they are gone; and
 * only then comes the new. Where that cannot be done the mapping is refused.
 *
 * @module
 */
import type { Change } from "../nat/changes.ts";
import { netOf } from "../nat/net.ts";
import { settled, type Steps } from "../util/steps.ts";
import type { Connections } from "./connections.ts";
import type { Kernel, KernelEvent, Refused, Unavailable } from "./kernel.ts";

/** The most changes in one transaction; Netlink answers a much larger one `Message too long`. */
export const BATCH_CHANGES_MAX = 1_000;

/** What a `KernelWriter` is made of. */
export interface KernelWriterOptions {
  readonly kernel: Kernel;
  /** Knows which fakes have been another real's, and deletes their connections. */
  readonly connections: Connections;
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

  constructor(options: KernelWriterOptions) {
    this.#options = options;
  }

  /**
   * Writes changes, which are in their order.
   *
   * @param isTrusting whether to stop where the kernel turns out not to be as dotp left it; else that
   *   is a refusal like any other, and each refused addition is to be looked at
   * @throws {KernelProblem} where the kernel cannot be asked: nobody knows what it took
   */
  *write(changes: readonly Change[], isTrusting: boolean): Steps<Written> {
    const { connections } = this.#options;
    const isUsed = (change: Change) => connections.isUsed(change);
    if (!changes.some(isUsed)) return yield* this.#writeAll(changes, isTrusting);
    const { deletions, renewals, additions } = netOf(changes);
    const deleted = yield* this.#writeAll(deletions, isTrusting);
    if (deleted === "drift") return deleted;
    yield* connections.clean(additions.filter(isUsed));
    let isClear = deleted === "done";
    for (const change of additions.filter(isUsed)) {
      isClear = this.#refuse(change, STILL_CONNECTED, isTrusting) && isClear;
    }
    const safe = [...renewals, ...additions.filter((change) => !isUsed(change))];
    const written = yield* this.#writeAll(safe, isTrusting);
    return written === "done" && !isClear ? "unclear" : written;
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
}

function worse(a: Written, b: Written): Written {
  return b === "done" ? a : b;
}

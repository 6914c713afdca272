/**
 * Compares the kernel with the tables: what it holds is read whole, and what would make it what the
 * tables say comes out as changes. Adoption is the same with one step before it: at the start the
 * tables take over what an earlier run has left, and what conntrack knows of it.
 *
 * Nothing is written here. What the tables have changed and the kernel has not got is taken from the
 * log, since the difference says it too; renewals alone leave no trace in it and are kept until they
 * have been made.
 *
 * @module
 */
import { FAMILIES } from "../address.ts";
import type { Change } from "../nat/changes.ts";
import type { Mappings } from "../nat/mappings.ts";
import { keyOf } from "../nat/net.ts";
import type { Table } from "../nat/table.ts";
import { settled, type Steps } from "../util/steps.ts";
import type { Connections } from "./connections.ts";
import type { Kernel, KernelState, ReadResult } from "./kernel.ts";
import { KernelProblem } from "./writer.ts";

/** The log of changes as one of its readers sees it. */
export interface ChangeSource {
  /** The revision of the newest change ever. */
  readonly revision: number;
  /** How many changes wait to be taken. */
  readonly size: number;
  take(most: number): Change[];
  takeAll(): Change[];
}

/** What a `Reconciler` is made of. */
export interface ReconcilerOptions {
  readonly kernel: Kernel;
  readonly connections: Connections;
  readonly log: ChangeSource;
  readonly mappings: Mappings;
  readonly now: () => number;
}

/** What is to be done to the kernel. */
export interface Repair {
  readonly changes: readonly Change[];
  /** What was taken from the log, and is in the changes by its effect. */
  readonly pending: readonly Change[];
  /** The revision up to which the kernel has everything once the changes are made. */
  readonly revision: number;
  /** How many of the changes undo what somebody else has done. */
  readonly foreign: number;
}

/** Compares the kernel with the tables. */
export class Reconciler {
  readonly #options: ReconcilerOptions;
  /** Renewals that may not have been made, by fake. */
  readonly #renewals = new Map<string, Change>();
  /** Whether what the kernel holds is still to be taken over. */
  #isAdopting = false;

  constructor(options: ReconcilerOptions) {
    this.#options = options;
  }

  /** Lets the next comparison take over what the kernel holds. */
  adopt(): void {
    this.#isAdopting = true;
  }

  /** Keeps in mind what a comparison does not find out. */
  noteUnwritten(changes: Iterable<Change>): void {
    for (const change of changes) {
      if (change.kind === "renew") this.#renewals.set(keyOf(change.fake), change);
    }
  }

  /** To be called when everything has been written. */
  noteWritten(): void {
    this.#renewals.clear();
  }

  /**
   * Reads the kernel and says what is to be done to it.
   *
   * @throws {KernelProblem}
   */
  *compare(): Steps<Repair> {
    const { kernel, connections, log, mappings, now } = this.#options;
    // Before the sets: a connection that begins meanwhile is one of a mapping that is read below, and
    // the sets should be fresh when the tables take them over.
    const lists = this.#isAdopting ? yield* connections.list() : undefined;
    const states = {
      4: valueOf(yield* settled(kernel.read(4))),
      6: valueOf(yield* settled(kernel.read(6))),
    };
    // From here on nothing waits, so tables, log and what was read belong together.
    for (const family of FAMILIES) this.#prepare(mappings.of(family), states[family]);
    if (this.#isAdopting) {
      const isClear = lists !== undefined && connections.takeOver(lists, now()).length === 0;
      if (!isClear) connections.expectStray();
    }
    this.#isAdopting = false;
    const { revision } = log;
    const pending = log.takeAll();
    const differences = FAMILIES.flatMap((family) =>
      mappings.of(family).difference(states[family].pairs, states[family].reals)
    );
    this.noteUnwritten(pending);
    const renewals = Array.from(this.#renewals.values())
      .filter((change) => mappings.of(change.family).leads(change));
    return {
      changes: [...differences, ...renewals],
      pending,
      revision,
      foreign: foreignTo(differences, pending),
    };
  }

  #prepare(table: Table, { pairs, timeoutS }: KernelState): void {
    table.expectTimeout(timeoutS * 1_000);
    if (!this.#isAdopting) return;
    const nowMs = this.#options.now();
    // What was asked for meanwhile may have got a fake that stands for another's real in the
    // kernel. Its replies wait, and will hear that it is gone.
    table.startOver();
    for (const n of pairs.oldestFirst()) {
      table.adopt(pairs.pair(n), nowMs, pairs.ageS(n) * 1_000);
    }
  }
}

function valueOf<T>(result: ReadResult<T>): T {
  if (result.kind === "done") return result.value;
  throw new KernelProblem(result);
}

/** How many of the changes to the kernel do not come from changes of our own that it lacks yet. */
function foreignTo(changes: readonly Change[], pending: readonly Change[]): number {
  const ours = new Set(
    pending.filter(({ kind }) => kind !== "renew")
      .flatMap(({ fake, real }) => [keyOf(fake), keyOf(real)]),
  );
  return changes.filter(({ fake, real }) => !ours.has(keyOf(fake)) && !ours.has(keyOf(real)))
    .length;
}

/**
 * Group commit: takes what the NAT tables have changed and brings it into the kernel in order, one
 * transaction after the other, and opens the barrier for those who wait.
 *
 * What is changed while a batch is in flight is the next batch. Where the kernel turns out not to be as
 * dotp left it (someone flushed a map, a leftover is in the way), or could not be asked at all, it is
 * read and brought back to what the tables say before anyone is answered. While that fails too, nobody
 * gets a fake: the barrier is shut until the kernel answers again, and it is tried after each pause. `verify` finds out, between
 * two batches, what someone else has done to the sets.
 *
 * Neither the runtime nor a clock is used here, and no text: the kernel and the pauses are given. Where
 * the kernel answers at once, a batch is over when `start` returns.
 *
 * @module
 */
import type { Change } from "../nat/changes.ts";
import type { Mappings } from "../nat/mappings.ts";
import { settled, type Steps, take } from "../util/steps.ts";
import { Barrier } from "./barrier.ts";
import { Connections } from "./connections.ts";
import type { Kernel, KernelEvent } from "./kernel.ts";
import { type ChangeSource, Reconciler } from "./reconciler.ts";
import { BATCH_CHANGES_MAX, KernelProblem, KernelWriter } from "./writer.ts";

/** What a `Committer` is made of. */
export interface CommitterOptions {
  readonly kernel: Kernel;
  readonly log: ChangeSource;
  readonly mappings: Mappings;
  /** Calls `run` when a first batch may be taken: at once or later; what comes until then goes with it. */
  readonly begin: (run: () => void) => void;
  /** Resolves when the next batch may be taken; undefined where it may at once. */
  readonly pace?: () => Promise<void> | undefined;
  /** Resolves after a turn of the event loop, so that many answers do not keep others waiting. */
  readonly breathe?: () => Promise<void>;
  /** Resolves when a failed attempt may be repeated; false to give up, at the end of the program. */
  readonly pause: () => Promise<boolean>;
  readonly now: () => number;
  readonly report: (event: KernelEvent) => void;
}

/** Brings the tables' changes into the kernel. */
export class Committer {
  /** Where replies wait for their mappings. */
  readonly barrier: Barrier;
  /** What conntrack knows of fakes. */
  readonly connections: Connections;
  readonly #options: CommitterOptions;
  readonly #writer: KernelWriter;
  readonly #reconciler: Reconciler;
  #isInStep = true;
  #isRunning = false;
  /** Resolves when the batch or the attempt to repair that is in flight has ended. */
  #turn = Promise.withResolvers<void>();
  #isVerifyDue = false;
  /** Whether somebody else has changed the sets since they were read last. */
  #isDistrusted = false;

  constructor(options: CommitterOptions) {
    const { kernel, log, mappings, now, report, breathe } = options;
    this.#options = options;
    this.barrier = new Barrier({
      isActive: (lease) => mappings.holds(lease),
      onWait: () => this.start(),
      ...(breathe === undefined ? {} : { breathe }),
    });
    const drop = ({ revision }: Change) => mappings.drop(revision);
    const connections = new Connections({ kernel, mappings, report });
    this.connections = connections;
    this.#writer = new KernelWriter({ kernel, connections, drop, report });
    this.#reconciler = new Reconciler({ kernel, connections, log, mappings, now });
  }

  /** Whether the kernel holds what the tables say up to the settled revision, as far as is known. */
  get isInStep(): boolean {
    return this.#isInStep;
  }

  /** Starts bringing over what has changed, unless that is in flight or nothing has. */
  start(): void {
    if (this.#isRunning || this.#isQuiet) return;
    this.#isRunning = true;
    this.#options.begin(() => this.#run());
  }

  /** Resolves when nothing is in flight any more. */
  async idle(): Promise<void> {
    while (this.#isRunning) await this.#turn.promise;
  }

  /** Reads the sets, however large, and repairs whatever is not as the tables say. */
  verify(): Promise<void> {
    this.#isVerifyDue = true;
    this.start();
    return this.#repaired();
  }

  /**
   * To be called where somebody else has changed the sets: replies with fakes wait until they have been
   * read and repaired.
   */
  distrust(): void {
    this.#isDistrusted = true;
    if (this.#isInStep) this.#doubt();
    this.start();
  }

  /**
   * Takes over the pairs that the kernel has from an earlier run, and removes what is not dotp's. To be
   * called once, before anything else; until it is done, replies with fakes wait.
   *
   * @returns how many pairs were taken over
   */
  async adopt(): Promise<number> {
    this.#doubt();
    this.#reconciler.adopt();
    this.start();
    await this.#repaired();
    return this.#options.mappings.size;
  }

  /** Whether the kernel is as the tables say and nobody wants to know more. */
  get #isQuiet(): boolean {
    return this.#isInStep && this.#options.log.size === 0 && !this.#isVerifyDue;
  }

  /** Resolves when the kernel is in step as far as anybody has asked, or nothing is in flight. */
  async #repaired(): Promise<void> {
    const isDue = () => this.#isVerifyDue || !this.#isInStep;
    while (this.#isRunning && isDue()) await this.#turn.promise;
  }

  #run(): void {
    const over = take(this.#steps());
    if (over instanceof Promise) void over.then(() => this.#end());
    else this.#end();
  }

  #end(): void {
    this.#isRunning = false;
    this.#endTurn();
  }

  #endTurn(): void {
    this.#turn.resolve();
    this.#turn = Promise.withResolvers();
  }

  *#steps(): Steps<void> {
    while (!this.#isQuiet) {
      yield* settled(this.#options.pace?.());
      try {
        if (this.#isInStep && !this.#isVerifyDue) yield* this.#commitNext();
        else yield* this.#repair();
      } catch (error) {
        yield* this.#fail(error);
        if (!(yield* settled(this.#options.pause()))) return;
      }
      this.#endTurn();
    }
  }

  *#commitNext(): Steps<void> {
    const batch = this.#options.log.take(BATCH_CHANGES_MAX);
    const revision = batch.at(-1)?.revision ?? this.barrier.settled;
    this.#note(batch);
    const written = yield* this.#writer.write(batch, true);
    // Where there is doubt, replies wait until it is gone.
    if (written !== "done") return this.#doubt();
    this.#reconciler.noteWritten();
    if (!this.#isDistrusted) yield* this.barrier.open(revision);
  }

  *#repair(): Steps<void> {
    const isNews = this.#isInStep || this.#isDistrusted;
    this.#isVerifyDue = this.#isDistrusted = false;
    const { changes, pending, revision, foreign } = yield* this.#reconciler.compare();
    // Now that the kernel has answered it is worth waiting.
    if (!this.#isInStep) this.barrier.hold();
    this.#note(pending);
    if (isNews && foreign > 0) {
      this.#options.report({ kind: "foreign", elements: foreign });
      this.#doubt();
    }
    const wasInStep = this.#isInStep;
    const written = yield* this.#writer.write(changes, false);
    this.#isInStep = written === "done" && !this.#isDistrusted;
    if (!this.#isInStep) return;
    this.#reconciler.noteWritten();
    // While the kernel was another, connections may have come to be that lead elsewhere.
    if (foreign > 0) this.connections.expectStray();
    const isTidyDue = !wasInStep && this.connections.isTidyDue;
    if (isTidyDue) yield* this.connections.tidy(this.#options.now());
    if (this.#isInStep) yield* this.barrier.open(revision);
  }

  #doubt(): void {
    this.#isInStep = false;
    this.barrier.hold();
  }

  /** Keeps of changes that are about to be written what would be lost if that fails. */
  #note(changes: readonly Change[]): void {
    this.connections.noteReuse(changes);
    this.#reconciler.noteUnwritten(changes);
  }

  /** Tells everyone that there is nothing to wait for now. */
  *#fail(error: unknown): Steps<void> {
    const { log, report } = this.#options;
    this.#isInStep = false;
    // Everything will be read and compared with the tables, so nothing of the log is missed.
    this.#note(log.takeAll());
    const failure = error instanceof KernelProblem ? error.failure : undefined;
    const reason = failure?.kind === "refused" ? failure.reason : undefined;
    const detail = error instanceof Error ? error.message : String(error);
    if (reason === "missing") this.connections.expectStray();
    report({ kind: "failed", reason, detail });
    yield* this.barrier.shut();
  }
}

/**
 * The nft program: the only place that runs it.
 *
 * Small transactions go to one long-lived `nft -i`, a line each: no process to start, a fifth of a
 * millisecond. It reads its input an octet at a time (libedit does), so large ones are cheaper in a
 * process of their own, `nft -f -`; so is everything where nft was built without `-i`. Whether a line
 * has been carried out is asked with a second line that cannot be parsed: what nft complains of
 * before it complains of that line belongs to the transaction. `nft -i` also keeps every line in its
 * history, so it gets no home to load one from and is replaced after a while.
 *
 * Nothing here retries: an nft that hangs is ended, and the caller is told that it is unavailable.
 *
 * @module
 */
import { findingToText } from "../../check/finding.ts";
import { missingTable } from "../../check/nft.ts";
import type { CommitResult, ReadResult, Refused, Unavailable } from "../../kernel/kernel.ts";
import { complaintOf, reasonOf } from "../../nft/complaint.ts";
import { ElementReader, type OnElement } from "../../nft/elements.ts";
import { listTableArgs } from "../../nft/script.ts";
import { nowMs } from "../runtime/clock.ts";
import { log } from "../runtime/log.ts";
import { ENVIRONMENT, runProgram, startProblem, startProgram } from "../runtime/process.ts";

/** How long nft may take over one transaction before it is ended. */
export const TRANSACTION_TIMEOUT_MS = 3_000;
/**
 * How long nft may take to list a set: at first as long as the largest one takes on a slow machine
 * (6 s for 200,000 elements on a busy one), later so many times as long as the slowest listing took;
 * after each that took too long twice that, as a set may have grown.
 */
export const LIST_TIMEOUT = { mostMs: 60_000, leastMs: 3_000, times: 5 } as const;
/** From so many elements on a transaction gets a process of its own; measured, see README. */
export const OWN_PROCESS_MIN = 150;
/** Octets that one `nft -i` is given before it is replaced, since it remembers them all. */
const INTERACTIVE_OCTETS_MAX = 4 * 1024 * 1024;
/** Characters of what nft wrote at its end that are kept. */
const LAST_WORDS_MAX = 200;

/** Runs transactions and lists sets with the nft program. */
export class NftProgram {
  readonly #table: string;
  readonly #rulesFile: string | undefined;
  #shell: NftShell | undefined;
  #hasShell = true;
  #listTimeoutMs: number = LIST_TIMEOUT.mostMs;
  #slowestMs = 0;

  /**
   * @param table name of the table in family inet
   * @param rulesFile absolute path of what makes it; without it a missing table stays missing
   */
  constructor(table: string, rulesFile?: string) {
    this.#table = table;
    this.#rulesFile = rulesFile;
  }

  /** Runs one transaction of about `size` elements; not before the one before it is finished. */
  async run(script: string, size: number): Promise<CommitResult> {
    if (size >= OWN_PROCESS_MIN || !this.#hasShell) return await this.#runAlone(script);
    if (this.#shell === undefined || this.#shell.isSpent) {
      this.close();
      try {
        this.#shell = NftShell.start();
      } catch (error) {
        return unavailable(startProblem("nft", error));
      }
    }
    const result = await this.#shell.run(script);
    if (result.kind !== "unavailable") return result;
    this.#hasShell = !this.#shell.isUnsupported;
    this.#shell.close();
    this.#shell = undefined;
    return this.#hasShell ? result : await this.#runAlone(script);
  }

  /**
   * Lists a set or map, an element at a time.
   *
   * @returns after how many seconds the kernel forgets an element of it
   */
  async listElements(args: readonly string[], onElement: OnElement): Promise<ReadResult<number>> {
    const reader = new ElementReader(onElement);
    const onOutput = (chunk: Uint8Array) => reader.push(chunk);
    const startMs = nowMs();
    try {
      const { success, stderr } = await runProgram("nft", args, "", this.#listTimeoutMs, {
        onOutput,
      });
      if (!success) return refused(complaintOf(stderr));
      this.#slowestMs = Math.max(this.#slowestMs, nowMs() - startMs);
      this.#allow(LIST_TIMEOUT.times * this.#slowestMs);
      return { kind: "done", value: reader.timeoutS };
    } catch (error) {
      this.#allow(2 * this.#listTimeoutMs);
      return unavailable((error as Error).message);
    }
  }

  /** Says how long the next listing may take. */
  #allow(ms: number): void {
    const { leastMs, mostMs } = LIST_TIMEOUT;
    this.#listTimeoutMs = Math.min(mostMs, Math.max(leastMs, ms));
  }

  /**
   * Makes the table, which is missing, as the rules file says.
   *
   * @throws {Error} that says which table is missing and what to do
   */
  async loadRules(): Promise<void> {
    const [table, path] = [this.#table, this.#rulesFile];
    const missing = findingToText(missingTable(table, path));
    if (path === undefined) throw new Error(missing);
    const { success, stderr } = await runProgram("nft", ["-f", path], "", TRANSACTION_TIMEOUT_MS);
    if (!success) throw new Error(`${missing}, which fails: ${complaintOf(stderr)}`);
    await this.listTable().catch(({ message }) => {
      const why = reasonOf(message) === "missing" ? "it makes another table" : message;
      throw new Error(`${missing}, which has been done: ${why}`);
    });
    log.warning("table inet {table} was missing: loaded {path}", { table, path });
  }

  /** What the table looks like without its elements, as JSON. */
  listTable(): Promise<string> {
    return this.list(listTableArgs(this.#table));
  }

  /**
   * What nft prints with these arguments.
   *
   * @throws {Error} where it fails, hangs or is missing; the message is nft's
   */
  async list(args: readonly string[]): Promise<string> {
    const { success, stdout, stderr } = await runProgram("nft", args, "", LIST_TIMEOUT.mostMs);
    if (!success) throw new Error(complaintOf(stderr));
    return stdout;
  }

  /** Ends the long-lived nft. */
  close(): void {
    this.#shell?.close();
    this.#shell = undefined;
  }

  async #runAlone(script: string): Promise<CommitResult> {
    try {
      const args = ["-f", "-"];
      const { success, stderr } = await runProgram("nft", args, script, TRANSACTION_TIMEOUT_MS);
      return success ? { kind: "done" } : refused(complaintOf(stderr));
    } catch (error) {
      return unavailable((error as Error).message);
    }
  }
}

/** A running `nft -i`, given one line after the other. */
class NftShell {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #octets = 0;
  #lines = 0;
  #heard = "";
  #isBusy = false;
  #isClosed = false;

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#writer = child.stdin.getWriter();
    this.#reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  }

  /**
   * Starts one.
   *
   * @throws {Error} as `Deno.Command`
   */
  static start(): NftShell {
    const options = { env: ENVIRONMENT, stdin: "piped", stdout: "null", stderr: "piped" } as const;
    return new NftShell(startProgram("nft", { args: ["-i"], ...options }));
  }

  /** Whether it has been given so much that another should take over. */
  get isSpent(): boolean {
    return this.#octets > INTERACTIVE_OCTETS_MAX;
  }

  /** Whether it ended with word that this nft has no `-i`. */
  get isUnsupported(): boolean {
    return /interactive CLI not supported/.test(this.#heard);
  }

  /** Runs one transaction; not before the one before it is finished. */
  async run(script: string): Promise<CommitResult> {
    const mark = `ack_${++this.#lines}`;
    const bytes = new TextEncoder().encode(`${script}\n${mark}\n`);
    this.#octets += bytes.length;
    const timer = setTimeout(() => this.#kill(), TRANSACTION_TIMEOUT_MS);
    this.#isBusy = true;
    try {
      // Where it has ended, it may have said why.
      await this.#writer.write(bytes).catch(() => {});
      return await this.#answer(mark);
    } finally {
      this.#isBusy = false;
      clearTimeout(timer);
    }
  }

  /** Ends it: in order, or by force where it is at work. */
  close(): void {
    if (this.#isClosed) return;
    if (this.#isBusy) return this.#kill();
    this.#isClosed = true;
    this.#writer.close().catch(() => this.#kill());
    this.#reader.cancel().catch(() => {});
    this.#child.status.catch(() => {});
  }

  /** Reads what nft complains of up to the mark. */
  async #answer(mark: string): Promise<CommitResult> {
    // The mark is named in the complaint about it, and a line of carets ends that.
    const end = new RegExp(`^Error: syntax error[^\\n]*\\n${mark}\\n *\\^+\\n`, "m");
    for (;;) {
      const found = end.exec(this.#heard);
      if (found !== null) {
        const before = this.#heard.slice(0, found.index);
        this.#heard = this.#heard.slice(found.index + found[0].length);
        return before.trim() === "" ? { kind: "done" } : refused(complaintOf(before));
      }
      const { value, done } = await this.#reader.read();
      if (done) {
        const why = this.#isClosed ? "nft hung and was ended" : `nft ended: ${this.#heard}`;
        return unavailable(why.slice(0, LAST_WORDS_MAX).trim());
      }
      this.#heard += value;
    }
  }

  #kill(): void {
    this.#isClosed = true;
    // What it has started may hold the pipe.
    this.#reader.cancel().catch(() => {});
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}

function refused(detail: string): Refused {
  return { kind: "refused", reason: reasonOf(detail), detail };
}

function unavailable(detail: string): Unavailable {
  return { kind: "unavailable", detail };
}

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
 * Nothing here retries: an nft that hangs is ended, and the caller is told that it is unavailable. But
 * where the sets are read and the table turns out to be gone, it is loaded from the rules file, if
 * there is one: whoever reads them is about to fill them.
 *
 * @module
 */
import type { Family } from "../../address.ts";
import { findingToText } from "../../check/finding.ts";
import { isMissing, MISSING, nftProblem } from "../../check/nft.ts";
import type { KernelState, NftResult } from "../../kernel/committer.ts";
import {
  type KernelNote,
  mapElements,
  noteElements,
  setElements,
  timeoutOf,
} from "../../nft/listing.ts";
import {
  listMapArgs,
  listNotesArgs,
  listSetArgs,
  listTableArgs,
  type NoteSet,
} from "../../nft/script.ts";
import { breathe } from "../runtime/clock.ts";
import { log } from "../runtime/log.ts";
import { ENVIRONMENT, runProgram, startProblem } from "../runtime/process.ts";

/** How long nft may take over one transaction before it is ended. */
export const TRANSACTION_TIMEOUT_MS = 3_000;
/** How long nft may take to list a set. */
export const LIST_TIMEOUT_MS = 10_000;
/** From so many elements on a transaction gets a process of its own; measured, see README. */
export const OWN_PROCESS_MIN = 150;
/** Elements that are read before anyone else has a turn: some milliseconds of work. */
const READ_AT_ONCE = 2_000;
/** Octets that one `nft -i` is given before it is replaced, since it remembers them all. */
const INTERACTIVE_OCTETS_MAX = 4 * 1024 * 1024;
/** Characters of a complaint that are kept: nft repeats the whole line. */
const MESSAGE_LENGTH_MAX = 200;

/** Runs transactions and lists sets with the nft program. */
export class NftProgram {
  readonly #table: string;
  readonly #rulesFile: string | undefined;
  #shell: NftShell | undefined;
  #hasShell = true;

  /**
   * @param table name of the table in family inet
   * @param rulesFile absolute path of what makes it; without it a missing table stays missing
   */
  constructor(table: string, rulesFile?: string) {
    this.#table = table;
    this.#rulesFile = rulesFile;
  }

  /** Runs one transaction of about `size` elements; not before the one before it is finished. */
  async run(script: string, size: number): Promise<NftResult> {
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
   * Reads map and set of one IP version, of a table just loaded if it was missing.
   *
   * @throws {Error} as `list`, or that says which table is missing and what to do
   */
  async read(family: Family): Promise<KernelState> {
    try {
      return await this.#read(family);
    } catch (error) {
      if (!isMissing((error as Error).message)) throw error;
      await this.loadRules();
      return await this.#read(family);
    }
  }

  /**
   * Makes the table as the rules file says.
   *
   * @throws {Error} that says which table is missing and what to do
   */
  async loadRules(): Promise<void> {
    const [table, path] = [this.#table, this.#rulesFile];
    const missing = findingToText(nftProblem(table, MISSING, path));
    if (path === undefined) throw new Error(missing);
    const { success, stderr } = await runProgram("nft", ["-f", path], "", TRANSACTION_TIMEOUT_MS);
    if (!success) throw new Error(`${missing}, which fails: ${complaint(stderr)}`);
    await this.listTable().catch(({ message }) => {
      const why = isMissing(message) ? "it makes another table" : message;
      throw new Error(`${missing}, which has been done: ${why}`);
    });
    log.warning("table inet {table} was missing: loaded {path}", { table, path });
  }

  async #read(family: Family): Promise<KernelState> {
    const map = this.list(listMapArgs(this.#table, family));
    const set = this.list(listSetArgs(this.#table, family));
    const [pairs, reals, timeoutS] = await Promise.all([
      map.then((listed) => collect(mapElements(listed))),
      set.then((listed) => collect(setElements(listed))),
      Promise.all([map, set]).then((lists) => Math.min(...lists.map(timeoutOf))),
    ]);
    return { pairs, reals, timeoutS };
  }

  /**
   * Reads a set that the rules fill.
   *
   * @throws {Error} as `list`
   */
  async readNotes(family: Family, notes: NoteSet): Promise<KernelNote[]> {
    return [...noteElements(await this.list(listNotesArgs(this.#table, family, notes)))];
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
    const { success, stdout, stderr } = await runProgram("nft", args, "", LIST_TIMEOUT_MS);
    if (!success) throw new Error(complaint(stderr));
    return stdout;
  }

  /** Ends the long-lived nft. */
  close(): void {
    this.#shell?.close();
    this.#shell = undefined;
  }

  async #runAlone(script: string): Promise<NftResult> {
    try {
      const args = ["-f", "-"];
      const { success, stderr } = await runProgram("nft", args, script, TRANSACTION_TIMEOUT_MS);
      return success ? { kind: "done" } : { kind: "refused", message: complaint(stderr) };
    } catch (error) {
      return unavailable((error as Error).message);
    }
  }
}

/** Goes through what was listed, in slices. */
async function collect<T>(elements: Iterable<T>): Promise<T[]> {
  const all: T[] = [];
  for (const element of elements) {
    if (all.push(element) % READ_AT_ONCE === 0) await breathe();
  }
  return all;
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
    const command = new Deno.Command("nft", {
      args: ["-i"],
      env: ENVIRONMENT,
      stdin: "piped",
      stdout: "null",
      stderr: "piped",
    });
    return new NftShell(command.spawn());
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
  async run(script: string): Promise<NftResult> {
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
  async #answer(mark: string): Promise<NftResult> {
    // The mark is named in the complaint about it, and a line of carets ends that.
    const end = new RegExp(`^Error: syntax error[^\\n]*\\n${mark}\\n *\\^+\\n`, "m");
    for (;;) {
      const found = end.exec(this.#heard);
      if (found !== null) {
        const before = this.#heard.slice(0, found.index);
        this.#heard = this.#heard.slice(found.index + found[0].length);
        return before.trim() === ""
          ? { kind: "done" }
          : { kind: "refused", message: complaint(before) };
      }
      const { value, done } = await this.#reader.read();
      if (done) {
        const why = this.#isClosed ? "nft hung and was ended" : `nft ended: ${this.#heard}`;
        return unavailable(why.slice(0, MESSAGE_LENGTH_MAX).trim());
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

/** The first complaint in what nft wrote, without the line that it repeats. */
function complaint(stderr: string): string {
  const [, text] = /Error: (.*)/.exec(stderr) ?? [];
  return (text ?? stderr).trim().slice(0, MESSAGE_LENGTH_MAX);
}

function unavailable(message: string): NftResult {
  return { kind: "unavailable", message };
}

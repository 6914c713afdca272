/**
 * Builds the policy from the command line and from the domain files, at the start and again on
 * SIGHUP.
 *
 * Files are read a piece at a time, with a turn for everything else in between, into a set beside the
 * one in force. It takes that one's place only if every file could be read to its end; what is wrong
 * with single lines is logged, or refused with `--domain-file-strict`.
 *
 * @module
 */
import { type Config, quote } from "../config.ts";
import { BAD_LINES_MAX, DomainFile } from "../policy/domain_file.ts";
import { DomainSet } from "../policy/domain_set.ts";
import { KEY_LENGTH, LabelHash } from "../policy/label_hash.ts";
import { ActivePolicy, type Policy } from "../policy/policy.ts";
import { StartError } from "./preflight.ts";
import { yieldTurn } from "./runtime/clock.ts";
import { log } from "./runtime/log.ts";

/** Octets that are read at once: some two thousand names, a millisecond or two. */
const PIECE_LENGTH = 32_768;
/** Octets of a file; it stops one that never ends. */
const FILE_LENGTH_MAX = 512 * 1024 * 1024;
/** Octets that a label takes in a file, at a guess. */
const LABEL_LENGTH_USUAL = 16;

/** Keeps the policy that the configuration asks for in force. */
export class PolicyKeeper {
  readonly #config: Config;
  readonly #hash = new LabelHash(crypto.getRandomValues(new Uint8Array(KEY_LENGTH)));
  readonly active: ActivePolicy;
  #reloading: Promise<void> | undefined;
  #isAsked = false;

  /**
   * Reads everything for the first time.
   *
   * @throws {StartError} if a file cannot be read, or may not have a bad line and has one
   */
  static async start(config: Config): Promise<PolicyKeeper> {
    const keeper = new PolicyKeeper(config);
    keeper.active.current = await keeper.#read();
    return keeper;
  }

  private constructor(config: Config) {
    this.#config = config;
    this.active = new ActivePolicy({ domains: new DomainSet(this.#hash) });
  }

  /** Reads everything anew; resolves once what was there when it was called is in force, or refused. */
  reload(): Promise<void> {
    this.#isAsked = true;
    return this.#reloading ??= this.#reload();
  }

  async #reload(): Promise<void> {
    while (this.#isAsked) {
      this.#isAsked = false;
      try {
        this.active.current = await this.#read();
        log.info("the names were read again, domains: {domains}", {
          domains: this.active.current.domains.size,
        });
      } catch (error) {
        const { message } = error as Error;
        log.error("the names in force stay, they were not read again: {message}", { message });
      }
    }
    this.#reloading = undefined;
  }

  async #read(): Promise<Policy> {
    const { domains, domainFiles, privateReals } = this.#config;
    const lengths = await Promise.all(domainFiles.map(lengthOf));
    const octets = Math.min(lengths.reduce((sum, length) => sum + length, 0), FILE_LENGTH_MAX);
    const expected = octets / LABEL_LENGTH_USUAL;
    const set = new DomainSet(this.#hash, domains, { expected });
    for (const path of domainFiles) this.#report(path, await readDomainFile(path, set));
    return { domains: set, privateReals };
  }

  #report(path: string, file: DomainFile): void {
    const [first] = file.bad;
    if (first !== undefined && this.#config.domainFileStrict) {
      throw problem(path, `line ${first.line}: ${first.why}`);
    }
    for (const { line, why } of file.bad) {
      log.warning("--domain-file {path}: line {line} is skipped: {why}", { path, line, why });
    }
    const more = file.badCount - BAD_LINES_MAX;
    if (more > 0) {
      log.warning("--domain-file {path}: {more} more lines are skipped", { path, more });
    }
  }
}

/**
 * Reads one file into a set.
 *
 * @throws {StartError} if it cannot be read to its end
 */
export async function readDomainFile(path: string, set: DomainSet): Promise<DomainFile> {
  const file = new DomainFile(set);
  let left = FILE_LENGTH_MAX;
  try {
    // Before it is opened: to open a pipe may take for ever.
    if (!(await Deno.stat(path)).isFile) throw new TypeError("it is not a regular file");
    using handle = await Deno.open(path);
    const piece = new Uint8Array(PIECE_LENGTH);
    for (let n = await handle.read(piece); n !== null; n = await handle.read(piece)) {
      file.push(piece.subarray(0, n));
      // What is in the page cache is read without a turn for anything else.
      await yieldTurn();
      left -= n;
      if (left < 0) throw new RangeError(`it is larger than ${FILE_LENGTH_MAX / 2 ** 20} MiB`);
      if (file.isFull) throw new RangeError("there are too many names");
    }
    file.end();
    if (file.isFull) throw new RangeError("there are too many names");
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound
      ? "it is missing"
      : error instanceof Deno.errors.NotCapable
      ? "Deno does not let dotp read it: add it to --allow-read"
      : error instanceof Deno.errors.PermissionDenied
      ? "dotp's user may not read it"
      : (error as Error).message;
    throw problem(path, why, error);
  }
  return file;
}

/** How many octets a file has; none where that cannot be told, as reading it will say why. */
async function lengthOf(path: string): Promise<number> {
  try {
    return (await Deno.stat(path)).size;
  } catch {
    return 0;
  }
}

function problem(path: string, why: string, cause?: unknown): StartError {
  return new StartError(`--domain-file ${quote(path)}: ${why}`, { cause });
}

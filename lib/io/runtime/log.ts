/**
 * The log: one line an event on standard error, as text or as JSON.
 *
 * Where standard error leads to systemd's journal, a line begins with its priority, as sd-daemon(3) has
 * it, and a line of text has no time, since the journal keeps both of each entry.
 *
 * What comes from the network is given as a property, never as part of the message, and is quoted and
 * escaped where it is written, so that no line can be forged. Names that clients ask for appear at
 * level debug only. What can happen with every query is logged through a `RateLimit`.
 *
 * @module
 */
import {
  configureSync,
  getJsonLinesFormatter,
  getLogger,
  type LogRecord,
  type Sink,
} from "@logtape/logtape";
import { fstatSync } from "node:fs";
import type { LogFormat, LogLevel } from "../../config.ts";
import { nowMs } from "./clock.ts";

/** Where everything is logged. */
export const log = getLogger("dotp");

/** Names device and inode of the stream to the journal. */
const VARIABLE = "JOURNAL_STREAM";

/** The priorities of syslog(3). */
const PRIORITIES: Readonly<Record<LogRecord["level"], number>> = {
  trace: 7,
  debug: 7,
  info: 6,
  warning: 4,
  error: 3,
  fatal: 2,
};

/** How often a line of one kind is written at the most, and how many that differ in between. */
const LINE_INTERVAL_MS = 10_000;
const LINES_MAX = 4;

/** Sets level and form of the log; to be called before anything is logged. */
export function startLog(level: LogLevel, format: LogFormat, write: (line: string) => void): void {
  const jsonLine = getJsonLinesFormatter();
  const isInJournal = write === writeToStderr && isJournal();
  const sink: Sink = (record) => {
    const line = format === "json" ? jsonLine(record) : textLine(record, !isInJournal);
    write(isInJournal ? withPriority(record.level, line) : line);
  };
  configureSync({
    reset: true,
    sinks: { sink },
    loggers: [
      { category: "dotp", lowestLevel: level, sinks: ["sink"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["sink"] },
    ],
  });
}

/** Writes what ends dotp to standard error, a line. */
export function writeFailure(line: string): void {
  writeToStderr(isJournal() ? withPriority("error", line) : line);
}

/** Writes a line to standard error; a reader that has gone away is ignored. */
export function writeToStderr(line: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(line));
  } catch {
    // Nobody is left to tell.
  }
}

/**
 * Lets a line of each kind through once in `LINE_INTERVAL_MS`, and others of that kind if they say
 * something else, `LINES_MAX` in all; the next one has the count of those that it held back. Kinds are
 * few: each is kept.
 */
export class RateLimit {
  readonly #kinds = new Map<string, { sinceMs: number; told: string[]; heldBack: number }>();
  readonly #now: () => number;

  constructor(now = nowMs) {
    this.#now = now;
  }

  /** Calls `write`, with words about those that were held back before, or holds this one back. */
  run(kind: string, detail: string, write: (more: string) => void): void {
    const now = this.#now();
    const last = this.#kinds.get(kind);
    if (last !== undefined && now - last.sinceMs < LINE_INTERVAL_MS) {
      if (last.told.length === LINES_MAX || last.told.includes(detail)) last.heldBack++;
      else {
        last.told.push(detail);
        write("");
      }
      return;
    }
    this.#kinds.set(kind, { sinceMs: now, told: [detail], heldBack: 0 });
    const heldBack = last?.heldBack ?? 0;
    write(heldBack === 0 ? "" : ` (and ${heldBack} times more since the last such line)`);
  }
}

/** Whether standard error leads to the journal, not only that of a process that this one came from. */
function isJournal(): boolean {
  const { state } = Deno.permissions.querySync({ name: "env", variable: VARIABLE });
  const stream = state === "granted" ? Deno.env.get(VARIABLE) : undefined;
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(2, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

function withPriority(level: LogRecord["level"], line: string): string {
  return `<${PRIORITIES[level]}>${line}`;
}

/** `time level message`, values quoted. */
function textLine({ timestamp, level, message }: LogRecord, hasTime: boolean): string {
  const text = message.map((part, i) => i % 2 === 0 ? part : valueText(part)).join("");
  return `${hasTime ? `${new Date(timestamp).toISOString()} ` : ""}${level} ${text}\n`;
}

/** Text that is plain stands as it is, anything else as JSON, which escapes every control character. */
function valueText(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  // deno-lint-ignore no-control-regex
  return /[\u0000-\u001f\u007f-\u009f\u2028\u2029"]/.test(text) ? JSON.stringify(text) : text;
}

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

/** How often a line of one kind is written at the most. */
const LINE_INTERVAL_MS = 10_000;

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

/** Writes a line to standard error; a reader that has gone away is none of our trouble. */
export function writeToStderr(line: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(line));
  } catch {
    // Nobody is left to tell.
  }
}

/** Lets one line of each kind through in `LINE_INTERVAL_MS`, with the count of those it held back. */
export class RateLimit {
  readonly #kinds = new Map<string, { sinceMs: number; heldBack: number }>();

  /** Calls `write`, with words about those that were held back before, or holds this one back. */
  run(kind: string, write: (more: string) => void): void {
    const now = nowMs();
    const last = this.#kinds.get(kind);
    if (last !== undefined && now - last.sinceMs < LINE_INTERVAL_MS) {
      last.heldBack++;
      return;
    }
    this.#kinds.set(kind, { sinceMs: now, heldBack: 0 });
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

/** Text that is plain stands as it is, all else as JSON, which escapes every control character. */
function valueText(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  // deno-lint-ignore no-control-regex
  return /[\u0000-\u001f\u007f-\u009f\u2028\u2029"]/.test(text) ? JSON.stringify(text) : text;
}

/**
 * The log: one line an event on standard error, as text or as JSON.
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
import type { LogFormat, LogLevel } from "../../config.ts";
import { nowMs } from "./clock.ts";

/** Where everything is logged. */
export const log = getLogger("dotp");

/** How often a line of one kind is written at the most. */
const LINE_INTERVAL_MS = 10_000;

/** Sets level and form of the log; to be called before anything is logged. */
export function startLog(level: LogLevel, format: LogFormat, write: (line: string) => void): void {
  const formatter = format === "json" ? getJsonLinesFormatter() : textLine;
  const sink: Sink = (record) => write(formatter(record));
  configureSync({
    reset: true,
    sinks: { sink },
    loggers: [
      { category: "dotp", lowestLevel: level, sinks: ["sink"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["sink"] },
    ],
  });
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

/** `time level message`, values quoted. */
function textLine({ timestamp, level, message }: LogRecord): string {
  const text = message.map((part, i) => i % 2 === 0 ? part : valueText(part)).join("");
  return `${new Date(timestamp).toISOString()} ${level} ${text}\n`;
}

/** Text that is plain stands as it is, all else as JSON, which escapes every control character. */
function valueText(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  // deno-lint-ignore no-control-regex
  return /[\u0000-\u001f\u007f-\u009f\u2028\u2029"]/.test(text) ? JSON.stringify(text) : text;
}

/** Prints for people: the scripts of this directory say what they do, a line at a time. */

import { writeAllSync } from "./protocol.ts";

/** Prints a line on standard output. */
export function out(line = ""): void {
  writeAllSync(Deno.stdout, `${line}\n`);
}

/** Prints a line on standard error. */
export function err(line: string): void {
  writeAllSync(Deno.stderr, `${line}\n`);
}

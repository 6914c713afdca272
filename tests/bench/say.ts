/**
 * The bench's only way to print: one line to stdout. Contract: the line is written whole, before the
 * call returns. Errors go the same way, so that a saved run reads in the order in which it happened.
 */

const encoder = new TextEncoder();

/** Prints one line. */
export function say(line = ""): void {
  let rest = encoder.encode(line + "\n");
  while (rest.length > 0) {
    rest = rest.subarray(Deno.stdout.writeSync(rest));
  }
}

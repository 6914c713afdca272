/**
 * `deno task fuzz [SECONDS [SEED]]`: damaged messages for the parser and for the path of a reply, as
 * many as fit into the time (60 s). An input that shows a fault is written to `tests/fuzz/cases/`, from
 * where the tests replay it for ever. Ends with 1 where there was one.
 */
import { encodeHex } from "./hex.ts";
import { mutate, Random } from "./mutate.ts";
import { CASES, cases, fixtures } from "./seeds.ts";
import { TARGETS } from "./targets.ts";

/** Inputs between two looks at the clock. */
const ROUND = 1_000;

function main(args: readonly string[]): number {
  const seconds = Number(args[0] ?? 60);
  const seed = Number(args[1] ?? Date.now() % 1_000_000);
  if (!(seconds > 0) || !Number.isInteger(seed)) {
    say("Usage: deno task fuzz [SECONDS [SEED]]");
    return 2;
  }
  const seeds = [...fixtures(), ...cases().values()];
  const random = new Random(seed);
  const end = performance.now() + seconds * 1_000;
  let inputs = 0;
  let faults = 0;
  say(`seed ${seed}, ${seeds.length} messages to start from`);
  while (performance.now() < end) {
    for (let n = 0; n < ROUND; n++, inputs++) faults += tryAll(mutate(random, seeds));
  }
  say(`${inputs} inputs, each to ${Object.keys(TARGETS).length} targets: ${faults} faults`);
  return faults === 0 ? 0 : 1;
}

/** How many targets an input makes fail. */
function tryAll(bytes: Uint8Array): number {
  let faults = 0;
  for (const [name, target] of Object.entries(TARGETS)) {
    try {
      target(bytes);
    } catch (error) {
      faults++;
      const file = new URL(`${name}-${crypto.randomUUID().slice(0, 8)}.hex`, CASES);
      Deno.writeTextFileSync(file, `; ${(error as Error).message}\n${encodeHex(bytes)}\n`);
      say(`${name}: ${(error as Error).message}: ${file.pathname}`);
    }
  }
  return faults;
}

function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

Deno.exit(main(Deno.args));

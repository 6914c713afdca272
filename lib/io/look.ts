/**
 * Looks at the machine by way of its own programs, which is all that Deno's `--allow-run` and
 * `--allow-net` let dotp do: `ip`, and `grep` for /proc/sys.
 *
 * Programs only show things here, nothing is changed. One that is missing, not permitted, unwilling or
 * slow is a problem in words instead of a text; nobody is ever asked for a permission.
 *
 * @module
 */
import type { Seen } from "../check/finding.ts";
import { SETTINGS_PATHS } from "../check/kernel.ts";
import { routeArgs } from "../check/network.ts";
import type { Surroundings } from "../check/surroundings.ts";
import type { Config } from "../config.ts";
import { FAMILIES } from "../nft/script.ts";
import { leaveToRun, startProblem } from "./runtime/process.ts";

/** How long a program may take before it is ended. */
const PROGRAM_TIMEOUT_MS = 3_000;
/** Octets of a program's output that are read; it stops one that does not end. */
const OUTPUT_OCTETS_MAX = 4 * 1024 * 1024;
/** Characters of a complaint that are kept. */
const COMPLAINT_LENGTH_MAX = 200;

/** Looks at addresses, routes, policy rules and settings, all at once. */
export async function lookAround(config: Config, signal: AbortSignal): Promise<Surroundings> {
  const routeLists = FAMILIES.flatMap((family) => routeArgs(config.prefixes[family]));
  const [addresses, rules, settings, ...routes] = await Promise.all([
    capture("ip", ["-o", "address"], signal),
    capture("ip", ["-4", "rule", "show"], signal),
    // Where one of the files is missing grep complains, but prints the others.
    capture("grep", ["-rH", "", ...SETTINGS_PATHS], signal, true),
    ...routeLists.map((args) => capture("ip", args, signal)),
  ]);
  return { addresses, rules, settings, routes: joined(routes) };
}

/**
 * What a program prints.
 *
 * @param signal ends the program
 * @param mayFail whether what it prints counts though it does not end with 0
 */
export async function capture(
  program: string,
  args: readonly string[],
  signal: AbortSignal,
  mayFail = false,
): Promise<Seen> {
  const missing = { problem: `${program} is not there: install it or add it to PATH` };
  const leave = await leaveToRun(program);
  if (leave === "missing") return missing;
  if (leave === "withheld") {
    return { problem: `Deno does not let dotp run ${program}: add it to --allow-run` };
  }
  try {
    const child = new Deno.Command(program, {
      args: [...args],
      env: { LC_ALL: "C" },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal: AbortSignal.any([signal, AbortSignal.timeout(PROGRAM_TIMEOUT_MS)]),
    }).spawn();
    const [stdout, stderr, { success }] = await Promise.all([
      readSome(child.stdout),
      readSome(child.stderr),
      child.status,
    ]);
    if (success || (mayFail && stdout !== "")) return { text: stdout };
    const [complaint = ""] = stderr.trim().split("\n");
    const why = complaint.slice(0, COMPLAINT_LENGTH_MAX) || "no answer";
    return { problem: `${program} fails: ${why}` };
  } catch (error) {
    return error instanceof Deno.errors.NotFound
      ? missing
      : { problem: startProblem(program, error) };
  }
}

/** All texts one after the other, or the first problem. */
function joined(all: readonly Seen[]): Seen {
  const problem = all.find((seen) => "problem" in seen);
  return problem ?? { text: all.map((seen) => "text" in seen ? seen.text : "").join("") };
}

/** Reads a stream to its end and keeps its beginning. */
async function readSome(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    if (text.length < OUTPUT_OCTETS_MAX) text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

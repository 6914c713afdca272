/**
 * Starting programs, also those that only root has on its PATH, and running one to its end, with a
 * limit on the time it may take.
 *
 * @module
 */
import { namesOf } from "../../check/programs.ts";

/** The locale for messages that are read, and no home where a history could be. */
export const ENVIRONMENT = { LC_ALL: "C", HOME: "/nonexistent" };

/**
 * A variable that changes nothing here. Deno starts no program with one of its kind (`LD_*`) unless all
 * may be run.
 */
const REFUSED_VARIABLE = { LD_BIND_NOW: "1" };

/** Programs that have not ended yet. */
const running = new Set<Deno.ChildProcess>();

/** Ends every program that is still at work, so that none outlives dotp. */
export function endPrograms(): void {
  for (const child of running) end(child);
}

/**
 * Whether Deno lets dotp run a program. One that is named in `--allow-run=` and not installed is not
 * granted either; that is told apart here, without anybody being asked. What is granted to everything
 * may be missing too.
 */
export async function leaveToRun(name: string): Promise<"granted" | "withheld" | "missing"> {
  const { state } = await Deno.permissions.query({ name: "run", command: name });
  if (state === "granted") return "granted";
  try {
    // Deno looks for the program first. Then it refuses the variable, before it would ask for leave.
    new Deno.Command(name, { env: REFUSED_VARIABLE, stdin: "null" }).spawn().kill("SIGKILL");
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) {
      return otherNames(name).length > 0 ? "granted" : "missing";
    }
  }
  return "withheld";
}

/**
 * Starts a program, wherever it is.
 *
 * @throws {Error} as `Deno.Command`
 */
export function startProgram(name: string, options: Deno.CommandOptions): Deno.ChildProcess {
  const commands = [name, ...otherNames(name)];
  for (;;) {
    const command = commands.shift()!;
    try {
      return new Deno.Command(command, options).spawn();
    } catch (error) {
      if (commands.length === 0 || !(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Names of a program besides its own that Deno lets dotp run; whether they are there is not known. */
function otherNames(name: string): string[] {
  return namesOf(name).slice(1).filter((command) =>
    Deno.permissions.querySync({ name: "run", command }).state === "granted"
  );
}

/** Why a program cannot be started, in words that begin with its name. */
export function startProblem(name: string, error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return `${name} is not there`;
  return `${name} cannot be started: ${(error as Error).message}`;
}

/** What a finished program said. */
export interface Finished {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/** What else may bound a run. */
export interface RunLimits {
  /** Ends the program. */
  readonly signal?: AbortSignal;
  /** Characters of each output that are kept; whatever follows is read and dropped. */
  readonly outputMax?: number;
  /** Receives the output piece by piece, as it comes; `stdout` is empty then. */
  readonly onOutput?: (chunk: Uint8Array) => void;
}

/**
 * Runs a program to its end.
 *
 * @param input its standard input; the empty string for none
 * @throws {Error} where it cannot be started, hangs or is aborted; the message begins with its name
 */
export async function runProgram(
  name: string,
  args: readonly string[],
  input: string,
  timeoutMs: number,
  { signal, outputMax = Infinity, onOutput }: RunLimits = {},
): Promise<Finished> {
  signal?.throwIfAborted();
  const child = spawn(name, args, input !== "");
  const given = Promise.withResolvers<never>();
  // Without waiting for its output, as what it has started may hold the pipes.
  const giveUp = (why: string) => {
    end(child);
    given.reject(new Error(`${name} ${why} and was ended`));
  };
  const timer = setTimeout(() => giveUp("hung"), timeoutMs);
  const abort = () => giveUp("was not waited for");
  signal?.addEventListener("abort", abort);
  running.add(child);
  try {
    const finished = Promise.all([
      child.status,
      onOutput === undefined ? read(child.stdout, outputMax) : feed(child.stdout, onOutput),
      read(child.stderr, outputMax),
      input === "" ? undefined : write(child, input),
    ]);
    const [status, stdout, stderr] = await Promise.race([finished, given.promise]);
    return { success: status.success, stdout, stderr };
  } finally {
    running.delete(child);
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

function end(child: Deno.ChildProcess): void {
  try {
    child.kill("SIGKILL");
  } catch {
    // It has ended by itself.
  }
}

function spawn(name: string, args: readonly string[], hasInput: boolean): Deno.ChildProcess {
  try {
    return startProgram(name, {
      args: [...args],
      env: ENVIRONMENT,
      stdin: hasInput ? "piped" : "null",
      stdout: "piped",
      stderr: "piped",
    });
  } catch (error) {
    throw new Error(startProblem(name, error), { cause: error });
  }
}

async function feed(
  stream: ReadableStream<Uint8Array>,
  onOutput: (chunk: Uint8Array) => void,
): Promise<string> {
  for await (const chunk of stream) onOutput(chunk);
  return "";
}

/** Reads a stream to its end. */
async function read(stream: ReadableStream<Uint8Array>, max: number): Promise<string> {
  if (max === Infinity) return await new Response(stream).text();
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    if (text.length < max) text += decoder.decode(chunk, { stream: true });
  }
  return text.slice(0, max);
}

/** Gives a process its input; one that ends early does not read all of it. */
async function write(child: Deno.ChildProcess, input: string): Promise<void> {
  const writer = child.stdin.getWriter();
  try {
    await writer.write(new TextEncoder().encode(input));
    await writer.close();
  } catch {
    // Its exit status says what happened.
  }
}

/**
 * Running a program to its end, with a limit on the time it may take.
 *
 * @module
 */

/** The locale for messages that are read, and no home where a history could be. */
export const ENVIRONMENT = { LC_ALL: "C", HOME: "/nonexistent" };

/** Programs that have not ended yet. */
const running = new Set<Deno.ChildProcess>();

/** Ends every program that is still at work, so that none outlives dotp. */
export function endPrograms(): void {
  for (const child of running) end(child);
}

/** What a finished program said. */
export interface Finished {
  readonly success: boolean;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end.
 *
 * @param input its standard input; the empty string for none
 * @throws {Error} where it cannot be started or hangs; the message begins with its name
 */
export async function runProgram(
  name: string,
  args: readonly string[],
  input: string,
  timeoutMs: number,
): Promise<Finished> {
  const child = spawn(name, args, input !== "");
  let hasHung = false;
  const timer = setTimeout(() => {
    hasHung = true;
    end(child);
  }, timeoutMs);
  running.add(child);
  try {
    const [status, stdout, stderr] = await Promise.all([
      child.status,
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      input === "" ? undefined : write(child, input),
    ]);
    if (hasHung) throw new Error(`${name} hung and was ended`);
    return { success: status.success, stdout, stderr };
  } finally {
    running.delete(child);
    clearTimeout(timer);
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
  const command = new Deno.Command(name, {
    args: [...args],
    env: ENVIRONMENT,
    stdin: hasInput ? "piped" : "null",
    stdout: "piped",
    stderr: "piped",
  });
  try {
    return command.spawn();
  } catch (error) {
    throw new Error(`${name} cannot be started: ${(error as Error).message}`, { cause: error });
  }
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

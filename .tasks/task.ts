/**
 * What the tasks that make something in `dist/` share: arguments, Deno as a tool, and files that
 * appear there whole or not at all. What goes wrong is one line on standard error and exit status 1.
 */
import { parseArgs } from "node:util";
import deno from "../deno.json" with { type: "json" };

/** dotp's version. */
export const VERSION: string = deno.version;

/** The directory of the repository. */
export const ROOT: string = new URL("..", import.meta.url).pathname;

/** What went wrong, in one line. */
export class TaskError extends Error {
  override readonly name = "TaskError";
}

/** What a task is given. */
export interface Task {
  /** A directory of its own, on the same file system as `dist`. */
  readonly work: string;
  /** Where the finished files go: `dist/`, or what `--dist` says. */
  readonly dist: string;
  readonly args: readonly string[];
}

/**
 * Runs a task and ends. The files that it names are moved from its working directory to `dist` when
 * all of them are done; the working directory goes in any case.
 *
 * @param make makes files and returns their names
 */
export async function runTask(make: (task: Task) => Promise<readonly string[]>): Promise<never> {
  const { values, positionals } = parseArgs({
    options: { dist: { type: "string", default: `${ROOT}dist` } },
    allowPositionals: true,
  });
  const dist = absolute(values.dist);
  Deno.mkdirSync(dist, { recursive: true });
  const work = Deno.makeTempDirSync({ dir: dist, prefix: ".work-" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => {
      clear(dist, work);
      Deno.exit(1);
    });
  }
  let code = 0;
  try {
    for (const name of await make({ work, dist, args: positionals })) {
      Deno.renameSync(`${work}/${name}`, `${dist}/${name}`);
      say(`${dist.startsWith(ROOT) ? dist.slice(ROOT.length) : dist}/${name}`);
    }
  } catch (error) {
    if (!(error instanceof TaskError)) throw error;
    warn(error.message);
    code = 1;
  } finally {
    clear(dist, work);
  }
  Deno.exit(code);
}

/**
 * Runs Deno in the repository, or in `cwd`, and returns what it wrote on standard output and error.
 *
 * @throws {TaskError} with the cause that it names, where it fails
 */
export async function runDeno(args: readonly string[], cwd: string = ROOT): Promise<string[]> {
  const env = { NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" };
  const command = new Deno.Command(Deno.execPath(), { args: [...args], cwd, env, stdin: "null" });
  const output = await command.output();
  const [stdout = "", stderr = ""] = [output.stdout, output.stderr]
    .map((bytes) => new TextDecoder().decode(bytes));
  if (output.success) return [stdout, stderr];
  throw new TaskError(`deno ${args[0]}: ${causeOf(stderr)}`, { cause: stderr });
}

/** Prints a line. */
export function say(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** Prints a line on standard error. */
export function warn(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
}

/** Deno numbers the causes of an error; the last one says most. */
function causeOf(stderr: string): string {
  const causes = [...stderr.matchAll(/^ {4}\d+: (?!<unknown>)(.*)$/gm)];
  const [, error] = /^error: (.*)$/m.exec(stderr) ?? [];
  return causes.at(-1)?.[1] ?? error ?? stderr.trim().split("\n").at(-1) ?? "";
}

function absolute(path: string): string {
  return path.startsWith("/") ? path : `${Deno.cwd()}/${path}`;
}

/** Removes the working directory, and `dist` where there is nothing in it. */
function clear(dist: string, work: string): void {
  try {
    Deno.removeSync(work, { recursive: true });
    Deno.removeSync(dist);
  } catch {
    // There is something in dist.
  }
}

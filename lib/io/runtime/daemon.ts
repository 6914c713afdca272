/**
 * Going to the background (`--daemonize`).
 *
 * The parent starts the same program again, in a session of its own and with one argument more, and
 * waits. The child says on standard output that it is ready, and from then on logs to syslog, as
 * nobody reads its standard error any more; a child that cannot start says why on standard error,
 * which the parent passes on with its exit status.
 *
 * @module
 */
import type { Config } from "../../config.ts";
import { StartError } from "../preflight.ts";
import { startProblem, startProgram } from "./process.ts";

/** The argument that tells a child that it is one; it is not in the table of options. */
const CHILD_ARGUMENT = "--daemon-child";
const READY = "ready\n";

/** Files that a child must be let at. */
type Files = Pick<Config, "pidFile" | "domainFiles">;

/** Whether this process is the child, and the arguments without the mark of it. */
export function readRole(args: readonly string[]): { isChild: boolean; args: readonly string[] } {
  const isChild = args.at(-1) === CHILD_ARGUMENT;
  return { isChild, args: isChild ? args.slice(0, -1) : args };
}

/**
 * Starts the child and waits until it is ready or has ended.
 *
 * @param program address of the main module, for a child that Deno runs
 * @returns 0 once the child works, else its exit status
 */
export async function startChild(
  program: string,
  args: readonly string[],
  config: Files,
): Promise<number> {
  const child = spawn(await ownCommand(program, config), args);
  // It has a session of its own, so nobody else would tell it.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => child.kill(signal));
  }
  const complaints = passOn(child.stderr);
  if (await isReady(child.stdout)) return 0;
  const { code } = await child.status;
  await complaints;
  return code === 0 ? 1 : code;
}

/** Tells the parent, which waits for it, that all is well. */
export function tellReady(): void {
  Deno.stdout.writeSync(new TextEncoder().encode(READY));
}

/** Where lines go once nobody reads standard error: to syslog, through logger(1). */
export function openSyslog(): (line: string) => void {
  let writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>> | undefined;
  try {
    const options = { stdin: "piped", stdout: "null", stderr: "null" } as const;
    const child = startProgram("logger", { args: ["-t", "dotp"], ...options });
    writer = child.stdin.getWriter();
    child.status.catch(() => {});
  } catch {
    // Without logger(1), or without permission to run it, there is no place for a log.
  }
  return (line) => {
    writer?.write(new TextEncoder().encode(line)).catch(() => writer = undefined);
  };
}

/**
 * The command that starts this program once more.
 *
 * A compiled program carries its permissions in it, and so does a bundle, an executable file, in its
 * first line; both are started as they are, and need leave for nothing but that. Linux knows a
 * compiled one as /proc/self/exe wherever it is. The sources are given to Deno again.
 *
 * @throws {StartError} where Deno does not let it be started
 */
async function ownCommand(
  program: string,
  files: Files,
): Promise<[string, ...string[]]> {
  const path = decodeURIComponent(new URL(program).pathname);
  const isSource = !Deno.build.standalone && path.endsWith(".ts");
  const candidates = isSource
    ? [Deno.execPath()]
    : Deno.build.standalone
    ? [Deno.execPath(), "/proc/self/exe"]
    : [path];
  for (const command of candidates) {
    const { state } = await Deno.permissions.query({ name: "run", command });
    if (state === "granted") {
      return isSource ? [command, ...await denoFlags(files), path] : [command];
    }
  }
  throw new StartError(
    "--daemonize: Deno does not let dotp start itself: " +
      (isSource ? "use --allow-run" : "install it as dotp in a directory of PATH"),
  );
}

async function denoFlags({ pidFile, domainFiles }: Files): Promise<string[]> {
  const flags = ["run", "--no-prompt", "--allow-net", "--allow-run"];
  const ffi = await Deno.permissions.query({ name: "ffi" });
  if (ffi.state === "granted") flags.push("--allow-ffi");
  const wanted = [
    ...(pidFile === undefined ? [] : [["write", pidFile] as const]),
    ...domainFiles.map((path) => ["read", path] as const),
  ];
  for (const [name, path] of wanted) {
    const { state } = await Deno.permissions.query({ name, path });
    if (state === "granted") flags.push(`--allow-${name}=${path}`);
  }
  return flags;
}

/** @throws {StartError} where there is no such program any more, or none that runs here */
function spawn([self, ...flags]: readonly [string, ...string[]], args: readonly string[]) {
  const command = new Deno.Command(self, {
    args: [...flags, ...args, CHILD_ARGUMENT],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  });
  try {
    return command.spawn();
  } catch (error) {
    throw new StartError(`--daemonize: ${startProblem(self, error)}`, { cause: error });
  }
}

async function isReady(stdout: ReadableStream<Uint8Array>): Promise<boolean> {
  let text = "";
  for await (const chunk of stdout.pipeThrough(new TextDecoderStream() as TransformStream)) {
    text += chunk;
    if (text.includes(READY)) return true;
  }
  return false;
}

async function passOn(stderr: ReadableStream<Uint8Array>): Promise<void> {
  for await (const chunk of stderr) Deno.stderr.writeSync(chunk);
}

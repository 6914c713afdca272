/**
 * Runs a script again inside a user, network and mount namespace of its own, so that it needs no
 * root and touches nothing of the machine. The inner run holds the outer one's pipe as its standard
 * input: when the outer one dies, however, the input ends and the inner one gives up.
 */

import { run, start } from "../support/run.ts";
import { err } from "./out.ts";
import { lines } from "./protocol.ts";

/** Tells the inner run the process id of the outer one, its parent. */
const INSIDE = "DOTP_LAB_PARENT";

/** What a person would press or a service manager send. */
export const SIGNALS: Deno.Signal[] = ["SIGINT", "SIGTERM", "SIGHUP"];

/** Tells whether this process is the inner run. */
export function isInside(): boolean {
  return Deno.env.get(INSIDE) === String(Deno.ppid);
}

/**
 * Returns the command that enters new namespaces; where none may, says why: undefined. Root has the
 * choice: with a user namespace as everybody else, where there is one user only, or without it.
 */
export async function namespaceCommand(
  preferred: "user" | "root" = "user",
): Promise<string[] | undefined> {
  const user = ["unshare", "--user", "--map-root-user", "--net", "--mount"];
  const root = ["unshare", "--net", "--mount"];
  if (Deno.uid() === 0 && preferred === "root" && await tryLink(root) === undefined) return root;
  const refused = await tryLink(user);
  if (refused === undefined) return user;
  if (Deno.uid() === 0 && await tryLink(root) === undefined) return root;
  err(
    `Cannot make a user namespace: ${refused}. Run this as root, or allow it: ${await remedy()}`,
  );
  return undefined;
}

/** Runs the script that this process runs again in new namespaces, and returns its exit code. */
export async function runInside(args: readonly string[] = []): Promise<number> {
  const enter = await namespaceCommand();
  if (enter === undefined) return 1;
  const script = new URL(Deno.mainModule).pathname;
  const deno = [Deno.execPath(), "run", "--quiet", "--cached-only", "--allow-all", script];
  return await runChild([...enter, ...deno, ...args]);
}

/** Runs a command, passes signals on to it and returns its exit code; `hear` gets its output. */
export async function runChild(
  command: string[],
  hear?: (line: string) => void,
): Promise<number> {
  const child = start(command, {
    env: { [INSIDE]: String(Deno.pid), DENO_NO_UPDATE_CHECK: "1", ...hear && { NO_COLOR: "1" } },
    stdin: "piped",
    stdout: hear ? "piped" : "inherit",
    stderr: "inherit",
  });
  const pass = SIGNALS.map((signal) => ({ signal, listener: () => child.kill(signal) }));
  for (const { signal, listener } of pass) Deno.addSignalListener(signal, listener);
  if (hear) { for await (const line of lines(child.stdout)) hear(line); }
  const { code } = await child.status;
  for (const { signal, listener } of pass) Deno.removeSignalListener(signal, listener);
  return code;
}

/** Resolves when the inner run should give up: on a signal, or when the outer run is gone. */
export function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of SIGNALS) Deno.addSignalListener(signal, resolve);
    void (async () => {
      for await (const _ of Deno.stdin.readable);
      resolve();
    })();
  });
}

async function tryLink(enter: string[]): Promise<string | undefined> {
  const { code, stderr } = await run([...enter, "ip", "link", "set", "lo", "up"]);
  return code === 0 ? undefined : stderr.trim().split("\n")[0] ?? "";
}

async function remedy(): Promise<string> {
  const restrictions = [
    ["kernel.apparmor_restrict_unprivileged_userns", "1", "0"],
    ["kernel.unprivileged_userns_clone", "0", "1"],
    ["user.max_user_namespaces", "0", "1000"],
  ] as const;
  for (const [name, forbidding, allowing] of restrictions) {
    const path = `/proc/sys/${name.replaceAll(".", "/")}`;
    const value = await Deno.readTextFile(path).catch(() => "");
    if (value.trim() === forbidding) return `sudo sysctl -w ${name}=${allowing}`;
  }
  return "a container needs to be started with the right to do so";
}

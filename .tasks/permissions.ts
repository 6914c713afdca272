/**
 * What Deno lets a built dotp do: the one list that the bundle's first line and the compiled binary
 * are made from. A test compares it with the programs that `lib/io/` starts.
 *
 * dotp may listen and send, run the programs that `lib/check/programs.ts` names, read the variables
 * in which systemd says where it waits and that it keeps the log, read domain files where
 * configuration is, and write a pid file where such files are. Nobody is asked.
 */
import { namesOf, PROGRAMS } from "../lib/check/programs.ts";

/**
 * Itself, for `--daemonize`: by its name in PATH, and where install.sh puts it, since an init script's
 * PATH may lack that. Never Deno, which would run anything with any permission.
 */
export const ITSELF: readonly string[] = ["dotp", "/usr/local/bin/dotp"];

/**
 * Itself wherever it is and whatever it is called: for a binary only, as it carries its permissions
 * in it. For a bundle this would be Deno.
 */
export const ITSELF_COMPILED = "/proc/self/exe";

/** Where `--pid-file` may point: the file itself, or anything below the directory. */
export const PID_FILES: readonly string[] = ["/run/dotp.pid", "/run/dotp"];

/** Where `--domain-file` may point: anything below the directory. */
export const DOMAIN_FILES: readonly string[] = ["/etc/dotp"];

/** Flags of `deno run` and `deno compile` that say what dotp may do and what it needs. */
export function permissionFlags(itself: readonly string[]): string[] {
  return [
    "--no-prompt",
    "--unstable-net",
    "--allow-net",
    `--allow-run=${[...PROGRAMS.flatMap(({ name }) => namesOf(name)), ...itself].join(",")}`,
    "--allow-env=NOTIFY_SOCKET,JOURNAL_STREAM",
    `--allow-read=${DOMAIN_FILES.join(",")}`,
    `--allow-write=${PID_FILES.join(",")}`,
  ];
}

/**
 * The programs that dotp runs: for whoever has to name them in Deno's `--allow-run=`, in a unit or in
 * a package's dependencies.
 *
 * Only nft must be there. Without one of the others dotp does without what it is for; `dotp check`
 * says so. Going to the background needs permission to run Deno, or the compiled program, itself as well.
 *
 * @module
 */

/** A program that dotp runs. */
export interface Program {
  readonly name: string;
  readonly use: string;
  /** Whether it may lie where only root's PATH leads. */
  readonly isAdmins?: true;
}

/** All of them, the one that must be there first. */
export const PROGRAMS: readonly Program[] = [
  { name: "nft", use: "tells the kernel what the fakes stand for", isAdmins: true },
  {
    name: "conntrack",
    use: "forgets connections to a fake before it stands for another address",
    isAdmins: true,
  },
  { name: "logger", use: "takes the log to syslog, with --daemonize" },
  { name: "systemd-notify", use: "tells systemd that dotp is ready" },
  { name: "ip", use: "shows addresses, routes and policy rules to the checks", isAdmins: true },
  { name: "grep", use: "shows the kernel's settings in /proc/sys to the checks" },
  { name: "ss", use: "tells dotp check who has the port" },
  { name: "netstat", use: "tells it where there is no ss" },
  { name: "ps", use: "finds dotp for those who may not see who has the port" },
  { name: "cat", use: "shows the command line of a process: whether it is dotp" },
];

/** Directories that only root has on its PATH, on Debian. */
const ADMIN_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** By what names a program is found, in this order. */
export function namesOf(program: string): string[] {
  const isAdmins = PROGRAMS.some(({ name, isAdmins }) => name === program && isAdmins);
  const directories = isAdmins ? ADMIN_DIRECTORIES : [];
  return [program, ...directories.map((directory) => `${directory}/${program}`)];
}

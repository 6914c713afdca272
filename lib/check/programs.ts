/**
 * The programs that dotp runs: for whoever has to name them in Deno's `--allow-run=`, in a unit or in
 * a package's dependencies.
 *
 * Only nft must be there. Without one of the others dotp does without what it is for; `dotp check`
 * says so. Going to the background needs leave to run Deno, or the compiled program, itself as well.
 *
 * @module
 */

/** A program that dotp runs. */
export interface Program {
  readonly name: string;
  readonly use: string;
}

/** All of them, the one that must be there first. */
export const PROGRAMS: readonly Program[] = [
  { name: "nft", use: "tells the kernel what the fakes stand for" },
  { name: "conntrack", use: "forgets connections to a fake before it stands for another address" },
  { name: "logger", use: "takes the log to syslog, with --daemonize" },
  { name: "systemd-notify", use: "tells systemd that dotp is ready" },
  { name: "ip", use: "shows addresses, routes and policy rules to the checks" },
  { name: "grep", use: "shows the kernel's settings in /proc/sys to the checks" },
  { name: "ss", use: "tells dotp check who has the port" },
  { name: "netstat", use: "tells it where there is no ss" },
  { name: "cat", use: "shows the command line of who has the port: whether it is dotp" },
];

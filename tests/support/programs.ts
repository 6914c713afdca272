/**
 * Programs of the machine that tests need. Contract: a test that needs one is registered with
 * `testWith`; where the program is missing the test is skipped, and its name says so and for lack of
 * what. Nothing is installed here: lab/tools.ts does that, by these names.
 */

/** Debian's packages with each program, where it is not called the same. */
const PACKAGES: Readonly<Record<string, string>> = {
  "nft": "nftables",
  "ip": "iproute2",
  "unshare": "util-linux",
  "nsenter": "util-linux",
  "pivot_root": "util-linux",
  "ps": "procps",
  "ss": "iproute2",
  "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
  "cc": "gcc libc6-dev",
  "dnsmasq": "dnsmasq-base",
  "groff": "groff-base",
  "knotd": "knot",
  "man": "man-db",
  "journalctl": "systemd",
  "systemctl": "systemd",
  "systemd-analyze": "systemd",
  "systemd-notify": "systemd",
};

/** Where programs are that only root has on its PATH on Debian. */
const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The package that a program is in. */
export function packageOf(program: string): string {
  return PACKAGES[program] ?? program;
}

/** Our PATH with the directories of the system's programs. */
export function widePath(): string {
  const path = (Deno.env.get("PATH") ?? "").split(":");
  return [...path, ...SYSTEM_DIRECTORIES.filter((each) => !path.includes(each))].join(":");
}

/** Whether a program is there. */
export function hasProgram(program: string, path: string = widePath()): boolean {
  return path.split(":").some((directory) => {
    try {
      return Deno.statSync(`${directory}/${program}`).isFile;
    } catch {
      return false;
    }
  });
}

/** A test that needs programs of the machine. */
export function testWith(
  programs: string | readonly string[],
  name: string,
  test: (t: Deno.TestContext) => void | Promise<void>,
): void {
  testUnless(lackOf([programs].flat()), name, test);
}

/** A test that is skipped where there is a reason, which its name then gives. */
export function testUnless(
  reason: string | undefined,
  name: string,
  test: (t: Deno.TestContext) => void | Promise<void>,
): void {
  Deno.test(nameUnless(reason, name), { ignore: reason !== undefined }, test);
}

/** The name of a test, with the reason for which it is skipped, where there is one. */
export function nameUnless(reason: string | undefined, name: string): string {
  return reason === undefined ? name : `${name} (skipped: ${reason})`;
}

/** Which of the programs are missing, and what would bring them; undefined where all are there. */
export function lackOf(programs: readonly string[], path?: string): string | undefined {
  const missing = programs.filter((program) => !hasProgram(program, path));
  if (missing.length === 0) return undefined;
  const packages = new Set(missing.map(packageOf));
  return `no ${missing.join(", ")}: apt-get install ${[...packages].join(" ")}`;
}

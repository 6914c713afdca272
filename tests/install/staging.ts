/**
 * install.sh as a packager runs it: into a staging root, with programs of our own before the
 * system's, so that nothing of the machine is touched and nothing is downloaded.
 */

import { dirname } from "node:path";
import { type Ended, run } from "../support/run.ts";

/** The script under test, and what lies beside it. */
export const CHECKOUT = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");
export const SCRIPT = `${CHECKOUT}/install.sh`;

/** How to run install.sh. */
export interface RunOptions {
  env?: Record<string, string>;
  /** The command that reads the script; `sh` if left out. */
  shell?: string[];
  /** Given on standard input. */
  input?: string;
  script?: string;
}

/** Options that a first install needs. */
export const ADDRESSES = ["--host", "192.0.2.1", "--upstream-host", "192.0.2.53"];

/** Where the files go that install.sh installs by default. */
export const Path = {
  program: "/usr/local/bin/dotp",
  deno: "/usr/local/lib/dotp/deno",
  unit: "/usr/local/lib/systemd/system/dotp.service",
  tableUnit: "/usr/local/lib/systemd/system/dotp-table.service",
  env: "/etc/dotp/dotp.env",
  rules: "/etc/dotp/rules.nft",
  state: "/etc/dotp/.installed",
  manual: "/usr/local/share/man/man8/dotp.8",
  bash: "/usr/local/share/bash-completion/completions/dotp",
  zsh: "/usr/local/share/zsh/site-functions/_dotp",
  fish: "/usr/local/share/fish/vendor_completions.d/dotp.fish",
} as const;

/** What the program itself prints, in the order in which it is installed. */
export const PAGES = [Path.manual, Path.bash, Path.zsh, Path.fish];

/** A directory with a staging root in it, and with what a run may use. */
export class Staging implements Disposable {
  readonly root: string = Deno.makeTempDirSync({ prefix: "dotp-install-" });
  /** What DESTDIR is. */
  readonly destination: string = `${this.root}/destination`;
  /** A program to install. */
  readonly binary: string = this.dotp("0.0.1");

  /** Writes a program that stands for dotp, and returns its path. */
  dotp(version: string, path = "out/dotp"): string {
    return this.program(path, standIn(version));
  }

  /** Writes a shell script that can be run, and returns its path. */
  program(path: string, text: string): string {
    const full = this.write(path, `#!/bin/sh\n${text}\n`);
    Deno.chmodSync(full, 0o755);
    return full;
  }

  /** Writes a file below the directory, and returns its path. */
  write(path: string, text: string): string {
    const full = `${this.root}/${path}`;
    Deno.mkdirSync(dirname(full), { recursive: true });
    Deno.writeTextFileSync(full, text);
    return full;
  }

  /** Puts a shell script before the system's program of that name. */
  fake(name: string, text: string): string {
    return this.program(`bin/${name}`, text);
  }

  /** Runs install.sh. */
  run(args: string[] = [], options: RunOptions = {}): Promise<Ended> {
    const { shell = ["sh"], script = SCRIPT, input } = options;
    const command = [...shell, ...input === undefined ? [script] : ["-s", "--"], ...args];
    return run(command, {
      clearEnv: true,
      env: {
        PATH: `${this.root}/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
        HOME: this.root,
        TMPDIR: this.temporary(),
        DESTDIR: this.destination,
        ...options.env,
      },
      ...input !== undefined && { stdin: input },
    });
  }

  /** Runs install.sh, which must succeed, with the stand-in for a program. */
  async install(args: string[] = [], options: RunOptions = {}): Promise<Ended> {
    const ended = await this.run(["--binary", this.binary, ...args], options);
    if (ended.code !== 0) throw new Error(`install.sh ended with ${ended.code}: ${ended.stderr}`);
    return ended;
  }

  /** Reads an installed file. */
  read(path: string): string {
    return Deno.readTextFileSync(`${this.destination}${path}`);
  }

  /** Changes an installed file as its owner would. */
  edit(path: string, change: (text: string) => string): void {
    Deno.writeTextFileSync(`${this.destination}${path}`, change(this.read(path)));
  }

  /** Everything in the staging root, with what is in the files. */
  tree(): Record<string, string> {
    return tree(this.destination);
  }

  /** Where temporary files go; must be empty after a run. */
  temporary(): string {
    const path = `${this.root}/tmp`;
    Deno.mkdirSync(path, { recursive: true });
    return path;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.root, { recursive: true });
  }
}

/**
 * A shell script that is asked what dotp is asked: it prints the rules and the units as dotp does, finds
 * that all is well, and of all else it prints its name, its version and what it is asked for.
 */
export function standIn(version: string): string {
  const { program } = Path;
  return `case $1 in
rules) sed -e "s|^\\(define FAKE4 =\\) .*|\\1 $3|" -e "s|^\\(define FAKE6 =\\) .*|\\1 $5|" \
  ${CHECKOUT}/rules.nft ;;
unit) case $2 in
  service) sed "s|${program}|$4|g" ${CHECKOUT}/lib/cli/dotp.service ;;
  table) cat ${CHECKOUT}/lib/cli/dotp-table.service ;;
  esac ;;
check) echo '{"level":"ok","findings":[]}' ;;
*) echo dotp ${version} "$@" ;;
esac`;
}

/** Paths below a directory, each with its mode and its content. */
export function tree(directory: string, below = ""): Record<string, string> {
  const found: Record<string, string> = {};
  let entries: Deno.DirEntry[];
  try {
    entries = [...Deno.readDirSync(`${directory}${below}`)];
  } catch {
    return found;
  }
  for (const { name, isDirectory, isFile, isSymlink } of entries.sort(byName)) {
    const path = `${below}/${name}`;
    const full = `${directory}${path}`;
    const mode = ((Deno.lstatSync(full).mode ?? 0) & 0o7777).toString(8);
    if (isDirectory) Object.assign(found, { [path]: mode }, tree(directory, path));
    else if (isSymlink) found[path] = Deno.readLinkSync(full);
    else found[path] = `${mode} ${isFile ? Deno.readTextFileSync(full) : ""}`;
  }
  return found;
}

function byName(a: Deno.DirEntry, b: Deno.DirEntry): number {
  return a.name < b.name ? -1 : 1;
}

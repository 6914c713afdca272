/**
 * A machine to install on for real: a root of its own at the gateway of a lab, in which install.sh
 * runs without DESTDIR, as root, with the real nft. The system's programs are the machine's own;
 * `/etc`, `/usr/local`, `/run`, `/tmp` and `/root` are not. Needs network and mount namespaces that
 * may be changed: tests/run.ts sees to that.
 */

import { CHECKOUT, tree } from "./staging.ts";
import { Lab, type LabQueryOptions } from "../lab/lab.ts";
import { type Ended, mustRun } from "../support/run.ts";
import { startServers } from "../e2e/setup.ts";

/** What of the checkout is not copied. */
const NOT_COPIED = new Set([".git", "dist", "node_modules", "tests"]);

/** Where Deno is on the machine: any user can run it there. */
export const DENO = "/opt/deno/deno";

/** Where the checkout is on the machine. */
const SOURCES = "/opt/source";

const PATH = "/opt/deno:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** Makes the root: $1 its directory, $2 Deno, $3 Deno's cache. */
const MAKE_ROOT = `
set -eu
mount -t tmpfs tmpfs "$1"
cd "$1"
mkdir etc root opt opt/deno opt/cache opt/bin proc sys dev run tmp var
chmod 1777 tmp
for each in usr bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$each" ]; then cp -P "/$each" .; elif [ -d "/$each" ]; then
    mkdir "$each"
    mount --rbind "/$each" "$each"
  fi
done
for each in proc sys dev; do mount --rbind "/$each" "$each"; done
mount -t tmpfs tmpfs usr/local
mkdir usr/local/bin usr/local/lib
cp -a /etc/. etc/ 2>/dev/null || :
rm -rf etc/dotp etc/systemd/system/*dotp*
: >opt/deno/deno
mount --bind "$2" opt/deno/deno
mount --rbind "$3" opt/cache
`;

/** What a run of a command may need. */
export interface MachineOptions {
  env?: Record<string, string>;
  /** A command before it, such as setpriv. */
  before?: string[];
}

/** The machine, and the lab around it. */
export class Machine implements AsyncDisposable {
  readonly lab: Lab;
  readonly root: string;
  /** What runs a command where the machine has been booted, in place of chroot. */
  enter: string[] | undefined;

  /** Makes a lab with a machine as its gateway; the table of rules.nft is not loaded there yet. */
  static async create(): Promise<Machine> {
    const root = await Deno.makeTempDir({ prefix: "dotp-machine-" });
    await mustRun(["sh", "-c", MAKE_ROOT, "sh", root, Deno.execPath(), await denoDirectory()]);
    await mustRun(["mkdir", `${root}${SOURCES}`]);
    for await (const { name } of Deno.readDir(CHECKOUT)) {
      if (!NOT_COPIED.has(name)) {
        await mustRun(["cp", "-R", `${CHECKOUT}/${name}`, `${root}${SOURCES}`]);
      }
    }
    const lab = await Lab.create();
    await startServers(lab);
    await lab.exec("gateway", "nft", "delete", "table", "inet", "dotp");
    return new Machine(lab, root);
  }

  private constructor(lab: Lab, root: string) {
    this.lab = lab;
    this.root = root;
  }

  /** The command that runs another one on the machine. */
  command(command: string[], { env = {}, before = [] }: MachineOptions = {}): string[] {
    const variables = Object.entries({ PATH, HOME: "/root", DENO_DIR: "/opt/cache", ...env });
    const given = variables.map(([name, value]) => `${name}=${value}`);
    const enter = this.enter ?? ["chroot", this.root];
    return [...enter, ...before, "env", "-i", ...given, ...command];
  }

  /** Runs a command on the machine. */
  run(command: string[], options: MachineOptions = {}): Promise<Ended> {
    return this.lab.gateway.run(this.command(command, options));
  }

  /** Runs the checkout's install.sh. */
  install(args: string[], options: MachineOptions = {}): Promise<Ended> {
    return this.run(["sh", `${SOURCES}/install.sh`, ...args], options);
  }

  /** Reads a file. */
  read(path: string): string {
    return Deno.readTextFileSync(`${this.root}${path}`);
  }

  /** Writes a file. */
  write(path: string, text: string, mode = 0o644): void {
    Deno.writeTextFileSync(`${this.root}${path}`, text);
    Deno.chmodSync(`${this.root}${path}`, mode);
  }

  /** Everything that an install may leave behind. */
  tree(): Record<string, string> {
    const places = ["/etc/dotp", "/etc/systemd", "/usr/local", "/run", "/tmp", "/root", "/var"];
    const names = Object.fromEntries(
      [...Deno.readDirSync(`${this.root}/etc`)].map(({ name }) => [`/etc/${name}`, ""]),
    );
    return Object.assign(names, ...places.map((place) => tree(this.root, place)));
  }

  /** Whether the table is loaded. */
  async hasTable(): Promise<boolean> {
    const tables = await this.lab.exec("gateway", "nft", "list", "tables");
    return /^table inet dotp$/m.test(tables);
  }

  /** Looks an address up and fetches through it; the address at which the server was reached. */
  async visit(name: string, type: "A" | "AAAA", options: LabQueryOptions = {}): Promise<{
    fake: string;
    at: string | undefined;
  }> {
    const [fake = ""] = await this.lab.resolve(name, type, options);
    return { fake, at: (await this.lab.fetch(fake)).at };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
    // The mounts go with the namespace; the directory is empty but for them.
    await mustRun(["umount", "--lazy", this.root]);
    await Deno.remove(this.root);
  }
}

async function denoDirectory(): Promise<string> {
  return JSON.parse(await mustRun([Deno.execPath(), "info", "--json"])).denoDir;
}

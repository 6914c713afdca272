/**
 * A `Machine` that has been booted: systemd is process 1 of a process namespace of its own, at the
 * gateway of the lab, with the units of this machine's packages below `/usr` and none of those in its
 * `/etc`. Only what a service and its log need is started, so a boot takes a fraction of a second.
 *
 * Needs root, systemd and a cgroup2 hierarchy that may be changed: `reasonNotToBoot` tells what is
 * missing. Nothing of the machine around is changed: `/proc/sys` and `/sys` cannot be written to,
 * `/dev` holds no device of its own, and the cgroup goes with the machine.
 */

import type { Process } from "../lab/host.ts";
import { lackOf } from "../support/programs.ts";
import { run } from "../support/run.ts";
import { eventually } from "../support/waiting.ts";
import type { Machine } from "./machine.ts";

/** systemd's own program, where distributions put it. */
const SYSTEMD = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].find(isFile);

/** What it takes to boot. */
const WANTED = ["systemctl", "journalctl", "pivot_root", "nsenter", "unshare"];

/** The name by which a cgroup of these tests is known. */
const CGROUP_PREFIX = "dotp-booted-";

/** Readies /etc for systemd, before the first boot: $1 the root. */
const PREPARE = `
set -eu
cd "$1/etc"
rm -rf systemd init.d rc?.d fstab crypttab modules-load.d sysctl.d
mkdir -p systemd/system ../var/tmp
# With an id this is no first boot, at which systemd would enable whatever there is.
echo 0123456789abcdef0123456789abcdef >machine-id
`;

/**
 * Boots: $1 the root, $2 the cgroup, $3 systemd. Of what the packages start by themselves only the
 * journal is left.
 */
const BOOT = `
set -eu
echo $$ >"$2/cgroup.procs"
exec unshare --pid --mount --uts --ipc --cgroup --fork --kill-child sh -euc '
cd "$1"
for each in proc sys dev; do umount --recursive "$each"; done
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for each in null zero full random urandom tty; do
  : >"dev/$each"
  mount --bind "/dev/$each" "dev/$each"
done
mkdir dev/shm
ln -s pts/ptmx dev/ptmx
for each in run tmp var/tmp; do mount -t tmpfs -o mode=1777 tmpfs "$each"; done
units=$(dirname "$2")/system
for each in sysinit multi-user local-fs timers sockets graphical getty; do
  if [ -d ".$units/$each.target.wants" ]; then
    mount -t tmpfs tmpfs ".$units/$each.target.wants"
  fi
done
ln -s ../systemd-journald.service ".$units/sysinit.target.wants/"
ln -s ../systemd-journald.socket ".$units/sockets.target.wants/"
mkdir -p old
pivot_root . old
umount --lazy old
rmdir old
exec env -i container=dotp PATH=/usr/sbin:/usr/bin:/sbin:/bin "$2" --unit=multi-user.target \
  --show-status=0 --log-target=journal
' sh "$1" "$3"
`;

/** What keeps this machine from booting one of its own, for the name of a test; undefined if nothing does. */
export async function reasonNotToBoot(): Promise<string | undefined> {
  const uidMap = await Deno.readTextFile("/proc/self/uid_map");
  if (Deno.uid() !== 0 || uidMap.trim().split(/\s+/)[2] === "1") return "not root";
  if (SYSTEMD === undefined) return "no systemd: apt-get install systemd";
  const lack = lackOf([...WANTED, "ip", "ps", "ss"]);
  if (lack !== undefined) return lack;
  const namespaces = ["--pid", "--mount", "--uts", "--ipc", "--cgroup", "--fork"];
  const { code } = await run(["unshare", ...namespaces, "mount", "-t", "proc", "proc", "/proc"]);
  if (code !== 0) return "namespaces or mounts are not permitted";
  return tryOut(() => removeCgroup(makeCgroup())) ? undefined : "no cgroup2 that may be written to";
}

/** systemd on a machine, from a boot to its end. */
export class Booted {
  readonly #machine: Machine;
  readonly #cgroup: string;
  readonly #process: Process;
  #isOver = false;

  /** Boots a machine, whose commands run in it from then on. */
  static async boot(machine: Machine): Promise<Booted> {
    const cgroup = makeCgroup();
    const process = await machine.lab.gateway.spawn(
      ["sh", "-c", BOOT, "sh", machine.root, cgroup, SYSTEMD ?? ""],
    );
    const booted = new Booted(machine, cgroup, process);
    try {
      await booted.#start();
    } catch (error) {
      await booted.end();
      throw error;
    }
    return booted;
  }

  private constructor(machine: Machine, cgroup: string, process: Process) {
    this.#machine = machine;
    this.#cgroup = cgroup;
    this.#process = process;
  }

  /** Readies a new machine for its first boot. */
  static async prepare(machine: Machine): Promise<void> {
    await machine.lab.exec("gateway", "sh", "-c", PREPARE, "sh", machine.root);
  }

  /** Runs systemctl, which must succeed, and returns what it printed. */
  async systemctl(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#machine.run(["systemctl", ...args]);
    if (code !== 0) throw new Error(`systemctl ${args.join(" ")}: ${stderr.trim()}`);
    return stdout.trim();
  }

  /** A property of a unit. */
  show(unit: string, property: string): Promise<string> {
    return this.systemctl("show", "--value", "--property", property, unit);
  }

  /** What the journal holds of a unit, an object a line. */
  async journal(unit: string, ...args: string[]): Promise<Record<string, string>[]> {
    const command = ["journalctl", "--output=json", "--no-pager", "--unit", unit, ...args];
    const { stdout } = await this.#machine.run(command);
    return stdout.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }

  /** Takes the power away. */
  async end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#machine.enter = undefined;
    await this.#process.signal("SIGKILL");
    await this.#process.ended;
    const remove = () => tryOut(() => removeCgroup(this.#cgroup));
    await eventually("the end of all that was in the cgroup", remove, (isRemoved) => isRemoved);
  }

  async #start(): Promise<void> {
    const init = await eventually("process 1", () => this.#child(), (pid) => pid !== "");
    const namespaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup"];
    const enter = ["nsenter", "--target", init, ...namespaces, "--"];
    await eventually(
      "the end of the boot",
      () => this.#machine.lab.gateway.run([...enter, "systemctl", "is-system-running"]),
      ({ stdout }) => /^(running|degraded)$/.test(stdout.trim()),
    );
    this.#machine.enter = enter;
  }

  /** The process that `unshare` has started. */
  async #child(): Promise<string> {
    const { pid } = this.#process;
    const children = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`).catch(() => "");
    return children.trim();
  }
}

/** Makes a cgroup for a machine. */
function makeCgroup(): string {
  const mounts = Deno.readTextFileSync("/proc/self/mounts");
  const [, root] = /^\S+ (\S+) cgroup2 /m.exec(mounts) ?? [];
  if (root === undefined) throw new Error("There is no cgroup2 hierarchy");
  const path = `${root}/${CGROUP_PREFIX}${Deno.pid}-${crypto.randomUUID()}`;
  Deno.mkdirSync(path);
  return path;
}

/** Removes a cgroup and those in it, which must be empty. */
function removeCgroup(path: string): void {
  for (const { name, isDirectory } of Deno.readDirSync(path)) {
    if (isDirectory) removeCgroup(`${path}/${name}`);
  }
  Deno.removeSync(path);
}

function tryOut(action: () => void): boolean {
  try {
    action();
    return true;
  } catch {
    return false;
  }
}

function isFile(path: string): boolean {
  return tryOut(() => {
    if (!Deno.statSync(path).isFile) throw new Error(`${path} is no file`);
  });
}

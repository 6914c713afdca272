/**
 * `deno task build [TARGET...]`: `dist/dotp-TARGET`, one binary for each target that needs nothing on
 * the machine but nft, and `dist/SHA256SUMS`.
 *
 * What is compiled is the module that the bundle holds, so its tests tell about the binary too, and
 * nothing else is embedded. Deno downloads its runtime for a target unless DENORT_BIN names one.
 */
import { makeModule } from "./bundle.ts";
import { ITSELF, ITSELF_COMPILED, permissionFlags } from "./permissions.ts";
import { runDeno, runTask, type Task, TaskError, warn } from "./task.ts";

/** Targets and the machine that their executables are for (e_machine of ELF). */
const TARGETS: Readonly<Record<string, number>> = {
  "x86_64-unknown-linux-gnu": 62,
  "aarch64-unknown-linux-gnu": 183,
};

/** Where ELF says which machine it is for. */
const ELF_MACHINE_OFFSET = 18;

const SUMS = "SHA256SUMS";

async function build({ work, dist, args }: Task): Promise<string[]> {
  const targets = args.length > 0 ? args : Object.keys(TARGETS);
  const unknown = targets.find((target) => !(target in TARGETS));
  if (unknown !== undefined) {
    throw new TaskError(`No target ${unknown}: give one of ${Object.keys(TARGETS).join(", ")}`);
  }
  const module = `${work}/dotp.js`;
  await Deno.writeTextFile(module, await makeModule(work));
  // The time goes into the binary; the same sources shall make the same octets.
  await Deno.utime(module, 0, 0);
  for (const target of targets) await compile(work, target);
  const made = targets.map(nameOf);
  await Deno.writeTextFile(`${work}/${SUMS}`, await sums(work, dist, made));
  return [...made, SUMS];
}

async function compile(work: string, target: string): Promise<void> {
  // Without --no-code-cache the binary would keep code in /tmp under a name that anybody can take.
  // --quiet is kept in the binary: Deno would tell of each program that is not installed.
  const flags = ["--quiet", "--no-config", "--no-lock", "--no-check", "--no-code-cache"];
  const permissions = permissionFlags([...ITSELF, ITSELF_COMPILED]);
  const output = ["--app-name", "dotp", "--target", target, "--output", nameOf(target)];
  try {
    await runDeno(["compile", ...flags, ...permissions, ...output, "dotp.js"], work);
  } catch (error) {
    if (!(error instanceof TaskError && /denort|base binary/.test(String(error.cause)))) {
      throw error;
    }
    throw new TaskError(
      `Cannot get Deno's runtime for ${target} (${error.message}): let Deno download it, ` +
        `or let DENORT_BIN name the denort of Deno ${Deno.version.deno} for it`,
    );
  }
  warnOfOtherMachine(`${work}/${nameOf(target)}`, target);
}

/** One DENORT_BIN serves every target, and Deno does not look at what it is for. */
function warnOfOtherMachine(path: string, target: string): void {
  const header = new Uint8Array(ELF_MACHINE_OFFSET + 2);
  using file = Deno.openSync(path);
  file.readSync(header);
  const machine = new DataView(header.buffer).getUint16(ELF_MACHINE_OFFSET, true);
  if (machine === TARGETS[target]) return;
  warn(`Warning: ${nameOf(target)} will not run there: DENORT_BIN is for another machine`);
}

/** A line for each binary: those just made, and those of other targets from before. */
async function sums(work: string, dist: string, made: readonly string[]): Promise<string> {
  let lines = "";
  for (const name of Object.keys(TARGETS).map(nameOf)) {
    const path = `${made.includes(name) ? work : dist}/${name}`;
    const bytes = await Deno.readFile(path).catch(() => undefined);
    if (bytes !== undefined) lines += `${await sha256(bytes)}  ${name}\n`;
  }
  return lines;
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (octet) => octet.toString(16).padStart(2, "0")).join("");
}

function nameOf(target: string): string {
  return `dotp-${target}`;
}

await runTask(build);

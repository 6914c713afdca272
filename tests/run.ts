/**
 * All tests with one command: the unit tests here, then the end-to-end tests and those of install.sh on
 * a machine, in namespaces of their own, so without root. Prints what they print and closes with one
 * line, "N passed, N failed", and ", N skipped" where some were: their names say for lack of what. The
 * exit code is 0 only if some test ran and none failed. Arguments are a filter on the names of the
 * tests.
 *
 *   deno task test [FILTER]
 *
 * The programs that the lab needs are installed as lab/tools.ts says; where CI is set in the
 * environment, so are those that single tests need, as a machine for tests is there for that.
 */

import { namespaceCommand } from "./lab/namespace.ts";
import { out } from "./lab/out.ts";
import { close, type Count, runTests } from "./lab/test_run.ts";
import { install, prepare, WANTED } from "./lab/tools.ts";
import { run } from "./support/run.ts";

/** Files of end-to-end tests at a time: each has hosts of its own, and mostly waits. */
const JOBS = 2;

const TESTS = import.meta.dirname ?? "tests";

/**
 * Not named as tests are, since they may run only where they may change the network and mounts. Each of
 * their tests needs those before it, so a filter takes all of a file, by this name, or none.
 */
const MACHINES: readonly (readonly [name: string, file: string])[] = [
  ["install.sh and its service on a machine", `${TESTS}/install/machine_steps.ts`],
  ["install.sh and its service where systemd is booted", `${TESTS}/install/systemd_steps.ts`],
];

async function main(): Promise<number> {
  const files = testFiles(TESTS);
  if (!await prepare([...files, ...MACHINES.map(([, file]) => file)])) return 1;
  if (Deno.env.has("CI")) await install(WANTED);
  const enter = await namespaceCommand();
  const enterMachine = await namespaceCommand("root");
  if (enter === undefined || enterMachine === undefined) return 1;
  await getBundler();
  const endToEnd = files.filter((file) => file.startsWith(`${TESTS}/e2e/`));
  const unit = files.filter((file) => !endToEnd.includes(file));
  const filter = Deno.args.join(" ");
  Deno.env.set("DENO_JOBS", String(JOBS));
  const counts = [
    await test([], unit, filter),
    await test(enter, ["--parallel", ...endToEnd], filter),
  ];
  for (const [name, file] of MACHINES) {
    if (name.includes(filter)) counts.push(await test(enterMachine, [file], ""));
  }
  const { line, status } = close(counts);
  out(line);
  return status;
}

function testFiles(directory: string): string[] {
  const files: string[] = [];
  for (const { name, isDirectory } of Deno.readDirSync(directory)) {
    const path = `${directory}/${name}`;
    if (isDirectory) files.push(...testFiles(path));
    else if (name.endsWith("_test.ts")) files.push(path);
  }
  return files.sort();
}

/** Has Deno get what it bundles with while there is a network; without it a test says what fails. */
async function getBundler(): Promise<void> {
  const main = new URL("../main.ts", import.meta.url).pathname;
  await run([Deno.execPath(), "bundle", "--quiet", main]).catch((error) => out(error.message));
}

function test(enter: string[], what: string[], filter: string): Promise<Count> {
  const options = ["--allow-all", "--no-prompt", ...filter === "" ? [] : ["--filter", filter]];
  return runTests([...enter, Deno.execPath(), "test", ...options, ...what]);
}

Deno.exit(await main());

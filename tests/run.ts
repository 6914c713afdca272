/**
 * All tests with one command: the unit tests here, then the end-to-end tests in namespaces of their
 * own, so without root. Prints what they print and closes with one line, "N passed, N failed". The
 * exit code is 0 only if some test ran and none failed. Arguments are a filter on the names of the
 * tests.
 *
 *   deno task test [FILTER]
 */

import { namespaceCommand, runChild } from "./lab/namespace.ts";
import { out } from "./lab/out.ts";
import { prepare } from "./lab/tools.ts";

interface Count {
  passed: number;
  failed: number;
}

/** The line that `deno test` closes with; a run without it did not get as far as testing. */
const SUMMARY = /^(?:ok|FAILED) \| (\d+) passed.*? \| (\d+) failed/;

const TESTS = import.meta.dirname ?? "tests";

async function main(): Promise<number> {
  const files = testFiles(TESTS);
  if (!await prepare(files)) return 1;
  const enter = await namespaceCommand();
  if (enter === undefined) return 1;
  const endToEnd = files.filter((file) => file.startsWith(`${TESTS}/e2e/`));
  const unit = files.filter((file) => !endToEnd.includes(file));
  const counts = [await test([], unit), await test(enter, endToEnd)];
  const passed = sum(counts.map((count) => count.passed));
  const failed = sum(counts.map((count) => count.failed));
  out(`${passed} passed, ${failed} failed`);
  return passed > 0 && failed === 0 ? 0 : 1;
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

async function test(enter: string[], files: string[]): Promise<Count> {
  if (files.length === 0) return { passed: 0, failed: 0 };
  const filter = Deno.args.length > 0 ? ["--filter", Deno.args.join(" ")] : [];
  const command = [Deno.execPath(), "test", "--allow-all", "--no-prompt", ...filter, ...files];
  let count: Count | undefined;
  const code = await runChild([...enter, ...command], (line) => {
    out(line);
    const found = line.match(SUMMARY);
    if (found !== null) count = { passed: Number(found[1]), failed: Number(found[2]) };
  });
  const { passed, failed } = count ?? { passed: 0, failed: 0 };
  return { passed, failed: code !== 0 && failed === 0 ? 1 : failed };
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

Deno.exit(await main());

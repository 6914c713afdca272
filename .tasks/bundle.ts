/**
 * `deno task bundle`: `dist/dotp`, all of dotp in one executable file, for machines that have Deno.
 *
 * The file needs nothing else: the packages are in it, and so are their licences. It is a shell
 * script that starts Deno with itself, with the permissions of permissions.ts, without a configuration
 * or a lock file. The same sources make the same octets on any machine.
 */
import { ITSELF, permissionFlags } from "./permissions.ts";
import { ROOT, runDeno, runTask, type Task, TaskError, VERSION } from "./task.ts";

/** Names of the file in which a package states its licence. */
const LICENSES = ["LICENSE", "LICENSE.md", "LICENSE.txt"];

/** A comment that the bundler puts before a module of a package: its path in Deno's cache. */
const PACKAGE_COMMENT =
  /^\/\/ (?<cache>.*\/npm\/[^/\n]+\/)(?<name>(?:@[^/\n]+\/)?[^/\n]+)\/(?<version>\d[^/\n]*)\/(?<file>.+)$/gm;

/** How a module says whose it is, where its package has no licence file: Deno's standard library. */
const MIT_COMMENT = /^\/\/ (?<copyright>Copyright .+)\. MIT license\.$/m;

/**
 * The first lines of the bundle, which sh and JavaScript both take: sh starts Deno, and JavaScript sees
 * a string and a comment. (A first line that started Deno would be longer than Linux reads.) `-q`: Deno
 * would tell of each program that is not installed. DENO_DIR: it would leave its caches in the home of
 * whoever runs dotp; where it cannot write, it does without.
 */
export function header(): string {
  const flags = ["-q", "--no-config", ...permissionFlags(ITSELF)];
  const command = `exec /usr/bin/env DENO_DIR=/dev/null deno run ${flags.join(" ")} "$0" "$@"`;
  return `#!/bin/sh\n":" //# ; ${command}\n;\n`;
}

/**
 * dotp and the packages it uses as one module, licences at its end.
 *
 * @param work a directory for the bundler
 */
export async function makeModule(work: string): Promise<string> {
  const path = `${work}/bundle.js`;
  await runDeno(["bundle", "--quiet", "--output", path, "main.ts"]);
  const bundled = await Deno.readTextFile(path);
  const own = await licenseIn(ROOT) ?? "";
  const notices = [`dotp ${VERSION}\n\n${own}`];
  const seen = new Set<string>();
  const caches = new Set<string>();
  for (const { groups } of bundled.matchAll(PACKAGE_COMMENT)) {
    const { cache = "", name = "", version = "", file = "" } = groups ?? {};
    caches.add(cache);
    const directory = `${cache}${name}/${version}`;
    if (seen.has(directory)) continue;
    seen.add(directory);
    const license = await licenseIn(`${ROOT}${directory}`) ??
      await licenseOf(`${ROOT}${directory}/${file}`, own);
    if (license === undefined) {
      throw new TaskError(`deno bundle: ${name} ${version} does not state its licence`);
    }
    notices.push(`${name} ${version}\n\n${license}`);
  }
  if (seen.size === 0) throw new TaskError("deno bundle: it does not say which packages it used");
  // Where this machine keeps its packages is nobody's business and would make no two bundles equal.
  const module = [...caches].reduce((text, cache) => text.replaceAll(cache, "npm/"), bundled);
  return `${module}\n/*!\n${notices.join("\n")}*/\n`;
}

/** The licence of what is in a directory, where a file states it. */
async function licenseIn(directory: string): Promise<string | undefined> {
  for (const file of LICENSES) {
    const text = await Deno.readTextFile(`${directory}/${file}`).catch(() => undefined);
    if (text !== undefined) return `${text.trim()}\n`;
  }
  return undefined;
}

/** The licence of a module that says itself that it is MIT: the same text as dotp's own. */
async function licenseOf(module: string, mit: string): Promise<string | undefined> {
  const { copyright } = MIT_COMMENT.exec(await Deno.readTextFile(module))?.groups ?? {};
  return copyright === undefined ? undefined : mit.replace(/^Copyright .*$/m, () => copyright);
}

async function makeBundle({ work }: Task): Promise<string[]> {
  await Deno.writeTextFile(`${work}/dotp`, `${header()}${await makeModule(work)}`);
  await Deno.chmod(`${work}/dotp`, 0o755);
  return ["dotp"];
}

if (import.meta.main) await runTask(makeBundle);

/**
 * `deno task npm`: `dist/dotp-core-VERSION.tgz`, the pure core as an npm package.
 *
 * The package is what `lib/mod.ts` imports, directly or not, with types, a README of its own and the
 * licence, and nothing else: only these files are copied to where `deno pack` works. It packs also
 * where types are missing; here that is an error.
 */
import deno from "../deno.json" with { type: "json" };
import { ROOT, runDeno, runTask, type Task, TaskError, VERSION } from "./task.ts";

/** Name of the package; `deno pack` wants a scope. */
const NAME = "@dotp/core";

const ENTRY = "lib/mod.ts";

/** What is read of `deno info --json`. */
interface Graph {
  readonly modules: readonly { readonly specifier: string; readonly local?: string }[];
}

async function pack({ work }: Task): Promise<string[]> {
  const stage = `${work}/package`;
  for (const path of await modulesOf(ENTRY)) await copy(`${ROOT}${path}`, `${stage}/${path}`);
  await copy(`${ROOT}LICENSE`, `${stage}/LICENSE`);
  await copy(`${ROOT}.tasks/npm/README.md`, `${stage}/README.md`);
  const { imports, compilerOptions } = deno;
  const config = {
    name: NAME,
    version: VERSION,
    license: "MIT",
    exports: `./${ENTRY}`,
    imports,
    compilerOptions,
    lock: false,
  };
  await Deno.writeTextFile(`${stage}/deno.json`, JSON.stringify(config));
  const name = `dotp-core-${VERSION}.tgz`;
  // Source maps would carry the paths of this machine.
  const flags = ["--allow-dirty", "--no-source-maps", "--output", `${work}/${name}`];
  const [, said = ""] = await runDeno(["pack", ...flags], stage);
  const [, problem, where] = /^error\[.*\]: (.*)\n +--> (.*)$/m.exec(said) ?? [];
  if (problem !== undefined) {
    throw new TaskError(`deno pack: ${problem} at ${where?.replace(`${stage}/`, "")}`);
  }
  return [name];
}

/** Modules of this repository that a module needs, itself included, by their paths in it. */
async function modulesOf(entry: string): Promise<string[]> {
  const [stdout = ""] = await runDeno(["info", "--json", entry]);
  const graph: Graph = JSON.parse(stdout);
  return graph.modules.flatMap(({ local }) =>
    local?.startsWith(ROOT) ? local.slice(ROOT.length) : []
  )
    .sort();
}

async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(to.slice(0, to.lastIndexOf("/")), { recursive: true });
  await Deno.copyFile(from, to);
}

await runTask(pack);

/**
 * `deno task bundle`: one file that runs where there is Deno and nothing else, with the permissions
 * that its sources need and no more. That it does dotp's work is for the end-to-end tests, with
 * DOTP_BIN.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname } from "node:path";
import deno from "../../deno.json" with { type: "json" };
import { inTempDir, make, namesIn, ROOT, run } from "./setup.ts";

/** The paths by which dotp may start itself; not Deno, with which it could do anything. */
const ITSELF = ["dotp", "/usr/local/bin/dotp"];

/** Programs where others than root have no PATH to. */
const IN_ROOTS_DIRECTORIES = ["nft", "conntrack", "ip"].flatMap((name) =>
  ["/usr/local/sbin", "/usr/sbin", "/sbin"].map((directory) => `${directory}/${name}`)
);

/** All sources that are shipped, as one text. */
function sources(directory = `${ROOT}lib`): string {
  const files = Array.from(Deno.readDirSync(directory), ({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    return isDirectory ? sources(path) : Deno.readTextFileSync(path);
  });
  return files.join("\n");
}

/** Words in the sources that match, each once, in order. */
function wordsOf(text: string, pattern: RegExp): string[] {
  return Array.from(new Set(Array.from(text.matchAll(pattern), ([, word = ""]) => word))).sort();
}

Deno.test("the bundle's header grants what the sources use, when they are searched", async () => {
  await inTempDir(async (dist) => {
    await make("bundle", dist);
    const [, line = ""] = Deno.readTextFileSync(`${dist}/dotp`).split("\n");
    const [, command = ""] = / deno run (.*) "\$0" "\$@"$/.exec(line) ?? [];
    const flags = command.split(" ");
    const run = flags.find((flag) => flag.startsWith("--allow-run="))?.split("=")[1]?.split(",");
    const text = sources();
    const programs = wordsOf(
      text,
      /\b(?:new Deno\.Command|capture|runProgram|startProgram)\(\s*"([^"]+)"/g,
    );
    const others = run?.filter((name) => !ITSELF.includes(name)) ?? [];
    assertEquals(others.filter((name) => !name.includes("/")).sort(), programs);
    assertEquals(others.filter((name) => name.includes("/")), IN_ROOTS_DIRECTORIES);
    assertEquals(run?.filter((name) => ITSELF.includes(name)), ITSELF);
    assertEquals(flags.filter((flag) => !flag.startsWith("--allow-run=")), [
      "-q",
      "--no-config",
      "--no-prompt",
      ...deno.unstable.map((feature) => `--unstable-${feature}`),
      "--allow-net",
      "--allow-env=NOTIFY_SOCKET,JOURNAL_STREAM",
      "--allow-read=/etc/dotp",
      "--allow-write=/run/dotp.pid,/run/dotp",
    ]);
    assertEquals(wordsOf(text, /const VARIABLE = "([^"]+)"/g), ["JOURNAL_STREAM", "NOTIFY_SOCKET"]);
  });
});

Deno.test("the bundle runs from anywhere, when it is all there is", async () => {
  await inTempDir(async (directory) => {
    await make("bundle", directory);
    assertEquals(namesIn(directory), ["dotp"]);
    // No cache, no network needed, and whatever lies beside it is none of its business.
    for (const name of ["deno.json", "deno.lock", "package.json"]) {
      Deno.writeTextFileSync(`${directory}/${name}`, "broken");
    }
    const home = `${directory}/home`;
    Deno.mkdirSync(home);
    const env = { PATH: `${dirname(Deno.execPath())}:/usr/bin:/bin`, HOME: home };
    const options = { cwd: directory, clearEnv: true, env };
    const version = await run(["./dotp", "--version"], options);
    assertEquals(version, { code: 0, stdout: `dotp ${deno.version}\n`, stderr: "" });
    const help = await run([`${directory}/dotp`, "--help"], { ...options, cwd: "/" });
    assertMatch(help.stdout, /^Usage: dotp /);
    assertEquals([help.code, help.stderr], [0, ""]);
    const wrong = await run([`${directory}/dotp`, "--frobnicate"], options);
    assertEquals(wrong.code, 2);
    assertMatch(wrong.stderr, /^dotp: [^\n]*--frobnicate[^\n]*\n$/);
    assertEquals(namesIn(home), []);
  });
});

/** What is read of `deno info --json`. */
interface Graph {
  readonly modules: readonly { readonly local?: string; readonly npmPackage?: string }[];
}

Deno.test("the bundle holds dotp, what it uses, and licences, when it is searched", async () => {
  await inTempDir(async (directory) => {
    await make("bundle", directory);
    const bundle = Deno.readTextFileSync(`${directory}/dotp`);
    const { stdout } = await run([Deno.execPath(), "info", "--json", "main.ts"], { cwd: ROOT });
    const { modules }: Graph = JSON.parse(stdout);
    const used = modules.flatMap(({ local }) =>
      local?.startsWith(ROOT) ? [local.slice(ROOT.length)] : []
    );
    const packages = modules.flatMap(({ npmPackage }) =>
      npmPackage?.replace(/@(?=[^@]*$)/, "/") ?? []
    );
    const held = wordsOf(bundle, /^\/\/ (\S+\.(?:ts|js|mjs|cjs|json))$/gm);
    assert(held.includes("main.ts") && held.includes("lib/proxy/rewriter.ts"));
    for (const module of held) {
      const isUsed = used.includes(module) ||
        packages.some((name) => module.startsWith(`npm/${name}/`));
      assert(isUsed, `${module} is not used`);
    }
    for (const name of packages) {
      assertStringIncludes(bundle, `\n${name.replace(/\/(?=\d)/, " ")}\n`);
    }
    // Deno's standard library has no licence file: what it says in each module stands for it.
    assertMatch(
      bundle,
      /\ndeno-std [\d.]+\n\nMIT License\n\nCopyright \S+ the Deno authors\n\nPerm/,
    );
    // Neither paths of this machine nor the name of a registry.
    for (const stranger of ["../", ROOT, "npm/registry"]) {
      assert(!wordsOf(bundle, /^(?:\/\/|\s+")(.*)$/gm).some((word) => word.includes(stranger)));
    }
  });
});

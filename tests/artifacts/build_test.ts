/**
 * `deno task build`, with a stand-in for Deno's runtime: what is embedded, with which permissions,
 * and that nothing is left where the runtime cannot be had. The binary itself is run by the release
 * workflow only.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Buffer } from "node:buffer";
import { inTempDir, make, namesIn, run, runTask, STAND_IN } from "./setup.ts";

const BINARIES = ["dotp-aarch64-unknown-linux-gnu", "dotp-x86_64-unknown-linux-gnu"];

/** Asserts that a task failed with one line that says why. */
function assertOneLine(ended: { code: number; stdout: string; stderr: string }, why: RegExp): void {
  const { code, stdout, stderr } = ended;
  assert(code !== 0, "it must fail");
  assertEquals(stdout, "");
  assertMatch(stderr, /^[^\n]+\n$/);
  assertMatch(stderr, why);
}

/** A cache with Deno's packages but without its runtimes. */
async function cacheWithoutRuntime(directory: string): Promise<string> {
  const { stdout } = await run([Deno.execPath(), "info", "--json"]);
  const { denoDir } = JSON.parse(stdout);
  Deno.mkdirSync(`${directory}/dl`, { recursive: true });
  Deno.symlinkSync(`${denoDir}/npm`, `${directory}/npm`);
  for (const name of namesIn(`${denoDir}/dl`).filter((name) => name.startsWith("esbuild"))) {
    Deno.symlinkSync(`${denoDir}/dl/${name}`, `${directory}/dl/${name}`);
  }
  return directory;
}

Deno.test("deno task build says why in one line, when the runtime cannot be downloaded", async () => {
  await inTempDir(async (directory) => {
    // The bundler is downloaded here, if at all.
    await make("bundle", `${directory}/other`);
    const dist = `${directory}/dist`;
    Deno.mkdirSync(dist);
    Deno.writeTextFileSync(`${dist}/older`, "");
    // Nobody listens on the discard port.
    const proxy = "http://127.0.0.1:9";
    const env = {
      DENO_DIR: await cacheWithoutRuntime(`${directory}/cache`),
      ...{ DENORT_BIN: "", HTTPS_PROXY: proxy, https_proxy: proxy, ALL_PROXY: proxy },
    };
    const ended = await runTask("build", dist, { env });
    assertOneLine(ended, /runtime.*x86_64-unknown-linux-gnu.*DENORT_BIN/);
    assertEquals(namesIn(dist), ["older"]);
  });
});

Deno.test("deno task build leaves nothing at all, when DENORT_BIN or a target is wrong", async () => {
  await inTempDir(async (directory) => {
    const dist = `${directory}/dist`;
    const env = { DENORT_BIN: `${directory}/nosuch` };
    assertOneLine(await runTask("build", dist, { env }), /runtime.*No such file/);
    Deno.writeTextFileSync(`${directory}/text`, "no executable");
    const text = { DENORT_BIN: `${directory}/text` };
    assertOneLine(await runTask("build", dist, { env: text }), /ELF/);
    assertOneLine(await runTask("build", dist, { args: ["sparc"] }), /sparc.*x86_64/);
    assertEquals(namesIn(directory), ["text"]);
  });
});

/** A value that lies in a binary as JSON behind its length. */
function embeddedJson(binary: Buffer, beginning: string) {
  const at = binary.indexOf(beginning);
  assert(at > 0, beginning);
  const length = Number(binary.readBigUInt64LE(at - 8));
  return JSON.parse(binary.subarray(at, at + length).toString());
}

Deno.test("deno task build embeds dotp and nothing else, when it has a runtime", async () => {
  await inTempDir(async (directory) => {
    const dist = `${directory}/dist`;
    const { stderr } = await make("build", dist, { DENORT_BIN: STAND_IN });
    assertMatch(stderr, /^Warning: dotp-\w+-unknown-linux-gnu will not run there: [^\n]+\n$/);
    assertEquals(namesIn(dist), ["SHA256SUMS", ...BINARIES]);
    const checked = await run(["sha256sum", "-c", "SHA256SUMS"], { cwd: dist });
    assertEquals(checked.stdout, [...BINARIES].reverse().map((name) => `${name}: OK\n`).join(""));
    await make("bundle", `${directory}/bundle`);
    const [, command = "", , ...rest] = Deno.readTextFileSync(`${directory}/bundle/dotp`).split(
      "\n",
    );
    for (const name of BINARIES) {
      assertEquals((Deno.statSync(`${dist}/${name}`).mode ?? 0) & 0o777, 0o755);
      const binary = Buffer.from(Deno.readFileSync(`${dist}/${name}`));
      const files = embeddedJson(binary, '[{"File":');
      assertEquals(files.map(({ File }: { File: { n: string } }) => File.n), ["dotp.js"]);
      assert(binary.includes(rest.join("\n")), "it is the module of the bundle");
      assertPermissions(embeddedJson(binary, '{"argv":'), command);
      const packages = ["fast-check", "dns-packet", "deno-std/1.4.0/assert"];
      for (const stranger of [directory, "_test.ts", ...packages.map((name) => `npm/${name}`)]) {
        assert(!binary.includes(stranger), stranger);
      }
    }
  });
});

/** What Deno embeds of the flags that a binary was made with. */
interface Metadata {
  readonly permissions: Readonly<Record<string, unknown>>;
  readonly code_cache_key: unknown;
  readonly log_level: string;
  readonly unstable_config: { readonly features: readonly string[] };
}

/** Asserts that a binary may do what the bundle's command grants, and start itself. */
function assertPermissions(metadata: Metadata, command: string): void {
  const granted = (name: string) => new RegExp(`--allow-${name}=(\\S+)`).exec(command)?.[1];
  const allowed = Object.entries(metadata.permissions)
    .filter(([name, value]) => name.startsWith("allow_") && name !== "allow_import" && value);
  assertEquals(Object.fromEntries(allowed), {
    allow_env: granted("env")?.split(","),
    allow_net: [],
    allow_read: granted("read")?.split(","),
    allow_run: [...granted("run")?.split(",") ?? [], "/proc/self/exe"],
    allow_write: granted("write")?.split(","),
  });
  assertEquals(metadata.permissions.prompt, false);
  assertEquals(metadata.unstable_config.features, ["net"]);
  assertEquals(metadata.code_cache_key, null);
  assertEquals(metadata.log_level, "ERROR");
}

Deno.test("deno task build makes the same octets, when the sources are the same", async () => {
  await inTempDir(async (directory) => {
    const sums = [];
    for (const dist of [`${directory}/a`, `${directory}/b`]) {
      await make("build", dist, { DENORT_BIN: STAND_IN });
      sums.push(Deno.readTextFileSync(`${dist}/SHA256SUMS`));
    }
    assertEquals(sums[0], sums[1]);
  });
});

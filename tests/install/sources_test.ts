/** Where install.sh gets dotp from: a release, a file, a checkout; and what it does not take. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ADDRESSES, CHECKOUT, Path, SCRIPT, Staging, standIn } from "./staging.ts";

const ASSET = `dotp-${Deno.build.arch}-unknown-linux-gnu`;
const REPO = { DOTP_REPO: "owner/dotp" };

/** Serves the files of a directory in the place of the releases, and writes down what is asked. */
const CURL = `
while [ $# -gt 0 ]; do
  case $1 in -o) file=$2; shift ;; https://*) url=$1 ;; esac
  shift
done
root=\${0%/bin/*}
echo "$url" >>"$root/asked"
name=\${url#https://github.com/owner/dotp/releases/latest/download/}
[ -f "$root/release/$name" ] || { echo "curl: (22) error 404" >&2; exit 22; }
cp "$root/release/$name" "$file"
`;

/** A release of what is in these files, with their checksums. */
async function release(staging: Staging): Promise<void> {
  staging.dotp("0.0.3", `release/${ASSET}`);
  const bytes = await Deno.readFile(`${staging.root}/release/${ASSET}`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  staging.write("release/SHA256SUMS", `${"0".repeat(64)}  dotp\n${digest.toHex()}  ${ASSET}\n`);
}

for (const program of ["curl", "wget"]) {
  Deno.test(`a release is downloaded with ${program}, verified and installed`, async () => {
    using staging = new Staging();
    await release(staging);
    if (program === "curl") staging.fake("curl", CURL);
    else staging.fake("wget", CURL.replace("-o)", "-O)"));
    // Only the fake can be found.
    const system = `${staging.root}/system`;
    Deno.mkdirSync(system);
    for (const { name } of Deno.readDirSync("/usr/bin")) {
      if (name !== "curl" && name !== "wget") {
        Deno.symlinkSync(`/usr/bin/${name}`, `${system}/${name}`);
      }
    }
    const script = await Deno.readTextFile(SCRIPT);
    const path = staging.write("install.sh", script.replace("PATH=$PATH:", "PATH=$PATH #"));
    const env = { ...REPO, PATH: `${staging.root}/bin:${system}` };
    const { code, stdout, stderr } = await staging.run(ADDRESSES, { env, script: path });
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    assertMatch(stdout, new RegExp(`^download ${ASSET} of the newest release of owner/dotp `));
    assertStringIncludes(staging.read(Path.program), "echo dotp 0.0.3");
    assertEquals(staging.read(Path.rules), await Deno.readTextFile(`${CHECKOUT}/rules.nft`));
    const asked = await Deno.readTextFile(`${staging.root}/asked`);
    const from = "https://github.com/owner/dotp/releases/latest/download";
    assertEquals(
      asked,
      [`SHA256SUMS`, ASSET].map((name) => `${from}/${name}\n`).join(""),
    );
  });
}

/** What can be wrong with a release, and what is said of it. */
const BROKEN: [what: string, breakIt: (release: string) => void, said: RegExp][] = [
  [
    "a wrong checksum of the program",
    (release) => Deno.writeTextFileSync(`${release}/${ASSET}`, "#!/bin/sh\nrm -rf /\n"),
    new RegExp(`the checksum of ${ASSET} is wrong: nothing is installed`),
  ],
  [
    "a missing program",
    (release) => Deno.removeSync(`${release}/${ASSET}`),
    new RegExp(`cannot download https://github.com/owner/dotp/\\S+/${ASSET}: `),
  ],
  [
    "missing checksums",
    (release) => Deno.removeSync(`${release}/SHA256SUMS`),
    /cannot download \S+\/SHA256SUMS: /,
  ],
  [
    "no checksum for this processor",
    (release) => Deno.writeTextFileSync(`${release}/SHA256SUMS`, `${"0".repeat(64)}  other\n`),
    new RegExp(`the release has no checksum for ${ASSET}: nothing is installed`),
  ],
  [
    "empty checksums",
    (release) => Deno.writeTextFileSync(`${release}/SHA256SUMS`, `  ${ASSET}\n`),
    /the release has no checksum for|the checksum of/,
  ],
];

for (const [what, breakIt, said] of BROKEN) {
  Deno.test(`a release with ${what} installs nothing`, async () => {
    using staging = new Staging();
    await release(staging);
    breakIt(`${staging.root}/release`);
    staging.fake("curl", CURL);
    const { code, stderr } = await staging.run(ADDRESSES, { env: REPO });
    assertEquals(code, 1);
    assertMatch(stderr, /^(curl: .*\n)?install\.sh: [^\n]+\n$/);
    assertMatch(stderr, said);
    assertEquals(staging.tree(), {});
    assertEquals([...Deno.readDirSync(staging.temporary())], []);
  });
}

Deno.test("--dry-run downloads nothing", async () => {
  using staging = new Staging();
  staging.fake("curl", "exit 99");
  const { code, stdout } = await staging.run([...ADDRESSES, "--dry-run"], { env: REPO });
  assertEquals(code, 0);
  assertMatch(stdout, /^would download /);
  assertEquals(staging.tree(), {});
});

Deno.test("DOTP_REPO must be a repository", async () => {
  using staging = new Staging();
  for (const repo of ["", "dotp", "a/b/c", "/b", "a/", "a/b;id", "https://x/y"]) {
    const { code, stderr } = await staging.run(ADDRESSES, { env: { DOTP_REPO: repo } });
    assertEquals(code, 2, repo);
    assertMatch(stderr, /^install\.sh: DOTP_REPO [^\n]+\n$/);
  }
  assertEquals(staging.tree(), {});
});

Deno.test("--binary and --rules need a file", async () => {
  using staging = new Staging();
  for (
    const args of [["--binary", "/nowhere"], ["--binary", staging.binary, "--rules", "/nowhere"]]
  ) {
    const { code, stderr } = await staging.run([...ADDRESSES, ...args]);
    assertEquals(code, 1);
    assertMatch(stderr, /^install\.sh: --\w+ \/nowhere: there is no such file\n$/);
  }
  const rules = staging.write("odd.nft", "table inet dotp\n");
  const { code, stderr } = await staging.run([
    ...["--binary", staging.binary, "--rules", rules],
    ...ADDRESSES,
  ]);
  assertEquals({ code, installed: staging.tree() }, { code: 1, installed: {} });
  assertMatch(stderr, /--rules \S+: it does not define FAKE4/);
});

/** A checkout with nothing in it but what install.sh looks for. */
async function checkout(staging: Staging): Promise<string> {
  const script = staging.write("checkout/install.sh", await Deno.readTextFile(SCRIPT));
  staging.write("checkout/deno.json", "{}");
  return script;
}

/** A bundle that a Deno starts. */
function bundle(deno: string): string {
  const options = "--allow-net --allow-run=nft";
  return `#!/bin/sh
":" //# ; exec /usr/bin/env DENO_DIR=/dev/null ${deno} run ${options} "$0" "$@"
;
main();`;
}

/** A Deno that tells its version and where it is, and whose one task makes a bundle. */
function deno(path: string, version = "2.9.6"): string {
  return `case $1 in
eval) echo "${version} ${path}" ;;
task)
  mkdir -p dist
  echo '${bundle("deno")}' >dist/dotp ;;
run)
  shift 4
  ${standIn("0.0.4")} ;;
esac`;
}

Deno.test("--from-source builds the checkout, and takes a copy of a Deno in a home", async () => {
  using staging = new Staging();
  const script = await checkout(staging);
  const path = staging.fake("deno", deno("$0"));
  const args = ["--from-source", ...ADDRESSES];
  const { code, stdout, stderr } = await staging.run(args, { script });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  assertMatch(stdout, /^build dist\/dotp in /);
  assertEquals(staging.read(Path.deno), await Deno.readTextFile(path));
  assertEquals(staging.read(Path.program), `${bundle(Path.deno)}\n`);
  // The copy is of the right version: it serves for the next build too.
  const installed = staging.tree();
  Deno.removeSync(path);
  const again = await staging.run(args, { script });
  assertEquals(again.code, 0, again.stderr);
  assertEquals(staging.tree(), installed);

  await staging.run(["--purge"]);
  assertEquals(staging.tree(), {});
});

Deno.test("--from-source gets Deno from npm where there is none, or an old one", async () => {
  for (const version of ["1.46.3", "2.8.9", undefined]) {
    using staging = new Staging();
    const script = await checkout(staging);
    if (version !== undefined) staging.fake("deno", deno("$0", version));
    staging.write("deno-of-npm", `#!/bin/sh\n${deno("$0")}`);
    staging.fake(
      "npm",
      `while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/@deno/linux"
cp "\${0%/bin/npm}/deno-of-npm" "$2/node_modules/@deno/linux/deno"`,
    );
    const { code, stdout, stderr } = await staging.run(["--from-source", ...ADDRESSES], { script });
    assertEquals({ code, stderr }, { code: 0, stderr: "" });
    assertMatch(stdout, /^get Deno 2\.9\.6 from npm\nbuild /);
    assertStringIncludes(staging.read(Path.deno), "eval) echo");
  }
});

Deno.test("--from-source says what is in its way, and installs nothing", async () => {
  const cases: [string, (staging: Staging) => void, RegExp][] = [
    ["no checkout", () => {}, /--from-source needs a checkout of dotp/],
    ["npm fails", (staging) => staging.fake("npm", "exit 1"), /npm cannot get Deno 2\.9\.6/],
    [
      "npm has none",
      (staging) => staging.fake("npm", "exit 0"),
      /npm has no Deno for this machine/,
    ],
    [
      "the build fails",
      (staging) => staging.fake("deno", `[ "$1" = eval ] && echo "2.9.6 $0"`),
      /the build failed: see above/,
    ],
    [
      "the build makes nothing",
      (staging) => staging.fake("deno", `[ "$1" != eval ] || echo "2.9.6 $0"`),
      /deno task bundle has made no dist\/dotp/,
    ],
  ];
  for (const [what, prepare, said] of cases) {
    using staging = new Staging();
    const script = await checkout(staging);
    if (what === "no checkout") Deno.removeSync(`${staging.root}/checkout/deno.json`);
    prepare(staging);
    const { code, stderr } = await staging.run(["--from-source", ...ADDRESSES], { script });
    assertEquals(code, 1, what);
    assertMatch(stderr, said);
    assertEquals(staging.tree(), {}, what);
  }
});

/**
 * `deno task npm`: the package is what it should be and nothing else, and whoever installs it with npm
 * rewrites replies with it in Node.js, in JavaScript and with types.
 */
import { assertEquals, assertMatch } from "@std/assert";
import deno from "../../deno.json" with { type: "json" };
import { hex, readFixture } from "../support/hex.ts";
import { FAKES } from "../support/rewriting.ts";
import { lackOf, testWith } from "../support/programs.ts";
import { make, ROOT, run } from "./setup.ts";

const NAME = `dotp-core-${deno.version}.tgz`;

/** Who has Deno from elsewhere may have none. */
const NODE = ["node", "npm"];

/** The first block of code in a text. */
function codeBlock(text: string, language: string): string {
  const [, block = ""] = new RegExp("```" + language + "\\n([^]*?)```").exec(text) ?? [];
  return block;
}

/** The package lies in it, and is installed in it where there is npm. */
const directory = Deno.makeTempDirSync({ prefix: "dotp-artifacts-" });

Deno.test.beforeAll(async () => {
  assertEquals((await make("npm", directory)).stderr, "");
  if (lackOf(NODE) !== undefined) return;
  Deno.writeTextFileSync(`${directory}/package.json`, '{ "type": "module" }');
  const options = ["--no-audit", "--no-fund", "--no-save", "--prefer-offline", "--loglevel=error"];
  const { code, stderr } = await run(["npm", "install", ...options, `./${NAME}`], {
    cwd: directory,
  });
  assertEquals(code, 0, stderr);
});

Deno.test.afterAll(() => Deno.removeSync(directory, { recursive: true }));

/** What is in the package, or in one file of it. */
async function extract(...files: string[]): Promise<string> {
  return (await run(["tar", "xzf", NAME, "-O", ...files], { cwd: directory })).stdout;
}

Deno.test("deno task npm packs the pure core and nothing else, when it is asked to", async () => {
  const { stdout } = await run(["tar", "tzf", NAME], { cwd: directory });
  const files = stdout.trim().split("\n").map((path) => path.replace(/^package\//, "")).sort();
  const others = files.filter((path) => !path.startsWith("lib/"));
  assertEquals(others, ["LICENSE", "README.md", "package.json"]);
  for (const path of files.filter((path) => path.startsWith("lib/"))) {
    assertMatch(path, /^lib\/((dns|kernel|nat|nft|policy|proxy|util)\/)?\w+\.(js|d\.ts)$/);
  }
  const { name, version, license, dependencies } = JSON.parse(
    await extract("package/package.json"),
  );
  assertEquals([name, version, license], ["@dotp/core", deno.version, "MIT"]);
  assertEquals(Object.keys(dependencies), ["ipaddr.js"]);
  assertEquals((await extract()).match(/\bDeno\.|sourceMappingURL/g), null);
});

Deno.test("the package's README has the example of lib/mod.ts, when one of them is changed", () => {
  const [comment = ""] = /\/\*\*[^]*?\*\//.exec(Deno.readTextFileSync(`${ROOT}lib/mod.ts`)) ?? [];
  const doc = comment.replace(/^ \* ?/gm, "");
  const readme = Deno.readTextFileSync(`${ROOT}.tasks/npm/README.md`);
  assertEquals(codeBlock(readme, "js"), codeBlock(doc, "ts"));
});

/** Rewrites the reply that is its argument; `adopted` pairs are known before. */
const REWRITE = `
import * as dotp from "@dotp/core";

const log = new dotp.ChangeLog();
const table = (prefix, family) =>
  new dotp.Table({
    pool: new dotp.Pool(dotp.parsePrefix(prefix, family), new Uint8Array(16)),
    log,
    ttlMs: 120_000,
    quarantineMs: 120_000,
    hashKey: 1,
  });
const mappings = new dotp.Mappings(table("198.18.0.0/15", 4), table("2001:2::/48", 6));
const [replies, adopted] = JSON.parse(process.argv[2]);
for (const [real, fake] of adopted) {
  const { family, bytes } = dotp.parseAddress(real);
  mappings.of(family).adopt({ fake: dotp.parseAddress(fake).bytes, real: bytes }, 0);
}
const rule = { name: dotp.nameFromText("example.com"), rule: dotp.Rule.SUBTREE };
const domains = new dotp.DomainSet(new dotp.LabelHash(new Uint8Array(16)), [rule]);
const rewriter = new dotp.Rewriter(new dotp.ActivePolicy({ domains }), mappings, 60);
const message = new dotp.Message();
for (const reply of replies) {
  const octets = Uint8Array.from(reply);
  const isWhole = message.index(new DataView(octets.buffer), octets.length);
  const outcome = rewriter.rewrite(message, isWhole, "192.0.2.99", 0);
  console.log(JSON.stringify([outcome, Array.from(octets)]));
}
`;

testWith(
  NODE,
  "the package rewrites real replies in Node.js, when npm has installed it",
  async () => {
    const readme = Deno.readTextFileSync(`${directory}/node_modules/@dotp/core/README.md`);
    Deno.writeTextFileSync(`${directory}/example.js`, codeBlock(readme, "js"));
    const example = await run(["node", "example.js"], { cwd: directory });
    assertEquals(example, { code: 0, stdout: codeBlock(readme, "text"), stderr: "" });
    const fixtures = ["a", "aaaa", "chain", "https", "sections"].map((name) => {
      const sections = readFixture(`${name}.hex`);
      return [sections.get("reply") ?? "", sections.get("rewritten") ?? ""].map(hex);
    });
    const replies = fixtures.map(([reply]) => Array.from(reply ?? []));
    Deno.writeTextFileSync(`${directory}/rewrite.js`, REWRITE);
    const input = JSON.stringify([replies, Object.entries(FAKES)]);
    const { stdout, stderr } = await run(["node", "rewrite.js", input], { cwd: directory });
    assertEquals(stderr, "");
    const expected = fixtures.map(([, rewritten]) =>
      JSON.stringify(["rewritten", Array.from(rewritten ?? [])])
    );
    assertEquals(stdout.trim().split("\n"), expected);
  },
);

/** Uses types that only the package's declarations have; each expected error must be one. */
const CONSUMER = `
import { type Change, ChangeLog, Message, type Outcome, parsePrefix, Pool, Rewriter, Type }
  from "@dotp/core";

export const changes: Change[] = new ChangeLog().take(1);
export const outcome: Outcome = "rewritten";
export const capacity: number = new Pool(parsePrefix("198.18.0.0/15", 4), new Uint8Array(16)).capacity;
export const isAddress = (message: Message): boolean => message.type(0) === Type.A;
export const revisions = (rewriter: Rewriter): readonly number[] => rewriter.revisions;
// @ts-expect-error: no such outcome
export const wrong: Outcome = "lost";
// @ts-expect-error: no such family
parsePrefix("198.18.0.0/15", 5);
`;

testWith(NODE, "the package has types, when TypeScript uses it", async () => {
  Deno.writeTextFileSync(`${directory}/consumer.ts`, CONSUMER);
  const { code, stderr } = await run([Deno.execPath(), "check", "--quiet", "consumer.ts"], {
    cwd: directory,
  });
  assertEquals([code, stderr], [0, ""]);
});

/**
 * The shape of the program, read from its sources: who may touch the world, and who may use whom. The
 * table below is the one of the design; a new room must be entered here before it can be used.
 */
import { assert, assertEquals } from "@std/assert";
import deno from "../deno.json" with { type: "json" };

const ROOT = new URL("../", import.meta.url);

/** Rooms that touch the world: sockets, processes, clocks, timers, chance, the terminal. */
const WORLDLY = ["main", "io"];

/** Words that only the worldly may say, as globals and as members. */
const WORLD = new RegExp(
  [
    /\b(Deno|Date|performance|setTimeout|setInterval|setImmediate|crypto|console|globalThis)\b/,
    /\bMath\.random\b|\bprocess\.(env|exit|argv|std\w+)|\bfetch\(|\bimport\(/,
  ].map(({ source }) => source).join("|"),
  "g",
);

/**
 * What each room may use: rooms, and what is not ours by its specifier. `main.ts` may use everything,
 * and nothing may use it.
 */
const MAY_USE: Readonly<Record<string, readonly string[]>> = {
  address: ["ipaddr.js"],
  util: ["util"],
  dns: ["dns"],
  policy: ["policy", "address", "dns", "util", "node:url"],
  nat: ["nat", "address", "util"],
  netlink: ["netlink", "address", "kernel", "nat"],
  nft: ["nft", "rules.nft", "address", "kernel", "nat"],
  kernel: ["kernel", "address", "nat", "util"],
  metrics: ["address", "dns", "kernel"],
  proxy: ["proxy", "address", "dns", "kernel", "metrics", "nat", "policy", "util"],
  config: ["address", "policy"],
  check: ["check", "address", "config", "dns", "nat", "nft", "policy"],
  cli: [
    ...["cli", "lib/cli/dotp.service", "lib/cli/dotp-table.service", "@std/cli/parse-args"],
    ...["address", "check", "config", "policy"],
  ],
  mod: ["address", "dns", "nat", "nft", "policy", "proxy"],
  io: [
    ...[
      "io",
      "address",
      "check",
      "cli",
      "config",
      "dns",
      "kernel",
      "metrics",
      "nat",
      "netlink",
      "nft",
      "policy",
    ],
    ...["proxy", "util", "@logtape/logtape", "node:fs", "node:timers"],
  ],
};

/** A source file: its path from the root, its text without comments, and what it imports. */
interface Source {
  readonly path: string;
  readonly code: string;
  readonly imports: readonly string[];
}

function read(path: string): Source {
  const code = withoutComments(Deno.readTextFileSync(new URL(path, ROOT)));
  const specifiers = code.matchAll(
    /^(?:import|(?:import|export)\s[\w\s{},*]*?\sfrom)\s+"([^"]+)"/gm,
  );
  return { path, code, imports: Array.from(specifiers, ([, to = ""]) => resolve(path, to)) };
}

function filesIn(directory: string): string[] {
  return Array.from(Deno.readDirSync(new URL(directory, ROOT))).flatMap(({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    if (isDirectory) return filesIn(path);
    return name.endsWith(".ts") ? [path] : [];
  }).sort();
}

/** Strings stay, so that what looks like a comment in one does not take the rest of the line. */
function withoutComments(text: string): string {
  const token = /\/\*[^]*?\*\/|\/\/[^\n]*|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;
  return text.replace(token, (found) => found.startsWith("/") ? " " : found);
}

/** A relative specifier as a path from the root, any other as it is. */
function resolve(from: string, to: string): string {
  return to.startsWith(".") ? new URL(to, `file:///${from}`).pathname.slice(1) : to;
}

/** The room of a path: its folder in `lib/`, or the file that is a room of its own; else the path. */
function roomOf(path: string): string {
  const [, room] = /^(?:lib\/|(?=main\.))([^/]+?)(?:\/.*|\.ts)$/.exec(path) ?? [];
  return room ?? path;
}

const SOURCES = ["main.ts", ...filesIn("lib")].map(read);
/** What is not shipped: tests and tasks. */
const OTHERS = ["tests", ".tasks"].flatMap(filesIn).map(read);

Deno.test("lib/ and main.ts are read with their imports, when the rules below are checked", () => {
  const { imports = [] } = SOURCES.find(({ path }) => path === "lib/proxy/proxy.ts") ?? {};
  assert(imports.includes("lib/proxy/rewriter.ts") && imports.includes("lib/dns/constants.ts"));
  assert(SOURCES.length > 20);
  assertEquals(["main.ts", "lib/proxy/proxy.ts", "lib/dns/name.ts"].map(roomOf), [
    "main",
    "proxy",
    "dns",
  ]);
  assertEquals(withoutComments('a /* Deno */ + "// b" // Date\nc'), 'a   + "// b"  \nc');
});

Deno.test("only main.ts and lib/io touch the world, when all sources are searched", () => {
  for (const { path, code } of SOURCES) {
    if (WORLDLY.includes(roomOf(path))) continue;
    // A word in a string is no call, but what a template computes is.
    const spoken = code.replace(/"(?:\\.|[^"\\\n])*"/g, '""');
    assertEquals(Array.from(spoken.matchAll(WORLD), ([word]) => word), [], path);
  }
});

Deno.test("only lib/io/direct/libc.ts calls foreign code, when all sources are searched", () => {
  const speakers = SOURCES.filter(({ code }) => /\b(dlopen|Unsafe\w+)\b/.test(code));
  assertEquals(speakers.map(({ path }) => path), ["lib/io/direct/libc.ts"]);
});

Deno.test("every room uses only what it may, when all imports are followed", () => {
  for (const { path, imports } of SOURCES) {
    if (roomOf(path) === "main") continue;
    const allowed = MAY_USE[roomOf(path)];
    assert(allowed !== undefined, `${path} is in no room of the table`);
    const others = imports.filter((to) => !allowed?.includes(roomOf(to)));
    assertEquals(others, [], `${path} may not use these`);
  }
});

Deno.test("no file needs itself, when all imports are followed", () => {
  const importsOf = new Map(SOURCES.map(({ path, imports }) => [path, imports]));
  const finished = new Set<string>();
  const visit = (path: string, way: readonly string[]): void => {
    assert(!way.includes(path), [...way, path].join(" -> "));
    if (finished.has(path)) return;
    for (const to of importsOf.get(path) ?? []) visit(to, [...way, path]);
    finished.add(path);
  };
  for (const { path } of SOURCES) visit(path, []);
});

Deno.test("tests start programs in one place, which sets them a limit, when all are searched", () => {
  const speakers = OTHERS.filter(({ path, code }) =>
    path.startsWith("tests/") && /\bnew Deno\.Command\b/.test(code)
  );
  assertEquals(speakers.map(({ path }) => path), ["tests/support/run.ts"]);
});

Deno.test("deno.json maps nothing that nothing imports, when all imports are followed", () => {
  const imported = new Set([...SOURCES, ...OTHERS].flatMap(({ imports }) => imports));
  const mapped = Object.keys(deno.imports);
  assertEquals(mapped.filter((name) => !imported.has(name)), []);
});

Deno.test("a test is skipped in one way, which gives the reason in its name, when all are searched", () => {
  const speakers = filesIn("tests").filter((path) => {
    const code = withoutComments(Deno.readTextFileSync(new URL(path, ROOT)));
    return /\bignore\b[:,]|\btest\.ignore\b/.test(code.replace(/`(?:\\.|[^`\\])*`/g, ""));
  });
  assertEquals(speakers, ["tests/support/programs.ts"]);
});

Deno.test("nothing that is shipped uses what is for tests, when all imports are followed", () => {
  for (const { path, imports } of SOURCES) {
    const others = imports.filter((to) => /fast-check|dns-packet|assert|^tests\//.test(to));
    assertEquals(others, [], path);
  }
});

Deno.test("every file says at its top what it is, when it is opened", () => {
  for (const { path } of SOURCES) {
    const text = Deno.readTextFileSync(new URL(path, ROOT));
    assert(/^(#![^\n]*\n)?\/\*\*\n/.test(text), path);
  }
});

Deno.test("every file outside lib/io has its mirror in tests/, when it holds code of its own", () => {
  const tests = filesIn("tests");
  for (const { path, code } of SOURCES) {
    const isOnlyExports = !/\b(function|class|const|let)\b/.test(code);
    if (WORLDLY.includes(roomOf(path)) || isOnlyExports) continue;
    const mirror = path.replace(/^lib\//, "tests/").replace(/\.ts$/, "_test.ts");
    assert(tests.includes(mirror), `${path} has no ${mirror}`);
  }
});

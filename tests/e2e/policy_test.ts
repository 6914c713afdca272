/**
 * Which names get fakes, as files and the command line say, and what a SIGHUP changes: the answers at
 * once, the mappings not at all, and nothing where a file is broken.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { BUILT, type DotpOptions } from "../lab/dotp.ts";
import { isFake, real4, real6, type Script } from "../lab/lab.ts";
import { testUnless } from "../support/programs.ts";
import { address, answer, assertOneLine, endAll, shareLab } from "./setup.ts";

const NAMES = [
  ...["example.com", "www.example.com", "a.www.example.com", "example.net", "x.example.net"],
  ...["example.org", "xn--bcher-kva.example", "_dmarc.example.info", "other.example.info"],
];

/** Every name has an address of its own in each family. */
const SCRIPT: Script = Object.fromEntries(
  NAMES.flatMap((name, i) => [
    [`${name} A`, answer(address(name, real4(i + 1)))],
    [`${name} AAAA`, answer(address(name, real6(i + 1)))],
  ]),
);

const lab = shareLab(async (lab) => {
  await lab.startWebServer();
  await lab.startUpstream(SCRIPT);
});

/** A directory with files, and what starts a dotp that may read them. */
async function withFiles(
  files: Record<string, string>,
  test: (options: DotpOptions, write: (name: string, text: string) => void) => Promise<void>,
): Promise<void> {
  const directory = await Deno.makeTempDir();
  await Deno.chmod(directory, 0o755);
  const write = (name: string, text: string) => {
    Deno.writeTextFileSync(`${directory}/.new`, text);
    Deno.renameSync(`${directory}/.new`, `${directory}/${name}`);
  };
  for (const [name, text] of Object.entries(files)) write(name, text);
  const more = Object.keys(files).flatMap((name) => ["--domain-file", `${directory}/${name}`]);
  try {
    await test({ domains: [], more, permissions: [`--allow-read=${directory}`] }, write);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** The names among all that get fakes; both families of a name must agree. */
async function named(): Promise<string[]> {
  const found: string[] = [];
  for (const name of NAMES) {
    const [a, aaaa] = await Promise.all([
      lab().resolve(name, "A"),
      lab().resolve(name, "AAAA"),
    ]);
    const fakes = [...a, ...aaaa].map(isFake);
    assertEquals(fakes, [fakes[0], fakes[0]], name);
    if (fakes[0]) found.push(name);
  }
  return found;
}

const READ_AGAIN = /the names were read again/;

testUnless(
  BUILT,
  "dotp gives fakes to the names that files and command line say, the most specific rule first",
  async () => {
    const files = {
      list: "# names\n!www.example.com\nbücher.example # books\n_dmarc.example.info\n",
      hosts: "0.0.0.0 example.net\nserver=/example.com/192.0.2.1\n",
    };
    await withFiles(files, async (options) => {
      const more = [...options.more ?? [], "-d", "=a.www.example.com", "-d", "!x.example.net"];
      await using _ = await lab().startDotp({ ...options, more });
      assertEquals(await named(), [
        ...["example.com", "a.www.example.com", "example.net"],
        ...["xn--bcher-kva.example", "_dmarc.example.info"],
      ]);
    });
    await using _ = await lab().startDotp({ domains: [".", "!example.com", "=www.example.com"] });
    assertEquals(
      await named(),
      NAMES.filter((name) => !["example.com", "a.www.example.com"].includes(name)),
    );
  },
);

testUnless(
  BUILT,
  "dotp reads the files again on SIGHUP: answers change, mappings stay",
  async () => {
    await withFiles({ list: "example.com\n" }, async (options, write) => {
      await using dotp = await lab().startDotp(options);
      const [fake4 = "", fake6 = ""] = [
        ...await lab().resolve("www.example.com", "A"),
        ...await lab().resolve("www.example.com", "AAAA"),
      ];
      assert(isFake(fake4) && isFake(fake6));
      write("list", "example.com\n!www.example.com\nexample.net\n");
      await dotp.process.signal("SIGHUP");
      await dotp.process.line(READ_AGAIN);
      assertEquals(await named(), ["example.com", "example.net", "x.example.net"]);
      // Who has the fakes goes on with them.
      for (const [fake, real] of [[fake4, real4(2)], [fake6, real6(2)]] as const) {
        assertEquals((await lab().fetch(fake)).at, real);
      }
    });
  },
);

testUnless(
  BUILT,
  "dotp keeps the names that it has and says why, when a file is broken on SIGHUP",
  async () => {
    await withFiles({ list: "example.com\n", more: "example.net\n" }, async (options, write) => {
      const more = [...options.more ?? [], "--domain-file-strict"];
      await using dotp = await lab().startDotp({ ...options, more });
      const before = await named();
      write("list", "example.org\n");
      write("more", "example.org\nno name\n");
      await dotp.process.signal("SIGHUP");
      assertMatch(
        await dotp.process.line(/names in force stay/) ?? "",
        /--domain-file .*more.*line 2: there is more than one name/,
      );
      assertEquals(await named(), before);
      write("more", "example.net\n");
      await dotp.process.signal("SIGHUP");
      await dotp.process.line(READ_AGAIN);
      assertEquals(await named(), ["example.net", "x.example.net", "example.org"]);
    });
  },
);

testUnless(BUILT, "dotp answers while it reads many names again", async () => {
  const many = Array.from({ length: 200_000 }, (_, i) => `host${i}.example`).join("\n");
  await withFiles({ list: `example.com\n${many}\n` }, async (options, write) => {
    await using dotp = await lab().startDotp(options);
    write("list", `example.net\n${many}\n`);
    let isRead = false;
    const read = dotp.process.line(READ_AGAIN).then(() => isRead = true);
    await dotp.process.signal("SIGHUP");
    // By the old rules or by the new ones, never by a part of them.
    do {
      const [one = "", other = ""] = [
        ...await lab().resolve("example.com", "A"),
        ...await lab().resolve("example.net", "A"),
      ];
      assert(isFake(one) || isFake(other), `${one} ${other}`);
    } while (!isRead);
    await read;
    assertEquals(await named(), ["example.net", "x.example.net"]);
  });
});

testUnless(BUILT, "dotp skips bad lines with a word each, when it may", async () => {
  const bad = Array.from({ length: 12 }, (_, i) => `bad..${i}\n`).join("");
  await withFiles({ list: `example.com\n${bad}example.net\n` }, async (options) => {
    await using dotp = await lab().startDotp(options);
    assertEquals((await named()).length, 5);
    const warnings = dotp.log.filter((line) => line.includes("--domain-file"));
    assertEquals(warnings.length, 11, warnings.join("\n"));
    assertMatch(warnings[0] ?? "", /warning.*line 2 is skipped: .*bad\.\.0.*empty label/);
    assertMatch(warnings[10] ?? "", /2 more lines are skipped/);
  });
});

testUnless(
  BUILT,
  "dotp ends with 1 and one line, when a domain file cannot be had as it must be",
  async () => {
    await withFiles({ list: "example.com\nno name\n" }, async (options) => {
      const [, path = ""] = options.more ?? [];
      const directory = path.replace(/\/list$/, "");
      for (
        const [more, permissions, expected] of [
          [["--domain-file", path, "--domain-file-strict"], [directory], /list": line 2: there is/],
          [["--domain-file", `${directory}/none`], [directory], /none": it is missing/],
          [["--domain-file", directory], [directory], /it is not a regular file/],
          [["--domain-file", path], [], /start it with deno run --allow-read=.*list/],
        ] as const
      ) {
        const { code, stdout, stderr } = await lab().runDotp({
          domains: [],
          more: [...more],
          permissions: permissions.map((path) => `--allow-read=${path}`),
        });
        assertEquals(code, 1, stderr);
        assertOneLine(stdout, stderr);
        assertMatch(stderr, expected);
      }
    });
  },
);

Deno.test("dotp goes on after SIGHUP, when there is no domain file", async () => {
  await using dotp = await lab().startDotp({ domains: ["example.com"] });
  await dotp.process.signal("SIGHUP");
  await dotp.process.line(READ_AGAIN);
  assertEquals(await named(), ["example.com", "www.example.com", "a.www.example.com"]);
});

testUnless(BUILT, "dotp reads its domain files in the background, too", async () => {
  await withFiles({ list: "example.com\n" }, async (options) => {
    const permissions = options.permissions ?? [];
    const more = [...options.more ?? [], "--daemonize"];
    const { code, stdout, stderr } = await lab().runDotp({ ...options, more, permissions });
    assertEquals([code, stdout], [0, ""], stderr);
    try {
      assert(isFake((await lab().resolve("example.com", "A"))[0] ?? ""));
    } finally {
      await endAll(lab());
    }
  });
});

testUnless(
  BUILT,
  "check() counts the rules of a domain file and names what is wrong in one",
  async () => {
    await withFiles({ list: "example.com\n", bad: "a..b\n", none: "" }, async (options) => {
      const { code, stdout } = await lab().runDotp({
        ...options,
        more: ["check", "domains", ...options.more ?? []],
      });
      const lines = stdout.trimEnd().split("\n");
      assertEquals([code, lines.length], [1, 3], stdout);
      assertMatch(lines[0] ?? "", /^ok +.*list can be read, rules about names: 1$/);
      assertMatch(lines[1] ?? "", /^warning +.*bad line 1: "a\.\.b" is not/);
      assertMatch(lines[2] ?? "", /^ok +.*none can be read, rules about names: 0$/);
    });
  },
);

/** What install.sh does to files: once, twice, over what was edited, not at all, and back. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ADDRESSES, CHECKOUT, PAGES, Path, Staging } from "./staging.ts";

/** What is installed besides the pages, in this order. */
const FILES = [Path.program, Path.rules, Path.env, Path.unit, Path.tableUnit];

Deno.test("an install is these files, each with its mode", async () => {
  using staging = new Staging();
  const { stdout, stderr } = await staging.install([...ADDRESSES, "--start"]);
  assertEquals(stderr, "");
  const files = Object.entries(staging.tree()).filter(([, text]) => text.includes(" "));
  assertEquals(Object.fromEntries(files.map(([path, text]) => [path, text.split(" ")[0]])), {
    [Path.program]: "755",
    [Path.rules]: "644",
    [Path.env]: "644",
    [Path.state]: "644",
    [Path.unit]: "644",
    [Path.tableUnit]: "644",
    ...Object.fromEntries(PAGES.map((path) => [path, "644"])),
  });
  for (const path of [...FILES, ...PAGES]) {
    assertStringIncludes(stdout, `install ${path}\n`);
  }
  assertStringIncludes(stdout, "the service is not started: DESTDIR is set\n");
  assertEquals([...Deno.readDirSync(staging.temporary())], []);
});

Deno.test("a second run changes nothing, and says so", async () => {
  using staging = new Staging();
  await staging.install([...ADDRESSES, "-d", "example.com"]);
  const first = staging.tree();
  for (const args of [[], [...ADDRESSES, "-d", "example.com"]]) {
    const { stdout, stderr } = await staging.install(args);
    assertEquals(stderr, "");
    for (const line of stdout.trimEnd().split("\n")) {
      assertMatch(line, /^keep .*: it is up to date$/);
    }
    assertEquals(staging.tree(), first);
  }
});

Deno.test("an upgrade replaces the program and keeps the settings", async () => {
  using staging = new Staging();
  await staging.install([...ADDRESSES, "-d", "example.com"]);
  const env = staging.read(Path.env);
  staging.dotp("0.0.2");
  const rules = await changedRules(staging);
  const { stdout } = await staging.install(["--rules", rules]);
  assertStringIncludes(staging.read(Path.program), "0.0.2");
  assertStringIncludes(staging.read(Path.rules), "a new version");
  assertEquals(staging.read(Path.env), env);
  assertEquals(Object.keys(staging.tree()).filter((path) => /new|half/.test(path)), []);
  assertStringIncludes(stdout, `install ${Path.rules}\n`);
});

Deno.test("unedited settings follow new options", async () => {
  using staging = new Staging();
  await staging.install([...ADDRESSES, "-d", "example.com"]);
  await staging.install(["-p", "5353", "-4", "10.64.0.0/16", "-d", "example.org"]);
  const env = staging.read(Path.env);
  assertMatch(env, /^DOTP_PORT=5353$/m);
  assertMatch(env, /^DOTP_HOST=192\.0\.2\.1$/m);
  assertMatch(env, /^DOTP_OPTIONS="-d example\.org"$/m);
  assertMatch(staging.read(Path.rules), /^define FAKE4 = 10\.64\.0\.0\/16$/m);
});

Deno.test("edited settings are never overwritten: new ones go beside them", async () => {
  using staging = new Staging();
  await staging.install([...ADDRESSES, "-d", "example.com"]);
  staging.edit(Path.env, (text) => text.replace(/com"$/m, 'com --nat-ttl 300"'));
  staging.edit(Path.env, (text) => `${text}# mine\n`);
  const edited = staging.read(Path.env);

  // Nothing new: nothing is put beside it.
  const again = await staging.install();
  assertEquals(staging.read(Path.env), edited);
  assertStringIncludes(again.stdout, `keep ${Path.env}: it was edited\n`);
  assert(!(`${Path.env}.new` in staging.tree()));

  const { stdout } = await staging.install(["-p", "5353"]);
  assertEquals(staging.read(Path.env), edited);
  assertMatch(staging.read(`${Path.env}.new`), /^DOTP_PORT=5353$/m);
  assertMatch(staging.read(`${Path.env}.new`), /^DOTP_OPTIONS="-d example\.com --nat-ttl 300"$/m);
  assertStringIncludes(stdout, `take over from ${Path.env}.new what you need\n`);
});

Deno.test("a setting that an edited dotp.env lacks is offered beside it", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  staging.edit(Path.env, (text) => text.replace(/^DOTP_UPSTREAM_PORT=.*\n/m, ""));
  await staging.install();
  assertMatch(staging.read(`${Path.env}.new`), /^DOTP_UPSTREAM_PORT=53$/m);
});

Deno.test("edited rules are never overwritten: a new version goes beside them, once", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  staging.edit(Path.rules, (text) => `${text}# mine\n`);
  const edited = staging.read(Path.rules);

  // The same version as before is nothing new.
  await staging.install();
  assertEquals(staging.read(Path.rules), edited);
  assert(!(`${Path.rules}.new` in staging.tree()));

  const rules = ["--rules", await changedRules(staging)];
  await staging.install(rules);
  assertEquals(staging.read(Path.rules), edited);
  assertStringIncludes(staging.read(`${Path.rules}.new`), "a new version");
  Deno.removeSync(`${staging.destination}${Path.rules}.new`);
  const { stdout } = await staging.install(rules);
  assertStringIncludes(stdout, `keep ${Path.rules}: it was edited\n`);
  assert(!(`${Path.rules}.new` in staging.tree()));

  // Given up: from then on it is upgraded silently again.
  Deno.copyFileSync(rules[1] ?? "", `${staging.destination}${Path.rules}`);
  await staging.install();
  assertEquals(staging.read(Path.rules), await Deno.readTextFile(`${CHECKOUT}/rules.nft`));
});

Deno.test("configuration that install.sh did not write counts as edited", async () => {
  using staging = new Staging();
  const path = `destination${Path.env}`;
  staging.write(path, "DOTP_HOST=192.0.2.1\nDOTP_UPSTREAM_HOST='192.0.2.53'\n");
  await staging.install();
  assertEquals(staging.read(Path.env).split("\n").length, 3);
  assertMatch(staging.read(`${Path.env}.new`), /^DOTP_UPSTREAM_HOST=192\.0\.2\.53$/m);
});

Deno.test("--dry-run prints each step and does none", async () => {
  using staging = new Staging();
  const steps = [...FILES, ...PAGES];
  const first = await staging.install([...ADDRESSES, "--dry-run"]);
  assertEquals(first.stdout, steps.map((path) => `would install ${path}\n`).join(""));
  assertEquals(staging.tree(), {});

  await staging.install(ADDRESSES);
  const installed = staging.tree();
  staging.dotp("0.0.2");
  const upgrade = await staging.install(["--dry-run", "-p", "5353"]);
  const would = upgrade.stdout.split("\n").filter((line) => line.startsWith("would"));
  const changed = [Path.program, Path.env, ...PAGES];
  assertEquals(would, changed.map((path) => `would install ${path}`));
  assertEquals(staging.tree(), installed);

  const removal = await staging.run(["--purge", "--dry-run"]);
  const removed = [Path.program, Path.unit, Path.tableUnit, ...PAGES];
  const configuration = [Path.rules, Path.env, Path.state];
  assertEquals(
    removal.stdout,
    [...removed.sort(), ...configuration].map((path) => `would remove ${path}\n`).join(""),
  );
  assertEquals(staging.tree(), installed);
  assertEquals([...Deno.readDirSync(staging.temporary())], []);
});

Deno.test("--uninstall leaves the configuration, --purge nothing", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  staging.edit(Path.rules, (text) => `${text}# mine\n`);
  const { stdout } = await staging.run(["--uninstall"]);
  assertStringIncludes(stdout, "keep /etc/dotp: --purge removes it too\n");
  const left = [Path.state, Path.env, Path.rules];
  assertEquals(Object.keys(staging.tree()), ["/etc", "/etc/dotp", ...left]);

  // What is left is known to have been edited, or not, by the next install.
  await staging.install(["-p", "5353"]);
  assertStringIncludes(staging.read(Path.rules), "# mine");
  assertMatch(staging.read(Path.env), /^DOTP_PORT=5353$/m);

  await staging.run(["--purge"]);
  assertEquals(staging.tree(), {});
  const { code, stdout: nothing } = await staging.run(["--purge"]);
  assertEquals({ code, nothing }, { code: 0, nothing: "" });
});

/** What is said of a file in a place of dotp's that is not dotp's. */
function kept(...paths: string[]): string {
  return paths.map((path) => `keep ${path}: it is not as install.sh wrote it\n`).join("");
}

Deno.test("--uninstall and --purge where nothing was installed touch nothing, and name it", async () => {
  for (const option of ["--uninstall", "--purge"]) {
    using staging = new Staging();
    for (const path of [Path.program, Path.unit, Path.manual, Path.env]) {
      staging.write(`destination${path}`, "somebody else's\n");
    }
    const before = staging.tree();
    const { code, stdout, stderr } = await staging.run([option]);
    const said = kept(Path.program, Path.unit, Path.manual);
    assertEquals({ code, stdout, stderr }, { code: 0, stdout: said, stderr: "" });
    assertEquals(staging.tree(), before);
  }
});

Deno.test("an install refuses to overwrite what it did not write, before it changes anything", async () => {
  for (const path of [Path.program, Path.unit, Path.tableUnit]) {
    using staging = new Staging();
    staging.write(`destination${path}`, "somebody else's\n");
    const before = staging.tree();
    for (const more of [[], ["--dry-run"]]) {
      const args = ["--binary", staging.binary, ...ADDRESSES, ...more];
      const { code, stdout, stderr } = await staging.run(args);
      assertEquals({ code, stdout }, { code: 1, stdout: "" });
      assertEquals(
        stderr,
        `install.sh: ${path} is not as install.sh wrote it: move it away, or give another --prefix\n`,
      );
      assertEquals(staging.tree(), before);
    }
  }
});

Deno.test("an install leaves a man page and completions of others, with a word", async () => {
  using staging = new Staging();
  for (const path of PAGES) staging.write(`destination${path}`, "somebody else's\n");
  const { stdout } = await staging.install(ADDRESSES);
  assertStringIncludes(stdout, kept(...PAGES));
  await staging.run(["--purge"]);
  for (const path of PAGES) assertEquals(staging.read(path), "somebody else's\n");
});

Deno.test("what was changed since the install is neither overwritten nor removed", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  for (const path of [Path.unit, Path.manual]) staging.edit(path, (text) => `${text}# mine\n`);
  staging.dotp("0.0.2");
  const args = ["--binary", staging.binary];
  const { code, stderr } = await staging.run(args);
  assertEquals(code, 1);
  assertMatch(stderr, /dotp\.service is not as install\.sh wrote it: move it away/);
  assertStringIncludes(staging.read(Path.program), "0.0.1");
  const { stdout } = await staging.run(["--purge"]);
  assertStringIncludes(stdout, kept(Path.unit, Path.manual));
  const files = Object.keys(staging.tree()).filter((path) => /\.\w+$/.test(path));
  assertEquals(files, [Path.unit, Path.manual]);
});

Deno.test("a file of somebody's in /etc/dotp outlives --purge", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  staging.write("destination/etc/dotp/names.txt", "example.com\n");
  staging.write("destination/etc/systemd/system/dotp.service.d/mine.conf", "[Service]\n");
  const { stdout } = await staging.run(["--purge"]);
  assertStringIncludes(stdout, "keep /etc/dotp: it holds files that install.sh did not write\n");
  assertStringIncludes(stdout, "keep /etc/systemd/system/dotp.service.d: install.sh did not ");
  assertEquals(Object.keys(staging.tree()).filter((path) => /\.(txt|conf)$/.test(path)), [
    ...["/etc/dotp/names.txt", "/etc/systemd/system/dotp.service.d/mine.conf"],
  ]);
});

/** An installation from before there was a list of files, and a unit for the table. */
async function installOld(staging: Staging): Promise<void> {
  staging.dotp("0.0.1 --upstream-host");
  await staging.install(ADDRESSES);
  Deno.removeSync(`${staging.destination}${Path.tableUnit}`);
  staging.edit(Path.state, (text) => text.replaceAll(/^file=.*\n/gm, ""));
}

Deno.test("an old installation is upgraded, and removed", async () => {
  for (const isUpgraded of [true, false]) {
    using staging = new Staging();
    await installOld(staging);
    if (isUpgraded) {
      staging.dotp("0.0.2");
      const { stdout } = await staging.install();
      assertStringIncludes(stdout, `install ${Path.program}\n`);
      assertStringIncludes(stdout, `install ${Path.manual}\n`);
      assertStringIncludes(stdout, `install ${Path.tableUnit}\n`);
      assertStringIncludes(staging.read(Path.program), "0.0.2");
    }
    await staging.run(["--purge"]);
    assertEquals(staging.tree(), {});
  }
});

Deno.test("what others put in the place of an old installation is theirs", async () => {
  using staging = new Staging();
  await installOld(staging);
  staging.write(`destination${Path.program}`, "somebody else's\n");
  const { code, stderr } = await staging.run(["--binary", staging.binary]);
  assertEquals(code, 1);
  assertMatch(stderr, /\/bin\/dotp is not as install\.sh wrote it/);
  const { stdout } = await staging.run(["--purge"]);
  assertStringIncludes(stdout, kept(Path.program));
  assertEquals(staging.read(Path.program), "somebody else's\n");
});

Deno.test("an old installation keeps giving fakes to private addresses, and says so", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  assertMatch(staging.read(Path.env), /^DOTP_PRIVATE_REALS=pass$/m);
  const line = /^DOTP_PRIVATE_REALS=.*\n/m;
  staging.edit(Path.env, (text) => text.replace(line, ""));
  const digest = await crypto.subtle.digest(
    "SHA-256",
    new TextEncoder().encode(staging.read(Path.env)),
  );
  staging.edit(
    Path.state,
    (text) => text.replace(/^dotp\.env=.*$/m, `dotp.env=${new Uint8Array(digest).toHex()}`),
  );
  const { stdout } = await staging.install();
  assertMatch(staging.read(Path.env), /^DOTP_PRIVATE_REALS=map$/m);
  assertStringIncludes(stdout, "private real addresses get fakes, as before: ");
  const again = await staging.install();
  assertEquals(again.stdout.match(/private/), null);
  await staging.install(["--private-reals", "pass"]);
  assertMatch(staging.read(Path.env), /^DOTP_PRIVATE_REALS=pass$/m);
});

Deno.test("the man page and the completions are what the installed program prints", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  assertEquals(PAGES.map((path) => staging.read(path)), [
    "dotp 0.0.1 manual\n",
    "dotp 0.0.1 completions bash\n",
    "dotp 0.0.1 completions zsh\n",
    "dotp 0.0.1 completions fish\n",
  ]);
  staging.dotp("0.0.2");
  await staging.install();
  assertEquals(staging.read(Path.manual), "dotp 0.0.2 manual\n");
});

Deno.test("a program that cannot print them here is installed without them", async () => {
  // e_machine of SPARC V9, the rest as in any executable; a shell would run what follows.
  const foreign = "\x7fELF\x02\x01\x01".padEnd(16, "\0") + "\x02\0\x2b\0\n";
  for (
    const [text, why] of [
      [`${foreign}echo run >&2\n`, "it is for another processor"],
      ["#!/nonexistent/deno\n", "[^\n]+"],
      ["#!/bin/sh\necho 'dotp: no such command' >&2; exit 2\n", "dotp: no such command"],
      ["#!/bin/sh\n", "it prints nothing"],
    ] as const
  ) {
    using staging = new Staging();
    Deno.writeTextFileSync(staging.binary, text);
    const { stdout, stderr } = await staging.install(ADDRESSES);
    assertEquals(stderr, "");
    assertMatch(
      stdout,
      new RegExp(
        `^this dotp cannot be run here \\(${why}\\): the settings are not checked, and there will be no man `,
      ),
    );
    assertEquals(staging.read(Path.rules), await Deno.readTextFile(rulesFile()));
    assertStringIncludes(staging.read(Path.unit), `\nExecStart=${Path.program} -H `);
    assertEquals(staging.read(Path.program), text);
    assertEquals(Object.keys(staging.tree()).filter((path) => path.includes("share")), []);
    assertEquals([...Deno.readDirSync(staging.temporary())], []);
  }
});

Deno.test("--uninstall leaves what others have beside the man page and the completions", async () => {
  using staging = new Staging();
  // An empty directory that was there, and one that somebody uses since.
  const zsh = Path.zsh.slice(0, Path.zsh.lastIndexOf("/"));
  const other = "/usr/local/share/man/man8/other.8";
  Deno.mkdirSync(`${staging.destination}${zsh}`, { recursive: true });
  await staging.install(ADDRESSES);
  await staging.install();
  staging.write(`destination${other}`, "");
  await staging.run(["--purge"]);
  const files = Object.keys(staging.tree()).filter((path) => path.startsWith("/usr/local/share/"));
  assertEquals(files, [
    ...["/usr/local/share/man", "/usr/local/share/man/man8", other],
    ...["/usr/local/share/zsh", zsh],
  ]);
});

Deno.test("a file that cannot be written leaves the one before, whole", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  const before = staging.tree();
  staging.dotp("0.0.2");
  // As a full disk would: half of it, then an error.
  staging.fake(
    "cp",
    'case $2 in */bin/dotp.half.*) head -c 5 "$1" >"$2"; exit 1 ;; esac; exec /bin/cp "$@"',
  );
  const { code, stderr } = await staging.run(["--binary", staging.binary]);
  assertEquals(code, 1);
  assertMatch(stderr, /cannot write \S+\/usr\/local\/bin\/dotp: see above\n$/);
  // It is written down first what may be there now.
  const { [Path.state]: state, ...after } = staging.tree();
  assertMatch(state ?? "", /^(?:file=.* \/usr\/local\/bin\/dotp\n[^]*){2}$/m);
  assertEquals({ ...after, [Path.state]: before[Path.state] }, before);
  await staging.run(["--purge"]);
  assertEquals(staging.tree(), {});
});

function rulesFile(): string {
  return `${CHECKOUT}/rules.nft`;
}

/** A rules.nft of a later version. */
async function changedRules(staging: Staging): Promise<string> {
  return staging.write(
    "later/rules.nft",
    `${await Deno.readTextFile(rulesFile())}# a new version\n`,
  );
}

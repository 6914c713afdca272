/** What install.sh does to files: once, twice, over what was edited, not at all, and back. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { ADDRESSES, CHECKOUT, PAGES, Path, Staging } from "./staging.ts";

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
    ...Object.fromEntries(PAGES.map((path) => [path, "644"])),
  });
  for (const path of [Path.program, Path.rules, Path.env, Path.unit, ...PAGES]) {
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
  staging.program("out/dotp", "echo dotp 0.0.2");
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

Deno.test("a mistake in dotp.env is one line and status 1", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  staging.edit(Path.env, (text) => text.replace("DOTP_PORT=53", "DOTP_PORT=dns"));
  const before = staging.tree();
  const { code, stderr } = await staging.run(["--binary", staging.binary]);
  assertEquals(code, 1);
  assertEquals(
    stderr,
    `install.sh: DOTP_PORT in ${Path.env}: "dns" is not valid: give a port, 1 to 65535\n`,
  );
  assertEquals(staging.tree(), before);
});

Deno.test("--dry-run prints each step and does none", async () => {
  using staging = new Staging();
  const steps = [Path.program, Path.rules, Path.env, Path.unit, ...PAGES];
  const first = await staging.install([...ADDRESSES, "--dry-run"]);
  assertEquals(first.stdout, steps.map((path) => `would install ${path}\n`).join(""));
  assertEquals(staging.tree(), {});

  await staging.install(ADDRESSES);
  const installed = staging.tree();
  staging.program("out/dotp", "echo dotp 0.0.2");
  const upgrade = await staging.install(["--dry-run", "-p", "5353"]);
  const would = upgrade.stdout.split("\n").filter((line) => line.startsWith("would"));
  const changed = [Path.program, Path.env, ...PAGES];
  assertEquals(would, changed.map((path) => `would install ${path}`));
  assertEquals(staging.tree(), installed);

  const removal = await staging.run(["--purge", "--dry-run"]);
  const removed = [Path.program, Path.unit, ...PAGES, "/etc/dotp"];
  assertEquals(removal.stdout, removed.map((path) => `would remove ${path}\n`).join(""));
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

Deno.test("the man page and the completions are what the installed program prints", async () => {
  using staging = new Staging();
  await staging.install(ADDRESSES);
  assertEquals(PAGES.map((path) => staging.read(path)), [
    "dotp 0.0.1 manual\n",
    "dotp 0.0.1 completions bash\n",
    "dotp 0.0.1 completions zsh\n",
    "dotp 0.0.1 completions fish\n",
  ]);
  staging.program("out/dotp", 'echo dotp 0.0.2 "$@"');
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
        `^leave out the man page and the completions: this dotp cannot be run here to print them \\(${why}\\)$`,
        "m",
      ),
    );
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
  staging.program("out/dotp", "echo dotp 0.0.2");
  // As a full disk would: half of it, then an error.
  staging.fake(
    "cp",
    'case $2 in */bin/dotp.half.*) head -c 5 "$1" >"$2"; exit 1 ;; esac; exec /bin/cp "$@"',
  );
  const { code, stderr } = await staging.run(["--binary", staging.binary, "--rules", rulesFile()]);
  assertEquals(code, 1);
  assertMatch(stderr, /cannot write \S+\/usr\/local\/bin\/dotp: see above\n$/);
  assertEquals(staging.tree(), before);
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

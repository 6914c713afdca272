import { assert, assertEquals } from "@std/assert";
import { hasProgram, lackOf, nameUnless, packageOf, widePath } from "./programs.ts";

Deno.test("hasProgram() finds programs in the directories of a PATH, and nothing else", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${directory}/one`, "");
    await Deno.mkdir(`${directory}/two`);
    const path = `/nonexistent:${directory}`;
    assertEquals(["one", "two", "three"].map((name) => hasProgram(name, path)), [
      ...[true, false, false],
    ]);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("widePath() has the system's directories, each once", () => {
  const path = widePath().split(":");
  for (const directory of ["/usr/sbin", "/sbin"]) {
    assertEquals(path.filter((each) => each === directory).length, 1);
  }
  assert(hasProgram("sh"));
});

Deno.test("lackOf() names what is missing and what would bring it, when something is", () => {
  const lack = (...programs: string[]) => lackOf(programs, "/nonexistent");
  assertEquals(lackOf(["sh"]), undefined);
  assertEquals(lack("zsh"), "no zsh: apt-get install zsh");
  assertEquals(
    lack("systemd-analyze", "systemd-notify", "man"),
    "no systemd-analyze, systemd-notify, man: apt-get install systemd man-db",
  );
});

Deno.test("nameUnless() gives the reason in the name, when a test is skipped", () => {
  assertEquals(nameUnless(undefined, "it works"), "it works");
  assertEquals(nameUnless("no zsh", "it works"), "it works (skipped: no zsh)");
});

Deno.test("packageOf() is the program's own name, where Debian calls it the same", () => {
  assertEquals(["nft", "zsh"].map(packageOf), ["nftables", "zsh"]);
});

/** install.sh as a text: what shellcheck says, which shells take it, and how it stands a pipe. */

import { assertEquals, assertMatch } from "@std/assert";
import { testWith } from "../support/programs.ts";
import { run } from "../support/run.ts";
import { ADDRESSES, Path, SCRIPT, Staging } from "./staging.ts";

/** The shells that the script is run with. */
const SHELLS = [["sh"], ["dash"], ["bash", "--posix"], ["busybox", "ash"]] as const;

testWith("shellcheck", "shellcheck has nothing to say", async () => {
  // Braces around every variable, and functions in conditions: taste, and on purpose.
  const exclude = "SC2250,SC2310,SC2311,SC2312";
  for (const args of [["-s", "sh"], ["-s", "sh", "-o", "all", "-e", exclude]]) {
    const { code, stdout, stderr } = await run(["shellcheck", ...args, SCRIPT]);
    assertEquals([code, stdout, stderr], [0, "", ""]);
  }
});

for (const shell of SHELLS) {
  testWith(shell[0], `${shell.join(" ")} installs, upgrades and removes`, async () => {
    using staging = new Staging();
    await staging.install([...ADDRESSES, "-4", "10.64.0.0/14", "-d", "example.com"], {
      shell: [...shell],
    });
    const first = staging.tree();
    await staging.install([], { shell: [...shell] });
    assertEquals(staging.tree(), first);
    const { code } = await staging.run(["--purge"], { shell: [...shell] });
    assertEquals(code, 0);
    assertEquals(staging.tree(), {});
  });
}

Deno.test("install.sh works from a pipe", async () => {
  using staging = new Staging();
  const input = await Deno.readTextFile(SCRIPT);
  const args = ["--binary", staging.binary, ...ADDRESSES];
  const { code, stderr } = await staging.run(args, { input });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  assertMatch(staging.read(Path.rules), /^define FAKE4 = 198\.18\.0\.0\/15$/m);
});

Deno.test("install.sh that was cut on its way does nothing", async () => {
  using staging = new Staging();
  const text = await Deno.readTextFile(SCRIPT);
  const args = ["--binary", staging.binary, ...ADDRESSES];
  for (let part = 1; part < 12; part++) {
    const input = text.slice(0, Math.floor(text.length * part / 12));
    await staging.run(args, { input });
    assertEquals(staging.tree(), {}, `cut after ${input.length} of ${text.length} characters`);
  }
  // Not even where the last line lacks its arguments.
  const { code } = await staging.run(args, {
    input: text.slice(0, text.lastIndexOf("main") + 4),
    env: { DOTP_REPO: "" },
  });
  assertEquals(code, 2);
  assertEquals(staging.tree(), {});
});

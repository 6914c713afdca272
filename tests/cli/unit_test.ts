/** The unit that dotp prints: the file beside its module, and what is exchanged in it. */
import { assert, assertEquals } from "@std/assert";
import { PROGRAM, unitText } from "../../lib/cli/unit.ts";

const SERVICE = Deno.readTextFileSync(new URL("../../lib/cli/dotp.service", import.meta.url));

Deno.test("unitText() is dotp.service itself, when nothing is other than in it", () => {
  assertEquals(unitText({ program: PROGRAM, table: "dotp" }), SERVICE);
});

Deno.test("unitText() names program and table wherever they stand, when others are given", () => {
  const text = unitText({ program: "/opt/x/dotp", table: "gate" });
  assert(text.includes("\nExecStart=/opt/x/dotp -H "));
  assert(text.includes('grep -qx "table inet gate"'));
  assert(!text.includes(PROGRAM) && !text.includes("inet dotp"));
  const restored = text.replaceAll("/opt/x/dotp", PROGRAM).replaceAll("inet gate", "inet dotp");
  assertEquals(restored, SERVICE);
});

Deno.test("unitText() is the unit that install.sh writes, when that has one of its own", () => {
  const script = Deno.readTextFileSync(new URL("../../install.sh", import.meta.url));
  const [, written = SERVICE] = /^write_unit\(\) \{\n.*<<'EOF'\n([^]*?)\nEOF$/m.exec(script) ?? [];
  assertEquals(`${written.replaceAll("@PROGRAM@", PROGRAM).trimEnd()}\n`, SERVICE);
});

/** The units that dotp prints: the files beside its module, and what is exchanged in them. */
import { assert, assertEquals } from "@std/assert";
import { PROGRAM, unitText } from "../../lib/cli/unit.ts";

function read(name: string): string {
  return Deno.readTextFileSync(new URL(`../../lib/cli/${name}`, import.meta.url));
}

const SERVICE = read("dotp.service");

Deno.test("unitText() is the file itself, when nothing is other than in it", () => {
  assertEquals(unitText("service", PROGRAM), SERVICE);
  assertEquals(unitText("table", PROGRAM), read("dotp-table.service"));
});

Deno.test("unitText() names the program wherever it stands, when another is given", () => {
  const text = unitText("service", "/opt/x/dotp");
  assert(text.includes("\nExecStart=/opt/x/dotp -H "));
  assert(!text.includes(PROGRAM));
  assertEquals(text.replaceAll("/opt/x/dotp", PROGRAM), SERVICE);
});

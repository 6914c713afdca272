/** The list of programs against the sources: whoever grants by the list must not grant too little. */
import { assert, assertEquals } from "@std/assert";
import { PROGRAMS } from "../../lib/check/programs.ts";

const IO = new URL("../../lib/io/", import.meta.url);

Deno.test("PROGRAMS names what lib/io starts and nothing else, when the sources are searched", () => {
  const started = new Set<string>();
  for (const { name } of Deno.readDirSync(IO)) {
    const source = Deno.readTextFileSync(new URL(name, IO));
    const calls = source.matchAll(/(?:Deno\.Command|\bcapture|\brunProgram)\(\s*"([^"]+)"/g);
    for (const [, program = ""] of calls) started.add(program);
  }
  assertEquals(PROGRAMS.map(({ name }) => name).toSorted(), [...started].toSorted());
  assertEquals(PROGRAMS[0]?.name, "nft");
});

Deno.test("PROGRAMS says what each is for, when it is printed", () => {
  for (const { name, use } of PROGRAMS) assert(/^[a-z-]+$/.test(name) && use.length > 0, name);
});

/** The list of programs against the sources: whoever grants by the list must not grant too little. */
import { assert, assertEquals } from "@std/assert";
import { namesOf, PROGRAMS } from "../../lib/check/programs.ts";

const IO = new URL("../../lib/io/", import.meta.url);

Deno.test("PROGRAMS names what lib/io starts and nothing else, when the sources are searched", () => {
  const started = new Set<string>();
  for (const path of filesIn(IO)) {
    const source = Deno.readTextFileSync(path);
    const calls = source.matchAll(
      /(?:Deno\.Command|\bcapture|\brunProgram|\bstartProgram)\(\s*"([^"]+)"/g,
    );
    for (const [, program = ""] of calls) started.add(program);
  }
  assertEquals(PROGRAMS.map(({ name }) => name).toSorted(), [...started].toSorted());
  assertEquals(PROGRAMS[0]?.name, "nft");
});

Deno.test("namesOf() looks in root's directories, when that is where a program may be", () => {
  assertEquals(namesOf("cat"), ["cat"]);
  const [first, ...others] = namesOf("nft");
  assertEquals(first, "nft");
  assertEquals(others, ["/usr/local/sbin/nft", "/usr/sbin/nft", "/sbin/nft"]);
});

Deno.test("PROGRAMS says what each is for, when it is printed", () => {
  for (const { name, use } of PROGRAMS) assert(/^[a-z-]+$/.test(name) && use.length > 0, name);
});

function filesIn(directory: URL): URL[] {
  return Array.from(Deno.readDirSync(directory)).flatMap(({ name, isDirectory }) =>
    isDirectory ? filesIn(new URL(`${name}/`, directory)) : [new URL(name, directory)]
  );
}

/** The rules that dotp prints: rules.nft at the top, and what is exchanged in it. */
import { assert, assertEquals } from "@std/assert";
import { parsePrefix } from "../../lib/address.ts";
import { capacityOf } from "../../lib/nat/pool.ts";
import { MAPPINGS_MAX } from "../../lib/nat/table.ts";
import { rulesText } from "../../lib/nft/rules.ts";

const FILE = Deno.readTextFileSync(new URL("../../rules.nft", import.meta.url));

function text(
  prefix4 = "198.18.0.0/15",
  prefix6 = "2001:2::/48",
  table = "dotp",
  lan: readonly string[] = [],
): string {
  return rulesText({
    table,
    lan,
    prefixes: { 4: parsePrefix(prefix4, 4), 6: parsePrefix(prefix6, 6) },
  });
}

/** The sizes of the sets and maps that hold a mapping, by name. */
function sizesIn(rules: string): Record<string, number> {
  const sets = rules.matchAll(/^\t(?:set|map) (nat_(?:addr|map|seen)6?) \{\n[^}]*\bsize (\d+)$/gm);
  return Object.fromEntries(Array.from(sets, ([, name, size]) => [name, Number(size)]));
}

Deno.test("rulesText() is rules.nft itself, when nothing is other than in it", () => {
  assertEquals(text(), FILE);
});

Deno.test("rulesText() exchanges two definitions and the table, when others are given", () => {
  const lines = FILE.split("\n");
  const changed = text("100.64.0.0/24", "fd00::/64", "gate").split("\n");
  assertEquals(changed.length, lines.length);
  for (const [i, line] of lines.entries()) {
    const expected = line === "define FAKE4 = 198.18.0.0/15"
      ? "define FAKE4 = 100.64.0.0/24"
      : line === "define FAKE6 = 2001:2::/48"
      ? "define FAKE6 = fd00::/64"
      : line.replaceAll("inet dotp", "inet gate");
    assertEquals(changed[i], expected);
  }
  assert(changed.includes("define FAKE4 = 100.64.0.0/24"));
  assert(changed.includes("define FAKE6 = fd00::/64"));
  assert(changed.includes("table inet gate {"));
});

Deno.test("rulesText() puts the example about the LAN in force, when its interfaces are given", () => {
  for (
    const [lan, named, matched] of [
      [["br0"], '{ "br0" }', '"br0"'],
      [["br0", "wifi0"], '{ "br0", "wifi0" }', '{ "br0", "wifi0" }'],
    ] as const
  ) {
    const lines = FILE.split("\n");
    const changed = text(undefined, undefined, undefined, lan).split("\n");
    assertEquals(changed.length, lines.length);
    const from = lines.findIndex((line) => line.startsWith("#define LAN"));
    const to = lines.indexOf("", from);
    assert(from > 0 && to > from + 5);
    for (const [i, line] of lines.entries()) {
      const isExample = i >= from && i < to;
      const expected = isExample ? line.slice(1) : line;
      assertEquals(
        changed[i],
        expected.replace(/^define LAN = .*/, `define LAN = ${named}`)
          .replaceAll('iifname "lan0"', `iifname ${matched}`),
      );
    }
    assert(changed.includes("\tchain only_from_lan {"));
    assert(!changed.join("\n").includes("lan0"));
  }
});

Deno.test("rulesText() has sets that hold every fake there may be, when a prefix is any", () => {
  const names = ["nat_addr", "nat_map", "nat_seen"];
  for (let length = 0; length <= 30; length++) {
    const prefix4 = parsePrefix(`0.0.0.0/${length}`, 4);
    const prefix6 = parsePrefix(`::/${length + 34}`, 6);
    const sizes = sizesIn(text(`0.0.0.0/${length}`, `::/${length + 34}`));
    assertEquals(Object.keys(sizes).toSorted(), names.flatMap((name) => [name, `${name}6`]));
    for (const name of names) {
      assert(sizes[name]! >= Math.min(capacityOf(prefix4), MAPPINGS_MAX), `${name} /${length}`);
      assert(sizes[`${name}6`]! >= Math.min(capacityOf(prefix6), MAPPINGS_MAX));
      assert(sizes[name]! <= MAPPINGS_MAX && sizes[`${name}6`]! <= MAPPINGS_MAX);
    }
  }
});

/** What is read of a table that nft lists. */
import { assert, assertEquals } from "@std/assert";
import { FAMILIES } from "../../lib/address.ts";
import { tableProblem } from "../../lib/nft/listing.ts";
import { DATATYPES, SET_NAMES } from "../../lib/nft/script.ts";

const METAINFO = { metainfo: { version: "1.0.6", json_schema_version: 1 } };

/** A table as nft lists it without elements; what is undefined is left out. */
function tableOf(changed: Record<string, Record<string, unknown> | undefined> = {}): string {
  const objects: unknown[] = [METAINFO, { table: { family: "inet", name: "dotp", handle: 1 } }];
  for (const family of FAMILIES) {
    const { set, map } = SET_NAMES[family];
    const type = DATATYPES[family];
    for (
      const [name, usual] of [
        [set, { set: { name: set, type } }],
        [map, { map: { name: map, type, map: type, flags: ["timeout"] } }],
      ] as const
    ) objects.push(name in changed ? changed[name] : usual);
  }
  objects.push({ chain: { family: "inet", table: "dotp", name: "prerouting" } });
  return JSON.stringify({ nftables: objects.filter((object) => object !== undefined) });
}

Deno.test("tableProblem() is undefined, when the table has what dotp needs", () => {
  assertEquals(tableProblem("dotp", tableOf()), undefined);
  const timed = { set: { name: "nat_addr", type: "ipv4_addr", flags: ["timeout"], size: 9 } };
  assertEquals(tableProblem("dotp", tableOf({ nat_addr: timed })), undefined);
});

Deno.test("tableProblem() names what is wrong, when a set or map is missing or another", () => {
  const v4 = "ipv4_addr";
  for (
    const [changed, expected] of [
      [{ nat_addr: undefined }, "set nat_addr is missing from table inet dotp"],
      [{ nat_map: undefined }, "map nat_map is missing from table inet dotp"],
      [{ nat_addr6: undefined }, "set nat_addr6 is missing from table inet dotp"],
      [{ nat_map6: undefined }, "map nat_map6 is missing from table inet dotp"],
      [
        { nat_addr: { set: { name: "nat_addr", type: "ipv6_addr" } } },
        "nat_addr in table inet dotp is not a set of type ipv4_addr",
      ],
      [
        { nat_addr: { set: { name: "nat_addr", type: [v4, "inet_service"] } } },
        "nat_addr in table inet dotp is not a set of type ipv4_addr",
      ],
      [
        { nat_addr: { map: { name: "nat_addr", type: v4, map: v4 } } },
        "nat_addr in table inet dotp is not a set of type ipv4_addr",
      ],
      [
        { nat_map: { set: { name: "nat_map", type: v4 } } },
        "nat_map in table inet dotp is not a map of type ipv4_addr : ipv4_addr",
      ],
      [
        { nat_map: { map: { name: "nat_map", type: v4, map: "ipv6_addr" } } },
        "nat_map in table inet dotp is not a map of type ipv4_addr : ipv4_addr",
      ],
      [
        { nat_map: { map: { name: "nat_map", type: v4, map: "verdict" } } },
        "nat_map in table inet dotp is not a map of type ipv4_addr : ipv4_addr",
      ],
      [
        { nat_map6: { map: { name: "nat_map6", type: "ipv6_addr", map: v4 } } },
        "nat_map6 in table inet dotp is not a map of type ipv6_addr : ipv6_addr",
      ],
    ] as const
  ) assertEquals(tableProblem("dotp", tableOf(changed)), expected);
});

Deno.test("tableProblem() finds a set missing, when nft lists something else altogether", () => {
  for (
    const text of ["{}", "[]", "null", '{"nftables":[]}', '{"nftables":[{"set":7},{"map":null}]}']
  ) {
    assert(tableProblem("dotp", text)?.includes("missing"), text);
  }
});

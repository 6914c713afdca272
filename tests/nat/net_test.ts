/** What remains of runs of changes. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Change } from "../../lib/nat/changes.ts";
import { keyOf, netOf } from "../../lib/nat/net.ts";
import { defined } from "../support/defined.ts";
import { holds } from "../support/property.ts";

const KINDS: Readonly<Record<string, Change["kind"]>> = { "+": "add", "-": "delete", "*": "renew" };

/** Changes written as `+1 2`, `-1 2` and `*1 2`: a fake and a real by their last octets. */
function changes(...steps: readonly string[]): Change[] {
  return steps.map((step, i) => {
    const [fake = 0, real = 0] = step.slice(1).split(" ").map(Number);
    const [kind = "add"] = [KINDS[step[0] ?? ""]];
    const pair = { fake: Uint8Array.of(198, 18, 0, fake), real: Uint8Array.of(192, 0, 2, real) };
    return { kind, family: 4, ...pair, revision: i + 1 };
  });
}

/** What remains, in the same form, each with its revision. */
function remains(...steps: readonly string[]): string[] {
  const { deletions, renewals, additions } = netOf(changes(...steps));
  const text = (sign: string) => ({ fake, real, revision }: Change) =>
    `${sign}${fake[3]} ${real[3]} #${revision}`;
  return [
    ...deletions.map(text("-")),
    ...renewals.map(text("*")),
    ...additions.map(text("+")),
  ];
}

Deno.test("netOf() leaves out what cancels out, when a pair comes and goes", () => {
  for (
    const [steps, expected] of [
      [[], []],
      [["+1 1"], ["+1 1 #1"]],
      [["-1 1"], ["-1 1 #1"]],
      [["*1 1"], ["*1 1 #1"]],
      [["*1 1", "*1 1"], ["*1 1 #2"]],
      [["+1 1", "+2 2"], ["+1 1 #1", "+2 2 #2"]],
      [["+1 1", "-1 1"], []],
      [["-1 1", "+1 1"], []],
      [["+1 1", "-1 1", "+1 1"], ["+1 1 #3"]],
      [["-1 1", "+1 1", "-1 1"], ["-1 1 #3"]],
      [["+1 1", "*1 1"], ["+1 1 #1"]],
      [["*1 1", "-1 1"], ["-1 1 #2"]],
      [["*1 1", "-1 1", "+1 1"], ["*1 1 #3"]],
      [["+1 1", "*1 1", "-1 1"], []],
      [["-1 1", "+1 2"], ["-1 1 #1", "+1 2 #2"]],
      [["-1 1", "+2 1"], ["-1 1 #1", "+2 1 #2"]],
      [["+2 2", "-1 1", "+1 3", "-1 3", "*4 4"], ["-1 1 #2", "*4 4 #5", "+2 2 #1"]],
    ] as const
  ) assertEquals(remains(...steps), expected, steps.join());
});

Deno.test("netOf() keeps parts apart, when a pair is changed in one of them", () => {
  const [whole, part] = changes("+1 1", "-1 1");
  const { deletions, additions } = netOf([{ ...defined(part), part: "map" }, defined(whole)]);
  assertEquals([deletions.length, additions.length], [1, 1]);
});

Deno.test("netOf() does what the changes do one by one, when a table makes them", () => {
  const pair = fc.record({ fake: fc.nat(2), real: fc.nat(2), isRenewal: fc.boolean() });
  holds(
    "netOf",
    fc.property(fc.array(pair, { maxLength: 30 }), fc.nat(10), (pairs, before) => {
      const log = changes(...asTable(pairs));
      const start = apply(new Set(), log.slice(0, before));
      const run = log.slice(before);
      const { deletions, renewals, additions } = netOf(run);
      const all = [...deletions, ...renewals, ...additions];
      assertEquals(new Set(all.map(pairOf)).size, all.length, "each pair once");
      for (const change of [...deletions, ...renewals]) assert(start.has(pairOf(change)));
      for (const change of additions) assert(!start.has(pairOf(change)));
      assertEquals(apply(start, all), apply(start, run));
      // Nothing is lost in a second time.
      assertEquals(netOf(all), { deletions, renewals, additions });
    }),
  );
});

/** Steps as a table makes them: what is in the way of a pair goes before it. */
function asTable(pairs: readonly { fake: number; real: number; isRenewal: boolean }[]): string[] {
  const active = new Map<number, number>();
  return pairs.flatMap(({ fake, real, isRenewal }) => {
    if (active.get(fake) === real && isRenewal) return [`*${fake} ${real}`];
    const wasActive = active.get(fake) === real;
    const inTheWay = [...active].filter(([f, r]) => f === fake || r === real);
    for (const [f] of inTheWay) active.delete(f);
    if (!wasActive) active.set(fake, real);
    return [...inTheWay.map(([f, r]) => `-${f} ${r}`), ...(wasActive ? [] : [`+${fake} ${real}`])];
  });
}

function pairOf({ fake, real }: Change): string {
  return keyOf(fake) + keyOf(real);
}

function apply(start: ReadonlySet<string>, list: readonly Change[]): Set<string> {
  const pairs = new Set(start);
  for (const change of list) {
    if (change.kind === "delete") pairs.delete(pairOf(change));
    else pairs.add(pairOf(change));
  }
  return new Set([...pairs].sort());
}

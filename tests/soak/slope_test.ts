/** The slope of memory over time. */
import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { minimaOf, slopeOf } from "./slope.ts";

function points(y: (x: number) => number) {
  return Array.from({ length: 100 }, (_, i) => ({ x: i / 10, y: y(i / 10) }));
}

Deno.test("slopeOf() finds the slope, when the points lie on a line", () => {
  assertAlmostEquals(slopeOf(points((x) => 300 + 7 * x)), 7, 1e-9);
  assertAlmostEquals(slopeOf(points(() => 5)), 0, 1e-9);
});

Deno.test("slopeOf() finds a leak, when garbage collections lie over it", () => {
  const slope = slopeOf(points((x) => 1_000 * x + 4_000 * (x % 1)));
  assert(slope > 900 && slope < 1_200, `${slope}`);
});

Deno.test("slopeOf() is near zero, when memory goes up and down alone", () => {
  const slope = slopeOf(points((x) => 4_000 * (x % 1)));
  assert(Math.abs(slope) < 100, `${slope}`);
});

Deno.test("slopeOf() is NaN, when there is no line", () => {
  assert(Number.isNaN(slopeOf([])));
  assert(Number.isNaN(slopeOf([{ x: 1, y: 1 }])));
});

Deno.test("minimaOf() finds what remains, when there are peaks", () => {
  const points = Array.from(
    { length: 40 },
    (_, i) => ({ x: i / 10, y: i % 7 === 0 ? 100 + i : 900 }),
  );
  assertEquals(minimaOf(points, 1).map(({ y }) => y), [100, 114, 121, 135]);
  assertEquals(minimaOf([], 1), []);
});

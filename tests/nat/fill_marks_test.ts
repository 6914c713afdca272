/** When a pool that fills up is told of: once a crossing, however its mappings come and go. */
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { CALM_MS, FILL_MARKS, FillMarks } from "../../lib/nat/fill_marks.ts";
import { holds } from "../support/property.ts";

/** What is told of these shares, each a millisecond after the one before or as told. */
function toldOf(shares: readonly (readonly [percent: number, afterMs?: number])[]): number[] {
  const told: number[] = [];
  const marks = new FillMarks((percent) => told.push(percent));
  let nowMs = 5;
  for (const [percent, afterMs = 1] of shares) marks.note(percent, nowMs += afterMs);
  return told;
}

Deno.test("FillMarks tells of each mark once, when it is crossed upwards", () => {
  assertEquals(toldOf([[0], [79.9], [80], [94], [95], [100], [130]]), [80, 95]);
  assertEquals(toldOf([[79], [80], [79], [80], [76], [81], [75], [85]]), [80]);
  // Both at once are one word.
  assertEquals(toldOf([[10], [99], [100]]), [95]);
});

Deno.test("FillMarks tells of a mark once, when mappings come and go in waves", () => {
  const waves = Array.from({ length: 20 }, () => [[0, 1_000], [90, 1_000]] as const).flat();
  assertEquals(toldOf(waves), [80]);
});

Deno.test("FillMarks tells of a mark again, when the pool fell well below it for long enough", () => {
  assertEquals(toldOf([[85], [74], [85, CALM_MS]]), [80, 80]);
  assertEquals(toldOf([[85], [74], [85, CALM_MS - 1]]), [80]);
  // Not well below.
  assertEquals(toldOf([[85], [75], [85, CALM_MS]]), [80]);
  // Below the upper mark for long, and the lower one was never left.
  assertEquals(toldOf([[96], [86], [96, CALM_MS]]), [95, 95]);
  // Full all the time.
  assertEquals(toldOf([[85], [90, CALM_MS], [91, CALM_MS]]), [80]);
});

Deno.test("FillMarks tells of a mark at most once in CALM_MS, whatever the pool does", () => {
  const share = fc.tuple(fc.integer({ min: 0, max: 110 }), fc.integer({ max: CALM_MS, min: 0 }));
  holds(
    "FillMarks",
    fc.property(fc.array(share, { maxLength: 60 }), (shares) => {
      const lastMs = new Map<number, number>();
      let nowMs = 0;
      const marks = new FillMarks((percent) => {
        for (const mark of FILL_MARKS.filter((mark) => mark <= percent)) {
          const sinceMs = nowMs - (lastMs.get(mark) ?? -Infinity);
          if (mark === percent && sinceMs < CALM_MS) throw new Error(`${mark} after ${sinceMs} ms`);
        }
        lastMs.set(percent, nowMs);
      });
      for (const [percent, afterMs] of shares) marks.note(percent, nowMs += afterMs);
    }),
  );
});

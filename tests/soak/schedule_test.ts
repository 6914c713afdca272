/** The schedule keeps its promises, however long the run is. */
import { assert, assertEquals } from "@std/assert";
import { DISTURBING, type Fault, FAULTS, FIRST_PART, plan } from "./schedule.ts";

for (const totalS of [30, 60, 180, 300, 600, 3_600]) {
  Deno.test(`plan() has every kind of fault, in order, when a run takes ${totalS} s`, () => {
    const planned = plan(totalS);
    const kinds = new Set(planned.map(({ fault }) => fault));
    assertEquals(kinds, new Set(Object.keys(FAULTS) as Fault[]));
    assertEquals(planned, planned.toSorted((a, b) => a.atS - b.atS));
    assert(planned.every(({ atS }) => atS > 0 && atS < totalS));
  });

  Deno.test(`plan() lets the last dotp live, when a run takes ${totalS} s`, () => {
    const late = plan(totalS).filter(({ atS }) => atS >= totalS * FIRST_PART);
    assert(late.length > 0);
    assert(late.every(({ fault }) => !DISTURBING.includes(fault)));
  });
}

Deno.test("plan() makes a fault every ten seconds or so, when the run is long", () => {
  const [first, second] = plan(600);
  const gapS = second!.atS - first!.atS;
  assert(gapS >= 10 && gapS < 11, `${gapS} s`);
});

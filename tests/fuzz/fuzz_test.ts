/** The fuzz targets on what once showed a fault, on the seeds, and on a fixed run of damaged ones. */
import { assertEquals, assertThrows } from "@std/assert";
import { mutate, Random } from "./mutate.ts";
import { cases, fixtures } from "./seeds.ts";
import { TARGETS } from "./targets.ts";

const INPUTS = 3_000;
const SEED = 4;

for (const [name, target] of Object.entries(TARGETS)) {
  Deno.test(`fuzz target ${name} holds, when it is given what once showed a fault`, () => {
    for (const bytes of cases().values()) target(bytes);
  });

  Deno.test(`fuzz target ${name} holds, when it is given damaged messages`, () => {
    const seeds = fixtures();
    const random = new Random(SEED);
    for (const bytes of seeds) target(bytes);
    for (let n = 0; n < INPUTS; n++) target(mutate(random, seeds));
  });
}

Deno.test("mutate() gives the same inputs, when the seed is the same", () => {
  const seeds = fixtures();
  const [a, b] = [new Random(SEED), new Random(SEED)];
  for (let n = 0; n < 100; n++) assertEquals(mutate(a, seeds), mutate(b, seeds));
});

Deno.test("fuzz target reply throws, when a reply comes back with another byte", () => {
  // The target must be able to fail: a rewriter that forgets is what a frozen copy looks like.
  assertThrows(() => {
    const broken = new Proxy(fixtures()[0] as Uint8Array, { get: () => undefined });
    TARGETS["reply"]?.(broken);
  });
});

/**
 * Properties with fixed seeds: each is tried with the seeds in `tests/fixtures/seeds.json` under its
 * name, those that once found something, and then with the common one. A failure prints its seed and
 * path; to keep it, add them there.
 */
import fc from "fast-check";
import seeds from "../fixtures/seeds.json" with { type: "json" };

/** What fast-check needs to run a case again; without a path all cases of the seed. */
interface Seed {
  readonly seed: number;
  readonly path?: string;
}

const COMMON_SEED = 20_251_123;

/** Cases of a property that says nothing else. */
const RUNS = 300;

/** Tries a property that does not wait for anything. */
export function holds<T>(name: string, property: fc.IProperty<T>, numRuns = RUNS): void {
  for (const known of knownSeeds(name)) fc.assert(property, known);
  fc.assert(property, { seed: COMMON_SEED, numRuns });
}

/** Tries a property that waits. */
export async function holdsAsync<T>(
  name: string,
  property: fc.IAsyncProperty<T>,
  numRuns = RUNS,
): Promise<void> {
  for (const known of knownSeeds(name)) await fc.assert(property, known);
  await fc.assert(property, { seed: COMMON_SEED, numRuns });
}

function knownSeeds(name: string): readonly Seed[] {
  return (seeds as Readonly<Record<string, readonly Seed[]>>)[name] ?? [];
}

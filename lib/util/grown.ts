/**
 * Typed arrays that grow with the highest index in use: at least twofold, so that growing costs a
 * constant per index, and never back.
 *
 * @module
 */

/** Kinds of arrays that are grown. */
export type Growing = Uint8Array | Int32Array | Uint32Array | Float64Array;

/** An array with a place for `index`: the same one if it has it, else a longer copy, zeros behind. */
export function grown<T extends Growing>(array: T, index: number): T {
  if (index < array.length) return array;
  const Longer = array.constructor as new (length: number) => T;
  const longer = new Longer(Math.max(index + 1, array.length * 2));
  longer.set(array);
  return longer;
}

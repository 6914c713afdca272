/** A value that a test knows to be there; what `assert` would do if it narrowed types. */
export function defined<T>(value: T | undefined): T {
  if (value === undefined) throw new TypeError("Cannot go on: a value is missing");
  return value;
}

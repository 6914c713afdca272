/** The usage text: that it names everything and fits a terminal. */
import { assert } from "@std/assert";
import { OPTIONS } from "../../lib/cli/options.ts";
import { usage } from "../../lib/cli/usage.ts";

Deno.test("usage() names every option with its value and its default, when it is printed", () => {
  const lines = usage().split("\n");
  for (const { name, short, value, defaultValue, isRequired, isRepeatable } of OPTIONS) {
    const line = lines.find((line) =>
      new RegExp(`--${name}( |$)`).test(line) && /^ {2}[ -]/.test(line)
    );
    assert(line !== undefined, name);
    const parts = [short === undefined ? "" : `-${short}, `, value ?? "", defaultValue ?? ""];
    if (isRequired) parts.push("required");
    if (isRepeatable) parts.push("repeated");
    for (const part of parts) assert(line?.includes(part), `${line} lacks ${part}`);
  }
});

Deno.test("usage() fits a terminal and ends with a newline, when it is printed", () => {
  assert(usage().endsWith("\n") && !usage().endsWith("\n\n"));
  for (const line of usage().split("\n")) {
    assert(line.length <= 120 && line === line.trimEnd(), line);
  }
});

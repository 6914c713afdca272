/** The recipes of README.md and rules.nft as text, so that the tests try what people copy. */

/** rules.nft, whole and with the examples at its end still commented out. */
const RULES: string = await read("rules.nft");

const README: string = await read("README.md");

/** The examples of rules.nft, each uncommented. */
const EXAMPLES: string[] = RULES.split(/^# Examples\./m)[1]?.split(/^(?=## )/m).slice(1).map(
  (example) => example.replaceAll(/^##.*\n|^#/gm, ""),
) ?? [];

/** Returns rules.nft with those of its examples that have these words; with all, if none is given. */
export function rulesWith(...words: string[]): string {
  const chosen = EXAMPLES.filter((example) =>
    words.length === 0 || words.some((word) => example.includes(` ${word} `))
  );
  if (chosen.length === 0 || chosen.length < words.length) {
    throw new Error(`rules.nft has no such example: ${words.join(", ")}`);
  }
  return [RULES, ...chosen].join("\n");
}

/** Returns a file that README.md shows, by its path. */
export function readmeFile(path: string): string {
  const blocks = [...README.matchAll(/^```ini\n(# (\S+),.*\n[^]*?)^```$/gm)];
  const text = blocks.find(([, , shown]) => shown === path)?.[1];
  if (text === undefined) throw new Error(`README.md does not show ${path}`);
  return text;
}

/** Returns the lines of a script that README.md shows, by the comment that it begins with. */
export function readmeScript(comment: string): string {
  const blocks = [...README.matchAll(/^```sh\n# (.*)\n([^]*?)^```$/gm)];
  const text = blocks.find(([, shown]) => shown === comment)?.[2];
  if (text === undefined) throw new Error(`README.md does not show "${comment}"`);
  return text;
}

/** Returns the values of a key in a file of "KEY=VALUE" or "KEY = VALUE" lines. */
export function values(file: string, key: string): string[] {
  return [...file.matchAll(new RegExp(`^${key} ?= ?(.*)$`, "gm"))].map(([, value = ""]) => value);
}

function read(name: string): Promise<string> {
  return Deno.readTextFile(new URL(`../../${name}`, import.meta.url));
}

/** What the fuzz targets start from: the golden replies, and every case that once showed a fault. */
import { hex, readFixture } from "../support/hex.ts";

const FIXTURES = [
  ...["a", "aaaa", "chain", "https", "nxdomain", "oddities", "sections", "targets", "unmatched"],
];

/** The cases that once showed a fault, by file name. */
export const CASES = new URL("./cases/", import.meta.url);

/** All messages in the fixtures; other sections say in words what is in them. */
export function fixtures(): Uint8Array[] {
  return FIXTURES.flatMap((name) => {
    const sections = readFixture(`${name}.hex`);
    const messages = [sections.get("reply"), sections.get("rewritten")];
    return messages.filter((text) => text !== undefined).map(hex);
  });
}

/** The cases by file name. */
export function cases(): Map<string, Uint8Array> {
  const files = [...Deno.readDirSync(CASES)].filter(({ name }) => name.endsWith(".hex"));
  return new Map(
    files.map(({ name }) => [name, hex(Deno.readTextFileSync(new URL(name, CASES)))]),
  );
}

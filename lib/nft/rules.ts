/**
 * The rules that dotp carries: rules.nft at the top of the repository, for the options given. There
 * is no other copy: the file is part of the program, and the one that a reader opens and the tests
 * load.
 *
 * Exchanged are the table, the two prefixes, and the sizes of the sets where the prefix has more fakes
 * than the file's own; a smaller prefix keeps the size, as the kernel keeps it when the file is loaded
 * again with a larger one. With interfaces of the LAN the example that translates for these only is in
 * force, and the other examples name them.
 *
 * @module
 */
import RULES from "../../rules.nft" with { type: "text" };
import { type Family, type Prefix, prefixToText } from "../address.ts";
import { capacityOf } from "../nat/pool.ts";
import { MAPPINGS_MAX } from "../nat/table.ts";

/** What the file says itself, to be found in it. */
const TABLE = /\binet dotp\b/g;
const PREFIX: Readonly<Record<Family, RegExp>> = {
  4: /^define FAKE4 = .*$/m,
  6: /^define FAKE6 = .*$/m,
};
/** How many fakes its IPv4 prefix has; the sets of IPv6 hold all that dotp keeps of one IP version. */
const SIZE4 = 131_072;

/** The example that is about the interfaces of the LAN, and how the others name the one they have. */
const LAN_EXAMPLE = /^#define LAN = .*\n(?:#.*\n)*/m;
const LAN_INTERFACE = /\biifname "lan0"/g;

/** What the rules depend on. */
export interface RulesOptions {
  readonly table: string;
  readonly prefixes: Readonly<Record<Family, Prefix>>;
  /** Names of the interfaces that clients come in by; none for all there are. */
  readonly lan: readonly string[];
}

/** The text of rules.nft for these options. */
export function rulesText({ table, prefixes, lan }: RulesOptions): string {
  const size4 = Math.max(SIZE4, Math.min(capacityOf(prefixes[4]), MAPPINGS_MAX));
  return withLan(RULES, lan)
    .replace(TABLE, `inet ${table}`)
    .replace(PREFIX[4], `define FAKE4 = ${prefixToText(prefixes[4])}`)
    .replace(PREFIX[6], `define FAKE6 = ${prefixToText(prefixes[6])}`)
    .replaceAll(new RegExp(`(?<=^\\s+size )${SIZE4}$`, "gm"), `${size4}`);
}

function withLan(rules: string, lan: readonly string[]): string {
  if (lan.length === 0) return rules;
  const names = lan.map((name) => `"${name}"`).join(", ");
  return rules
    .replace(
      LAN_EXAMPLE,
      (example) => example.replaceAll(/^#/gm, "").replace(/(?<=^define LAN = ).*/, `{ ${names} }`),
    )
    .replaceAll(LAN_INTERFACE, lan.length === 1 ? `iifname ${names}` : `iifname { ${names} }`);
}

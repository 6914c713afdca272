/** Domain files: the forms of a line, what is wrong with one, and that pieces make no difference. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { LabelWalk } from "../../lib/dns/name.ts";
import {
  BAD_LINES_MAX,
  DomainFile,
  LINE_LENGTH_MAX,
  rulesFromLine,
} from "../../lib/policy/domain_file.ts";
import { DomainSet } from "../../lib/policy/domain_set.ts";
import { LABEL_HASH, ruleOf, setOf } from "../support/domains.ts";
import { viewOf } from "../support/hex.ts";
import { concat, wireName } from "../support/packet.ts";
import { holds } from "../support/property.ts";

/** What a file makes of its octets, which come in pieces of so many. */
function read(octets: Uint8Array, piece = octets.length): { file: DomainFile; set: DomainSet } {
  const set = new DomainSet(LABEL_HASH);
  const file = new DomainFile(set);
  for (let at = 0; at < octets.length; at += piece) file.push(octets.subarray(at, at + piece));
  file.end();
  return { file, set };
}

function readText(text: string): { file: DomainFile; set: DomainSet } {
  return read(new TextEncoder().encode(text));
}

function covers(set: DomainSet, name: string): boolean {
  const view = viewOf(concat(new Uint8Array(12), wireName(name)));
  const walk = new LabelWalk();
  assert(walk.follow(view, view.byteLength, 12));
  return set.covers(view, walk);
}

/** Lines, and the rules that each holds, written as on the command line. */
const LINES: readonly (readonly [line: string, ...rules: string[]])[] = [
  [""],
  [" \t"],
  ["# example.com"],
  ["  # example.com"],
  ["example.com", "example.com"],
  ["\texample.com.  ", "example.com"],
  ["EXAMPLE.com", "example.com"],
  ["com", "com"],
  ["a_b._c.example", "a_b._c.example"],
  ["example.com # the first", "example.com"],
  ["example.com\t#", "example.com"],
  ["*.example.com", "example.com"],
  [".example.com", "example.com"],
  ["!example.com", "!example.com"],
  ["!*.example.com", "!example.com"],
  ["=example.com", "=example.com"],
  ["=.example.com", "=example.com"],
  [".", "."],
  ["!.", "!."],
  ["münchen.de", "xn--mnchen-3ya.de"],
  ["*.münchen.de # München", "xn--mnchen-3ya.de"],
  ["0.0.0.0 example.com", "example.com"],
  ["127.0.0.1\tlocalhost  a.example b.example # loopback", "localhost", "a.example", "b.example"],
  ["::1 localhost", "localhost"],
  ["fe80::1%lo0 localhost", "localhost"],
  ["server=/example.com/192.0.2.1", "example.com"],
  ["server=/example.com/192.0.2.1#53", "example.com"],
  ["nftset=/a.example/b.example/4#inet#dotp#x,6#inet#dotp#y", "a.example", "b.example"],
  ["address=/example.com/", "example.com"],
  ["local=/.example.com/", "example.com"],
  ["/example.com/", "example.com"],
  ["/*.example.com/a.example/", "example.com", "a.example"],
  ["server=/#/192.0.2.1", "."],
  // A name made of digits is a name.
  ["1.2.3.4", "1.2.3.4"],
  ["x".repeat(63), "x".repeat(63)],
];

Deno.test("DomainFile.push() reads a line, when it is of one of the forms", () => {
  for (const [line, ...rules] of LINES) {
    const { file, set } = readText(line);
    assertEquals(file.bad, [], line);
    assertEquals(set.size, rules.length, line);
    const expected = setOf(...rules);
    for (const rule of rules) {
      const name = rule.replace(/^[!=]/, "").replace(/^\.$/, "");
      for (const asked of [name, name === "" ? "x" : `x.${name}`]) {
        assertEquals(covers(set, asked), covers(expected, asked), `${line}: ${asked}`);
      }
    }
    assertEquals(rulesFromLine(line), rules.map(ruleOf), line);
  }
});

/** Lines that are no rule, and why. */
const BAD: readonly (readonly [line: string, why: string])[] = [
  ["a..b", '"a..b" is not a domain name, it has an empty label'],
  ["..", '".." is not a domain name, it has an empty label'],
  ["*.", '"*." is not a domain name, a label may hold only letters'],
  ["!", '"!" is not a domain name, it has no label'],
  ["-a.example", "a label may not begin or end with '-'"],
  ["a.example-", "a label may not begin or end with '-'"],
  ["a*.example", "a label may hold only letters, digits, '-' and '_'"],
  ["https://example.com/", "a label may hold only letters"],
  ["||example.com^", "a label may hold only letters"],
  [`${"x".repeat(64)}.example`, "a label has 64 characters, at most 63 fit"],
  [`${"x".repeat(63)}.`.repeat(4), "at most 253 fit"],
  ["a.example b.example", "there is more than one name, and no address before them"],
  ["0.0.0.0 a.example b..example", '"b..example" is not a domain name'],
  ["server=//192.0.2.1", '"" is not a domain name, it has no label'],
  ["address=/a.example/b..c/", '"b..c" is not a domain name'],
  ["é é", "there is more than one name"],
  ["x".repeat(LINE_LENGTH_MAX + 1), `it is longer than ${LINE_LENGTH_MAX} octets`],
];

Deno.test("DomainFile.push() skips a line and says why, when it is of no form", () => {
  for (const [line, why] of BAD) {
    const { file, set } = readText(`before.example\n${line}\nafter.example`);
    assertEquals([file.badCount, file.bad[0]?.line], [1, 2], line);
    assert(file.bad[0]?.why.includes(why), `${line}: ${file.bad[0]?.why}`);
    // Nothing of a bad line counts, not even what is right in it.
    assertEquals(set.size, 2, line);
    assert(covers(set, "before.example") && covers(set, "after.example"));
  }
  const notUtf8 = concat(new TextEncoder().encode("a.example\n"), Uint8Array.of(0xff, 0x2e, 0x61));
  assertEquals(read(notUtf8).file.bad, [{ line: 2, why: "it is not UTF-8" }]);
});

Deno.test("DomainFile counts lines and keeps the first bad ones, when there are many", () => {
  const { file, set } = readText("a b\r\n".repeat(BAD_LINES_MAX + 2) + "example.com\r\n");
  assertEquals(file.badCount, BAD_LINES_MAX + 2);
  assertEquals(file.bad.map(({ line }) => line), file.bad.map((_, i) => i + 1));
  assertEquals(file.bad.length, BAD_LINES_MAX);
  assertEquals(set.size, 1);
});

Deno.test("DomainFile takes a line as long as may be and no longer, when it comes in pieces", () => {
  for (const length of [LINE_LENGTH_MAX - 1, LINE_LENGTH_MAX, LINE_LENGTH_MAX + 1]) {
    const text = `${"a.example".padEnd(length)}\nb.example\n`;
    for (const piece of [7, 1_000, text.length]) {
      const { file, set } = read(new TextEncoder().encode(text), piece);
      const isShort = length <= LINE_LENGTH_MAX;
      assertEquals([file.badCount, set.size], isShort ? [0, 2] : [1, 1], `${length} ${piece}`);
    }
  }
});

Deno.test("DomainFile skips a byte order mark, when a file begins with one", () => {
  const { file, set } = readText("\ufeffexample.com\nb.example\n");
  assertEquals([file.bad, set.size, covers(set, "example.com")], [[], 2, true]);
});

Deno.test("DomainFile says that the set is full, when it takes no more", () => {
  const set = new DomainSet(LABEL_HASH, [], { octetsMax: 48 });
  const file = new DomainFile(set);
  file.push(new TextEncoder().encode("a.example\nb.example\nc.example\nd.example\ne.example\n"));
  file.end();
  assert(file.isFull);
  assert(covers(set, "a.example") && !covers(set, "e.example"));
});

/** Whatever may stand in a line, much of it close to a name. */
const LINE = fc.array(
  fc.constantFrom(..."ab-_.1AZ*!=# /é\t", "xn--", "0.0.0.0 ", "example", "a".repeat(63), "\0"),
  { maxLength: 8 },
).map((parts) => parts.join(""));

Deno.test("DomainFile takes the same names by the quick way and the long one, when lines are random", () => {
  holds(
    "DomainFile",
    fc.property(LINE, (line) => {
      const { file, set } = readText(line);
      if (file.badCount > 0) {
        assertThrows(() => rulesFromLine(line), SyntaxError);
        return;
      }
      const rules = rulesFromLine(line);
      const expected = new DomainSet(LABEL_HASH, rules);
      assertEquals(set.size, expected.size);
      for (const { name } of rules) {
        const view = viewOf(concat(new Uint8Array(12), Uint8Array.of(1, 0x78), name));
        const walk = new LabelWalk();
        for (const at of [12, 14]) {
          assert(walk.follow(view, view.byteLength, at));
          assertEquals(set.covers(view, walk), expected.covers(view, walk), line);
        }
      }
    }),
    3_000,
  );
});

Deno.test("DomainFile reads the same, when a file comes in pieces of any length", () => {
  holds(
    "DomainFile pieces",
    fc.property(
      fc.array(LINE, { maxLength: 6 }),
      fc.integer({ min: 1, max: 9 }),
      (lines, piece) => {
        const octets = new TextEncoder().encode(lines.join("\n"));
        const [whole, cut] = [read(octets), read(octets, piece)];
        assertEquals(cut.file.bad, whole.file.bad);
        assertEquals(cut.set.size, whole.set.size);
      },
    ),
    1_000,
  );
});

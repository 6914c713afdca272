/** The set of configured names: what is covered, and what only looks like it. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type DomainRule, DomainSet, Rule } from "../../lib/policy/domain_set.ts";
import { LabelWalk } from "../../lib/dns/name.ts";
import { LABEL_HASH, ruleOf, setOf } from "../support/domains.ts";
import { hex, viewOf } from "../support/hex.ts";
import { concat, wireName } from "../support/packet.ts";
import { holds } from "../support/property.ts";

const HEADER = new Uint8Array(12);

/** Whether a set covers a name that stands uncompressed in a message. */
function covers(set: DomainSet, name: string): boolean {
  const view = viewOf(concat(HEADER, wireName(name)));
  const walk = new LabelWalk();
  assert(walk.follow(view, view.byteLength, HEADER.length));
  return set.covers(view, walk);
}

Deno.test("DomainSet.covers() takes a name and all below it, when it is configured", () => {
  const set = setOf("example.com", "a.b.example.net", "org");
  for (
    const [name, expected] of [
      ["example.com", true],
      ["www.example.com", true],
      ["a.b.c.d.example.com", true],
      ["EXAMPLE.com", true],
      ["www.eXample.COM", true],
      ["notexample.com", false],
      ["xample.com", false],
      ["example.co", false],
      ["example.comm", false],
      ["com", false],
      ["", false],
      ["example.com.evil.net", false],
      ["a.b.example.net", true],
      ["x.a.b.example.net", true],
      ["b.example.net", false],
      ["example.net", false],
      ["xa.b.example.net", false],
      ["org", true],
      ["example.org", true],
      ["org.com", false],
    ] as const
  ) assertEquals(covers(set, name), expected, name);
});

Deno.test("DomainSet.covers() is false for every name, when none is configured", () => {
  for (const name of ["", "com", "example.com"]) assert(!covers(setOf(), name));
});

Deno.test("DomainSet takes a name twice, inside another and in capitals, when it is told so", () => {
  const set = setOf("www.example.com", "example.com", "example.com", "A.EXAMPLE.com");
  for (const name of ["example.com", "b.example.com", "www.example.com"]) {
    assert(covers(set, name), name);
  }
});

Deno.test("DomainSet.covers() does not mistake label borders, when the octets are the same", () => {
  const set = setOf("a.bc");
  assert(!covers(set, "ab.c"));
  assert(!covers(set, "abc"));
  // One label that has a dot in it: `a.bc` in one piece.
  const view = viewOf(concat(HEADER, hex("04 'a.bc' 00")));
  const walk = new LabelWalk();
  assert(walk.follow(view, view.byteLength, HEADER.length));
  assert(!set.covers(view, walk));
});

Deno.test("DomainSet.covers() follows pointers, when the name is compressed", () => {
  const view = viewOf(concat(HEADER, hex("07 'Example' 03 'com' 00 03 'www' c0 0c")));
  const walk = new LabelWalk();
  assert(walk.follow(view, view.byteLength, HEADER.length + 13));
  assert(setOf("example.com").covers(view, walk));
  assert(!setOf("www.com").covers(view, walk));
});

/** Two labels with the same hash; one pair of 150,000 is to be expected by chance. */
function colliding(): [string, string] {
  const seen = new Map<number, string>();
  for (let i = 0; i < 1_000_000; i++) {
    const label = `h${i.toString(36)}`;
    const hash = LABEL_HASH.of(0, viewOf(wireName(label)), 0);
    const other = seen.get(hash);
    if (other !== undefined) return [other, label];
    seen.set(hash, label);
  }
  throw new Error("No two of a million labels have the same hash");
}

Deno.test("DomainSet.covers() keeps labels apart, when their hashes are equal", () => {
  const [one, two] = colliding();
  assert(covers(setOf(one), one) && !covers(setOf(one), two));
  assert(covers(setOf(two), two) && !covers(setOf(two), one));
  for (const set of [setOf(one, `www.${two}`), setOf(`www.${two}`, one)]) {
    assert(covers(set, one) && covers(set, `www.${two}`));
    assert(!covers(set, two) && !covers(set, `ftp.${two}`));
  }
});

Deno.test("DomainSet.covers() finds each of many names, when the set has grown", () => {
  const names = Array.from({ length: 20_000 }, (_, i) => `h${i}.${i % 7}.example`);
  const set = setOf(...names);
  assertEquals(set.size, names.length);
  for (const name of names) assert(covers(set, name), name);
  for (let i = 0; i < 20_000; i += 7) {
    assert(!covers(set, `g${i}.0.example`), `${i}`);
    assert(!covers(set, `h${i}.1.example`), `${i}`);
  }
});

Deno.test("DomainSet.covers() lets the most specific rule decide, when several are about a name", () => {
  const set = setOf("example.com", "!a.example.com", "b.a.example.com", "=c.example.net", "!d.org");
  for (
    const [name, expected] of [
      ["example.com", true],
      ["x.example.com", true],
      ["a.example.com", false],
      ["x.a.example.com", false],
      ["xa.example.com", true],
      ["b.a.example.com", true],
      ["x.B.A.example.com", true],
      ["c.example.net", true],
      ["C.Example.net", true],
      ["x.c.example.net", false],
      ["example.net", false],
      ["d.org", false],
      ["org", false],
    ] as const
  ) assertEquals(covers(set, name), expected, name);
});

Deno.test("DomainSet.covers() takes everything but the exceptions, when the root is configured", () => {
  const set = setOf(".", "!lan", "=router.lan");
  for (const name of ["", "com", "example.com", "router.lan"]) assert(covers(set, name), name);
  for (const name of ["lan", "LAN", "x.lan", "x.router.lan"]) assert(!covers(set, name), name);
  assert(covers(setOf("=."), "") && !covers(setOf("=."), "com"));
  assert(!covers(setOf(".", "!."), "com"));
});

Deno.test("DomainSet.covers() excepts or names exactly, when the same name has other rules too", () => {
  for (const rules of [["!a", "a"], ["a", "!a"]]) {
    const set = setOf(...rules);
    assert(!covers(set, "a") && !covers(set, "x.a"), rules.join());
    assertEquals(set.size, 2);
  }
  for (const rules of [["!a", "=a"], ["=a", "!a"], ["=a", "!a", "a"]]) {
    const set = setOf(...rules);
    assert(covers(set, "a") && !covers(set, "x.a"), rules.join());
  }
});

Deno.test("DomainSet.add() refuses what does not fit and keeps what is there, when it is full", () => {
  const names = ["a.b", "c.b", "d.b"];
  // The root, and four octets more than a length and a letter take, for each of three labels.
  for (
    const [octetsMax, fitting] of [[8 + 3 * 8 - 1, 1], [8 + 3 * 8, 2], [8 + 4 * 8, 3]] as const
  ) {
    const set = new DomainSet(LABEL_HASH, [], { octetsMax });
    const added = names.map((name) => set.add(viewOf(wireName(name)), 0, Rule.SUBTREE));
    assertEquals(added, names.map((_, i) => i < fitting), `${octetsMax}`);
    assertEquals(names.map((name) => covers(set, name)), added);
    assertEquals(set.size, fitting);
  }
});

/** What the rules say of a name, by looking at all of them. */
function naive(rules: readonly DomainRule[], asked: Uint8Array): boolean {
  const is = (name: Uint8Array, other: Uint8Array) => String(name) === String(other);
  if (rules.some(({ name, rule }) => rule === Rule.EXACT && is(name, asked))) return true;
  for (let at = 0;; at += 1 + asked[at]!) {
    const here = rules.filter(({ name }) => is(name, asked.subarray(at)));
    if (here.some(({ rule }) => rule === Rule.EXCEPTION)) return false;
    if (here.some(({ rule }) => rule === Rule.SUBTREE)) return true;
    if (asked[at] === 0) return false;
  }
}

Deno.test("DomainSet.covers() does what looking at all rules does, when names are random", () => {
  const label = fc.constantFrom("a", "b", "ab", "ba", "b-a", "a".repeat(63));
  const name = fc.array(label, { maxLength: 3 }).map((labels) => labels.join(".") || ".");
  const rule = fc.tuple(fc.constantFrom("", "!", "="), name).map((parts) => parts.join(""));
  const mixed = fc.tuple(name, fc.boolean());
  holds(
    "DomainSet",
    fc.property(fc.array(rule, { maxLength: 8 }), mixed, (rules, [asked, isUpper]) => {
      const text = asked === "." ? "" : asked;
      const expected = naive(rules.map(ruleOf), wireName(text));
      const set = setOf(...rules);
      assertEquals(covers(set, isUpper ? text.toUpperCase() : text), expected);
      assertEquals(set.size, new Set(rules).size);
    }),
    3_000,
  );
});

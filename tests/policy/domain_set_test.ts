/** The tree of configured names: what is covered, and what only looks like it. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { DomainTree } from "../../lib/policy/domain_set.ts";
import { LabelWalk, nameFromText } from "../../lib/dns/name.ts";
import { hex, viewOf } from "../support/hex.ts";
import { concat, wireName } from "../support/packet.ts";
import { holds } from "../support/property.ts";

const HEADER = new Uint8Array(12);

function treeOf(...names: string[]): DomainTree {
  return new DomainTree(names.map(nameFromText));
}

/** Whether a tree covers a name that stands uncompressed in a message. */
function covers(tree: DomainTree, name: string): boolean {
  const view = viewOf(concat(HEADER, wireName(name)));
  const walk = new LabelWalk();
  assert(walk.follow(view, view.byteLength, HEADER.length));
  return tree.covers(view, walk);
}

Deno.test("DomainTree.covers() takes a name and all below it, when it is configured", () => {
  const tree = treeOf("example.com", "a.b.example.net", "org");
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
  ) assertEquals(covers(tree, name), expected, name);
});

Deno.test("DomainTree.covers() is false for every name, when none is configured", () => {
  for (const name of ["", "com", "example.com"]) assert(!covers(treeOf(), name));
});

Deno.test("DomainTree takes a name twice, inside another and in capitals, when it is told so", () => {
  const tree = treeOf("www.example.com", "example.com", "example.com", "A.EXAMPLE.com");
  for (const name of ["example.com", "b.example.com", "www.example.com"]) {
    assert(covers(tree, name), name);
  }
});

Deno.test("DomainTree.covers() does not mistake label borders, when the octets are the same", () => {
  const tree = treeOf("a.bc");
  assert(!covers(tree, "ab.c"));
  assert(!covers(tree, "abc"));
  // One label that has a dot in it: `a.bc` in one piece.
  const view = viewOf(concat(HEADER, hex("04 'a.bc' 00")));
  const walk = new LabelWalk();
  assert(walk.follow(view, view.byteLength, HEADER.length));
  assert(!tree.covers(view, walk));
});

Deno.test("DomainTree.covers() follows pointers, when the name is compressed", () => {
  const view = viewOf(concat(HEADER, hex("07 'Example' 03 'com' 00 03 'www' c0 0c")));
  const walk = new LabelWalk();
  assert(walk.follow(view, view.byteLength, HEADER.length + 13));
  assert(treeOf("example.com").covers(view, walk));
  assert(!treeOf("www.com").covers(view, walk));
});

Deno.test("DomainTree.covers() keeps labels apart, when their hashes are equal", () => {
  // FNV-1a over the root and either label is the same number.
  const [one, two] = ["h9pf8", "harj6"];
  assert(covers(treeOf(one), one) && !covers(treeOf(one), two));
  assert(covers(treeOf(two), two) && !covers(treeOf(two), one));
  for (const tree of [treeOf(one, `www.${two}`), treeOf(`www.${two}`, one)]) {
    assert(covers(tree, one) && covers(tree, `www.${two}`));
    assert(!covers(tree, two) && !covers(tree, `ftp.${two}`));
  }
});

Deno.test("DomainTree.covers() finds each of many names, when they share most labels", () => {
  const names = Array.from({ length: 5_000 }, (_, i) => `h${i}.example`);
  const tree = treeOf(...names);
  for (const name of names) assert(covers(tree, name), name);
  for (let i = 0; i < 1_000; i++) assert(!covers(tree, `g${i}.example`), `${i}`);
});

Deno.test("DomainTree.covers() does what endsWith() does, when names are random", () => {
  const label = fc.constantFrom("a", "b", "ab", "A", "b-a");
  const name = fc.array(label, { minLength: 1, maxLength: 4 }).map((labels) => labels.join("."));
  holds(
    "DomainTree",
    fc.property(fc.array(name, { maxLength: 5 }), name, (configured, asked) => {
      const expected = configured.some((one) =>
        `.${asked}`.toLowerCase().endsWith(`.${one}`.toLowerCase())
      );
      assertEquals(covers(treeOf(...configured), asked), expected);
    }),
    1_000,
  );
});

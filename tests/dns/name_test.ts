/** Names in wire format: stepped over, followed, compared, written, and never trusted. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  INVALID,
  LabelWalk,
  lowerCase,
  nameFromText,
  nameToText,
  sameName,
  sameOctets,
  skipName,
  STEPS_PER_MESSAGE_MAX,
} from "../../lib/dns/name.ts";
import { bytesOf, hex, viewOf } from "../support/hex.ts";
import { concat, pointer, wireName } from "../support/packet.ts";
import { holds } from "../support/property.ts";

/** What stands in place of a header: a pointer may not reach into it. */
const HEADER = new Uint8Array(12);
const FIRST = HEADER.length;

const ROOT = new Uint8Array(1);
/** A label of 63 octets, the longest, with its length. */
const LONGEST_LABEL = labelOfLength(64);

/** A name of exactly `length` octets, root included. */
function nameOfLength(length: number): Uint8Array {
  const labels = [];
  let left = length - ROOT.length;
  while (left > LONGEST_LABEL.length) {
    // A rest of one octet could be no label.
    const octets = Math.min(LONGEST_LABEL.length, left - 2);
    labels.push(labelOfLength(octets));
    left -= octets;
  }
  return concat(...labels, labelOfLength(left), ROOT);
}

/** A label of so many octets, its length octet included. */
function labelOfLength(length: number): Uint8Array {
  return concat(Uint8Array.of(length - 1), new Uint8Array(length - 1).fill(0x62));
}

/** Octets behind the header; the offset of a name; where it ends, what it is (undefined: invalid). */
const NAMES:
  readonly (readonly [what: string, octets: string, at: number, end: number, text?: string])[] = [
    ["the root", "00", 0, 1, "."],
    ["one label", "03 'www' 00", 0, 5, "www."],
    ["two labels", "03 'www' 02 'de' 00 ff", 0, 8, "www.de."],
    ["a label of 0xff", "01 ff 00", 0, 3, "\\255."],
    ["a pointer to a name", "02 'de' 00 c0 0c", 4, 6, "de."],
    ["a pointer to a name's middle", "03 'www' 02 'de' 00 c0 10", 8, 10, "de."],
    ["a pointer to the root", "00 c0 0c", 1, 3, "."],
    ["labels and a pointer", "02 'de' 00 03 'www' c0 0c", 4, 10, "www.de."],
    ["a pointer to a pointer", "02 'de' 00 01 'a' c0 0c 01 'b' c0 10", 8, 12, "b.a.de."],
    ["the empty end", "", 0, INVALID],
    ["a label past the end", "03 'ww'", 0, INVALID],
    ["no root", "03 'www'", 0, INVALID],
    ["half a pointer", "00 c0", 1, INVALID],
    ["a pointer to itself", "c0 0c", 0, INVALID],
    ["a pointer forward", "00 c0 0f 00", 1, INVALID],
    ["a pointer to its own labels", "01 'a' c0 0c", 0, INVALID],
    ["a pointer into the header", "00 c0 0b", 1, INVALID],
    ["a label of type 01", "41 'a' 00", 0, INVALID],
    ["a label of type 10", "81 'a' 00", 0, INVALID],
    ["type 01 as 0x40", "40 00", 0, INVALID],
  ];

Deno.test("skipName() returns the offset behind the name, when it is a name", () => {
  for (const [what, octets, at, end] of NAMES) {
    const view = viewOf(concat(HEADER, hex(octets)));
    const expected = end === INVALID ? INVALID : FIRST + end;
    assertEquals(skipName(view, view.byteLength, FIRST + at), expected, what);
  }
});

Deno.test("LabelWalk.follow() finds the labels, when it is a name", () => {
  for (const [what, octets, at, , text] of NAMES) {
    const view = viewOf(concat(HEADER, hex(octets)));
    const walk = new LabelWalk();
    assertEquals(walk.follow(view, view.byteLength, FIRST + at), text !== undefined, what);
    assertEquals(nameToText(view, view.byteLength, FIRST + at), text ?? "(invalid)", what);
  }
});

Deno.test("skipName() and follow() end at `end`, when the buffer goes on behind it", () => {
  const view = viewOf(concat(HEADER, hex("03 'www' 00")));
  for (let end = FIRST; end <= view.byteLength; end++) {
    const isWhole = end === view.byteLength;
    assertEquals(skipName(view, end, FIRST) !== INVALID, isWhole, `${end}`);
    assertEquals(new LabelWalk().follow(view, end, FIRST), isWhole, `${end}`);
  }
});

Deno.test("skipName() and follow() refuse a name, when it is longer than 255 octets", () => {
  for (const [length, isValid] of [[253, true], [254, true], [255, true], [256, false]] as const) {
    const name = nameOfLength(length);
    assertEquals(name.length, length);
    const view = viewOf(concat(HEADER, name));
    assertEquals(skipName(view, view.byteLength, FIRST) !== INVALID, isValid, `${length}`);
    assertEquals(new LabelWalk().follow(view, view.byteLength, FIRST), isValid, `${length}`);
  }
});

Deno.test("follow() refuses a name, when a pointer makes it longer than 255 octets", () => {
  for (const [length, isValid] of [[252, true], [253, true], [254, false]] as const) {
    const target = nameOfLength(length);
    // Adds a label of one octet, so two octets.
    const view = viewOf(concat(HEADER, target, hex("01 'a'"), pointer(FIRST)));
    const at = FIRST + target.length;
    assertEquals(new LabelWalk().follow(view, view.byteLength, at), isValid, `${length}`);
  }
});

Deno.test("follow() finds all labels, when a name has as many as can be", () => {
  const view = viewOf(concat(HEADER, ...Array(127).fill(hex("01 'a'")), ROOT));
  const walk = new LabelWalk();
  assert(walk.follow(view, view.byteLength, FIRST));
  assertEquals(walk.count, 127);
  assertEquals([walk.offsets[0], walk.offsets[126]], [FIRST, FIRST + 252]);
});

Deno.test("follow() refuses what runs into itself, when a label reaches over the pointer to it", () => {
  // The label at the start has 5 octets: the pointer behind it and what follows are in it.
  const view = viewOf(concat(HEADER, hex("05 'abc' c0 0c 00 00")));
  assert(!new LabelWalk().follow(view, view.byteLength, FIRST + 4));
});

Deno.test("follow() stops, when the steps of one message are spent, and goes on after reset()", () => {
  const labels = 100;
  const view = viewOf(concat(HEADER, ...Array(labels).fill(hex("01 'a'")), ROOT));
  const walk = new LabelWalk();
  const stepsOfName = labels + 1;
  const names = Math.floor(STEPS_PER_MESSAGE_MAX / stepsOfName);
  for (let i = 0; i < names; i++) assert(walk.follow(view, view.byteLength, FIRST), `${i}`);
  assert(!walk.follow(view, view.byteLength, FIRST));
  assert(!walk.follow(view, view.byteLength, view.byteLength - 1));
  walk.reset();
  assert(walk.follow(view, view.byteLength, FIRST));
});

Deno.test("follow() counts each step once, when exactly the budget is used", () => {
  const view = viewOf(concat(HEADER, ROOT));
  const walk = new LabelWalk();
  for (let i = 0; i < STEPS_PER_MESSAGE_MAX; i++) walk.follow(view, view.byteLength, FIRST);
  assert(!walk.follow(view, view.byteLength, FIRST));
});

Deno.test("skipName() and follow() never throw, when octets are random", () => {
  const octet = fc.oneof(fc.constantFrom(0, 1, 2, 0xc0, 0x0c, 0x0d, 0x10), fc.nat(255));
  holds(
    "names of random octets",
    fc.property(fc.array(octet, { maxLength: 80 }), fc.nat(80), (octets, at) => {
      const view = viewOf(concat(HEADER, Uint8Array.from(octets)));
      const end = skipName(view, view.byteLength, FIRST + at);
      assert(end === INVALID || (end > FIRST + at && end <= view.byteLength));
      const walk = new LabelWalk();
      if (walk.follow(view, view.byteLength, FIRST + at)) assert(end !== INVALID);
      assert(walk.count <= 127);
    }),
    2_000,
  );
});

Deno.test("sameName() ignores the case of letters and nothing else, when two names are compared", () => {
  for (
    const [left, right, expected] of [
      ["", "", true],
      ["example.com", "example.com", true],
      ["example.com", "eXAMPLE.Com", true],
      ["example.com", "example.co", false],
      ["example.com", "www.example.com", false],
      ["www.example.com", "example.com", false],
      ["example", "example.com", false],
      ["example.com", "example", false],
      ["example.com", "", false],
      ["example.com", "examplf.com", false],
      ["a.bc", "ab.c", false],
      ["@", "`", false],
      ["[", "{", false],
    ] as const
  ) {
    const [one, two] = [wireName(left), wireName(right)];
    const view = viewOf(concat(HEADER, one, two));
    const [a, b] = [new LabelWalk(), new LabelWalk()];
    assert(a.follow(view, view.byteLength, FIRST));
    assert(b.follow(view, view.byteLength, FIRST + one.length));
    assertEquals(sameName(view, a, b), expected, `${left} ${right}`);
    assertEquals(sameName(view, b, a), expected, `${right} ${left}`);
  }
});

Deno.test("sameName() is true, when one name is compressed and the other is not", () => {
  const view = viewOf(concat(HEADER, hex("02 'de' 00 03 'www' c0 0c 03 'WWW' 02 'DE' 00")));
  const [a, b] = [new LabelWalk(), new LabelWalk()];
  assert(a.follow(view, view.byteLength, FIRST + 4) && b.follow(view, view.byteLength, FIRST + 10));
  assert(sameName(view, a, b));
});

Deno.test("sameOctets() compares as many octets as told, when more differ", () => {
  const [a, b] = [viewOf(hex("00 'AbC' 01")), viewOf(hex("'aBc' 02"))];
  assert(sameOctets(a, 1, b, 0, 3));
  assert(!sameOctets(a, 1, b, 0, 4));
  assert(sameOctets(a, 0, b, 0, 0));
});

Deno.test("lowerCase() changes A to Z only, when every octet is tried", () => {
  for (let octet = 0; octet < 256; octet++) {
    const isCapital = octet >= 65 && octet <= 90;
    assertEquals(lowerCase(octet), isCapital ? octet + 32 : octet);
  }
});

Deno.test("nameToText() escapes all but letters, digits, - and _, when a name holds anything", () => {
  for (
    const [octets, expected] of [
      ["05 'a-_Z9' 00", "a-_Z9."],
      ["03 'a' 0a 'b' 00", "a\\010b."],
      ["03 'a.b' 00", "a\\046b."],
      ["02 1b 5b 00", "\\027\\091."],
      ["02 c3 a9 00", "\\195\\169."],
      ["02 '\\\"' 00", "\\092\\034."],
    ] as const
  ) {
    const view = viewOf(concat(HEADER, hex(octets)));
    assertEquals(nameToText(view, view.byteLength, FIRST), expected);
  }
});

Deno.test("nameToText() gives one line of printable ASCII, when octets are random", () => {
  holds(
    "names as text",
    fc.property(fc.uint8Array({ maxLength: 63, minLength: 1 }), (label) => {
      const view = viewOf(concat(HEADER, Uint8Array.of(label.length), label, ROOT));
      assert(/^[A-Za-z0-9_\\-]+\.$/.test(nameToText(view, view.byteLength, FIRST)));
    }),
  );
});

const LABEL_63 = "a".repeat(63);

Deno.test("nameFromText() writes small letters and the root, when the name is valid", () => {
  for (
    const [text, octets] of [
      ["com", "03 'com' 00"],
      ["example.com", "07 'example' 03 'com' 00"],
      ["example.com.", "07 'example' 03 'com' 00"],
      ["EXAMPLE.Com", "07 'example' 03 'com' 00"],
      ["a", "01 'a' 00"],
      ["1.2", "01 '1' 01 '2' 00"],
      ["_dmarc.a_B", "06 '_dmarc' 03 'a_b' 00"],
      ["xn--mnchen-3ya.de", "0e 'xn--mnchen-3ya' 02 'de' 00"],
      [LABEL_63, `3f '${LABEL_63}' 00`],
    ] as const
  ) assertEquals(nameFromText(text), hex(octets), text);
});

Deno.test("nameFromText() takes 253 characters and no more, when a name is long", () => {
  const of = (length: number) => `${LABEL_63}.${LABEL_63}.${LABEL_63}.`.padEnd(length, "b");
  for (const length of [252, 253]) assertEquals(nameFromText(of(length)).length, length + 2);
  assertEquals(nameFromText(`${of(253)}.`).length, 255);
  assertThrows(() => nameFromText(of(254)), SyntaxError, "254 characters, at most 253");
});

Deno.test("nameFromText() throws SyntaxError that says why, when the text is no name", () => {
  for (
    const [text, why] of [
      ["", "no label"],
      [".", "no label"],
      ["..", "empty label"],
      [".com", "empty label"],
      ["a..b", "empty label"],
      ["com..", "empty label"],
      [`${LABEL_63}a.com`, "64 characters"],
      ["-a.com", "begin or end"],
      ["a-.com", "begin or end"],
      ["-", "begin or end"],
      ["*.example.com", "only letters"],
      ["a b", "only letters"],
      ["a\n", "only letters"],
      ["a/b", "only letters"],
      ["münchen.de", "only letters"],
      ["\u212a.com", "only letters"],
      ["a\\046b", "only letters"],
    ] as const
  ) assertThrows(() => nameFromText(text), SyntaxError, why, text);
});

Deno.test("nameFromText() and nameToText() undo each other, when the name is valid", () => {
  const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/);
  holds(
    "names from text",
    fc.property(fc.array(label, { minLength: 1, maxLength: 8 }), (labels) => {
      const text = `${labels.join(".")}.`;
      const octets = nameFromText(text);
      const view = viewOf(concat(HEADER, octets));
      assertEquals(nameToText(view, view.byteLength, FIRST), text);
      assertEquals(bytesOf(view).slice(FIRST), wireName(text));
    }),
  );
});

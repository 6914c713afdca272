/** What is excused, and what makes a run fail. */
import { assertEquals } from "@std/assert";
import { type Outcome, Tally } from "./tally.ts";
import { type Subject, SUBJECTS, Windows } from "./windows.ts";

/** A tally of a run in which all was well. */
function wellTally(): Tally {
  const tally = new Tally();
  for (const subject of SUBJECTS) count(tally, subject, "right", false, 10_000);
  return tally;
}

function count(tally: Tally, of: Subject, how: Outcome, isExcused: boolean, times = 1): void {
  for (let i = 0; i < times; i++) tally.count(of, how, isExcused, () => "example");
}

Deno.test("Windows excuse what touches a fault, when it is of a kind that the fault excuses", () => {
  const windows = new Windows();
  const close = windows.open(["configured"], 1_000);
  assertEquals(windows.excuses("configured", 0, 999), false);
  assertEquals(windows.excuses("configured", 0, 1_000), true);
  assertEquals(windows.excuses("configured", 5_000, 6_000), true);
  assertEquals(windows.excuses("not configured", 1_500, 1_600), false);
  close(2_000);
  assertEquals(windows.excuses("configured", 1_900, 9_000), true);
  assertEquals(windows.excuses("configured", 2_001, 9_000), false);
});

Deno.test("Tally is content, when failures are excused or next to none", () => {
  const tally = wellTally();
  for (const outcome of ["lost", "late", "servfail"] as const) {
    count(tally, "configured", outcome, true, 1_000);
  }
  count(tally, "not configured", "lost", false, 5);
  assertEquals(tally.verdict(), []);
});

Deno.test("Tally is not content, when one answer is wrong, in a fault or not", () => {
  for (const isExcused of [true, false]) {
    const tally = wellTally();
    count(tally, "traffic", "wrong", isExcused);
    assertEquals(tally.verdict(), ["1 wrong"]);
    assertEquals(tally.examples, ["traffic: wrong: example"]);
  }
});

Deno.test("Tally is not content, when too much is lost, late or SERVFAIL", () => {
  for (const outcome of ["lost", "late", "servfail"] as const) {
    const tally = wellTally();
    count(tally, "not configured", outcome, false, 30);
    assertEquals(tally.verdict().length, 1);
  }
});

Deno.test("Tally is not content, when something was never seen right", () => {
  assertEquals(new Tally().verdict().length, SUBJECTS.length);
});

Deno.test("Tally adds up, when subjects and faults are told apart", () => {
  const tally = new Tally();
  count(tally, "configured", "lost", true, 2);
  count(tally, "not configured", "lost", false, 3);
  count(tally, "traffic", "lost", false, 4);
  assertEquals(tally.total("lost"), 9);
  assertEquals(tally.total("lost", SUBJECTS, false), 7);
  assertEquals(tally.total("lost", ["configured"]), 2);
});

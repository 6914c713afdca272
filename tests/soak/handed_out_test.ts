/** The model detects what the soak looks for, and does not call wrong what dotp may do. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { HandedOut } from "./handed_out.ts";

const LIFETIME_MS = 10_000;
const REST_MS = 10_000;
const TTL_MS = 5_000;

function model(): HandedOut {
  return new HandedOut({ lifetimeMs: LIFETIME_MS, restMs: REST_MS });
}

/** Notes an answer that took a millisecond. */
function note(handedOut: HandedOut, fake: string, real: string, sentMs: number) {
  return handedOut.note({ fake, real, sentMs, receivedMs: sentMs + 1, ttlMs: TTL_MS });
}

function usable(handedOut: HandedOut, fromMs: number, toMs = fromMs): string[] {
  return Array.from(handedOut.usable(fromMs, toMs), ({ fake, real }) => `${fake} ${real}`);
}

Deno.test("HandedOut finds a fake on a second real, when the first one's lifetime lasts", () => {
  const handedOut = model();
  assertEquals(note(handedOut, "f1", "r1", 0), undefined);
  assertStringIncludes(note(handedOut, "f1", "r2", LIFETIME_MS - 2) ?? "", "r1 went to r2");
});

Deno.test("HandedOut finds a fake on a second real, when its rest lasts", () => {
  const handedOut = model();
  note(handedOut, "f1", "r1", 0);
  const lastMs = LIFETIME_MS + REST_MS - 2;
  assertStringIncludes(note(handedOut, "f1", "r2", lastMs) ?? "", "r1 went to r2");
});

Deno.test("HandedOut finds a real with two fakes, when the first one's lifetime lasts", () => {
  const handedOut = model();
  note(handedOut, "f1", "r1", 0);
  assertStringIncludes(note(handedOut, "f2", "r1", 5_000) ?? "", "got f2 too");
});

Deno.test("HandedOut finds two pairs that cross, when each is handed out once", () => {
  const handedOut = model();
  note(handedOut, "f1", "r1", 0);
  note(handedOut, "f2", "r2", 0);
  assertStringIncludes(note(handedOut, "f1", "r2", 100) ?? "", "f1");
});

Deno.test("HandedOut counts a fake on a second real as reused, when its rest is over", () => {
  const handedOut = model();
  note(handedOut, "f1", "r1", 0);
  assertEquals(note(handedOut, "f1", "r2", LIFETIME_MS + REST_MS), undefined);
  assertEquals(handedOut.reused, 1);
  // The first real has lost its fake for good, and may get another at once.
  assertEquals(note(handedOut, "f2", "r1", LIFETIME_MS + REST_MS), undefined);
});

Deno.test("HandedOut counts a lifetime from the last answer, when there are several", () => {
  const handedOut = model();
  note(handedOut, "f1", "r1", 0);
  note(handedOut, "f1", "r1", 15_000);
  assertStringIncludes(note(handedOut, "f1", "r2", LIFETIME_MS + REST_MS + 5_000) ?? "", "f1");
});

Deno.test("HandedOut requires no rest but the lifetime, when rests were forgotten", () => {
  const handedOut = model();
  note(handedOut, "f1", "r1", 0);
  note(handedOut, "f2", "r2", 3_000);
  handedOut.forgetRests(5_000);
  assertEquals(note(handedOut, "f1", "r3", LIFETIME_MS), undefined);
  assertStringIncludes(note(handedOut, "f2", "r4", LIFETIME_MS) ?? "", "f2");
});

Deno.test("HandedOut requires rests again, when a pair is handed out after they were forgotten", () => {
  const handedOut = model();
  handedOut.forgetRests(0);
  note(handedOut, "f1", "r1", 1);
  assertStringIncludes(note(handedOut, "f1", "r2", LIFETIME_MS + 5_000) ?? "", "f1");
});

Deno.test("HandedOut tells what is usable, when answers came before and their TTL lasts", () => {
  const handedOut = model();
  note(handedOut, "f1", "r1", 0);
  note(handedOut, "f2", "r2", 2_000);
  assertEquals(usable(handedOut, 1_000), ["f1 r1"]);
  assertEquals(usable(handedOut, 3_000, 4_000), ["f1 r1", "f2 r2"]);
  assertEquals(usable(handedOut, 3_000, 5_500), ["f2 r2"]);
  assertEquals(usable(handedOut, 8_000), []);
});

Deno.test("HandedOut forgets a pair, when it binds nobody any more", () => {
  const handedOut = model();
  note(handedOut, "f1", "r1", 0);
  handedOut.prune(LIFETIME_MS + REST_MS - 1);
  assertEquals(handedOut.size, 1);
  handedOut.prune(LIFETIME_MS + REST_MS + 1);
  assertEquals(handedOut.size, 0);
});

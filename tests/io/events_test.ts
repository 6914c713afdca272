/** Events in words: what is told of each, and what is not. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { wordsFor } from "../../lib/io/events.ts";
import { FAILURES } from "../../lib/metrics.ts";
import { viewOf } from "../support/hex.ts";
import { query } from "../support/packet.ts";

const QUERY = {
  view: viewOf(query({ question: { name: "secret.example.com" } })),
  questionEnd: 36,
  hasOpt: false,
  wantsDnssec: false,
  udpSize: 0,
};

Deno.test("wordsFor() says why and not for which name, when a query was answered SERVFAIL", () => {
  const all = FAILURES.map((reason) => wordsFor({ kind: "servfail", reason, query: QUERY }));
  assertEquals(new Set(all).size, FAILURES.length);
  for (const words of all) {
    assertMatch(words, /^answered SERVFAIL: [a-z].{10,}$/);
    assert(!words.includes("secret"), words);
  }
});

Deno.test("wordsFor() has what happened in it, when the event carries it", () => {
  const detail = "Operation not permitted";
  assertEquals(
    [
      wordsFor({ kind: "socket", role: "listener", detail }),
      wordsFor({ kind: "socket", role: "upstream", detail }),
      wordsFor({ kind: "fill", family: 6, percent: 95 }),
      wordsFor({ kind: "kernel", event: { kind: "failed", reason: undefined, detail } }),
      wordsFor({ kind: "kernel", event: { kind: "foreign", elements: 3 } }),
      wordsFor({ kind: "kernel", event: { kind: "notes", set: "seen", detail } }),
    ],
    [
      "listener socket: Operation not permitted",
      "upstream socket: Operation not permitted",
      "95 % of the fake IPv6 addresses that anyone may have are in use",
      "Cannot bring mappings into the kernel: Operation not permitted",
      "Somebody else has changed the kernel's sets: 3 elements are repaired",
      "Cannot read what the rules note in nat_seen: Operation not permitted",
    ],
  );
});

/** The policy in force: exchanged as a whole, from one message to the next. */
import { assertEquals } from "@std/assert";
import { setOf } from "../support/domains.ts";
import { a, message, REPLY_FLAGS } from "../support/packet.ts";
import { makeRewriting } from "../support/rewriting.ts";

Deno.test("ActivePolicy decides the next message, when another is put in its place", () => {
  const { policy, rewrite } = makeRewriting();
  const reply = message({
    flags: REPLY_FLAGS,
    question: { name: "www.example.com" },
    answers: [a("www.example.com", "192.0.2.1", 300)],
  });
  assertEquals(rewrite(reply).outcome, "rewritten");
  policy.current = { domains: setOf("example.com", "!www.example.com") };
  assertEquals(rewrite(reply).outcome, "passed");
  policy.current = { domains: setOf("example.com") };
  assertEquals(rewrite(reply).outcome, "rewritten");
});

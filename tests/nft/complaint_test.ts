/** What nft and conntrack complain of. */
import { assertEquals } from "@std/assert";
import { complaintOf, conntrackProblem, reasonOf } from "../../lib/nft/complaint.ts";

/** What nft 1.0.6 writes, and the reason that it gives. */
const COMPLAINTS = [
  [
    "Error: Could not process rule: No such file or directory\nadd element …\n    ^^^^\n",
    "missing",
  ],
  ["Error: No such file or directory\nlist map inet dotp nat_map\n", "missing"],
  ["Error: Could not process rule: File exists\nadd element …\n", "exists"],
  ["Error: Could not process rule: Too many open files in system\n", "full"],
  ["Error: Could not process rule: Message too long\n", "other"],
  ["Error: Could not process rule: Operation not permitted\n", "other"],
  ["Error: syntax error, unexpected newline\n", "other"],
  ["", "other"],
] as const;

Deno.test("reasonOf() understands a complaint, when nft has written it", () => {
  for (const [text, reason] of COMPLAINTS) assertEquals(reasonOf(complaintOf(text)), reason, text);
});

Deno.test("complaintOf() is the first complaint without the line it repeats, when there are more", () => {
  assertEquals(complaintOf("Error: one\nadd x\n^^^\nError: two\n"), "one");
  assertEquals(complaintOf("netlink: Error: cache\n"), "cache");
  assertEquals(complaintOf(" gone \n"), "gone");
  assertEquals(complaintOf("x".repeat(999)).length, 200);
});

Deno.test("conntrackProblem() is undefined, when conntrack has only found nothing", () => {
  const version = "conntrack v1.4.7 (conntrack-tools): ";
  const denied =
    "Operation failed: sorry, you must be root or get CAP_NET_ADMIN capability to do this";
  assertEquals(conntrackProblem(`${version}0 flow entries have been deleted.\n`), undefined);
  assertEquals(conntrackProblem(`${version}0 flow entries have been shown.\n`), undefined);
  assertEquals(conntrackProblem(`${version}${denied}\n`), `conntrack: ${denied}`);
});

/** Findings: the worst of them, as lines and as JSON. */
import { assertEquals } from "@std/assert";
import {
  error,
  type Finding,
  findingsToJson,
  findingsToText,
  isAbout,
  ok,
  TOPICS,
  unseen,
  warning,
  worstLevel,
} from "../../lib/check/finding.ts";

const WELL = ok("nft", "nft works");
const ODD = warning("prefix", "browsers may balk", "take another");
const BAD = error("table", "table inet dotp is missing", "load it");

Deno.test("worstLevel() is the worst of all, when there are several", () => {
  const cases: [Finding[], string][] = [
    [[], "ok"],
    [[WELL], "ok"],
    [[WELL, ODD], "warning"],
    [[BAD, WELL, ODD], "error"],
    [[unseen("overlap", "routes", "ip is not there")], "warning"],
  ];
  for (const [findings, expected] of cases) assertEquals(worstLevel(findings), expected);
});

Deno.test("isAbout() gives each subject to one topic, when it is not about permissions", () => {
  const subjects = [
    "nft",
    "table",
    "rules",
    "prefix",
    "overlap",
    "forwarding",
    "rp_filter",
  ] as const;
  for (const subject of [...subjects, "port", "listener", "upstream"] as const) {
    const topics = TOPICS.filter((topic) => isAbout(ok(subject, "it is well"), [topic]));
    assertEquals(topics.length, 1, subject);
  }
  assertEquals(isAbout(error("permissions", "none", "grant it"), ["port"]), true);
  assertEquals(isAbout(ODD, ["prefixes"]), true);
  assertEquals(isAbout(ODD, ["port", "nft"]), false);
});

Deno.test("findingsToText() writes a line each, level first, when there are several", () => {
  assertEquals(
    findingsToText([WELL, ODD, BAD]),
    [
      "ok       nft works",
      "warning  browsers may balk: take another",
      "error    table inet dotp is missing: load it",
      "",
    ].join("\n"),
  );
});

Deno.test("findingsToText() lets no line be forged, when names hold controls", () => {
  const name = "x\nok       all is well\u001b[31m\u2028";
  const text = findingsToText([error("port", `taken by ${name}`, "end it")]);
  assertEquals(text.split("\n").length, 2);
  assertEquals(text.includes("\u001b") || text.includes("\u2028"), false);
});

Deno.test("findingsToJson() is one object in one line, when it is read again", () => {
  const text = findingsToJson([WELL, ODD]);
  assertEquals(text.indexOf("\n"), text.length - 1);
  assertEquals(JSON.parse(text), {
    level: "warning",
    findings: [
      { subject: "nft", level: "ok", what: "nft works" },
      { subject: "prefix", level: "warning", what: "browsers may balk", advice: "take another" },
    ],
  });
});

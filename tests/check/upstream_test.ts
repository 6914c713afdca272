/** What is asked of the upstream, what counts as its reply, and what the replies say. */
import { assertEquals, assertMatch } from "@std/assert";
import { isReply, judgeName, judgeUpstream, upstreamQueries } from "../../lib/check/upstream.ts";
import { encodeReply } from "../lab/dns.ts";
import { decode } from "../support/reader.ts";
import type { Reply } from "../lab/lab.ts";
import { config, lineOf } from "./support.ts";

const NAME = "www.example.com";
const NO_ADDRESSES = { text: "" };

/** Ids that are told apart. */
function counter(): () => number {
  let next = 0x1234;
  return () => next++;
}

Deno.test("upstreamQueries() asks for the root and one configured name, when there is one", () => {
  const asked = (...domains: string[]) =>
    upstreamQueries(config({}, ...domains.flatMap((domain) => ["-d", domain])), counter())
      .map((query) => decode(query))
      .map(({ id, flag_rd, questions }) => {
        return [id, flag_rd, ...questions.map(({ name, type }) => `${name} ${type}`)];
      });
  assertEquals(asked(), [[0x1234, true, ". NS"]]);
  assertEquals(asked(NAME, "example.org"), [
    [0x1234, true, ". NS"],
    [0x1235, true, `${NAME} A`],
    [0x1236, true, `${NAME} AAAA`],
  ]);
});

Deno.test("isReply() takes id, question and QR together, when a datagram comes", () => {
  const [query = new Uint8Array()] = upstreamQueries(config(), counter());
  const cases: [Uint8Array, boolean][] = [
    [encodeReply(query, {}), true],
    [encodeReply(query, { rcode: 2 }), true],
    [encodeReply(query, { wrongId: true }), false],
    [encodeReply(query, { isQuery: true }), false],
    [encodeReply(query, { opcode: 4 }), false],
    [encodeReply(query, { question: { name: "example.com", type: "NS" } }), false],
    [encodeReply(query, { question: { name: ".", type: "A" } }), false],
    [query, false],
  ];
  for (const [datagram, expected] of cases) assertEquals(isReply(query, datagram), expected);
  const whole = encodeReply(query, {});
  for (let length = 0; length < whole.length; length++) {
    assertEquals(isReply(query, whole.subarray(0, length)), false, `${length}`);
  }
});

/** What the upstream answers to the three queries, undefined for nothing. */
const CASES: readonly (readonly [(Reply | undefined)[], RegExp])[] = [
  [[{}, {}, {}], /^ok the upstream, 198\.51\.100\.2 port 53, answers$/],
  [[{}, undefined, undefined], /^ok /],
  [[{}, { rcode: 3 }, { rcode: 2 }], /^ok /],
  [[{ rcode: 5 }, {}, {}], /^warning .* answers REFUSED when asked for the root's name servers/],
  [[{ rcode: 2 }, {}, {}], /^warning .* answers SERVFAIL /],
  [[{ rcode: 9 }, {}, {}], /^warning .* answers with code 9 /],
  [[undefined, {}, {}], /^error .* does not answer: see that it runs/],
  [
    [{}, { answers: [{ name: NAME, type: "A", data: "198.19.0.1" }] }, {}],
    /^error .* answers with the fake address 198\.19\.0\.1 \(of 198\.18\.0\.0\/15\): it is dotp/,
  ],
  [
    [{}, {}, { answers: [{ name: NAME, type: "AAAA", data: "2001:2::7" }] }],
    /^error .* answers with the fake address 2001:2::7 /,
  ],
  [
    [undefined, { answers: [{ name: NAME, type: "A", data: "198.18.0.1" }] }, undefined],
    /^error .* fake address/,
  ],
  [[{}, { answers: [{ name: NAME, type: "A", data: "203.0.113.1" }] }, {}], /^ok /],
];

Deno.test("judgeUpstream() says what is wrong, when the replies tell", () => {
  const given = config({}, "-d", NAME);
  const queries = upstreamQueries(given, counter());
  for (const [said, expected] of CASES) {
    const replies = said.map((reply, i) => reply && encodeReply(queries[i]!, reply));
    assertMatch(lineOf(judgeUpstream(given, { replies }, NO_ADDRESSES)), expected);
  }
});

Deno.test("judgeUpstream() reads what it can, when a reply is cut at any octet", () => {
  const given = config({}, "-d", NAME);
  const queries = upstreamQueries(given, counter());
  const reply = encodeReply(queries[1]!, {
    answers: [{ name: NAME, type: "A", data: "198.18.0.1" }],
  });
  for (let length = queries[1]!.length; length <= reply.length; length++) {
    const replies = [undefined, reply.subarray(0, length), undefined];
    const { level, what } = judgeUpstream(given, { replies }, NO_ADDRESSES);
    assertEquals([level, what.includes("fake")], ["error", length === reply.length]);
  }
});

Deno.test("judgeUpstream() names the trouble of asking, when it could not be asked", () => {
  const asked = { problem: "Network is unreachable (os error 101)", replies: [undefined] };
  assertMatch(
    lineOf(judgeUpstream(config(), asked, NO_ADDRESSES)),
    /^error .* cannot be asked: Network is unreachable .*: see to the route to it$/,
  );
});

Deno.test("judgeUpstream() finds dotp's own listener, when that is a wildcard", () => {
  const addresses = { text: "2: lan0    inet 192.0.2.1/24 scope global lan0\\  valid_lft\n" };
  const cases: [host: string, upstream: string, port: string, isOwn: boolean][] = [
    ["0.0.0.0", "192.0.2.1", "53", true],
    ["0.0.0.0", "127.0.0.1", "53", true],
    ["0.0.0.0", "127.1.2.3", "53", true],
    ["::", "127.0.0.1", "53", true],
    ["::", "::1", "53", true],
    ["0.0.0.0", "::1", "53", false],
    ["0.0.0.0", "192.0.2.1", "5353", false],
    ["0.0.0.0", "192.0.2.2", "53", false],
    ["192.0.2.2", "192.0.2.1", "53", false],
  ];
  for (const [host, upstream, port, isOwn] of cases) {
    const given = config({ "--host": host, "--upstream-host": upstream, "--upstream-port": port });
    const { what } = judgeUpstream(given, { replies: [undefined] }, addresses);
    assertEquals(/where dotp itself listens/.test(what), isOwn, `${host} ${upstream} ${port}`);
  }
});

Deno.test("judgeName() warns, when the configured name is at this machine itself", () => {
  const queries = upstreamQueries(config({}, "-d", NAME), counter()).slice(1);
  const addresses = {
    text: "2: wan0    inet 198.51.100.1/24 scope global wan0\\       valid_lft forever\n" +
      "2: wan0    inet6 2001:db8::1/64 scope global nodad \\       valid_lft forever\n",
  };
  const judge = (type: string, data: string) => {
    const replies = queries.map((query) =>
      encodeReply(query, { answers: [{ name: NAME, type, data }] })
    );
    const finding = judgeName({ replies }, addresses);
    return finding === undefined ? "" : lineOf(finding);
  };
  for (
    const [type, own, other] of [
      ["A", "198.51.100.1", "198.51.100.2"],
      ["AAAA", "2001:db8::1", "2001:db8::2"],
    ] as const
  ) {
    const expected = `warning www.example.com. is at ${own}, which is this machine: from other`;
    assertEquals(judge(type, own).slice(0, expected.length), expected);
    assertEquals(judge(type, other), "");
  }
  assertEquals(judgeName({ replies: [undefined] }, addresses), undefined);
});

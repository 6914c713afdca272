/** Where connections lead, read from what conntrack lists. */
import { assertEquals } from "@std/assert";
import { addressToText } from "../../lib/address.ts";
import { ConnectionReader } from "../../lib/nft/connections.ts";

const LISTED = `tcp      6 117 TIME_WAIT src=192.0.2.2 dst=198.18.0.1 sport=4 dport=80 ` +
  `src=203.0.113.1 dst=198.51.100.1 sport=80 dport=4 [ASSURED] mark=0 use=1
udp      17 24 src=2001:db8::1 dst=2001:2::1 sport=5 dport=9 [UNREPLIED] ` +
  `src=2001:db8::9 dst=2001:db8::1 sport=9 dport=5 mark=0 use=1
icmp     1 29 src=192.0.2.2 dst=198.18.0.2 type=8 code=0 id=7 ` +
  `src=198.18.0.2 dst=192.0.2.2 type=0 code=0 id=7 mark=0 use=1
udp      17 59 src=192.0.2.9 dst=198.18.0.7 sport=9 dport=9 zone-orig=5 [UNREPLIED] ` +
  `src=10.0.0.5 dst=192.0.2.9 sport=9 dport=441 mark=0 secctx=null use=1
`;

const PAIRS = [
  "198.18.0.1 203.0.113.1",
  "2001:2::1 2001:db8::9",
  "198.18.0.2 198.18.0.2",
  "198.18.0.7 10.0.0.5",
];

function read(text: string, pieceLength = 1_000): string[] {
  const pairs: string[] = [];
  const reader = new ConnectionReader((...both) => pairs.push(both.map(addressToText).join(" ")));
  const bytes = new TextEncoder().encode(text);
  for (let i = 0; i < bytes.length; i += pieceLength) {
    reader.push(bytes.subarray(i, i + pieceLength));
  }
  return pairs;
}

Deno.test("ConnectionReader reads where connections lead, when they are translated or not", () => {
  for (const length of [1_000, 1, 7, 64]) assertEquals(read(LISTED, length), PAIRS, `${length}`);
});

Deno.test("ConnectionReader leaves a line out, when it does not name both directions", () => {
  for (
    const line of [
      ...[
        "",
        "\n\n",
        "udp 17 29\n",
        "src=192.0.2.2 dst=198.18.0.1\n",
        "dst=198.18.0.1 dst=192.0.2.1\n",
      ],
      "src=1.2.3.4 dst=example.com src=203.0.113.1\n",
      "src=1.2.3.4 dst=198.18.0.1 src=2001:db8::1\n",
      `src=1.2.3.4 dst=198.18.0.1 src=${"9".repeat(99)}\n`,
    ]
  ) assertEquals(read(line + LISTED), PAIRS, line);
});

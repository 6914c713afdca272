/** All that is judged of the machine around, in its order. */
import { assertEquals } from "@std/assert";
import { judgeSurroundings } from "../../lib/check/surroundings.ts";
import { config } from "./support.ts";

const SETTINGS = `/proc/sys/net/ipv4/conf/all/forwarding:1
/proc/sys/net/ipv6/conf/all/forwarding:1
`;
const ADDRESSES = "2: lan0    inet 192.168.1.1/24 scope global lan0\\       valid_lft forever\n";

Deno.test("judgeSurroundings() looks at everything once, when all of it could be seen", () => {
  const text = (text: string) => ({ text });
  const seen = {
    addresses: text(ADDRESSES),
    routes: text(""),
    rules: text(""),
    settings: text(SETTINGS),
  };
  const subjects = (host: string) =>
    judgeSurroundings(config({ "--host": host }), seen)
      .map(({ subject, level }) => `${subject} ${level}`);
  assertEquals(subjects("192.168.1.1"), ["forwarding ok", "rp_filter ok", "overlap ok"]);
  assertEquals(subjects("0.0.0.0").at(-1), "listener ok");
});

Deno.test("judgeSurroundings() says once what it could not see, when it saw nothing", () => {
  const blind = { problem: "not there" };
  const seen = { addresses: blind, routes: blind, rules: blind, settings: blind };
  const findings = judgeSurroundings(config(), seen);
  assertEquals(findings.map(({ subject }) => subject), ["forwarding", "overlap"]);
  assertEquals(findings.every(({ isUnseen }) => isUnseen), true);
});

/** What of a configuration must go together, and how a text from outside stands in a line. */
import { assertEquals, assertThrows } from "@std/assert";
import { parseAddress, parsePrefix } from "../lib/address.ts";
import { checkTogether, type Config, type Endpoint, quote, UsageError } from "../lib/config.ts";

const VALID: Config = {
  listen: endpoint("192.0.2.53"),
  upstream: endpoint("192.0.2.1"),
  prefixes: { 4: parsePrefix("198.18.0.0/15", 4), 6: parsePrefix("2001:2::/48", 6) },
  domains: [],
  domainFiles: [],
  domainFileStrict: false,
  natTtl: 120,
  natMaxTtl: 0,
  poolKey: "dotp",
  poolFull: "servfail",
  privateReals: "map",
  engine: "auto",
  table: "dotp",
  rulesFile: undefined,
  logLevel: "info",
  logFormat: "text",
  daemonize: false,
  pidFile: undefined,
};

function endpoint(host: string, port = 53): Endpoint {
  return { host: parseAddress(host), port };
}

/** What is other than in `VALID`, and what is said of it; undefined where all is well. */
const CASES: readonly (readonly [Partial<Config>, string | undefined])[] = [
  [{}, undefined],
  [{ listen: endpoint("0.0.0.0"), prefixes: whole() }, "--upstream-host 192.0.2.1: it lies in"],
  [
    { listen: endpoint("0.0.0.0"), upstream: endpoint("2001:db8::1"), prefixes: whole() },
    undefined,
  ],
  [{ upstream: endpoint("0.0.0.0") }, "--upstream-host 0.0.0.0: it must be the address of one"],
  [{ upstream: endpoint("::") }, "--upstream-host ::: it must be the address of one server"],
  [{ upstream: endpoint("192.0.2.53") }, "--upstream-host 192.0.2.53: dotp itself would listen"],
  [{ upstream: endpoint("192.0.2.53", 54) }, undefined],
  [{ listen: endpoint("198.19.255.255") }, "--host 198.19.255.255: it lies in the prefix of"],
  [{ listen: endpoint("198.20.0.0") }, undefined],
  [{ listen: endpoint("2001:2::1") }, "--host 2001:2::1: it lies in the prefix of the fake"],
  [{ upstream: endpoint("198.18.0.1") }, "--upstream-host 198.18.0.1: it lies in the prefix of"],
  [{ domainFiles: ["/a", "b"] }, '--domain-file "b": give an absolute path'],
  [{ domainFiles: ["/a", "/b"], domainFileStrict: true }, undefined],
  [{ domainFileStrict: true }, "--domain-file-strict goes with --domain-file: give both or none"],
  [{ rulesFile: "/etc/dotp/rules.nft" }, undefined],
  [{ rulesFile: "rules.nft" }, '--rules-file "rules.nft": give an absolute path'],
  [{ pidFile: "/run/dotp.pid" }, "--pid-file goes with --daemonize: give both or none"],
  [{ pidFile: "/run/dotp.pid", daemonize: true }, undefined],
  [{ pidFile: "dotp.pid", daemonize: true }, '--pid-file "dotp.pid": give an absolute path'],
];

function whole(): Config["prefixes"] {
  return { 4: parsePrefix("0.0.0.0/0", 4), 6: parsePrefix("2001:2::/48", 6) };
}

Deno.test("checkTogether() names what does not go together, when each is valid by itself", () => {
  for (const [other, expected] of CASES) {
    const config = { ...VALID, ...other };
    if (expected === undefined) checkTogether(config);
    else assertThrows(() => checkTogether(config), UsageError, expected);
  }
});

Deno.test("quote() keeps a text in one line, when it holds controls and quotes", () => {
  assertEquals(quote('a"\n\u001b'), '"a\\"\\n\\u001b"');
});

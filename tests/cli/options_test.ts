/** The tables of options and commands, of which parsing, usage, completions and manual are made. */
import { assert } from "@std/assert";
import { OPTIONS } from "../../lib/cli/options.ts";

Deno.test("OPTIONS has every option that was ever promised, when it is compared with the list", () => {
  const options = OPTIONS.map(({ name, short }) => short === undefined ? name : `${short} ${name}`);
  for (
    const option of [
      "4 ipv4-prefix",
      "6 ipv6-prefix",
      "H host",
      "d domain",
      "daemonize",
      "h help",
      "log-format",
      "log-level",
      "nat-ttl",
      "p port",
      "pid-file",
      "table",
      "upstream-host",
      "upstream-port",
      "version",
    ]
  ) assert(options.includes(option), option);
});

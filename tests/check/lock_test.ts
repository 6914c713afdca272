/** The lock on a table: where it is, who has it, and what is said of that. */
import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import { addressToText, parseAddress } from "../../lib/address.ts";
import {
  holdersOf,
  isOwnLock,
  isTakenBy,
  judgeLock,
  LOCK_PORTS,
  lockHost,
} from "../../lib/check/lock.ts";
import { readHolders, type Taken } from "../../lib/check/port.ts";
import { holds } from "../support/property.ts";
import { config, lineOf } from "./support.ts";

const [PORT] = LOCK_PORTS;
const LOCK = { host: lockHost("dotp"), port: PORT };
const ADDRESS = addressToText(LOCK.host.bytes);

/** What `ss` lists: sockets by address, the process where it may be seen. */
function takenBy(...sockets: [address: string, name?: string, id?: number][]): Taken {
  const text = sockets.map(([address, name, id]) => {
    const users = name === undefined ? "" : ` users:(("${name}",pid=${id},fd=9))`;
    return `UNCONN 0 0 ${address}:${PORT} 0.0.0.0:*${users}\n`;
  }).join("");
  return { holders: readHolders({ text }, LOCK), running: new Map() };
}

Deno.test("lockHost() is the same for a table, and none that something else uses, for any name", () => {
  assertEquals(ADDRESS, addressToText(lockHost("dotp").bytes));
  assertNotEquals(ADDRESS, addressToText(lockHost("dotp2").bytes));
  holds(
    "lockHost",
    fc.property(fc.string({ unit: "grapheme" }), (table) => {
      const { family, bytes } = lockHost(table);
      assertEquals([family, bytes.length, bytes[0]], [4, 4, 127]);
      assert(bytes[1] !== 0 && bytes[1] !== 255);
    }),
  );
});

Deno.test("lockHost() differs from table to table, when there are a thousand", () => {
  const hosts = Array.from({ length: 1_000 }, (_, i) => addressToText(lockHost(`t${i}`).bytes));
  assertEquals(new Set(hosts).size, 1_000);
});

Deno.test("LOCK_PORTS are a privileged one and one that Linux gives to nobody", () => {
  const [privileged, other] = LOCK_PORTS;
  assert(privileged < 512 && other > 60_999);
});

Deno.test("isTakenBy() is true, when the listener has the place of the lock itself", () => {
  for (
    const [host, port, expected] of [
      ["0.0.0.0", PORT, true],
      ["::", PORT, true],
      [ADDRESS, PORT, true],
      ["127.0.0.1", PORT, false],
      ["0.0.0.0", PORT + 1, false],
      [ADDRESS, 53, false],
    ] as const
  ) {
    assertEquals(isTakenBy({ host: parseAddress(host), port }, LOCK), expected, `${host} ${port}`);
  }
});

Deno.test("holdersOf() finds who is in the way, when other tables have locks too", () => {
  const found = (...sockets: Parameters<typeof takenBy>) => {
    return holdersOf(LOCK, takenBy(...sockets)).map(({ address }) => address);
  };
  assertEquals(found(["127.9.9.9", "deno", 1]), []);
  assertEquals(found(["127.9.9.9", "deno", 1], [ADDRESS, "deno", 2]), [ADDRESS]);
  assertEquals(found(["0.0.0.0", "deno", 1]), ["0.0.0.0"]);
  assertEquals(found(["*"]), ["*"]);
});

Deno.test("judgeLock() names who has the table, as far as that may be seen", () => {
  const mine = config();
  const first = config({ "--host": "192.0.2.9", "--port": "5300" });
  const running = new Map([[812, first]]);
  for (
    const [taken, expected] of [
      [
        { ...takenBy([ADDRESS, "deno", 812]), running },
        /^error --table dotp: another dotp has it, process 812, listening on 192\.0\.2\.9 port 5300: end/,
      ],
      [
        takenBy([ADDRESS, "nc", 7]),
        /: nc, process 7, has the place of its lock, UDP 127\..* port 40: end/,
      ],
      [takenBy([ADDRESS]), /another dotp has it, as UDP 127\..* port 40 is taken: .*root can see/],
      [takenBy(), /another dotp has it, as UDP .* is taken/],
      [{ ...takenBy(), problem: "ss is not there" }, /is taken: .*; ss is not there$/],
    ] as const
  ) {
    assertMatch(lineOf(judgeLock(mine, LOCK, taken)), expected);
  }
});

Deno.test("isOwnLock() is true, when the dotp that has it has the same listener", () => {
  const taken = takenBy([ADDRESS, "deno", 812]);
  const runs = (...other: Parameters<typeof config>) => {
    return isOwnLock(config(), LOCK, { ...taken, running: new Map([[812, config(...other)]]) });
  };
  assert(runs());
  assert(runs({ "--nat-ttl": "7" }));
  assert(!runs({ "--port": "5300" }));
  assert(!isOwnLock(config(), LOCK, taken));
});

Deno.test("isOwnLock() goes by what dotps were told, when nobody may see who has it", () => {
  const taken = takenBy([ADDRESS]);
  const runs = (...other: Parameters<typeof config>) => {
    return isOwnLock(config(), LOCK, { ...taken, running: new Map([[9, config(...other)]]) });
  };
  assert(runs());
  assert(!runs({ "--port": "5300" }));
  assert(!isOwnLock(config(), LOCK, taken));
});

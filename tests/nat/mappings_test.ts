/** Both IP versions as one: whatever is done with a lease reaches the table that has it. */
import { assertEquals } from "@std/assert";
import { makeNat, obtain } from "../support/nat.ts";

const TTL_MS = 1_000;
const QUARANTINE_MS = 300;

Deno.test("Mappings counts both IP versions, when they are active and when they are quarantined", () => {
  const { mappings, tables } = makeNat({ ttlMs: TTL_MS, quarantineMs: QUARANTINE_MS });
  assertEquals([mappings.size, mappings.isEmpty], [0, true]);
  assertEquals([mappings.of(4), mappings.of(6)], [tables[4], tables[6]]);
  obtain(tables[4], "192.0.2.1", 0);
  obtain(tables[6], "2001:db8::1", 5);
  assertEquals([mappings.size, mappings.isEmpty], [2, false]);
  assertEquals(mappings.expire(4 + TTL_MS), 1);
  assertEquals([mappings.size, mappings.isEmpty], [1, false]);
  assertEquals(mappings.expire(5 + TTL_MS), 1);
  assertEquals([mappings.size, mappings.isEmpty], [0, false]);
});

Deno.test("Mappings has the earliest of all deadlines, when both tables have some", () => {
  const { mappings, tables } = makeNat({ ttlMs: TTL_MS });
  assertEquals([mappings.nextExpiryMs, mappings.nextDeadlineMs], [Infinity, Infinity]);
  obtain(tables[6], "2001:db8::1", 3);
  obtain(tables[4], "192.0.2.1", 5);
  assertEquals([mappings.nextExpiryMs, mappings.nextDeadlineMs], [3 + TTL_MS, 3 + TTL_MS]);
  // The kernel's own timeout counts as well, whichever table has it.
  tables[4].expectTimeout(500);
  obtain(tables[4], "192.0.2.1", 5);
  assertEquals([mappings.nextExpiryMs, mappings.nextDeadlineMs], [3 + TTL_MS, 205]);
  mappings.renew(205);
  assertEquals(mappings.nextDeadlineMs, 405);
});

Deno.test("Mappings finds the mapping of a lease, when it is in either table", () => {
  for (const [family, real, other] of [[4, "192.0.2.1", 6], [6, "2001:db8::1", 4]] as const) {
    const { mappings, tables, log } = makeNat({ ttlMs: TTL_MS });
    obtain(tables[other], other === 4 ? "192.0.2.9" : "2001:db8::9", 0);
    obtain(tables[family], real, 0);
    const lease = log.revision;
    assertEquals([mappings.holds(lease), mappings.holds(lease + 1)], [true, false]);
    mappings.prolong(lease, 10);
    assertEquals([tables[4].nextExpiryMs, tables[6].nextExpiryMs].sort(), [TTL_MS, 10 + TTL_MS]);
    assertEquals([mappings.drop(lease), mappings.drop(lease), mappings.holds(lease)], [
      true,
      false,
      false,
    ]);
    assertEquals([tables[family].quarantined, tables[other].size], [1, 1]);
  }
});

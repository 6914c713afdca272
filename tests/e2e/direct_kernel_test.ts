/**
 * The direct kernel against the real one, through the interface that the core sees: what is committed is
 * there and is read back, refusals have their reasons, connections are found and deleted, and what
 * others change is told.
 */

import { assert, assertEquals } from "@std/assert";
import {
  addressToText,
  FAMILIES,
  type Family,
  parseAddress,
  parsePrefix,
} from "../../lib/address.ts";
import { DirectKernel } from "../../lib/io/direct/kernel.ts";
import { Libc } from "../../lib/io/direct/libc.ts";
import type { Change } from "../../lib/nat/changes.ts";
import { mustRun } from "../support/run.ts";

const RULES = new URL("../../rules.nft", import.meta.url);
const PREFIXES = { 4: parsePrefix("198.18.0.0/15", 4), 6: parsePrefix("2001:2::/48", 6) } as const;
/** Whose place the table of the rules gets here. */
const TABLE = "direct_test";

/** A fake and a real of each IP version, by number. */
const ADDRESSES: Readonly<Record<Family, (n: number) => readonly [fake: string, real: string]>> = {
  4: (n) => [`198.18.${n >> 8}.${n & 255}`, `203.0.${n >> 8}.${n & 255}`],
  6: (n) => [`2001:2::${n.toString(16)}`, `2001:db8::${n.toString(16)}`],
};

const libc = Libc.open();

function change(
  kind: Change["kind"],
  family: Family,
  n: number,
  more: Partial<Change> = {},
): Change {
  const [fake, real] = ADDRESSES[family](n).map((text) => parseAddress(text).bytes);
  return { kind, family, fake: fake!, real: real!, revision: n, ...more };
}

/** Runs a test with the table of the rules, under another name. */
function withKernel(
  test: (kernel: DirectKernel, told: () => number) => Promise<void>,
): () => Promise<void> {
  return async () => {
    const rules = (await Deno.readTextFile(RULES)).replaceAll("inet dotp", `inet ${TABLE}`);
    await mustRun(["nft", "-f", "-"], { stdin: rules });
    const breathe = () => new Promise<void>((resolve) => setTimeout(resolve));
    let told = 0;
    const loadRules = () => Promise.reject(new Error("there is no rules file"));
    const kernel = new DirectKernel({
      ...{ libc, table: TABLE, prefixes: PREFIXES },
      ...{ breathe, loadRules },
    });
    kernel.onForeign = () => told++;
    try {
      await test(kernel, () => (kernel.watch.onReadable(), told));
    } finally {
      kernel.close();
      await mustRun(["nft", `table inet ${TABLE}; delete table inet ${TABLE}`]);
    }
  };
}

async function read(kernel: DirectKernel, family: Family) {
  const result = await kernel.read(family);
  if (result.kind !== "done") throw new Error(result.detail);
  const { pairs, reals, timeoutS } = result.value;
  return {
    pairs: Array.from(pairs, ({ fake, real }) => `${addressToText(fake)} ${addressToText(real)}`),
    reals: Array.from(reals, addressToText),
    ages: Array.from({ length: pairs.size }, (_, n) => pairs.ageS(n)),
    timeoutS,
  };
}

Deno.test(
  "commit() makes all changes in their order, when mappings of both IP versions come, stay and go",
  withKernel(async (kernel) => {
    const both = (kind: Change["kind"], n: number) => FAMILIES.map((f) => change(kind, f, n));
    assertEquals(kernel.commit([...both("add", 1), ...both("add", 2)]), { kind: "done" });
    assertEquals(kernel.commit([...both("delete", 1), ...both("renew", 2), ...both("add", 3)]), {
      kind: "done",
    });
    for (const family of FAMILIES) {
      const { pairs, reals, timeoutS, ages } = await read(kernel, family);
      const [two, three] = [ADDRESSES[family](2), ADDRESSES[family](3)];
      assertEquals(pairs.sort(), [two.join(" "), three.join(" ")]);
      assertEquals(reals.sort(), [two[1], three[1]]);
      assertEquals(timeoutS, 86_400);
      assert(ages.every((age) => age >= 0 && age < 60), ages.join());
    }
    // What a batch adds and deletes again is nothing.
    assertEquals(kernel.commit([...both("add", 9), ...both("delete", 9)]), { kind: "done" });
    assertEquals((await read(kernel, 4)).pairs.length, 2);
    // Half of a mapping.
    assertEquals(kernel.commit([change("delete", 4, 2, { part: "set" })]), { kind: "done" });
    assertEquals((await read(kernel, 4)).reals, [ADDRESSES[4](3)[1]]);
  }),
);

Deno.test(
  "a renewed element lives longer, when its time had begun to run",
  withKernel(async (kernel) => {
    kernel.commit([change("add", 4, 1), change("add", 4, 2)]);
    // The kernel counts lifetimes in ticks of some milliseconds.
    const olderThan = async (seconds: number) => {
      for (;;) {
        const { ages } = await read(kernel, 4);
        if (ages.every((age) => age > seconds)) return;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await olderThan(0.2);
    kernel.commit([change("renew", 4, 1)]);
    const { pairs, ages } = await read(kernel, 4);
    const ageOf = (n: number) => ages[pairs.indexOf(ADDRESSES[4](n).join(" "))]!;
    assert(ageOf(1) < ageOf(2), `${ageOf(1)} and ${ageOf(2)}`);
  }),
);

Deno.test(
  "commit() says why and takes nothing, when the kernel refuses",
  withKernel(async (kernel) => {
    kernel.commit([change("add", 4, 1)]);
    const other = { real: parseAddress("203.0.113.9").bytes };
    assertEquals(kernel.commit([change("add", 6, 1), change("add", 4, 1, other)]), {
      kind: "refused",
      reason: "exists",
      detail: "cannot add 198.18.0.1 to nat_map: it is there with another value",
    });
    assertEquals(kernel.commit([change("add", 6, 1), change("delete", 6, 2)]), {
      kind: "refused",
      reason: "missing",
      detail: "cannot delete 2001:2::2 from nat_map6: it is not there",
    });
    assertEquals((await read(kernel, 6)).pairs, []);
    await mustRun(["nft", `delete table inet ${TABLE}`]);
    assertEquals(kernel.commit([change("add", 4, 2)]), {
      kind: "refused",
      reason: "missing",
      detail: `a set of table inet ${TABLE} is missing`,
    });
    assertEquals((await kernel.read(4)).kind, "refused");
    assert(kernel.probe()?.includes("missing"), kernel.probe());
  }),
);

Deno.test(
  "probe() leaves nothing behind, when the table can be written to",
  withKernel(async (kernel) => {
    assertEquals(kernel.probe(), undefined);
    assertEquals(kernel.probeConnections(), undefined);
    for (const family of FAMILIES) assertEquals((await read(kernel, family)).pairs, []);
  }),
);

Deno.test(
  "read() holds all, when there are many and other tables change meanwhile",
  withKernel(async (kernel) => {
    for (let from = 0; from < 20_000; from += 500) {
      const changes = Array.from({ length: 500 }, (_, i) => change("add", 6, from + i));
      assertEquals(kernel.commit(changes), { kind: "done" });
    }
    let isOver = false;
    const meddling = (async () => {
      while (!isOver) {
        await mustRun(["nft", "add table inet direct_other; delete table inet direct_other"]);
      }
    })();
    const { pairs, reals } = await read(kernel, 6).finally(() => isOver = true);
    await meddling;
    assertEquals([new Set(pairs).size, pairs.length, reals.length], [20_000, 20_000, 20_000]);
  }),
);

Deno.test(
  "onForeign() is told of others alone, when they and dotp change the sets",
  withKernel(async (kernel, told) => {
    kernel.commit([change("add", 4, 1), change("add", 6, 1)]);
    kernel.commit([change("renew", 4, 1)]);
    assertEquals(told(), 0);
    await mustRun(["nft", `add element inet ${TABLE} nat_seen { 198.18.0.1 }`]);
    await mustRun(["nft", `add table inet direct_other; delete table inet direct_other`]);
    assertEquals(told(), 0);
    await mustRun(["nft", `delete element inet ${TABLE} nat_map { 198.18.0.1 }`]);
    assertEquals(told(), 1);
    await mustRun(["nft", `flush set inet ${TABLE} nat_addr6`]);
    assertEquals(told(), 2);
    await mustRun(["nft", `delete table inet ${TABLE}`]);
    assertEquals(told(), 3);
  }),
);

Deno.test(
  "disconnect() deletes what leads from a fake to one real, when others lead elsewhere",
  withKernel(async (kernel) => {
    await mustRun(["ip", "-batch", "-"], {
      stdin: [
        "link add dk0 type veth peer name dk1",
        ...["link set dk0 up", "link set dk1 up", "link set lo up"],
        ...["addr add 192.0.2.1/24 dev dk0", "addr add 2001:db8:1::1/64 dev dk0 nodad"],
        ...["route add 198.18.0.0/15 dev dk0", "route add 2001:2::/48 dev dk0"],
        ...["route add 203.0.0.0/16 dev dk0", "route add 2001:db8::/64 dev dk0"],
      ].join("\n"),
    });
    try {
      for (const family of FAMILIES) {
        const source = family === 4 ? "192.0.2.1" : "2001:db8:1::1";
        const talk = async (n: number) => {
          const socket = Deno.listenDatagram({ transport: "udp", hostname: source, port: 0 });
          const [hostname] = ADDRESSES[family](n);
          // That there is nobody is no news: the entry is made when the packet leaves.
          await socket.send(Uint8Array.of(1), { transport: "udp", hostname, port: 5_353 })
            .catch(() => {});
          socket.close();
        };
        const connections = async () => {
          const result = await kernel.readConnections(family);
          if (result.kind !== "done") throw new Error(result.detail);
          return Array.from(
            result.value,
            ({ fake, real }) => `${addressToText(fake)} ${addressToText(real)}`,
          ).sort();
        };
        kernel.commit([change("add", family, 1), change("add", family, 2)]);
        for (const n of [1, 1, 2]) await talk(n);
        const [one, two] = [ADDRESSES[family](1), ADDRESSES[family](2)];
        assertEquals(await connections(), [one.join(" "), two.join(" ")]);
        const { fake, real } = change("add", family, 1);
        const elsewhere = { fake, real: change("add", family, 2).real };
        assertEquals(await kernel.disconnect([elsewhere]), { kind: "done" });
        assertEquals((await connections()).length, 2);
        assertEquals(await kernel.disconnect([{ fake, real }]), { kind: "done" });
        assertEquals(await connections(), [two.join(" ")]);
      }
    } finally {
      await mustRun(["ip", "link", "delete", "dk0"]);
    }
  }),
);

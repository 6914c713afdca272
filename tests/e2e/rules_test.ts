/**
 * rules.nft by itself, without dotp: the maps are filled by hand. What is translated and what is
 * not, whose address the far side sees, how a fake without a mapping is refused, and what loading
 * the file again does.
 */

import { assert, assertEquals } from "@std/assert";
import { MAPPINGS_MAX } from "../../lib/nat/table.ts";
import { Address, Lab, real4, real6, type Where } from "../lab/lab.ts";
import { rulesWith } from "./recipes.ts";

const FAKES = ["198.18.0.1", "2001:2::1"];
const UNMAPPED = ["198.19.255.254", "2001:2::ffff"];

/** A refusal needs no time-out; two busy cores need some time. */
const AT_ONCE_MS = 500;

const OLDER = new URL("older.nft", import.meta.url).pathname;

let lab: Lab;

Deno.test.beforeAll(async () => {
  lab = await Lab.create();
  await lab.startWebServer();
  await nft(
    `add element inet dotp nat_map { ${FAKES[0]} : ${real4(1)} }`,
    `add element inet dotp nat_addr { ${real4(1)} }`,
    `add element inet dotp nat_map6 { ${FAKES[1]} : ${real6(1)} }`,
    `add element inet dotp nat_addr6 { ${real6(1)} }`,
  );
});

Deno.test.afterAll(() => lab[Symbol.asyncDispose]());

for (
  const [where, fake, at, from] of [
    ["client", FAKES[0], real4(1), Address.gatewayOutside4],
    ["client", FAKES[1], real6(1), Address.gatewayOutside6],
    ["gateway", FAKES[0], real4(1), Address.gatewayOutside4],
    ["gateway", FAKES[1], real6(1), Address.gatewayOutside6],
  ] as const
) {
  Deno.test(`rules.nft leads the ${where} to ${at}, when it goes to ${fake}`, async () => {
    const { ms: _, ...page } = await lab.fetch(fake ?? "", where);
    assertEquals(page, { at, from });
    assert(await lab.echo(fake ?? "", where));
  });
}

for (const [real, from] of [[real4(1), Address.client4], [real6(1), Address.client6]] as const) {
  Deno.test(`rules.nft leaves the source alone, when ${real} is asked directly`, async () => {
    const { ms: _, ...page } = await lab.fetch(real);
    assertEquals(page, { at: real, from });
  });
}

for (const where of ["client", "gateway"] as const) {
  for (const fake of UNMAPPED) {
    Deno.test(`rules.nft resets TCP from the ${where}, when ${fake} has no mapping`, async () => {
      const { error, ms } = await lab.fetch(fake, where);
      assertEquals(error, "ConnectionRefused");
      assert(ms < AT_ONCE_MS, `${ms} ms`);
    });

    Deno.test(`rules.nft prohibits UDP from the ${where}, when ${fake} has no mapping`, async () => {
      const counter = fake.includes(":") ? "prohibited6" : "prohibited4";
      const before = (await lab.watched(where))[counter] ?? 0;
      // The gateway's own socket is told at once that it may not send.
      await lab.echo(fake, where, 50).catch(() => {});
      const seen = await lab.until(
        "the refusal",
        async () => (await lab.watched(where))[counter] ?? 0,
        (count) => count > before,
      );
      assertEquals(seen, before + 1);
    });
  }
}

Deno.test("rules.nft lets no packet to a fake out, when all of the above has run", async () => {
  assertEquals((await lab.watched("server"))["to_fake"], 0);
});

Deno.test("rules.nft takes a flow, when its mapping comes after its first packet", async () => {
  const fake = "198.18.0.9";
  const from = { host: Address.client4, port: 40_000 };
  const params = { to: { host: fake, port: 7 }, hex: "01", from };
  assertEquals(await lab.client.exchange({ ...params, timeoutMs: 50 }), undefined);
  await nft(`add element inet dotp nat_map { ${fake} : ${real4(1)} }`);
  const back = await lab.client.exchange({ ...params, timeoutMs: 2_000 });
  assertEquals(back?.from.host, fake);
});

Deno.test("rules.nft keeps an established connection, when its mapping goes", async () => {
  const fake = "198.18.0.10";
  const from = { host: Address.client4, port: 40_001 };
  const params = { to: { host: fake, port: 7 }, hex: "02", from, timeoutMs: 2_000 };
  await nft(`add element inet dotp nat_map { ${fake} : ${real4(1)} }`);
  assertEquals((await lab.client.exchange(params))?.from.host, fake);
  await nft(`delete element inet dotp nat_map { ${fake} : ${real4(1)} }`);
  assertEquals((await lab.client.exchange(params))?.from.host, fake);
});

Deno.test("rules.nft brings the reply back, when the real is in the client's own LAN", async () => {
  await lab.client.call("startWeb", { port: 80, echo: [] });
  await nft(
    `add element inet dotp nat_map { 198.18.0.11 : ${Address.client4} }`,
    `add element inet dotp nat_addr { ${Address.client4} }`,
    `add element inet dotp nat_map6 { 2001:2::11 : ${Address.client6} }`,
    `add element inet dotp nat_addr6 { ${Address.client6} }`,
  );
  const [page4, page6] = [await lab.fetch("198.18.0.11"), await lab.fetch("2001:2::11")];
  assertEquals([page4.at, page4.from], [Address.client4, Address.gateway4]);
  assertEquals([page6.at, page6.from], [Address.client6, Address.gateway6]);
});

const OWN = [["198.18.0.12", Address.gatewayOutside4], ["2001:2::12", Address.gatewayOutside6]];

/** Has fakes stand for the gateway's own addresses. */
async function mapToGateway(): Promise<void> {
  const [[fake4, real4] = [], [fake6, real6] = []] = OWN;
  await nft(
    `add element inet dotp nat_map { ${fake4} : ${real4} }`,
    `add element inet dotp nat_map6 { ${fake6} : ${real6} }`,
  );
}

Deno.test("rules.nft leads the gateway to itself and nobody else, when the real is its own address", async () => {
  await lab.gateway.call("startWeb", { port: 80, echo: [] });
  await mapToGateway();
  for (const [fake = "", real = ""] of OWN) {
    assertEquals((await lab.fetch(fake, "gateway")).at, real);
    // As a firewall that accepts what was translated.
    const { error, ms } = await lab.fetch(fake);
    assertEquals(error, "ConnectionRefused");
    assert(ms < AT_ONCE_MS, `${ms} ms`);
    const counter = fake.includes(":") ? "prohibited6" : "prohibited4";
    const { [counter]: before = 0 } = await lab.watched("client");
    assertEquals(await lab.echo(fake, "client", 50), false);
    const count = async () => (await lab.watched("client"))[counter] ?? 0;
    await lab.until("the refusal", count, (count) => count > before);
    // By its own address it is as open as ever.
    assertEquals((await lab.fetch(real)).at, real);
  }
});

Deno.test("rules.nft leads the LAN to the gateway, when the example lets it", async () => {
  await lab.gateway.exec(["nft", "-f", "-"], rulesWith("guard_input"));
  for (const [fake = "", real = ""] of OWN) assertEquals((await lab.fetch(fake)).at, real);
  await lab.loadRules();
  for (const [fake = ""] of OWN) assertEquals((await lab.fetch(fake)).error, "ConnectionRefused");
});

Deno.test("rules.nft leads past a port forward of the gateway's address, and not past one of any", async () => {
  const [fake = "", elsewhere = ""] = [OWN[0]?.[0], FAKES[0]];
  const get = (host: string) => lab.client.call("fetch", { host, port: 8080, timeoutMs: 4_000 });
  const forward = (destination: string, priority: string) =>
    lab.gateway.exec(
      ["nft", "-f", "-"],
      `table ip forwards {
        chain prerouting {
          type nat hook prerouting priority ${priority}; policy accept;
          ${destination} tcp dport 8080 dnat to ${Address.client4}:80
        }
        chain postrouting {
          type nat hook postrouting priority srcnat; policy accept;
          ip daddr ${Address.client4} masquerade
        }
      }`,
    );
  const cases = [
    [`ip daddr ${Address.gatewayOutside4}`, "dstnat", undefined],
    ["fib daddr type local", "dstnat", undefined],
    ["", "dstnat + 1", undefined],
    ["", "dstnat", Address.client4],
  ] as const;
  for (const [destination, priority, expected] of cases) {
    await forward(destination, priority);
    assertEquals((await get(Address.gatewayOutside4)).at, Address.client4);
    // A fake of the gateway's address, and one of another, at which nothing has that port.
    for (const each of [fake, elsewhere]) {
      const { at, error } = await get(each);
      assertEquals([at, error], [
        expected,
        expected === undefined ? "ConnectionRefused" : undefined,
      ]);
    }
    await nft("delete table ip forwards");
  }
});

for (
  const [example, named, what] of [
    ["only_from_lan", "lan0", "comes in on another interface"],
    ["only_to_wan", "wan0", "would go out by another interface"],
  ] as const
) {
  Deno.test(`rules.nft refuses at once what ${what}, when it is limited by ${example}`, async () => {
    for (const device of [named, "other0"]) {
      const rules = rulesWith(example).replaceAll(`{ "${named}" }`, `{ "${device}" }`);
      await lab.gateway.exec(["nft", "-f", "-"], rules);
      for (const [place, fake = ""] of FAKES.entries()) {
        const { at, error, ms } = await lab.fetch(fake);
        const expected = device === named
          ? [[real4(1), real6(1)][place], undefined]
          : [undefined, "ConnectionRefused"];
        assertEquals([at, error], expected);
        assert(ms < AT_ONCE_MS, `${ms} ms`);
        assert((await lab.fetch(fake, "gateway")).at !== undefined, "the gateway's own traffic");
      }
    }
    assertEquals((await lab.fetch(UNMAPPED[0] ?? "")).error, "ConnectionRefused");
    await lab.loadRules();
  });
}

Deno.test("rules.nft refuses for the gateway, when a fake prefix is routed to itself", async () => {
  const routes = ["198.18.0.0/15", "2001:2::/48"].map((prefix) => `local ${prefix} dev lo`);
  for (const route of routes) await lab.exec("gateway", "ip", "route", "add", ...route.split(" "));
  for (const fake of UNMAPPED) assertEquals((await lab.fetch(fake)).error, "ConnectionRefused");
  assertEquals((await lab.fetch("198.18.0.1")).at, real4(1));
  assertEquals((await lab.fetch("2001:2::1")).at, real6(1));
  for (const route of routes) await lab.exec("gateway", "ip", "route", "del", ...route.split(" "));
});

Deno.test("rules.nft keeps elements and doubles no rule, when it is loaded again", async () => {
  const list = async () => {
    const text = await lab.exec("gateway", "nft", "list", "table", "inet", "dotp");
    return text.replaceAll(/ expires \w+/g, "");
  };
  const before = await list();
  assert(before.includes(`${FAKES[0]} : ${real4(1)}`));
  await lab.loadRules();
  assertEquals(await list(), before);
});

Deno.test("rules.nft takes over the elements, when it is loaded over the table of an older one", async () => {
  const { maps, sets } = await lab.mappings();
  await nft("delete table inet dotp");
  await lab.exec("gateway", "nft", "-f", OLDER);
  const elements = [...maps].map(([fake, real]) => {
    return `add element inet dotp nat_map${fake.includes(":") ? 6 : ""} { ${fake} : ${real} }`;
  });
  const reals = [...sets].map((real) => {
    return `add element inet dotp nat_addr${real.includes(":") ? 6 : ""} { ${real} }`;
  });
  await nft(...elements, ...reals);
  assertEquals((await lab.fetch(FAKES[0] ?? "")).at, real4(1));
  await lab.loadRules();
  assertEquals(await lab.mappings(), { maps, sets });
  for (const [place, fake] of FAKES.entries()) {
    for (const where of ["client", "gateway"] satisfies Where[]) {
      assertEquals((await lab.fetch(fake, where)).at, [real4(1), real6(1)][place]);
    }
  }
  for (const [fake = ""] of OWN) assertEquals((await lab.fetch(fake)).error, "ConnectionRefused");
});

Deno.test("rules.nft holds as many mappings as dotp can make", async () => {
  const text = await lab.exec("gateway", "nft", "list", "table", "inet", "dotp");
  const sizes = [...text.matchAll(/\t(?:set|map) (nat_(?:addr|map)6?) \{\n.*\n\t\tsize (\d+)/g)];
  assertEquals(Object.fromEntries(sizes.map(([, name, size]) => [name, Number(size)])), {
    nat_addr: 2 ** (32 - 15),
    nat_map: 2 ** (32 - 15),
    nat_addr6: MAPPINGS_MAX,
    nat_map6: MAPPINGS_MAX,
  });
});

Deno.test("rules.nft loads with its examples, when they are uncommented", async () => {
  await lab.gateway.exec(["nft", "-f", "-"], rulesWith());
  const loaded = await lab.exec("gateway", "nft", "list", "table", "inet", "dotp");
  for (const chain of ["redirect_dns", "refuse_dns_encrypted", "mark_forwarded"]) {
    assert(loaded.includes(`chain ${chain} {`), chain);
  }
});

async function nft(...commands: string[]): Promise<void> {
  await lab.exec("gateway", "nft", commands.join("; "));
}

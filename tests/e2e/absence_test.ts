/**
 * While rules.nft is not loaded, after a flush or before its first load: with what README.md advises,
 * nothing that a client sends to a fake leaves the gateway, no flow is pinned to no translation, and
 * once the table is there all is as ever.
 */

import { assert, assertEquals } from "@std/assert";
import { Address, isFake, real4, real6, type Where } from "../lab/lab.ts";
import { eventually } from "../support/waiting.ts";
import { readmeScript } from "./recipes.ts";
import { address, answer, shareLab, startServers } from "./setup.ts";

const NAME = "www.example.com";

const VERSIONS = [
  { type: "A", real: real4(1), client: Address.client4 },
  { type: "AAAA", real: real6(1), client: Address.client6 },
] as const;

/** A firewall of the gateway, because of which the kernel tracks connections all the time. */
const FIREWALL = `table inet firewall {
  chain forward {
    type filter hook forward priority filter; policy accept;
    ct state established accept
  }
}`;

const lab = shareLab(async (lab) => {
  await startServers(lab);
  await lab.setScript({
    [`${NAME} A`]: answer(address(NAME, real4(1))),
    [`${NAME} AAAA`]: answer(address(NAME, real6(1))),
  });
  await lab.gateway.exec(["nft", "-f", "-"], FIREWALL);
  await lab.gateway.exec([
    "sh",
    "-ec",
    readmeScript("Fakes have no route but for the gateway's own packets."),
  ]);
});

Deno.test("the recipe keeps in what a client sends to a fake, while the table is absent", async () => {
  await using _ = await lab().startDotp();
  const fakes = await resolved();
  await lab().exec("gateway", "nft", "delete", "table", "inet", "dotp");
  for (const [place, fake] of fakes.entries()) {
    assertEquals((await lab().fetch(fake)).error, "NetworkUnreachable");
    assertEquals(await exchange(place, fake, 50), undefined);
  }
  assertEquals((await lab().watched("server"))["to_fake"], 0);
  const sent = (await lab().exec("gateway", "conntrack", "-L", "-f", "ipv4")).split("\n");
  assertEquals(sent.filter((line) => line.includes(` dst=${fakes[0]} `)), []);
  await lab().loadRules();
  await lab().mappingsBecome("restored", ({ maps }) => fakes.every((fake) => maps.has(fake)));
  for (const [place, fake] of fakes.entries()) {
    assert(await exchange(place, fake, 2_000) !== undefined, "the flow is not pinned");
  }
});

Deno.test("the recipe changes nothing, while the table is there", async () => {
  await using _ = await lab().startDotp();
  for (const [place, fake] of (await resolved()).entries()) {
    for (const where of ["client", "gateway"] satisfies Where[]) {
      assertEquals((await lab().fetch(fake, where)).at, VERSIONS[place]?.real);
      assert(await lab().echo(fake, where));
    }
  }
  for (const fake of ["198.19.255.254", "2001:2::ffff"]) {
    for (const where of ["client", "gateway"] satisfies Where[]) {
      assertEquals((await lab().fetch(fake, where)).error, "ConnectionRefused");
    }
  }
});

Deno.test("the recipe leaves no moment without the table, when all rules are loaded as one", async () => {
  await using _ = await lab().startDotp();
  const fakes = await resolved();
  const rules = new URL("../../rules.nft", import.meta.url).pathname;
  const watch = await lab().exec("gateway", "nft", "list", "table", "inet", "watch");
  for (let round = 0; round < 3; round++) {
    const all = `flush ruleset\ninclude "${rules}"\n${FIREWALL}\n${watch}`;
    const loaded = lab().gateway.exec(["nft", "-f", "-"], all);
    // The gateway's own packets would leave.
    const sent = Promise.all(
      Array.from(
        { length: 20 },
        () => lab().echo(fakes[0] ?? "", "gateway", 50).catch(() => false),
      ),
    );
    await Promise.all([loaded, sent]);
    await lab().mappingsBecome("restored", ({ maps }) => fakes.every((fake) => maps.has(fake)));
  }
  assertEquals((await lab().watched("server"))["to_fake"], 0);
});

Deno.test("dotp lets a flow of the gateway's own go on that began untranslated, when the table is back", async () => {
  await using _ = await lab().startDotp();
  const fakes = await resolved();
  await lab().exec("gateway", "nft", "delete", "table", "inet", "dotp");
  // No recipe keeps these in, and the firewall has conntrack remember them.
  for (const [place, fake] of fakes.entries()) {
    assertEquals(await exchangeOwn(place, fake, 50), undefined);
  }
  await lab().loadRules();
  await lab().mappingsBecome("restored", ({ maps }) => fakes.every((fake) => maps.has(fake)));
  for (const [place, fake] of fakes.entries()) {
    // Until conntrack has forgotten it the guard refuses it, which the sender is told.
    const ask = () => exchangeOwn(place, fake, 500).catch(() => undefined);
    await eventually(`an answer from ${fake}`, ask, (reply) => reply !== undefined);
  }
});

/** The fakes of the name, IPv4 and IPv6. */
async function resolved(): Promise<string[]> {
  const fakes = [];
  for (const { type } of VERSIONS) fakes.push(...await lab().resolve(NAME, type));
  assert(fakes.length === VERSIONS.length && fakes.every(isFake));
  return fakes;
}

/** The same from the gateway itself. */
function exchangeOwn(place: number, fake: string, timeoutMs: number) {
  const host = place === 0 ? Address.gatewayOutside4 : Address.gatewayOutside6;
  const from = { host, port: 40_031 };
  return lab().gateway.exchange({ to: { host: fake, port: 7 }, from, hex: "01", timeoutMs });
}

/** A datagram of a flow whose port does not change. */
function exchange(place: number, fake: string, timeoutMs: number) {
  const from = { host: VERSIONS[place]?.client ?? "", port: 40_030 };
  return lab().client.exchange({ to: { host: fake, port: 7 }, from, hex: "01", timeoutMs });
}

/**
 * The promise: a fake that a client has got works and leads to its real and nowhere else. What the
 * kernel holds when a reply arrives, how mappings live, expire and come back.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { encodeQuery } from "../lab/dns.ts";
import { Address, isFake, many4, many6, real4, real6 } from "../lab/lab.ts";
import { address, answer, MANY, shareLab, startServers } from "./setup.ts";

/** The shortest lifetime, for tests that wait for the end of it. */
const NAT_TTL_S = 2;
const SHORT = ["--nat-ttl", String(NAT_TTL_S)];

const lab = shareLab(startServers);

Deno.test("dotp gives each real one fake and each fake one real, whoever asks", async () => {
  await lab().setScript(MANY);
  await using _ = await lab().startDotp();
  const names = Array.from({ length: 100 }, (_, n) => `n${n + 1}.many.example.com`);
  const first = await Promise.all(names.map((name) => lab().resolve(name, "A")));
  const again = await Promise.all(
    names.map((name) => lab().resolve(name.toUpperCase().replace("N", "n"), "A")),
  );
  assertEquals(again, first);
  assertEquals(new Set(first.flat()).size, 100);
  const { maps, sets } = await lab().mappings();
  assertEquals(new Set(maps.values()), sets);
  for (const [index, [fake = ""]] of first.entries()) {
    assertEquals(maps.get(fake), many4(index + 1));
  }
  await lab().setScript({ "* *": answer(address("else.example.com", many4(1))) });
  assertEquals(await lab().resolve("else.example.com", "A"), first[0], "one real, one fake");
});

for (const [type, real] of [["A", many4], ["AAAA", many6]] as const) {
  Deno.test(`dotp replies to ${type} not before the kernel knows, under load`, async () => {
    await lab().setScript(MANY);
    await using _ = await lab().startDotp({ more: SHORT });
    const numbers = Array.from({ length: 600 }, (_, n) => 1_000 + n);
    const visits = await lab().client.call("visit", {
      to: { host: Address.gateway4, port: 53 },
      queries: numbers.map((n) => encodeQuery(`n${n}.many.example.com`, type).toHex()),
      port: 80,
      atOnce: 24,
      timeoutMs: 5_000,
    });
    for (const [index, { at, address = "", error }] of visits.entries()) {
      assertEquals([at, error], [real(numbers[index] ?? 0), undefined]);
      assert(isFake(address));
    }
  });
}

Deno.test("dotp answers SERVFAIL, when the pool is full, and serves what it has", async () => {
  await lab().setScript(MANY);
  const usual = ["-H", Address.gateway4, "-6", "2001:2::/48", "-d", "example.com", ...SHORT];
  const args = [...usual, "-4", "198.18.0.0/30", "--upstream-host", Address.upstream4];
  await using dotp = await lab().startDotp({ args });
  const fakes = [];
  for (const n of [1, 2]) fakes.push(...await lab().resolve(`n${n}.many.example.com`, "A"));
  assertEquals(fakes.toSorted(), ["198.18.0.1", "198.18.0.2"]);
  for (const n of [3, 4, 5]) {
    const { message } = await lab().query(`n${n}.many.example.com`, "A");
    assertEquals([message.rcode, message.answers], ["SERVFAIL", []]);
  }
  assertEquals(await lab().resolve("n1.many.example.com", "A"), fakes.slice(0, 1));
  assertEquals((await lab().fetch(fakes[1] ?? "")).at, many4(2));
  assert(isFake((await lab().resolve("n9.many.example.com", "AAAA"))[0] ?? ""));
  await dotp.process.line(/full/);
  assertEquals(dotp.log.filter((line) => /full/.test(line)).length, 1, dotp.log.join("\n"));
});

Deno.test("dotp takes an unused mapping out of map and set, and gives the fake again", async () => {
  const [name4, name6] = ["four.example.com", "six.example.com"];
  await lab().setScript({
    [`${name4} A`]: answer(address(name4, real4(40))),
    [`${name6} AAAA`]: answer(address(name6, real6(60))),
  });
  await using _ = await lab().startDotp({ more: SHORT });
  const [fake4 = ""] = await lab().resolve(name4, "A");
  const [fake6 = ""] = await lab().resolve(name6, "AAAA");
  const askedAt = performance.now();
  const { maps, sets } = await lab().mappings();
  assertEquals([maps.get(fake4), maps.get(fake6)], [real4(40), real6(60)]);
  assert(sets.has(real4(40)) && sets.has(real6(60)));
  await lab().mappingsBecome("expiry", (now) => !now.maps.has(fake4) && !now.maps.has(fake6));
  const ms = performance.now() - askedAt;
  assert(NAT_TTL_S * 1_000 - 100 < ms && ms < NAT_TTL_S * 1_000 + 1_500, `${ms} ms`);
  const after = await lab().mappings();
  assert(!after.sets.has(real4(40)) && !after.sets.has(real6(60)));
  assertEquals((await lab().fetch(fake4)).error, "ConnectionRefused");
  assertEquals(await lab().resolve(name4, "A"), [fake4]);
  assertEquals(await lab().resolve(name6, "AAAA"), [fake6]);
  assertEquals((await lab().fetch(fake4)).at, real4(40));
  assertEquals((await lab().fetch(fake6)).at, real6(60));
});

Deno.test("dotp keeps a mapping, as long as it is looked up", async () => {
  const [name, idle] = ["kept.example.com", "idle.example.com"];
  await lab().setScript({
    [`${name} A`]: answer(address(name, real4(41))),
    [`${idle} A`]: answer(address(idle, real4(42))),
  });
  await using _ = await lab().startDotp({ more: SHORT });
  const [fake = ""] = await lab().resolve(name, "A");
  // Each of the idle one's lives is as long as one of the other's would be.
  for (let life = 0; life < 2; life++) {
    const [idleFake = ""] = await lab().resolve(idle, "A");
    await lab().until(
      "the idle mapping's end",
      async () => {
        assertEquals(await lab().resolve(name, "A"), [fake]);
        return await lab().mappings();
      },
      ({ maps }) => {
        assertEquals(maps.get(fake), real4(41));
        return !maps.has(idleFake);
      },
    );
  }
  assertEquals((await lab().fetch(fake)).at, real4(41));
});

Deno.test("dotp keeps fakes working over a restart and gives the same ones", async () => {
  const name = "again.example.com";
  await lab().setScript({ "* A": answer(address(name, real4(43))) });
  const first = await lab().startDotp();
  const [fake = ""] = await lab().resolve(name, "A");
  await first.stop();
  assertEquals((await lab().fetch(fake)).at, real4(43), "it works while dotp is away");
  const second = await lab().startDotp();
  assertEquals((await lab().fetch(fake)).at, real4(43), "it works when dotp is back");
  assertEquals(await lab().resolve(name, "A"), [fake]);
  await second.stop("SIGKILL");
  const third = await lab().startDotp();
  assertEquals((await lab().fetch(fake)).at, real4(43), "it works when dotp has crashed");
  assertEquals(await lab().resolve(name, "A"), [fake]);
  await third.stop();
  await lab().exec("gateway", "nft", "delete", "table", "inet", "dotp");
  await lab().loadRules();
  await using _ = await lab().startDotp({ more: SHORT });
  assertEquals(await lab().resolve(name, "A"), [fake], "the kernel had forgotten");
});

Deno.test("dotp lets what it found at its start expire, when nobody asks for it", async () => {
  const name = "adopted.example.com";
  await lab().setScript({ "* A": answer(address(name, real4(44))) });
  const first = await lab().startDotp();
  const [fake = ""] = await lab().resolve(name, "A");
  await first.stop();
  await using _ = await lab().startDotp({ more: SHORT });
  assertEquals((await lab().mappings()).maps.get(fake), real4(44));
  const { sets } = await lab().mappingsBecome("expiry", ({ maps }) => !maps.has(fake));
  assert(!sets.has(real4(44)));
});

Deno.test("dotp asks and answers over IPv6, when it is told to", async () => {
  const name = "six.example.com";
  await lab().setScript({ [`${name} AAAA`]: answer(address(name, real6(6))) });
  const args = ["-H", Address.gateway6, "-4", "198.18.0.0/15", "-6", "2001:2::/48"];
  const more = ["--upstream-host", Address.upstream6, "-d", "example.com"];
  await using _ = await lab().startDotp({ args: [...args, ...more] });
  const [fake = ""] = await lab().resolve(name, "AAAA", { to: Address.gateway6 });
  assertNotEquals(fake, real6(6));
  assertEquals((await lab().fetch(fake)).at, real6(6));
  assertEquals(lab().server.queries.at(-1)?.from.host, Address.gatewayOutside6);
});

Deno.test("dotp passes or refuses private addresses, when it is told so", async () => {
  const [inside, outside] = ["inside.example.com", "outside.example.com"];
  const six = "fd00::7";
  await lab().setScript({
    [`${inside} A`]: answer(address(inside, many4(7)), address(inside, real4(45))),
    [`${inside} AAAA`]: answer(address(inside, six)),
    [`${outside} A`]: answer(address(outside, real4(46))),
  });
  {
    await using _ = await lab().startDotp({ more: ["--private-reals", "pass"] });
    const [passed, mapped = ""] = await lab().resolve(inside, "A");
    assertEquals(passed, many4(7));
    assert(isFake(mapped));
    assertEquals((await lab().fetch(mapped)).at, real4(45));
    assertEquals(await lab().resolve(inside, "AAAA"), [six]);
  }
  await using dotp = await lab().startDotp({ more: ["--private-reals", "refuse"] });
  for (const type of ["A", "AAAA"]) {
    const { message } = await lab().query(inside, type, { edns: 1232 });
    assertEquals([message.rcode, message.answers], ["NOERROR", []]);
  }
  assert(isFake((await lab().resolve(outside, "A"))[0] ?? ""));
  assert(!dotp.log.some((line) => /SERVFAIL/.test(line)), dotp.log.join("\n"));
});

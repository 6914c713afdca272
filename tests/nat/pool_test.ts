/** The walk over a prefix: every usable fake once, none of the others, the same on every run. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { contains, parsePrefix } from "../../lib/address.ts";
import { Pool, wordsOf } from "../../lib/nat/pool.ts";
import { bytesOf, KEY, textOf, words } from "../support/nat.ts";
import { holds } from "../support/property.ts";

function poolOf(text: string, key = KEY): Pool {
  return new Pool(parsePrefix(text, text.includes(":") ? 6 : 4), key);
}

/** The first `count` fakes on the walk of a real address, each taken as soon as it is given. */
function walk(pool: Pool, real: string, count: number): string[] {
  const taken = new Set<string>();
  const fake = new Uint32Array(pool.width);
  for (let i = 0; i < count; i++) {
    pool.choose(words(real), fake, (candidate) => taken.has(candidate.join()));
    taken.add(fake.join());
  }
  return Array.from(taken, (key) => textOf(Uint32Array.from(key.split(","), Number)));
}

Deno.test("Pool.capacity leaves out what is never given, when the prefix is any", () => {
  for (
    const [text, expected] of [
      ["192.0.2.0/30", 2],
      ["192.0.2.0/29", 6],
      ["192.0.2.0/24", 254],
      ["198.18.0.0/15", 131_070],
      ["0.0.0.0/0", 2 ** 32 - 2],
      ["2001:2::/64", 2 ** 64 - 1],
      ["2001:2::/48", 2 ** 64 - 1],
      ["::/0", 2 ** 64 - 1],
    ] as const
  ) assertEquals(poolOf(text).capacity, expected, text);
});

Deno.test("Pool.choose() gives each usable address once, when all others are taken", () => {
  for (const text of ["192.0.2.0/30", "192.0.2.128/29", "192.0.2.0/26", "192.0.2.0/24"]) {
    const pool = poolOf(text);
    for (const real of ["10.0.0.1", "10.0.0.2", "255.255.255.255"]) {
      const fakes = walk(pool, real, pool.capacity);
      assertEquals(fakes.length, pool.capacity, `${text} ${real}`);
      for (const fake of fakes) assert(contains(pool.prefix, bytesOf(fake)), fake);
      const base = wordsOf(pool.prefix.bytes)[0]!;
      const numbers = fakes.map((fake) => words(fake)[0]!).toSorted((a, b) => a - b);
      // Neither the network nor the broadcast address.
      assertEquals([numbers[0], numbers.at(-1)], [base + 1, base + pool.capacity]);
    }
  }
});

Deno.test("Pool.choose() does not ask about what is never given, when it walks", () => {
  const pool = poolOf("192.0.2.0/28");
  const asked: string[] = [];
  pool.choose(words("10.0.0.1"), new Uint32Array(1), (fake) => {
    asked.push(textOf(fake));
    return asked.length < pool.capacity;
  });
  assertEquals(new Set(asked).size, pool.capacity);
  assert(!asked.includes("192.0.2.0") && !asked.includes("192.0.2.15"));
});

Deno.test("Pool.choose() gives the same fake on every run, when nothing is taken", () => {
  // Not to be changed lightly: after an update users' fakes would all be others.
  for (
    const [prefix, real, expected] of [
      ["198.18.0.0/15", "192.0.2.1", "198.19.105.32"],
      ["198.18.0.0/15", "203.0.113.7", "198.18.182.48"],
      ["100.64.0.0/24", "192.0.2.1", "100.64.0.32"],
      ["2001:2::/48", "2001:db8::1", "2001:2::5403:64c9:ec7d:db4e"],
      ["fd00::/64", "2001:db8::1", "fd00::5403:64c9:ec7d:db4e"],
    ] as const
  ) assertEquals(walk(poolOf(prefix), real, 1), [expected], `${prefix} ${real}`);
});

Deno.test("Pool.choose() walks the same with the same key only, when pools are several", () => {
  const other = KEY.with(15, 1);
  const reals = Array.from({ length: 50 }, (_, i) => `10.0.0.${i}`);
  for (
    const [prefix, all] of [
      ["198.18.0.0/15", reals],
      ["2001:2::/48", reals.map((_, i) => `2001:db8::${i + 1}`)],
    ] as const
  ) {
    const fakes = (key: typeof KEY) => all.map((real) => walk(poolOf(prefix, key), real, 3).join());
    const [one, twin, stranger] = [fakes(KEY), fakes(KEY.slice()), fakes(other)];
    assertEquals(one, twin, prefix);
    // By chance one of 131,070 may be the same; all three of a walk are not.
    assertEquals(one.filter((walked, i) => walked === stranger[i]), [], prefix);
  }
});

Deno.test("Pool.choose() steps by the key too, when two reals begin at one fake", () => {
  const pool = poolOf("192.0.2.0/24");
  const walks = new Map<string, Set<string>>();
  for (let n = 0; n < 256; n++) {
    const [first = "", second = ""] = walk(pool, `10.0.1.${n}`, 2);
    walks.set(first, (walks.get(first) ?? new Set()).add(second));
  }
  assert([...walks.values()].some((seconds) => seconds.size > 1));
});

Deno.test("Pool throws a RangeError, when its key is too short or too long", () => {
  for (const length of [0, 15, 17]) {
    assertThrows(() => poolOf("192.0.2.0/24", new Uint8Array(length)), RangeError, `${length}`);
  }
});

Deno.test("Pool.choose() gives distinct fakes in the prefix, when IPv6 reals walk far", () => {
  for (const text of ["2001:2::/48", "2001:2::/64", "fd00::/8", "::/0"]) {
    const pool = poolOf(text);
    const fakes = walk(pool, "2001:db8::1", 200);
    assertEquals(fakes.length, 200);
    for (const fake of fakes) assert(contains(pool.prefix, bytesOf(fake)), `${text} ${fake}`);
  }
});

Deno.test("Pool.choose() spreads, when reals follow each other", () => {
  const pool = poolOf("198.18.0.0/16");
  const fakes = new Set<string>();
  const fake = new Uint32Array(1);
  for (let i = 0; i < 1_000; i++) {
    pool.choose(Uint32Array.of(0x0a000000 + i), fake, () => false);
    fakes.add(textOf(fake));
  }
  // About eight of a thousand share one of 65,534; a hash that does not mix shares far more.
  assert(fakes.size > 980, `${fakes.size}`);
});

Deno.test("Pool.choose() stays in the prefix and off its edges, when prefix and real are random", () => {
  holds(
    "Pool.choose",
    fc.property(
      fc.nat(30),
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      (length, base, real) => {
        const pool = new Pool(maskedPrefix(base, length), KEY);
        const fake = new Uint32Array(1);
        let refusals = 2;
        pool.choose(wordsOf(real), fake, () => refusals-- > 0 && pool.capacity > 2);
        assert(pool.contains(fake) && pool.isUsable(fake));
        const offset = (fake[0]! - wordsOf(pool.prefix.bytes)[0]!) >>> 0;
        assert(offset > 0 && offset < 2 ** (32 - length) - 1);
      },
    ),
    1_000,
  );
});

function maskedPrefix(base: Uint8Array, length: number) {
  const masked = base.map((octet, i) => {
    const bits = Math.min(8, Math.max(0, length - 8 * i));
    return octet & (0xff00 >>> bits);
  });
  return { family: 4, bytes: masked, length } as const;
}

Deno.test("Pool.isUsable() is false for edges only, when the address is in the prefix", () => {
  for (
    const [prefix, address, expected] of [
      ["192.0.2.0/24", "192.0.2.0", false],
      ["192.0.2.0/24", "192.0.2.1", true],
      ["192.0.2.0/24", "192.0.2.254", true],
      ["192.0.2.0/24", "192.0.2.255", false],
      ["198.18.0.0/15", "198.18.0.255", true],
      ["198.18.0.0/15", "198.19.0.0", true],
      ["198.18.0.0/15", "198.19.255.255", false],
      ["0.0.0.0/0", "0.0.0.0", false],
      ["0.0.0.0/0", "255.255.255.255", false],
      ["0.0.0.0/0", "128.0.0.0", true],
      ["2001:2::/64", "2001:2::", false],
      ["2001:2::/64", "2001:2::1", true],
      ["2001:2::/64", "2001:2::1:0:0", true],
      ["2001:2::/64", "2001:2::ffff:ffff:ffff:ffff", true],
      ["2001:2::/48", "2001:2::", false],
      ["2001:2::/48", "2001:2:0:1::", true],
      ["::/0", "::", false],
      ["::/0", "1::", true],
    ] as const
  ) assertEquals(poolOf(prefix).isUsable(words(address)), expected, `${address} ${prefix}`);
});

Deno.test("Pool.contains() tells inside from outside, when addresses lie at the edges", () => {
  for (
    const [prefix, address, expected] of [
      ["198.18.0.0/15", "198.17.255.255", false],
      ["198.18.0.0/15", "198.18.0.0", true],
      ["198.18.0.0/15", "198.19.255.255", true],
      ["198.18.0.0/15", "198.20.0.0", false],
      ["2001:2::/48", "2001:2:0:ffff::1", true],
      ["2001:2::/48", "2001:2:1::", false],
    ] as const
  ) assertEquals(poolOf(prefix).contains(words(address)), expected, `${address} ${prefix}`);
});

Deno.test("wordsOf() reads network order, when the octets lie inside a larger buffer", () => {
  const bytes = Uint8Array.of(9, 1, 2, 3, 4, 5, 6, 7, 8).subarray(1);
  assertEquals([...wordsOf(bytes)], [0x01020304, 0x05060708]);
});

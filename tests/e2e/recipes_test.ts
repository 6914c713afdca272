/**
 * The recipes of the README, word for word, on the lab's gateway: all DNS to dotp; a tunnel for what
 * goes to the real addresses, that nothing gets around; no encrypted DNS past dotp.
 *
 * The tunnel is no WireGuard, which not every kernel has: a link named wg0 that resolves no
 * addresses, as WireGuard does not, and that ends in the server.
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Address, FAKE4, FAKE6, isFake, type Lab, real4, real6, type Where } from "../lab/lab.ts";
import { readmeFile, rulesWith, values } from "./recipes.ts";
import { testWith } from "../support/programs.ts";
import { address, answer, shareLab, startServers } from "./setup.ts";

const NAME = "www.example.com";

/** A refusal needs no time-out; two busy cores need some time. */
const AT_ONCE_MS = 500;

const SCRIPT = {
  [`${NAME} A`]: answer(address(NAME, real4(1))),
  [`${NAME} AAAA`]: answer(address(NAME, real6(1))),
};

/** Counts on the server what comes the usual way to the web server and to the ports of encrypted DNS. */
const USUAL_WAY = `table inet usual {
  counter web { }
  counter encrypted { }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    iifname "eth0" ip daddr ${real4(1)} counter name web
    iifname "eth0" ip6 daddr ${real6(1)} counter name web
    meta l4proto { tcp, udp } th dport 853 counter name encrypted
  }
}`;

const lab = shareLab(async (lab) => {
  await startServers(lab);
  await lab.setScript(SCRIPT);
  await lab.server.exec(["nft", "-f", "-"], USUAL_WAY);
});

Deno.test("the recipe redirects all DNS of the LAN to dotp, when it asks another server", async () => {
  await loadRules("redirect_dns");
  const query = (to: string) => lab().tryQuery(NAME, "A", { to, timeoutMs: 500 });
  for (const host of [Address.gateway4, Address.gateway6, "::"]) {
    const args = ["-H", host, "-4", FAKE4, "-6", FAKE6, "-d", "example.com"];
    await using _ = await lab().startDotp({
      args: [...args, "--upstream-host", Address.upstream4],
    });
    for (const to of [Address.upstream4, Address.upstream6, "203.0.113.9"]) {
      const reply = await query(to);
      const [fake] = reply?.message.answers ?? [];
      const isHeard = host === "::" || host.includes(":") === to.includes(":");
      assertEquals(fake === undefined ? false : isFake(String(fake.data)), isHeard, to);
    }
  }
  for (const to of [Address.upstream4, Address.upstream6]) {
    const { error, ms } = await get("client", to, 53);
    assertEquals(error, "ConnectionRefused");
    assert(ms < AT_ONCE_MS, `${ms} ms`);
  }
});

Deno.test("the recipe refuses DNS over TLS and QUIC, and no other port", async () => {
  await loadRules("refuse_dns_encrypted");
  for (const to of [Address.upstream4, Address.upstream6]) {
    const { error, ms } = await get("client", to, 853);
    assertEquals(error, "ConnectionRefused");
    assert(ms < AT_ONCE_MS, `${ms} ms`);
    const counter = to.includes(":") ? "prohibited6" : "prohibited4";
    const { [counter]: before = 0 } = await lab().watched("client");
    await lab().client.exchange({ to: { host: to, port: 853 }, hex: "00", timeoutMs: 50 });
    await lab().until(
      "the refusal",
      () => lab().watched("client"),
      ({ [counter]: count = 0 }) => count === before + 1,
    );
  }
  assertEquals(await usualWay("encrypted"), 0);
  assertEquals((await lab().fetch(real4(2))).at, real4(2));
});

testWith(
  "dnsmasq",
  "the recipe's resolver denies the canaries and forwards the rest, behind dotp",
  async () => {
    const shown = readmeFile("/etc/dnsmasq.d/dotp.conf");
    const path = await Deno.makeTempFile();
    await Deno.writeTextFile(path, shown.replace(/^(server=).*$/m, `$1${Address.upstream4}`));
    await lab().exec("gateway", "ip", "link", "set", "lo", "up");
    // In a user namespace there is no other user to become.
    const foreground = ["--no-daemon", "--user=", "--group=", "--pid-file="];
    const process = await lab().gateway.spawn(["dnsmasq", `--conf-file=${path}`, ...foreground]);
    assert(await process.line(/started/) !== undefined, process.stderr.join("\n"));
    await Deno.remove(path);
    const [listen = "", port = ""] = ["listen-address", "port"].flatMap((key) =>
      values(shown, key)
    );
    assertStringIncludes(
      await Deno.readTextFile(new URL("../../README.md", import.meta.url)),
      `--upstream-host ${listen} --upstream-port ${port}`,
    );
    const args = ["-H", Address.gateway4, "-4", FAKE4, "-6", FAKE6];
    const upstream = ["--upstream-host", listen, "--upstream-port", port, "-d", "example.com"];
    await using _ = await lab().startDotp({ args: [...args, ...upstream] });
    const [, ...denied] = values(shown, "address")[0]?.split("/").slice(0, -1) ?? [];
    assertEquals(denied[0], "use-application-dns.net");
    const discovery = "_dns.resolver.arpa";
    assert(denied.some((name) => discovery.endsWith(`.${name}`)));
    for (const name of [...denied, discovery]) {
      for (const type of ["A", "AAAA", "SVCB"]) {
        const { message } = await lab().query(name, type);
        assertEquals(message.rcode, "NXDOMAIN", `${name} ${type}`);
      }
    }
    const asked = lab().server.queries.length;
    for (let i = 0; i < 2; i++) {
      assert(isFake((await lab().resolve(NAME, "A"))[0] ?? ""));
    }
    assertEquals(lab().server.queries.length, asked + 1, "the second comes from the cache");
    await process.signal("SIGTERM");
    await process.ended;
  },
);

Deno.test("the recipe sends through the tunnel what goes to the reals, and nothing else", async (t) => {
  const config = readmeFile("/etc/wireguard/wg0.conf");
  const [own4 = "", own6 = ""] = values(config, "Address")[0]?.split(", ") ?? [];
  const through = { 4: own4.replace(/\/.*/, ""), 6: own6.replace(/\/.*/, "") };
  const addresses = { 4: real4(1), 6: real6(1) };
  await loadRules("mark_forwarded");
  // As strict as a distribution may have it.
  await lab().gateway.call("setSysctls", { "net/ipv4/conf/all/rp_filter": "1" });
  await using _ = await lab().startDotp();
  const fakes = {
    4: (await lab().resolve(NAME, "A"))[0] ?? "",
    6: (await lab().resolve(NAME, "AAAA"))[0] ?? "",
  };

  /** Asserts that nothing gets to the web server; a client is told so at once. */
  async function assertNowhere(): Promise<void> {
    for (const version of [4, 6] as const) {
      for (const to of [fakes[version], addresses[version]]) {
        const { error, ms } = await lab().fetch(to);
        assertEquals(error, "ConnectionRefused", to);
        assert(ms < AT_ONCE_MS, `${ms} ms`);
        for (const where of ["client", "gateway"] as const) {
          // The socket may be told at once that it may not send.
          assertEquals(await lab().echo(to, where, 50).catch(() => false), false);
        }
      }
    }
    assertEquals(await usualWay("web"), 0);
    assertEquals((await lab().fetch(real4(2))).from, Address.client4);
  }

  /** Asserts that both hosts get to the web server by way of the tunnel. */
  async function assertThrough(): Promise<void> {
    for (const version of [4, 6] as const) {
      for (const where of ["client", "gateway"] as const) {
        for (const to of [fakes[version], addresses[version]]) {
          const { at, from } = await lab().fetch(to, where);
          assertEquals({ at, from }, { at: addresses[version], from: through[version] });
          assert(await lab().echo(to, where));
        }
      }
    }
    assertEquals(await usualWay("web"), 0);
    assertEquals((await lab().fetch(real4(2))).from, Address.client4);
    assertEquals((await lab().fetch(real6(2))).from, Address.client6);
  }

  await t.step("before it is there, nothing leaves", assertNowhere);

  await t.step("while it is up, both hosts go through it", async () => {
    await bringUp(lab(), config);
    await assertThrough();
  });

  const flow = {
    to: { host: fakes[4], port: 7 },
    from: { host: Address.client4, port: 40_002 },
    hex: "03",
  };
  await t.step("a flow that outlives its mapping stays in it", async () => {
    assert(await lab().client.exchange({ ...flow, timeoutMs: 2_000 }) !== undefined);
    await lab().exec("gateway", "nft", "flush", "set", "inet", "dotp", "nat_addr");
    assert(await lab().client.exchange({ ...flow, timeoutMs: 2_000 }) !== undefined);
    assertEquals(await usualWay("web"), 0);
    await lab().mappingsBecome("mended", ({ sets }) => sets.has(real4(1)));
  });

  await t.step("once it is down or gone, nothing leaves, old flows neither", async () => {
    await lab().exec("gateway", "ip", "link", "set", "wg0", "down");
    assertEquals(await lab().client.exchange({ ...flow, timeoutMs: 50 }), undefined);
    await assertNowhere();
    await lab().exec("gateway", "ip", "link", "delete", "wg0");
    await runAll(values(config, "PostDown"));
    assertEquals(await lab().client.exchange({ ...flow, timeoutMs: 50 }), undefined);
    await assertNowhere();
  });

  await t.step("once it is back, both hosts go through it", async () => {
    await bringUp(lab(), config);
    await assertThrough();
  });

  await t.step("its own packets do not go through it, when its server is a real", async () => {
    const [mark = ""] = values(config, "FwMark");
    // As the option of a socket, which WireGuard sets.
    await lab().gateway.exec(
      ["nft", "-f", "-"],
      `table inet sockets {
        chain output {
          type filter hook output priority raw; policy accept;
          udp dport 7 meta mark set ${mark}
        }
      }`,
    );
    assert(await lab().echo(real4(1), "gateway"));
    assertEquals(await usualWay("web"), 1);
  });
});

/** Makes the link wg0, with what the configuration says of addresses and what it runs. */
async function bringUp({ gateway, server }: Lab, config: string): Promise<void> {
  const [own4 = "", own6 = ""] = values(config, "Address")[0]?.split(", ") ?? [];
  // Who resolves no addresses sends to its own: the other end has the same.
  const mac = "02:00:00:00:00:01";
  await gateway.exec(
    ["ip", "-batch", "-"],
    `link add wg0 address ${mac} arp off type veth peer name wg0 netns ${server.pid} address ${mac}
     address add ${own4} dev wg0
     address add ${own6} dev wg0 nodad
     link set wg0 up`,
  );
  await server.exec(
    ["ip", "-batch", "-"],
    `link set wg0 arp off up\nroute add ${own4} dev wg0\nroute add ${own6} dev wg0`,
  );
  await runAll(values(config, "PostUp"));
}

/** Runs lines as wg-quick does. */
async function runAll(lines: string[]): Promise<void> {
  for (const line of lines) {
    await lab().gateway.exec(["sh", "-ec", line.replaceAll("%i", "wg0")]);
  }
}

/** Loads rules.nft with the example that has this chain, in place of what was there. */
async function loadRules(chain: string): Promise<void> {
  await lab().exec("gateway", "nft", "delete", "table", "inet", "dotp");
  await lab().gateway.exec(["nft", "-f", "-"], rulesWith(chain));
}

/** Connects to a TCP port and fetches the page there. */
function get(where: Where, host: string, port: number, timeoutMs = 4_000) {
  return lab()[where].call("fetch", { host, port, timeoutMs });
}

/** How many packets came to the server the usual way. */
async function usualWay(counter: "web" | "encrypted"): Promise<number> {
  const text = await lab().exec("server", "nft", "list", "counter", "inet", "usual", counter);
  return Number(/packets (\d+)/.exec(text)?.[1]);
}

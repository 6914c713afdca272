/**
 * The two engines side by side: which one runs and what is said of it, and that both do the same. The same
 * messages go to a dotp on each, with the same answers of an upstream behind them, and what leaves is
 * compared octet by octet.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Offset } from "../../lib/dns/constants.ts";
import { questionEnd } from "../../lib/dns/message.ts";
import { mutate, Random } from "../fuzz/mutate.ts";
import { cases, fixtures } from "../fuzz/seeds.ts";
import { BUILT } from "../lab/dotp.ts";
import { Address, FAKE4, FAKE6, real4 } from "../lab/lab.ts";
import { defined } from "../support/defined.ts";
import { viewOf } from "../support/hex.ts";
import { testUnless } from "../support/programs.ts";
import { mustRun, start } from "../support/run.ts";
import { eventually, within } from "../support/waiting.ts";
import { address, answer, assertOneLine, shareLab } from "./setup.ts";

const lab = shareLab(async (lab) => {
  await lab.startUpstream({ "* A": answer(address("a.example.com", real4(1))) });
});

testUnless(BUILT, "dotp says which engine runs and why, when it starts", async () => {
  for (
    const [engine, line] of [
      ["portable", "engine: portable (as --engine says)"],
      ["direct", "engine: direct (libc and netlink work)"],
      ["auto", "engine: direct (libc and netlink work)"],
    ] as const
  ) {
    const options = { more: ["--engine", engine], permissions: ["--allow-ffi"] };
    await using dotp = await lab().startDotp(options);
    assertEquals(dotp.log.filter((each) => each.includes(line)).length, 1, dotp.log.join("\n"));
    const { message } = await lab().query("a.example.com", "A");
    assertEquals(message.rcode, "NOERROR");
  }
});

testUnless(
  BUILT,
  "dotp ends with 1 and one line, when the direct engine cannot be had",
  async () => {
    // With DOTP_ENGINE=direct the lab grants FFI.
    const { code, stdout, stderr } = await lab().runDotp({
      more: ["--engine", "direct"],
      without: "--allow-ffi",
    });
    assertEquals(code, 1);
    assertOneLine(stdout, stderr);
    assertMatch(stderr, /--engine direct: FFI is not permitted \(--allow-ffi\).*portable/);
  },
);

testUnless(
  BUILT,
  "dotp check says which engine would run, when it may or may not use FFI",
  async () => {
    const args = [
      ...["check", "engine", "-H", Address.gateway4, "-4", FAKE4, "-6", FAKE6],
      ...["--upstream-host", Address.upstream4],
    ];
    const check = (more: string[], permissions: string[]) =>
      lab().runDotp({ args: [...args, ...more], permissions, without: "--allow-ffi" });
    const portable = await check([], []);
    assertStringIncludes(portable.stdout, "the engine is portable (FFI is not permitted");
    assertEquals(portable.code, 0);
    const direct = await check(["--engine", "direct"], []);
    assertStringIncludes(direct.stdout, "--engine direct: FFI is not permitted");
    assertEquals(direct.code, 2);
  },
);

testUnless(
  BUILT,
  "a fake that is handed out is in the map, when somebody flushes it again and again",
  async () => {
    await using dotp = await lab().startDotp({
      more: ["--engine", "direct"],
      permissions: ["--allow-ffi"],
    });
    const flushes = ["flush map inet dotp nat_map", "flush set inet dotp nat_addr"];
    for (let n = 0; n < 20; n++) {
      await lab().query("a.example.com", "A");
      await lab().exec("gateway", "nft", ...defined(flushes[n % 2]).split(" "));
      // nft is done, so the kernel has told of it before this is asked.
      const { message } = await lab().query("a.example.com", "A");
      const fake = String(message.answers[0]?.data);
      const { maps, sets } = await lab().mappings();
      assertEquals([maps.get(fake), sets.has(real4(1))], [real4(1), true], `round ${n}`);
    }
    assert(
      dotp.log.some((line) => line.includes("changed the kernel's sets")),
      dotp.log.join("\n"),
    );
  },
);

/** How many damaged replies are tried, and from which seed. */
const DAMAGED = { replies: 1_500, seed: 20_261_124 } as const;
/** What both are asked for while the upstream answers: names below this are configured. */
const DOMAIN = "example.com";
const LOOPBACK = "127.0.0.1";
const Port = { UPSTREAM: 5_400, portable: 5_401, direct: 5_402 } as const;

/** An upstream that answers each query with what is scripted, and then with a reply that is sound. */
class ScriptedUpstream {
  readonly #conn = Deno.listenDatagram({
    transport: "udp",
    hostname: LOOPBACK,
    port: Port.UPSTREAM,
  });
  /** What comes before the sound reply. */
  script: Uint8Array = new Uint8Array();

  async run(): Promise<void> {
    for await (const [query, peer] of this.#conn) {
      const damaged = this.script.slice();
      const sound = query.slice();
      sound[Offset.FLAGS]! |= 0x80;
      sound[Offset.FLAGS + 1] = 0x83;
      for (const reply of [damaged, sound]) {
        reply.set(query.subarray(0, Math.min(2, reply.length)));
        await this.#conn.send(reply, peer);
      }
    }
  }

  close(): void {
    this.#conn.close();
  }
}

/** Starts dotp on an engine, with a table of its own. */
async function startOn(engine: "portable" | "direct"): Promise<Deno.ChildProcess> {
  const table = `engine_${engine}`;
  const rules = await Deno.readTextFile(new URL("../../rules.nft", import.meta.url));
  await mustRun(["nft", "-f", "-"], { stdin: rules.replaceAll("inet dotp", `inet ${table}`) });
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const child = start([
    ...[Deno.execPath(), "run", "--cached-only", "--allow-net", "--allow-run", "--allow-ffi"],
    ...["--no-prompt", main, "--engine", engine, "--table", table, "-d", DOMAIN],
    ...["-H", LOOPBACK, "-p", `${Port[engine]}`, "-4", FAKE4, "-6", FAKE6],
    ...["--upstream-host", LOOPBACK, "--upstream-port", `${Port.UPSTREAM}`],
  ], { stdout: "null", stderr: "piped" });
  let log = "";
  void (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) log += text;
  })();
  await eventually("dotp to listen", () => log, (seen) => seen.includes("listening"));
  assertStringIncludes(log, `engine: ${engine} `);
  return child;
}

/** Asks, and returns the first reply with the id of the query. */
async function ask(conn: Deno.DatagramConn, port: number, query: Uint8Array): Promise<string> {
  await conn.send(query, { transport: "udp", hostname: LOOPBACK, port });
  for (;;) {
    const [reply] = await within("a reply", conn.receive(new Uint8Array(65_535)));
    if (reply[0] === query[0] && reply[1] === query[1]) return reply.toHex();
  }
}

testUnless(BUILT, "both engines send the same, when they get the same messages", async () => {
  await mustRun(["ip", "link", "set", "lo", "up"]);
  const upstream = new ScriptedUpstream();
  const running = upstream.run().catch(() => {});
  const children = [await startOn("portable"), await startOn("direct")];
  const conn = Deno.listenDatagram({ transport: "udp", hostname: LOOPBACK, port: 0 });
  try {
    const seeds = [...fixtures(), ...cases().values()].filter((seed) => {
      return questionEnd(viewOf(seed), seed.length) > 0;
    });
    assert(seeds.length > 10, `${seeds.length} seeds`);
    const random = new Random(DAMAGED.seed);
    let rewritten = 0;
    for (let n = 0; n < seeds.length + DAMAGED.replies; n++) {
      const seed = seeds[n] ?? random.pick(seeds);
      const query = seed.slice(0, questionEnd(viewOf(seed), seed.length));
      query.set([n >> 8, n & 0xff, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
      upstream.script = n < seeds.length ? seed : mutate(random, [seed]);
      const portable = await ask(conn, Port.portable, query);
      const direct = await ask(conn, Port.direct, query);
      assertEquals(direct, portable, `to ${query.toHex()}, upstream ${upstream.script.toHex()}`);
      if (!upstream.script.toHex().includes(portable.slice(24)) && /c61[23]/.test(portable)) {
        rewritten++;
      }
    }
    assert(rewritten > 20, `${rewritten} replies were rewritten`);
    // What clients send that is no query: an answer or silence, the same from both.
    for (let n = 0; n < 300; n++) {
      const damaged = mutate(random, seeds);
      if (damaged.length >= 4) {
        damaged.set([n >> 8, n & 0xff, 0x08 | (damaged[2]! & 0x78), damaged[3]!]);
      }
      const sound = Uint8Array.from([0xff, n & 0xff, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
      upstream.script = new Uint8Array();
      const replies: string[][] = [];
      for (const port of [Port.portable, Port.direct]) {
        const got: string[] = [];
        await conn.send(damaged, { transport: "udp", hostname: LOOPBACK, port });
        await conn.send(sound, { transport: "udp", hostname: LOOPBACK, port });
        // The reply to what comes last says that there is none to what came before.
        while (!got.some((hex) => hex.startsWith(sound.slice(0, 2).toHex()))) {
          const [reply] = await within("a reply", conn.receive(new Uint8Array(65_535)));
          got.push(reply.toHex());
        }
        replies.push(got);
      }
      assertEquals(replies[1], replies[0], damaged.toHex());
    }
  } finally {
    for (const child of children) {
      child.kill("SIGTERM");
      await within("dotp to end", child.status);
    }
    conn.close();
    upstream.close();
    await running;
    for (const engine of ["portable", "direct"]) {
      await mustRun(["nft", `delete table inet engine_${engine}`]);
    }
  }
});

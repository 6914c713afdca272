/** The policy as files change under it: read in pieces with turns in between, and never a part of it. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { setImmediate } from "node:timers";
import { LabelWalk } from "../../lib/dns/name.ts";
import { PolicyKeeper } from "../../lib/io/policy.ts";
import { StartError } from "../../lib/io/preflight.ts";
import { config } from "../check/support.ts";
import { viewOf } from "../support/hex.ts";
import { concat, wireName } from "../support/packet.ts";

/** Octets that are read at once. */
const PIECE_LENGTH = 32_768;

async function withFile(
  text: string,
  test: (path: string, write: (text: string) => void) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile();
  const write = (text: string) => Deno.writeTextFileSync(path, text);
  try {
    write(text);
    await test(path, write);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

function covers({ active }: PolicyKeeper, name: string): boolean {
  const view = viewOf(concat(new Uint8Array(12), wireName(name)));
  const walk = new LabelWalk();
  assert(walk.follow(view, view.byteLength, 12));
  return active.current.domains.covers(view, walk);
}

Deno.test("PolicyKeeper.reload() gives everything else a turn after each piece, when a file is long", async () => {
  const pieces = 24;
  const many = Array.from({ length: 60_000 }, (_, i) => `host${i}.example`).join("\n")
    .slice(0, pieces * PIECE_LENGTH);
  await withFile("old.example\n", async (path, write) => {
    const keeper = await PolicyKeeper.start(config({}, "--domain-file", path));
    write(`${many}\nnew.example\n`);
    let turns = 0;
    let isOver = false;
    const turn = () => {
      if (isOver) return;
      turns++;
      // Until it is over the old policy is in force, whole.
      assertEquals(
        [covers(keeper, "old.example"), covers(keeper, "host1.example")],
        [true, false],
      );
      setImmediate(turn);
    };
    setImmediate(turn);
    await keeper.reload();
    isOver = true;
    assert(turns >= pieces, `${turns} turns`);
    assert(covers(keeper, "new.example") && !covers(keeper, "old.example"));
  });
});

Deno.test("PolicyKeeper.reload() ends with what is there last, when it is asked again meanwhile", async () => {
  await withFile("a.example\n", async (path, write) => {
    const keeper = await PolicyKeeper.start(
      config({}, "--domain-file", path, "-d", "fixed.example"),
    );
    write("b.example\n");
    const first = keeper.reload();
    write("c.example\n");
    await Promise.all([first, keeper.reload(), keeper.reload()]);
    assert(covers(keeper, "c.example") && covers(keeper, "fixed.example"));
    assert(!covers(keeper, "a.example") && !covers(keeper, "b.example"));
  });
});

Deno.test("PolicyKeeper.reload() leaves the policy as it is, when a file has gone or is refused", async () => {
  await withFile("a.example\n", async (path, write) => {
    const given = config({}, "--domain-file", path, "--domain-file-strict");
    const keeper = await PolicyKeeper.start(given);
    const before = keeper.active.current;
    write("b.example\nno name\n");
    await keeper.reload();
    Deno.removeSync(path);
    await keeper.reload();
    Deno.mkdirSync(path);
    await keeper.reload();
    assertEquals(keeper.active.current === before, true);
    await assertRejects(() => PolicyKeeper.start(given), StartError, "it is not a regular file");
  });
});

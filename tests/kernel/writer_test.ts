/** How changes are written: in one transaction or in halves, and what happens to fakes that were used. */
import { assertEquals, assertThrows } from "@std/assert";
import { Connections } from "../../lib/kernel/connections.ts";
import type { KernelEvent } from "../../lib/kernel/kernel.ts";
import {
  BATCH_CHANGES_MAX,
  KernelProblem,
  KernelWriter,
  type Written,
} from "../../lib/kernel/writer.ts";
import type { Change } from "../../lib/nat/changes.ts";
import { take } from "../../lib/util/steps.ts";
import { FakeNft } from "../support/fake_nft.ts";
import { bytesOf, makeNat } from "../support/nat.ts";

/** A writer before a kernel that answers at once. */
class World {
  readonly nft = new FakeNft();
  readonly events: KernelEvent[] = [];
  readonly dropped: number[] = [];
  /** Whether mappings are as they were when their change was made. */
  isUnchanged = true;
  readonly connections = new Connections({
    kernel: this.nft,
    mappings: makeNat().mappings,
    report: (event) => this.events.push(event),
  });
  readonly writer = new KernelWriter({
    kernel: this.nft,
    connections: this.connections,
    drop: ({ revision }) => {
      this.dropped.push(revision);
      return this.isUnchanged;
    },
    report: (event) => this.events.push(event),
  });

  constructor() {
    this.nft.isImmediate = true;
  }

  write(changes: readonly Change[], isTrusting = true): Written {
    this.connections.noteReuse(changes);
    return take(this.writer.write(changes, isTrusting)) as Written;
  }

  get kinds(): string[] {
    return this.events.map(({ kind }) => kind);
  }
}

/** A mapping that is added: fake and real by their last octet. */
function addition(n: number, real = n, isReused = false): Change {
  const pair = { fake: bytesOf(`198.18.0.${n}`), real: bytesOf(`192.0.2.${real}`) };
  return { kind: "add", family: 4, ...pair, revision: real, isReused };
}

function deletion(n: number, real = n): Change {
  return { ...addition(n, real), kind: "delete" };
}

Deno.test("KernelWriter.write() needs one transaction, when nothing is in the way", () => {
  const world = new World();
  assertEquals(world.write([addition(1), addition(2), addition(3)]), "done");
  assertEquals([world.nft.scripts.length, world.nft.connectionReads, world.events], [1, 0, []]);
});

Deno.test("KernelWriter.write() needs as many as hold them, when there are many changes", () => {
  for (
    const [count, transactions] of [[0, 0], [BATCH_CHANGES_MAX, 1], [
      BATCH_CHANGES_MAX + 1,
      2,
    ]] as const
  ) {
    const world = new World();
    const octets = (n: number) => Uint8Array.of(10, 0, n >>> 8, n & 0xff);
    const changes = Array.from({ length: count }, (_, n): Change => {
      return { kind: "add", family: 4, fake: octets(n), real: octets(n), revision: n };
    });
    assertEquals([world.write(changes), world.nft.scripts.length], ["done", transactions]);
  }
});

Deno.test("KernelWriter.write() stops, when it trusts the kernel and that is other than it was", () => {
  for (
    const [trouble, changes] of [
      ["missing", [addition(1), deletion(9)]],
      ["exists", [addition(1), addition(2, 7)]],
    ] as const
  ) {
    const world = new World();
    world.nft.kernel.elements("nat_map").set("198.18.0.2", "203.0.113.9");
    assertEquals(world.write(changes), "drift", trouble);
    assertEquals(
      [world.kinds, world.dropped, world.nft.scripts.length],
      [["drift"], [], 1],
      trouble,
    );
  }
});

Deno.test("KernelWriter.write() goes on, when it does not trust the kernel", () => {
  const world = new World();
  world.nft.kernel.elements("nat_map").set("198.18.0.2", "203.0.113.9");
  assertEquals(world.write([addition(1), deletion(9), addition(2), addition(3)], false), "unclear");
  assertEquals([world.kinds, world.dropped], [["refused", "refused"], [2]]);
  assertEquals(world.nft.kernel.elements("nat_map").get("198.18.0.3"), "192.0.2.3");
});

Deno.test("KernelWriter.write() drops what is refused, and says when that leaves something open", () => {
  for (
    const [isUnchanged, isTrusting, expected] of [[true, true, "done"], [false, true, "unclear"], [
      true,
      false,
      "unclear",
    ]] as const
  ) {
    const world = new World();
    world.isUnchanged = isUnchanged;
    world.nft.kernel.refused.add("192.0.2.2");
    const changes = [addition(1), addition(2), addition(3)];
    assertEquals(world.write(changes, isTrusting), expected);
    assertEquals([world.kinds, world.dropped], [["refused"], [2]]);
    assertEquals([...world.nft.kernel.elements("nat_addr").keys()], ["192.0.2.1", "192.0.2.3"]);
  }
});

Deno.test("KernelWriter.write() throws, when the kernel cannot be asked", () => {
  const world = new World();
  world.nft.state = "away";
  const error = assertThrows(() => world.write([addition(1)]), KernelProblem);
  assertEquals(error.failure.kind, "unavailable");
});

Deno.test("KernelWriter.write() deletes what leads elsewhere, when a fake gets another real", () => {
  const world = new World();
  world.write([addition(1), addition(2)]);
  for (const fake of ["198.18.0.1", "198.18.0.2"]) world.nft.kernel.connect(fake);
  // Never translated, and one that leads where the fake leads now: it is left alone.
  world.nft.kernel.connections.add("198.18.0.1 198.18.0.1").add("198.18.0.1 192.0.2.7");
  const scripts = world.nft.scripts.length;
  assertEquals(world.write([deletion(1), addition(1, 7, true)]), "done");
  assertEquals(world.nft.disconnected, [{
    pairs: ["198.18.0.1 192.0.2.1", "198.18.0.1 198.18.0.1"],
    scripts: scripts + 1,
  }]);
  assertEquals([...world.nft.kernel.connections], ["198.18.0.2 192.0.2.2", "198.18.0.1 192.0.2.7"]);
});

Deno.test("KernelWriter.write() refuses a used fake alone, when its connections stay", () => {
  for (const trouble of ["vain", "unlisted"] as const) {
    const world = new World();
    world.write([addition(1), addition(2)]);
    world.nft.kernel.connect("198.18.0.1");
    world.nft.isDeletionVain = true;
    if (trouble === "unlisted") world.nft.connectionsProblem = "conntrack is not there";
    const changes = [
      deletion(1),
      addition(1, 7, true),
      deletion(2),
      addition(2, 8, true),
      addition(3),
    ];
    assertEquals(world.write(changes), "done");
    assertEquals(world.dropped, trouble === "vain" ? [7] : [7, 8]);
    assertEquals(world.nft.kernel.elements("nat_map").has("198.18.0.1"), false);
    assertEquals(world.nft.kernel.elements("nat_map").get("198.18.0.3"), "192.0.2.3");
    // And again, as it is remembered, though the change does not say it any more.
    world.write([addition(1, 7)]);
    assertEquals(world.nft.kernel.elements("nat_map").has("198.18.0.1"), false);
    world.nft.connectionsProblem = undefined;
    world.nft.isDeletionVain = false;
    world.write([addition(1, 7)]);
    assertEquals(world.nft.kernel.elements("nat_map").get("198.18.0.1"), "192.0.2.7");
    assertEquals(world.nft.kernel.connectedTo("198.18.0.1"), []);
  }
});

Deno.test("KernelWriter.write() remembers a used fake, when the kernel cannot be asked before it is clean", () => {
  const world = new World();
  world.write([addition(1)]);
  world.nft.kernel.connect("198.18.0.1");
  world.nft.state = "away";
  assertThrows(() => world.write([deletion(1), addition(1, 7, true)]), KernelProblem);
  world.nft.state = "up";
  assertEquals(world.write([deletion(1), addition(1, 7)]), "done");
  assertEquals(world.nft.kernel.connectedTo("198.18.0.1"), []);
});

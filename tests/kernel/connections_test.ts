/** Which connections may stay, which fakes are used, and what is stray. */
import { assert, assertEquals } from "@std/assert";
import {
  type ConnectionLists,
  Connections,
  TIDY_ATTEMPTS_MAX,
} from "../../lib/kernel/connections.ts";
import type { KernelEvent } from "../../lib/kernel/kernel.ts";
import type { Change } from "../../lib/nat/changes.ts";
import { take } from "../../lib/util/steps.ts";
import { defined } from "../support/defined.ts";
import { FakeNft } from "../support/fake_nft.ts";
import { adopt, bytesOf, makeNat, obtain } from "../support/nat.ts";

/** Connections before a kernel that answers at once. */
class World {
  readonly nat = makeNat();
  readonly nft = new FakeNft();
  readonly events: KernelEvent[] = [];
  readonly connections = new Connections({
    kernel: this.nft,
    mappings: this.nat.mappings,
    report: (event) => this.events.push(event),
  });

  constructor(...connections: readonly string[]) {
    this.nft.isImmediate = true;
    for (const connection of connections) this.nft.kernel.connections.add(connection);
  }

  get left(): string[] {
    return [...this.nft.kernel.connections];
  }

  tidy(): void {
    take(this.connections.tidy(0));
  }
}

function addition(fake: string, real: string, isReused = false): Change {
  const family = fake.includes(":") ? 6 : 4;
  return { kind: "add", family, fake: bytesOf(fake), real: bytesOf(real), revision: 1, isReused };
}

Deno.test("Connections.isUsed() is true from a reuse on, until the fake is clean", () => {
  const world = new World("198.18.0.1 192.0.2.1", "2001:2::1 2001:db8::1");
  const four = addition("198.18.0.1", "192.0.2.7", true);
  const six = addition("2001:2::1", "2001:db8::7", true);
  const fresh = addition("198.18.0.2", "192.0.2.2");
  world.connections.noteReuse([four, six, fresh, { ...fresh, kind: "renew", isReused: true }]);
  const used = () => [four, six, fresh].map((change) => world.connections.isUsed(change));
  assertEquals(used(), [true, true, false]);
  assert(!world.connections.isUsed({ ...four, kind: "delete" }));
  assert(world.connections.isUsed({ ...four, isReused: false }), "it is remembered");
  take(world.connections.clean([four]));
  assertEquals([used(), world.left], [[false, true, false], ["2001:2::1 2001:db8::1"]]);
  world.nft.isDeletionVain = true;
  take(world.connections.clean([six]));
  assertEquals(used(), [false, true, false]);
  world.nft.isDeletionVain = false;
  take(world.connections.clean([six]));
  assertEquals([used(), world.left], [[false, false, false], []]);
});

Deno.test("Connections.clean() leaves alone what leads where the fake leads now, and other fakes", () => {
  const connections = ["198.18.0.1 192.0.2.7", "198.18.0.2 192.0.2.2"];
  const world = new World(...connections);
  const change = addition("198.18.0.1", "192.0.2.7", true);
  world.connections.noteReuse([change]);
  take(world.connections.clean([change]));
  assertEquals([world.left, world.nft.disconnected, world.connections.isUsed(change)], [
    connections,
    [],
    false,
  ]);
});

Deno.test("Connections.takeOver() quarantines what fits a fake and a real that are free", () => {
  const world = new World("198.18.0.1 192.0.2.1", "2001:2::1 2001:db8::1");
  const lists = defined(take(world.connections.list()) as ConnectionLists | undefined);
  assertEquals(world.connections.takeOver(lists, 0), []);
  const { 4: four, 6: six } = world.nat.tables;
  assertEquals([four.quarantined, six.quarantined, four.size + six.size], [1, 1, 0]);
  // Once more it is known.
  assertEquals(world.connections.takeOver(lists, 0), []);
  assertEquals(obtain(four, "192.0.2.1", 0), "198.18.0.1");
  assertEquals(obtain(six, "2001:db8::1", 0), "2001:2::1");
});

/** Connections that fit no mapping, next to an active one of 198.18.0.1 and 192.0.2.1. */
const STRAY = [
  ["leads elsewhere", "198.18.0.1 192.0.2.9"],
  ["leads to a real with another fake", "198.18.0.9 192.0.2.1"],
  ["was never translated", "198.18.0.1 198.18.0.1"],
  ["was never translated, to a fake that nobody has", "198.18.0.7 198.18.0.7"],
  ["goes to an address that is never given", "198.18.0.0 192.0.2.9"],
] as const;

for (const [what, stray] of STRAY) {
  Deno.test(`Connections.tidy() deletes a connection that ${what}`, () => {
    const world = new World("198.18.0.1 192.0.2.1", stray);
    adopt(world.nat.tables[4], "198.18.0.1", "192.0.2.1");
    world.connections.expectStray();
    world.tidy();
    assertEquals(world.left, ["198.18.0.1 192.0.2.1"]);
    // It is looked at once more.
    assert(world.connections.isTidyDue);
    world.tidy();
    assert(!world.connections.isTidyDue);
    assertEquals(world.nft.disconnected.length, 1);
  });
}

Deno.test("Connections.tidy() makes the fakes of stray connections used, when they cannot be deleted", () => {
  const world = new World("198.18.0.9 192.0.2.1");
  adopt(world.nat.tables[4], "198.18.0.1", "192.0.2.1");
  world.nft.isDeletionVain = true;
  world.connections.expectStray();
  world.tidy();
  assert(world.connections.isUsed(addition("198.18.0.9", "192.0.2.5")));
});

Deno.test("Connections.tidy() gives up, when it has been in vain for long enough", () => {
  for (const trouble of ["vain", "unlisted"]) {
    const world = new World("198.18.0.1 198.18.0.1");
    if (trouble === "vain") world.nft.isDeletionVain = true;
    else world.nft.connectionsProblem = "conntrack is not there";
    world.connections.expectStray();
    let times = 0;
    for (; world.connections.isTidyDue; times++) world.tidy();
    assertEquals(times, TIDY_ATTEMPTS_MAX + (trouble === "vain" ? 1 : 0), trouble);
    world.connections.expectStray();
    assert(world.connections.isTidyDue);
  }
});

Deno.test("Connections.tidy() goes on, as long as it gets somewhere", () => {
  const stray = Array.from({ length: 20 }, (_, n) => `198.18.0.${n + 1} 198.18.0.${n + 1}`);
  const world = new World(...stray);
  const { disconnect } = world.nft;
  // As a kernel that deletes one at a time.
  world.nft.disconnect = (pairs) => disconnect.call(world.nft, pairs.slice(0, 1));
  world.connections.expectStray();
  for (let n = 0; n < 20; n++) world.tidy();
  assertEquals(world.left, []);
});

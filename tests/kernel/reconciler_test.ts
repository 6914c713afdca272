/** What makes the kernel what the tables say. */
import { assertEquals, assertThrows } from "@std/assert";
import { Connections } from "../../lib/kernel/connections.ts";
import { Reconciler, type Repair } from "../../lib/kernel/reconciler.ts";
import { KernelProblem } from "../../lib/kernel/writer.ts";
import type { Change } from "../../lib/nat/changes.ts";
import { addressToText } from "../../lib/address.ts";
import { take } from "../../lib/util/steps.ts";
import { FakeNft } from "../support/fake_nft.ts";
import { makeNat, obtain, pairsOf } from "../support/nat.ts";

/** Tables before a kernel that answers at once. */
class World {
  readonly nat = makeNat();
  readonly nft = new FakeNft();
  readonly connections = new Connections({
    kernel: this.nft,
    mappings: this.nat.mappings,
    report: () => {},
  });
  readonly reconciler = new Reconciler({
    kernel: this.nft,
    connections: this.connections,
    ...this.nat,
    now: () => 5,
  });

  constructor() {
    this.nft.isImmediate = true;
  }

  ask(real: string): string {
    return obtain(this.nat.tables[real.includes(":") ? 6 : 4], real, 0);
  }

  /** Brings over what the log has. */
  commit(): void {
    this.nft.commit(this.nat.log.takeAll());
  }

  compare(): Repair {
    return take(this.reconciler.compare()) as Repair;
  }
}

function textsOf(changes: readonly Change[]): string[] {
  return changes.map(({ kind, fake, real, part }) =>
    [kind, part, ...[fake, real].map(addressToText)].filter((word) => word !== undefined).join(" ")
  );
}

Deno.test("Reconciler.compare() finds nothing, when the kernel is as the tables say", () => {
  const world = new World();
  world.ask("192.0.2.1");
  world.ask("2001:db8::1");
  world.commit();
  const { changes, pending, revision, foreign } = world.compare();
  assertEquals([changes, pending, revision, foreign], [[], [], 2, 0]);
});

Deno.test("Reconciler.compare() says what is missing or wrong, when somebody has changed the kernel", () => {
  const world = new World();
  const fake = world.ask("192.0.2.1");
  world.commit();
  world.nft.kernel.elements("nat_map").set(fake, "203.0.113.9");
  world.nft.kernel.elements("nat_addr6").set("2001:db8::9", "");
  const { changes, foreign } = world.compare();
  assertEquals(textsOf(changes), [
    `delete map ${fake} 203.0.113.9`,
    `add ${fake} 192.0.2.1`,
    "delete set 2001:db8::9 2001:db8::9",
  ]);
  assertEquals(foreign, 3);
});

Deno.test("Reconciler.compare() takes what the log has, and counts that as nobody else's", () => {
  const world = new World();
  const fake = world.ask("192.0.2.1");
  const { changes, pending, revision, foreign } = world.compare();
  assertEquals(textsOf(changes), [`add ${fake} 192.0.2.1`]);
  assertEquals([textsOf(pending), revision, foreign], [textsOf(changes), 1, 0]);
  assertEquals(world.nat.log.size, 0);
});

Deno.test("Reconciler.compare() names a renewal, as long as it may not have been made and is wanted", () => {
  const world = new World();
  const fake = world.ask("192.0.2.1");
  world.commit();
  world.nat.tables[4].renew(0, 1);
  const renewals = world.nat.log.takeAll();
  for (let turn = 0; turn < 2; turn++) {
    world.reconciler.noteUnwritten(renewals);
    assertEquals(textsOf(world.compare().changes), [`renew ${fake} 192.0.2.1`]);
  }
  world.reconciler.noteWritten();
  assertEquals(world.compare().changes, []);
  world.nat.tables[4].renew(0, 1);
  assertEquals(textsOf(world.compare().changes), [`renew ${fake} 192.0.2.1`]);
  world.nat.tables[4].expire(1e9);
  world.nft.commit(world.nat.log.takeAll());
  assertEquals(world.compare().changes, []);
});

Deno.test("Reconciler.adopt() takes pairs over once, those that the kernel has had for longest first", () => {
  const world = new World();
  const { kernel } = world.nft;
  kernel.timeoutS = 100;
  kernel.nowMs = 60_000;
  for (const [n, addedMs] of [[2, 30_000], [1, 0], [3, 20_000]] as const) {
    kernel.put(`198.18.0.${n}`, `192.0.2.${n}`, addedMs);
  }
  world.reconciler.adopt();
  assertEquals(world.compare().changes, []);
  const table = world.nat.tables[4];
  assertEquals(pairsOf(table), [1, 3, 2].map((n) => `198.18.0.${n} 192.0.2.${n}`));
  // The oldest was added a minute before, and two fifths of its lifetime may pass.
  assertEquals(table.nextRenewalMs, 5 - 60_000 + 40_000);
  kernel.elements("nat_map").set("198.18.0.9", "192.0.2.9");
  assertEquals(textsOf(world.compare().changes), ["delete map 198.18.0.9 192.0.2.9"]);
});

Deno.test("Reconciler.compare() heeds the kernel's timeout, when the table was replaced by another", () => {
  const world = new World();
  world.ask("192.0.2.1");
  world.commit();
  world.compare();
  assertEquals(world.nat.tables[4].nextRenewalMs, Infinity);
  world.nft.kernel.timeoutS = 10;
  world.compare();
  assertEquals(world.nat.tables[4].nextRenewalMs, 4_000);
});

Deno.test("Reconciler.compare() throws and leaves the log alone, when the kernel cannot be read", () => {
  const world = new World();
  world.ask("192.0.2.1");
  world.nft.state = "away";
  assertThrows(() => world.compare(), KernelProblem);
  assertEquals(world.nat.log.size, 1);
});

Deno.test("Reconciler.adopt() takes over what conntrack knows of fakes that have expired", () => {
  const world = new World();
  world.nft.kernel.elements("nat_map").set("198.18.0.1", "192.0.2.1");
  world.nft.kernel.elements("nat_addr").set("192.0.2.1", "");
  world.nft.kernel.connections.add("198.18.0.1 192.0.2.1").add("198.18.0.2 192.0.2.2");
  world.nft.kernel.connections.add("2001:2::3 2001:db8::3");
  world.reconciler.adopt();
  assertEquals(world.compare().changes, []);
  const { 4: four, 6: six } = world.nat.tables;
  assertEquals([four.size, four.quarantined, six.size, six.quarantined], [1, 1, 0, 1]);
  assertEquals(world.connections.isTidyDue, false);
  assertEquals([world.ask("192.0.2.2"), world.ask("2001:db8::3")], ["198.18.0.2", "2001:2::3"]);
});

Deno.test("Reconciler.adopt() leaves something to be tidied up, when connections fit no mapping or are unknown", () => {
  for (const trouble of ["another real", "not translated", "cannot be listed"]) {
    const world = new World();
    world.nft.kernel.elements("nat_map").set("198.18.0.1", "192.0.2.1");
    world.nft.kernel.elements("nat_addr").set("192.0.2.1", "");
    if (trouble === "another real") world.nft.kernel.connections.add("198.18.0.1 192.0.2.9");
    if (trouble === "not translated") world.nft.kernel.connections.add("198.18.0.5 198.18.0.5");
    if (trouble === "cannot be listed") world.nft.connectionsProblem = "conntrack is not there";
    world.reconciler.adopt();
    assertEquals(world.compare().changes, [], trouble);
    assertEquals([world.nat.mappings.size, world.connections.isTidyDue], [1, true], trouble);
  }
});

/**
 * The promise as a model: pool, tables, committer and a fake nft are driven with random questions,
 * time, connections, failures, restarts and hands that meddle, and after every step what was handed out
 * must work and lead nowhere else, in the maps and in conntrack. The model knows nothing of how it is
 * done: it remembers what clients were told, and looks at the kernel.
 */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { addressToText, type Family } from "../lib/address.ts";
import { type Asked, Committing } from "./support/committing.ts";
import { FakeKernel, FakeNft } from "./support/fake_nft.ts";
import { activePairs, bytesOf, type NatOptions, noteTraffic } from "./support/nat.ts";
import { holdsAsync } from "./support/property.ts";

const TTL_MS = 10_000;
const QUARANTINE_MS = 10_000;
/** How long a client that behaves uses an answer. */
const CLIENT_MS = TTL_MS / 2;
const FAMILIES = [4, 6] as const;

const PREFIXES = { ipv4: "198.18.0.0/28", ipv6: "2001:2::/124" } as const;
/** What the two prefixes can give. */
const USABLE: Readonly<Record<Family, ReadonlySet<string>>> = {
  4: new Set(Array.from({ length: 14 }, (_, i) => `198.18.0.${i + 1}`)),
  6: new Set(Array.from({ length: 15 }, (_, i) => `2001:2::${(i + 1).toString(16)}`)),
};

/** More reals than there are fakes, even numbers IPv4, odd ones IPv6. */
const REALS = 80;

function realOf(n: number): string {
  return n % 2 === 0 ? `192.0.2.${n + 1}` : `2001:db8::${(n + 1).toString(16)}`;
}

function fakeOf(n: number): string {
  const [four, six] = [[...USABLE[4]], [...USABLE[6]]];
  return (n % 2 === 0 ? four[(n >>> 1) % four.length] : six[(n >>> 1) % six.length]) ?? "";
}

function familyOf(address: string): Family {
  return address.includes(":") ? 6 : 4;
}

/** What clients were told of a fake. */
interface Handed {
  readonly real: string;
  /** When it was handed out last, or carried traffic last. */
  atMs: number;
  usedMs: number;
}

/** A gateway over its runs, and what its clients know. */
class Gateway {
  readonly #options: NatOptions;
  readonly #evicts: boolean;
  readonly kernel = new FakeKernel("dotp");
  run: Committing;
  #asked: Asked[] = [];
  /** By fake. */
  readonly #handed = new Map<string, Handed>();
  /** Fakes that do not lead where they should since somebody meddled, which nobody has noticed yet. */
  readonly #edited = new Set<string>();
  readonly #refusedEver = new Set<string>();
  /** Whether this run knows what the one before it left; until then nothing is handed out. */
  #isAdopted = true;

  constructor(evicts: boolean) {
    this.#evicts = evicts;
    this.#options = {
      ...PREFIXES,
      ttlMs: TTL_MS,
      quarantineMs: QUARANTINE_MS,
      ttlMaxMs: evicts ? Infinity : 3 * TTL_MS,
      evictAfterMs: evicts ? CLIENT_MS : Infinity,
    };
    this.run = this.#start(0);
  }

  ask(n: number): void {
    const asked = this.run.ask(realOf(n), { name: `${n % 3}.test`, client: `${n % 5}` });
    if (asked !== undefined) this.#asked.push(asked);
  }

  /** Many names at once, of one IP version: more than its pool can give. */
  flood(n: number): void {
    for (let i = 0; i < REALS; i += 2) this.ask((n + i) % REALS);
  }

  pass(ms: number): void {
    this.run.pass(ms);
  }

  /** Nobody does anything for so long that any fake may get another real. */
  async idle(): Promise<void> {
    for (const ms of [TTL_MS, QUARANTINE_MS + 1]) {
      this.pass(ms);
      await this.run.settle();
    }
  }

  traffic(n: number): void {
    const fake = fakeOf(n);
    noteTraffic(this.run.nat.tables[familyOf(fake)], [fake], this.run.nowMs);
    const handed = this.#handed.get(fake);
    // Once it is another's, the connection is deleted before that is handed out.
    const isOthers = this.#active().some((pair) =>
      pair.fake === fake && pair.real !== handed?.real
    );
    if (handed !== undefined && !isOthers) handed.usedMs = this.run.nowMs;
  }

  /** A client opens a connection to a fake, unless a foreign hand has led that astray. */
  connect(n: number): void {
    const fake = fakeOf(n);
    const isOurs = this.#active().some(({ fake: ours }) => ours === fake);
    if (isOurs && !this.#edited.has(fake)) this.kernel.connect(fake);
  }

  /** Connections to a fake end. */
  disconnect(n: number): void {
    for (const real of this.kernel.connectedTo(fakeOf(n))) {
      this.kernel.connections.delete(`${fakeOf(n)} ${real}`);
    }
  }

  /** conntrack fails from now on; but for when a new run asks what the one before it has left. */
  deafen(): void {
    if (this.#isAdopted) this.run.nft.connectionsProblem = "conntrack hung and was ended";
  }

  /** Somebody looks which fakes have connections. */
  list(): void {
    const { settled } = this.run.barrier;
    const fakes = Array.from(this.kernel.connections, (pair) => pair.split(" ")[0]!);
    for (const family of FAMILIES) {
      const ours = fakes.filter((fake) => familyOf(fake) === family);
      const connections = ours.map((fake) => ({ fake: bytesOf(fake) }));
      this.run.nat.tables[family].noteConnections(connections, settled);
    }
  }

  missed(n: number): void {
    const fake = fakeOf(n);
    this.run.nat.tables[familyOf(fake)].reactivate(bytesOf(fake), this.run.nowMs);
    this.run.committer.start();
  }

  renew(n: number): void {
    for (const family of FAMILIES) this.run.nat.tables[family].renew(this.run.nowMs, n);
    this.run.committer.start();
  }

  refuse(n: number): void {
    this.#refusedEver.add(realOf(n));
    this.kernel.refused.add(realOf(n));
  }

  /** Somebody changes the kernel's sets by hand. */
  edit(how: number, n: number): void {
    const [fake, real] = [fakeOf(n), realOf(n)];
    const [map, set] = familyOf(fake) === 4 ? ["nat_map", "nat_addr"] : ["nat_map6", "nat_addr6"];
    const [pairs, reals] = [this.kernel.elements(map), this.kernel.elements(set)];
    const edits: (() => unknown)[] = [
      () => pairs.clear(),
      () => reals.clear(),
      () => pairs.delete(fake),
      () => reals.delete(real),
      () => pairs.set(fake, real),
      () => reals.set(real, ""),
      () => pairs.set(familyOf(fake) === 4 ? "203.0.113.1" : "2001:db8:1::1", real),
    ];
    edits[how % edits.length]?.();
    // What goes before it was taken over is known to nobody any more.
    if (!this.#isAdopted) this.#forgetWhatIsGone();
    for (const [handed, { real: to }] of this.#handed) {
      if (!this.kernel.holds(familyOf(to), handed, to)) this.#edited.add(handed);
    }
    for (const { fake, real } of this.#active()) {
      if (!this.kernel.holds(familyOf(real), fake, real)) this.#edited.add(fake);
    }
  }

  /** kill -9 and a new start, which takes over what the kernel has. */
  async restart(): Promise<void> {
    // What has got as far as the kernel gets there; what has not does not any more.
    this.run.nft.hold();
    await this.run.settle();
    this.#noteAnswers();
    this.#forgetWhatIsGone();
    this.#asked = [];
    this.run = this.#start(this.run.nowMs);
    const { run } = this;
    this.#isAdopted = false;
    void run.committer.adopt().then(() => this.#isAdopted ||= run === this.run);
  }

  /** Everything becomes well, and somebody looks. */
  async comeToRest(): Promise<void> {
    this.run.nft.state = "up";
    this.run.nft.connectionsProblem = undefined;
    this.kernel.refused.clear();
    this.run.nft.release();
    for (let i = 0; i < 3; i++) {
      await this.run.settle();
      this.run.retry();
    }
    await this.run.committer.verify();
    this.#noteAnswers();
    this.#edited.clear();
  }

  check(): void {
    this.#noteAnswers();
    this.#checkPairs();
    for (const [fake, { real, atMs }] of this.#handed) {
      if (this.run.nowMs - atMs >= CLIENT_MS || this.#edited.has(fake)) continue;
      const isThere = this.kernel.holds(familyOf(real), fake, real);
      assert(isThere, `${fake} was handed out for ${real} and does not lead there any more`);
    }
  }

  checkQuiet(): void {
    for (const family of FAMILIES) {
      assertEquals(this.kernel.list(family), this.run.expected(family));
    }
    assertEquals(this.run.nat.log.size, 0);
    for (const { answer, real } of this.#asked) {
      assert(answer !== undefined, `nobody told the reply about ${real}`);
    }
  }

  #start(nowMs: number): Committing {
    const run = new Committing(this.#options, new FakeNft(this.kernel));
    run.nowMs = nowMs;
    return run;
  }

  /**
   * A new run knows what the kernel knows: neither what a foreign hand took out, nor what is quarantined
   * without a connection.
   */
  #forgetWhatIsGone(): void {
    const leads = (fake: string, real: string) =>
      this.kernel.elements(familyOf(fake) === 4 ? "nat_map" : "nat_map6").get(fake) === real;
    for (const [fake, { real }] of this.#handed) {
      if (!leads(fake, real)) this.#handed.delete(fake);
    }
  }

  #active(): { fake: string; real: string }[] {
    return FAMILIES.flatMap((family) =>
      activePairs(this.run.nat.tables[family]).map(({ fake, real }) => ({
        fake: addressToText(fake),
        real: addressToText(real),
      }))
    );
  }

  /** What clients were told since the last time. */
  #noteAnswers(): void {
    for (const { answer, wasTrue, answeredMs, fake, real } of this.#asked) {
      if (answer !== true || answeredMs === undefined) continue;
      assert(
        wasTrue || this.#edited.has(fake),
        `${fake} was handed out for ${real} and was not in the kernel`,
      );
      const strays = this.kernel.connectedTo(fake).filter((to) => to !== real);
      assert(
        strays.length === 0 || this.#edited.has(fake),
        `${fake} was handed out for ${real}, and conntrack leads it to ${strays.join()}`,
      );
      const before = this.#handed.get(fake);
      if (before !== undefined && before.real !== real) this.#checkQuarantine(fake, before, real);
      if (before?.real === real) before.atMs = Math.max(before.atMs, answeredMs);
      else this.#handed.set(fake, { real, atMs: answeredMs, usedMs: 0 });
    }
    this.#asked = this.#asked.filter(({ answer }) => answer === undefined);
  }

  /** One to one, in the prefix, and no fake on a second real before its quarantine is over. */
  #checkPairs(): void {
    const active = this.#active();
    assertEquals(new Set(active.map(({ fake }) => fake)).size, active.length);
    assertEquals(new Set(active.map(({ real }) => real)).size, active.length);
    for (const { fake, real } of active) {
      assert(USABLE[familyOf(fake)].has(fake), `${fake} is never to be given`);
      assert(!USABLE[familyOf(real)].has(real), `${real} is a fake itself`);
      const before = this.#handed.get(fake);
      if (!this.#isAdopted || before === undefined || before.real === real) continue;
      this.#checkQuarantine(fake, before, real);
    }
  }

  #checkQuarantine(fake: string, { real, atMs, usedMs }: Handed, next: string): void {
    // What the kernel refused ends before its time, but no sooner than clients' answers.
    const leastMs = this.#evicts
      ? CLIENT_MS
      : this.#refusedEver.has(real)
      ? QUARANTINE_MS
      : TTL_MS + QUARANTINE_MS;
    const what = `${fake} goes from ${real} to ${next}`;
    // A foreign hand led it there, and a restart took that over.
    if (this.#edited.has(fake)) return;
    assert(this.run.nowMs - atMs >= leastMs, `${what} ${this.run.nowMs - atMs} ms later`);
    const usedLeastMs = this.#evicts ? CLIENT_MS : QUARANTINE_MS;
    assert(usedMs === 0 || this.run.nowMs - usedMs >= usedLeastMs, `${what} under traffic`);
  }
}

type Step = readonly [what: keyof typeof STEPS, n: number, m: number];

/** What may happen, and how often. */
const STEPS = {
  ask: 14,
  flood: 3,
  pass: 5,
  idle: 3,
  settle: 6,
  traffic: 2,
  connect: 4,
  disconnect: 1,
  deafen: 1,
  undeafen: 2,
  list: 2,
  missed: 1,
  renew: 1,
  verify: 1,
  edit: 2,
  hold: 1,
  release: 2,
  away: 1,
  dies: 1,
  up: 3,
  retry: 3,
  refuse: 1,
  allow: 2,
  restart: 1,
} as const;

const TIMES_MS = [0, 1, 700, CLIENT_MS, TTL_MS, QUARANTINE_MS + 1];

const STEP: fc.Arbitrary<Step> = fc.tuple(
  fc.oneof(
    ...Object.entries(STEPS).map(([what, weight]) => ({
      weight,
      arbitrary: fc.constant(what as keyof typeof STEPS),
    })),
  ),
  fc.nat(REALS - 1),
  fc.nat(100),
);

async function take(gateway: Gateway, [what, n, m]: Step): Promise<void> {
  const { nft, committer } = gateway.run;
  switch (what) {
    case "pass":
      return gateway.pass(TIMES_MS[n % TIMES_MS.length] ?? 0);
    case "idle":
      return await gateway.idle();
    case "settle":
      return await gateway.run.settle();
    case "verify":
      return void committer.verify();
    case "edit":
      return gateway.edit(m, n);
    case "hold":
    case "release":
      return nft[what]();
    case "away":
    case "dies":
    case "up":
      nft.state = what;
      return;
    case "undeafen":
      nft.connectionsProblem = undefined;
      return;
    case "retry":
      return gateway.run.retry();
    case "allow":
      return void gateway.kernel.refused.delete(realOf(n));
    case "restart":
      return await gateway.restart();
    default:
      return gateway[what](n);
  }
}

for (const evicts of [false, true]) {
  const policy = evicts ? "evict" : "servfail";
  Deno.test(`a mapping never lies, when anything may happen and a full pool does ${policy}`, async () => {
    const steps = fc.array(STEP, { minLength: 20, maxLength: 100, size: "max" });
    const property = fc.asyncProperty(steps, async (steps) => {
      const gateway = new Gateway(evicts);
      for (const step of steps) {
        await take(gateway, step);
        gateway.check();
      }
      await gateway.comeToRest();
      gateway.check();
      gateway.checkQuiet();
    });
    await holdsAsync(`model ${policy}`, property, 300);
  });
}

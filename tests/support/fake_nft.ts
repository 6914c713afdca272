/**
 * An nft with a kernel behind it, both imitated: it makes the text of a transaction, reads it again,
 * keeps sets, maps and connections, takes a line whole or not at all, and refuses what the kernel
 * refuses in the kernel's words. It can be held, be away, die halfway, answer at once, and be told to
 * refuse an element or to delete no connection. What an admin or a client does is done to `kernel`.
 */
import { addressToText, type Family, parseAddress } from "../../lib/address.ts";
import type {
  CommitResult,
  Eventually,
  Kernel,
  KernelState,
  NoteSet,
  ReadResult,
} from "../../lib/kernel/kernel.ts";
import { AddressList, PairList } from "../../lib/kernel/lists.ts";
import type { Change, Pair } from "../../lib/nat/changes.ts";
import { reasonOf } from "../../lib/nft/complaint.ts";
import { changesToScript } from "../../lib/nft/script.ts";

/** A set has empty values. */
type Elements = Map<string, string>;

/** When elements were added, in milliseconds, by set and key. */
type Added = Map<string, number>;

const NAMES = {
  4: { set: "nat_addr", map: "nat_map" },
  6: { set: "nat_addr6", map: "nat_map6" },
} as const;

const COMMAND = /^(add|delete) element inet (\w+) (\w+) \{(.+)\}$/;

/** What the kernel holds of one table. */
export class FakeKernel {
  readonly table: string;
  /** The most elements of one set or map. */
  sizeMax = Infinity;
  /** Elements that may not be added, by fake or real address. */
  readonly refused = new Set<string>();
  /** After how many seconds an element is forgotten that was not added anew. */
  timeoutS = Infinity;
  nowMs = 0;
  /** Connections, as `fake real`; where one was never translated both are the fake. */
  readonly connections = new Set<string>();
  /** As kernels before 6.12 do it, which do not renew what is added again. */
  readonly #added: Added = new Map();
  #elements: ReadonlyMap<string, Elements> = new Map(
    Object.values(NAMES).flatMap(({ set, map }) => [[set, new Map()], [map, new Map()]]),
  );

  constructor(table: string) {
    this.table = table;
  }

  /** Carries a line out whole; or says why not, and nothing has happened. */
  run(line: string): string | undefined {
    const before = this.#elements;
    this.#elements = new Map(Array.from(before, ([name, elements]) => [name, new Map(elements)]));
    for (const command of line.split(";")) {
      const problem = this.#execute(command);
      if (problem === undefined) continue;
      this.#elements = before;
      return problem;
    }
    return undefined;
  }

  /** The elements of a set or map; to be changed by hand. */
  elements(name: string): Elements {
    const elements = this.#elements.get(name);
    if (elements === undefined) throw new RangeError(`Cannot find "${name}": it is no set of ours`);
    return elements;
  }

  /** Adds a mapping by hand, to the map and the set; `addedMs` as if an earlier run had done it. */
  put(fake: string, real: string, addedMs?: number): void {
    const { map, set } = NAMES[fake.includes(":") ? 6 : 4];
    this.elements(map).set(fake, real);
    this.elements(set).set(real, "");
    if (addedMs === undefined) return;
    this.#added.set(`${map} ${fake}`, addedMs).set(`${set} ${real}`, addedMs);
  }

  /** A client sends something to a fake: to its real, or nowhere where there is none. */
  connect(fake: string): void {
    const real = this.elements(fake.includes(":") ? NAMES[6].map : NAMES[4].map).get(fake);
    if (real !== undefined) this.connections.add(`${fake} ${real}`);
  }

  /** Where connections to a fake lead. */
  connectedTo(fake: string): string[] {
    return Array.from(this.connections, (pair) => pair.split(" "))
      .filter(([to]) => to === fake).map(([, real = ""]) => real);
  }

  /** Everything of both families; what is equal is equal text. */
  get all(): string {
    return ([4, 6] as const).map((family) => this.list(family).join()).join(";");
  }

  /** Seconds until an element is forgotten. */
  expiresS(name: string, key: string): number {
    return this.timeoutS - (this.nowMs - (this.#added.get(`${name} ${key}`) ?? 0)) / 1_000;
  }

  /** Lets time pass; forgets what nobody has renewed. */
  pass(ms: number): void {
    this.nowMs += ms;
    if (this.timeoutS === Infinity) return;
    for (const [name, elements] of this.#elements) {
      for (const key of elements.keys()) {
        if (this.expiresS(name, key) <= 0) elements.delete(key);
      }
    }
  }

  /** Everything of one family, as `fake real` and as `real`, sorted. */
  list(family: Family): string[] {
    const { set, map } = NAMES[family];
    const pairs = Array.from(this.elements(map), ([fake, real]) => `${fake} ${real}`);
    return [...pairs, ...this.elements(set).keys()].sort();
  }

  /** Whether a fake leads to a real and the real is in the set. */
  holds(family: Family, fake: string, real: string): boolean {
    const { set, map } = NAMES[family];
    return this.elements(map).get(fake) === real && this.elements(set).has(real);
  }

  #execute(command: string): string | undefined {
    const [, verb, table, name = "", list = ""] = COMMAND.exec(command) ?? [];
    if (verb === undefined) return `syntax error, unexpected ${command}`;
    const elements = this.#elements.get(name);
    if (table !== this.table || elements === undefined) return "No such file or directory";
    const named = new Set<string>();
    for (const element of list.split(",")) {
      const [key = "", value = ""] = element.split(" : ").map(canonical);
      const problem = verb === "add"
        ? this.#add(elements, name, key, value, named)
        : elements.delete(key)
        ? undefined
        : "Could not process rule: No such file or directory";
      if (problem !== undefined) return problem;
      named.add(key);
    }
    return undefined;
  }

  #add(
    elements: Elements,
    name: string,
    key: string,
    value: string,
    named: ReadonlySet<string>,
  ): string | undefined {
    if (name.startsWith("nat_map") !== (value !== "")) return "datatype mismatch";
    if (this.refused.has(key) || this.refused.has(value)) {
      return "Could not process rule: Invalid argument";
    }
    const known = elements.get(key);
    if (named.has(key) || (known !== undefined && known !== value)) {
      return "Could not process rule: File exists";
    }
    if (known === undefined && elements.size >= this.sizeMax) {
      return "Could not process rule: Too many open files in system";
    }
    elements.set(key, value);
    if (known === undefined) this.#added.set(`${name} ${key}`, this.nowMs);
    return undefined;
  }
}

/** The kernel that a committer is given. */
export class FakeNft implements Kernel {
  readonly kernel: FakeKernel;
  /** Transactions that were begun, in order. */
  readonly scripts: string[] = [];
  /** Pairs whose connections were deleted, with how many transactions had been begun before. */
  readonly disconnected: { readonly pairs: readonly string[]; readonly scripts: number }[] = [];
  /** Why connections can be neither listed nor deleted, where that is so. */
  connectionsProblem: string | undefined;
  /** Whether a deletion of connections is done and helps nothing. */
  isDeletionVain = false;
  /** How often sets, what the rules note, and connections have been read. */
  reads = 0;
  noteReads = 0;
  connectionReads = 0;
  /** Whether nft works, is missing, or dies once the kernel has taken a transaction. */
  state: "up" | "away" | "dies" = "up";
  /** Whether it answers at once, as netlink does; it cannot be held then. */
  isImmediate = false;
  /** What the rules have noted, by set, with the age in seconds of each fake. */
  readonly notes: Record<NoteSet, Map<string, number>> = { seen: new Map(), missed: new Map() };
  /** Whether the table has those sets. */
  hasNotes = true;
  /** Called as something is begun to be read. */
  onRead: (what: "sets" | "notes" | "connections") => void = () => {};
  #running = 0;
  #released = Promise.resolve();
  #release = () => {};

  /** @param kernel one that has been there before, where there is one */
  constructor(kernel = new FakeKernel("dotp")) {
    this.kernel = kernel;
  }

  /** From now on everything waits for `release`. */
  hold(): void {
    this.#release();
    ({ promise: this.#released, resolve: this.#release } = Promise.withResolvers<void>());
  }

  /** Lets go on what was held. */
  release(): void {
    this.#release();
    this.#released = Promise.resolve();
  }

  commit(changes: readonly Change[]): Eventually<CommitResult> {
    const script = changesToScript(this.kernel.table, changes);
    if (script === "") return { kind: "done" };
    this.scripts.push(script);
    return this.#answer(() => {
      const problem = this.state === "away" ? undefined : this.kernel.run(script);
      if (this.state !== "up") return { kind: "unavailable", detail: "nft hung and was ended" };
      if (problem === undefined) return { kind: "done" };
      return { kind: "refused", reason: reasonOf(problem), detail: problem };
    });
  }

  read(family: Family): Eventually<ReadResult<KernelState>> {
    this.reads++;
    this.onRead("sets");
    return this.#answer(() => {
      if (this.state !== "up") return { kind: "unavailable", detail: "nft is not there" };
      const { set, map } = NAMES[family];
      const { timeoutS } = this.kernel;
      const pairs = new PairList(family);
      const reals = new AddressList(family);
      for (const [fake, real] of this.kernel.elements(map)) {
        const ageS = timeoutS === Infinity ? 0 : timeoutS - this.kernel.expiresS(map, fake);
        pairs.add(parseAddress(fake).bytes, parseAddress(real).bytes, ageS);
      }
      for (const real of this.kernel.elements(set).keys()) reals.add(parseAddress(real).bytes);
      return { kind: "done", value: { pairs, reals, timeoutS } };
    });
  }

  readNotes(family: Family, set: NoteSet): Eventually<ReadResult<AddressList>> {
    this.noteReads++;
    this.onRead("notes");
    return this.#answerBeside(() => {
      if (this.state !== "up") return { kind: "unavailable", detail: "nft is not there" };
      if (!this.hasNotes) return { kind: "refused", reason: "missing", detail: "No such set" };
      const value = new AddressList(family);
      for (const [fake, ageS] of this.notes[set]) value.add(parseAddress(fake).bytes, ageS);
      return { kind: "done", value };
    });
  }

  readConnections(family: Family): Eventually<ReadResult<PairList>> {
    this.connectionReads++;
    this.onRead("connections");
    return this.#answerBeside(() => {
      const detail = this.connectionsProblem;
      if (detail !== undefined) return { kind: "unavailable", detail };
      const value = new PairList(family);
      for (const pair of this.kernel.connections) {
        const [fake = "", real = ""] = pair.split(" ");
        value.add(parseAddress(fake).bytes, parseAddress(real).bytes);
      }
      return { kind: "done", value };
    });
  }

  disconnect(pairs: readonly Pair[]): Eventually<CommitResult> {
    const names = pairs.map(({ fake, real }) => `${addressToText(fake)} ${addressToText(real)}`);
    this.disconnected.push({ pairs: names, scripts: this.scripts.length });
    return this.#answer(() => {
      const detail = this.connectionsProblem;
      if (detail !== undefined) return { kind: "unavailable", detail };
      for (const name of this.isDeletionVain ? [] : names) this.kernel.connections.delete(name);
      return { kind: "done" };
    });
  }

  /** One after the other, or the order is lost. */
  #answer<T>(work: () => T): Eventually<T> {
    if (this.isImmediate) return work();
    if (++this.#running > 1) throw new Error("two transactions run at once");
    return this.#released.then(() => {
      this.#running--;
      return work();
    });
  }

  /** Beside whatever else is in flight. */
  #answerBeside<T>(work: () => T): Eventually<T> {
    return this.isImmediate ? work() : this.#released.then(work);
  }
}

function canonical(text: string): string {
  return addressToText(parseAddress(text.trim()).bytes);
}

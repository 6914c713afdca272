/**
 * An nft with a kernel behind it, both imitated: it reads the text of a transaction, keeps sets and
 * maps, takes a line whole or not at all, and refuses what the kernel refuses in the kernel's words.
 * It can be held, be away, die halfway and be told to refuse an element. What an admin does by hand
 * is done to `kernel`.
 */
import { addressToText, type Family, parseAddress } from "../../lib/address.ts";
import type { KernelState, Nft, NftResult } from "../../lib/kernel/committer.ts";

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

  /** Everything of both families; what is equal is equal text. */
  get all(): string {
    return ([4, 6] as const).map((family) => this.list(family).join()).join(";");
  }

  /** Seconds until an element is forgotten. */
  expiresS(name: string, key: string): number {
    return this.timeoutS - (this.nowMs - (this.#added.get(`${name} ${key}`) ?? 0)) / 1_000;
  }

  /** Says when an element was added, as if an earlier run had done it. */
  setAdded(name: string, key: string, atMs: number): void {
    this.#added.set(`${name} ${key}`, atMs);
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
    if (known === undefined) this.setAdded(name, key, this.nowMs);
    return undefined;
  }
}

/** The nft that a committer is given. */
export class FakeNft implements Nft {
  readonly kernel: FakeKernel;
  /** Transactions that were begun, in order. */
  readonly scripts: string[] = [];
  /** Fakes whose connections were forgotten, with how many transactions had been begun before. */
  readonly forgotten: { readonly fakes: readonly string[]; readonly scripts: number }[] = [];
  /** What `forget` fails with, where it does. */
  forgetProblem: string | undefined;
  /** How many sets have been read. */
  reads = 0;
  /** Whether nft works, is missing, or dies once the kernel has taken a transaction. */
  state: "up" | "away" | "dies" = "up";
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

  async run(script: string): Promise<NftResult> {
    this.scripts.push(script);
    await this.#enter();
    const problem = this.state === "away" ? undefined : this.kernel.run(script);
    this.#running--;
    if (this.state !== "up") return { kind: "unavailable", message: "nft hung and was ended" };
    return problem === undefined ? { kind: "done" } : { kind: "refused", message: problem };
  }

  async read(family: Family): Promise<KernelState> {
    this.reads++;
    await this.#enter();
    this.#running--;
    if (this.state !== "up") throw new Error("nft is not there");
    const { set, map } = NAMES[family];
    const { timeoutS } = this.kernel;
    const pairs = Array.from(this.kernel.elements(map), ([fake, real]) => ({
      fake: parseAddress(fake).bytes,
      real: parseAddress(real).bytes,
      ...(timeoutS === Infinity ? {} : { expiresS: this.kernel.expiresS(map, fake) }),
    }));
    const reals = Array.from(this.kernel.elements(set).keys(), (real) => parseAddress(real).bytes);
    return { pairs, reals, timeoutS };
  }

  forget(fakes: readonly Uint8Array[]): Promise<void> {
    this.forgotten.push({ fakes: fakes.map(addressToText), scripts: this.scripts.length });
    const problem = this.forgetProblem;
    return problem === undefined ? Promise.resolve() : Promise.reject(new Error(problem));
  }

  /** One after the other, or the order is lost. */
  async #enter(): Promise<void> {
    if (++this.#running > 1) throw new Error("two transactions run at once");
    await this.#released;
  }
}

function canonical(text: string): string {
  return addressToText(parseAddress(text.trim()).bytes);
}

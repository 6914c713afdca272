/**
 * The kernel by netlink: sets and maps of nftables, and connections of conntrack.
 *
 * A commit is one `send` and is over when it returns. Listings take their time and let others have turns
 * in between, one listing after the other; those of map and set are begun anew where a change has
 * overtaken them, those of what comes and goes by itself are not. What others do to maps and sets is told
 * at once, and what dotp does is not.
 *
 * @module
 */
import {
  ADDRESS_LENGTH,
  addressToText,
  contains,
  FAMILIES,
  type Family,
  type Prefix,
} from "../../address.ts";
import type {
  CommitResult,
  Kernel,
  KernelState,
  NoteSet,
  ReadResult,
  Refused,
  Unavailable,
} from "../../kernel/kernel.ts";
import { AddressList, PairList } from "../../kernel/lists.ts";
import type { Change, Pair } from "../../nat/changes.ts";
import { keyOf, netOf } from "../../nat/net.ts";
import type { Acknowledgement, MessageWriter } from "../../netlink/attributes.ts";
import {
  ConnectionView,
  writeCountConnections,
  writeDeleteConnection,
  writeListConnections,
} from "../../netlink/conntrack.ts";
import {
  beginBatch,
  elementAt,
  ElementCursor,
  endBatch,
  NFTABLES_GROUP,
  readNotice,
  readSet,
  type Refusal,
  refusalOf,
  type SetDescription,
  writeElements,
  writeGetSet,
  writeListElements,
} from "../../netlink/nftables.ts";
import { SET_NAMES } from "../../nft/script.ts";
import { errnoText, type Libc } from "./libc.ts";
import { NetlinkError, NetlinkSocket } from "./netlink.ts";

/** Notices that are taken before anyone else has a turn. */
const NOTICES_AT_ONCE = 64;

/** What a `DirectKernel` is made of. */
export interface DirectKernelOptions {
  readonly libc: Libc;
  /** Name of the table in family inet. */
  readonly table: string;
  /** Where fakes are taken from. */
  readonly prefixes: Readonly<Record<Family, Prefix>>;
  /** Resolves after a turn of the event loop. */
  readonly breathe: () => Promise<void>;
  /** Makes the table where it is gone; rejects with an `Error` where it cannot. */
  readonly loadRules: () => Promise<void>;
}

/** Sets, maps and connections of the kernel. */
export class DirectKernel implements Kernel {
  /** To be waited for in a loop. */
  readonly watch: KernelWatch;
  /** Told that somebody else has changed a map or set; called as often as it is noticed. */
  onForeign = (): void => {};
  readonly #options: DirectKernelOptions;
  readonly #commits: NetlinkSocket;
  readonly #lists: NetlinkSocket;
  readonly #element = new ElementCursor();
  readonly #connection = new ConnectionView();
  /** The listing in progress, and those that wait for it. */
  #listing: Promise<unknown> = Promise.resolve();

  /**
   * @throws {NetlinkError} where there is no netlink
   */
  constructor(options: DirectKernelOptions) {
    this.#options = options;
    this.#commits = new NetlinkSocket(options.libc);
    this.#lists = new NetlinkSocket(options.libc);
    const { libc, table } = options;
    const notice = () => this.onForeign();
    this.watch = new KernelWatch(new NetlinkSocket(libc), this.#commits.port, table, notice);
  }

  commit(changes: readonly Change[]): CommitResult {
    const { deletions, renewals, additions } = netOf(changes);
    const gone = [...deletions, ...renewals];
    const come = [...renewals, ...additions];
    if (gone.length + come.length === 0) return { kind: "done" };
    const result = this.#commits.transact((writer, sequence) => {
      beginBatch(writer, sequence);
      let next = this.#write(writer, "delete", gone, sequence + 1);
      next = this.#write(writer, "add", come, next);
      writer.acknowledge();
      endBatch(writer, next);
      return next + 1;
    });
    if (result.kind === "done") return result;
    if (result.kind === "unavailable") return { kind: "unavailable", detail: result.message };
    return this.#refused(result.errors[0]!);
  }

  /**
   * Lists map and set. A table that is gone is loaded from the rules file first, if there is one: who
   * lists them is about to fill them.
   */
  async read(family: Family): Promise<ReadResult<KernelState>> {
    const result = await this.#read(family);
    if (result.kind !== "refused" || result.reason !== "missing") return result;
    try {
      await this.#options.loadRules();
    } catch (error) {
      return { ...result, detail: (error as Error).message };
    }
    return await this.#read(family);
  }

  #read(family: Family): Promise<ReadResult<KernelState>> {
    return this.#inTurn(async () => {
      const { map, set } = SET_NAMES[family];
      const pairs = await this.#listElements(map, () => new PairList(family), addPair);
      const reals = await this.#listElements(set, () => new AddressList(family), addKey);
      const timeoutS = Math.min(pairs.timeoutS, reals.timeoutS);
      return { pairs: pairs.list, reals: reals.list, timeoutS };
    });
  }

  async readNotes(family: Family, notes: NoteSet): Promise<ReadResult<AddressList>> {
    return await this.#inTurn(async () => {
      const name = SET_NAMES[family][notes];
      const { list } = await this.#listElements(name, () => new AddressList(family), addKey, false);
      return list;
    });
  }

  async readConnections(family: Family): Promise<ReadResult<PairList>> {
    return await this.#inTurn(async () => {
      const list = new PairList(family);
      const known = new Set<string>();
      await this.#listConnections(family, (fake, connection) => {
        const real = connection.reply().source;
        const key = keyOf(fake) + keyOf(real);
        if (real.length !== fake.length || known.has(key)) return;
        known.add(key);
        list.add(fake, real);
      });
      return list;
    });
  }

  async disconnect(pairs: readonly Pair[]): Promise<CommitResult> {
    const wanted = new Set(pairs.map(({ fake, real }) => keyOf(fake) + keyOf(real)));
    for (const family of FAMILIES) {
      if (!pairs.some(({ fake }) => fake.length === ADDRESS_LENGTH[family])) continue;
      const result = await this.#inTurn(async () => {
        const found: Uint8Array[] = [];
        await this.#listConnections(family, (fake, connection) => {
          const key = keyOf(fake) + keyOf(connection.reply().source);
          if (wanted.has(key)) found.push(connection.identity());
        });
        for (const identity of found) this.#forget(family, identity);
      });
      if (result.kind !== "done") return result;
    }
    return { kind: "done" };
  }

  /**
   * Finds out whether the table can be written to: an element is added to each set and map and deleted
   * again in one transaction. The elements are the first addresses of the prefixes, which are never
   * fakes. Returns what is in the way, or undefined.
   */
  probe(): string | undefined {
    const { table, prefixes } = this.#options;
    const result = this.#commits.transact((writer, sequence) => {
      beginBatch(writer, sequence);
      let next = sequence + 1;
      for (const verb of ["add", "delete"] as const) {
        for (const family of FAMILIES) {
          const { map, set } = SET_NAMES[family];
          const key = prefixes[family].bytes;
          const pair = verb === "add" ? { key, data: key } : { key };
          next = writeElements(writer, verb, table, map, [pair], next);
          next = writeElements(writer, verb, table, set, [{ key }], next);
        }
      }
      writer.acknowledge();
      endBatch(writer, next);
      return next + 1;
    });
    if (result.kind === "done") return undefined;
    return result.kind === "unavailable" ? result.message : this.#refused(result.errors[0]!).detail;
  }

  /** Finds out whether connections can be listed; returns what is in the way, or undefined. */
  probeConnections(): string | undefined {
    try {
      const { errno } = this.#lists.ask(writeCountConnections);
      return errno === 0 ? undefined : new NetlinkError("Cannot ask conntrack", errno).message;
    } catch (error) {
      return (error as Error).message;
    }
  }

  /** Closes the sockets. */
  close(): void {
    this.#commits.close();
    this.#lists.close();
    this.watch.close();
  }

  /** Writes the elements of changes; returns the next sequence number. */
  #write(
    writer: MessageWriter,
    verb: "add" | "delete",
    changes: readonly Change[],
    sequence: number,
  ): number {
    const { table } = this.#options;
    let next = sequence;
    for (const family of FAMILIES) {
      const ours = changes.filter((change) => change.family === family);
      if (ours.length === 0) continue;
      const { map, set } = SET_NAMES[family];
      const inMap = ours.filter(({ part }) => part !== "set");
      const inSet = ours.filter(({ part }) => part !== "map");
      const pairs = inMap.map(({ fake, real }) =>
        verb === "add" ? { key: fake, data: real } : { key: fake }
      );
      next = writeElements(writer, verb, table, map, pairs, next);
      next = writeElements(
        writer,
        verb,
        table,
        set,
        inSet.map(({ real }) => ({ key: real })),
        next,
      );
    }
    return next;
  }

  #refused(error: Acknowledgement): Refused {
    const { view, length } = this.#commits.sent;
    const at = elementAt(view, length, error);
    const reason = refusalOf(error.errno);
    const why = error.message === "" ? REASONS[reason] ?? errnoText(error.errno) : error.message;
    if (at === undefined) {
      const what = reason === "missing"
        ? `a set of table inet ${this.#options.table} is missing`
        : why;
      return { kind: "refused", reason, detail: what };
    }
    const { verb, set, key } = at;
    const what = `${verb} ${addressToText(key)} ${verb === "add" ? "to" : "from"} ${set}`;
    return { kind: "refused", reason, detail: `cannot ${what}: ${why}` };
  }

  /** Runs listings one after the other, and makes results of what they throw. */
  async #inTurn<T>(list: () => Promise<T>): Promise<Failure | { kind: "done"; value: T }> {
    const before = this.#listing;
    const over = Promise.withResolvers<void>();
    this.#listing = over.promise;
    await before;
    try {
      return { kind: "done", value: await list() };
    } catch (error) {
      if (!(error instanceof NetlinkError)) throw error;
      const reason = refusalOf(error.errno);
      return reason === "missing"
        ? { kind: "refused", reason, detail: error.message }
        : { kind: "unavailable", detail: error.message };
    } finally {
      over.resolve();
    }
  }

  #describe(name: string): SetDescription {
    let described: SetDescription | undefined;
    const { errno } = this.#lists.ask(
      (writer, sequence) => writeGetSet(writer, this.#options.table, name, sequence),
      (message) => described = readSet(message),
    );
    if (errno !== 0 || described === undefined) {
      throw new NetlinkError(`Cannot look at set ${name}`, errno);
    }
    return described;
  }

  /** Lists a set; `add` is given each element with its age. */
  async #listElements<T>(
    name: string,
    begin: () => T,
    add: (list: T, element: ElementCursor, ageS: number) => void,
    mustBeSteady = true,
  ): Promise<{ readonly list: T; readonly timeoutS: number }> {
    const { table, breathe } = this.#options;
    const { timeoutMs } = this.#describe(name);
    const element = this.#element;
    let list = begin();
    let changes = 0;
    await this.#lists.list({
      write: (writer, sequence) => writeListElements(writer, table, name, sequence),
      begin: () => {
        list = begin();
        changes = this.watch.countChanges();
      },
      onMessage: (message) => {
        element.of(message);
        while (element.next()) {
          const isTimed = element.expiresMs !== Infinity && timeoutMs !== Infinity;
          add(list, element, isTimed ? Math.max(0, timeoutMs - element.expiresMs) / 1_000 : 0);
        }
      },
      breathe,
      isOvertaken: () => mustBeSteady && this.watch.countChanges() !== changes,
    });
    return { list, timeoutS: timeoutMs / 1_000 };
  }

  /** Lists connections whose first packet was addressed to a fake. */
  async #listConnections(
    family: Family,
    onConnection: (fake: Uint8Array, connection: ConnectionView) => void,
  ): Promise<void> {
    const prefix = this.#options.prefixes[family];
    const connection = this.#connection;
    await this.#lists.list({
      write: (writer, sequence) => writeListConnections(writer, family, sequence),
      begin: () => {},
      onMessage: (message) => {
        if (!connection.read(message) || connection.family !== family) return;
        const fake = octetsAt(
          connection.view,
          connection.destinationStart,
          ADDRESS_LENGTH[family],
        );
        if (contains(prefix, fake)) onConnection(fake, connection);
      },
      breathe: this.#options.breathe,
      isOvertaken: () => false,
    });
  }

  /** Deletes a connection; one that has ended by itself is fine. */
  #forget(family: Family, identity: Uint8Array): void {
    const { errno } = this.#lists.ask((writer, sequence) =>
      writeDeleteConnection(writer, family, identity, sequence)
    );
    if (errno !== 0 && refusalOf(errno) !== "missing") {
      throw new NetlinkError("Cannot delete a connection", errno);
    }
  }
}

/** Hears what others do to the maps and sets of a table. */
export class KernelWatch {
  readonly isBlocked = false;
  readonly #socket: NetlinkSocket;
  readonly #table: string;
  readonly #onChange: () => void;
  #changes = 0;

  /**
   * @param ownPort what the socket with this number does is not told
   * @throws {NetlinkError}
   */
  constructor(socket: NetlinkSocket, ownPort: number, table: string, onChange: () => void) {
    this.#socket = socket;
    this.#table = table;
    this.#onChange = onChange;
    socket.join([NFTABLES_GROUP], ownPort);
  }

  get fd(): number {
    return this.#socket.fd;
  }

  onReadable(): void {
    this.countChanges();
  }

  /** How often others have changed something up to now; where notices were lost, it counts as once. */
  countChanges(): number {
    let isOurs = false;
    const isWhole = this.#socket.takeNotices((message) => {
      const notice = readNotice(message);
      if (notice.kind === "other" || notice.kind === "done") return;
      if (notice.table !== this.#table) return;
      isOurs ||= !("set" in notice) || OUR_SETS.has(notice.set);
    }, NOTICES_AT_ONCE);
    if (isOurs || !isWhole) {
      this.#changes++;
      this.#onChange();
    }
    return this.#changes;
  }

  /** There is never anything to be sent. */
  flush(): void {}

  /** Closes the socket. */
  close(): void {
    this.#socket.close();
  }
}

/** The sets that dotp fills; what happens to those that the rules fill is no news. */
const OUR_SETS = new Set<string>(
  [SET_NAMES[4], SET_NAMES[6]].flatMap(({ map, set }) => [map, set]),
);

/** Why an element was refused, in words for an admin. */
const REASONS: Readonly<Partial<Record<Refusal, string>>> = {
  missing: "it is not there",
  exists: "it is there with another value",
  full: "the set is full",
};

type Failure = Refused | Unavailable;

function addPair(list: PairList, element: ElementCursor, ageS: number): void {
  const { view, keyStart, keyLength, dataStart, dataLength } = element;
  list.add(octetsAt(view, keyStart, keyLength), octetsAt(view, dataStart, dataLength), ageS);
}

function addKey(list: AddressList, { view, keyStart, keyLength }: ElementCursor, ageS: number) {
  list.add(octetsAt(view, keyStart, keyLength), ageS);
}

/** The octets where they lie, good until the next message. */
function octetsAt(view: DataView<ArrayBuffer>, start: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + start, length);
}

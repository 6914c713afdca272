/**
 * The nftables messages of netlink that dotp sends and reads, in family inet.
 *
 * What changes is sent as a batch, which the kernel takes whole or not at all: `beginBatch`, any number
 * of `writeElements`, `endBatch`. The acknowledgement of the last message before the end says that the
 * batch is done. The kernel refuses a message at its first bad element and names its place, from which
 * `elementAt` finds the key in what was sent. Layouts are those of linux/netfilter/nf_tables.h; no other
 * object than tables, sets and their elements is known here.
 *
 * @module
 */
import {
  type Acknowledgement,
  ATTRIBUTE_LENGTH_MAX,
  AttributeCursor,
  MessageCursor,
  MessageFlag,
  type MessageWriter,
} from "./attributes.ts";

/** Number of the nftables subsystem, in the high octet of a message's type. */
const SUBSYSTEM = 10;
const FAMILY_UNSPEC = 0;
/** Family inet, which is not an address family (linux/netfilter.h). */
const FAMILY_INET = 1;

/** Message types. */
export const NftType = {
  BATCH_BEGIN: 0x10,
  BATCH_END: 0x11,
  NEW_TABLE: 0xa00,
  GET_TABLE: 0xa01,
  DELETE_TABLE: 0xa02,
  NEW_SET: 0xa09,
  GET_SET: 0xa0a,
  DELETE_SET: 0xa0b,
  NEW_ELEMENTS: 0xa0c,
  GET_ELEMENTS: 0xa0d,
  DELETE_ELEMENTS: 0xa0e,
  NEW_GENERATION: 0xa0f,
  GET_GENERATION: 0xa10,
} as const;

const TableAttribute = { NAME: 1 } as const;
const SetAttribute = {
  TABLE: 1,
  NAME: 2,
  FLAGS: 3,
  KEY_TYPE: 4,
  KEY_LENGTH: 5,
  DATA_TYPE: 6,
  DATA_LENGTH: 7,
  DESCRIPTION: 9,
  TIMEOUT: 11,
} as const;
const DescriptionAttribute = { SIZE: 1 } as const;
const ListAttribute = { TABLE: 1, SET: 2, LIST: 3 } as const;
const LIST_ELEMENT = 1;
const ElementAttribute = { KEY: 1, DATA: 2, TIMEOUT: 4, EXPIRATION: 5 } as const;
const DataAttribute = { VALUE: 1 } as const;
const GenerationAttribute = { ID: 1, PROCESS_ID: 2, PROCESS_NAME: 3 } as const;

/** Flags of a set. */
export const SetFlag = { MAP: 0x08, TIMEOUT: 0x10, DYNAMIC: 0x20 } as const;

/** Octets of the elements in one message: an attribute's length less one element of any kind. */
const LIST_LENGTH_MAX = ATTRIBUTE_LENGTH_MAX - 255;

/** The multicast group that tells of changes (enum nfnetlink_groups). */
export const NFTABLES_GROUP = 7;

/** Error numbers that say what is wrong with an element. */
const Errno = { NOENT: 2, EXIST: 17, NFILE: 23 } as const;

/** An element of a set, or of a map where it has `data`. */
export interface SetElement {
  readonly key: Uint8Array;
  readonly data?: Uint8Array | undefined;
  /** Its own lifetime; the set's where it is left out. */
  readonly timeoutMs?: number | undefined;
}

/** Begins a batch. */
export function beginBatch(writer: MessageWriter, sequence: number): void {
  writer.begin(NftType.BATCH_BEGIN, MessageFlag.REQUEST, sequence, FAMILY_UNSPEC, SUBSYSTEM);
  writer.end();
}

/** Ends a batch. */
export function endBatch(writer: MessageWriter, sequence: number): void {
  writer.begin(NftType.BATCH_END, MessageFlag.REQUEST, sequence, FAMILY_UNSPEC, SUBSYSTEM);
  writer.end();
}

/**
 * Adds elements to a set or map or deletes them from it, in as many messages as they need.
 *
 * @param sequence number of the first message; each further one has the next
 * @returns the number after the last one
 * @throws {RangeError} where the writer has no room
 */
export function writeElements(
  writer: MessageWriter,
  verb: "add" | "delete",
  table: string,
  set: string,
  elements: readonly SetElement[],
  sequence: number,
): number {
  const [type, flags] = verb === "add"
    ? [NftType.NEW_ELEMENTS, MessageFlag.REQUEST | MessageFlag.CREATE]
    : [NftType.DELETE_ELEMENTS, MessageFlag.REQUEST];
  let next = sequence;
  for (let i = 0; i < elements.length;) {
    writer.begin(type, flags, next++, FAMILY_INET);
    writer.text(ListAttribute.TABLE, table);
    writer.text(ListAttribute.SET, set);
    const list = writer.open(ListAttribute.LIST);
    while (i < elements.length && writer.length - list < LIST_LENGTH_MAX) {
      writeElement(writer, elements[i++]!);
    }
    writer.close(list);
    writer.end();
  }
  return next;
}

function writeElement(writer: MessageWriter, { key, data, timeoutMs }: SetElement): void {
  const element = writer.open(LIST_ELEMENT);
  if (timeoutMs !== undefined) writer.uint64(ElementAttribute.TIMEOUT, timeoutMs);
  writeData(writer, ElementAttribute.KEY, key);
  if (data !== undefined) writeData(writer, ElementAttribute.DATA, data);
  writer.close(element);
}

function writeData(writer: MessageWriter, type: number, value: Uint8Array): void {
  const data = writer.open(type);
  writer.octets(DataAttribute.VALUE, value);
  writer.close(data);
}

/** Asks for all elements of a set. */
export function writeListElements(
  writer: MessageWriter,
  table: string,
  set: string,
  sequence: number,
): void {
  const flags = MessageFlag.REQUEST | MessageFlag.DUMP;
  writer.begin(NftType.GET_ELEMENTS, flags, sequence, FAMILY_INET);
  writer.text(ListAttribute.TABLE, table);
  writer.text(ListAttribute.SET, set);
  writer.end();
}

/** Asks for one element of a set; the acknowledgement says `missing` where it is not there. */
export function writeGetElement(
  writer: MessageWriter,
  table: string,
  set: string,
  key: Uint8Array,
  sequence: number,
): void {
  const flags = MessageFlag.REQUEST | MessageFlag.ACK;
  writer.begin(NftType.GET_ELEMENTS, flags, sequence, FAMILY_INET);
  writer.text(ListAttribute.TABLE, table);
  writer.text(ListAttribute.SET, set);
  const list = writer.open(ListAttribute.LIST);
  writeElement(writer, { key });
  writer.close(list);
  writer.end();
}

/** Asks for a set without its elements. */
export function writeGetSet(
  writer: MessageWriter,
  table: string,
  set: string,
  sequence: number,
): void {
  writer.begin(NftType.GET_SET, MessageFlag.REQUEST | MessageFlag.ACK, sequence, FAMILY_INET);
  writer.text(SetAttribute.TABLE, table);
  writer.text(SetAttribute.NAME, set);
  writer.end();
}

/** Asks whether a table is there. */
export function writeGetTable(writer: MessageWriter, table: string, sequence: number): void {
  writer.begin(NftType.GET_TABLE, MessageFlag.REQUEST | MessageFlag.ACK, sequence, FAMILY_INET);
  writer.text(TableAttribute.NAME, table);
  writer.end();
}

/** Asks for the generation: a number that every change of any table raises. */
export function writeGetGeneration(writer: MessageWriter, sequence: number): void {
  const flags = MessageFlag.REQUEST | MessageFlag.ACK;
  writer.begin(NftType.GET_GENERATION, flags, sequence, FAMILY_UNSPEC);
  writer.end();
}

/** Goes through the elements of a message that lists them, or that tells of their change. */
export class ElementCursor {
  table = "";
  set = "";
  /** Where key and data lie in `view`; the length of the data is 0 where there is none. */
  keyStart = 0;
  keyLength = 0;
  dataStart = 0;
  dataLength = 0;
  /** Milliseconds until the kernel forgets it by itself; `Infinity` where it does not. */
  expiresMs = Infinity;
  view = new DataView(new ArrayBuffer(0));
  readonly #list = new AttributeCursor();
  readonly #element = new AttributeCursor();
  readonly #data = new AttributeCursor();

  /** Begins with a message of type `NEW_ELEMENTS` or `DELETE_ELEMENTS`. */
  of(message: MessageCursor): this {
    this.view = message.view;
    this.table = this.set = "";
    const attributes = this.#element.of(message);
    this.#list.reset(message.view, message.end, message.end);
    while (attributes.next()) {
      if (attributes.type === ListAttribute.TABLE) this.table = attributes.text();
      else if (attributes.type === ListAttribute.SET) this.set = attributes.text();
      else if (attributes.type === ListAttribute.LIST) {
        this.#list.reset(message.view, attributes.start, attributes.end);
      }
    }
    return this;
  }

  /** Moves to the next element; false where there is none, or one is damaged. */
  next(): boolean {
    if (!this.#list.next()) return false;
    return this.#read(this.#list.start, this.#list.end);
  }

  /** Where the element begins in `view`: what an acknowledgement names. */
  get start(): number {
    return this.#list.header;
  }

  /** A copy of the key. */
  key(): Uint8Array<ArrayBuffer> {
    return copyOf(this.view, this.keyStart, this.keyLength);
  }

  /** A copy of the data. */
  data(): Uint8Array<ArrayBuffer> {
    return copyOf(this.view, this.dataStart, this.dataLength);
  }

  #read(start: number, end: number): boolean {
    this.keyLength = this.dataLength = 0;
    this.expiresMs = Infinity;
    const element = this.#element.reset(this.view, start, end);
    while (element.next()) {
      switch (element.type) {
        case ElementAttribute.KEY:
          this.keyStart = this.#value();
          this.keyLength = this.#data.length;
          break;
        case ElementAttribute.DATA:
          this.dataStart = this.#value();
          this.dataLength = this.#data.length;
          break;
        case ElementAttribute.EXPIRATION:
          this.expiresMs = element.uint();
      }
    }
    return !element.isDamaged && this.keyLength > 0;
  }

  /** Finds the value in a key or in data: the only attribute that dotp's sets have there. */
  #value(): number {
    const { view, start, end } = this.#element;
    this.#data.reset(view, start, end);
    const isValue = this.#data.next() && this.#data.type === DataAttribute.VALUE;
    if (!isValue) this.#data.end = this.#data.start = end;
    return this.#data.start;
  }
}

/** What the kernel says of a set or map. */
export interface SetDescription {
  readonly table: string;
  readonly name: string;
  readonly flags: number;
  /** nft's number of the datatype: 7 for an IPv4 address, 8 for an IPv6 one. */
  readonly keyType: number;
  readonly keyLength: number;
  readonly dataType: number;
  readonly dataLength: number;
  /** After how many milliseconds it forgets an element; `Infinity` where it does not. */
  readonly timeoutMs: number;
  /** How many elements it takes; `Infinity` where it has no limit. */
  readonly size: number;
}

/** Reads a message of type `NEW_SET` or `DELETE_SET`. */
export function readSet(message: MessageCursor): SetDescription {
  const set = {
    ...{ table: "", name: "", flags: 0, keyType: 0, keyLength: 0, dataType: 0, dataLength: 0 },
    ...{ timeoutMs: Infinity, size: Infinity },
  };
  const attributes = new AttributeCursor().of(message);
  while (attributes.next()) {
    switch (attributes.type) {
      case SetAttribute.TABLE:
        set.table = attributes.text();
        break;
      case SetAttribute.NAME:
        set.name = attributes.text();
        break;
      case SetAttribute.FLAGS:
        set.flags = attributes.uint();
        break;
      case SetAttribute.KEY_TYPE:
        set.keyType = attributes.uint();
        break;
      case SetAttribute.KEY_LENGTH:
        set.keyLength = attributes.uint();
        break;
      case SetAttribute.DATA_TYPE:
        set.dataType = attributes.uint();
        break;
      case SetAttribute.DATA_LENGTH:
        set.dataLength = attributes.uint();
        break;
      case SetAttribute.TIMEOUT:
        set.timeoutMs = attributes.uint() || Infinity;
        break;
      case SetAttribute.DESCRIPTION:
        set.size = sizeIn(attributes);
    }
  }
  return set;
}

function sizeIn({ view, start, end }: AttributeCursor): number {
  const description = new AttributeCursor().reset(view, start, end);
  while (description.next()) {
    if (description.type === DescriptionAttribute.SIZE) return description.uint() || Infinity;
  }
  return Infinity;
}

/** Who has changed the tables, as the last message of each change tells. */
export interface GenerationDescription {
  readonly generation: number;
  readonly processId: number;
  readonly processName: string;
}

/** Reads a message of type `NEW_GENERATION`. */
export function readGeneration(message: MessageCursor): GenerationDescription {
  let [generation, processId, processName] = [NaN, NaN, ""];
  const attributes = new AttributeCursor().of(message);
  while (attributes.next()) {
    if (attributes.type === GenerationAttribute.ID) generation = attributes.uint();
    else if (attributes.type === GenerationAttribute.PROCESS_ID) processId = attributes.uint();
    else if (attributes.type === GenerationAttribute.PROCESS_NAME) processName = attributes.text();
  }
  return { generation, processId, processName };
}

/** What a message of the group `NFTABLES_GROUP` tells of, as far as dotp's tables can be concerned. */
export type Notice =
  /** Elements were added or deleted; `ElementCursor` reads them. */
  | { readonly kind: "added" | "deleted"; readonly table: string; readonly set: string }
  /** A set was made, or has gone with all that it held. */
  | { readonly kind: "set made" | "set gone"; readonly table: string; readonly set: string }
  /** A table was made, or has gone with all that it held. */
  | { readonly kind: "table made" | "table gone"; readonly table: string }
  /** A change is complete. */
  | { readonly kind: "done" }
  | { readonly kind: "other" };

/** Reads what a message of the group tells of. Tables of other families are of kind `other`. */
export function readNotice(message: MessageCursor): Notice {
  if (message.type === NftType.NEW_GENERATION) return { kind: "done" };
  const kind = NOTICE_KINDS.get(message.type);
  if (kind === undefined || message.family !== FAMILY_INET) return { kind: "other" };
  // Table and name have the same numbers in the messages of tables, sets and elements.
  let [table, set] = ["", ""];
  const attributes = new AttributeCursor().of(message);
  while (attributes.next()) {
    if (attributes.type === SetAttribute.TABLE) table = attributes.text();
    else if (attributes.type === SetAttribute.NAME) set = attributes.text();
  }
  return kind === "table made" || kind === "table gone" ? { kind, table } : { kind, table, set };
}

const NOTICE_KINDS = new Map<number, Exclude<Notice["kind"], "done" | "other">>([
  [NftType.NEW_ELEMENTS, "added"],
  [NftType.DELETE_ELEMENTS, "deleted"],
  [NftType.NEW_SET, "set made"],
  [NftType.DELETE_SET, "set gone"],
  [NftType.NEW_TABLE, "table made"],
  [NftType.DELETE_TABLE, "table gone"],
]);

/** Why the kernel refuses an element. */
export type Refusal =
  /** It is not there, or its set or table is not. */
  | "missing"
  /** Its key is there with other data. */
  | "exists"
  /** The set holds as many elements as it may. */
  | "full"
  | "other";

/** The reason in an error number. */
export function refusalOf(errno: number): Refusal {
  switch (errno) {
    case Errno.NOENT:
      return "missing";
    case Errno.EXIST:
      return "exists";
    case Errno.NFILE:
      return "full";
    default:
      return "other";
  }
}

/** The element that the kernel refused. */
export interface RefusedElement {
  readonly verb: "add" | "delete";
  readonly set: string;
  readonly key: Uint8Array;
}

/**
 * Finds the element that an acknowledgement is about in what was sent; undefined where it is about
 * something else: a set that is not there, say.
 */
export function elementAt(
  sent: DataView<ArrayBuffer>,
  length: number,
  { sequence, offset }: Acknowledgement,
): RefusedElement | undefined {
  const message = new MessageCursor().reset(sent, 0, length);
  while (message.next()) {
    if (message.sequence !== sequence || offset === undefined) continue;
    const isAddition = message.type === NftType.NEW_ELEMENTS;
    if (!isAddition && message.type !== NftType.DELETE_ELEMENTS) continue;
    const elements = new ElementCursor().of(message);
    while (elements.next()) {
      if (elements.start !== message.start + offset) continue;
      return {
        verb: isAddition ? "add" : "delete",
        set: elements.set,
        key: elements.key(),
      };
    }
  }
  return undefined;
}

function copyOf(
  view: DataView<ArrayBuffer>,
  start: number,
  length: number,
): Uint8Array<ArrayBuffer> {
  return new Uint8Array(view.buffer, view.byteOffset + start, length).slice();
}

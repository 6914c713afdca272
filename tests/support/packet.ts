/**
 * Messages for tests, lab, bench and soak, octet by octet: names compressed as a name server does it
 * or not at all, and every field may lie. It shares no code with `lib/`, so that one's mistakes do not
 * hide the other's.
 */

/** A name in presentation format, or octets that shall stand where a name is expected. */
export type NameSpec = string | Uint8Array;

/** One resource record. */
export interface RecordSpec {
  readonly owner: NameSpec;
  readonly type: number;
  readonly class?: number;
  readonly ttl?: number;
  /** Octets, or a name that is compressed like an owner, and octets before it. */
  readonly rdata: Uint8Array | { readonly name: NameSpec; readonly before?: readonly number[] };
  /** What RDLENGTH says where that is not the truth. */
  readonly rdlength?: number;
}

/** One message. */
export interface MessageSpec {
  readonly id?: number;
  readonly flags?: number;
  /** Left out: `www.example.com`, A, IN. */
  readonly question?: { readonly name: NameSpec; readonly type?: number; readonly class?: number };
  readonly answers?: readonly RecordSpec[];
  readonly authorities?: readonly RecordSpec[];
  readonly additionals?: readonly RecordSpec[];
  /** QDCOUNT, ANCOUNT, NSCOUNT and ARCOUNT where they are not the truth. */
  readonly counts?: readonly number[];
  readonly trailing?: Uint8Array;
  /** Whether names point at what stands before them; true if left out. */
  readonly compress?: boolean;
}

/** Flags of a usual reply: QR, RD, RA. */
export const REPLY_FLAGS = 0x8180;
/** Flags of a usual query: RD. */
export const QUERY_FLAGS = 0x0100;

const encoder = new TextEncoder();

/** Writes a message; a reply unless its flags say otherwise. */
export function message(spec: MessageSpec): Uint8Array<ArrayBuffer> {
  const { answers = [], authorities = [], additionals = [] } = spec;
  const counts = spec.counts ?? [1, answers.length, authorities.length, additionals.length];
  const writer = new Writer(spec.compress ?? true);
  writer.word(spec.id ?? 0x1234);
  writer.word(spec.flags ?? REPLY_FLAGS);
  for (const count of counts) writer.word(count);
  const { name, type = 1, class: klass = 1 } = spec.question ?? { name: "www.example.com" };
  writer.name(name);
  writer.word(type);
  writer.word(klass);
  for (const record of [...answers, ...authorities, ...additionals]) writer.record(record);
  writer.octets(spec.trailing ?? new Uint8Array());
  return writer.toBytes();
}

/** A query; with `opt` left out it has no OPT. */
export function query(spec: MessageSpec = {}): Uint8Array<ArrayBuffer> {
  return message({ flags: QUERY_FLAGS, ...spec });
}

/** An A record. */
export function a(owner: NameSpec, address: string, ttl = 300): RecordSpec {
  return { owner, type: 1, ttl, rdata: Uint8Array.from(address.split("."), Number) };
}

/** An AAAA record; the address as eight groups of hex digits, or with one `::`. */
export function aaaa(owner: NameSpec, address: string, ttl = 300): RecordSpec {
  return { owner, type: 28, ttl, rdata: ipv6(address) };
}

/** A CNAME record. */
export function cname(owner: NameSpec, target: NameSpec, ttl = 300): RecordSpec {
  return { owner, type: 5, ttl, rdata: { name: target } };
}

/** A record whose RDATA are these octets and a name: MX, NS, SRV, SVCB or HTTPS. */
export function leading(
  owner: NameSpec,
  type: number,
  before: readonly number[],
  target: NameSpec,
): RecordSpec {
  return { owner, type, ttl: 300, rdata: { before, name: target } };
}

/** A TXT record of one string of `length` octets. */
export function txt(owner: NameSpec, length: number): RecordSpec {
  const rdata = new Uint8Array(1 + length).fill(0x61);
  rdata[0] = length;
  return { owner, type: 16, ttl: 300, rdata };
}

/** An OPT record; `ttl` holds its flags. */
export function opt(udpSize: number, ttl = 0, rdata = new Uint8Array()): RecordSpec {
  return { owner: "", type: 41, class: udpSize, ttl, rdata };
}

/** An HTTPS record with parameters by key. */
export function https(
  owner: NameSpec,
  params: readonly (readonly [key: number, value: Uint8Array])[],
  { type = 65, priority = 1, target = "" as NameSpec } = {},
): RecordSpec {
  const writer = new Writer(false);
  writer.word(priority);
  writer.name(target);
  for (const [key, value] of params) {
    writer.word(key);
    writer.word(value.length);
    writer.octets(value);
  }
  return { owner, type, ttl: 300, rdata: writer.toBytes() };
}

/** A compression pointer. */
export function pointer(offset: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array([0xc0 | (offset >>> 8), offset & 0xff]);
}

/** A name in wire format, uncompressed. */
export function wireName(name: string): Uint8Array<ArrayBuffer> {
  const writer = new Writer(false);
  writer.name(name);
  return writer.toBytes();
}

/** Octets one behind the other. */
export function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

function ipv6(text: string): Uint8Array {
  const [head = "", tail] = text.split("::");
  const groups = (part: string) => part === "" ? [] : part.split(":");
  const [left, right] = [groups(head), groups(tail ?? "")];
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  const all = [...left, ...Array<string>(zeros).fill("0"), ...right];
  return Uint8Array.from(all.map((group) => Number.parseInt(group, 16)).flatMap(octetsOf));
}

function octetsOf(word: number): number[] {
  return [word >>> 8, word & 0xff];
}

class Writer {
  readonly #octets: number[] = [];
  readonly #compress: boolean;
  /** Offsets of the names written so far, and of what they end with. */
  readonly #known = new Map<string, number>();

  constructor(compress: boolean) {
    this.#compress = compress;
  }

  toBytes(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(this.#octets);
  }

  octets(octets: Iterable<number>): void {
    this.#octets.push(...octets);
  }

  word(word: number): void {
    this.octets(octetsOf(word));
  }

  name(name: NameSpec): void {
    if (typeof name !== "string") return this.octets(name);
    const labels = name.split(".").filter((label) => label !== "");
    for (const [i, label] of labels.entries()) {
      const suffix = labels.slice(i).join(".").toLowerCase();
      const known = this.#known.get(suffix);
      if (known !== undefined && this.#compress) return this.octets(pointer(known));
      if (this.#octets.length < 0x4000) this.#known.set(suffix, this.#octets.length);
      this.octets([label.length, ...encoder.encode(label)]);
    }
    this.octets([0]);
  }

  record({ owner, type, class: klass = 1, ttl = 300, rdata, rdlength }: RecordSpec): void {
    this.name(owner);
    this.word(type);
    this.word(klass);
    this.word(ttl >>> 16);
    this.word(ttl & 0xffff);
    const lengthAt = this.#octets.length;
    this.word(0);
    if ("name" in rdata) {
      this.octets(rdata.before ?? []);
      this.name(rdata.name);
    } else this.octets(rdata);
    const length = rdlength ?? this.#octets.length - lengthAt - 2;
    [this.#octets[lengthAt], this.#octets[lengthAt + 1]] = octetsOf(length) as [number, number];
  }
}

/**
 * What a client does: DNS queries over UDP from a socket of their own, and pages fetched over TCP.
 * The sockets are made in the namespace that the agent runs in. Failures of the network are
 * results, not exceptions.
 */

import { decode } from "../support/reader.ts";
import type {
  Connected,
  Datagram,
  Endpoint,
  Fetched,
  Heard,
  Operations,
  Visit,
} from "./protocol.ts";

const DATAGRAM_MAX = 0xffff;

/** Sends datagrams from one fresh socket and waits for as many back, or for the time to run out. */
export async function exchange(
  { to, send, want, timeoutMs, from }: Operations["exchange"]["params"],
): Promise<Datagram[]> {
  const any = to.host.includes(":") ? "::" : "0.0.0.0";
  const { host, port } = from ?? { host: any, port: 0 };
  const socket = Deno.listenDatagram({ transport: "udp", hostname: host, port });
  const startedAt = performance.now();
  const timer = setTimeout(() => socket.close(), timeoutMs);
  const got: Datagram[] = [];
  try {
    for (const hex of send) {
      await socket.send(Uint8Array.fromHex(hex), {
        transport: "udp",
        hostname: to.host,
        port: to.port,
      });
    }
    while (got.length < want) {
      const [bytes, sender] = await socket.receive(new Uint8Array(DATAGRAM_MAX));
      const { hostname, port } = sender as Deno.NetAddr;
      const ms = performance.now() - startedAt;
      got.push({ hex: bytes.toHex(), from: { host: hostname, port }, ms });
    }
    clearTimeout(timer);
    socket.close();
  } catch (error) {
    if (performance.now() - startedAt < timeoutMs - 1) {
      clearTimeout(timer);
      socket.close();
      throw error;
    }
  }
  return got;
}

/** Binds a UDP port and keeps it. */
export function holdPort({ host, port }: Endpoint): Promise<null> {
  taken.push(Deno.listenDatagram({ transport: "udp", hostname: host, port }));
  return Promise.resolve(null);
}

const taken: Deno.DatagramConn[] = [];

/** Fetches the page at an address: who was reached, and who the server takes us for. */
export async function fetchPage(
  { host, port, timeoutMs }: Operations["fetch"]["params"],
): Promise<Fetched> {
  const startedAt = performance.now();
  const page = await inTime(read(host, port), timeoutMs);
  return { ...page, ms: performance.now() - startedAt };
}

/** The result, or the name of the error that came instead of it; "timeout" where neither came. */
async function inTime<T>(result: Promise<T>, timeoutMs: number): Promise<T | { error: string }> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<{ error: string }>((resolve) => {
    timer = setTimeout(() => resolve({ error: "timeout" }), timeoutMs);
  });
  try {
    return await Promise.race([timeout, result]);
  } catch (error) {
    return { error: error instanceof Error ? error.name : String(error) };
  } finally {
    clearTimeout(timer);
  }
}

/** A connection that stays open: what has come on it, and how it ended. */
class Connection {
  readonly #socket: Deno.TcpConn;
  #heard: number[] = [];
  #end: string | undefined;
  #wake: () => void = () => {};

  constructor(socket: Deno.TcpConn) {
    this.#socket = socket;
    void this.#listen();
  }

  /** Says something and waits for so many octets; what comes too late is kept. */
  async talk(said: Uint8Array, want: number, timeoutMs: number): Promise<Heard> {
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#wake();
    }, timeoutMs);
    // Where that fails, reading does too and says why.
    if (said.length > 0) await this.#socket.write(said).catch(() => {});
    while (this.#heard.length < want && this.#end === undefined && !isLate) {
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    clearTimeout(timer);
    if (this.#end !== undefined) return { error: this.#end };
    if (this.#heard.length < want) return { error: "timeout" };
    return { hex: new Uint8Array(this.#heard.splice(0, want)).toHex() };
  }

  close(): void {
    if (this.#end === undefined) this.#socket.close();
  }

  async #listen(): Promise<void> {
    const buffer = new Uint8Array(4096);
    try {
      for (;;) {
        const length = await this.#socket.read(buffer);
        if (length === null) break;
        this.#heard.push(...buffer.subarray(0, length));
        this.#wake();
      }
      this.#end = "end";
    } catch (error) {
      this.#end = error instanceof Error ? error.name : String(error);
    }
    this.#wake();
  }
}

/** Those that are open, by number. */
const connections = new Map<number, Connection>();
let lastConnection = 0;

/** Opens a TCP connection and keeps it. */
export function connect(
  { host, port, timeoutMs }: Operations["connect"]["params"],
): Promise<Connected> {
  return inTime(open(host, port), timeoutMs);
}

async function open(hostname: string, port: number): Promise<Connected> {
  connections.set(++lastConnection, new Connection(await Deno.connect({ hostname, port })));
  return { connection: lastConnection };
}

/** Writes octets and waits for some. */
export function talk(
  { connection, hex, want, timeoutMs }: Operations["talk"]["params"],
): Promise<Heard> {
  return numbered(connection).talk(Uint8Array.fromHex(hex), want, timeoutMs);
}

/** Closes a connection. */
export function disconnect({ connection }: Operations["disconnect"]["params"]): Promise<null> {
  numbered(connection).close();
  connections.delete(connection);
  return Promise.resolve(null);
}

function numbered(number: number): Connection {
  const connection = connections.get(number);
  if (connection === undefined) throw new Error(`There is no connection ${number}`);
  return connection;
}

async function read(hostname: string, port: number): Promise<Omit<Fetched, "ms">> {
  using connection = await Deno.connect({ hostname, port });
  const request = `GET / HTTP/1.0\r\nHost: ${hostname}\r\n\r\n`;
  await connection.write(new TextEncoder().encode(request));
  const text = await new Response(connection.readable).text();
  return JSON.parse(text.slice(text.indexOf("\r\n\r\n")));
}

/**
 * Looks names up and fetches through the first address of each reply the moment it is there, many
 * at a time. What a reply promises must hold by then.
 */
export async function visit(
  { to, queries, port, atOnce, timeoutMs }: Operations["visit"]["params"],
): Promise<Visit[]> {
  const visits: Visit[] = [];
  let next = 0;
  async function work(): Promise<void> {
    for (let index = next++; index < queries.length; index = next++) {
      visits[index] = await visitOne(to, queries[index] ?? "", port, timeoutMs);
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work));
  return visits;
}

async function visitOne(
  to: Endpoint,
  query: string,
  port: number,
  timeoutMs: number,
): Promise<Visit> {
  const [datagram] = await exchange({ to, send: [query], want: 1, timeoutMs });
  if (datagram === undefined) return { error: "no reply", ms: timeoutMs };
  const { rcode, answers } = decode(Uint8Array.fromHex(datagram.hex));
  const address = answers.find(({ type }) => type === "A" || type === "AAAA")?.data;
  if (typeof address !== "string") return { rcode, error: "no address", ms: datagram.ms };
  return { rcode, address, ...await fetchPage({ host: address, port, timeoutMs }) };
}

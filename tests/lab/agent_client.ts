/**
 * What a client does: DNS queries over UDP from a socket of their own, and pages fetched over TCP.
 * The sockets are made in the namespace that the agent runs in. Failures of the network are
 * results, not exceptions.
 */

import { decode } from "./dns.ts";
import type { Datagram, Endpoint, Fetched, Operations, Visit } from "./protocol.ts";

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
  held.push(Deno.listenDatagram({ transport: "udp", hostname: host, port }));
  return Promise.resolve(null);
}

const held: Deno.DatagramConn[] = [];

/** Fetches the page at an address: who was reached, and who the server takes us for. */
export async function fetchPage(
  { host, port, timeoutMs }: Operations["fetch"]["params"],
): Promise<Fetched> {
  const startedAt = performance.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<Fetched>((resolve) => {
    timer = setTimeout(() => resolve({ error: "timeout", ms: timeoutMs }), timeoutMs);
  });
  try {
    const page = await Promise.race([timeout, read(host, port)]);
    return { ...page, ms: performance.now() - startedAt };
  } catch (error) {
    const name = error instanceof Error ? error.name : String(error);
    return { error: name, ms: performance.now() - startedAt };
  } finally {
    clearTimeout(timer);
  }
}

async function read(hostname: string, port: number): Promise<Fetched> {
  using connection = await Deno.connect({ hostname, port });
  const request = `GET / HTTP/1.0\r\nHost: ${hostname}\r\n\r\n`;
  await connection.write(new TextEncoder().encode(request));
  const text = await new Response(connection.readable).text();
  return { ...JSON.parse(text.slice(text.indexOf("\r\n\r\n"))), ms: 0 };
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

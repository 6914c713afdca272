/**
 * What the far side does: a web server whose page says at which address it was reached and by whom,
 * a UDP echo, and an upstream DNS server that answers from a script. The script can be changed at
 * any time; every query is reported. One datagram of the script is one datagram on the wire, so
 * forged replies, late ones and broken ones are entries like any other.
 */

import { decode } from "../support/reader.ts";
import { encodeReply } from "./dns.ts";
import { err } from "./out.ts";
import type { Endpoint, Operations, Reply, Script, SeenQuery } from "./protocol.ts";

const REFUSED: Reply = { rcode: 5 };

/** The servers of one namespace. */
export class Servers {
  #script: Script = {};
  #report: (query: SeenQuery) => void;
  #others: Deno.DatagramConn[] = [];

  constructor(report: (query: SeenQuery) => void) {
    this.#report = report;
  }

  /** Serves the page and TCP echo on every address there is, and UDP echo on the given ones. */
  startWeb({ port, echo }: Operations["startWeb"]["params"]): Promise<null> {
    void servePages(Deno.listen({ hostname: "::", port }));
    void serveEchoes(Deno.listen({ hostname: "::", port: 7 }));
    for (const hostname of echo) {
      void serveEcho(Deno.listenDatagram({ transport: "udp", hostname, port: 7 }));
    }
    return Promise.resolve(null);
  }

  /** Answers DNS queries from the script. */
  startUpstream({ at, otherAddresses }: Operations["startUpstream"]["params"]): Promise<null> {
    for (const { host, port } of at) {
      const socket = Deno.listenDatagram({ transport: "udp", hostname: host, port });
      void this.#serve(socket);
    }
    this.#others = otherAddresses.map((hostname) =>
      Deno.listenDatagram({ transport: "udp", hostname, port: at[0]?.port ?? 53 })
    );
    return Promise.resolve(null);
  }

  /** Replaces the script. */
  setScript(script: Script): void {
    this.#script = Object.fromEntries(
      Object.entries(script).map(([key, reply]) => [key.toLowerCase(), reply]),
    );
  }

  async #serve(socket: Deno.DatagramConn): Promise<void> {
    for await (const [bytes, sender] of socket) {
      const query = bytes.slice();
      const { hostname, port } = sender as Deno.NetAddr;
      this.#answer(socket, query, { host: hostname, port }).catch((error) => {
        err(`Upstream: ${error}`);
      });
    }
  }

  async #answer(socket: Deno.DatagramConn, query: Uint8Array, from: Endpoint): Promise<void> {
    const seen = { ...read(query), from, hex: query.toHex() };
    const { name, type } = seen;
    this.#report(seen);
    for (const reply of this.#find(name.toLowerCase(), type.toLowerCase())) {
      if (reply.delayMs !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, reply.delayMs));
      }
      const to: Deno.NetAddr = { transport: "udp", hostname: from.host, port: from.port };
      const via = this.#via(socket, reply.via);
      await via.send(encodeReply(query, reply), to);
      if (reply.via === "other port") via.close();
    }
  }

  #find(name: string, type: string): Reply[] {
    const suffixes = name.split(".").map((_, index, labels) => labels.slice(index + 1).join("."));
    const names = [name, ...suffixes.map((suffix) => `*.${suffix}`), "*"];
    for (const key of names.flatMap((name) => [`${name} ${type}`, `${name} *`])) {
      const reply = this.#script[key];
      if (reply !== undefined) return Array.isArray(reply) ? reply : [reply];
    }
    return [REFUSED];
  }

  #via(socket: Deno.DatagramConn, via: Reply["via"]): Deno.DatagramConn {
    const { hostname } = socket.addr as Deno.NetAddr;
    if (via === "other port") return Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    const other = this.#others.find(({ addr }) =>
      (addr as Deno.NetAddr).hostname.includes(":") === hostname.includes(":")
    );
    return via === "other address" && other !== undefined ? other : socket;
  }
}

function read(query: Uint8Array): { id: number; name: string; type: string } {
  try {
    const { id, questions } = decode(query);
    return { id, name: questions[0]?.name ?? "", type: questions[0]?.type ?? "" };
  } catch {
    return { id: 0, name: "", type: "" };
  }
}

async function servePages(listener: Deno.Listener): Promise<void> {
  for await (const connection of listener) void servePage(connection as Deno.TcpConn);
}

async function servePage(connection: Deno.TcpConn): Promise<void> {
  try {
    using _ = connection;
    await connection.read(new Uint8Array(4096));
    const [at, from] = [connection.localAddr, connection.remoteAddr].map((address) =>
      (address as Deno.NetAddr).hostname.replace("::ffff:", "")
    );
    const page = `HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n${JSON.stringify({ at, from })}`;
    await connection.write(new TextEncoder().encode(page));
  } catch {
    // The client went away.
  }
}

async function serveEchoes(listener: Deno.Listener): Promise<void> {
  for await (const { readable, writable } of listener) {
    // A client that goes away ends its own connection only.
    readable.pipeTo(writable).catch(() => {});
  }
}

async function serveEcho(socket: Deno.DatagramConn): Promise<void> {
  for await (const [bytes, sender] of socket) await socket.send(bytes.slice(), sender);
}

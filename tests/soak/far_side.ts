/**
 * The far side of the soak, in a thread of its own: the upstream DNS server, and a TCP server at
 * every real address that says at which one it was reached. Contract: a message `{ isSilent }` turns
 * the upstream's replies off and on; one goes back when both listen. Now and then, silent or not, the
 * upstream's reply is preceded by what dotp must ignore: forged and broken datagrams, each with
 * something wrong about it. What it forges leads to an address that is nobody's.
 */

import { Offset } from "../../lib/dns/constants.ts";
import { Port } from "../bench/servers.ts";
import { WEB_PORT } from "../lab/addresses.ts";
import { decodeQuestion, encodeReply, realOf } from "./messages.ts";

/** One query in so many comes with forgeries. */
const FORGED_EACH = 50;

/** Addresses that no name has. */
const FORGED = { 4: Uint8Array.of(10, 66, 66, 66), 6: new Uint8Array(16).fill(0x66) } as const;

const LOOPBACK = "127.0.0.1";

let isSilent = false;

async function serveDns(): Promise<never> {
  const [socket, other] = [Port.UPSTREAM, 0].map((port) =>
    Deno.listenDatagram({ transport: "udp", hostname: LOOPBACK, port })
  ) as [Deno.DatagramConn, Deno.DatagramConn];
  const buffer = new Uint8Array(4_096);
  for (let queries = 0;; queries++) {
    const [query, peer] = await socket.receive(buffer);
    const question = decodeQuestion(query);
    if (question === undefined) continue;
    if (queries % FORGED_EACH === 0) {
      const forged = encodeReply(query, FORGED[question.family]);
      // The right octets from another port, then wrong ones from the right port.
      other.send(forged, peer).catch(ignore);
      for (const broken of brokenFrom(forged)) socket.send(broken, peer).catch(ignore);
    }
    if (!isSilent) socket.send(encodeReply(query, realOf(question)), peer).catch(ignore);
  }
}

/** Forgeries that differ from a reply in what makes it count. */
function brokenFrom(forged: Uint8Array): Uint8Array[] {
  const changed = (at: number, mask: number) => {
    const copy = forged.slice();
    copy[at] = copy[at]! ^ mask;
    return copy;
  };
  return [
    changed(Offset.ID + 1, 1),
    changed(Offset.FLAGS, 0x80),
    changed(Offset.QUESTION + 3, 1),
    forged.subarray(0, Offset.QUESTION - 1),
    crypto.getRandomValues(new Uint8Array(40)),
  ];
}

async function serveWeb(): Promise<void> {
  const listener = Deno.listen({ hostname: "::", port: WEB_PORT });
  for await (const connection of listener) void sayWhere(connection);
}

async function sayWhere(connection: Deno.TcpConn): Promise<void> {
  try {
    using _ = connection;
    const address = connection.localAddr.hostname.replace("::ffff:", "");
    await connection.write(new TextEncoder().encode(address));
  } catch {
    // The client went away.
  }
}

function ignore(): void {}

const scope = self as unknown as Worker;
scope.onmessage = ({ data }: MessageEvent<{ isSilent: boolean }>) => isSilent = data.isSilent;
void serveDns();
void serveWeb();
scope.postMessage("listening");

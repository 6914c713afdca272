/** The sockets of the direct edge as the rest of dotp sees them. */
import { assertThrows } from "@std/assert";
import { parseAddress } from "../../../lib/address.ts";
import { Libc } from "../../../lib/io/direct/libc.ts";
import { DirectSockets } from "../../../lib/io/direct/sockets.ts";

const LOOPBACK = parseAddress("127.0.0.1");

/** A port that is taken. */
function holdPort(): Deno.DatagramConn & { readonly port: number } {
  const conn = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  return Object.assign(conn, { port: (conn.addr as Deno.NetAddr).port });
}

Deno.test("bind() throws what Deno would, when an address is taken or not ours", () => {
  const sockets = new DirectSockets(Libc.open());
  const events = { onDatagram: () => {}, onError: () => {} };
  const holder = holdPort();
  assertThrows(() => sockets.bind(LOOPBACK, holder.port, events), Deno.errors.AddrInUse);
  const foreign = parseAddress("192.0.2.1");
  assertThrows(() => sockets.bind(foreign, 0, events), Deno.errors.AddrNotAvailable);
  holder.close();
  sockets.close();
});

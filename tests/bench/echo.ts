/**
 * The least that a DNS server written for Deno can do: sends each datagram back as a reply, unread.
 * Its processor time is the floor that the figures of dotp stand on, on this machine: forwarding one
 * query takes two datagrams in and two out, twice what the echo takes.
 *
 * Usage: deno run --allow-net echo.ts PORT
 */

/** The octet of a DNS header that holds QR as its top bit: RFC 1035 section 4.1.1. */
const FLAGS_OFFSET = 2;
const QR_BIT = 0x80;

const socket = Deno.listenDatagram({
  transport: "udp",
  hostname: "127.0.0.1",
  port: Number(Deno.args[0]),
});
const buffer = new Uint8Array(4_096);
while (true) {
  const [query, client] = await socket.receive(buffer);
  // A copy, for send() may read its buffer after it has returned.
  const reply = query.slice();
  reply[FLAGS_OFFSET] = (reply[FLAGS_OFFSET] ?? 0) | QR_BIT;
  socket.send(reply, client).catch(() => {});
}

/** The portable sockets: what counts on one that is connected, though Deno cannot connect it. */
import { assertEquals } from "@std/assert";
import { parseAddress } from "../../../lib/address.ts";
import { PortableSockets } from "../../../lib/io/portable/datagrams.ts";
import { within } from "../../support/waiting.ts";

for (const [hostname, other] of [["127.0.0.1", "127.0.0.2"], ["::1", "::1"]] as const) {
  Deno.test(`a connected socket hears nobody else, when others at ${hostname} send to it too`, async () => {
    const server = Deno.listenDatagram({ transport: "udp", hostname, port: 0 });
    const stranger = Deno.listenDatagram({ transport: "udp", hostname: other, port: 0 });
    const { port } = server.addr as Deno.NetAddr;
    const heard: number[] = [];
    const last = Promise.withResolvers<void>();
    const socket = new PortableSockets().connect(parseAddress(hostname), port, {
      onDatagram: (_peer, view, length) => {
        heard.push(view.getUint8(0), length);
        last.resolve();
      },
      onError: last.reject,
    });
    socket.receive();
    socket.send(undefined, new DataView(Uint8Array.of(7, 8).buffer), 1);
    const [asked, client] = await within("a query", server.receive());
    assertEquals(asked, Uint8Array.of(7));
    const to = { ...client as Deno.NetAddr, hostname };
    await stranger.send(Uint8Array.of(1), to);
    await server.send(Uint8Array.of(2, 0), to);
    await within("the reply", last.promise);
    assertEquals(heard, [2, 2]);
    for (const each of [server, stranger, socket]) each.close();
  });
}

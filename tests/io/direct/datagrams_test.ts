/** Batches of datagrams over the loopback interface: whose they are, what is lost, and what ICMP tells. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseAddress } from "../../../lib/address.ts";
import {
  BATCH_DATAGRAMS_MAX,
  bindSocket,
  connectSocket,
  type DatagramProblem,
  type DirectPeer,
  type Endpoint,
  FairShare,
  portOf,
  Receiver,
  Sender,
  SocketError,
} from "../../../lib/io/direct/datagrams.ts";
import { Errno, Libc, nativeBuffer, Poll, PollLayout } from "../../../lib/io/direct/libc.ts";
import { defined } from "../../support/defined.ts";

const libc = Libc.open();
const LOOPBACK = { 4: "127.0.0.1", 6: "::1" } as const;
const FAMILIES = [4, 6] as const;
/** How long what was sent over the loopback interface may take, at the most. */
const ARRIVAL_MS = 5_000;

/** Waits until a socket can be read. */
function arrived(fd: number): void {
  const fds = nativeBuffer(PollLayout.SIZE);
  const view = new DataView(fds.buffer);
  view.setInt32(PollLayout.FD, fd, true);
  view.setInt16(PollLayout.EVENTS, Poll.IN, true);
  assertEquals(libc.poll(fds, 1, ARRIVAL_MS), 1, "nothing came");
}

function bytes(...octets: number[]): DataView {
  return new DataView(Uint8Array.from(octets).buffer);
}

/** What was received: octets in text, and from whom. */
function received(receiver: Receiver, fd: number): { text: string; peer: DirectPeer }[] {
  const count = receiver.receive(fd);
  return Array.from({ length: Math.max(0, count) }, (_, i) => {
    const view = defined(receiver.views[i]);
    const length = receiver.length(i);
    return {
      text: new Uint8Array(view.buffer, view.byteOffset, length).join(),
      peer: defined(receiver.peer(i)),
    };
  });
}

function noProblem({ message }: DatagramProblem): void {
  throw new Error(message);
}

for (const family of FAMILIES) {
  Deno.test(`datagrams go there and back, when two sockets of IPv${family} talk in batches`, () => {
    const host = parseAddress(LOOPBACK[family]);
    const server = bindSocket(libc, host, 0, false);
    const client = connectSocket(libc, host, portOf(libc, server));
    const receiver = new Receiver(libc);
    const asking = new Sender(libc, client, noProblem);
    const answering = new Sender(libc, server, noProblem);
    for (let i = 0; i < 100; i++) asking.add(bytes(1, i), 2);
    asking.flush();
    assertEquals(asking.waiting, 0);
    arrived(server);
    // Two batches, as one holds 64.
    const batches = [received(receiver, server), received(receiver, server)];
    assertEquals(batches.map(({ length }) => length), [BATCH_DATAGRAMS_MAX, 36]);
    const all = batches.flat();
    assertEquals(all.map(({ text }) => text), Array.from({ length: 100 }, (_, i) => `1,${i}`));
    for (const { peer } of all) {
      assertEquals([peer.hostname, peer.port], [LOOPBACK[family], portOf(libc, client)]);
      assert(peer.client === all[0]?.peer.client, "one object for one address");
    }
    assertEquals(receiver.receive(server), -Errno.AGAIN);
    answering.add(bytes(2, 7, 9), 3, defined(all[0]).peer);
    answering.flush();
    arrived(client);
    assertEquals(received(receiver, client)[0]?.text, "2,7,9");
    for (const fd of [server, client]) libc.close(fd);
  });

  Deno.test(`a socket of IPv${family} says that nobody listens, when ICMP has told it`, () => {
    const host = parseAddress(LOOPBACK[family]);
    const gone = bindSocket(libc, host, 0, false);
    const port = portOf(libc, gone);
    const client = connectSocket(libc, host, port);
    libc.close(gone);
    const problems: DatagramProblem[] = [];
    const sender = new Sender(libc, client, (problem) => problems.push(problem));
    sender.add(bytes(1), 1);
    sender.flush();
    arrived(client);
    const receiver = new Receiver(libc);
    assertEquals(receiver.receive(client), -Errno.CONNREFUSED);
    assertEquals(receiver.receive(client), -Errno.AGAIN);
    // Where a send meets the error of an earlier one, its own datagram is not lost.
    sender.add(bytes(2), 1);
    sender.flush();
    arrived(client);
    const back = bindSocket(libc, host, port, false);
    sender.add(bytes(3), 1);
    sender.flush();
    assertEquals(problems.map(({ kind, errno }) => [kind, errno]), [
      ["unreachable", Errno.CONNREFUSED],
    ]);
    arrived(back);
    assertEquals(received(receiver, back).map(({ text }) => text), ["3"]);
    for (const fd of [client, back]) libc.close(fd);
  });
}

Deno.test("a reply leaves from the address that was asked, when a socket is bound to the wildcard", () => {
  for (
    const [wildcard, ask] of [
      ["0.0.0.0", ["127.0.0.1", "127.0.0.7"]],
      // A socket of IPv6 serves IPv4 too.
      ["::", ["::1", "127.0.0.9"]],
    ] as const
  ) {
    const server = bindSocket(libc, parseAddress(wildcard), 0, true);
    const port = portOf(libc, server);
    const receiver = new Receiver(libc);
    const sender = new Sender(libc, server, noProblem);
    ask.forEach((to, n) => {
      const client = connectSocket(libc, parseAddress(to), port);
      const asking = new Sender(libc, client, noProblem);
      asking.add(bytes(n), 1);
      asking.flush();
      arrived(server);
      const { peer } = defined(received(receiver, server)[0]);
      assertEquals(peer.local?.hostname, to);
      sender.add(bytes(8), 1, peer);
      sender.flush();
      // The client's socket is connected to the address it asked: it takes an answer from no other.
      arrived(client);
      assertEquals(received(receiver, client)[0]?.text, "8");
      libc.close(client);
    });
    libc.close(server);
  }
});

Deno.test("a message has the length that it was sent with, when it is empty or the longest", () => {
  const host = parseAddress("127.0.0.1");
  const server = bindSocket(libc, host, 0, false);
  const client = connectSocket(libc, host, portOf(libc, server));
  const receiver = new Receiver(libc);
  const sender = new Sender(libc, client, noProblem);
  // 65507 octets are the most that UDP over IPv4 carries.
  for (const length of [0, 1, 65_507, 512, 65_507]) {
    sender.add(new DataView(new ArrayBuffer(length)), length);
  }
  sender.flush();
  arrived(server);
  assertEquals(receiver.receive(server), 5);
  assertEquals([0, 1, 2, 3, 4].map((i) => receiver.length(i)), [0, 1, 65_507, 512, 65_507]);
  for (const fd of [server, client]) libc.close(fd);
});

Deno.test("one datagram is lost and told of, when it alone cannot be sent", () => {
  const host = parseAddress("127.0.0.1");
  const server = bindSocket(libc, host, 0, false);
  const client = connectSocket(libc, host, portOf(libc, server));
  const problems: DatagramProblem[] = [];
  const sender = new Sender(libc, client, (problem) => problems.push(problem));
  sender.add(bytes(1), 1);
  sender.add(new DataView(new ArrayBuffer(65_535)), 65_535);
  sender.add(bytes(3), 1);
  sender.flush();
  assertEquals(problems.map(({ kind, errno }) => [kind, errno]), [["lost", Errno.MSGSIZE]]);
  arrived(server);
  assertEquals(received(new Receiver(libc), server).map(({ text }) => text), ["1", "3"]);
  for (const fd of [server, client]) libc.close(fd);
});

Deno.test("bindSocket() throws what is wrong, when an address is not ours or taken", () => {
  const problem = (bind: () => number) => {
    const error = assertThrows(bind, SocketError) as SocketError;
    return error.errno;
  };
  assertEquals(
    problem(() => bindSocket(libc, parseAddress("192.0.2.1"), 0, false)),
    Errno.ADDRNOTAVAIL,
  );
  const host = parseAddress("127.0.0.1");
  const taken = bindSocket(libc, host, 0, false);
  assertEquals(problem(() => bindSocket(libc, host, portOf(libc, taken), false)), Errno.ADDRINUSE);
  libc.close(taken);
});

Deno.test("FairShare admits everything, when a socket is drained now and then", () => {
  const share = new FairShare();
  const client = endpoint("192.0.2.1");
  for (let batch = 0; batch < 100; batch++) {
    share.begin(batch % 8 === 7 ? 63 : 64);
    for (let i = 0; i < 64; i++) assert(share.admits(client), `batch ${batch}`);
  }
});

Deno.test("FairShare leaves each client an equal part, when a socket is never empty", () => {
  const share = new FairShare();
  const [loud, other, quiet] = ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map(endpoint);
  /** How many datagrams of each client are admitted, of a batch that holds them in turns. */
  const admitted = (...clients: (readonly [client: Endpoint, datagrams: number])[]) => {
    share.begin(clients.reduce((sum, [, datagrams]) => sum + datagrams, 0));
    return clients.map(([client, datagrams]) =>
      Array.from({ length: datagrams }, () => share.admits(client)).filter(Boolean).length
    );
  };
  for (let batch = 1; batch < 8; batch++) assertEquals(admitted([loud!, 64]), [64], `${batch}`);
  assertEquals(admitted([loud!, 64]), [16]);
  assertEquals(admitted([loud!, 63], [quiet!, 1]), [16, 1]);
  assertEquals(admitted([quiet!, 1], [loud!, 63]), [1, 8]);
  assertEquals(admitted([loud!, 31], [other!, 31], [quiet!, 2]), [16, 8, 2]);
  // Once it was empty, nothing is shed.
  assertEquals(admitted([loud!, 63]), [63]);
  assertEquals(admitted([loud!, 64]), [64]);
});

function endpoint(hostname: string): Endpoint {
  const { family, bytes } = parseAddress(hostname);
  return { family, bytes, hostname, scope: 0, batch: 0, count: 0 };
}

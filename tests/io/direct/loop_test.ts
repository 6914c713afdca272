/**
 * The loop: datagrams find their sockets, what promises send is sent, timers have their turn under load, and
 * an idle loop is woken by whatever changes.
 */
import { assertEquals } from "@std/assert";
import { parseAddress } from "../../../lib/address.ts";
import { type DatagramProblem, portOf, Receiver } from "../../../lib/io/direct/datagrams.ts";
import { Errno, Libc } from "../../../lib/io/direct/libc.ts";
import { type DirectSocket, Loop } from "../../../lib/io/direct/loop.ts";

const LOOPBACK = parseAddress("127.0.0.1");
const libc = Libc.open();
/** How long anything may take here, at the most. */
const LIMIT_MS = 10_000;

/** Waits for a promise, but not for ever. */
async function within<T>(what: string, promise: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what} did not happen`)), LIMIT_MS);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** A loop with an echo on a port of its own; `reply` says what to do with each datagram. */
class Echo {
  readonly loop = new Loop(libc);
  readonly receiver = new Receiver(libc);
  readonly server: DirectSocket;
  readonly port: number;

  constructor(reply: (send: () => void) => void = (send) => send()) {
    this.server = this.loop.bind(LOOPBACK, 0, this.receiver, {
      onDatagram: (peer, view, length) => {
        const octets = new DataView(view.buffer.slice(view.byteOffset, view.byteOffset + length));
        reply(() => this.server.send(peer, octets, length));
      },
      onProblem: fail,
    });
    this.port = portOf(libc, this.server.fd);
    this.server.receive();
  }

  connect(onDatagram: (octet: number) => void, onProblem = fail): DirectSocket {
    const socket = this.loop.connect(LOOPBACK, this.port, this.receiver, {
      onDatagram: (_peer, view) => onDatagram(view.getUint8(0)),
      onProblem,
    });
    socket.receive();
    return socket;
  }

  close(...sockets: DirectSocket[]): void {
    for (const socket of [this.server, ...sockets]) socket.close();
    this.loop.stop();
  }
}

function fail({ message }: DatagramProblem): void {
  throw new Error(message);
}

function octet(value: number): DataView {
  return new DataView(Uint8Array.of(value).buffer);
}

/** Lets the event loop turn until the loop has nothing to do and waits in another thread. */
function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}

Deno.test("Loop delivers and sends, when it was idle and somebody asks", async () => {
  const echo = new Echo();
  for (const [n, wait] of [pause, () => Promise.resolve(), pause].entries()) {
    const heard = Promise.withResolvers<number>();
    const socket = echo.connect(heard.resolve);
    await wait();
    socket.send(undefined, octet(n), 1);
    assertEquals(await within("an echo", heard.promise), n);
    socket.close();
  }
  echo.close();
});

Deno.test("Loop sends a reply, when it is made later by a promise, a timer or a commit", async () => {
  for (
    const reply of [
      (send: () => void) => queueMicrotask(send),
      (send: () => void) => void Promise.resolve().then(() => Promise.resolve()).then(send),
      (send: () => void) => void setTimeout(send, 15),
    ]
  ) {
    const echo = new Echo(reply);
    const heard = Promise.withResolvers<number>();
    const socket = echo.connect(heard.resolve);
    socket.send(undefined, octet(5), 1);
    assertEquals(await within("an echo", heard.promise), 5);
    echo.close(socket);
  }
});

Deno.test("Loop lets timers have their turn, when there is always something to receive", async () => {
  const echo = new Echo();
  let echoes = 0;
  const socket = echo.connect((value) => {
    echoes++;
    socket.send(undefined, octet(value), 1);
  });
  for (let i = 0; i < 50; i++) socket.send(undefined, octet(i), 1);
  let rounds = 0;
  const rang = new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      if (++rounds < 5 || echoes < 500) return;
      clearInterval(timer);
      resolve();
    }, 2);
  });
  await within("five rings of a timer among 500 echoes", rang);
  echo.close(socket);
});

Deno.test("Loop tells a connected socket, when nobody listens any more", async () => {
  const echo = new Echo();
  const told = Promise.withResolvers<DatagramProblem>();
  const socket = echo.connect(() => {}, told.resolve);
  echo.server.close();
  await pause();
  socket.send(undefined, octet(1), 1);
  const { kind, errno } = await within("word of it", told.promise);
  assertEquals([kind, errno], ["unreachable", Errno.CONNREFUSED]);
  echo.close(socket);
});

Deno.test("a closed socket hears nothing and its port is free, when the loop was waiting for it", async () => {
  const echo = new Echo();
  await pause();
  echo.server.close();
  await pause();
  const again = echo.loop.bind(LOOPBACK, echo.port, echo.receiver, {
    onDatagram: () => {},
    onProblem: fail,
  });
  echo.close(again);
});

Deno.test("Loop keeps apart what many sockets receive, when all are asked at once", async () => {
  const echo = new Echo();
  const sockets: DirectSocket[] = [];
  const heard: Promise<number>[] = [];
  for (let i = 0; i < 100; i++) {
    const { promise, resolve } = Promise.withResolvers<number>();
    sockets.push(echo.connect(resolve));
    heard.push(promise);
  }
  sockets.forEach((socket, i) => socket.send(undefined, octet(i), 1));
  assertEquals(await within("all echoes", Promise.all(heard)), sockets.map((_, i) => i));
  echo.close(...sockets);
});

Deno.test("defer() runs after all datagrams of a turn and before replies leave, when a commit is deferred", async () => {
  const order: string[] = [];
  const echo = new Echo((send) => {
    order.push("datagram");
    send();
    echo.loop.defer(() => order.push("commit"));
  });
  const heard = Promise.withResolvers<void>();
  let echoes = 0;
  const socket = echo.connect(() => {
    order.push("echo");
    if (++echoes === 3) heard.resolve();
  });
  await pause();
  // All three are there when the loop looks.
  for (let i = 0; i < 3; i++) socket.send(undefined, octet(i), 1);
  await within("three echoes", heard.promise);
  assertEquals(order, [
    ...["datagram", "datagram", "datagram"],
    ...["commit", "commit", "commit"],
    ...["echo", "echo", "echo"],
  ]);
  let isRun = false;
  echo.loop.defer(() => isRun = true);
  await Promise.resolve();
  assertEquals(isRun, true, "outside of a turn it is run soon");
  echo.close(socket);
});

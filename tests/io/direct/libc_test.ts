/** libc: error numbers, buffers that stay where they are, waiting in both ways, and permissions. */
import { assert, assertEquals } from "@std/assert";
import {
  Errno,
  errnoText,
  Libc,
  nativeBuffer,
  Poll,
  PollLayout,
} from "../../../lib/io/direct/libc.ts";
import { run } from "../../support/run.ts";

const libc = Libc.open();

/** One descriptor to wait for, until it can be read. */
function waitingFor(fd: number): Uint8Array<ArrayBuffer> {
  const fds = nativeBuffer(PollLayout.SIZE);
  const view = new DataView(fds.buffer);
  view.setInt32(PollLayout.FD, fd, true);
  view.setInt16(PollLayout.EVENTS, Poll.IN, true);
  return fds;
}

function returned(fds: Uint8Array<ArrayBuffer>): number {
  return new DataView(fds.buffer).getInt16(PollLayout.RETURNED, true);
}

Deno.test("Libc returns the error number, when a call fails", () => {
  const NO_FD = -9;
  assertEquals(libc.close(-1), NO_FD);
  assertEquals(libc.socket(9_999, 1, 0), -97);
  assertEquals(libc.bind(-1, nativeBuffer(16)), NO_FD);
  const event = libc.event();
  assertEquals(libc.lower(event), -Errno.AGAIN);
  assertEquals(libc.close(event), 0);
  assertEquals(libc.lower(event), NO_FD);
  assertEquals(errnoText(Errno.CONNREFUSED), "connection refused");
  assertEquals(errnoText(4_000), "error 4000");
});

Deno.test("addressOf() is the same for good, when a buffer has been in use for long", () => {
  const buffers = Array.from({ length: 50 }, (_, i) => nativeBuffer(8 + i));
  const addresses = buffers.map((buffer) => libc.addressOf(buffer));
  assertEquals(new Set(addresses).size, buffers.length);
  // Enough garbage that V8 collects it and moves what it may move.
  for (let i = 0; i < 200; i++) assertEquals(new Array(10_000).fill({ i }).length, 10_000);
  assertEquals(buffers.map((buffer) => libc.addressOf(buffer)), addresses);
});

Deno.test("poll() and pollAwaited() end, when an event is raised", async () => {
  const event = libc.event();
  const fds = waitingFor(event);
  assertEquals(libc.poll(fds, 1, 0), 0);
  const waited = libc.pollAwaited(fds, 1, 10_000);
  assertEquals(libc.raise(event), 8);
  assertEquals(await waited, 1);
  assertEquals(returned(fds), Poll.IN);
  assertEquals(libc.poll(fds, 1, 1), 1);
  assertEquals(libc.lower(event), 8);
  assertEquals(libc.poll(fds, 1, 0), 0);
  libc.close(event);
});

/** Runs code of its own with the permissions given; returns what it prints. */
async function runWith(permissions: readonly string[], code: string): Promise<string> {
  const module = new URL("../../../lib/io/direct/libc.ts", import.meta.url).href;
  const source = `import { Libc, nativeBuffer } from ${JSON.stringify(module)};\n${code}`;
  const options = ["--no-prompt", "--no-check", "--quiet", ...permissions];
  const url = `data:application/typescript,${encodeURIComponent(source)}`;
  const env = { NO_COLOR: "1" };
  const { stdout, stderr } = await run([Deno.execPath(), "run", ...options, url], { env });
  return stdout + stderr;
}

const USE = `const libc = Libc.open();
console.log(libc.close(-1), libc.addressOf(nativeBuffer(8)) > 0n);`;

Deno.test("Libc.open() works with permission for its file alone, when nothing else is permitted", async () => {
  const arch = Deno.build.arch;
  const file = [`/lib/${arch}-linux-gnu/libc.so.6`, "/lib64/libc.so.6", "/lib/libc.so.6"]
    .find((path) => {
      try {
        return Deno.statSync(path).isFile;
      } catch {
        return false;
      }
    });
  assert(file !== undefined, "there is no libc where one is looked for");
  assertEquals((await runWith([`--allow-ffi=${file}`], USE)).trim(), "-9 true");
  assertEquals((await runWith(["--allow-ffi"], USE)).trim(), "-9 true");
});

Deno.test("Libc.open() says what is missing, when FFI is not permitted", async () => {
  const code = `try { Libc.open(); } catch ({ message }) { console.log(message); }`;
  const expected = "FFI is not permitted (--allow-ffi)";
  assertEquals((await runWith([], code)).trim(), expected);
  assertEquals((await runWith(["--allow-ffi=/nowhere/libc.so.6"], code)).trim(), expected);
});

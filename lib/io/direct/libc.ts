/**
 * The few functions of libc that the direct edge is made of: all of FFI is here.
 *
 * Every method returns what the function returns, or the error number as a negative one. What the
 * kernel reads or writes is passed as a view of a buffer that the caller allocates once and keeps:
 * Deno does not hold a buffer for a call that is awaited, and addresses that stand inside of other
 * structures are just numbers. `nativeBuffer` allocates one, `addressOf` tells where it is. Layouts are
 * those of Linux on little-endian machines of 64 bits; `Libc.open` refuses all others.
 *
 * No pointer of Deno's is used, so permission for the file of libc is enough:
 * `--allow-ffi=/lib/x86_64-linux-gnu/libc.so.6`.
 *
 * @module
 */

/** Error numbers, the same on x86-64 and aarch64 (asm-generic/errno.h). */
export const Errno = {
  PERM: 1,
  NOENT: 2,
  INTR: 4,
  AGAIN: 11,
  NOMEM: 12,
  ACCES: 13,
  EXIST: 17,
  INVAL: 22,
  MSGSIZE: 90,
  NOPROTOOPT: 92,
  ADDRINUSE: 98,
  ADDRNOTAVAIL: 99,
  NETDOWN: 100,
  NETUNREACH: 101,
  NOBUFS: 105,
  CONNREFUSED: 111,
  HOSTUNREACH: 113,
} as const;

/** Address families and kinds of sockets. */
export const Socket = {
  INET: 2,
  NETLINK: 16,
  INET6: 10,
  RAW: 3,
  DATAGRAM: 2,
  /** Not inherited by the programs that dotp starts, and never waiting by itself. */
  FLAGS: 0o2000000 | 0o4000,
} as const;

/** What `poll` is asked and says. */
export const Poll = { IN: 0x1, OUT: 0x4, ERR: 0x8, HUP: 0x10, INVALID: 0x20 } as const;

/** struct pollfd, the same everywhere, unlike epoll_event. */
export const PollLayout = { FD: 0, EVENTS: 4, RETURNED: 6, SIZE: 8 } as const;

/** Octets that an eventfd is read and written with. */
const EVENT_LENGTH = 8;

const SYMBOLS = {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  poll: { parameters: ["buffer", "usize", "i32"], result: "i32" },
  pollAwaited: {
    name: "poll",
    parameters: ["buffer", "usize", "i32"],
    result: "i32",
    nonblocking: true,
  },
  recvmmsg: { parameters: ["i32", "buffer", "u32", "i32", "buffer"], result: "i32" },
  sendmmsg: { parameters: ["i32", "buffer", "u32", "i32"], result: "i32" },
  // The two return ssize_t. No message is so long that its lower half would not do, and a number is
  // cheaper than a BigInt.
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
  eventfd: { parameters: ["u32", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
  /** Moves nothing and returns where the buffer is. */
  addressOf: { name: "memmove", parameters: ["buffer", "buffer", "usize"], result: "usize" },
  copyFrom: { name: "memmove", parameters: ["buffer", "usize", "usize"], result: "usize" },
  errnoLocation: { name: "__errno_location", parameters: [], result: "usize" },
} as const;

/** Where libc is, by architecture, most frequent first. */
const FILES: Readonly<Record<string, readonly string[]>> = {
  x86_64: [
    "/lib/x86_64-linux-gnu/libc.so.6",
    "/usr/lib/x86_64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib64/libc.so.6",
    "/lib/libc.so.6",
    "/usr/lib/libc.so.6",
  ],
  aarch64: [
    "/lib/aarch64-linux-gnu/libc.so.6",
    "/usr/lib/aarch64-linux-gnu/libc.so.6",
    "/lib64/libc.so.6",
    "/usr/lib64/libc.so.6",
    "/lib/libc.so.6",
    "/usr/lib/libc.so.6",
  ],
};

/** Found by the loader, which has it loaded already; needs permission for every library. */
const ANY_LIBC = "libc.so.6";

/** A buffer whose place in memory never changes: V8 may keep a small typed array in its own heap. */
export function nativeBuffer(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(length));
}

/** The functions. */
export class Libc {
  readonly #symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];
  /** Where the error number of this thread is, and room for a copy of it. */
  readonly #errnoAddress: bigint;
  readonly #errnoCopy = nativeBuffer(4);
  readonly #errno = new Int32Array(this.#errnoCopy.buffer);
  readonly #option = nativeBuffer(4);
  readonly #optionView = new DataView(this.#option.buffer);
  readonly #length = nativeBuffer(4);
  readonly #lengthView = new DataView(this.#length.buffer);
  readonly #event = nativeBuffer(EVENT_LENGTH);

  private constructor(symbols: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"]) {
    this.#symbols = symbols;
    this.#errnoAddress = symbols.errnoLocation();
  }

  /**
   * Loads libc.
   *
   * @throws {Error} where the machine is another one, FFI is not permitted or no libc is found; the
   *   message says which
   */
  static open(): Libc {
    const { os, arch } = Deno.build;
    const files = FILES[arch];
    const isLittleEndian = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
    if (os !== "linux" || files === undefined || !isLittleEndian) {
      throw new Error(`there is no direct engine for ${os} on ${arch}`);
    }
    const permitted = [ANY_LIBC, ...files].filter(isPermitted);
    if (permitted.length === 0) throw new Error("FFI is not permitted (--allow-ffi)");
    for (const file of permitted) {
      try {
        return new Libc(Deno.dlopen(file, SYMBOLS).symbols);
      } catch (error) {
        if (file === permitted.at(-1)) {
          throw new Error(`libc cannot be loaded: ${(error as Error).message}`, { cause: error });
        }
      }
    }
    throw new Error("libc cannot be loaded");
  }

  /** The address of the first octet of a buffer, which must be one of `nativeBuffer`. */
  addressOf(buffer: Uint8Array<ArrayBuffer>): bigint {
    return this.#symbols.addressOf(buffer, buffer, 0n);
  }

  socket(family: number, kind: number, protocol: number): number {
    return this.#checked(this.#symbols.socket(family, kind | Socket.FLAGS, protocol));
  }

  bind(fd: number, address: Uint8Array<ArrayBuffer>): number {
    return this.#checked(this.#symbols.bind(fd, address, address.length));
  }

  connect(fd: number, address: Uint8Array<ArrayBuffer>): number {
    return this.#checked(this.#symbols.connect(fd, address, address.length));
  }

  close(fd: number): number {
    return this.#checked(this.#symbols.close(fd));
  }

  /** Sets an option of one int. */
  setOption(fd: number, level: number, option: number, value: number): number {
    this.#optionView.setInt32(0, value, true);
    return this.setOptionOctets(fd, level, option, this.#option);
  }

  /** Sets an option of any other kind. */
  setOptionOctets(
    fd: number,
    level: number,
    option: number,
    value: Uint8Array<ArrayBuffer>,
  ): number {
    return this.#checked(this.#symbols.setsockopt(fd, level, option, value, value.length));
  }

  /** The value of an option of one int; a negative one is an error number. */
  option(fd: number, level: number, option: number): number {
    this.#lengthView.setUint32(0, this.#option.length, true);
    const done = this.#symbols.getsockopt(fd, level, option, this.#option, this.#length);
    return done < 0 ? this.#checked(done) : this.#optionView.getInt32(0, true);
  }

  /** Writes the address that a socket is bound to; returns its length. */
  socketName(fd: number, address: Uint8Array<ArrayBuffer>): number {
    this.#lengthView.setUint32(0, address.length, true);
    const done = this.#symbols.getsockname(fd, address, this.#length);
    return done < 0 ? this.#checked(done) : this.#lengthView.getUint32(0, true);
  }

  /** Waits in this thread, which keeps everything else waiting too: for a millisecond or not at all. */
  poll(fds: Uint8Array<ArrayBuffer>, count: number, timeoutMs: number): number {
    return this.#checked(this.#symbols.poll(fds, BigInt(count), timeoutMs));
  }

  /**
   * Waits in another thread. The error number stays there: what is below 0 is only known to be an error.
   * The caller keeps `fds` until this resolves.
   */
  pollAwaited(fds: Uint8Array<ArrayBuffer>, count: number, timeoutMs: number): Promise<number> {
    return this.#symbols.pollAwaited(fds, BigInt(count), timeoutMs);
  }

  /** Receives up to `count` datagrams as the `mmsghdr` structures in `headers` say. */
  receiveMany(
    fd: number,
    headers: Uint8Array<ArrayBuffer>,
    count: number,
    flags: number,
  ): number {
    return this.#checked(this.#symbols.recvmmsg(fd, headers, count, flags, null));
  }

  /** Sends datagrams; an error is that of the first one, else it returns how many were sent. */
  sendMany(fd: number, headers: Uint8Array<ArrayBuffer>, count: number, flags: number): number {
    return this.#checked(this.#symbols.sendmmsg(fd, headers, count, flags));
  }

  receive(fd: number, buffer: Uint8Array<ArrayBuffer>, flags: number): number {
    return this.#checked(this.#symbols.recv(fd, buffer, BigInt(buffer.length), flags));
  }

  send(fd: number, buffer: Uint8Array<ArrayBuffer>, length: number, flags: number): number {
    return this.#checked(this.#symbols.send(fd, buffer, BigInt(length), flags));
  }

  /** A descriptor that becomes readable when `raise` is called, to end a `pollAwaited` with. */
  event(): number {
    return this.#checked(this.#symbols.eventfd(0, Socket.FLAGS));
  }

  raise(fd: number): number {
    this.#event.fill(0);
    this.#event[0] = 1;
    return this.#checked(this.#symbols.write(fd, this.#event, BigInt(EVENT_LENGTH)));
  }

  lower(fd: number): number {
    return this.#checked(this.#symbols.read(fd, this.#event, BigInt(EVENT_LENGTH)));
  }

  /** The error number of the call just made: nothing else may come between. */
  #checked(result: number): number {
    if (result >= 0) return result;
    this.#symbols.copyFrom(this.#errnoCopy, this.#errnoAddress, 4n);
    return -this.#errno[0]!;
  }
}

function isPermitted(file: string): boolean {
  // A name without a slash would be looked for in the current directory.
  const descriptor = file === ANY_LIBC
    ? { name: "ffi" } as const
    : { name: "ffi", path: file } as const;
  return Deno.permissions.querySync(descriptor).state === "granted";
}

/** An error number in words; the number where there are none. */
export function errnoText(errno: number): string {
  return ERRNO_TEXTS.get(errno) ?? `error ${errno}`;
}

const ERRNO_TEXTS = new Map<number, string>([
  [Errno.PERM, "operation not permitted"],
  [Errno.NOENT, "no such file or directory"],
  [Errno.INTR, "interrupted"],
  [Errno.AGAIN, "nothing to be had now"],
  [Errno.NOMEM, "out of memory"],
  [Errno.ACCES, "permission denied"],
  [Errno.EXIST, "exists already"],
  [Errno.INVAL, "invalid argument"],
  [Errno.MSGSIZE, "message too long"],
  [Errno.NOPROTOOPT, "protocol unreachable"],
  [Errno.ADDRINUSE, "address in use"],
  [Errno.ADDRNOTAVAIL, "address not available"],
  [Errno.NETDOWN, "network is down"],
  [Errno.NETUNREACH, "network unreachable"],
  [Errno.NOBUFS, "no buffer space"],
  [Errno.CONNREFUSED, "connection refused"],
  [Errno.HOSTUNREACH, "no route to host"],
]);

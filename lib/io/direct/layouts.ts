/**
 * How the structures of Linux that carry datagrams lie in memory, on little-endian machines of 64 bits:
 * the same on x86-64 and aarch64. `tests/io/direct/layouts_test.ts` has a C compiler say so.
 *
 * @module
 */
import { type Address, ADDRESS_LENGTH, type Family } from "../../address.ts";
import { Socket } from "./libc.ts";

/** struct mmsghdr: struct msghdr, and how many octets were received or sent. */
export const MessageLayout = {
  NAME: 0,
  NAME_LENGTH: 8,
  IOV: 16,
  IOV_LENGTH: 24,
  CONTROL: 32,
  CONTROL_LENGTH: 40,
  FLAGS: 48,
  LENGTH: 56,
  SIZE: 64,
} as const;

/** struct iovec. */
export const IovLayout = { BASE: 0, LENGTH: 8, SIZE: 16 } as const;

/** struct cmsghdr, whose data begins where its own fields end. */
export const ControlLayout = { LENGTH: 0, LEVEL: 8, TYPE: 12, DATA: 16 } as const;

/** struct in_pktinfo and struct in6_pktinfo: the address of this machine, and the interface. */
export const PacketInfoLayout = {
  4: { INTERFACE: 0, ADDRESS: 4, SIZE: 12 },
  6: { ADDRESS: 0, INTERFACE: 16, SIZE: 20 },
} as const;

/** struct sockaddr_in and struct sockaddr_in6. */
export const AddressLayout = {
  4: { FAMILY: 0, PORT: 2, ADDRESS: 4, SIZE: 16 },
  6: { FAMILY: 0, PORT: 2, ADDRESS: 8, SCOPE: 24, SIZE: 28 },
} as const;

/** Room for a socket address of either kind. */
export const ADDRESS_ROOM = 32;
/** Room for the one control message that there is: a packet's address and interface. */
export const CONTROL_ROOM = 40;

/** The address family of Linux. */
export const ADDRESS_FAMILY: Readonly<Record<Family, number>> = {
  4: Socket.INET,
  6: Socket.INET6,
};

/** Writes a socket address at `offset`; returns its length. */
export function writeSocketAddress(
  view: DataView,
  offset: number,
  { family, bytes }: Address,
  port: number,
): number {
  const layout = AddressLayout[family];
  for (let i = 0; i < layout.SIZE; i++) view.setUint8(offset + i, 0);
  view.setUint16(offset + layout.FAMILY, ADDRESS_FAMILY[family], true);
  view.setUint16(offset + layout.PORT, port);
  for (let i = 0; i < ADDRESS_LENGTH[family]; i++) {
    view.setUint8(offset + layout.ADDRESS + i, bytes[i]!);
  }
  return layout.SIZE;
}

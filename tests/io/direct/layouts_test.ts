/**
 * The layouts against a C compiler's: each constant is asserted when a program is compiled, for this
 * machine and for aarch64 where a compiler for it is installed (Debian: gcc-aarch64-linux-gnu).
 */
import { assertEquals } from "@std/assert";
import {
  ADDRESS_FAMILY,
  ADDRESS_ROOM,
  AddressLayout,
  CONTROL_ROOM,
  ControlLayout,
  IovLayout,
  MessageLayout,
  PacketInfoLayout,
  writeSocketAddress,
} from "../../../lib/io/direct/layouts.ts";
import { Errno, Poll, PollLayout, Socket } from "../../../lib/io/direct/libc.ts";
import { hex } from "../../support/hex.ts";
import { testWith } from "../../support/programs.ts";
import { run } from "../../support/run.ts";

const HEADERS = ["poll.h", "errno.h", "stddef.h", "sys/socket.h", "netinet/in.h", "sys/uio.h"];

/** What C says, and what it must be equal to. */
const EQUAL: readonly (readonly [c: string, ours: number])[] = [
  ["offsetof(struct mmsghdr, msg_hdr.msg_name)", MessageLayout.NAME],
  ["offsetof(struct mmsghdr, msg_hdr.msg_namelen)", MessageLayout.NAME_LENGTH],
  ["offsetof(struct mmsghdr, msg_hdr.msg_iov)", MessageLayout.IOV],
  ["offsetof(struct mmsghdr, msg_hdr.msg_iovlen)", MessageLayout.IOV_LENGTH],
  ["offsetof(struct mmsghdr, msg_hdr.msg_control)", MessageLayout.CONTROL],
  ["offsetof(struct mmsghdr, msg_hdr.msg_controllen)", MessageLayout.CONTROL_LENGTH],
  ["offsetof(struct mmsghdr, msg_hdr.msg_flags)", MessageLayout.FLAGS],
  ["offsetof(struct mmsghdr, msg_len)", MessageLayout.LENGTH],
  ["sizeof(struct mmsghdr)", MessageLayout.SIZE],
  ["offsetof(struct iovec, iov_base)", IovLayout.BASE],
  ["offsetof(struct iovec, iov_len)", IovLayout.LENGTH],
  ["sizeof(struct iovec)", IovLayout.SIZE],
  ["offsetof(struct cmsghdr, cmsg_len)", ControlLayout.LENGTH],
  ["offsetof(struct cmsghdr, cmsg_level)", ControlLayout.LEVEL],
  ["offsetof(struct cmsghdr, cmsg_type)", ControlLayout.TYPE],
  ["CMSG_LEN(0)", ControlLayout.DATA],
  ["offsetof(struct in_pktinfo, ipi_ifindex)", PacketInfoLayout[4].INTERFACE],
  ["offsetof(struct in_pktinfo, ipi_spec_dst)", PacketInfoLayout[4].ADDRESS],
  ["sizeof(struct in_pktinfo)", PacketInfoLayout[4].SIZE],
  ["offsetof(struct in6_pktinfo, ipi6_ifindex)", PacketInfoLayout[6].INTERFACE],
  ["offsetof(struct in6_pktinfo, ipi6_addr)", PacketInfoLayout[6].ADDRESS],
  ["sizeof(struct in6_pktinfo)", PacketInfoLayout[6].SIZE],
  ["CMSG_SPACE(sizeof(struct in6_pktinfo))", CONTROL_ROOM],
  ["offsetof(struct sockaddr_in, sin_port)", AddressLayout[4].PORT],
  ["offsetof(struct sockaddr_in, sin_addr)", AddressLayout[4].ADDRESS],
  ["sizeof(struct sockaddr_in)", AddressLayout[4].SIZE],
  ["offsetof(struct sockaddr_in6, sin6_port)", AddressLayout[6].PORT],
  ["offsetof(struct sockaddr_in6, sin6_addr)", AddressLayout[6].ADDRESS],
  ["offsetof(struct sockaddr_in6, sin6_scope_id)", AddressLayout[6].SCOPE],
  ["sizeof(struct sockaddr_in6)", AddressLayout[6].SIZE],
  ["offsetof(struct pollfd, events)", PollLayout.EVENTS],
  ["offsetof(struct pollfd, revents)", PollLayout.RETURNED],
  ["sizeof(struct pollfd)", PollLayout.SIZE],
  ["AF_INET", ADDRESS_FAMILY[4]],
  ["AF_INET6", ADDRESS_FAMILY[6]],
  ["AF_NETLINK", Socket.NETLINK],
  ["SOCK_DGRAM", Socket.DATAGRAM],
  ["SOCK_RAW", Socket.RAW],
  ["(SOCK_CLOEXEC | SOCK_NONBLOCK)", Socket.FLAGS],
  ["POLLIN", Poll.IN],
  ["POLLOUT", Poll.OUT],
  ["POLLERR", Poll.ERR],
  ["IP_PKTINFO", 8],
  ["IPV6_RECVPKTINFO", 49],
  ["IPV6_PKTINFO", 50],
  ["SO_RCVBUF", 8],
  ["SO_RCVBUFFORCE", 33],
  ["SO_SNDBUFFORCE", 32],
  ["SO_ATTACH_FILTER", 26],
  ["MSG_TRUNC", 0x20],
  ...Object.entries(Errno).map(([name, value]) => [`E${name}`, value] as const),
];

const PROGRAM = [
  "#define _GNU_SOURCE",
  ...HEADERS.map((header) => `#include <${header}>`),
  ...EQUAL.map(([c, ours]) => `_Static_assert((${c}) == ${ours}, ${JSON.stringify(c)});`),
  `_Static_assert(sizeof(struct sockaddr_in6) <= ${ADDRESS_ROOM}, "room");`,
  "int main(void) { return 0; }",
].join("\n");

for (const compiler of ["cc", "aarch64-linux-gnu-gcc"]) {
  testWith(
    compiler,
    `layouts are those of ${compiler}, when each constant is asserted`,
    async () => {
      const command = [compiler, "-x", "c", "-std=c11", "-fsyntax-only", "-"];
      assertEquals((await run(command, { stdin: PROGRAM })).stderr, "");
    },
  );
}

Deno.test("writeSocketAddress() writes what bind(2) takes, when an address is of either IP version", () => {
  const octets = new Uint8Array(28).fill(0xa5);
  const view = new DataView(octets.buffer);
  const four = { family: 4, bytes: hex("c0 00 02 01") } as const;
  assertEquals(writeSocketAddress(view, 0, four, 53), 16);
  assertEquals(octets.slice(0, 16), hex("02 00 00 35 c0 00 02 01 00 00 00 00 00 00 00 00"));
  const six = { family: 6, bytes: hex("20 01 0d b8" + " 00".repeat(11) + " 01") } as const;
  assertEquals(writeSocketAddress(view, 0, six, 0x1234), 28);
  assertEquals(
    octets,
    hex("0a 00 12 34 00 00 00 00 20 01 0d b8" + " 00".repeat(11) + " 01 00 00 00 00"),
  );
});

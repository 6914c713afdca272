/**
 * The lab's one address plan, from the prefixes that are set aside for documentation:
 *
 *   client 192.0.2.2 ------ 192.0.2.1 gateway 198.51.100.1 ------ 198.51.100.2 server
 *   2001:db8:1::2           2001:db8:1::1     2001:db8:2::1       2001:db8:2::2
 *
 * The server answers at every address of the `real` and `many` prefixes too; its upstream DNS
 * server at 198.51.100.2 and 2001:db8:2::2 only.
 */

import ipaddr from "ipaddr.js";

/** The three namespaces. */
export type Where = "client" | "gateway" | "server";

/** The fixed addresses. */
export const Address = {
  client4: "192.0.2.2",
  client6: "2001:db8:1::2",
  gateway4: "192.0.2.1",
  gateway6: "2001:db8:1::1",
  gatewayOutside4: "198.51.100.1",
  gatewayOutside6: "2001:db8:2::1",
  upstream4: "198.51.100.2",
  upstream6: "2001:db8:2::2",
  forger4: "198.51.100.3",
  forger6: "2001:db8:2::3",
} as const;

/** The fake prefixes of rules.nft. */
export const FAKE4 = "198.18.0.0/15";
export const FAKE6 = "2001:2::/48";

/** Tells whether an address is in one of the fake prefixes. */
export function isFake(address: string): boolean {
  const parsed = ipaddr.parse(address);
  return [FAKE4, FAKE6].map((prefix) => ipaddr.parseCIDR(prefix)).some(([prefix, length]) =>
    prefix.kind() === parsed.kind() && parsed.match(prefix, length)
  );
}

/** The server's own prefixes: any address in them is the web server's. */
export const REAL_PREFIXES_4 = ["203.0.113.0/24", "10.200.0.0/16"];
export const REAL_PREFIXES_6 = ["2001:db8:3::/48", "2001:db8:4::/48"];

/** The web server's port, and the port of its UDP echo. */
export const WEB_PORT = 80;
export const ECHO_PORT = 7;

/** Returns the n-th real IPv4 address of the web server, n from 1 to 254. */
export function real4(n: number): string {
  return `203.0.113.${n}`;
}

/** Returns the n-th real IPv6 address of the web server, n from 1 to 65535. */
export function real6(n: number): string {
  return `2001:db8:3::${n.toString(16)}`;
}

/** Returns the n-th of many real IPv4 addresses, n from 0 to 65535. */
export function many4(n: number): string {
  return `10.200.${n >> 8}.${n & 0xff}`;
}

/** Returns the n-th of many real IPv6 addresses, n from 1 to 65535. */
export function many6(n: number): string {
  return `2001:db8:4::${n.toString(16)}`;
}

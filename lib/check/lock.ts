/**
 * One dotp for a table: two would delete each other's mappings. Who has a table holds a UDP socket on
 * the loopback interface, at an address that is made of the table's name.
 *
 * Such a socket belongs to the network namespace, as the table does, and the kernel closes it with the
 * process, however that ends. Nothing is ever sent to it. Nobody without privileges can take its port,
 * so nobody without can keep dotp from starting; a dotp that itself lacks CAP_NET_BIND_SERVICE has
 * another port, and does not see those that have it.
 *
 * @module
 */
import { addressToText, isUnspecified } from "../address.ts";
import type { Config, Endpoint } from "../config.ts";
import { error, type Finding } from "./finding.ts";
import { type Holder, sameSocket, type Taken } from "./port.ts";

/**
 * UDP ports, the second for who may not have the first. The first is assigned to nothing, and below
 * those that NFS and others take at random; the second is above those that Linux does.
 */
export const LOCK_PORTS = [40, 61_040] as const;

/** FNV-1a of 32 bits: nobody gains by names that collide. */
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** The address whose ports lock a table: 127.1.0.0 to 127.254.255.255, so none that is in use. */
export function lockHost(table: string): Endpoint["host"] {
  let hash = FNV_OFFSET;
  for (const octet of new TextEncoder().encode(table)) hash = Math.imul(hash ^ octet, FNV_PRIME);
  const octets = [127, 1 + (hash >>> 16) % 254, (hash >>> 8) & 0xff, hash & 0xff];
  return { family: 4, bytes: Uint8Array.from(octets) };
}

/** Whether a listener has the place of a lock, so that it locks the table by itself. */
export function isTakenBy(listen: Endpoint, lock: Endpoint): boolean {
  return listen.port === lock.port &&
    (isUnspecified(listen.host) ||
      addressToText(listen.host.bytes) === addressToText(lock.host.bytes));
}

/** Those among the holders of a port who have the place of a lock. */
export function holdersOf(lock: Endpoint, { holders }: Taken): Holder[] {
  const own = addressToText(lock.host.bytes);
  return holders.filter(({ address }) => address === own || /^(\*|0\.0\.0\.0|::)$/.test(address));
}

/**
 * Whether one of them is a dotp with the same listener: the very one that is asked about. Where nobody
 * can be seen, it is the one that was told to listen there.
 */
export function isOwnLock(config: Config, lock: Endpoint, taken: Taken): boolean {
  const ids = holdersOf(lock, taken).flatMap(({ process }) => process?.id ?? []);
  return [...taken.running].some(([id, dotp]) =>
    (ids.length === 0 || ids.includes(id)) && sameSocket(dotp, config)
  );
}

/** What to say where the lock is taken. */
export function judgeLock({ table }: Config, lock: Endpoint, taken: Taken): Finding {
  const process = holdersOf(lock, taken).find((holder) => holder.process !== undefined)?.process;
  const place = `UDP ${addressToText(lock.host.bytes)} port ${lock.port}`;
  const advice = "end that one, or give another table and other prefixes";
  if (process === undefined) {
    const what = `--table ${table}: another dotp has it, as ${place} is taken`;
    return error("table", what, `${advice}; ${taken.problem ?? "root can see by whom"}`);
  }
  const other = taken.running.get(process.id);
  if (other === undefined) {
    const what =
      `--table ${table}: ${process.name}, process ${process.id}, has the place of its lock`;
    return error("table", `${what}, ${place}`, "end that process");
  }
  const where = `${addressToText(other.listen.host.bytes)} port ${other.listen.port}`;
  const what =
    `--table ${table}: another dotp has it, process ${process.id}, listening on ${where}`;
  return error("table", what, advice);
}

/**
 * The names of the bench: blocks of numbered names, each with one A record of its own, as a zone for
 * the upstream and as query files for dnsperf. Contract: pure but for the writing of files; the same
 * plan gives the same bytes. Real addresses lie in 10.0.0.0/8 to 13.0.0.0/8: never loopback,
 * multicast or inside the fake prefix, so every one of them is mapped.
 */

/** The zone of the upstream, above all names. */
export const ZONE = "test";

/** The name that dotp and dnsmasq are configured for. */
export const CONFIGURED = `cfg.${ZONE}`;

/** Numbered names under one domain, each with an address of its own. */
export interface Block {
  readonly label: string;
  readonly domain: string;
  /** First octet of the addresses; the other three count. */
  readonly firstOctet: number;
  readonly count: number;
}

/** One name and its address. */
export interface Host {
  readonly name: string;
  readonly real: string;
}

/** The four blocks that the workloads draw from. */
export interface Blocks {
  /** Not configured. */
  readonly plain: Block;
  /** Configured, asked before the measurement. */
  readonly known: Block;
  /** Configured, asked once, while measuring. */
  readonly fresh: Block;
  /** Configured, asked once, to warm the path of new mappings up. */
  readonly warm: Block;
}

/** Sizes of the blocks. */
export interface BlockSizes {
  readonly plain: number;
  readonly known: number;
  readonly fresh: number;
  readonly warm: number;
}

/** Makes the blocks. */
export function makeBlocks(sizes: BlockSizes): Blocks {
  return {
    plain: { label: "u", domain: `plain.${ZONE}`, firstOctet: 10, count: sizes.plain },
    known: { label: "k", domain: CONFIGURED, firstOctet: 11, count: sizes.known },
    fresh: { label: "n", domain: CONFIGURED, firstOctet: 12, count: sizes.fresh },
    warm: { label: "w", domain: CONFIGURED, firstOctet: 13, count: sizes.warm },
  };
}

/** Host number `index` of a block; goes round at its end. */
export function hostAt(block: Block, index: number): Host {
  const number = index % block.count;
  const octets = [block.firstOctet, (number >> 16) & 0xff, (number >> 8) & 0xff, number & 0xff];
  return {
    name: `${block.label}${String(number).padStart(6, "0")}.${block.domain}`,
    real: octets.join("."),
  };
}

/** The first `count` hosts of a block, going round at its end. */
export function hostsOf(block: Block, count = block.count): Host[] {
  return Array.from({ length: count }, (_, index) => hostAt(block, index));
}

/** Writes the zone file for the upstream. */
export async function writeZone(path: string, blocks: Blocks): Promise<void> {
  const lines = [
    `$ORIGIN ${ZONE}.`,
    "$TTL 3600",
    "@ SOA ns hostmaster 1 3600 600 86400 60",
    "@ NS ns",
    "ns A 10.255.255.1",
  ];
  for (const block of Object.values(blocks) as Block[]) {
    lines.push(...hostsOf(block).map((host) => `${host.name}. A ${host.real}`));
  }
  await Deno.writeTextFile(path, lines.join("\n") + "\n");
}

/** Writes a query file for dnsperf. */
export async function writeQueries(path: string, hosts: readonly Host[]): Promise<void> {
  await Deno.writeTextFile(path, hosts.map((host) => `${host.name} A\n`).join(""));
}

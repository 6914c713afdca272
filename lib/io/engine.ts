/**
 * The edge that dotp runs on: the portable one needs no more than the network and programs, the direct
 * one talks to the kernel through libc and needs permission for FFI. Both do the same work behind the same
 * interfaces.
 *
 * Each part of the direct one is tried before it is chosen, with a real write that is undone. What fails
 * later is no reason to change it.
 *
 * @module
 */
import type { Config } from "../config.ts";
import type { Eventually, Kernel } from "../kernel/kernel.ts";
import { checkDatagrams } from "./direct/datagrams.ts";
import { DirectKernel } from "./direct/kernel.ts";
import { Libc } from "./direct/libc.ts";
import { DirectSockets } from "./direct/sockets.ts";
import { PortableSockets } from "./portable/datagrams.ts";
import { PortableKernel } from "./portable/kernel.ts";
import type { NftProgram } from "./portable/nft.ts";
import { nowMs, yieldTurn } from "./runtime/clock.ts";
import type { Sockets } from "./sockets.ts";

/**
 * A batch that follows another within `recentMs` waits for `gatherMs` first. A batch of one costs nft
 * and Deno half a millisecond, each further mapping a tenth of that; a mapping that is made while
 * nothing else happens does not wait.
 */
const PACE = { recentMs: 10, gatherMs: 2 } as const;

/** Sockets and kernel, and what goes with them. */
export interface Engine {
  readonly name: "portable" | "direct";
  /** Why it is this one. */
  readonly reason: string;
  readonly sockets: Sockets;
  readonly kernel: Kernel;
  /** Finds out whether connections can be deleted; what is in the way, or undefined. */
  readonly probeConnections: () => Eventually<string | undefined>;
  /** Calls `run` when a first batch of changes may be taken. */
  readonly begin: (run: () => void) => void;
  /** Resolves when the next one may be. */
  readonly pace: (() => Promise<void>) | undefined;
  /** Resolves after a turn of the event loop. */
  readonly breathe: () => Promise<void>;
  /** Has `onForeign` called when somebody else changes maps or sets, where that is noticed. */
  readonly watch: (onForeign: () => void) => void;
  readonly close: () => void;
}

/**
 * Starts the engine that `--engine` asks for.
 *
 * @throws {Error} if it is `direct` and not available; the message says why
 */
export function startEngine(config: Config, nft: NftProgram): Engine {
  if (config.engine === "portable") return portableEngine(config, nft, "as --engine says");
  try {
    return directEngine(config, nft);
  } catch (error) {
    if (config.engine === "direct") throw error;
    return portableEngine(config, nft, (error as Error).message);
  }
}

function portableEngine(config: Config, nft: NftProgram, reason: string): Engine {
  const kernel = new PortableKernel(config, nft);
  return {
    name: "portable",
    reason,
    sockets: new PortableSockets(),
    kernel,
    probeConnections: () => kernel.probeConnections(),
    begin: queueMicrotask,
    pace: makePace(),
    breathe: yieldTurn,
    watch: () => {},
    close: () => nft.close(),
  };
}

/**
 * @throws {Error} where any part of it does not work
 */
function directEngine({ table, prefixes }: Config, nft: NftProgram): Engine {
  const libc = Libc.open();
  checkDatagrams(libc);
  const loadRules = () => nft.loadRules();
  const kernel = new DirectKernel({ libc, table, prefixes, breathe: yieldTurn, loadRules });
  const problem = kernel.probe();
  if (problem !== undefined) {
    kernel.close();
    throw new Error(problem);
  }
  const sockets = new DirectSockets(libc);
  // It has done its part at the start; it is run again where the table is to be loaded.
  nft.close();
  return {
    name: "direct",
    reason: "libc and netlink work",
    sockets,
    kernel,
    probeConnections: () => kernel.probeConnections(),
    // With the replies of a turn, which then leave in the same turn.
    begin: (run) => sockets.loop.defer(run),
    pace: undefined,
    breathe: yieldTurn,
    watch: (onForeign) => {
      kernel.onForeign = onForeign;
      sockets.loop.watch(kernel.watch);
    },
    close: () => {
      sockets.close();
      kernel.close();
    },
  };
}

function makePace(): () => Promise<void> {
  let lastMs = -Infinity;
  return async () => {
    if (nowMs() - lastMs < PACE.recentMs) {
      await new Promise((resolve) => setTimeout(resolve, PACE.gatherMs));
    }
    lastMs = nowMs();
  };
}

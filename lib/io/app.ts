/**
 * Puts the parts together and keeps them running: sockets, mappings, committer, timers.
 *
 * What can be wrong with the machinery is found here, before the first query, and thrown as a
 * `StartError`.
 *
 * @module
 */
import { addressToText, isUnspecified } from "../address.ts";
import type { Report } from "../metrics.ts";
import { DnsProxy } from "../proxy/proxy.ts";
import type { Config } from "../config.ts";
import { DATAGRAM_LENGTH_MAX, MESSAGE_LENGTH_PLAIN } from "../dns/constants.ts";
import { type Listener, PendingQueries, type PendingQuery } from "../proxy/pending.ts";
import { Rewriter } from "../proxy/rewriter.ts";
import { nowMs, Timer } from "./runtime/clock.ts";
import {
  bindProblem,
  checkPermissions,
  checkTable,
  engineProblem,
  prefixWarnings,
  StartError,
  warnOfRules,
} from "./preflight.ts";
import { type Engine, startEngine } from "./engine.ts";
import type { DatagramSocket, OnDatagram, Peer, Sockets } from "./sockets.ts";
import { VERIFY_MAPPINGS_MAX } from "../kernel/maintenance.ts";
import { lockTable } from "./lock.ts";
import { makeReport } from "./events.ts";
import { log } from "./runtime/log.ts";
import { makeNat, type Nat } from "./nat.ts";
import { PolicyKeeper } from "./policy.ts";
import { NftProgram } from "./portable/nft.ts";
import { endPrograms } from "./runtime/process.ts";
import {
  type OpenSocket,
  randomNumbers,
  UdpUpstream,
  type UpstreamEvents,
} from "./upstream/udp.ts";

/** How long a batch that is in flight may take when dotp ends. */
const STOP_MS = 700;

/** What takes part in the path of a query, until it is closed. */
interface Path {
  /** Neither listens nor asks any more. */
  close(): void;
}

/**
 * Runs dotp until it is told to end, at whatever it is then: what nft does is not waited for.
 *
 * Names that are not configured are answered while what an earlier run has left is taken over, the
 * others get SERVFAIL until then.
 *
 * @param signal tells it to end
 * @param onReady called once dotp listens, nft works and what an earlier run has left is taken over,
 * with what reads the domain files again
 * @throws {StartError}
 */
export async function serve(
  config: Config,
  signal: AbortSignal,
  onReady: (reload: () => void) => void,
): Promise<void> {
  const ended = Promise.withResolvers<undefined>();
  signal.addEventListener("abort", () => ended.resolve(undefined));
  const report = makeReport();
  const nft = new NftProgram(config.table, config.rulesFile);
  let nat: Nat | undefined;
  let path: Path | undefined;
  let engine: Engine | undefined;
  const start = async () => {
    await checkPermissions(config);
    const policy = await PolicyKeeper.start(config);
    await lockTable(config, signal);
    await checkTable(config, nft);
    signal.throwIfAborted();
    engine = chooseEngine(config, nft);
    nat = await makeNat(config, engine, report);
    signal.throwIfAborted();
    path = connect(config, policy, engine, nat, report);
    await nat.adopt();
    return { policy, nat, engine };
  };
  const close = () => {
    path?.close();
    nat?.stop();
  };
  try {
    const running = await Promise.race([start(), ended.promise]);
    if (running === undefined) return;
    const { policy, nat: { mappings, committer } } = running;
    announce(config, running.engine, policy.active.current.domains.size);
    if (mappings.size <= VERIFY_MAPPINGS_MAX) void warnOfRules(config, nft);
    onReady(() => void policy.reload());
    await ended.promise;
    close();
    // What is not in the kernel yet is no loss, but nft need not be torn out of a batch.
    await withinTime(committer.idle(), STOP_MS);
  } finally {
    close();
    engine?.close();
    nft.close();
    endPrograms();
  }
}

/** Waits for something, but no longer than some time. */
async function withinTime(awaited: Promise<void>, timeoutMs: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  await Promise.race([awaited, promise]);
  clearTimeout(timer);
}

/**
 * The engine that the configuration asks for.
 *
 * @throws {StartError}
 */
function chooseEngine(config: Config, nft: NftProgram): Engine {
  try {
    return startEngine(config, nft);
  } catch (error) {
    throw new StartError(engineProblem(error as Error), { cause: error });
  }
}

/**
 * Binds the sockets and connects them with what is between them.
 *
 * @throws {StartError}
 */
function connect(
  config: Config,
  policy: PolicyKeeper,
  engine: Engine,
  nat: Nat,
  report: Report,
): Path {
  const { mappings, committer, maintenance } = nat;
  const random = randomNumbers();
  const inFlight = new PendingQueries<Peer>(random);
  const ttlMax = Math.floor(config.natTtl / 2);
  const rewriter = new Rewriter(policy.active, mappings, ttlMax);
  const socket = bind(config, engine.sockets, report, (peer, view, length) => {
    answerer.onQuery(listener, peer, view, length, nowMs());
  });
  const listener: Listener<Peer> = {
    replyLengthUsual: MESSAGE_LENGTH_PLAIN,
    replyLengthMax: DATAGRAM_LENGTH_MAX,
    clientOf: ({ hostname }) => hostname,
    reply: (peer, view, length) => socket.send(peer, view, length),
  };
  const upstream = openUpstream(config, engine.sockets, random, {
    onReply: (channel, view, length) => answerer.onReply(channel, view, length, nowMs()),
    onUnreachable: (channel) => answerer.onUnreachable(channel),
    onError: ({ message }) => report({ kind: "socket", role: "upstream", detail: message }),
  });
  const answerer = new DnsProxy<Peer>({
    inFlight,
    rewriter,
    barrier: committer.barrier,
    upstream,
    now: nowMs,
    report,
  });
  const timer = new Timer([answerer, upstream, maintenance]);
  socket.receive();
  return {
    close: () => {
      socket.close();
      upstream.close();
      timer.stop();
    },
  };
}

/** The socket that clients ask; what must not be answered does not get through. */
function bind(
  config: Config,
  sockets: Sockets,
  report: Report,
  onQuery: OnDatagram,
): DatagramSocket {
  const { host, port } = config.listen;
  const hostname = addressToText(host.bytes);
  const isOwn = isUnspecified(host) ? isLocal : (address: string) => address === hostname;
  const onDatagram: OnDatagram = (peer, view, length) => {
    // An answer to port 0 is undeliverable, one to dotp itself would be a loop.
    if (peer.port === 0 || (peer.port === port && isOwn(peer.hostname))) return;
    onQuery(peer, view, length);
  };
  const onError = ({ message }: Error) =>
    report({ kind: "socket", role: "listener", detail: message });
  try {
    return sockets.bind(host, port, { onDatagram, onError });
  } catch (error) {
    throw new StartError(bindProblem(error, config.listen, hostname), { cause: error });
  }
}

function openUpstream(
  { upstream: { host, port } }: Config,
  sockets: Sockets,
  random: () => number,
  events: UpstreamEvents<PendingQuery<Peer>>,
): UdpUpstream<PendingQuery<Peer>> {
  try {
    const open: OpenSocket = (events) => sockets.connect(host, port, events);
    return new UdpUpstream(events, random, nowMs(), open);
  } catch (error) {
    const text = addressToText(host.bytes);
    throw new StartError(
      `--upstream-host ${text}: Cannot open a socket to it: ${(error as Error).message}`,
      { cause: error },
    );
  }
}

/** Whether an address is one of this machine: only then can a socket be bound to it. */
function isLocal(hostname: string): boolean {
  try {
    Deno.listenDatagram({ transport: "udp", hostname, port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}

function announce(config: Config, { name, reason }: Engine, domains: number): void {
  log.info(`engine: ${name} ({reason})`, { reason });
  for (const warning of prefixWarnings(config)) log.warning("{warning}", { warning });
  if (domains === 0) log.warning("no --domain is given: every reply passes as it is");
  log.info("listening on {host} port {port}, domains: {domains}, upstream: {upstream} port {to}", {
    host: addressToText(config.listen.host.bytes),
    port: config.listen.port,
    domains,
    upstream: addressToText(config.upstream.host.bytes),
    to: config.upstream.port,
  });
}

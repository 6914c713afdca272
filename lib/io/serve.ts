/**
 * Puts the parts together and keeps them running: sockets, tables, committer, timers.
 *
 * What can be wrong with the machinery is found here, before the first query, and thrown as a
 * `StartError`.
 *
 * @module
 */
import { addressToText, isUnspecified } from "../address.ts";
import { Answerer, type Failure } from "../answer.ts";
import type { Config } from "../config.ts";
import { Offset } from "../dns/constants.ts";
import { DomainTree } from "../dns/domains.ts";
import { nameToText } from "../dns/name.ts";
import type { QueryParts } from "../dns/reply.ts";
import { InFlight } from "../in_flight.ts";
import { ChangeLog } from "../nat/changes.ts";
import { Pool } from "../nat/pool.ts";
import { Table } from "../nat/table.ts";
import { Committer } from "../nft/committer.ts";
import { Rewriter } from "../rewrite.ts";
import { Alarm, nowMs } from "./alarm.ts";
import {
  bindProblem,
  checkPermissions,
  checkTable,
  checkWrite,
  prefixWarnings,
  StartError,
} from "./checks.ts";
import { DatagramSocket, type OnDatagram, type Peer } from "./datagrams.ts";
import { log, RateLimit } from "./log.ts";
import { NftProgram } from "./nft.ts";
import { randomNumbers, Upstream, type UpstreamEvents } from "./upstream.ts";

/** Pause before a failed attempt to reach the kernel is repeated. */
const RETRY_MS = 1_000;
/** How long a batch that is under way may take when dotp ends. */
const STOP_MS = 700;

/** A running dotp. */
export interface Server {
  /** Begins to answer. */
  start(): void;
  /** Stops listening, lets the batch under way finish; resolves when all is closed. */
  stop(): Promise<void>;
}

/**
 * Starts dotp; resolves once it listens and nft works.
 *
 * @throws {StartError}
 */
export async function serve(config: Config): Promise<Server> {
  await checkPermissions(config);
  const nft = new NftProgram(config.table);
  const nat = makeNat(config, nft);
  const server = connect(config, nft, nat);
  try {
    await checkTable(config, nft);
    // Not before the port is ours: another dotp may be using the table.
    await nat.adopt();
    await checkWrite(config, nft);
    server.start();
    announce(config);
    return server;
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** The NAT state, and what brings it into the kernel. */
interface Nat {
  readonly tables: { readonly 4: Table; readonly 6: Table };
  readonly committer: Committer;
  /** Cuts the pause between two attempts short and lets there be no other. */
  readonly giveUp: () => void;
  /** Takes over what an earlier run has left in the kernel. */
  adopt(): Promise<void>;
}

function makeNat(config: Config, nft: NftProgram): Nat {
  const changes = new ChangeLog();
  const ttlMs = config.natTtl * 1_000;
  const hashKey = crypto.getRandomValues(new Int32Array(1))[0]!;
  const tableOf = (family: 4 | 6) => {
    const pool = new Pool(config.prefixes[family]);
    return new Table({ pool, log: changes, ttlMs, restMs: ttlMs, hashKey });
  };
  const tables = { 4: tableOf(4), 6: tableOf(6) };
  const limit = new RateLimit();
  const { pause, giveUp } = makeRetry();
  const committer = new Committer({
    nft,
    table: config.table,
    log: changes,
    tables,
    pause,
    report: (problem) =>
      limit.run(problem, (more) => log.warning("{problem}{more}", { problem, more })),
  });
  const adopt = async () => {
    const adopted = await committer.adopt(nowMs());
    if (adopted > 0) log.info("took over {adopted} mappings from the kernel", { adopted });
  };
  return { tables, committer, giveUp, adopt };
}

/**
 * Binds the sockets and connects them with what is between them.
 *
 * @throws {StartError}
 */
function connect(config: Config, nft: NftProgram, nat: Nat): Server {
  const { tables, committer } = nat;
  const random = randomNumbers();
  const inFlight = new InFlight<Peer>(random);
  const ttlMax = Math.floor(config.natTtl / 2);
  const rewriter = new Rewriter(new DomainTree(config.domains), tables, ttlMax);
  const onError = reporter();
  const listener = bind(config, onError, (peer, view, length) => {
    answerer.onQuery(peer, view, length, nowMs());
    deadlines.check();
  });
  const upstream = openUpstream(config, random, {
    onReply: (socket, view, length) => {
      answerer.onReply(socket, view, length, nowMs());
      expiry.check();
    },
    onError,
  });
  const answerer = new Answerer<Peer>({
    inFlight,
    rewriter,
    committer,
    outlet: {
      pickSocket: () => upstream.pick(),
      ask: (socket, view, length) => upstream.ask(socket, view, length),
      reply: (peer, view, length) => listener.send(peer, view, length),
    },
    onFailure: failureReporter(),
  });
  const deadlines = new Alarm(() => inFlight.nextDeadlineMs, (now) => answerer.onTime(now));
  const expiry = new Alarm(
    () => Math.min(tables[4].nextExpiryMs, tables[6].nextExpiryMs),
    (now) => {
      if (tables[4].expire(now) + tables[6].expire(now) > 0) committer.start();
    },
  );
  return {
    start: () => {
      expiry.check();
      listener.receive();
    },
    stop: async () => {
      listener.close();
      upstream.close();
      deadlines.stop();
      expiry.stop();
      nat.giveUp();
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, STOP_MS);
      await Promise.race([committer.idle(), promise]);
      clearTimeout(timer);
      nft.close();
    },
  };
}

/** The socket that clients ask; what must not be answered does not get through. */
function bind(
  config: Config,
  onError: (error: Error) => void,
  onQuery: OnDatagram,
): DatagramSocket {
  const { host, port } = config.listen;
  const hostname = addressToText(host.bytes);
  const isOwn = isUnspecified(host) ? isLocal : (address: string) => address === hostname;
  const onDatagram: OnDatagram = (peer, view, length) => {
    // An answer to port 0 goes nowhere, one to ourselves goes round.
    if (peer.port === 0 || (peer.port === port && isOwn(peer.hostname))) return;
    onQuery(peer, view, length);
  };
  try {
    return new DatagramSocket(hostname, port, { onDatagram, onError });
  } catch (error) {
    throw new StartError(bindProblem(error, config.listen, hostname), { cause: error });
  }
}

function openUpstream(config: Config, random: () => number, events: UpstreamEvents): Upstream {
  const { host, port } = config.upstream;
  try {
    return new Upstream(host, port, events, random);
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

function announce(config: Config): void {
  for (const warning of prefixWarnings(config)) log.warning("{warning}", { warning });
  if (config.domains.length === 0) log.warning("no --domain is given: every reply passes as it is");
  log.info("listening on {host} port {port}, domains: {domains}, upstream: {upstream} port {to}", {
    host: addressToText(config.listen.host.bytes),
    port: config.listen.port,
    domains: config.domains.length,
    upstream: addressToText(config.upstream.host.bytes),
    to: config.upstream.port,
  });
}

function reporter(): (error: Error) => void {
  const limit = new RateLimit();
  return ({ message }) =>
    limit.run(message, (more) => log.warning("socket: {message}{more}", { message, more }));
}

function failureReporter(): (why: Failure, query: QueryParts) => void {
  const limit = new RateLimit();
  return (why, query) => {
    const name = () => nameToText(query.view, query.length, Offset.QUESTION);
    log.debug("SERVFAIL for {name}: {why}", () => ({ name: name(), why }));
    limit.run(why, (more) => log.warning("answered SERVFAIL: {why}{more}", { why, more }));
  };
}

/** A pause before each further attempt, which can be cut short for good. */
function makeRetry(): { pause: () => Promise<boolean>; giveUp: () => void } {
  const over = Promise.withResolvers<false>();
  const pause = () => {
    const { promise, resolve } = Promise.withResolvers<true>();
    const timer = setTimeout(resolve, RETRY_MS, true);
    return Promise.race([promise, over.promise]).finally(() => clearTimeout(timer));
  };
  return { pause, giveUp: () => over.resolve(false) };
}

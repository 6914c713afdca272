/**
 * `dotp check`: looks at all that dotp needs, before a user has to ask why something does not work.
 *
 * It changes nothing that lasts: nft is given an element in each set and map and takes it away in the
 * same transaction, the port is bound and let go at once where nobody has it, and the upstream is
 * asked what dotp would ask it. A dotp that runs with the same options goes on undisturbed.
 *
 * @module
 */
import { addressToText } from "../address.ts";
import {
  error as errorFinding,
  type Finding,
  isAbout,
  ok,
  type Topic,
  TOPICS,
} from "../check/finding.ts";
import { judgeDomainFile } from "../check/domains.ts";
import { judgeFirewall, type OtherTable } from "../check/firewall.ts";
import { judgePrefixes } from "../check/network.ts";
import { judgeRules, judgeSets, nftProblem } from "../check/nft.ts";
import { holdersOf, isOwnLock, judgeLock, LOCK_PORTS, lockHost } from "../check/lock.ts";
import { judgeDotp, judgeTaken } from "../check/port.ts";
import { judgeSurroundings } from "../check/surroundings.ts";
import {
  type Asked,
  isReply,
  judgeName,
  judgeUpstream,
  upstreamQueries,
} from "../check/upstream.ts";
import type { Config } from "../config.ts";
import { startEngine } from "./engine.ts";
import {
  bindFinding,
  checkPermissions,
  engineFinding,
  StartError,
  writeProblem,
} from "./preflight.ts";
import { PortableSockets } from "./portable/datagrams.ts";
import type { DatagramSocket } from "./sockets.ts";
import { lookAround, lookAtHolders, lookAtTables } from "./look.ts";
import { DomainSet } from "../policy/domain_set.ts";
import { KEY_LENGTH, LabelHash } from "../policy/label_hash.ts";
import { readDomainFile } from "./policy.ts";
import { NftProgram } from "./portable/nft.ts";
import { randomNumbers } from "./upstream/udp.ts";

/** How long replies of the upstream are awaited before it is asked once more, and then again. */
const REPLY_TIMEOUT_MS = 1_500;
/** How often it is asked: datagrams get lost. */
const ATTEMPTS = 2;

/**
 * What is found, in the order in which dotp depends on it.
 *
 * @param topics what to look at; nothing is done for others
 */
export async function check(
  config: Config,
  topics: readonly Topic[] = TOPICS,
): Promise<Finding[]> {
  try {
    await checkPermissions({ ...config, pidFile: undefined, domainFiles: [] });
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    return [errorFinding("permissions", error.message, "with these nothing can be looked at")];
  }
  const { signal } = new AbortController();
  const isAsked = (...any: Topic[]) => any.some((topic) => topics.includes(topic));
  // A wildcard listener is judged by the machine's addresses, and so is the upstream.
  const [table, lock, domains, surroundings, port, asked] = await Promise.all([
    isAsked("nft", "engine") ? checkNft(config, signal) : undefined,
    isAsked("nft") ? checkLock(config, signal) : [],
    isAsked("domains") ? checkDomains(config) : [],
    lookAround(config, signal),
    isAsked("port") ? checkPort(config, signal) : undefined,
    isAsked("upstream") ? askUpstream(config) : undefined,
  ]);
  const { addresses } = surroundings;
  const findings = [...table?.findings ?? [], ...lock];
  if (table?.listed !== undefined) {
    findings.push(...judgeFirewall(config, table.listed, table.others, addresses));
  }
  findings.push(...domains, ...judgePrefixes(config), ...judgeSurroundings(config, surroundings));
  if (port !== undefined) findings.push(port);
  if (asked !== undefined) {
    findings.push(judgeUpstream(config, asked, addresses));
    const name = judgeName(asked, addresses);
    if (name !== undefined) findings.push(name);
  }
  return findings.filter((finding) => isAbout(finding, topics));
}

/** What was found of nft and of the table, and what nft lists of it and of other tables. */
interface SeenNft {
  readonly findings: Finding[];
  /** dotp's table, where it can be judged. */
  readonly listed?: string;
  readonly others: readonly OtherTable[];
}

/** Whether nft works, and what it says of the table and of others. */
async function checkNft(config: Config, signal: AbortSignal): Promise<SeenNft> {
  const { table, rulesFile } = config;
  // Without the rules, as a check loads nothing.
  const nft = new NftProgram(table);
  try {
    const listed = await nft.listTable();
    const wrong = judgeSets(config, listed);
    if (wrong !== undefined) return { findings: [wrong], others: [] };
    const refused = await writeProblem(config, nft);
    const written = ok("nft", `nft works, and dotp may write to the sets of table inet ${table}`);
    const engine = checkEngine(config, nft);
    const findings = [refused ?? written, engine, ...judgeRules(config, listed)];
    return { findings, listed, others: await lookAtTables(config, signal) };
  } catch (error) {
    return { findings: [nftProblem(table, (error as Error).message, rulesFile)], others: [] };
  } finally {
    nft.close();
  }
}

/** The engine that would run. */
function checkEngine(config: Config, nft: NftProgram): Finding {
  try {
    const engine = startEngine(config, nft);
    engine.close();
    return ok("engine", `the engine is ${engine.name} (${engine.reason})`);
  } catch (error) {
    return engineFinding(error as Error);
  }
}

/** Whether the domain files can be read, and what is in them. */
async function checkDomains({ domainFiles, domainFileStrict }: Config): Promise<Finding[]> {
  const findings: Finding[] = [];
  if (domainFiles.length === 0) return findings;
  const set = new DomainSet(new LabelHash(crypto.getRandomValues(new Uint8Array(KEY_LENGTH))));
  for (const path of domainFiles) {
    const before = set.size;
    try {
      const { bad, badCount } = await readDomainFile(path, set);
      const read = { path, size: set.size - before, bad, badCount };
      findings.push(judgeDomainFile(read, domainFileStrict));
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      findings.push(errorFinding("domains", error.message, "dotp does not start without it"));
    }
  }
  return findings;
}

/** Whether dotp may listen, or does, or who does instead. */
async function checkPort(config: Config, signal: AbortSignal): Promise<Finding> {
  const { host, port } = config.listen;
  const hostname = addressToText(host.bytes);
  try {
    Deno.listenDatagram({ transport: "udp", hostname, port }).close();
    return ok("port", `${hostname} port ${port} is free for dotp to listen on`);
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) {
      return judgeTaken(config, await lookAtHolders(config.listen, signal));
    }
    const refused = bindFinding(error, config.listen, hostname);
    if (!(error instanceof Deno.errors.PermissionDenied)) return refused;
    // Who may not bind it is not told whether somebody has it.
    const taken = await lookAtHolders(config.listen, signal);
    return (taken.problem === undefined ? judgeDotp(config, taken) : undefined) ?? refused;
  }
}

/** Another dotp that has the table, if there is one. */
async function checkLock(config: Config, signal: AbortSignal): Promise<Finding[]> {
  for (const port of LOCK_PORTS) {
    const lock = { host: lockHost(config.table), port };
    const taken = await lookAtHolders(lock, signal);
    if (holdersOf(lock, taken).length === 0 || isOwnLock(config, lock, taken)) continue;
    return [judgeLock(config, lock, taken)];
  }
  return [];
}

/** Asks the upstream; what it does not answer is asked again. */
async function askUpstream(config: Config): Promise<Asked> {
  const { host, port } = config.upstream;
  const hostname = addressToText(host.bytes);
  const queries = upstreamQueries(config, randomNumbers());
  const replies: (Uint8Array | undefined)[] = queries.map(() => undefined);
  const over = Promise.withResolvers<void>();
  let problem: string | undefined;
  let socket: DatagramSocket;
  try {
    socket = new PortableSockets().connect(host, port, {
      onDatagram: (_peer, view, length) => {
        const datagram = new Uint8Array(view.buffer, view.byteOffset, length).slice();
        const place = queries.findIndex((query) => isReply(query, datagram));
        if (place >= 0) replies[place] ??= datagram;
        if (!replies.includes(undefined)) over.resolve();
      },
      onError: ({ message }) => {
        problem = message;
        over.resolve();
      },
    });
  } catch (error) {
    return { problem: (error as Error).message, replies };
  }
  socket.receive();
  for (let attempt = 0; attempt < ATTEMPTS && replies.includes(undefined); attempt++) {
    if (problem !== undefined) break;
    for (const [place, query] of queries.entries()) {
      if (replies[place] !== undefined) continue;
      const view = new DataView(query.buffer);
      socket.send({ hostname, port }, view, query.length);
    }
    let timer;
    const timeout = new Promise((resolve) => timer = setTimeout(resolve, REPLY_TIMEOUT_MS));
    await Promise.race([over.promise, timeout]);
    clearTimeout(timer);
  }
  socket.close();
  return problem === undefined ? { replies } : { problem, replies };
}

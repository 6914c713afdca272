/**
 * Checks that a server did its work and not merely answered fast. Contract: asks a sample of names
 * itself, reads the answers with an independent parser, and compares all that is in the kernel with
 * what was asked. Returns what is wrong in words; an empty list means all is well. Never part of what
 * is measured.
 */

import { query } from "../support/packet.ts";
import { decode } from "../support/reader.ts";
import { readDotpSet, readMap, readPeerSet } from "./kernel.ts";
import type { Host } from "./names.ts";

/** Names asked after each run, spread evenly over those it asked. */
const SAMPLE_SIZE = 25;

/** How long a server may take over one query of the sample. */
const ANSWER_TIMEOUT_MS = 2_000;

/** Words per check; more would only repeat the first ones. */
const MAX_EXAMPLES = 3;

/** First two octets of 198.18.0.0/15, dotp's prefix in the bench. */
const FAKE_PATTERN = /^198\.(18|19)\./;

/** What a server is supposed to do: fakes, the reals and a set of them, or nothing but forward. */
export type Behaviour = "dotp" | "set" | "forward";

/**
 * Asks for a name's A record.
 *
 * @returns Its address, or undefined where there is no answer, another RCODE, or no A record
 */
export async function ask(port: number, name: string): Promise<string | undefined> {
  const bytes = await exchange(port, name);
  if (bytes === undefined) return undefined;
  const { rcode, answers } = decode(bytes);
  if (rcode !== "NOERROR") return undefined;
  const data = answers.find((record) => record.type === "A")?.data;
  return typeof data === "string" ? data : undefined;
}

/** Whether any datagram comes back. */
export async function isAnswering(port: number, name: string): Promise<boolean> {
  return await exchange(port, name) !== undefined;
}

async function exchange(port: number, name: string): Promise<Uint8Array | undefined> {
  const socket = Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 0 });
  const timer = setTimeout(() => socket.close(), ANSWER_TIMEOUT_MS);
  try {
    const to: Deno.NetAddr = { transport: "udp", hostname: "127.0.0.1", port };
    await socket.send(query({ question: { name } }), to);
    const [bytes] = await socket.receive(new Uint8Array(4_096));
    return bytes;
  } catch {
    return undefined; // No answer in time: the timer closed the socket.
  } finally {
    clearTimeout(timer);
    try {
      socket.close();
    } catch {
      // The timer has closed it.
    }
  }
}

/**
 * Checks a server after a run.
 *
 * @param behaviour How the server is supposed to answer
 * @param port Its port
 * @param asked The hosts of the measured run
 * @param mapped All hosts with a configured name asked since the server started
 * @returns What is wrong
 */
export async function verify(
  behaviour: Behaviour,
  port: number,
  asked: readonly Host[],
  mapped: readonly Host[],
): Promise<string[]> {
  const reals = new Set(mapped.map((host) => host.real));
  if (behaviour !== "dotp") {
    const wrong = await verifySample(port, asked, new Set(), new Map());
    if (behaviour === "set") wrong.push(...compare("the set", reals, await readPeerSet()));
    return wrong;
  }
  const map = await readMap();
  const strays = [...map.keys()].filter((fake) => !FAKE_PATTERN.test(fake));
  return [
    ...await verifySample(port, asked, reals, map),
    ...compare("nat_map", reals, new Set(map.values())),
    ...compare("nat_addr", reals, await readDotpSet()),
    ...strays.slice(0, MAX_EXAMPLES).map((fake) => `nat_map has ${fake}, not inside the prefix`),
    ...(new Set(map.values()).size === map.size ? [] : ["nat_map has a real more than once"]),
  ];
}

/** The answer must be the real address, or a fake that leads to it where it is a rewritten one. */
async function verifySample(
  port: number,
  asked: readonly Host[],
  rewritten: ReadonlySet<string>,
  map: ReadonlyMap<string, string>,
): Promise<string[]> {
  const wrong: string[] = [];
  const step = Math.max(1, Math.floor(asked.length / SAMPLE_SIZE));
  for (let index = 0; index < asked.length; index += step) {
    const host = asked[index];
    if (host === undefined) continue;
    const answer = await ask(port, host.name);
    const isRewritten = rewritten.has(host.real);
    const real = isRewritten && answer !== undefined ? map.get(answer) : answer;
    const isFake = answer !== undefined && FAKE_PATTERN.test(answer);
    if (real === host.real && isFake === isRewritten) continue;
    wrong.push(`${host.name} gave ${answer ?? "no answer"}, which stands for ${real ?? "nothing"}`);
  }
  return wrong.slice(0, MAX_EXAMPLES);
}

function compare(what: string, expected: ReadonlySet<string>, found: ReadonlySet<string>) {
  const missing = [...expected].filter((real) => !found.has(real));
  const extra = [...found].filter((real) => !expected.has(real));
  const wrong: string[] = [];
  if (missing.length > 0) wrong.push(`${what} lacks ${missing.length} reals, as ${missing[0]}`);
  if (extra.length > 0) wrong.push(`${what} has ${extra.length} reals too many, as ${extra[0]}`);
  return wrong;
}

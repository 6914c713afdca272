/**
 * Judges the upstream: whether it answers, and that it is not dotp itself, nor asks it.
 *
 * It is asked for the root's name servers, which every resolver knows, and for the addresses of one
 * configured name: an answer with fakes is dotp's own. A reply counts as one by the same rules that
 * dotp has for any (RFC 5452 section 9.1). Nothing is sent here.
 *
 * @module
 */
import { addressToText, contains, isUnspecified, prefixToText } from "../address.ts";
import type { Config } from "../config.ts";
import {
  A_LENGTH,
  AAAA_LENGTH,
  CLASS_IN,
  Flag,
  MESSAGE_LENGTH_MAX,
  Offset,
  QUESTION_FIXED_LENGTH,
  Rcode,
  Type,
} from "../dns/constants.ts";
import { Message } from "../dns/message.ts";
import { nameToText } from "../dns/name.ts";
import { isAnswer } from "../dns/query.ts";
import { Rule } from "../policy/domain_set.ts";
import { error, type Finding, ok, type Seen, warning } from "./finding.ts";
import { readAddresses } from "./network.ts";

/** The root (RFC 1035 section 3.1), and the type of its name servers (RFC 1035 section 3.2.2). */
const ROOT = new Uint8Array([0]);
const TYPE_NS = 2;

/** Words for the response codes (RFC 1035 section 4.1.1). */
const RCODE_NAMES = new Map<number, string>(
  Object.entries(Rcode).map(([name, rcode]) => [rcode, name]),
);

/** How the upstream was asked and what came back. */
export interface Asked {
  /** Why it could not be asked. */
  readonly problem?: string;
  /** The replies that counted, in the order of the queries; undefined for none in time. */
  readonly replies: readonly (Uint8Array | undefined)[];
}

/** The queries that find out; the first must be answered, the others only must not have fakes. */
export function upstreamQueries({ domains }: Config, ids: () => number): Uint8Array<ArrayBuffer>[] {
  const domain = domains.find(({ rule, name }) => rule !== Rule.EXCEPTION && name.length > 1);
  const queries = [encodeQuery(ids(), ROOT, TYPE_NS)];
  if (domain === undefined) return queries;
  return [...queries, ...[Type.A, Type.AAAA].map((type) => encodeQuery(ids(), domain.name, type))];
}

/** Whether a datagram from the upstream is the reply to one of these queries, which end with a question. */
export function isReply(query: Uint8Array, datagram: Uint8Array): boolean {
  const [asked, got] = [query, datagram].map(toView) as [DataView, DataView];
  return isAnswer(got, datagram.length, asked, query.length) &&
    got.getUint16(Offset.ID) === asked.getUint16(Offset.ID);
}

/**
 * What the replies say.
 *
 * @param addresses of this machine: the upstream may be dotp's own wildcard listener
 */
export function judgeUpstream(config: Config, asked: Asked, addresses: Seen): Finding {
  const { host, port } = config.upstream;
  const place = `the upstream, ${addressToText(host.bytes)} port ${port},`;
  if (isOwnListener(config, addresses)) {
    return error("upstream", `${place} is where dotp itself listens`, "give another server");
  }
  const fake = asked.replies.map((reply) => reply && findFake(config, reply))
    .find((address) => address !== undefined);
  if (fake !== undefined) {
    return error(
      "upstream",
      `${place} answers with the fake address ${fake}: it is dotp itself, or asks it`,
      "give a server that does not get its answers from dotp",
    );
  }
  const [reply] = asked.replies;
  if (reply === undefined && asked.problem !== undefined) {
    return error(
      "upstream",
      `${place} cannot be asked: ${asked.problem}`,
      "see to the route to it",
    );
  }
  if (reply === undefined) {
    return error(
      "upstream",
      `${place} does not answer`,
      "see that it runs, that UDP gets there and back, and that it does not itself ask dotp",
    );
  }
  const rcode = indexed(reply).rcode;
  if (rcode === Rcode.NOERROR) return ok("upstream", `${place} answers`);
  return warning(
    "upstream",
    `${place} answers ${
      RCODE_NAMES.get(rcode) ?? `with code ${rcode}`
    } when asked for the root's ` +
      "name servers",
    "give a server that resolves for this machine",
  );
}

/**
 * Whether the configured name that was asked for resolves to this machine itself.
 *
 * @param addresses of this machine
 */
export function judgeName({ replies }: Asked, addresses: Seen): Finding | undefined {
  if ("problem" in addresses) return undefined;
  const own = readAddresses(addresses.text).map(({ address }) => addressToText(address.bytes));
  for (const reply of replies) {
    const found = reply && addressesIn(reply).map(addressToText).find((text) => own.includes(text));
    if (reply === undefined || found === undefined) continue;
    const name = nameToText(toView(reply), reply.length, Offset.QUESTION);
    return warning(
      "name",
      `${name} is at ${found}, which is this machine: from other machines its fakes are refused, ` +
        "and port forwards of that address do not apply to them",
      "do not configure that name, or take the example guard_input of rules.nft for services here",
    );
  }
  return undefined;
}

/** Whether a wildcard listener takes what is sent to the upstream. */
function isOwnListener({ listen, upstream }: Config, addresses: Seen): boolean {
  if (!isUnspecified(listen.host) || listen.port !== upstream.port) return false;
  if (listen.host.family === 4 && upstream.host.family === 6) return false;
  const text = addressToText(upstream.host.bytes);
  const own = "text" in addresses ? readAddresses(addresses.text) : [];
  const isLoopback = upstream.host.family === 4 ? upstream.host.bytes[0] === 127 : text === "::1";
  return isLoopback || own.some(({ address }) => addressToText(address.bytes) === text);
}

/** A fake address among the records, with its prefix, or undefined. */
function findFake({ prefixes }: Config, reply: Uint8Array): string | undefined {
  for (const bytes of addressesIn(reply)) {
    const prefix = prefixes[bytes.length === A_LENGTH ? 4 : 6];
    if (contains(prefix, bytes)) return `${addressToText(bytes)} (of ${prefixToText(prefix)})`;
  }
  return undefined;
}

/** The addresses in a reply's A and AAAA records. */
function addressesIn(reply: Uint8Array): Uint8Array[] {
  const message = indexed(reply);
  const addresses: Uint8Array[] = [];
  for (let i = 0; i < message.count; i++) {
    const length = message.rdataLength(i);
    const isAddress = message.isInternet(i) &&
      (message.type(i) === Type.A && length === A_LENGTH ||
        message.type(i) === Type.AAAA && length === AAAA_LENGTH);
    const offset = message.rdataOffset(i);
    if (isAddress) addresses.push(reply.subarray(offset, offset + length));
  }
  return addresses;
}

/** A reply as far as it can be read. */
function indexed(reply: Uint8Array): Message {
  const message = new Message();
  message.index(toView(reply), Math.min(reply.length, MESSAGE_LENGTH_MAX));
  return message;
}

/** A query of one question, recursion desired (RFC 1035 section 4.1). */
function encodeQuery(id: number, name: Uint8Array, type: number): Uint8Array<ArrayBuffer> {
  const query = new Uint8Array(Offset.QUESTION + name.length + QUESTION_FIXED_LENGTH);
  const view = toView(query);
  view.setUint16(Offset.ID, id);
  view.setUint16(Offset.FLAGS, Flag.RD);
  view.setUint16(Offset.QDCOUNT, 1);
  query.set(name, Offset.QUESTION);
  view.setUint16(Offset.QUESTION + name.length, type);
  view.setUint16(Offset.QUESTION + name.length + 2, CLASS_IN);
  return query;
}

function toView({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

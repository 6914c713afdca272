/**
 * What the lab and its agents say to each other: one JSON object a line. The lab writes requests to
 * an agent's standard input; the agent writes one answer for each to its standard output, in any
 * order, and events in between. An agent whose input ends removes everything in its namespace and
 * exits. Only types and the line framing live here. Octets travel as hex.
 */

import type { Ended } from "../support/run.ts";

/** An address and a UDP or TCP port. */
export interface Endpoint {
  host: string;
  port: number;
}

/** A resource record as dns-packet writes it. */
export interface ResourceRecord {
  name: string;
  type: string;
  class?: string;
  ttl?: number;
  data: unknown;
}

/** One datagram that the scripted upstream sends; {} is a NOERROR without records. */
export interface Reply {
  answers?: ResourceRecord[];
  authorities?: ResourceRecord[];
  additionals?: ResourceRecord[];
  /** Answers made from the number in the first label (n42.many.example.com): `many(42)`. */
  numbered?: boolean;
  /** Adds an OPT record to the additional section. */
  opt?: boolean;
  rcode?: number;
  opcode?: number;
  /** Flag bits that are set in the header, on top of QR, RD and RA (0x0020 is AD, 0x0400 AA). */
  flags?: number;
  /** The whole message after the id, in place of all of the above. */
  hex?: string;
  /** The question of the reply, where it is not the one asked. */
  question?: { name: string; type: string };
  /** Writes names in full, without compression pointers. */
  uncompressed?: boolean;
  /** What is wrong with the datagram, or with the way it takes. */
  delayMs?: number;
  wrongId?: boolean;
  isQuery?: boolean;
  via?: "other port" | "other address";
  extraHex?: string;
  cutTo?: number;
}

/**
 * "NAME TYPE" to what is sent for it, in order; [] is silence. "*.SUFFIX TYPE" and "* *" are tried
 * after the exact name, and what is in no table is REFUSED.
 */
export type Script = Record<string, Reply | Reply[]>;

/** A query as the upstream got it. */
export interface SeenQuery {
  name: string;
  type: string;
  id: number;
  from: Endpoint;
  hex: string;
}

/** A datagram as a client got it. */
export interface Datagram {
  hex: string;
  from: Endpoint;
  ms: number;
}

/** How an attempt to fetch the page at an address ended. */
export interface Fetched {
  /** The address that the server was reached at. */
  at?: string;
  /** The address that the server saw the request come from. */
  from?: string;
  error?: string;
  ms: number;
}

/** How a lookup with a fetch through its first address, right after it, ended. */
export interface Visit extends Fetched {
  rcode?: string;
  address?: string;
}

/** How an attempt to open a TCP connection that stays ended. */
export interface Connected {
  connection?: number;
  error?: string;
}

/** What came on such a connection, or how it ended. */
export interface Heard {
  hex?: string;
  error?: string;
}

/** A process in a namespace. */
export interface ProcessInfo {
  pid: number;
  command: string;
}

/** What an agent can do: the parameters and the result of each operation. */
export interface Operations {
  setSysctls: { params: Record<string, string>; result: null };
  run: { params: { command: string[]; stdin?: string; env?: Env }; result: Ended };
  spawn: { params: { key: number; command: string[]; env: Env }; result: { pid: number } };
  signal: { params: { pid: number; signal: Deno.Signal }; result: null };
  processes: { params: null; result: ProcessInfo[] };
  exchange: {
    params: { to: Endpoint; send: string[]; want: number; timeoutMs: number; from?: Endpoint };
    result: Datagram[];
  };
  fetch: { params: Endpoint & { timeoutMs: number }; result: Fetched };
  visit: {
    params: { to: Endpoint; queries: string[]; port: number; atOnce: number; timeoutMs: number };
    result: Visit[];
  };
  connect: { params: Endpoint & { timeoutMs: number }; result: Connected };
  talk: {
    params: { connection: number; hex: string; want: number; timeoutMs: number };
    result: Heard;
  };
  disconnect: { params: { connection: number }; result: null };
  holdPort: { params: Endpoint; result: null };
  startWeb: { params: { port: number; echo: string[] }; result: null };
  startUpstream: { params: { at: Endpoint[]; otherAddresses: string[] }; result: null };
  setScript: { params: Script; result: null };
}

/** Environment variables. */
export type Env = Record<string, string>;

/** A request on its way to an agent. */
export interface Request<Name extends keyof Operations = keyof Operations> {
  id: number;
  operation: Name;
  params: Operations[Name]["params"];
}

/** What an agent says. */
export type Said =
  | { id: number; result: unknown }
  | { id: number; error: string }
  | { event: "line"; key: number; stream: "stdout" | "stderr"; line: string }
  | { event: "exit"; key: number; code: number }
  | { event: "query"; query: SeenQuery };

/** Splits a stream of octets into lines; a last line without a line feed counts. */
export async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  if (rest !== "") yield rest;
}

/** Writes all of a text to a file that may take it in parts. */
export function writeAllSync(file: { writeSync(bytes: Uint8Array): number }, text: string): void {
  let bytes = new TextEncoder().encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(file.writeSync(bytes));
}

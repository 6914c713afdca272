/**
 * Three hosts in network namespaces of their own: a client, the gateway with the real rules.nft,
 * and a server that is web server and scripted upstream at once (addresses.ts has the plan). Runs
 * inside the user namespace that namespace.ts makes, so without root. Nothing outlives the lab:
 * when it is disposed of, or its process dies in any way, the agents end what they hold.
 */

import {
  Address,
  ECHO_PORT,
  FAKE4,
  FAKE6,
  real4,
  real6,
  REAL_PREFIXES_4,
  REAL_PREFIXES_6,
  WEB_PORT,
  type Where,
} from "./addresses.ts";
import { encodeQuery, type QueryOptions } from "./dns.ts";
import { Dotp, type DotpOptions, runDotp } from "./dotp.ts";
import { Host } from "./host.ts";
import type { Ended } from "../support/run.ts";
import { decode, type Message } from "../support/reader.ts";
import { eventually } from "../support/waiting.ts";
import type { Datagram, Fetched, Heard, Script } from "./protocol.ts";

export * from "./addresses.ts";
export type { Message } from "../support/reader.ts";
export type { Dotp, DotpOptions } from "./dotp.ts";
export type { Reply, ResourceRecord, Script } from "./protocol.ts";

/** The file under test. */
export const RULES = new URL("../../rules.nft", import.meta.url).pathname;

const QUERY_TIMEOUT_MS = 8_000;
const FETCH_TIMEOUT_MS = 4_000;

/** Counts the refusals that come to a host, and the packets that arrive addressed to a fake. */
const WATCH = `table inet watch {
  counter tcp_reset { }
  counter prohibited4 { }
  counter prohibited6 { }
  counter to_fake { }
  chain input {
    type filter hook input priority filter; policy accept;
    tcp flags & rst == rst counter name tcp_reset
    icmp type destination-unreachable icmp code admin-prohibited counter name prohibited4
    icmpv6 type destination-unreachable icmpv6 code admin-prohibited counter name prohibited6
  }
  chain prerouting {
    type filter hook prerouting priority raw; policy accept;
    ip daddr ${FAKE4} counter name to_fake
    ip6 daddr ${FAKE6} counter name to_fake
  }
}`;

/** What the gateway's sets and maps hold, IPv4 and IPv6 together. */
export interface Mappings {
  /** Fake to real. */
  maps: Map<string, string>;
  /** The reals in nat_addr and nat_addr6. */
  sets: Set<string>;
}

/** How to ask, and whom. */
export interface LabQueryOptions extends QueryOptions {
  to?: string;
  port?: number;
  from?: Where;
  timeoutMs?: number;
}

/** A reply with its octets. */
export interface LabReply {
  message: Message;
  hex: string;
  ms: number;
}

/** A TCP connection that one of the hosts holds open. */
export interface Connection extends AsyncDisposable {
  /** Says something and waits for as much to come back. */
  talk(hex: string, timeoutMs?: number): Promise<Heard>;
  /** Waits for so many octets, which a talk may have given up waiting for. */
  hear(octets: number, timeoutMs?: number): Promise<Heard>;
}

/** The three hosts. */
export class Lab implements AsyncDisposable {
  readonly client: Host;
  readonly gateway: Host;
  readonly server: Host;
  /** Every dotp that was started, in order. */
  readonly started: Dotp[] = [];

  /** Makes the hosts, connects them and loads rules.nft in the gateway. */
  static async create(): Promise<Lab> {
    const names = ["client", "gateway", "server"] as const;
    const started = await Promise.allSettled(names.map((name) => Host.start(name)));
    const hosts = started.flatMap((host) => host.status === "fulfilled" ? [host.value] : []);
    try {
      const [client, gateway, server] = hosts;
      if (client === undefined || gateway === undefined || server === undefined) {
        throw new Error("Cannot start the three agents of the lab");
      }
      const lab = new Lab(client, gateway, server);
      await lab.#connect();
      await lab.loadRules();
      return lab;
    } catch (error) {
      await Promise.all(hosts.map((host) => host.close()));
      throw error;
    }
  }

  private constructor(client: Host, gateway: Host, server: Host) {
    this.client = client;
    this.gateway = gateway;
    this.server = server;
  }

  /** Runs a command that must succeed on one of the hosts and returns what it printed. */
  exec(where: Where, ...command: string[]): Promise<string> {
    return this[where].exec(command);
  }

  /** Loads the real rules.nft in the gateway. */
  async loadRules(): Promise<void> {
    await this.exec("gateway", "nft", "-f", RULES);
  }

  /** Starts dotp in the gateway and waits until it listens. */
  async startDotp(options: DotpOptions = {}): Promise<Dotp> {
    const dotp = await Dotp.start(this.gateway, options);
    this.started.push(dotp);
    return dotp;
  }

  /** Runs dotp in the gateway to its end. */
  runDotp(options: DotpOptions): Promise<Ended> {
    return runDotp(this.gateway, options);
  }

  /** Starts the upstream DNS server; `setScript` says later what it answers from then on. */
  async startUpstream(script: Script): Promise<void> {
    const at = [Address.upstream4, Address.upstream6].map((host) => ({ host, port: 53 }));
    const otherAddresses = [Address.forger4, Address.forger6];
    await this.server.call("startUpstream", { at, otherAddresses });
    await this.setScript(script);
  }

  /** Changes what the upstream answers. */
  async setScript(script: Script): Promise<void> {
    await this.server.call("setScript", script);
  }

  /** Starts the web server on all of the server's addresses, UDP echo on the first two reals. */
  async startWebServer(): Promise<void> {
    await this.server.call("startWeb", { port: WEB_PORT, echo: [real4(1), real6(1)] });
  }

  /** Asks a DNS question and returns the reply; undefined if none comes in time. */
  async tryQuery(
    name: string,
    type: string,
    options: LabQueryOptions = {},
  ): Promise<LabReply | undefined> {
    const datagram = await this.send(encodeQuery(name, type, options).toHex(), options);
    if (datagram === undefined) return undefined;
    const message = decode(Uint8Array.fromHex(datagram.hex));
    return { message, hex: datagram.hex, ms: datagram.ms };
  }

  /** Asks a DNS question and returns the reply; throws if none comes in time. */
  async query(name: string, type: string, options: LabQueryOptions = {}): Promise<LabReply> {
    const reply = await this.tryQuery(name, type, options);
    if (reply === undefined) throw new Error(`No reply to ${name} ${type}`);
    return reply;
  }

  /** Asks for A or AAAA and returns the addresses of the reply. */
  async resolve(
    name: string,
    type: "A" | "AAAA",
    options: LabQueryOptions = {},
  ): Promise<string[]> {
    const { message } = await this.query(name, type, options);
    return message.answers.filter((answer) => answer.type === type).map(({ data }) => String(data));
  }

  /** Sends raw octets as a query. */
  send(hex: string, options: LabQueryOptions = {}): Promise<Datagram | undefined> {
    const { to = Address.gateway4, port = 53, from = "client" } = options;
    const timeoutMs = options.timeoutMs ?? QUERY_TIMEOUT_MS;
    return this[from].exchange({ to: { host: to, port }, hex, timeoutMs });
  }

  /** Fetches the page at an address. */
  fetch(address: string, where: Where = "client"): Promise<Fetched> {
    return this[where].call("fetch", {
      host: address,
      port: WEB_PORT,
      timeoutMs: FETCH_TIMEOUT_MS,
    });
  }

  /** Sends a UDP datagram to the echo port of an address; tells whether it came back. */
  async echo(address: string, where: Where = "client", timeoutMs = 2_000): Promise<boolean> {
    const to = { host: address, port: ECHO_PORT };
    const back = await this[where].exchange({ to, hex: "6563686f", timeoutMs });
    return back?.hex === "6563686f";
  }

  /** Opens a TCP connection to the echo port of an address. */
  async connect(address: string, where: Where = "client"): Promise<Connection> {
    const host = this[where];
    const to = { host: address, port: ECHO_PORT, timeoutMs: FETCH_TIMEOUT_MS };
    const { connection, error } = await host.call("connect", to);
    if (connection === undefined) throw new Error(`Cannot connect to ${address}: ${error}`);
    return {
      talk: (hex, timeoutMs = FETCH_TIMEOUT_MS) =>
        host.call("talk", { connection, hex, want: hex.length / 2, timeoutMs }),
      hear: (want, timeoutMs = FETCH_TIMEOUT_MS) =>
        host.call("talk", { connection, hex: "", want, timeoutMs }),
      [Symbol.asyncDispose]: async () => void await host.call("disconnect", { connection }),
    };
  }

  /** Reads the gateway's sets and maps. */
  async mappings(table = "dotp"): Promise<Mappings> {
    const text = await this.exec("gateway", "nft", "list", "table", "inet", table);
    const maps = new Map<string, string>();
    const sets = new Set<string>();
    const ours = /^\t(set|map) nat_(?:addr|map)6? \{\n([^}]*\}?)/gm;
    for (const [, kind, body = ""] of text.matchAll(ours)) {
      const elements = body.match(/elements = \{([^}]*)\}/)?.[1] ?? "";
      for (const element of elements.split(",").map((part) => part.trim()).filter(Boolean)) {
        const [key = "", value = ""] = element.split(" : ").map((part) => part.split(" ")[0] ?? "");
        if (kind === "set") sets.add(key);
        else maps.set(key, value);
      }
    }
    return { maps, sets };
  }

  /** Waits until what is looked at again and again holds, and returns it. */
  until<T>(
    what: string,
    look: () => Promise<T>,
    holds: (seen: T) => boolean,
    timeoutMs?: number,
  ): Promise<T> {
    return eventually(what, look, holds, timeoutMs);
  }

  /** Waits until the gateway's sets and maps are as they should be. */
  mappingsBecome(what: string, holds: (seen: Mappings) => boolean): Promise<Mappings> {
    return this.until(what, () => this.mappings(), holds);
  }

  /** How many refusals a host has got, and how many packets to fakes it has seen arrive. */
  async watched(where: Where): Promise<Record<string, number>> {
    const text = await this.exec(where, "nft", "list", "counters", "table", "inet", "watch");
    const counters = text.matchAll(/counter (\w+) \{\s+packets (\d+)/g);
    return Object.fromEntries([...counters].map(([, name, packets]) => [name, Number(packets)]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.gateway, this.client, this.server].map((host) => host.close()));
  }

  async #connect(): Promise<void> {
    const sysctls = {
      "net/ipv6/conf/all/accept_dad": "0",
      "net/ipv6/conf/default/accept_dad": "0",
    };
    const forwarding = { "net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1" };
    // The server's prefixes are local to it as routes, not as addresses; IPv6 binds to no such one.
    const binding = { "net/ipv6/ip_nonlocal_bind": "1" };
    await Promise.all([
      this.client.call("setSysctls", sysctls),
      this.gateway.call("setSysctls", { ...sysctls, ...forwarding }),
      this.server.call("setSysctls", { ...sysctls, ...binding }),
    ]);
    await this.#ip(this.gateway, [
      "link set lo up",
      `link add lan0 type veth peer name eth0 netns ${this.client.pid}`,
      `link add wan0 type veth peer name eth0 netns ${this.server.pid}`,
      ...up("lan0", `${Address.gateway4}/24`, `${Address.gateway6}/64`),
      ...up("wan0", `${Address.gatewayOutside4}/24`, `${Address.gatewayOutside6}/64`),
      ...defaultRoutes(Address.upstream4, Address.upstream6),
      ...REAL_PREFIXES_4.map((prefix) => `route add ${prefix} via ${Address.upstream4}`),
      ...REAL_PREFIXES_6.map((prefix) => `route add ${prefix} via ${Address.upstream6}`),
    ]);
    await Promise.all([
      this.#ip(this.client, [
        "link set lo up",
        ...up("eth0", `${Address.client4}/24`, `${Address.client6}/64`),
        ...defaultRoutes(Address.gateway4, Address.gateway6),
      ]),
      this.#ip(this.server, [
        "link set lo up",
        ...up("eth0", `${Address.upstream4}/24`, `${Address.upstream6}/64`),
        ...up("eth0", `${Address.forger4}/24`, `${Address.forger6}/64`),
        ...defaultRoutes(Address.gatewayOutside4, Address.gatewayOutside6),
        ...[...REAL_PREFIXES_4, ...REAL_PREFIXES_6].map((prefix) =>
          `route add local ${prefix} dev lo`
        ),
      ]),
      ...[this.client, this.server, this.gateway].map((host) =>
        host.exec(["nft", "-f", "-"], WATCH)
      ),
    ]);
  }

  async #ip(host: Host, lines: string[]): Promise<void> {
    await host.exec(["ip", "-batch", "-"], lines.join("\n"));
  }
}

function up(device: string, address4: string, address6: string): string[] {
  return [
    `address add ${address4} dev ${device}`,
    `link set ${device} up`,
    `address add ${address6} dev ${device} nodad`,
  ];
}

function defaultRoutes(gateway4: string, gateway6: string): string[] {
  return [`route add default via ${gateway4}`, `route add default via ${gateway6}`];
}

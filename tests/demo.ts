/**
 * The main job, told as a story: a client looks a name up, gets a fake address and reaches the real
 * one through it, over IPv4 and IPv6, with the real main.ts, the real rules.nft and the kernel's
 * NAT. Every step is checked; the exit code is 0 only if all of it happened. Runs in namespaces of
 * its own without root and leaves nothing behind, when it is interrupted neither.
 *
 *   deno task demo
 */

import {
  Address,
  type Dotp,
  FAKE4,
  FAKE6,
  isFake,
  Lab,
  real4,
  real6,
  type Script,
} from "./lab/lab.ts";
import { interrupted, isInside, runInside } from "./lab/namespace.ts";
import { err, out } from "./lab/out.ts";
import { prepare } from "./lab/tools.ts";

const NAME = "www.example.com";
const NAT_TTL_S = 3;

/** "At once": far below any time-out, far above what two busy cores need. */
const AT_ONCE_MS = 500;

/** What the upstream knows: a configured name behind an alias, and one that dotp leaves alone. */
const SCRIPT: Script = Object.fromEntries(
  ([["A", real4(1), real4(2)], ["AAAA", real6(1), real6(2)]] as const).flatMap((
    [type, real, other],
  ) => [
    [`${NAME} ${type}`, {
      answers: [
        { name: NAME, type: "CNAME", data: "web.hosting.example" },
        { name: "web.hosting.example", type, data: real },
      ],
    }],
    [`www.example.org ${type}`, { answers: [{ name: "www.example.org", type, data: other }] }],
  ]),
);

interface Fakes {
  fake4: string;
  fake6: string;
}

class Unexpected extends Error {}

async function main(): Promise<number> {
  if (isInside()) return await inside();
  if (!await prepare()) return 1;
  return await runInside();
}

async function inside(): Promise<number> {
  let isStopped = false;
  const stopped = interrupted().then(() => isStopped = true);
  const startedAt = performance.now();
  await using lab = await Lab.create();
  const told = tell(lab).then(() => 0, (error) => isStopped ? 130 : fail(error));
  const code = await Promise.race([told, stopped.then(() => 130)]);
  if (code === 0) out(`\nAll of it happened, in ${seconds(performance.now() - startedAt)}.`);
  if (code === 130) err("\nInterrupted; cleaning up.");
  return code;
}

async function tell(lab: Lab): Promise<void> {
  await lab.startWebServer();
  await lab.startUpstream(SCRIPT);
  await introduce(lab);
  out(
    `\n1. dotp starts on the gateway, for example.com; a mapping lives ${NAT_TTL_S} seconds here.`,
  );
  await using dotp = await lab.startDotp({ more: ["--nat-ttl", String(NAT_TTL_S)] });
  show(`dotp ${dotp.args.join(" ")}`);
  const fakes = await lookUp(lab);
  await showKernel(lab, fakes);
  await fetchPages(lab, fakes);
  await expire(lab, fakes);
  await lookUpAgain(lab, fakes);
  await end(dotp);
}

async function introduce(lab: Lab): Promise<void> {
  out("Three hosts, each in a network namespace of its own:");
  out(`   client   ${Address.client4}, ${Address.client6}; its DNS server is the gateway`);
  out(`   gateway  ${Address.gateway4}, ${Address.gateway6}; with dotp and rules.nft`);
  out(`   server   the upstream DNS server at ${Address.upstream4}, and web servers:`);
  out(`            ${NAME}   ${real4(1)}, ${real6(1)}`);
  out(`            www.example.org   ${real4(2)}, ${real6(2)}`);
  const direct = await lab.fetch(real4(1));
  check(
    direct.from === Address.client4,
    `a page fetched without all this is asked for by ${direct.from}`,
  );
}

async function lookUp(lab: Lab): Promise<Fakes> {
  out(`\n2. The client looks ${NAME} up and gets fake addresses.`);
  const fake4 = await ask(lab, NAME, "A");
  const fake6 = await ask(lab, NAME, "AAAA");
  check(isFake(fake4), `${fake4} is from the prefix ${FAKE4}`);
  check(isFake(fake6), `${fake6} is from the prefix ${FAKE6}`);
  const other = await ask(lab, "www.example.org", "A");
  check(other === real4(2), "a name that is not configured keeps its real address");
  return { fake4, fake6 };
}

async function ask(lab: Lab, name: string, type: "A" | "AAAA"): Promise<string> {
  const { message: { rcode, answers } } = await lab.query(name, type);
  const answer = answers.find((record) => record.type === type);
  const chain = answers.length > 0 ? answers.map(({ data }) => data) : [rcode];
  show(`${name} ${type}?  ->  ${chain.join("  ->  ")}, TTL ${answer?.ttl}`);
  if (typeof answer?.data !== "string") throw new Unexpected(`no address for ${name} ${type}`);
  return answer.data;
}

async function showKernel(lab: Lab, { fake4, fake6 }: Fakes): Promise<void> {
  out("\n3. The kernel of the gateway has been told what they stand for.");
  await showMaps(lab);
  const { maps, sets } = await lab.mappings();
  check(maps.get(fake4) === real4(1) && sets.has(real4(1)), `${fake4} stands for ${real4(1)}`);
  check(maps.get(fake6) === real6(1) && sets.has(real6(1)), `${fake6} stands for ${real6(1)}`);
}

async function fetchPages(lab: Lab, fakes: Fakes): Promise<void> {
  out("\n4. The client fetches the page through the fakes; dotp sees no packet of it.");
  await fetchPage(lab, fakes.fake4, real4(1), Address.gatewayOutside4);
  await fetchPage(lab, fakes.fake6, real6(1), Address.gatewayOutside6);
}

async function fetchPage(lab: Lab, fake: string, real: string, gateway: string): Promise<void> {
  show(url(fake));
  const { at, from, error } = await lab.fetch(fake);
  if (error !== undefined) throw new Unexpected(`${url(fake)}: ${error}`);
  check(at === real && from === gateway, `the server was reached at ${at}, by ${from}`);
}

async function expire(lab: Lab, { fake4, fake6 }: Fakes): Promise<void> {
  out(`\n5. Nobody asks for ${NAME} any more, so the mappings expire.`);
  const startedAt = performance.now();
  await lab.mappingsBecome("expiry", ({ maps, sets }) => maps.size + sets.size === 0);
  check(true, `after ${seconds(performance.now() - startedAt)} they are gone from the kernel`);
  await showMaps(lab);
  for (const fake of [fake4, fake6]) {
    show(url(fake));
    const { error, ms } = await lab.fetch(fake);
    check(error === "ConnectionRefused" && ms < AT_ONCE_MS, `refused after ${Math.ceil(ms)} ms`);
  }
  const { to_fake: leaked } = await lab.watched("server");
  check(leaked === 0, "no packet to a fake has ever left the gateway");
}

async function lookUpAgain(lab: Lab, fakes: Fakes): Promise<void> {
  out(`\n6. The client looks ${NAME} up again and gets the same fakes.`);
  check(await ask(lab, NAME, "A") === fakes.fake4, "the same IPv4 fake, and it works:");
  await fetchPage(lab, fakes.fake4, real4(1), Address.gatewayOutside4);
  check(await ask(lab, NAME, "AAAA") === fakes.fake6, "the same IPv6 fake, and it works:");
  await fetchPage(lab, fakes.fake6, real6(1), Address.gatewayOutside6);
}

async function end(dotp: Dotp): Promise<void> {
  out("\n7. dotp is told to end.");
  const { code, ms } = await dotp.stop("SIGTERM");
  check(code === 0 && ms < 1_000, `it ended with ${code} after ${Math.ceil(ms)} ms`);
}

async function showMaps(lab: Lab): Promise<void> {
  for (const map of ["nat_map", "nat_map6"]) {
    show(`nft list map inet dotp ${map}`);
    const text = await lab.exec("gateway", "nft", "list", "map", "inet", "dotp", map);
    for (const line of text.trimEnd().split("\n")) out(`       ${line.replaceAll("\t", "    ")}`);
  }
}

function url(address: string): string {
  return `http://${address.includes(":") ? `[${address}]` : address}/`;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} seconds`;
}

function show(line: string): void {
  out(`   > ${line}`);
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Unexpected(what);
  out(`   ok  ${what}`);
}

function fail(error: unknown): number {
  if (error instanceof Unexpected) err(`   NOT so: ${error.message}`);
  else err(`   failed: ${error instanceof Error ? error.stack : error}`);
  return 1;
}

Deno.exit(await main());

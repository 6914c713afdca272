/**
 * The pure core of dotp: reads a DNS reply where it lies, swaps the addresses of chosen names for
 * fake ones, and writes the nft text that tells the kernel what each fake stands for. No socket, no
 * clock, no process: octets and the time come in, octets and text go out, so it runs anywhere.
 *
 * ```ts
 * import {
 *   ActivePolicy,
 *   ChangeLog,
 *   changesToScript,
 *   DomainSet,
 *   LabelHash,
 *   Mappings,
 *   Message,
 *   nameFromText,
 *   parsePrefix,
 *   Pool,
 *   Rewriter,
 *   Rule,
 *   Table,
 * } from "@dotp/core";
 *
 * const log = new ChangeLog();
 * const key = new Uint8Array(16); // the same real gets the same fake under the same key
 * const hashKey = crypto.getRandomValues(new Int32Array(1))[0] ?? 0;
 * const options = { log, ttlMs: 120_000, quarantineMs: 120_000, hashKey };
 * const mappings = new Mappings(
 *   new Table({ pool: new Pool(parsePrefix("198.18.0.0/15", 4), key), ...options }),
 *   new Table({ pool: new Pool(parsePrefix("2001:2::/48", 6), key), ...options }),
 * );
 * const hash = new LabelHash(crypto.getRandomValues(new Uint8Array(16)));
 * const domains = new DomainSet(hash, [{ name: nameFromText("example.com"), rule: Rule.SUBTREE }]);
 * const rewriter = new Rewriter(new ActivePolicy({ domains }), mappings, 60);
 *
 * // A reply from the network: www.example.com has the address 192.0.2.7 for 300 seconds.
 * const octets = "00 01 81 80 00 01 00 01 00 00 00 00 03 77 77 77 07 65 78 61 6d 70 6c 65 03 63 " +
 *   "6f 6d 00 00 01 00 01 c0 0c 00 01 00 01 00 00 01 2c 00 04 c0 00 02 07";
 * const reply = Uint8Array.from(octets.split(" "), (octet) => Number.parseInt(octet, 16));
 *
 * const message = new Message();
 * const isWhole = message.index(new DataView(reply.buffer), reply.length);
 * const outcome = rewriter.rewrite(message, isWhole, "192.0.2.99", performance.now());
 * console.log(outcome, "with", reply.slice(-4).join("."));
 *
 * // The reply may leave once nft has carried this out.
 * console.log(changesToScript("dotp", log.takeAll()));
 * ```
 *
 * @module
 */
export {
  type Address,
  addressToText,
  type Family,
  parseAddress,
  parsePrefix,
  type Prefix,
  prefixToText,
} from "./address.ts";
export { Flag, Rcode, Type } from "./dns/constants.ts";
export { type DomainRule, DomainSet, Rule } from "./policy/domain_set.ts";
export { LabelHash } from "./policy/label_hash.ts";
export { ActivePolicy, type Policy, type PrivateReals } from "./policy/policy.ts";
export { Message } from "./dns/message.ts";
export { LabelWalk, nameFromText, nameToText } from "./dns/name.ts";
export { type Change, ChangeLog } from "./nat/changes.ts";
export { Mappings } from "./nat/mappings.ts";
export { Pool } from "./nat/pool.ts";
export { Table, type TableOptions } from "./nat/table.ts";
export { ElementReader } from "./nft/elements.ts";
export { tableProblem } from "./nft/listing.ts";
export {
  changesToScript,
  listMapArgs,
  listSetArgs,
  listTableArgs,
  probeScript,
} from "./nft/script.ts";
export { type Outcome, Rewriter } from "./proxy/rewriter.ts";

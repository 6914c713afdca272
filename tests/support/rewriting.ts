/** A `Rewriter` for `example.com`, whose reals have fakes that a test can know beforehand. */
import { ActivePolicy, type PrivateReals } from "../../lib/policy/policy.ts";
import { Message } from "../../lib/dns/message.ts";
import { type Outcome, Rewriter } from "../../lib/proxy/rewriter.ts";
import { bytesOf, viewOf } from "./hex.ts";
import { setOf } from "./domains.ts";
import { adopt, makeNat, type Nat, type NatOptions } from "./nat.ts";

/** Half of the usual NAT_TTL, seconds. */
export const TTL_MAX = 60;

/** Reals and the fakes that are mapped to them from the start. */
export const FAKES: Readonly<Record<string, string>> = {
  "192.0.2.1": "198.18.0.1",
  "192.0.2.2": "198.18.0.2",
  "192.0.2.3": "198.18.0.3",
  "192.0.2.4": "198.18.0.4",
  "2001:db8::1": "2001:2::1",
  "2001:db8::2": "2001:2::2",
  "2001:db8::3": "2001:2::3",
  "2001:db8::4": "2001:2::4",
};

/** What a rewriter is made for. */
export interface RewritingOptions extends NatOptions {
  readonly domains?: readonly string[];
  readonly privateReals?: PrivateReals;
}

/** A rewriter and its mappings. */
export interface Rewriting {
  readonly rewriter: Rewriter;
  readonly policy: ActivePolicy;
  readonly nat: Nat;
  /** Rewrites a copy; what became of it, and its octets. */
  rewrite(bytes: Uint8Array, client?: string): { outcome: Outcome; bytes: Uint8Array };
}

/** Makes one. */
export function makeRewriting(
  { domains = ["example.com"], privateReals = "map", ...options }: RewritingOptions = {},
): Rewriting {
  const nat = makeNat(options);
  for (const [real, fake] of Object.entries(FAKES)) {
    adopt(nat.tables[real.includes(":") ? 6 : 4], fake, real);
  }
  const policy = new ActivePolicy({ domains: setOf(...domains), privateReals });
  const rewriter = new Rewriter(policy, nat.mappings, TTL_MAX);
  const reply = new Message();
  const rewrite = (bytes: Uint8Array, client = "192.0.2.99") => {
    const view = viewOf(bytes);
    const whole = reply.index(view, bytes.length);
    return { outcome: rewriter.rewrite(reply, whole, client, 0), bytes: bytesOf(view) };
  };
  return { rewriter, policy, nat, rewrite };
}

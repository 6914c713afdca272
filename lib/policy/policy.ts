/**
 * What is decided about names and their addresses: a snapshot that is never changed, only exchanged as a whole. A new one
 * is built aside while the one in force goes on answering.
 *
 * @module
 */
import type { DomainSet } from "./domain_set.ts";

/** What may become of a name's private addresses. */
export const PRIVATE_REALS = ["map", "pass", "refuse"] as const;
/** A choice of `PRIVATE_REALS`. */
export type PrivateReals = typeof PRIVATE_REALS[number];

/** A snapshot. */
export interface Policy {
  /** Names that get fakes. */
  readonly domains: DomainSet;
  /** Whether private addresses get fakes (the default), stay as they are, or have the reply refused. */
  readonly privateReals?: PrivateReals;
}

/** Where the policy in force is; whoever uses it takes it from here once for each message. */
export class ActivePolicy {
  current: Policy;

  constructor(policy: Policy) {
    this.current = policy;
  }
}

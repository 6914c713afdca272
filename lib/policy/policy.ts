/**
 * What is decided about names: a snapshot that is never changed, only exchanged as a whole. A new one
 * is built aside while the one in force goes on answering.
 *
 * @module
 */
import type { DomainSet } from "./domain_set.ts";

/** A snapshot. */
export interface Policy {
  /** Names that get fakes. */
  readonly domains: DomainSet;
}

/** Where the policy in force is; whoever uses it takes it from here once for each message. */
export class ActivePolicy {
  current: Policy;

  constructor(policy: Policy) {
    this.current = policy;
  }
}

/**
 * The kernel as the core sees it: changes go in, lists come out.
 *
 * Whoever implements it turns changes into what the kernel understands (nft's text, netlink's octets)
 * and its answers into the few reasons below; no text of a program and no errno comes this far, but
 * for `detail`, which is for the log alone. It answers at once or with a promise, never throws and
 * never rejects, and does one thing at a time: the caller waits for an answer before it asks for more
 * that changes something. Who needs an answer in the same turn gets it where the kernel gives it.
 *
 * @module
 */
import type { Family } from "../address.ts";
import type { Change, Pair } from "../nat/changes.ts";
import type { AddressList, PairList } from "./lists.ts";

/** Why the kernel took nothing of what it was asked for. */
export type Refusal =
  /** The table, one of its sets, or an element that was to be deleted is not there. */
  | "missing"
  /** An element with that key is there and has another value. */
  | "exists"
  /** The set or map takes no more elements. */
  | "full"
  | "other";

/** Nothing has been done. */
export interface Refused {
  readonly kind: "refused";
  readonly reason: Refusal;
  readonly detail: string;
}

/** The kernel cannot be asked, or has not answered; nobody knows what it took. */
export interface Unavailable {
  readonly kind: "unavailable";
  readonly detail: string;
}

/** What became of a transaction. */
export type CommitResult = { readonly kind: "done" } | Refused | Unavailable;

/** A list, or why there is none. */
export type ReadResult<T> = { readonly kind: "done"; readonly value: T } | Refused | Unavailable;

/** At once, or later. */
export type Eventually<T> = T | Promise<T>;

/** What the kernel's map and set of one IP version hold. */
export interface KernelState {
  /** The map: each fake with its real. */
  readonly pairs: PairList;
  /** The set: the reals. */
  readonly reals: AddressList;
  /** After how many seconds the kernel forgets an element; `Infinity` where it does not. */
  readonly timeoutS: number;
}

/**
 * The sets that the rules fill: fakes that carried packets, and fakes that stood for nothing when a
 * packet came. A table without them works, but tells less.
 */
export type NoteSet = "seen" | "missed";

/** Sets, maps and connections of the kernel. */
export interface Kernel {
  /**
   * Makes changes, in their order, all of them or none: what remains of them is what `netOf` says. They
   * are no more than `BATCH_CHANGES_MAX`.
   */
  commit(changes: readonly Change[]): Eventually<CommitResult>;
  /** Lists map and set of one IP version. */
  read(family: Family): Eventually<ReadResult<KernelState>>;
  /** Lists a set that the rules fill: each fake, and the seconds since it was noted last. */
  readNotes(family: Family, set: NoteSet): Eventually<ReadResult<AddressList>>;
  /**
   * Lists where connections to fakes lead, each pair once: the fake that their first packet was
   * addressed to, and the address that replies come from. That is the fake itself where the connection
   * was never translated.
   */
  readConnections(family: Family): Eventually<ReadResult<PairList>>;
  /** Deletes the connections that lead from a fake to a real, in whatever zone; none is fine. */
  disconnect(pairs: readonly Pair[]): Eventually<CommitResult>;
}

/** What went wrong, to be told to an admin; reported as often as it happens. */
export type KernelEvent =
  /** The kernel does not get what the tables say; `reason` is undefined where it is unavailable. */
  | { readonly kind: "failed"; readonly reason: Refusal | undefined; readonly detail: string }
  /** A transaction found the kernel other than dotp had left it. */
  | { readonly kind: "drift"; readonly detail: string }
  /** A look at the sets found what dotp did not put there, or missed what it did. */
  | { readonly kind: "foreign"; readonly elements: number }
  /** The kernel refused one change. */
  | {
    readonly kind: "refused";
    readonly change: Change["kind"];
    readonly reason: Refusal;
    readonly detail: string;
  }
  /** What the rules note cannot be read. */
  | { readonly kind: "notes"; readonly set: NoteSet; readonly detail: string }
  /** Connections cannot be listed or deleted. */
  | { readonly kind: "connections"; readonly detail: string };

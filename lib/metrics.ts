/**
 * The one channel for "something happened": each event has a code made of its kind and its reasons, by
 * which it is told apart and counted. There are few codes, and none depends on what comes from outside.
 *
 * An event also carries what a reader of the log needs; words are made of it where it is logged.
 *
 * @module
 */
import type { Family } from "./address.ts";
import type { QueryParts } from "./dns/query.ts";
import type { KernelEvent } from "./kernel/kernel.ts";

/** Why a query was answered with SERVFAIL. */
export const FAILURES = [
  /** The upstream did not answer in time. */
  "silent",
  /** Nobody listens where the query went. */
  "unreachable",
  /** No socket to the upstream can be opened. */
  "no-socket",
  /** Too many queries are in flight, in all or of this client. */
  "in-flight",
  /** Nothing that came about the configured name can be read. */
  "unreadable",
  /** The reply has more addresses of a configured name than are mapped for one reply. */
  "oversized",
  /** The pool has no fake left. */
  "full",
  /** What the pool has left is kept for other names and clients. */
  "share",
  /** The mapping is not in the kernel. */
  "kernel",
] as const;
/** A reason of `FAILURES`. */
export type Failure = typeof FAILURES[number];

/** Sockets by what they are for. */
export const SOCKET_ROLES = ["listener", "upstream"] as const;
/** A role of `SOCKET_ROLES`. */
export type SocketRole = typeof SOCKET_ROLES[number];

/** Something that happened. */
export type Event =
  /** A query was answered with SERVFAIL. */
  | { readonly kind: "servfail"; readonly reason: Failure; readonly query: QueryParts }
  /** A pool of fakes has become this full. */
  | { readonly kind: "fill"; readonly family: Family; readonly percent: number }
  /** A send or a receive failed, or a socket could not be opened. */
  | { readonly kind: "socket"; readonly role: SocketRole; readonly detail: string }
  /** Something went wrong with the kernel. */
  | { readonly kind: "kernel"; readonly event: KernelEvent };

/** Takes events. */
export type Report = (event: Event) => void;

/** The code of an event. */
export function codeOf(event: Event): string {
  switch (event.kind) {
    case "servfail":
      return `servfail.${event.reason}`;
    case "fill":
      return `fill.ipv${event.family}.${event.percent}`;
    case "socket":
      return `socket.${event.role}`;
    case "kernel":
      return `kernel.${kernelCodeOf(event.event)}`;
  }
}

function kernelCodeOf(event: KernelEvent): string {
  switch (event.kind) {
    case "failed":
      return `failed.${event.reason ?? "unavailable"}`;
    case "refused":
      return `refused.${event.change}.${event.reason}`;
    case "notes":
      return `notes.${event.set}`;
    default:
      return event.kind;
  }
}

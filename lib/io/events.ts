/**
 * Events in words: the lines of the log that are made of what happens while dotp runs.
 *
 * What can happen with every query is told once in a while for each code and detail, with the number of
 * those that were not told.
 *
 * @module
 */
import { Offset } from "../dns/constants.ts";
import { nameToText } from "../dns/name.ts";
import type { KernelEvent } from "../kernel/kernel.ts";
import { codeOf, type Event, type Failure, type Report } from "../metrics.ts";
import { log, RateLimit } from "./runtime/log.ts";

const FAILURE_WORDS: Readonly<Record<Failure, string>> = {
  "silent": "upstream is silent",
  "unreachable": "upstream is unreachable",
  "no-socket": "no socket to the upstream can be opened",
  "in-flight": "too many queries are in flight",
  "unreadable": "the reply about a configured name cannot be read",
  "oversized": "the reply about a configured name has too many addresses",
  "full": "the pool of fake addresses is full",
  "share": "the fake addresses left are kept for other names and clients",
  "kernel": "the mapping could not be brought into the kernel",
};

/** Logs events. */
export function makeReport(): Report {
  const limit = new RateLimit();
  return (event) => {
    if (event.kind === "servfail") {
      const { query: { view, questionEnd }, reason } = event;
      log.debug("SERVFAIL for {name}: {why}", () => ({
        name: nameToText(view, questionEnd, Offset.QUESTION),
        why: FAILURE_WORDS[reason],
      }));
    }
    const [code, words] = [codeOf(event), wordsFor(event)];
    limit.run(code, words, (more) => log.warning("{words}{more}", { words, more, code }));
  };
}

/** What is told of an event; names of queries are not. */
export function wordsFor(event: Event): string {
  switch (event.kind) {
    case "servfail":
      return `answered SERVFAIL: ${FAILURE_WORDS[event.reason]}`;
    case "fill":
      return `${event.percent} % of the fake IPv${event.family} addresses that anyone may have are in use`;
    case "socket":
      return `${event.role} socket: ${event.detail}`;
    case "kernel":
      return kernelWordsFor(event.event);
  }
}

function kernelWordsFor(event: KernelEvent): string {
  switch (event.kind) {
    case "failed":
      return `Cannot bring mappings into the kernel: ${event.detail}`;
    case "drift":
      return `The kernel's sets are not as dotp left them: ${event.detail}`;
    case "foreign":
      return `Somebody else has changed the kernel's sets: ${event.elements} elements are repaired`;
    case "refused":
      return `The kernel refused to ${event.change} one mapping: ${event.detail}`;
    case "notes":
      return `Cannot read what the rules note in nat_${event.set}: ${event.detail}`;
    case "connections":
      return `Connections to fakes cannot be looked at or deleted: ${event.detail}`;
  }
}

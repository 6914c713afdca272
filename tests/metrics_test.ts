/** Events: their codes tell apart what differs, and are few whatever comes from outside. */
import { assert, assertEquals } from "@std/assert";
import type { KernelEvent } from "../lib/kernel/kernel.ts";
import { codeOf, type Event, FAILURES, SOCKET_ROLES } from "../lib/metrics.ts";

const QUERY = {
  view: new DataView(new ArrayBuffer(12)),
  questionEnd: 12,
  hasOpt: false,
  wantsDnssec: false,
  udpSize: 0,
};
const REFUSALS = ["missing", "exists", "full", "other"] as const;

/** What may go wrong with the kernel, each with this detail. */
function kernelEvents(detail: string): KernelEvent[] {
  const changes = ["add", "delete", "renew"] as const;
  return [
    ...[...REFUSALS, undefined].map((reason) => ({ kind: "failed", reason, detail }) as const),
    { kind: "drift", detail },
    { kind: "foreign", elements: detail.length },
    ...changes.flatMap((change) =>
      REFUSALS.map((reason) => ({ kind: "refused", change, reason, detail }) as const)
    ),
    { kind: "notes", set: "seen", detail },
    { kind: "notes", set: "missed", detail },
    { kind: "connections", detail },
  ];
}

/** Every event, each with this detail. */
function events(detail: string): Event[] {
  return [
    ...FAILURES.map((reason) => ({ kind: "servfail", reason, query: QUERY }) as const),
    ...([4, 6] as const).flatMap((family) =>
      [80, 95].map((percent) => ({ kind: "fill", family, percent }) as const)
    ),
    ...SOCKET_ROLES.map((role) => ({ kind: "socket", role, detail }) as const),
    ...kernelEvents(detail).map((event) => ({ kind: "kernel", event }) as const),
  ];
}

Deno.test("codeOf() tells every kind and reason apart, when all happen", () => {
  const codes = events("x").map(codeOf);
  assertEquals(new Set(codes).size, codes.length);
  for (const code of codes) assert(/^[a-z]+(\.[a-z0-9-]+)+$/.test(code), code);
});

Deno.test("codeOf() is the same, when only what comes from outside differs", () => {
  assertEquals(events("Device or resource busy").map(codeOf), events("\n<4>evil").map(codeOf));
});

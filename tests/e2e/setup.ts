/**
 * What the end-to-end tests have in common: one lab a file, and short words for what an upstream
 * answers.
 */

import { assertEquals } from "@std/assert";
import { Lab, type Reply, type ResourceRecord } from "../lab/lab.ts";

/** Makes a lab before the first test of the file and removes it after the last. */
export function shareLab(prepare: (lab: Lab) => Promise<void> = startServers): () => Lab {
  let shared: Lab | undefined;
  Deno.test.beforeAll(async () => {
    shared = await Lab.create();
    await prepare(shared);
  });
  Deno.test.afterAll(() => shared?.[Symbol.asyncDispose]());
  return () => {
    if (shared === undefined) throw new Error("There is no lab outside of the tests");
    return shared;
  };
}

/** Starts the web server, and an upstream that knows no name yet. */
export async function startServers(lab: Lab): Promise<void> {
  await lab.startWebServer();
  await lab.startUpstream({});
}

/** An address record. */
export function address(name: string, data: string, ttl = 300): ResourceRecord {
  return { name, type: data.includes(":") ? "AAAA" : "A", ttl, data };
}

/** A CNAME record. */
export function alias(name: string, data: string, ttl = 300): ResourceRecord {
  return { name, type: "CNAME", ttl, data };
}

/** A reply with these answers. */
export function answer(...answers: ResourceRecord[]): Reply {
  return { answers };
}

/** Asserts that a program said one line on standard error and nothing on standard output. */
export function assertOneLine(stdout: string, stderr: string): void {
  assertEquals(stdout, "");
  assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
}

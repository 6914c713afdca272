/** Going to the background, as far as it fails: the e2e tests have the rest. */
import { assertRejects } from "@std/assert";
import { StartError } from "../../../lib/io/preflight.ts";
import { startChild } from "../../../lib/io/runtime/daemon.ts";

Deno.test("startChild() says so, when dotp itself is not there any more", async () => {
  const start = () =>
    startChild("file:///nonexistent/dotp", [], { pidFile: undefined, domainFiles: [] });
  const said = "--daemonize: /nonexistent/dotp is not there";
  await assertRejects(start, StartError, said);
});

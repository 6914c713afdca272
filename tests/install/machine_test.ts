/**
 * install.sh on a machine, and the service as systemd would start it: machine_steps.ts, run in
 * namespaces of its own. Where the tests run as root they are plain ones, so that the service gets a
 * user of its own; otherwise they are those of a user namespace, where there is one user only.
 */

import { assertEquals } from "@std/assert";
import { namespaceCommand, runChild } from "../lab/namespace.ts";

const STEPS = new URL("machine_steps.ts", import.meta.url).pathname;

Deno.test("install.sh and its service work on a machine", async () => {
  const enter = Deno.uid() === 0 && await mayUnshare()
    ? ["unshare", "--net", "--mount"]
    : await namespaceCommand();
  if (enter === undefined) throw new Error("Cannot make the namespaces");
  await warmUp();
  const test = [Deno.execPath(), "test", "--cached-only", "--allow-all", "--no-prompt", STEPS];
  const said: string[] = [];
  const code = await runChild([...enter, ...test], (line) => said.push(`  ${line}`));
  assertEquals(code, 0, said.join("\n"));
});

async function mayUnshare(): Promise<boolean> {
  const args = ["--net", "--mount", "true"];
  return (await new Deno.Command("unshare", { args, stderr: "null" }).output()).success;
}

/** Has Deno get what it bundles with while there is a network. */
async function warmUp(): Promise<void> {
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const args = ["bundle", "--quiet", main];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, stdout: "null" })
    .output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

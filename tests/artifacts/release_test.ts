/** The release workflow as far as it can be looked at without GitHub. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "@std/yaml";
import deno from "../../deno.json" with { type: "json" };
import { NEEDED, WANTED } from "../lab/tools.ts";
import { packageOf } from "../support/programs.ts";
import { ROOT } from "./setup.ts";

interface Job {
  readonly "timeout-minutes": number;
  readonly permissions?: Readonly<Record<string, string>>;
  readonly needs?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly steps: readonly { readonly run?: string; readonly uses?: string }[];
}

/** What is read of a workflow. */
interface Workflow {
  readonly on: unknown;
  readonly permissions: unknown;
  readonly jobs: Readonly<Record<string, Job>>;
}

function readWorkflow(name: string): { text: string; workflow: Workflow } {
  const text = Deno.readTextFileSync(`${ROOT}.github/workflows/${name}.yml`);
  return { text, workflow: parse(text) as Workflow };
}

const { text, workflow } = readWorkflow("release");

Deno.test("release.yml lets only the job that publishes write, when a tag is pushed", () => {
  assertEquals(workflow.on, { push: { tags: ["v*"] } });
  assertEquals(workflow.permissions, { contents: "read" });
  const { build, publish, ...others } = workflow.jobs;
  assertEquals(others, {});
  assertEquals(build?.permissions, undefined);
  assertEquals(publish?.permissions, { contents: "write" });
  assertEquals(publish?.needs, "build");
  // It runs nothing of ours: no sources, no Deno.
  const steps = JSON.stringify(publish?.steps);
  assert(!/checkout|npx|deno task/.test(steps), steps);
  assertMatch(steps, /gh release create/);
});

Deno.test("release.yml tests before it builds and tries out what it has built, when it runs", () => {
  const steps = workflow.jobs.build?.steps.map(({ run, uses }) => run ?? uses ?? "") ?? [];
  const places = [
    /GITHUB_REF_NAME.*deno\.json/,
    /^npx -y deno@\S+ task test$/,
    /^npx -y deno@\S+ task build$/,
    /--version/,
    /^DOTP_BIN="\$PWD\/\$BINARY" npx -y deno@\S+ task test$/,
    /sha256sum .*> SHA256SUMS/,
    /^actions\/upload-artifact@/,
  ].map((step) => steps.findIndex((text) => step.test(text)));
  assert(places.every((place) => place >= 0), `${places}`);
  assertEquals(places, places.toSorted((a, b) => a - b));
});

Deno.test("both workflows install what the tests need, when they are read", () => {
  for (const name of ["ci", "release"]) {
    const { jobs } = readWorkflow(name).workflow;
    const steps = Object.values(jobs).flatMap(({ steps }) => steps.map(({ run = "" }) => run));
    const [, list = ""] = /apt-get install -y -qq ([^]*)/.exec(steps.join("\n")) ?? [];
    const packages = list.split("\n", 1)[0]?.split(" ").toSorted();
    assertEquals(packages, [...NEEDED, ...WANTED].map(packageOf).toSorted(), name);
  }
});

Deno.test("release.yml uses the Deno of ci.yml and tasks that exist, when it is read", () => {
  const versions = (text: string) => new Set(text.match(/deno@[\d.]+/g));
  assertEquals(versions(text), versions(readWorkflow("ci").text));
  for (const [, task = ""] of text.matchAll(/ task (\w+)/g)) assert(task in deno.tasks, task);
});

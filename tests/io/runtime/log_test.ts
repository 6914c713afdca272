/** Lines of the log as a process writes them, to the journal and elsewhere. */
import { assertEquals, assertMatch } from "@std/assert";
import { RateLimit } from "../../../lib/io/runtime/log.ts";
import { run } from "../../support/run.ts";

const LOG = new URL("../../../lib/io/runtime/log.ts", import.meta.url).pathname;

/** Logs two lines, and then fails. */
const CODE = `
import { log, startLog, writeFailure, writeToStderr } from "${LOG}";
const [format] = Deno.args;
startLog("debug", format, writeToStderr);
log.debug("one {value}", { value: "a\\nb" });
log.warning("two");
writeFailure("dotp: three\\n");
`;

/** What is written to standard error, a file, where JOURNAL_STREAM names it, and where another one. */
async function write(format: string, isNamed: boolean, allow = "--allow-env=JOURNAL_STREAM") {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/log`;
    await Deno.writeTextFile(`${directory}/code.ts`, CODE);
    await Deno.writeTextFile(path, "");
    const { dev, ino } = await Deno.stat(isNamed ? path : directory);
    const config = new URL("../../../deno.json", import.meta.url).pathname;
    const flags = ["--no-prompt", "--quiet", "--no-lock", "--config", config, allow];
    const script = 'exec "$@" 2>"$LOG_PATH"';
    const deno = [Deno.execPath(), "run", ...flags, `${directory}/code.ts`, format];
    const env = { JOURNAL_STREAM: `${dev}:${ino}`, LOG_PATH: path };
    const { code } = await run(["sh", "-c", script, "sh", ...deno], { env });
    const lines = (await Deno.readTextFile(path)).trimEnd().split("\n");
    assertEquals(code, 0, lines.join("\n"));
    return lines;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const TIME = "\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z";

Deno.test("the log has priorities and no time, when standard error leads to the journal", async () => {
  assertEquals(await write("text", true), [
    '<7>debug one "a\\nb"',
    "<4>warning two",
    "<3>dotp: three",
  ]);
  const json = await write("json", true);
  assertEquals(json.map((line) => line.slice(0, 4)), ["<7>{", "<4>{", "<3>d"]);
});

Deno.test("the log has the time and no priorities, when standard error leads elsewhere", async () => {
  for (const [isNamed, allow] of [[false, "--allow-env=JOURNAL_STREAM"], [true, "-q"]] as const) {
    const [one = "", two = "", three = ""] = await write("text", isNamed, allow);
    assertMatch(one, new RegExp(`^${TIME} debug one "a\\\\nb"$`));
    assertMatch(two, new RegExp(`^${TIME} warning two$`));
    assertEquals(three, "dotp: three");
  }
});

/** Lines that a limit lets through, at times that a test sets. */
class Limited {
  nowMs = 0;
  readonly lines: string[] = [];
  readonly #limit = new RateLimit(() => this.nowMs);

  run(kind: string, detail = "same"): void {
    this.#limit.run(kind, detail, (more) => this.lines.push(`${kind} ${detail}${more}`));
  }
}

Deno.test("RateLimit lets one line of a kind through in ten seconds, when they say the same", () => {
  const limited = new Limited();
  for (let i = 0; i < 100; i++) limited.run("a");
  limited.run("b");
  assertEquals(limited.lines, ["a same", "b same"]);
  limited.nowMs = 9_999;
  limited.run("a");
  assertEquals(limited.lines.length, 2);
  limited.nowMs = 10_000;
  limited.run("a");
  limited.run("b");
  assertEquals(limited.lines.slice(2), [
    "a same (and 100 times more since the last such line)",
    "b same",
  ]);
});

Deno.test("RateLimit lets few lines of a kind through, when each says something else", () => {
  const limited = new Limited();
  for (let i = 0; i < 100; i++) limited.run("a", `${i % 50}`);
  assertEquals(limited.lines, ["a 0", "a 1", "a 2", "a 3"]);
  limited.nowMs = 10_000;
  for (const detail of ["9", "9", "1"]) limited.run("a", detail);
  assertEquals(limited.lines.slice(4), ["a 9 (and 96 times more since the last such line)", "a 1"]);
});

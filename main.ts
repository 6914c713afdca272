/**
 * dotp: start and exit code.
 *
 * Exit status 0 after SIGINT or SIGTERM, 1 where it cannot start, 2 where the command line is wrong.
 * `dotp check` ends with 0, 1 or 2 by the worst that it has found.
 *
 * @module
 */
import deno from "./deno.json" with { type: "json" };
import { findingsToJson, findingsToText, LEVELS, worstLevel } from "./lib/check/finding.ts";
import { completions } from "./lib/cli/completions.ts";
import { manual } from "./lib/cli/manual.ts";
import { parseCommand } from "./lib/cli/parse.ts";
import { unitText } from "./lib/cli/unit.ts";
import { usage } from "./lib/cli/usage.ts";
import { type Config, UsageError } from "./lib/config.ts";
import { check } from "./lib/io/check.ts";
import { StartError, warnOfSurroundings } from "./lib/io/preflight.ts";
import { openSyslog, readRole, startChild, tellReady } from "./lib/io/runtime/daemon.ts";
import { startLog, writeFailure, writeToStderr } from "./lib/io/runtime/log.ts";
import { tellSystemd } from "./lib/io/runtime/service.ts";
import { rulesText } from "./lib/nft/rules.ts";
import { serve } from "./lib/io/app.ts";

const Exit = { OK: 0, FAILURE: 1, USAGE: 2 } as const;

const { isChild, args } = readRole(Deno.args);
Deno.exit(await main());

/** Runs dotp to its end and returns the exit status. */
async function main(): Promise<number> {
  try {
    const command = parseCommand(args);
    switch (command.kind) {
      case "help":
        print(usage());
        return Exit.OK;
      case "version":
        print(`dotp ${deno.version}\n`);
        return Exit.OK;
      case "completions":
        print(completions(command.shell));
        return Exit.OK;
      case "manual":
        print(manual(deno.version));
        return Exit.OK;
      case "rules":
        print(rulesText({ ...command.config, lan: command.lan }));
        return Exit.OK;
      case "unit":
        print(unitText(command.unit, command.program));
        return Exit.OK;
      case "check": {
        const findings = await check(command.config, command.topics);
        print(command.json ? findingsToJson(findings) : findingsToText(findings));
        return LEVELS.indexOf(worstLevel(findings));
      }
      case "run":
        return command.config.daemonize && !isChild
          ? await startChild(import.meta.url, args, command.config)
          : await run(command.config);
    }
  } catch (error) {
    if (!(error instanceof UsageError || error instanceof StartError)) throw error;
    writeFailure(`dotp: ${error.message}\n`);
    return error instanceof UsageError ? Exit.USAGE : Exit.FAILURE;
  }
}

async function run(config: Config): Promise<number> {
  const ending = new AbortController();
  // Before anything else: whatever takes long is given up.
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => ending.abort());
  }
  startLog(config.logLevel, config.logFormat, writeToStderr);
  let hasChanged = false;
  let onHangup = (): void => {
    hasChanged = true;
  };
  Deno.addSignalListener("SIGHUP", () => onHangup());
  let hasPidFile = false;
  await serve(config, ending.signal, (reload) => {
    onHangup = reload;
    // What was read at the start may be old by now.
    if (hasChanged) reload();
    if (isChild) detach(config);
    hasPidFile = config.pidFile !== undefined;
    void tellSystemd();
    void warnOfSurroundings(config, ending.signal);
  });
  if (hasPidFile) removeFile(config.pidFile!);
  return Exit.OK;
}

/** Leaves the parent, which goes once it hears that we are ready. */
function detach({ logLevel, logFormat, pidFile }: Config): void {
  if (pidFile !== undefined) {
    try {
      Deno.writeTextFileSync(pidFile, `${Deno.pid}\n`);
    } catch (error) {
      throw new StartError(`--pid-file ${pidFile}: ${(error as Error).message}`, { cause: error });
    }
  }
  startLog(logLevel, logFormat, openSyslog());
  tellReady();
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch {
    // Somebody else has removed it.
  }
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
}

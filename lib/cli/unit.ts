/**
 * The systemd unit that dotp carries, for the options given: `dotp.service` beside this file, with
 * the program's path and the table exchanged. All else the unit reads from /etc/dotp when it starts.
 *
 * @module
 */
import SERVICE from "./dotp.service" with { type: "text" };

/** The program as the file itself has it, and as install.sh puts it by default. */
export const PROGRAM = "/usr/local/bin/dotp";

/** What the unit depends on. */
export interface UnitOptions {
  /** Absolute path of dotp, without anything that systemd would act on. */
  readonly program: string;
  readonly table: string;
}

/** The text of dotp.service for these options. */
export function unitText({ program, table }: UnitOptions): string {
  return SERVICE
    .replaceAll(PROGRAM, () => program)
    .replace(/\btable inet dotp\b/g, `table inet ${table}`);
}

/**
 * The systemd units that dotp carries: `dotp.service` beside this file, for a program at the path
 * given, and `dotp-table.service`, which has the table loaded. All else they read from /etc/dotp when
 * they start.
 *
 * @module
 */
import SERVICE from "./dotp.service" with { type: "text" };
import TABLE from "./dotp-table.service" with { type: "text" };

/** The units, as `dotp unit` takes them; the first is the one of dotp itself. */
export const UNITS = ["service", "table"] as const;
/** A unit of `UNITS`. */
export type UnitName = typeof UNITS[number];

/** The program as the file itself has it, and as install.sh puts it by default. */
export const PROGRAM = "/usr/local/bin/dotp";

/**
 * The text of a unit.
 *
 * @param program absolute path of dotp, without anything that systemd would act on
 */
export function unitText(unit: UnitName, program: string): string {
  return unit === "table" ? TABLE : SERVICE.replaceAll(PROGRAM, () => program);
}

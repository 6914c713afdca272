/**
 * The table as nft lists it in JSON, without its elements: those are read in `elements.ts`.
 *
 * @module
 */
import { FAMILIES } from "../address.ts";
import { DATATYPES, SET_NAMES } from "./script.ts";

/** What is wrong with the table that `listTableArgs` listed, or undefined. */
export function tableProblem(table: string, listed: string): string | undefined {
  const objects = objectsOf(listed);
  for (const family of FAMILIES) {
    const { set, map } = SET_NAMES[family];
    const type = DATATYPES[family];
    for (const [kind, name] of [["set", set], ["map", map]] as const) {
      const found = objects.map((object) => object["set"] ?? object["map"])
        .find((object) => isRecord(object) && object["name"] === name);
      if (!isRecord(found)) return `${kind} ${name} is missing from table inet ${table}`;
      const isMap = "map" in found;
      if (
        found["type"] !== type || isMap !== (kind === "map") || (isMap && found["map"] !== type)
      ) {
        const wanted = kind === "set" ? type : `${type} : ${type}`;
        return `${name} in table inet ${table} is not a ${kind} of type ${wanted}`;
      }
    }
  }
  return undefined;
}

function objectsOf(listed: string): Record<string, unknown>[] {
  const parsed: unknown = JSON.parse(listed);
  const objects = isRecord(parsed) ? parsed["nftables"] : undefined;
  return Array.isArray(objects) ? objects.filter(isRecord) : [];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/**
 * What remains of a run of changes. What it adds and deletes again is left out: the kernel refuses a
 * transaction that names a key twice, and need not see it.
 *
 * @module
 */
import type { Change } from "./changes.ts";

/** Changes that name each pair once, to be made in this order. */
export interface Net {
  readonly deletions: readonly Change[];
  /** Pairs that stay and get a new lifetime. */
  readonly renewals: readonly Change[];
  readonly additions: readonly Change[];
}

/** What has become of one pair. */
interface Fate {
  /** Whether the kernel had it before. */
  readonly isOld: boolean;
  isRenewed: boolean;
  /** The change that speaks for it: the last one, the addition where it was added and renewed. */
  change: Change;
}

/** What remains of changes, which are in the kernel's order. */
export function netOf(changes: readonly Change[]): Net {
  const kind = changes[0]?.kind;
  // Most runs are of one kind. Then nothing cancels out, but a pair may be renewed twice.
  const isPlain = changes.length < 2 || kind !== "renew" && changes.every((c) => c.kind === kind);
  const last = isPlain ? changes : fatesOf(changes);
  const of = (kind: Change["kind"]) => last.filter((change) => change.kind === kind);
  return { deletions: of("delete"), renewals: of("renew"), additions: of("add") };
}

/** Octets as the key of a map. */
export function keyOf(octets: Uint8Array): string {
  return String.fromCharCode(...octets);
}

function fatesOf(changes: readonly Change[]): Change[] {
  const fates = new Map<string, Fate>();
  for (const change of changes) {
    const { kind, fake, real, part = "" } = change;
    const key = `${part} ${keyOf(fake)} ${keyOf(real)}`;
    const isRenewed = kind === "renew";
    const fate = fates.get(key);
    if (fate === undefined) fates.set(key, { isOld: kind !== "add", isRenewed, change });
    else {
      fate.isRenewed ||= isRenewed;
      if (!isRenewed || fate.change.kind !== "add") fate.change = change;
    }
  }
  return Array.from(fates.values()).flatMap(remainsOf);
}

function remainsOf({ isOld, isRenewed, change }: Fate): Change[] {
  if (change.kind !== "add") return isOld ? [change] : [];
  if (!isOld) return [change];
  return isRenewed ? [{ ...change, kind: "renew" }] : [];
}

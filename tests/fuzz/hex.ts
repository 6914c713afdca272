/** Octets as lines of hex that `tests/support/hex.ts` reads. */

const PER_LINE = 32;

/** The octets as text, `PER_LINE` in a line. */
export function encodeHex(bytes: Uint8Array): string {
  const lines = [];
  for (let at = 0; at < bytes.length; at += PER_LINE) {
    const octets = [...bytes.subarray(at, at + PER_LINE)];
    lines.push(octets.map((octet) => octet.toString(16).padStart(2, "0")).join(" "));
  }
  return lines.join("\n");
}

/**
 * Bytes in a form that a person can read and comment: hex digits, text between quotes as ASCII, and
 * what follows a `;` on its line for the reader only. Fixtures are files of such text in sections,
 * each under a line `= name`.
 */

/** The octets that a text such as `03 'www' 00 ; www.` stands for. */
export function hex(text: string): Uint8Array<ArrayBuffer> {
  const octets: number[] = [];
  for (const line of text.split("\n")) {
    let rest = line;
    while ((rest = rest.trimStart()) !== "" && !rest.startsWith(";")) {
      const [token = "", quoted, digits] = /^(?:'([^']*)'|([0-9a-fA-F]{2}))/.exec(rest) ?? [];
      if (token === "") throw new SyntaxError(`Cannot read "${rest}" as octets`);
      if (digits !== undefined) octets.push(Number.parseInt(digits, 16));
      else octets.push(...new TextEncoder().encode(quoted));
      rest = rest.slice(token.length);
    }
  }
  return new Uint8Array(octets);
}

/** The sections of a file in `tests/fixtures/`, by name, as text. */
export function readFixture(file: string): Map<string, string> {
  const text = Deno.readTextFileSync(new URL(`../fixtures/${file}`, import.meta.url));
  const sections = new Map<string, string>();
  let name: string | undefined;
  for (const line of text.split("\n")) {
    if (line.startsWith("= ")) sections.set(name = line.slice(2).trim(), "");
    else if (name !== undefined) sections.set(name, `${sections.get(name)}${line}\n`);
  }
  return sections;
}

/** A view of a copy of the octets, so that a test's own stay as they are. */
export function viewOf(bytes: Uint8Array): DataView<ArrayBuffer> {
  return new DataView(Uint8Array.from(bytes).buffer);
}

/** A copy of the octets in a view, as many as `length` says. */
export function bytesOf(view: DataView, length = view.byteLength): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(new Uint8Array(view.buffer, view.byteOffset, length));
}

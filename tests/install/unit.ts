/**
 * The systemd unit that install.sh writes, read as systemd reads it: enough for what it starts and
 * with which rights.
 */

/** A unit: its settings by name, in order. */
export class Unit {
  readonly #settings: [name: string, value: string][];

  constructor(text: string) {
    this.#settings = text.split("\n").filter((line) => /^[A-Z]\w*=/i.test(line)).map((line) => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    });
  }

  /** All values of a setting. */
  all(name: string): string[] {
    return this.#settings.filter(([each]) => each === name).map(([, value]) => value);
  }

  /** The value of a setting that is there once. */
  one(name: string): string {
    const values = this.all(name);
    if (values.length !== 1) throw new Error(`${name} is there ${values.length} times`);
    return values[0] ?? "";
  }

  /** The one command of that name, as it is run. */
  command(name: string, variables: Record<string, string>): string[] {
    this.one(name);
    return this.commands(name, variables)[0] ?? [];
  }

  /** Commands as they are run: `${NAME}` is one argument, `$NAME` as many as it has words. */
  commands(name: string, variables: Record<string, string>): string[][] {
    return this.all(name).map((command) => this.#words(command, variables));
  }

  #words(command: string, variables: Record<string, string>): string[] {
    const words = command.match(/'[^']*'|\S+/g) ?? [];
    return words.flatMap((word) => {
      const [, split] = /^\$(\w+)$/.exec(word) ?? [];
      if (split !== undefined) return variables[split]?.split(/\s+/).filter(Boolean) ?? [];
      return word.replace(/^'(.*)'$/, "$1")
        .replace(/\$\{(\w+)\}/g, (_, each) => variables[each] ?? "");
    });
  }

  /** The variables of `Environment=`. */
  environment(): Record<string, string> {
    return variablesOf(this.all("Environment").join(" ").split(" ").join("\n"));
  }
}

/** Reads a file of variables as `EnvironmentFile=` does. */
export function variablesOf(text: string): Record<string, string> {
  const lines = text.split("\n").filter((line) => /^\w+=/.test(line));
  return Object.fromEntries(lines.map((line) => {
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1).replace(/^"(.*)"$/, "$1")];
  }));
}

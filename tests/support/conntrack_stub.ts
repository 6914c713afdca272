/**
 * A `conntrack` in front of the real one, which does what a file says at its start. Contract: where it
 * passes it becomes the real one.
 */

/** What the stub does. */
export type ConntrackMode =
  | "pass"
  /** As for a user who may not. */
  | "deny"
  /** Never ends. */
  | "hang"
  /** Deletes nothing and says that it has. */
  | "lie";

/** The stub, in a directory of its own. */
export class ConntrackStub implements AsyncDisposable {
  readonly #directory: string;
  /** The environment in which it is found. */
  readonly env: Readonly<Record<string, string>>;

  private constructor(directory: string, path: string) {
    this.#directory = directory;
    this.env = { PATH: `${directory}:${path}` };
  }

  /** Writes it into a directory that is removed with it. */
  static async make(mode: ConntrackMode = "pass"): Promise<ConntrackStub> {
    const directory = await Deno.makeTempDir();
    const path = Deno.env.get("PATH") ?? "";
    const stub = new ConntrackStub(directory, path);
    await stub.set(mode);
    const script = `#!/bin/bash
PATH="${path}"
read -r mode < ${directory}/mode
case $mode in
  deny) echo "conntrack v1.4.7 (conntrack-tools): Operation failed: sorry, you must be root" >&2; exit 1;;
  hang) exec sleep 1000;;
  lie) case $1 in -D|--load-file) cat > /dev/null; exit 0;; esac;;
esac
exec conntrack "$@"
`;
    await Deno.writeTextFile(`${directory}/conntrack`, script, { mode: 0o755 });
    return stub;
  }

  /** Says what the next conntrack does. */
  async set(mode: ConntrackMode): Promise<void> {
    // In one step, so that no stub reads half a word.
    await Deno.writeTextFile(`${this.#directory}/mode.new`, `${mode}\n`);
    await Deno.rename(`${this.#directory}/mode.new`, `${this.#directory}/mode`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#directory, { recursive: true });
  }
}

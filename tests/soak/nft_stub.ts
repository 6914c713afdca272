/**
 * An `nft` in front of the real one, which does what a file says at its start: pass, or fail in one
 * of several ways. Contract: it becomes the real one (exec), so that who kills it kills nft. To refuse
 * batches it leaves that to the kernel: it adds a command to them that is refused as busy, the deletion
 * of a chain that is in use.
 */

/** What the stub does. */
export type NftMode = "pass" | "fail" | "die" | "hang" | "refuse";

/** One batch in so many is refused. */
const REFUSED_EACH = 4;

/** The chain that rules.nft jumps to. */
const BUSY = "delete chain inet dotp guard";

/** The stub, in a directory of its own. */
export class NftStub {
  readonly #modeFile: string;
  /** The environment in which it is found. */
  readonly env: Readonly<Record<string, string>>;

  private constructor(directory: string, path: string) {
    this.#modeFile = `${directory}/mode`;
    this.env = { PATH: `${directory}:${path}` };
  }

  /** Writes it into a directory, to pass. */
  static async make(directory: string): Promise<NftStub> {
    const path = Deno.env.get("PATH") ?? "";
    const stub = new NftStub(directory, path);
    await stub.set("pass");
    const script = `#!/bin/bash
PATH="${path}"
read -r mode < ${stub.#modeFile}
unlucky() { read -r mode < ${stub.#modeFile}; [ "$mode" = refuse ] && ((RANDOM % ${REFUSED_EACH} == 0)); }
# A line is a batch; the marks between batches pass.
lines() {
  while IFS= read -r line; do
    case $line in *element*) unlucky && line="$line;${BUSY}";; esac
    printf '%s\\n' "$line"
  done
}
batch() { cat; unlucky && echo "${BUSY}"; }
case $mode in
  fail) echo "Error: Could not process rule: Out of memory" >&2; exit 1;;
  die) kill -KILL $$;;
  hang) exec sleep 1000;;
  refuse)
    # What feeds nft must not hold its output, which is over when nft is.
    case $1 in
      -i) exec nft "$@" < <(exec 2> /dev/null; lines);;
      -f) exec nft "$@" < <(exec 2> /dev/null; batch);;
    esac;;
esac
exec nft "$@"
`;
    await Deno.writeTextFile(`${directory}/nft`, script, { mode: 0o755 });
    return stub;
  }

  /** Says what the next nft does; those that run go on, but for what they refuse. */
  async set(mode: NftMode): Promise<void> {
    // In one step, so that no stub reads half a word.
    await Deno.writeTextFile(`${this.#modeFile}.new`, `${mode}\n`);
    await Deno.rename(`${this.#modeFile}.new`, this.#modeFile);
  }
}

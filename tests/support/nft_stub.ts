/**
 * An `nft` in front of the real one, which does what a file says at its start: pass, or fail in one
 * of several ways. Contract: where it passes it becomes the real one (exec), so that who kills it kills
 * nft.
 */

/** What the stub does. */
export type NftMode =
  | "pass"
  /** Ends at its start, with an error or by a signal. */
  | "fail"
  | "die"
  /** Never ends; with a child that outlives it and holds its pipes. */
  | "hang"
  | "hang with a child"
  /** Does everything but list, which never ends. */
  | "hang when it lists"
  /** Has the kernel refuse some batches: adds a command that it refuses as busy. */
  | "refuse some"
  /** An nft without `-i`; so are those below, which get each transaction as a whole. */
  | "no -i"
  | "busy"
  | "too long"
  | "refuse one";

/** Octets of a transaction from which it is too long. */
const TOO_LONG = 700;

/** One batch in so many is refused. */
const REFUSED_EACH = 4;

/** Cannot be done, as rules.nft jumps to the chain. */
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

  /**
   * Writes it into a directory, to pass.
   *
   * @param refused what is in a transaction that "refuse one" refuses
   */
  static async make(directory: string, refused = ""): Promise<NftStub> {
    const path = Deno.env.get("PATH") ?? "";
    const stub = new NftStub(directory, path);
    await stub.set("pass");
    const script = `#!/bin/bash
PATH="${path}"
read -r mode < ${stub.#modeFile}
unlucky() { read -r mode < ${stub.#modeFile}; [ "$mode" = "refuse some" ] && ((RANDOM % ${REFUSED_EACH} == 0)); }
# A line is a batch; the marks between batches pass.
lines() {
  while IFS= read -r line; do
    case $line in *element*) unlucky && line="$line;${BUSY}";; esac
    printf '%s\\n' "$line"
  done
}
batch() { cat; unlucky && echo "${BUSY}"; }
refuse() { echo "Error: Could not process rule: $1" >&2; exit 1; }
case $mode in
  pass) exec nft "$@";;
  fail) refuse "Out of memory";;
  die) kill -KILL $$;;
  hang) exec sleep 1000;;
  "hang with a child") sleep 1000; exit 1;;
  "hang when it lists")
    case "$*" in *list*) exec sleep 1000;; esac
    exec nft "$@";;
  "refuse some")
    # What feeds nft must not hold its output, which is over when nft is.
    case $1 in
      -i) exec nft "$@" < <(exec 2> /dev/null; lines);;
      -f) exec nft "$@" < <(exec 2> /dev/null; batch);;
    esac
    exec nft "$@";;
esac
case $1 in
  -i) echo "nft: interactive CLI not supported in this build" >&2; exit 1;;
  -f) script=$(cat);;
  *) exec nft "$@";;
esac
case $mode in
  busy) refuse "Device or resource busy";;
  "too long") [ \${#script} -gt ${TOO_LONG} ] && refuse "Message too long";;
  "refuse one") case $script in *"${refused}"*) refuse "Invalid argument";; esac;;
esac
nft -f - <<< "$script"
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

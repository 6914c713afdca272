/**
 * Completions for bash, zsh and fish, made from the tables of options and commands in `options.ts`.
 *
 * They complete what those tables know: options, commands, the values that are a choice of a few, and
 * paths. They run no program, dotp itself neither, and need nothing but the shell (no bash-completion).
 * Descriptions are quoted for the shell that reads them.
 *
 * @module
 */
import { COMMANDS, describe, type Option, OPTIONS, type Shell } from "./options.ts";

/** A script that the shell reads, by a package's file or by `source`. */
export function completions(shell: Shell): string {
  const lines = { bash: bashLines, zsh: zshLines, fish: fishLines }[shell]();
  return [...lines, ""].join("\n");
}

/** What stands in place of a path. */
const PATH_VALUE = "PATH";

const COMMAND_NAMES = COMMANDS.map(({ name }) => name);

function bashLines(): string[] {
  const flags = OPTIONS.flatMap((option) => flagsOf(option)).join(" ");
  const chosen = OPTIONS.filter(({ choices }) => choices !== undefined);
  const paths = OPTIONS.filter(({ value }) => value === PATH_VALUE);
  const free = OPTIONS.filter(({ value, choices }) => {
    return value !== undefined && value !== PATH_VALUE && choices === undefined;
  });
  const patternOf = (options: readonly Option[]) => options.flatMap(flagsOf).join("|");
  const choose = (words: readonly string[]) =>
    `mapfile -t COMPREPLY < <(compgen -W "${words.join(" ")}" -- "$cur")`;
  return [
    "# bash completion for dotp; made by: dotp completions bash",
    "_dotp() {",
    "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} word command=",
    "  COMPREPLY=()",
    "  # bash takes --option=value for three words.",
    '  if [[ $cur == "=" ]]; then cur=',
    '  elif [[ $prev == "=" ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}',
    "  fi",
    "  case $prev in",
    ...chosen.map((option) =>
      `    ${patternOf([option])}) ${choose(option.choices ?? [])}; return ;;`
    ),
    `    ${patternOf(paths)}) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;`,
    `    ${patternOf(free)}) return ;;`,
    "  esac",
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    `    case $word in ${COMMAND_NAMES.join("|")}) command=$word ;; esac`,
    "  done",
    `  if [[ $cur == -* ]]; then ${choose([flags])}`,
    `  elif [[ -z $command ]]; then ${choose(COMMAND_NAMES)}`,
    "  else case $command in",
    ...COMMANDS.filter(({ choices }) => choices !== undefined)
      .map(({ name, choices }) => `    ${name}) ${choose(choices ?? [])} ;;`),
    "    esac",
    "  fi",
    "}",
    "complete -F _dotp dotp",
  ];
}

function zshLines(): string[] {
  const options = OPTIONS.map((option) => {
    const { short, name, value } = option;
    const names = flagsOf(option);
    // One that may come again does not shut itself out.
    const before = option.isRepeatable ? "'*'" : names.length > 1 ? `'(${names.join(" ")})'` : "";
    const forms = [
      ...(short === undefined ? [] : [value === undefined ? `-${short}` : `-${short}+`]),
      value === undefined ? `--${name}` : `--${name}=`,
    ];
    const form = forms.length > 1 ? `{${forms.join(",")}}` : forms.join("");
    const text = `[${zshText(describe(option))}]${zshValue(option)}`;
    return `    ${before}${form}${quoted(text)} \\`;
  });
  const commands = COMMANDS.map(({ name, help }) => `      ${quoted(`${name}:${help}`)}`);
  const choices = COMMANDS.flatMap(({ name, choices }) => {
    if (choices === undefined) return [];
    return [`        ${name}) compadd -- ${choices.join(" ")} && found=0 ;;`];
  });
  return [
    "#compdef dotp",
    "# zsh completion for dotp; made by: dotp completions zsh",
    "_dotp() {",
    '  local curcontext="$curcontext" state line found=1',
    "  typeset -A opt_args",
    "  local -a commands",
    "  commands=(",
    ...commands,
    "  )",
    "  _arguments -s -S -C \\",
    ...options,
    "    '1: :->command' \\",
    "    '*: :->value' && found=0",
    "  case $state in",
    "    command) _describe command commands && found=0 ;;",
    "    value)",
    "      case $line[1] in",
    ...choices,
    "      esac ;;",
    "  esac",
    "  return found",
    "}",
    "# As a file in fpath it is the function's body; sourced, it says whose completion it is.",
    'if [[ $funcstack[1] == _dotp ]]; then _dotp "$@"; else compdef _dotp dotp; fi',
  ];
}

function fishLines(): string[] {
  const seen = `__fish_seen_subcommand_from ${COMMAND_NAMES.join(" ")}`;
  return [
    "# fish completion for dotp; made by: dotp completions fish",
    "complete -c dotp -f",
    ...OPTIONS.map((option) => {
      const { short, name, value, choices, command } = option;
      return [
        "complete -c dotp",
        ...(command === undefined ? [] : [`-n '__fish_seen_subcommand_from ${command}'`]),
        ...(short === undefined ? [] : [`-s ${short}`]),
        `-l ${name}`,
        ...(value === undefined ? [] : [value === PATH_VALUE ? "-r -F" : "-x"]),
        ...(choices === undefined ? [] : [`-a '${choices.join(" ")}'`]),
        `-d ${fishQuoted(describe(option))}`,
      ].join(" ");
    }),
    ...COMMANDS.map(({ name, help }) =>
      `complete -c dotp -n 'not ${seen}' -a ${name} -d ${fishQuoted(help)}`
    ),
    ...COMMANDS.flatMap(({ name, choices }) => {
      return choices === undefined
        ? []
        : [`complete -c dotp -n '__fish_seen_subcommand_from ${name}' -a '${choices.join(" ")}'`];
    }),
  ];
}

/** An option as it is typed, the short form first. */
function flagsOf({ name, short }: Option): string[] {
  return short === undefined ? [`--${name}`] : [`-${short}`, `--${name}`];
}

/** What zsh's _arguments is told of a value. */
function zshValue({ value, choices }: Option): string {
  if (value === undefined) return "";
  if (choices !== undefined) return `:${value}:(${choices.join(" ")})`;
  return value === PATH_VALUE ? `:${value}:_files` : `:${value}: `;
}

/** A text between brackets. */
function zshText(text: string): string {
  return text.replace(/[[\]\\:]/g, "\\$&");
}

/** A word that bash and zsh take as it is. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A word that fish takes as it is. */
function fishQuoted(text: string): string {
  return `'${text.replace(/['\\]/g, "\\$&")}'`;
}

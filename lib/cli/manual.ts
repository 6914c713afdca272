/**
 * The manual page dotp(8), in roff with the macros of man(7). Options and commands come from the
 * tables in `options.ts`; the rest is prose that stands here.
 *
 * Prose is written as plain text: `text` escapes what roff would act on, so a line break, a dot or a
 * backslash in it is never a command.
 *
 * @module
 */
import { COMMANDS, type CommandWord, describe, type Option, OPTIONS } from "./options.ts";
import { PROGRAMS } from "../check/programs.ts";

/** Characters of a line of prose, before anything in it is escaped. */
const LINE_LENGTH = 72;
/** The day on which the page was last changed by hand. */
const DATE = "2026-11-24";

/**
 * The page.
 *
 * @param version of dotp
 */
export function manual(version: string): string {
  return [
    `.TH DOTP 8 ${DATE} "dotp ${version}" "System Administration"`,
    // A command or an option that is broken at a hyphen cannot be copied.
    ".nh",
    ".SH NAME",
    "dotp \\- DNS proxy that answers with fake addresses, for nftables to translate",
    ".SH SYNOPSIS",
    ...synopsis(),
    ".SH DESCRIPTION",
    ...description(),
    ".SH OPTIONS",
    ...OPTIONS.flatMap((option) => entry(flagsOf(option), describe(option))),
    ".SH COMMANDS",
    ...COMMANDS.flatMap((command) => entry(commandWords(command), command.help)),
    ...commandsText(),
    ".SH EXIT STATUS",
    ...EXIT_STATUS.flatMap(([status, meaning]) => entry(`\\fB${status}\\fR`, meaning)),
    ".SH DOMAIN FILES",
    ...domainFiles(),
    ".SH SIGNALS",
    ...entry("\\fBSIGINT\\fR, \\fBSIGTERM\\fR", ENDING),
    ...entry("\\fBSIGHUP\\fR", READING_AGAIN),
    ".SH FILES",
    ...FILES.flatMap(([path, use]) => entry(`\\fI${text(path)}\\fR`, use)),
    ...paragraph(
      "dotp reads no other file but those given with --domain-file, and writes none but --pid-file. It runs these programs:",
    ),
    ...PROGRAMS.flatMap(({ name, use }) => entry(`\\fB${text(name)}\\fR`, use)),
    ".SH EXAMPLES",
    ...EXAMPLES.flatMap(([what, ...commands], i) => [
      ...(i === 0 ? lines(what) : paragraph(what)),
      ".RS 4",
      ".nf",
      ...commands.map(text),
      ".fi",
      ".RE",
    ]),
    ".SH SEE ALSO",
    SEE_ALSO.map(([name, section]) => `.BR ${text(name)} (${section})`).join(" ,\n"),
    "",
  ].join("\n");
}

const DESCRIPTION = [
  "dotp is a DNS proxy for a Linux gateway. For the domains that are chosen with --domain it puts " +
  "fake addresses, IPv4 and IPv6, in the place of the real ones, and tells nftables which real " +
  "address each fake stands for. The kernel translates the traffic, so it can be routed, marked or " +
  "sent through a tunnel by one prefix; dotp sees only DNS.",
  "A fake is in the kernel before the reply that holds it leaves, and stays there for --nat-ttl " +
  "seconds from the last answer with it. The TTL that a client sees is at most half of that. The same real " +
  "address gets the same fake again, after it has expired and after a restart.",
  "The nft table must be there: rules.nft makes it, with the sets nat_addr and nat_addr6 of real " +
  "addresses and the maps nat_map and nat_map6 from fake to real. dotp needs the capabilities " +
  "CAP_NET_ADMIN and, for a port below 1024, CAP_NET_BIND_SERVICE.",
];

const EXIT_STATUS: readonly [string, string][] = [
  ["0", "It was asked to end, or has printed what it was asked for; check: all is well."],
  ["1", "It cannot start; check: something may go wrong (a warning)."],
  ["2", "The command line is wrong; check: that, or something does not work (an error)."],
];

const ENDING =
  "End within a second, with exit status 0. The mappings stay in the kernel, and the " +
  "next dotp takes them over.";

const DOMAIN_FILES = [
  "A line of a domain file holds a name: NAME, also with *. or a dot before it, for this name and all " +
  "below it, !NAME to except it and all below it, =NAME for exactly this name, or a single dot for every " +
  "name. The most specific rule decides. Lines of a hosts file count with their names, those of dnsmasq " +
  "with the names between slashes; what comes after # and a blank is a comment. Internationalised " +
  "names are turned into A-labels.",
  "A line that is none of these is skipped, and the log says which and why; with --domain-file-strict " +
  "the file is refused.",
];

const READING_AGAIN =
  "Read the domain files again. The new rules are in force at once and all together; if a file cannot " +
  "be read, those in force stay and the log says why. Mappings stay in any case.";

const FILES: readonly [string, string][] = [
  ["/etc/dotp/rules.nft", "What the kernel does with the fakes; to be loaded before dotp starts."],
  ["/etc/dotp/dotp.env", "The options of the service, where it was installed by install.sh."],
];

const EXAMPLES: readonly [what: string, ...commands: string[]][] = [
  [
    "Give fakes for two domains and all below them:",
    "nft -f /etc/dotp/rules.nft",
    "dotp -H 192.168.1.1 -4 198.18.0.0/15 -6 2001:2::/48 \\",
    "  --upstream-host 9.9.9.9 -d example.com -d example.org",
  ],
  [
    "Look whether that would work, and print only what is not well:",
    "dotp check -H 192.168.1.1 -4 198.18.0.0/15 -6 2001:2::/48 \\",
    "  --upstream-host 9.9.9.9 -d example.com | grep -v ^ok",
  ],
  [
    "Load the rules for other prefixes than those of rules.nft:",
    "dotp rules -4 100.64.0.0/24 -6 fd00::/64 | nft -f -",
  ],
  ["Which real address does a fake stand for?", "nft list map inet dotp nat_map"],
];

const SEE_ALSO: readonly [name: string, section: number][] = [
  ["conntrack", 8],
  ["ip", 8],
  ["nft", 8],
  ["ss", 8],
];

function synopsis(): string[] {
  const required = OPTIONS.filter(({ isRequired }) => isRequired)
    .map(({ short, name, value }) => {
      return `\\fB${text(short === undefined ? `--${name}` : `-${short}`)}\\fR \\fI${value}\\fR`;
    });
  const usual = [...required, "[\\fB\\-d\\fR \\fIDOMAIN\\fR]...", "[\\fIoptions\\fR]"].join(" ");
  return [
    `\\fBdotp\\fR ${usual}`,
    ".br",
    `\\fBdotp check\\fR [\\fITOPIC\\fR]... ${usual} [\\fB\\-\\-json\\fR]`,
    ...COMMANDS.filter(({ name }) => name !== "check").flatMap(({ name, choices, options }) => [
      ".br",
      `\\fBdotp ${name}\\fR${
        choices === undefined ? "" : ` \\fB${choices.join("\\fR|\\fB")}\\fR`
      }` +
      (options === "optional" ? " [\\fIoptions\\fR]" : ""),
    ]),
  ];
}

function domainFiles(): string[] {
  const [first = "", ...more] = DOMAIN_FILES;
  return [...lines(first), ...more.flatMap(paragraph)];
}

function commandWords({ name, value, isRepeatable, isOptional }: CommandWord): string {
  if (value === undefined) return `\\fB${name}\\fR`;
  const word = isRepeatable || isOptional ? `[\\fI${value}\\fR]` : `\\fI${value}\\fR`;
  return `\\fB${name}\\fR ${word}${isRepeatable ? "..." : ""}`;
}

function description(): string[] {
  const [first = "", ...more] = DESCRIPTION;
  return [...lines(first), ...more.flatMap(paragraph)];
}

function commandsText(): string[] {
  return [
    ...paragraph(
      "check takes the options that dotp would be started with and prints a line for each thing it " +
        "has looked at: ok, warning or error, what is, and what to do about it. It looks at nft and " +
        "the table with its sets, maps and rules, at forwarding and reverse path filtering, at " +
        "addresses and routes that overlap the prefixes, at the port, and at the upstream. It changes " +
        "nothing, and a dotp that is running goes on. With one or more topics it looks at these only. " +
        "With --json it prints one object: level, the worst of all, and findings, each with subject, " +
        "level, what and, where there is something to do, advice.",
    ),
    ...paragraph(
      "rules and unit print what install.sh installs. They take the same options, of which none is " +
        "required; rules uses --table, the two prefixes and --lan, unit --program.",
    ),
  ];
}

/** A paragraph with something that it is about hanging out to the left; the head is roff already. */
function entry(head: string, body: string): string[] {
  return [".TP", head, ...lines(body)];
}

function paragraph(body: string): string[] {
  return [".PP", ...lines(body)];
}

function flagsOf({ name, short, value }: Option): string {
  const flags = [...(short === undefined ? [] : [`-${short}`]), `--${name}`]
    .map((flag) => `\\fB${text(flag)}\\fR`).join(", ");
  return value === undefined ? flags : `${flags} \\fI${value}\\fR`;
}

/** Plain text as lines of roff, none too long for an editor. */
function lines(body: string): string[] {
  const broken: string[] = [""];
  for (const word of body.split(" ")) {
    const line = broken.at(-1)!;
    if (line === "") broken[broken.length - 1] = word;
    else if (line.length + word.length < LINE_LENGTH) broken[broken.length - 1] = `${line} ${word}`;
    else broken.push(word);
  }
  return broken.map(text);
}

/** Plain text as roff: hyphens that can be copied, no escapes, no request at the start of a line. */
function text(plain: string): string {
  const escaped = plain.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("^", "\\(ha")
    .replaceAll("~", "\\(ti").replaceAll("`", "\\(ga").replaceAll("'", "\\(aq");
  return escaped.replace(/^\./, "\\&.");
}

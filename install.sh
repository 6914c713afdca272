#!/bin/sh
# install.sh: installs, upgrades and removes dotp on a Linux gateway. `sh install.sh --help` tells how.
#
# Everything that can be wrong is found before anything is changed: the options, the port and the
# prefixes are judged by the very dotp that is to be installed. A file is replaced whole or not at all,
# and only one that install.sh wrote; a second run changes nothing. Variables: DOTP_REPO, the repository
# whose releases are installed; DESTDIR, a staging root, with which neither nft nor a service is
# touched; PREFIX.
#
# All of it is functions, and the last line calls the first, so a copy that was cut on its way
# through a pipe does nothing.

set -eu

# The Deno that --from-source gets from npm where there is none.
DENO_VERSION=2.9.6
DENO_MINOR_MIN=9

# Sets that rules.nft makes hold as many fakes as this prefix length has; a longer one has fewer.
RULES_LENGTH4=15
# What dotp keeps at most of one IP version.
MAPPINGS_MAX=262144

ETC=/etc/dotp
ENV_FILE=$ETC/dotp.env
RULES_FILE=$ETC/rules.nft
# Which prefix dotp was installed to, what was written, each with its checksum, and which directories
# were made for it.
STATE_FILE=$ETC/.installed
UNIT=dotp.service
TABLE_UNIT=dotp-table.service

main() {
	umask 022
	# Where only root has the system's directories on the PATH.
	PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
	unset CDPATH
	export LC_ALL=C NO_COLOR=1
	work='' half='' changed=no rules_changed=no
	trap 'clean_up' EXIT
	trap 'exit 129' HUP
	trap 'exit 130' INT
	trap 'exit 143' TERM
	read_options "$@"
	if [ "$action" = help ]; then
		usage
		return
	fi
	set_places
	"${action}_dotp"
}

usage() {
	cat <<'EOF'
Usage: install.sh --host ADDRESS --upstream-host ADDRESS [-d DOMAIN]... [options]
       install.sh --uninstall | --purge

Installs or upgrades dotp: the program, its nftables rules, its settings, a systemd service, the
man page dotp(8) and completions for bash, zsh and fish.
An upgrade needs no options: it keeps what /etc/dotp/dotp.env says.

Where dotp comes from:
                          the newest release of DOTP_REPO (OWNER/NAME), checksum verified
      --binary FILE       this executable
      --from-source       the checkout that install.sh lies in, and Deno, from npm where missing
      --rules FILE        this rules.nft in place of the one that the program prints

Settings, for /etc/dotp/dotp.env:
  -H, --host ADDRESS      address to listen on, the gateway's in its LAN (required the first time)
  -p, --port PORT         UDP port to listen on (53)
  -4, --ipv4-prefix PREFIX  where fake IPv4 addresses are taken from (198.18.0.0/15)
  -6, --ipv6-prefix PREFIX  where fake IPv6 addresses are taken from (2001:2::/48)
      --upstream-host ADDRESS  the DNS server to ask (required the first time)
      --upstream-port PORT  its UDP port (53)
  -d, --domain DOMAIN     give fakes for this name and all below it (may be repeated)
      --private-reals CHOICE  what becomes of private real addresses: map, pass or refuse (pass)

What to do:
      --start             enable and start the service too, where systemd runs
      --dry-run           print each step and do none
      --uninstall         remove what install.sh wrote, and the nft table; the configuration stays
      --purge             remove the configuration as well
      --prefix DIRECTORY  install below this directory (/usr/local; also the variable PREFIX)
  -h, --help              print this

The variable DESTDIR names a staging root: files go below it, and nothing else is touched.
EOF
}

say() { printf '%s\n' "$*"; }
warn() { printf 'install.sh: warning: %s\n' "$*" >&2; }

# One line, for what is wrong with the machine.
fail() {
	printf 'install.sh: %s\n' "$*" >&2
	exit 1
}

# One line, for what is wrong with the command line.
misuse() {
	printf 'install.sh: %s\n' "$*" >&2
	exit 2
}

clean_up() {
	if [ -n "$half" ]; then rm -f "$half"; fi
	if [ -n "$work" ]; then rm -rf "$work"; fi
}

has() { command -v "$1" >/dev/null 2>&1; }

# Prints a step and tells whether to do it.
step() {
	if [ "$dry_run" = yes ]; then
		say "would $*"
		return 1
	fi
	say "$*"
}

# ---- The command line

read_options() {
	action=install start=no dry_run=no source=release
	opt_prefix='' opt_rules='' binary='' opt_host='' opt_port='' opt_prefix4='' opt_prefix6=''
	opt_upstream='' opt_upstream_port='' opt_domains='' opt_private=''
	install_option='' env_option='' rules_option='' uninstall=no purge=no
	while [ $# -gt 0 ]; do
		option=$1
		shift
		case $option in
		--*=*)
			value=${option#*=}
			option=${option%%=*}
			given=inline
			;;
		*)
			value=${1-}
			if [ $# -gt 0 ]; then given=next; else given=no; fi
			;;
		esac
		case $option in
		--binary | --rules | --prefix | -H | --host | -p | --port | -4 | --ipv4-prefix | -6 | \
			--ipv6-prefix | --upstream-host | --upstream-port | -d | --domain | --private-reals)
			take_value
			if [ "$given" = next ]; then shift; fi
			;;
		--from-source | --start | --dry-run | --uninstall | --purge | -h | --help)
			if [ "$given" = inline ]; then misuse "$option takes no value"; fi
			take_switch
			;;
		-*) misuse "$option is not an option of install.sh: see --help" ;;
		*) misuse "\"$option\" is not an option: see --help" ;;
		esac
	done
	if [ "$action" = help ]; then return; fi
	if [ "$uninstall" = yes ]; then
		if [ -n "$install_option" ]; then misuse "$install_option does not go with --uninstall"; fi
		action=uninstall
	fi
}

take_value() {
	case $given$value in
	no | next-* | inline | next) misuse "$option has no value: see --help" ;;
	*'
'*) misuse "$option: a value is one line" ;;
	*) ;;
	esac
	case $option in
	--prefix) ;;
	--binary | --rules) install_option=$option ;;
	*)
		install_option=$option
		check_plain
		;;
	esac
	case $option in
	--binary) set_source binary && binary=$value ;;
	--rules) opt_rules=$value ;;
	--prefix) opt_prefix=$value ;;
	-H | --host) opt_host=$value env_option=$option ;;
	-p | --port) opt_port=$value env_option=$option ;;
	-4 | --ipv4-prefix) opt_prefix4=$value env_option=$option rules_option=$option ;;
	-6 | --ipv6-prefix) opt_prefix6=$value env_option=$option rules_option=$option ;;
	--upstream-host) opt_upstream=$value env_option=$option ;;
	--upstream-port) opt_upstream_port=$value env_option=$option ;;
	--private-reals) opt_private=$value env_option=$option ;;
	*)
		opt_domains="$opt_domains${opt_domains:+ }-d $value"
		env_option=$option
		;;
	esac
}

take_switch() {
	case $option in
	--from-source) set_source checkout ;;
	--start) start=yes ;;
	--dry-run) dry_run=yes ;;
	--uninstall) uninstall=yes ;;
	--purge) uninstall=yes purge=yes ;;
	*) action=help ;;
	esac
	case $option in
	--from-source | --start) install_option=$option ;;
	*) ;;
	esac
}

set_source() {
	if [ "$source" != release ] && [ "$source" != "$1" ]; then
		misuse "--binary and --from-source exclude each other: give one"
	fi
	source=$1
}

# A setting goes into a file that systemd and a shell read: nothing that means something to them gets
# through. Whether it makes sense is for dotp to say.
check_plain() {
	case $value in
	*[[:space:][:cntrl:]]* | *[\'\"\`\$\\]* | *[';&|<>(){}#~?*[']* | *']'*)
		misuse "$option \"$value\" is not valid: see --help"
		;;
	*) ;;
	esac
}

# ---- Places

set_places() {
	DESTDIR=${DESTDIR-}
	DESTDIR=${DESTDIR%/}
	prefix=${opt_prefix:-${PREFIX-}}
	if [ -z "$prefix" ]; then prefix=$(recorded prefix); fi
	prefix=${prefix:-/usr/local}
	prefix=${prefix%/}
	case $prefix in
	'' | *[!A-Za-z0-9/._+-]* | *..* | *//*) bad_prefix ;;
	/*) ;;
	*) bad_prefix ;;
	esac
	program=$prefix/bin/dotp
	library=$prefix/lib/dotp
	own_deno=$library/deno
	# systemd looks below /usr and /usr/local itself; /etc is the admin's, so it is the last choice.
	case $prefix in
	/usr | /usr/local) units=$prefix/lib/systemd/system ;;
	*) units=/etc/systemd/system ;;
	esac
	unit_file=$units/$UNIT
	table_unit_file=$units/$TABLE_UNIT
	# Where man and the shells look by themselves.
	share=$prefix/share
	man_page=$share/man/man8/dotp.8
	bash_completion=$share/bash-completion/completions/dotp
	zsh_completion=$share/zsh/site-functions/_dotp
	fish_completion=$share/fish/vendor_completions.d/dotp.fish
	pages="$man_page $bash_completion $zsh_completion $fish_completion"
	read_manifest
	# The checkout this script lies in; none where it came through a pipe.
	checkout=''
	case $0 in
	*install.sh)
		checkout=$(cd "$(dirname "$0")" && pwd) || checkout=''
		if [ ! -f "$checkout/deno.json" ] && [ ! -f "$checkout/rules.nft" ]; then checkout=''; fi
		;;
	*) ;;
	esac
}

bad_prefix() {
	misuse "--prefix \"$prefix\": give an absolute path of letters, digits and ._+-, not /"
}

# What the state file says about a key.
recorded() {
	if [ -f "$DESTDIR$STATE_FILE" ]; then sed -n "s|^$1=||p" "$DESTDIR$STATE_FILE"; fi
}

# ---- What was written: a line "CHECKSUM PATH" for each file, kept in the state file

read_manifest() {
	manifest=$(recorded file)
	# Before there was a list, what lies in dotp's places and is dotp's was written by install.sh.
	if [ -n "$manifest" ] || [ "$(recorded prefix)" != "$prefix" ]; then return; fi
	for each in "$program" "$own_deno" "$unit_file" $pages; do
		if [ -f "$DESTDIR$each" ] && { [ "$each" = "$own_deno" ] || looks_own "$each"; }; then
			manifest_add "$(checksum "$DESTDIR$each") $each"
		fi
	done
}

# The program, its unit, its man page and its completions all name this option.
looks_own() { grep -q 'upstream\\\{0,1\}-host' "$DESTDIR$1"; }

checksum() { sha256sum <"$1" | cut -d ' ' -f 1; }

# Whether a file is there as install.sh wrote it.
is_own() {
	[ -f "$DESTDIR$1" ] && [ ! -L "$DESTDIR$1" ] &&
		printf '%s\n' "$manifest" | grep -Fxq "$(checksum "$DESTDIR$1") $1"
}

# Whether one was written there, whatever has become of it.
is_listed() { printf '%s\n' "$manifest" | cut -c 66- | grep -Fxq "$1"; }

manifest_add() {
	manifest="$manifest${manifest:+
}$1"
}

# PATH [CHECKSUM]; forgets what was written to a path, but for what has this checksum.
manifest_forget() {
	manifest=$(printf '%s\n' "$manifest" | awk -v path="$1" -v but="${2-}" '
		$0 != "" && (substr($0, 66) != path || substr($0, 1, 64) == but)')
}

# ---- Settings: options first, then what dotp.env says, then the defaults

read_settings() {
	host=$(setting "$opt_host" DOTP_HOST '')
	port=$(setting "$opt_port" DOTP_PORT 53)
	prefix4=$(setting "$opt_prefix4" DOTP_IPV4_PREFIX 198.18.0.0/15)
	prefix6=$(setting "$opt_prefix6" DOTP_IPV6_PREFIX 2001:2::/48)
	upstream=$(setting "$opt_upstream" DOTP_UPSTREAM_HOST '')
	upstream_port=$(setting "$opt_upstream_port" DOTP_UPSTREAM_PORT 53)
	more=$(setting "$opt_domains" DOTP_OPTIONS '')
	# An installation from before there was this setting goes on as it was.
	private=pass private_before=no
	if in_env DOTP_HOST && ! in_env DOTP_PRIVATE_REALS && [ -z "$opt_private" ]; then
		private=map private_before=yes
	fi
	private=$(setting "$opt_private" DOTP_PRIVATE_REALS "$private")
	# A package leaves the two addresses to whoever installs it.
	if [ -z "$host" ] && [ -z "$DESTDIR" ]; then
		misuse "--host is missing: give --host ADDRESS, the gateway's address in its LAN"
	fi
	if [ -z "$upstream" ] && [ -z "$DESTDIR" ]; then
		misuse "--upstream-host is missing: give --upstream-host ADDRESS, the DNS server to ask"
	fi
}

# OPTION VARIABLE DEFAULT
setting() {
	if [ -n "$1" ]; then
		printf '%s\n' "$1"
	elif in_env "$2"; then
		env_value "$2"
	else
		printf '%s\n' "$3"
	fi
}

in_env() { [ -f "$DESTDIR$ENV_FILE" ] && grep -q "^$1=" "$DESTDIR$ENV_FILE"; }

env_value() {
	sed -n "s/^$1=//p" "$DESTDIR$ENV_FILE" | sed -n '$p' |
		sed -e 's/[[:space:]]*$//' -e "s/^\"\\(.*\\)\"\$/\\1/" -e "s/^'\\(.*\\)'\$/\\1/"
}

# COMMAND WORD...; runs dotp with a command and the settings. What it prints is in the file asked, what
# it says is wrong in said.
ask_program() {
	set -- "$@" -p "$port" -4 "$prefix4" -6 "$prefix6" --upstream-port "$upstream_port" \
		--private-reals "$private"
	if [ -n "$host" ]; then set -- "$@" -H "$host"; fi
	if [ -n "$upstream" ]; then set -- "$@" --upstream-host "$upstream"; fi
	# As systemd does it: split at spaces, and quotes hold together.
	words=$(printf '%s\n' "$more" | xargs printf '%s\n' 2>"$work/said") ||
		fail "DOTP_OPTIONS in $ENV_FILE: $(first_line "$(cat "$work/said")")"
	while read -r each; do
		if [ -n "$each" ]; then set -- "$@" "$each"; fi
	done <<EOF
$words
EOF
	try_program "$@" >"$work/asked" 2>"$work/said" || :
	said=$(first_line "$(cat "$work/said")")
}

# Ends with what dotp says of an option: it was given, or it stands in dotp.env.
refuse_setting() {
	case $said in
	'dotp: --'*) said=${said#dotp: } ;;
	*) return ;;
	esac
	case ${said%% *} in
	--host) given=$opt_host variable=DOTP_HOST ;;
	--port) given=$opt_port variable=DOTP_PORT ;;
	--ipv4-prefix) given=$opt_prefix4 variable=DOTP_IPV4_PREFIX ;;
	--ipv6-prefix) given=$opt_prefix6 variable=DOTP_IPV6_PREFIX ;;
	--upstream-host) given=$opt_upstream variable=DOTP_UPSTREAM_HOST ;;
	--upstream-port) given=$opt_upstream_port variable=DOTP_UPSTREAM_PORT ;;
	--private-reals) given=$opt_private variable=DOTP_PRIVATE_REALS ;;
	*) given=$opt_domains variable='' ;;
	esac
	if [ -n "$given" ]; then misuse "$said"; fi
	if [ -z "$variable" ]; then fail "DOTP_OPTIONS in $ENV_FILE: $said"; fi
	fail "$variable in $ENV_FILE: ${said#* }"
}

# SUBJECT LEVEL; what dotp has found about it, a line each.
findings() {
	tr '{' '\n' <"$work/asked" | sed -n \
		-e "s/^\"subject\":\"$1\",\"level\":\"$2\",\"what\":\"\\(.*\\)\",\"advice\":\"\\(.*\\)\"}.*/\\1: \\2/" \
		-e 't found' -e d -e ':found' -e 's/\\"/"/g' -e p
}

# Has dotp judge the settings, and where they are for this machine, whether somebody else has the port
# and whether the prefixes are in use. Those that dotp has already are its own.
check_settings() {
	if [ "$can_run" = no ]; then return; fi
	if [ -z "$host" ] || [ -z "$upstream" ]; then
		ask_program rules
	else
		ask_program check prefixes port --json
	fi
	refuse_setting
	if [ -n "$DESTDIR" ] || [ "$(id -u)" -ne 0 ]; then return; fi
	if ! is_kept DOTP_IPV4_PREFIX "$prefix4" || ! is_kept DOTP_IPV6_PREFIX "$prefix6"; then
		problem=$(first_line "$(findings overlap '[a-z]*')")
		if [ -n "$problem" ]; then fail "$problem"; fi
	fi
	problem=$(first_line "$(findings port error)")
	holder=$(printf '%s\n' "$problem" | sed -n 's/.*, process \([0-9]*\).*/\1/p')
	case $problem in
	'') ;;
	*' is taken'*) if [ -z "$holder" ] || ! is_dotp "$holder"; then fail "$problem"; fi ;;
	# An address that is not there yet.
	*) warn "$problem" ;;
	esac
}

# VARIABLE VALUE; whether a setting stays as it is.
is_kept() { in_env "$1" && [ "$(env_value "$1")" = "$2" ]; }

# ---- Checks, before anything is changed

check_machine() {
	[ "$(uname -s)" = Linux ] || fail "this is no Linux: dotp needs nftables, which only Linux has"
	machine=$(uname -m)
	case $machine in
	x86_64 | amd64) machine=x86_64 ;;
	aarch64 | arm64) machine=aarch64 ;;
	*) fail "there is no dotp for $machine: it runs on x86_64 and aarch64" ;;
	esac
	for each in sha256sum awk sed xargs; do
		has "$each" || fail "$each is missing: install it (coreutils, gawk, sed, findutils, or busybox)"
	done
	if [ -n "$DESTDIR" ]; then return; fi
	check_root
	has nft || fail "nft is missing: install it (apt-get install nftables, or as your system does it)"
	if [ "$(id -u)" -eq 0 ]; then
		problem=$(nft list tables 2>&1 >/dev/null) ||
			fail "nft does not work here: $(first_line "$problem"): it needs a kernel with nftables and" \
				"CAP_NET_ADMIN"
	fi
}

check_root() {
	if [ -n "$DESTDIR" ] || [ "$dry_run" = yes ] || [ "$(id -u)" -eq 0 ]; then return; fi
	fail "only root may do this: run it with sudo, or set DESTDIR to install into a staging root"
}

first_line() { printf '%s\n' "$1" | sed -n 1p; }

# Whether a process is this dotp, and not one of a container that has a network of its own.
is_dotp() {
	{ tr '\0' '\n' <"/proc/$1/cmdline" | grep -Fxq "$program"; } 2>/dev/null &&
		[ "$(readlink "/proc/$1/ns/net")" = "$(readlink /proc/self/ns/net)" ]
}

# ---- What is installed

check_source() {
	case $source in
	binary) [ -f "$binary" ] || fail "--binary $binary: there is no such file" ;;
	checkout)
		[ -f "${checkout:-/nonexistent}/deno.json" ] ||
			fail "--from-source needs a checkout of dotp: run the install.sh that lies in one"
		;;
	*)
		case ${DOTP_REPO-} in
		'')
			misuse "DOTP_REPO is not set: set it to the repository of the releases, OWNER/NAME, or give" \
				"--binary FILE or --from-source"
			;;
		*[!A-Za-z0-9._/-]* | */*/* | /* | */) misuse "DOTP_REPO \"$DOTP_REPO\" is not OWNER/NAME" ;;
		*/*) ;;
		*) misuse "DOTP_REPO \"$DOTP_REPO\" is not OWNER/NAME" ;;
		esac
		has curl || has wget || fail "curl and wget are missing: install one of them"
		;;
	esac
	[ -z "$opt_rules" ] || [ -f "$opt_rules" ] || fail "--rules $opt_rules: there is no such file"
}

# Gets the program into the work directory.
get_program() {
	case $source in
	binary) cp "$binary" "$work/dotp" || fail "--binary $binary: it cannot be read" ;;
	checkout)
		get_deno
		build
		;;
	*) get_release ;;
	esac
	if [ ! -f "$work/dotp" ]; then return; fi
	use_deno
	copy_to_try
}

get_release() {
	asset=dotp-$machine-unknown-linux-gnu
	step "download $asset of the newest release of $DOTP_REPO and verify its checksum" || return 0
	download SHA256SUMS
	download_verified "$asset"
	mv "$work/$asset" "$work/dotp"
}

download() {
	url=https://github.com/$DOTP_REPO/releases/latest/download/$1
	if has curl; then
		curl -fsSL --proto '=https' --retry 2 -o "$work/$1" "$url" </dev/null && return
	else
		wget -q -O "$work/$1" "$url" </dev/null && return
	fi
	fail "cannot download $url: look whether it is there, or give --binary FILE"
}

download_verified() {
	wanted=$(awk -v name="$1" '$2 == name || $2 == "*" name { print tolower($1); exit }' \
		"$work/SHA256SUMS")
	[ -n "$wanted" ] || fail "the release has no checksum for $1: nothing is installed"
	download "$1"
	[ "$(checksum "$work/$1")" = "$wanted" ] ||
		fail "the checksum of $1 is wrong: nothing is installed; try again, and tell the maintainers" \
			"if it stays so"
}

# Finds a Deno that any user can run, or one to make a copy of. Sets deno, the path that the program
# will name, deno_now, one that runs already, and deno_file, what to install (or nothing).
get_deno() {
	if [ -n "${deno-}" ]; then return; fi
	deno=$own_deno deno_now='' deno_file=''
	deno_now=$(usable_deno "$DESTDIR$own_deno" "$DENO_VERSION") || deno_now=$(usable_deno deno) ||
		deno_now=''
	case $deno_now in
	'') ;;
	"$DESTDIR$own_deno") return ;;
	# The service sees nothing below /root, /home and /tmp.
	/usr/* | /opt/* | /bin/*)
		deno=$deno_now
		return
		;;
	*)
		deno_file=$deno_now
		return
		;;
	esac
	has npm || fail "Deno 2.$DENO_MINOR_MIN is missing, and so is npm to get it: install one of them"
	step "get Deno $DENO_VERSION from npm" || return 0
	quietly npm install --prefix "$work/npm" --cache "$work/npm-cache" --ignore-scripts --no-audit \
		--no-fund --loglevel=error "deno@$DENO_VERSION" ||
		fail "npm cannot get Deno $DENO_VERSION: see above"
	deno_file=$(find "$work/npm/node_modules/@deno" -type f -name deno 2>/dev/null | sed -n 1p)
	[ -n "$deno_file" ] || fail "npm has no Deno for this machine: install Deno 2.$DENO_MINOR_MIN"
	chmod 755 "$deno_file"
	deno_now=$deno_file
}

# Runs a command; what it says matters only where it fails.
quietly() {
	"$@" </dev/null >"$work/said" 2>&1 && return
	cat "$work/said" >&2
	return 1
}

# The real path of a Deno that is new enough, or of that version; what is on the PATH may be a shim.
usable_deno() {
	has "$1" || return 1
	# shellcheck disable=SC2016 # For Deno to expand.
	told=$("$1" eval 'console.log(`${Deno.version.deno} ${Deno.execPath()}`)' 2>/dev/null </dev/null) ||
		return 1
	version=${told%% *}
	minor=${version#2.}
	minor=${minor%%.*}
	case $version in
	"${2:-$version}") ;;
	*) return 1 ;;
	esac
	case $version in
	2.*) [ "$minor" -ge "$DENO_MINOR_MIN" ] || return 1 ;;
	*) return 1 ;;
	esac
	printf '%s\n' "${told#* }"
}

build() {
	step "build dist/dotp in $checkout" || return 0
	(
		cd "$checkout"
		# A Deno of our own must not leave a cache where there was none.
		case $deno_now in
		"$work"/*) export DENO_DIR="$work/deno-cache" ;;
		*) ;;
		esac
		quietly "$deno_now" task bundle
	) || fail "the build failed: see above"
	[ -f "$checkout/dist/dotp" ] || fail "deno task bundle has made no dist/dotp"
	if [ -n "${SUDO_UID-}" ] && [ "$(id -u)" -eq 0 ]; then
		chown -R "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" "$checkout/dist"
	fi
	cp "$checkout/dist/dotp" "$work/dotp"
}

# A bundle starts the Deno that it finds on the PATH, and the service's PATH has none: its second line
# gets the one Deno.
use_deno() {
	case $(head -c 4096 "$work/dotp" | tr -d '\000' | sed -n 2p) in
	'":" //# ; exec '*' deno run '*) ;;
	*) return ;;
	esac
	get_deno
	sed "2s| deno run | $deno run |" "$work/dotp" >"$work/dotp.named"
	mv "$work/dotp.named" "$work/dotp"
}

# Makes a copy of the program that can be run before anything is installed.
copy_to_try() {
	if is_foreign "$work/dotp"; then return; fi
	cp "$work/dotp" "$work/dotp.try"
	# Deno may not be where the program will look for it yet.
	if [ -n "${deno_now-}" ]; then
		sed "2s| $deno run | $deno_now run |" "$work/dotp" >"$work/dotp.try"
	fi
	chmod 755 "$work/dotp.try"
}

# Whether a file is an executable (ELF) for another machine; a shell would take it for a script.
is_foreign() {
	case $(od -An -v -tx1 -N20 "$1" | tr -d ' \n') in
	7f454c46*3e00) [ "$machine" != x86_64 ] ;;
	7f454c46*b700) [ "$machine" != aarch64 ] ;;
	7f454c46*) return 0 ;;
	*) return 1 ;;
	esac
}

# Runs the copy.
try_program() {
	if [ ! -f "$work/dotp.try" ]; then
		printf 'it is for another processor\n' >&2
		return 1
	fi
	"$work/dotp.try" "$@" </dev/null
}

# What was fetched must work here, before anything of it is installed. A package may be made of one that
# does not run here; nobody judges its settings, and it goes without man page and completions.
check_program() {
	can_run=no
	# It was only said what would be done: there is no program, or no Deno that runs it.
	if [ ! -f "$work/dotp" ] || { [ "$dry_run" = yes ] && [ -n "${deno-}" ] && [ -z "$deno_now" ]; }; then
		has_program=no
		return
	fi
	has_program=yes
	said=$(try_program --version 2>&1) || said="it does not run: $said"
	case $said in
	'dotp '*)
		can_run=yes
		return
		;;
	*) ;;
	esac
	why=$(first_line "${said#it does not run: }")
	if [ -n "$DESTDIR" ]; then
		say "this dotp cannot be run here (${why:-it prints nothing}): the settings are not checked, and" \
			"there will be no man page and no completions"
		return
	fi
	case $said in
	*'ermission denied'*) fail "programs in $work may not be started: set TMPDIR to where they may" ;;
	'it does not run: '*) fail "this dotp does not run here: $why" ;;
	*) fail "this is no dotp: asked for its version it says \"$why\"" ;;
	esac
}

# NAME ARGUMENT...; has the program print a text to a file in the work directory.
write_text() {
	text=$work/$1
	shift
	if try_program "$@" >"$text" 2>"$work/said" && [ -s "$text" ]; then return; fi
	said=$(first_line "$(cat "$work/said")")
	fail "this dotp does not print what belongs to it (dotp $*): ${said:-it prints nothing}"
}

# Writes what is to be installed beside the program into the work directory.
write_texts() {
	write_env
	if [ "$has_program" = no ]; then return; fi
	write_rules
	if [ "$can_run" = no ]; then
		for each in "$UNIT" "$TABLE_UNIT"; do
			of_checkout "lib/cli/$each" | sed "s|/usr/local/bin/dotp|$program|g" >"$work/$each"
		done
		return
	fi
	write_text "$UNIT" unit service --program "$program"
	write_text "$TABLE_UNIT" unit table
	write_text page.manual manual
	for each in bash zsh fish; do write_text "page.$each" completions "$each"; done
}

# rules.nft: the one given, or as the program prints it; nft must take it as it will be.
write_rules() {
	if [ -n "$opt_rules" ]; then
		with_prefixes <"$opt_rules" >"$work/rules.nft" || fail "--rules $opt_rules: it cannot be read"
		for each in FAKE4 FAKE6; do
			grep -q "^define $each = " "$work/rules.nft" ||
				fail "--rules $opt_rules: it does not define $each: take one that belongs to dotp"
		done
	elif [ "$can_run" = yes ]; then
		write_text rules.nft rules -4 "$prefix4" -6 "$prefix6"
	else
		of_checkout rules.nft | with_prefixes >"$work/rules.nft"
	fi
	if [ -n "$DESTDIR" ] || [ "$dry_run" = yes ]; then return; fi
	# An edited one stays.
	rules=$work/rules.nft
	if is_edited rules.nft; then rules=$RULES_FILE; fi
	said=$(nft -c -f "$rules" 2>&1) || fail "nft does not take ${rules#"$work"/}: $(first_line "$said")"
}

with_prefixes() {
	size='' length=${prefix4#*/}
	if [ "$length" -lt "$RULES_LENGTH4" ]; then size="s|size 131072$|size $MAPPINGS_MAX|"; fi
	sed -e "s|^define FAKE4 = .*|define FAKE4 = $prefix4|" \
		-e "s|^define FAKE6 = .*|define FAKE6 = $prefix6|" -e "$size"
}

# Prints a file of the checkout, for a program that cannot print what belongs to it.
of_checkout() {
	[ -f "${checkout:-/nonexistent}/$1" ] ||
		fail "this dotp cannot be run here to print $1: run the install.sh that lies in its checkout"
	cat "$checkout/$1"
}

write_env() {
	cat >"$work/dotp.env" <<EOF
# dotp's settings, read by dotp.service. After a change: systemctl restart dotp
# An upgrade takes over the values, and never overwrites this file once it was edited.

# The address and UDP port to listen on: the gateway's in its LAN.
DOTP_HOST=$host
DOTP_PORT=$port

# Where fake addresses are taken from; the same stand at the top of rules.nft.
DOTP_IPV4_PREFIX=$prefix4
DOTP_IPV6_PREFIX=$prefix6

# The DNS server to ask.
DOTP_UPSTREAM_HOST=$upstream
DOTP_UPSTREAM_PORT=$upstream_port

# What becomes of private real addresses: map gives them fakes, which leads around a firewall that lets
# translated connections pass; pass leaves them as they are; refuse refuses the reply.
DOTP_PRIVATE_REALS=$private

# The domains that get fakes, and any other options of dotp, split at spaces:
# DOTP_OPTIONS="-d example.com -d example.org --nat-ttl 300"
DOTP_OPTIONS="$more"
EOF
}

# ---- Installing

install_dotp() {
	read_settings
	check_source
	check_machine
	work=$(mktemp -d) || fail "cannot make a temporary directory: set TMPDIR to where there is room"
	get_program
	check_program
	check_settings
	write_texts
	check_targets
	install_files
	if [ -n "$DESTDIR" ]; then
		if [ "$start" = yes ]; then say "the service is not started: DESTDIR is set"; fi
		return
	fi
	if has_systemd && [ "$changed" = yes ] && step "systemctl daemon-reload"; then
		systemctl daemon-reload
	fi
	load_table
	if has_systemd; then run_service; fi
	last_words
}

# A file that install.sh did not write, or that somebody has changed since, is not overwritten.
check_targets() {
	for each in "$program" "$unit_file" "$table_unit_file"; do
		new=$work/${each##*/}
		if [ ! -e "$DESTDIR$each" ] && [ ! -L "$DESTDIR$each" ]; then continue; fi
		if is_own "$each" || { [ -f "$new" ] && cmp -s "$new" "$DESTDIR$each"; }; then continue; fi
		fail "$each is not as install.sh wrote it: move it away, or give another --prefix"
	done
}

install_files() {
	if [ -n "${deno_file-}" ] || [ "${deno-}" = "$own_deno" ]; then install_deno; fi
	put_file 755 "$work/dotp" "$program"
	put_config rules.nft "$rules_option"
	put_config dotp.env "$env_option"
	put_file 644 "$work/$UNIT" "$unit_file"
	put_file 644 "$work/$TABLE_UNIT" "$table_unit_file"
	install_pages
	record prefix "$prefix"
	if [ "$private_before" = yes ]; then
		say "private real addresses get fakes, as before: see DOTP_PRIVATE_REALS in $ENV_FILE"
	fi
}

install_pages() {
	if [ "$has_program" = yes ] && [ "$can_run" = no ]; then return; fi
	was_changed=$changed
	made=$(recorded made)
	put_page manual "$man_page"
	put_page bash "$bash_completion"
	put_page zsh "$zsh_completion"
	put_page fish "$fish_completion"
	record made "$(words "$made" | sort -u | tr '\n' ' ' | sed 's/ $//')"
	# The service has no use for them.
	changed=$was_changed
}

# NAME TARGET; notes which directories are made for it, as those of man and the shells may be there.
put_page() {
	if [ -e "$DESTDIR$2" ] && ! is_own "$2" && ! cmp -s "$work/page.$1" "$DESTDIR$2"; then
		say "keep $2: it is not as install.sh wrote it"
		return
	fi
	directory=${2%/*}
	while [ -n "$directory" ] && [ ! -d "$DESTDIR$directory" ]; do
		made="$made $directory"
		directory=${directory%/*}
	done
	put_file 644 "$work/page.$1" "$2"
}

# A line for each word.
words() { printf '%s\n' "$1" | tr ' ' '\n' | sed '/^$/d'; }

install_deno() {
	# An own Deno that was found in its place is there already.
	if [ -z "$deno_file" ] && [ -n "$deno_now" ]; then return; fi
	put_file 755 "$deno_file" "$own_deno"
}

# MODE SOURCE TARGET; the target is replaced at once, so a program may be running. It is in the list
# before it is there, so that what a run leaves that was cut short is known to be ours.
put_file() {
	if [ -f "$2" ] && [ -f "$DESTDIR$3" ] && cmp -s "$2" "$DESTDIR$3"; then
		say "keep $3: it is up to date"
		return
	fi
	step "install $3" || return 0
	changed=yes
	case $3 in
	"$ETC"/*) new='' ;;
	*)
		new=$(checksum "$2")
		manifest_add "$new $3"
		record prefix "$prefix"
		;;
	esac
	half=$DESTDIR$3.half.$$
	{ mkdir -p "$(dirname "$DESTDIR$3")" && cp "$2" "$half" && chmod "$1" "$half" &&
		mv -f "$half" "$DESTDIR$3"; } || fail "cannot write $DESTDIR$3: see above"
	half=''
	if [ -n "$new" ]; then
		manifest_forget "$3" "$new"
		record prefix "$prefix"
	fi
}

# Whether a configuration file differs from what was written last.
is_edited() {
	[ -f "$DESTDIR$ETC/$1" ] && [ "$(checksum "$DESTDIR$ETC/$1")" != "$(recorded "$1")" ]
}

# NAME OPTION; the option is one that was given and changes this file.
put_config() {
	target=$ETC/$1 was_changed=$changed
	changed=no
	if ! is_edited "$1"; then
		put_file 644 "$work/$1" "$target"
		if [ "$dry_run" = no ]; then
			record "$1" "$(checksum "$work/$1")"
			rm -f "$DESTDIR$target.new"
		fi
	elif [ ! -f "$work/$1" ]; then
		say "keep $target: it was edited; a new version would go to $target.new"
	elif cmp -s "$work/$1" "$DESTDIR$target"; then
		say "keep $target: it is up to date"
		if [ -z "$(recorded "$1")" ]; then record "$1" "$(checksum "$work/$1")"; fi
	elif [ -z "$2" ] && has_nothing_new "$1"; then
		say "keep $target: it was edited"
	else
		say "keep $target: it was edited; take over from $target.new what you need"
		put_file 644 "$work/$1" "$target.new"
		if [ "$1" = rules.nft ]; then record rules.nft "$(checksum "$work/rules.nft")"; fi
		changed=no
	fi
	# The service does not read the rules again when it starts.
	if [ "$1" = rules.nft ]; then rules_changed=$changed changed=no; fi
	if [ "$changed" = no ]; then changed=$was_changed; fi
}

# Whether a new version of an edited file has nothing that was not offered before.
has_nothing_new() {
	if [ "$1" = rules.nft ]; then
		[ "$(checksum "$work/rules.nft")" = "$(recorded rules.nft)" ]
		return
	fi
	sed -n 's/^\([A-Z0-9_]*\)=.*/\1/p' "$work/dotp.env" | while read -r each; do
		in_env "$each" || exit 1
	done
}

# KEY VALUE; writes the state file anew, with the list of files as it is now.
record() {
	if [ "$dry_run" = yes ]; then return; fi
	{
		if [ -f "$DESTDIR$STATE_FILE" ]; then grep -v -e "^$1=" -e '^file=' "$DESTDIR$STATE_FILE" || :; fi
		printf '%s=%s\n' "$1" "$2"
		printf '%s\n' "$manifest" | sed -n 's/^./file=&/p'
	} >"$work/state"
	if cmp -s "$work/state" "$DESTDIR$STATE_FILE"; then return; fi
	half=$DESTDIR$STATE_FILE.half.$$
	{ mkdir -p "$DESTDIR$ETC" && cp "$work/state" "$half" && mv -f "$half" "$DESTDIR$STATE_FILE"; } ||
		fail "cannot write $DESTDIR$STATE_FILE: see above"
	half=''
}

is_loaded() { nft list tables inet 2>/dev/null | grep -qx 'table inet dotp'; }

# Not over a table that is there, unless for other prefixes or to have its unit take charge of it; the
# mappings stay in any case.
load_table() {
	if is_loaded && { [ "$rules_changed" = no ] || [ -z "$rules_option" ]; } &&
		{ ! has_systemd || systemctl is-active --quiet "$TABLE_UNIT"; }; then
		say "keep the table inet dotp: it is loaded"
		if [ "$rules_changed" = yes ]; then
			say "the new rules take effect with: nft -f $RULES_FILE; the mappings stay"
		fi
	elif ! has_systemd; then
		step "load $RULES_FILE" || return 0
		nft -f "$RULES_FILE" || fail "nft does not take $RULES_FILE: see above"
	elif step "load $RULES_FILE: systemctl restart $TABLE_UNIT"; then
		systemctl restart "$TABLE_UNIT" || not_started "$TABLE_UNIT"
	fi
}

has_systemd() { has systemctl && [ -d /run/systemd/system ]; }

run_service() {
	if [ "$changed" = yes ] && systemctl is-active --quiet "$UNIT" &&
		step "systemctl restart $UNIT; the mappings stay"; then
		systemctl restart "$UNIT" || not_started "$UNIT"
	fi
	if systemctl is-enabled --quiet "$UNIT" && ! systemctl is-enabled --quiet "$TABLE_UNIT" &&
		step "systemctl enable $TABLE_UNIT"; then
		systemctl --quiet enable "$TABLE_UNIT"
	fi
	if [ "$start" = yes ] && step "systemctl enable --now $UNIT"; then
		systemctl --quiet enable --now "$UNIT" || not_started "$UNIT"
	fi
}

not_started() { fail "$1 does not start: journalctl -u $1 -n 20 tells why"; }

last_words() {
	if [ "$dry_run" = yes ]; then return; fi
	in_rules=$(sed -n 's/^define FAKE[46] = \([^ ]*\).*/\1/p' "$RULES_FILE" | tr '\n' ' ')
	if [ "$in_rules" != "$(env_value DOTP_IPV4_PREFIX) $(env_value DOTP_IPV6_PREFIX) " ]; then
		warn "the prefixes in $RULES_FILE and $ENV_FILE differ: make them the same"
	fi
	for each in net/ipv4/ip_forward net/ipv6/conf/all/forwarding; do
		if [ "$(cat "/proc/sys/$each" 2>/dev/null)" = 0 ]; then
			warn "this machine does not forward: sysctl -w $(printf '%s' "$each" | tr / .)=1"
		fi
	done
	if ! has_systemd; then
		say "dotp is installed. systemd does not run here; start dotp with this line, or from the init" \
			"system's own script:"
		# shellcheck disable=SC2016 # For the reader's shell to expand.
		say "  . $ENV_FILE; $program -H \"\$DOTP_HOST\" -p \"\$DOTP_PORT\"" \
			'-4 "$DOTP_IPV4_PREFIX" -6 "$DOTP_IPV6_PREFIX" --upstream-host "$DOTP_UPSTREAM_HOST"' \
			'--upstream-port "$DOTP_UPSTREAM_PORT" --private-reals "${DOTP_PRIVATE_REALS:-map}"' \
			"--rules-file $RULES_FILE \$DOTP_OPTIONS"
	elif ! systemctl is-active --quiet "$UNIT"; then
		say "dotp is installed. Look at $ENV_FILE, then: systemctl enable --now dotp"
	else
		say "dotp is installed and runs."
	fi
}

# ---- Removing

uninstall_dotp() {
	check_root
	work=$(mktemp -d) || fail "cannot make a temporary directory: set TMPDIR to where there is room"
	if [ ! -f "$DESTDIR$STATE_FILE" ]; then
		name_foreign
		return
	fi
	had_unit=no
	if is_listed "$unit_file"; then had_unit=yes; fi
	if [ -z "$DESTDIR" ]; then stop_dotp; fi
	made=$(recorded made)
	remove_files
	if [ -z "$DESTDIR" ]; then remove_from_machine; fi
	if [ "$purge" = yes ]; then
		for each in rules.nft dotp.env; do
			remove "$ETC/$each"
			remove "$ETC/$each.new"
		done
		remove "$STATE_FILE"
		if [ -d "$DESTDIR/etc/systemd/system/$UNIT.d" ]; then
			say "keep /etc/systemd/system/$UNIT.d: install.sh did not write it"
		fi
		if [ "$dry_run" = no ] && ! rmdir "$DESTDIR$ETC" 2>/dev/null; then
			say "keep $ETC: it holds files that install.sh did not write"
		fi
	else
		say "keep $ETC: --purge removes it too"
	fi
	# Those below others first. One that holds something else now stays.
	if [ "$dry_run" = no ]; then
		for each in $(words "$made" | sort -r); do rmdir "$DESTDIR$each" 2>/dev/null || :; done
	fi
	for each in "$library" "$prefix/bin" "$units" "$prefix/lib" \
		/etc/systemd/system/multi-user.target.wants /etc/systemd/system/nftables.service.wants /etc; do
		remove_empty "$each"
	done
}

# Says which files lie in dotp's places that install.sh did not write.
name_foreign() {
	for each in "$program" "$unit_file" "$table_unit_file" $pages; do
		if [ -e "$DESTDIR$each" ] && ! is_own "$each"; then
			say "keep $each: it is not as install.sh wrote it"
		fi
	done
}

# Removes what was written and is still as it was.
remove_files() {
	name_foreign
	for each in $(printf '%s\n' "$manifest" | cut -c 66- | sort -u); do
		if is_own "$each"; then remove "$each"; fi
		manifest_forget "$each"
	done
	record prefix "$prefix"
}

remove_from_machine() {
	if has nft && is_loaded && step "delete the table inet dotp"; then
		nft delete table inet dotp || fail "nft cannot delete the table inet dotp: see above"
	fi
	if has_route_rules && step "delete the rules that leave fakes without a route"; then
		for pref in 11 10 12; do
			ip -4 rule del pref "$pref" protocol kernel 2>/dev/null || :
			ip -6 rule del pref "$pref" protocol kernel 2>/dev/null || :
		done
	fi
	if [ "$had_unit" = yes ] && has_systemd && step "systemctl daemon-reload"; then
		systemctl daemon-reload
		systemctl reset-failed "$UNIT" "$TABLE_UNIT" 2>/dev/null || :
	fi
}

# Whether the unit of the table, or somebody after the README, has taken the routes from fakes.
has_route_rules() {
	has ip && ip -d rule show pref 11 2>/dev/null | grep -q 'unreachable proto kernel'
}

stop_dotp() {
	if has_systemd && [ "$had_unit" = yes ]; then
		# In an old installation there is one unit only.
		set -- "$UNIT"
		if is_listed "$table_unit_file"; then set -- "$@" "$TABLE_UNIT"; fi
		if step "systemctl disable --now $*"; then
			systemctl --quiet disable --now "$@" || fail "systemctl cannot stop $*: see above"
		fi
		return
	fi
	for each in /proc/[0-9]*; do
		if is_dotp "${each#/proc/}"; then
			fail "dotp still runs (process ${each#/proc/}): stop its service first, or end it"
		fi
	done
}

remove() {
	if [ ! -e "$DESTDIR$1" ] && [ ! -L "$DESTDIR$1" ]; then return; fi
	if step "remove $1"; then
		rm -f "$DESTDIR$1" || fail "cannot remove $DESTDIR$1: see above"
	fi
}

# Removes a directory and those above it as far as they are empty; the system's own stay.
remove_empty() {
	if [ "$dry_run" = yes ]; then return; fi
	directory=$1
	while [ -n "$directory" ]; do
		if [ -z "$DESTDIR" ]; then
			case $directory in
			/etc | /etc/systemd* | /opt | /usr | /usr/local | /usr/lib | /usr/lib/systemd*) return ;;
			/bin | /usr/bin | /usr/local/bin | /usr/local/lib) return ;;
			*) ;;
			esac
		fi
		rmdir "$DESTDIR$directory" 2>/dev/null || return 0
		directory=${directory%/*}
	done
}

main "$@"

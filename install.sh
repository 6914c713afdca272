#!/bin/sh
# install.sh: installs, upgrades and removes dotp on a Linux gateway. `sh install.sh --help` tells how.
#
# Everything that can be wrong is found before anything is changed; a file is replaced whole or not
# at all; a second run changes nothing. Variables: DOTP_REPO, the repository whose releases are
# installed; DESTDIR, a staging root, with which neither nft nor a service is touched; PREFIX.
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
# Which prefix dotp was installed to, and checksums of the configuration as it was written.
STATE_FILE=$ETC/.installed
UNIT=dotp.service

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
      --rules FILE        this rules.nft in place of the one that belongs to the program

Settings, for /etc/dotp/dotp.env:
  -H, --host ADDRESS      address to listen on, the gateway's in its LAN (required the first time)
  -p, --port PORT         UDP port to listen on (53)
  -4, --ipv4-prefix PREFIX  where fake IPv4 addresses are taken from (198.18.0.0/15)
  -6, --ipv6-prefix PREFIX  where fake IPv6 addresses are taken from (2001:2::/48)
      --upstream-host ADDRESS  the DNS server to ask (required the first time)
      --upstream-port PORT  its UDP port (53)
  -d, --domain DOMAIN     give fakes for this name and all below it (may be repeated)

What to do:
      --start             enable and start the service too, where systemd runs
      --dry-run           print each step and do none
      --uninstall         remove dotp and its nft table; the configuration stays
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
	opt_upstream='' opt_upstream_port='' opt_domains=''
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
			--ipv6-prefix | --upstream-host | --upstream-port | -d | --domain)
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
	if [ "$option" != --prefix ]; then install_option=$option; fi
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
	*)
		check_domain "$value"
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

# Names as dotp takes them; nothing that means something to systemd or to a shell gets through.
check_domain() {
	case $1 in
	-* | .?* | *..* | *[!A-Za-z0-9._-]*)
		misuse "--domain \"$1\" is not a domain name: give one such as example.com"
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
	/usr | /usr/local) unit_file=$prefix/lib/systemd/system/$UNIT ;;
	*) unit_file=/etc/systemd/system/$UNIT ;;
	esac
	# Where man and the shells look by themselves.
	share=$prefix/share
	man_page=$share/man/man8/dotp.8
	bash_completion=$share/bash-completion/completions/dotp
	zsh_completion=$share/zsh/site-functions/_dotp
	fish_completion=$share/fish/vendor_completions.d/dotp.fish
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

# ---- Settings: options first, then what dotp.env says, then the defaults

read_settings() {
	host=$(setting "$opt_host" DOTP_HOST '')
	port=$(setting "$opt_port" DOTP_PORT 53)
	prefix4=$(setting "$opt_prefix4" DOTP_IPV4_PREFIX 198.18.0.0/15)
	prefix6=$(setting "$opt_prefix6" DOTP_IPV6_PREFIX 2001:2::/48)
	upstream=$(setting "$opt_upstream" DOTP_UPSTREAM_HOST '')
	upstream_port=$(setting "$opt_upstream_port" DOTP_UPSTREAM_PORT 53)
	more=$(setting "$opt_domains" DOTP_OPTIONS '')
	check_address "$host" "$opt_host" --host DOTP_HOST
	check_address "$upstream" "$opt_upstream" --upstream-host DOTP_UPSTREAM_HOST
	check_port "$port" "$opt_port" --port DOTP_PORT
	check_port "$upstream_port" "$opt_upstream_port" --upstream-port DOTP_UPSTREAM_PORT
	check_prefix "$prefix4" "$opt_prefix4" --ipv4-prefix DOTP_IPV4_PREFIX 32
	check_prefix "$prefix6" "$opt_prefix6" --ipv6-prefix DOTP_IPV6_PREFIX 128
	# A package leaves the two addresses to whoever installs it.
	if [ -z "$host" ] && [ -z "$DESTDIR" ]; then
		misuse "--host is missing: give --host ADDRESS, the gateway's address in its LAN"
	fi
	if [ -z "$upstream" ] && [ -z "$DESTDIR" ]; then
		misuse "--upstream-host is missing: give --upstream-host ADDRESS, the DNS server to ask"
	fi
	if [ -n "$host" ] && [ "$host $port" = "$upstream $upstream_port" ]; then
		misuse "--upstream-host $upstream: dotp itself would listen there: give another server"
	fi
	check_outside "$host" --host
	check_outside "$upstream" --upstream-host
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

# Complains about a value: of an option, or of a variable in dotp.env. GIVEN OPTION VARIABLE MESSAGE
bad_value() {
	if [ -n "$1" ]; then misuse "$2 $4"; fi
	fail "$3 in $ENV_FILE: $4"
}

check_address() {
	if [ -z "$1" ]; then return; fi
	[ -n "$(bits_of "$1")" ] ||
		bad_value "$2" "$3" "$4" "\"$1\" is not an address: give one such as 192.0.2.1 or 2001:db8::1"
}

check_port() {
	case $1 in
	'' | *[!0-9]* | ??????*) ;;
	*) if [ "$1" -ge 1 ] && [ "$1" -le 65535 ]; then return; fi ;;
	esac
	bad_value "$2" "$3" "$4" "\"$1\" is not valid: give a port, 1 to 65535"
}

check_prefix() {
	if [ "$5" = 32 ]; then most=30 example=198.18.0.0/15; else most=64 example=2001:2::/48; fi
	said=$(awk_addresses 'BEGIN {
		if (split(prefix, part, "/") != 2 || part[2] !~ /^(0|[1-9][0-9]?[0-9]?)$/) exit
		text = bits(part[1])
		if (length(text) != width || part[2] > width + 0) exit
		if (part[2] > most + 0) print "small"
		else if (substr(text, part[2] + 1) ~ /1/) print "host bits"
		else print "right"
	}' -v prefix="$1" -v width="$5" -v most="$most" </dev/null)
	case $said in
	right) ;;
	small) bad_value "$2" "$3" "$4" "$1 is too small: its length may be 0 to $most" ;;
	'host bits') bad_value "$2" "$3" "$4" "$1 has host bits set: give the first address of it" ;;
	*) bad_value "$2" "$3" "$4" "\"$1\" is not such a prefix: give one such as $example" ;;
	esac
}

check_outside() {
	if [ -z "$1" ] || is_wildcard "$1"; then return; fi
	for each in "$prefix4" "$prefix6"; do
		if [ -n "$(printf '%s\n' "$1" | overlapping "$each")" ]; then
			misuse "$2 $1 lies in $each, the prefix of the fake addresses: give another of the two"
		fi
	done
}

is_wildcard() {
	case $(bits_of "$1") in
	*1*) return 1 ;;
	*) return 0 ;;
	esac
}

# ---- Addresses, as text of 32 or 128 zeros and ones

# PROGRAM [-v NAME=VALUE]...
awk_addresses() {
	code=$1
	shift
	awk "$@" "$BITS $code"
}

BITS='
function binary(number, width,    text) {
	for (text = ""; width > 0; width--) { text = (number % 2) text; number = int(number / 2) }
	return text
}
function bits4(address,    part, i, text) {
	if (split(address, part, ".") != 4) return ""
	for (i = 1; i <= 4; i++) {
		if (part[i] !~ /^(0|[1-9][0-9]?[0-9]?)$/ || part[i] > 255) return ""
		text = text binary(part[i], 8)
	}
	return text
}
function groups(address,    part, count, i, k, value, text) {
	if (address == "") return ""
	count = split(address, part, ":")
	for (i = 1; i <= count; i++) {
		if (i == count && part[i] ~ /\./) {
			value = bits4(part[i])
			if (value == "") return "no"
			text = text value
			continue
		}
		if (part[i] !~ /^[0-9a-f]+$/ || length(part[i]) > 4) return "no"
		value = 0
		for (k = 1; k <= length(part[i]); k++) {
			value = value * 16 + index("0123456789abcdef", substr(part[i], k, 1)) - 1
		}
		text = text binary(value, 16)
	}
	return text
}
function bits(address,    gap, left, right) {
	if (address !~ /:/) return bits4(address)
	address = tolower(address)
	gap = index(address, "::")
	if (gap == 0) { left = groups(address); return length(left) == 128 ? left : "" }
	left = groups(substr(address, 1, gap - 1))
	right = groups(substr(address, gap + 2))
	if (left == "no" || right == "no" || length(left) + length(right) > 112) return ""
	return left binary(0, 128 - length(left) - length(right)) right
}
'

bits_of() { awk_addresses 'BEGIN { print bits(address) }' -v address="$1" </dev/null; }

# Prints those of the lines on standard input whose first word is a prefix or an address that
# overlaps the given prefix.
overlapping() {
	# shellcheck disable=SC2016 # For awk to expand.
	awk_addresses '
	function overlap(a, b,    x, y, most) {
		split(a, x, "/"); split(b, y, "/")
		if (length(bits(x[1])) != length(bits(y[1]))) return 0
		most = length(bits(x[1]))
		if (x[2] != "" && x[2] < most) most = x[2] + 0
		if (y[2] != "" && y[2] < most) most = y[2] + 0
		return substr(bits(x[1]), 1, most) == substr(bits(y[1]), 1, most)
	}
	bits(substr($1, 1, index($1 "/", "/") - 1)) != "" && overlap($1, prefix)' -v prefix="$1"
}

# ---- Checks, before anything is changed

check_machine() {
	[ "$(uname -s)" = Linux ] || fail "this is no Linux: dotp needs nftables, which only Linux has"
	machine=$(uname -m)
	case $machine in
	x86_64 | amd64) machine=x86_64 ;;
	aarch64 | arm64) machine=aarch64 ;;
	*) fail "there is no dotp for $machine: it runs on x86_64 and aarch64" ;;
	esac
	for each in sha256sum awk sed; do
		has "$each" || fail "$each is missing: install it (coreutils, gawk and sed, or busybox)"
	done
	if [ -n "$DESTDIR" ]; then return; fi
	check_root
	has nft || fail "nft is missing: install it (apt-get install nftables, or as your system does it)"
	if [ "$(id -u)" -eq 0 ]; then
		problem=$(nft list tables 2>&1 >/dev/null) ||
			fail "nft does not work here: $(first_line "$problem"): it needs a kernel with nftables and" \
				"CAP_NET_ADMIN"
	fi
	check_port_free
	check_prefixes_free
}

check_root() {
	if [ -n "$DESTDIR" ] || [ "$dry_run" = yes ] || [ "$(id -u)" -eq 0 ]; then return; fi
	fail "only root may do this: run it with sudo, or set DESTDIR to install into a staging root"
}

first_line() { printf '%s\n' "$1" | sed -n 1p; }

# Nobody else may listen where dotp is to listen. A running dotp is no obstacle to its upgrade.
check_port_free() {
	inodes=$(sockets_on "$host" "$port")
	if [ -z "$inodes" ]; then return; fi
	for pid in $(holders "$inodes"); do
		if is_dotp "$pid"; then continue; fi
		name=$(cat "/proc/$pid/comm" 2>/dev/null) || name='a process'
		where="on port $port of $host"
		case $name in
		systemd-resolve*)
			fail "systemd-resolved's stub (process $pid) answers $where: give dotp the gateway's LAN" \
				"address as --host, or set DNSStubListener=no in /etc/systemd/resolved.conf," \
				"link /etc/resolv.conf to /run/systemd/resolve/resolv.conf and restart systemd-resolved"
			;;
		dnsmasq)
			fail "dnsmasq (process $pid) answers $where: set port=0, or another port, in its" \
				"configuration and restart it, or give dotp another --host or --port"
			;;
		*)
			fail "$name (process $pid) answers $where: end it or have it listen elsewhere, or give dotp" \
				"another --host or --port"
			;;
		esac
	done
	if [ -z "$(holders "$inodes")" ]; then
		fail "port $port of $host is taken by a process that cannot be seen from here: look with" \
			"ss -lunp as root, or give dotp another --host or --port"
	fi
}

# The inodes of UDP sockets that stand in the way of one on ADDRESS PORT.
sockets_on() {
	# ss writes * for a socket of both IP versions and [::] for one of IPv6 only; /proc does not tell.
	dual=yes
	if has ss && ! ss -Hlun 2>/dev/null | grep -qF " *:$2 "; then dual=no; fi
	# shellcheck disable=SC2016 # For awk to expand.
	cat /proc/net/udp /proc/net/udp6 2>/dev/null |
		awk_addresses '
		# Addresses stand in /proc as words of 32 bits with the octets backwards.
		function hex(text,    i, k, word, out) {
			for (i = 1; i <= length(text); i += 32) {
				word = ""
				for (k = 0; k < 32; k += 4) word = word digit(substr(text, i + k, 4))
				out = out substr(word, 7, 2) substr(word, 5, 2) substr(word, 3, 2) substr(word, 1, 2)
			}
			return out
		}
		function digit(four) {
			return substr("0123456789ABCDEF", substr(four, 1, 1) * 8 + substr(four, 2, 1) * 4 + \
				substr(four, 3, 1) * 2 + substr(four, 4, 1) + 1, 1)
		}
		function number(text,    i, value) {
			for (i = 1; i <= length(text); i++) {
				value = value * 16 + index("0123456789ABCDEF", substr(text, i, 1)) - 1
			}
			return value
		}
		BEGIN {
			own = hex(bits(address))
			mapped = "0000000000000000FFFF0000"
			is_any = own ~ /^0+$/
			is4 = length(own) == 8
		}
		split($2, local, ":") == 2 && number(local[2]) == port {
			theirs = local[1]
			if (length(theirs) == 32 && substr(theirs, 1, 24) == mapped) theirs = substr(theirs, 25)
			same = length(theirs) == length(own)
			any = theirs ~ /^0+$/
			if (same && (theirs == own || any || is_any)) print $10
			else if (!same && is4 && any && dual == "yes") print $10
			else if (!same && !is4 && is_any) print $10
		}' -v address="$1" -v port="$2" -v dual="$dual" | tr '\n' ' '
}

# The processes that hold one of these sockets.
holders() {
	# shellcheck disable=SC2012 # The names in /proc are numbers.
	ls -l /proc/[0-9]*/fd 2>/dev/null | awk -v inodes="$1" '
		BEGIN { count = split(inodes, each, " "); for (i in each) wanted["socket:[" each[i] "]"] }
		/^\/proc\// { split($1, part, "/"); pid = part[3] }
		$NF in wanted && !seen[pid]++ { print pid }'
}

# Whether a process is this dotp, and not one of a container that has a network of its own.
is_dotp() {
	{ tr '\0' '\n' <"/proc/$1/cmdline" | grep -Fxq "$program"; } 2>/dev/null &&
		[ "$(readlink "/proc/$1/ns/net")" = "$(readlink /proc/self/ns/net)" ]
}

# The prefixes of fakes must be nobody's. Those that dotp has already are its own.
check_prefixes_free() {
	if ! has ip; then
		warn "ip (iproute2) is missing: whether the prefixes are in use is not checked"
		return
	fi
	if ! in_env DOTP_IPV4_PREFIX || [ "$(env_value DOTP_IPV4_PREFIX)" != "$prefix4" ]; then
		check_prefix_free "$prefix4" --ipv4-prefix -4
	fi
	if ! in_env DOTP_IPV6_PREFIX || [ "$(env_value DOTP_IPV6_PREFIX)" != "$prefix6" ]; then
		check_prefix_free "$prefix6" --ipv6-prefix -6
	fi
}

check_prefix_free() {
	found=$(ip "$3" -o address show 2>/dev/null |
		awk '{ print $4, "on", $2 }' | overlapping "$1" | sed -n 1p)
	if [ -n "$found" ]; then
		fail "$2 $1 is in use: this machine has the address $found: give a prefix that is nobody's"
	fi
	found=$(ip "$3" route show table all 2>/dev/null | real_routes | overlapping "$1" | sed -n 1p)
	if [ -n "$found" ]; then
		fail "$2 $1 is in use: there is a route to $found: give a prefix that is nobody's"
	fi
}

# Routes without those that lead nowhere, to this machine itself, or everywhere.
real_routes() {
	awk '
	$1 ~ /^(unreachable|blackhole|prohibit|throw)$/ { next }
	$1 == "local" && / dev lo / { next }
	$1 ~ /^(unicast|local|broadcast|multicast|anycast|nat)$/ { sub(/^[a-z]+ /, "") }
	$1 ~ /^[^:]*\/[01]$/ || $1 ~ /:.*\/[0-3]$/ { next }
	{ print }'
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

# Gets the program and rules.nft into the work directory.
get_program() {
	case $source in
	binary) cp "$binary" "$work/dotp" || fail "--binary $binary: it cannot be read" ;;
	checkout)
		get_deno
		build
		;;
	*) get_release ;;
	esac
	if [ "$dry_run" = no ] || [ -f "$work/dotp" ]; then use_deno; fi
	get_rules
}

get_release() {
	asset=dotp-$machine-unknown-linux-gnu
	step "download $asset of the newest release of $DOTP_REPO and verify its checksum" || return 0
	download SHA256SUMS
	download_verified "$asset"
	mv "$work/$asset" "$work/dotp"
	if [ -z "$opt_rules" ]; then download_verified rules.nft; fi
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

checksum() { sha256sum <"$1" | cut -d ' ' -f 1; }

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

# rules.nft: the one given, the release's, or the one that lies beside the program or this script.
get_rules() {
	if [ -n "$opt_rules" ]; then
		cp "$opt_rules" "$work/rules.nft" || fail "--rules $opt_rules: it cannot be read"
	elif [ "$source" = binary ] && [ -f "$(dirname "$binary")/rules.nft" ]; then
		cp "$(dirname "$binary")/rules.nft" "$work/rules.nft"
	elif [ "$source" != release ]; then
		[ -f "${checkout:-/nonexistent}/rules.nft" ] ||
			fail "rules.nft lies neither beside the program nor beside install.sh: give --rules FILE"
		cp "$checkout/rules.nft" "$work/rules.nft"
	fi
	if [ ! -f "$work/rules.nft" ]; then return; fi
	for each in FAKE4 FAKE6; do
		grep -q "^define $each = " "$work/rules.nft" ||
			fail "this rules.nft does not define $each: take the one that belongs to the program"
	done
	size='' length=${prefix4#*/}
	if [ "$length" -lt "$RULES_LENGTH4" ]; then size="s|size 131072$|size $MAPPINGS_MAX|"; fi
	sed -e "s|^define FAKE4 = .*|define FAKE4 = $prefix4|" \
		-e "s|^define FAKE6 = .*|define FAKE6 = $prefix6|" -e "$size" \
		"$work/rules.nft" >"$work/rules.nft.made"
	mv "$work/rules.nft.made" "$work/rules.nft"
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

# What was fetched must work here, before anything of it is installed.
check_program() {
	if [ -n "$DESTDIR" ] || [ "$dry_run" = yes ]; then return; fi
	said=$(try_program --version 2>&1) || said="it does not run: $said"
	case $said in
	'dotp '*) ;;
	*'ermission denied'*) fail "programs in $work may not be started: set TMPDIR to where they may" ;;
	'it does not run: '*) fail "this dotp does not run here: $(first_line "${said#*: }")" ;;
	*) fail "this is no dotp: asked for its version it says \"$(first_line "$said")\"" ;;
	esac
	# With the configuration as it will be: an edited rules.nft stays.
	rules=$work/rules.nft
	if is_edited rules.nft; then rules=$RULES_FILE; fi
	said=$(nft -c -f "$rules" 2>&1) || fail "nft does not take ${rules#"$work"/}: $(first_line "$said")"
}

# The man page and the completions, as this very program prints them. A package may be made of one that
# cannot be run here; it goes without them.
write_pages() {
	has_pages=yes
	# It was only said what would be done: there is no program, or no Deno that runs it.
	if [ ! -f "$work/dotp" ] ||
		{ [ "$dry_run" = yes ] && [ -n "${deno-}" ] && [ -z "$deno_now" ]; }; then
		return
	fi
	if write_page manual manual && write_page bash completions bash &&
		write_page zsh completions zsh && write_page fish completions fish; then
		return
	fi
	has_pages=no
	said=$(first_line "$(cat "$work/said")")
	say "leave out the man page and the completions: this dotp cannot be run here to print them" \
		"(${said:-it prints nothing})"
}

# NAME ARGUMENT...
write_page() {
	page=$work/page.$1
	shift
	try_program "$@" >"$page" 2>"$work/said" && [ -s "$page" ]
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

# The domains that get fakes, and any other options of dotp, split at spaces:
# DOTP_OPTIONS="-d example.com -d example.org --nat-ttl 300"
DOTP_OPTIONS="$more"
EOF
}

write_unit() {
	sed "s|@PROGRAM@|$program|g" >"$work/$UNIT" <<'EOF'
[Unit]
Description=dotp, a DNS proxy that hands out fake addresses
# The address to listen on must be there. nftables.service flushes the whole ruleset when it starts.
Wants=network-online.target nss-lookup.target
After=network-online.target nftables.service
Before=nss-lookup.target
# Where nftables.service is restarted or reloaded, which flushes too, the table comes back.
PartOf=nftables.service
ReloadPropagatedFrom=nftables.service
# Try until the address and the network are there.
StartLimitIntervalSec=0

[Service]
Type=notify
# It is systemd-notify, a child of dotp, that says that dotp listens and nft works.
NotifyAccess=all
EnvironmentFile=/etc/dotp/dotp.env
# Deno keeps its cache in the service's own /tmp.
Environment=DENO_DIR=/tmp/deno DENO_NO_UPDATE_CHECK=1 NO_COLOR=1
# Only when the table is missing: after a restart dotp goes on with the mappings that are in it.
ExecStartPre=/bin/sh -c 'nft list tables inet | grep -qx "table inet dotp" || exec nft -f /etc/dotp/rules.nft'
# ${...} is one argument, whatever is in it; $DOTP_OPTIONS is split at spaces.
ExecStart=@PROGRAM@ -H ${DOTP_HOST} -p ${DOTP_PORT} -4 ${DOTP_IPV4_PREFIX} -6 ${DOTP_IPV6_PREFIX} --upstream-host ${DOTP_UPSTREAM_HOST} --upstream-port ${DOTP_UPSTREAM_PORT} $DOTP_OPTIONS
# Loads the rules anew and keeps the mappings.
ExecReload=/bin/sh -c 'exec nft -f /etc/dotp/rules.nft'
# There is no ExecStopPost: the mappings stay, so a restart or an upgrade cuts nobody off.
Restart=on-failure
RestartSec=2
# 2: the command line is wrong, and will be wrong again.
RestartPreventExitStatus=2
TimeoutStopSec=10

# Who it is, and what it may do: nft needs the first, port 53 the second.
DynamicUser=yes
User=dotp
AmbientCapabilities=CAP_NET_ADMIN CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
UMask=0077

# MemoryDenyWriteExecute= is missing because V8 compiles to machine code while it runs.
# PrivateUsers= and PrivateNetwork= are missing because the rules are those of this machine's network,
# IPAddressDeny= because any client may ask. ProcSubset=pid would hide /proc/sys and /proc/meminfo,
# which are looked at for checks and by V8.
DevicePolicy=closed
KeyringMode=private
LockPersonality=yes
PrivateDevices=yes
PrivateMounts=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
# AF_NETLINK is nft's, AF_UNIX leads to systemd.
RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources

[Install]
WantedBy=multi-user.target
EOF
}

# ---- Installing

install_dotp() {
	read_settings
	check_source
	check_machine
	work=$(mktemp -d) || fail "cannot make a temporary directory: set TMPDIR to where there is room"
	get_program
	write_env
	write_unit
	if [ -f "$work/dotp" ]; then copy_to_try; fi
	check_program
	write_pages
	install_files
	if [ -n "$DESTDIR" ]; then
		if [ "$start" = yes ]; then say "the service is not started: DESTDIR is set"; fi
		return
	fi
	load_table
	run_service
	last_words
}

install_files() {
	if [ -n "${deno_file-}" ] || [ "${deno-}" = "$own_deno" ]; then install_deno; fi
	put_file 755 "$work/dotp" "$program"
	put_config rules.nft "$rules_option"
	put_config dotp.env "$env_option"
	put_file 644 "$work/$UNIT" "$unit_file"
	if [ "$has_pages" = yes ]; then install_pages; fi
	record prefix "$prefix"
}

install_pages() {
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

# MODE SOURCE TARGET; the target is replaced at once, so a program may be running.
put_file() {
	if [ -f "$2" ] && [ -f "$DESTDIR$3" ] && cmp -s "$2" "$DESTDIR$3"; then
		say "keep $3: it is up to date"
		return
	fi
	step "install $3" || return 0
	changed=yes
	half=$DESTDIR$3.half.$$
	{ mkdir -p "$(dirname "$DESTDIR$3")" && cp "$2" "$half" && chmod "$1" "$half" &&
		mv -f "$half" "$DESTDIR$3"; } || fail "cannot write $DESTDIR$3: see above"
	half=''
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

record() {
	if [ "$dry_run" = yes ] || [ "$(recorded "$1")" = "$2" ]; then return; fi
	{
		if [ -f "$DESTDIR$STATE_FILE" ]; then grep -v "^$1=" "$DESTDIR$STATE_FILE" || :; fi
		printf '%s=%s\n' "$1" "$2"
	} >"$work/state"
	half=$DESTDIR$STATE_FILE.half.$$
	{ cp "$work/state" "$half" && mv -f "$half" "$DESTDIR$STATE_FILE"; } ||
		fail "cannot write $DESTDIR$STATE_FILE: see above"
	half=''
}

is_loaded() { nft list tables inet 2>/dev/null | grep -qx 'table inet dotp'; }

# Never over a table that is there: it may hold live mappings.
load_table() {
	if is_loaded; then
		say "keep the table inet dotp: it is loaded"
		if [ "$rules_changed" = yes ]; then
			say "the new rules take effect with: nft -f $RULES_FILE; the mappings stay"
		fi
	elif step "load $RULES_FILE"; then
		nft -f "$RULES_FILE" || fail "nft does not take $RULES_FILE: see above"
	fi
}

has_systemd() { has systemctl && [ -d /run/systemd/system ]; }

run_service() {
	if ! has_systemd; then return; fi
	if [ "$changed" = yes ] && step "systemctl daemon-reload"; then systemctl daemon-reload; fi
	was_active=no
	if systemctl is-active --quiet "$UNIT"; then was_active=yes; fi
	if [ "$was_active" = yes ] && [ "$changed" = yes ]; then
		if step "systemctl restart $UNIT; the mappings stay"; then
			systemctl restart "$UNIT" || not_started
		fi
	fi
	if [ "$start" = yes ] && step "systemctl enable --now $UNIT"; then
		systemctl enable --now "$UNIT" || not_started
	fi
}

not_started() { fail "dotp does not start: journalctl -u dotp -n 20 tells why"; }

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
			'--upstream-port "$DOTP_UPSTREAM_PORT" $DOTP_OPTIONS'
	elif ! systemctl is-active --quiet "$UNIT"; then
		say "dotp is installed. Look at $ENV_FILE, then: systemctl enable --now dotp"
	else
		say "dotp is installed and runs."
	fi
}

# ---- Removing

uninstall_dotp() {
	check_root
	if [ -z "$DESTDIR" ]; then stop_dotp; fi
	had_unit=no
	if [ -f "$DESTDIR$unit_file" ]; then had_unit=yes; fi
	for each in "$program" "$own_deno" "$unit_file" "$man_page" "$bash_completion" "$zsh_completion" \
		"$fish_completion"; do
		remove "$each"
	done
	made=$(recorded made)
	remove "/etc/systemd/system/multi-user.target.wants/$UNIT"
	if [ -z "$DESTDIR" ]; then
		if has nft && is_loaded && step "delete the table inet dotp"; then
			nft delete table inet dotp || fail "nft cannot delete the table inet dotp: see above"
		fi
		if [ "$had_unit" = yes ] && has_systemd && step "systemctl daemon-reload"; then
			systemctl daemon-reload
			systemctl reset-failed "$UNIT" 2>/dev/null || :
		fi
	fi
	if [ "$purge" = yes ]; then
		remove_all "/etc/systemd/system/$UNIT.d"
		remove_all "$ETC"
	elif [ -d "$DESTDIR$ETC" ]; then
		say "keep $ETC: --purge removes it too"
	fi
	# Those below others first. One that holds something else now stays.
	if [ "$dry_run" = no ]; then
		for each in $(words "$made" | sort -r); do rmdir "$DESTDIR$each" 2>/dev/null || :; done
	fi
	for each in "$library" "$prefix/bin" "${unit_file%/*}" "$prefix/lib" \
		/etc/systemd/system/multi-user.target.wants /etc; do
		remove_empty "$each"
	done
}

stop_dotp() {
	if has_systemd && { [ -f "$unit_file" ] || systemctl is-active --quiet "$UNIT"; }; then
		if step "systemctl disable --now $UNIT"; then
			systemctl disable --now "$UNIT" || fail "systemctl cannot stop $UNIT: see above"
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

remove_all() {
	if [ ! -d "$DESTDIR$1" ]; then return; fi
	if step "remove $1"; then
		rm -rf "$DESTDIR$1" || fail "cannot remove $DESTDIR$1: see above"
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

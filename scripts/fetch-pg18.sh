#!/usr/bin/env bash
# Fetch Debian's PostgreSQL 18 with PL/JS and PGXS and unpack it into DIR, without root and
# without changing the host.
#
#   usage: scripts/fetch-pg18.sh DIR      prints the path of DIR's pg_config
#
# The packages come from Debian forky, the first release that has PostgreSQL 18 and PL/JS, so their
# C library may be newer than the host's. Every unpacked program is therefore a small script that
# starts the real one through the unpacked dynamic loader. Programs that those start (a shell, say)
# see nothing of it: no environment variable is set.
#
# Environment: DEBIAN_MIRROR (default: the mirror in the host's apt sources), CC (default: cc).
set -euo pipefail

suite=forky
. "$(dirname "$0")/private-apt.sh"

say() { printf 'fetch-pg18: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ $# -eq 1 ] || die "usage: $0 DIR"
problem=$(private_apt_flaw)
[ -z "$problem" ] || die "$problem"

mkdir -p "$(dirname "$1")"
target=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")

# Only one process fetches; others that want the same directory wait and find it there.
exec 9>"$target.lock"
command -v flock >/dev/null && flock 9
pg_config=$target/usr/lib/postgresql/18/bin/pg_config
if "$pg_config" --version >/dev/null 2>&1; then
  echo "$pg_config"
  exit 0
fi

work=$(mktemp -d "$target.partial.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
root=$work/root
apt=$work/apt
mkdir -p "$root"

# Of everything that the wanted packages depend on, take the database programs and the shared
# libraries. postgresql-server-dev-18 is taken alone: it depends on clang and LLVM (1 GB), which
# only matter for bitcode.
wanted_packages() {
  local headers='libpq-dev libzstd-dev liblz4-dev zlib1g-dev'
  # shellcheck disable=SC2086
  apt-get install --simulate -qq postgresql-18 postgresql-18-pljs $headers |
    awk '/^Inst/ { print $2 }' | xargs apt-cache show --no-all-versions |
    awk '/^Package:/ { name = $2 }
         /^Section:/ { if ($2 == "libs" || $2 == "database") print name }' |
    grep -vE '^(libperl|perl-modules|libgdbm|libdb5|libc-bin|libc-gconv|libsystemd-shared|libproc2|libncursesw|libdebconf|postgresql-(client-)?common)'
  # shellcheck disable=SC2086
  printf '%s\n' $headers postgresql-server-dev-18
}

unpack() {
  local deb
  for deb in "$apt"/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --no-same-owner \
      --exclude='./usr/share/doc*' --exclude='./usr/share/man*' --exclude='./usr/share/locale*' \
      --exclude='*/bitcode*' --exclude='*/gconv*'
  done
}

# PGXS was configured for a newer compiler and C library than the host may have.
fit_to_compiler() {
  local cc=${CC:-cc} makefile=$root/usr/lib/postgresql/18/lib/pgxs/src/Makefile.global flag
  sed -i 's/^with_llvm[[:space:]]*=.*/with_llvm = no/' "$makefile"
  command -v "$(sed -n 's/^CC = //p' "$makefile")" >/dev/null || sed -i "s|^CC = .*|CC = $cc|" "$makefile"
  for flag in $(sed -nE 's/^(CFLAGS|CXXFLAGS) = //p' "$makefile" | tr ' ' '\n' | sort -u); do
    case $flag in
      -W* | -f*)
        "$cc" -Werror "$flag" -Wall -fsyntax-only -x c /dev/null 2>/dev/null ||
          sed -i -E "/^(CFLAGS|CXXFLAGS) = /s/ $flag( |\$)/\1/" "$makefile"
        ;;
    esac
  done
  fit_headers "$root/usr/include/postgresql"
}

is_elf() { [ "$(head -c 4 "$1" | tail -c 3)" = ELF ]; }

# The scripts find everything relative to themselves, so that the checkout can be moved.
wrap_programs() {
  local loader libs program dir up n=0
  loader=$(find "$root/usr/lib" -maxdepth 2 -name 'ld-linux*.so.*' -print -quit)
  [ -n "$loader" ] || die "found no dynamic loader among the unpacked packages"
  libs=$(dirname "$loader")
  while IFS= read -r -d '' program; do
    is_elf "$program" || continue
    "$loader" --library-path "$libs" --list "$program" >"$work/needed" 2>&1 || true
    if grep -q 'not found' "$work/needed"; then
      die "$(basename "$program") lacks a library: $(grep 'not found' "$work/needed" | head -n 3)"
    fi
    dir=$(dirname "$program")
    up=$(realpath --relative-to="$dir" "$root")
    mkdir -p "$dir/.real"
    mv "$program" "$dir/.real/"
    cat >"$program" <<WRAP
#!/bin/sh
here=\${0%/*}
root=\$here/$up
exec "\$root/${loader#"$root"/}" --argv0 "\$0" --library-path "\$root/${libs#"$root"/}" "\$here/.real/\${0##*/}" "\$@"
WRAP
    chmod 755 "$program"
    n=$((n + 1))
  done < <(find "$root/usr/lib/postgresql/18" -type f -perm -u+x ! -name '*.so*' ! -path '*/.real/*' -print0)
  [ "$n" -gt 0 ] || die "found no programs among the unpacked packages"
}

private_apt "$apt" "$suite"
say "reading the package list of Debian $suite"
apt-get update -qq
packages=$(wanted_packages)
say "fetching and unpacking $(wc -w <<<"$packages") packages into $target (about 100 MB)"
# shellcheck disable=SC2086
(cd "$apt/debs" && apt-get download -qq $packages)
unpack
fit_to_compiler
wrap_programs

"$root/usr/lib/postgresql/18/bin/postgres" --version >&2
[ -d /usr/share/zoneinfo ] || say "this host has no /usr/share/zoneinfo: only UTC will work (apt-get install tzdata)"

rm -rf "$target"
mv "$root" "$target"
echo "$pg_config"

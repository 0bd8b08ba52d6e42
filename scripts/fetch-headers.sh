#!/usr/bin/env bash
# Fetch the headers of another PostgreSQL from Debian, and unpack them into DIR.
#
#   usage: scripts/fetch-headers.sh MAJOR DIR      prints the directory of the server's headers
#
# Exit code 77: they cannot be had here; the reason is on stderr.
set -euo pipefail
. "$(dirname "$0")/private-apt.sh"

say() { printf 'fetch-headers: %s\n' "$*" >&2; }
unable() { say "$*"; exit 77; }

[ $# -eq 2 ] || { say "usage: $0 MAJOR DIR"; exit 1; }
major=$1
mkdir -p "$(dirname "$2")"
target=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
headers=$target/usr/include/postgresql/$major/server
package=postgresql-server-dev-$major

# Only one process fetches; others that want the same directory wait and find it there.
exec 9>"$target.lock"
! command -v flock >/dev/null || flock 9
if [ -f "$headers/postgres.h" ]; then
  echo "$headers"
  exit 0
fi

problem=$(private_apt_flaw)
[ -z "$problem" ] || unable "$problem"
work=$(mktemp -d "$target.partial.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP

# A version that is not released yet is in experimental. The package alone: it depends on clang and LLVM.
private_apt "$work/apt" sid experimental
say "fetching $package from Debian sid or experimental"
apt-get update -qq >"$work/log" 2>&1 || unable "Debian's mirror does not answer: $(tail -n 1 "$work/log")"
(cd "$work/apt/debs" && apt-get download -qq "$package") >"$work/log" 2>&1 ||
  unable "$package is not to be had: $(tail -n 1 "$work/log")"
mkdir "$work/root"
dpkg-deb --fsys-tarfile "$work"/apt/debs/*.deb | tar -x -C "$work/root" --no-same-owner ./usr/include
fit_headers "$work/root"

rm -rf "$target"
mv "$work/root" "$target"
echo "$headers"

# shellcheck shell=bash
# apt with an empty package database and directories of its own, to fetch packages of other releases of Debian
# without root and without changing the host; and what their files need before they can be used here.
# For scripts to read with `.`; those that do have `set -e`.
#
# Environment: DEBIAN_MIRROR (default: the mirror in the host's apt sources), CC (default: cc).

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# What keeps this host from it; nothing if it can be done.
private_apt_flaw() {
  local tool
  for tool in apt-get apt-cache dpkg dpkg-deb tar awk "${CC:-cc}"; do
    command -v "$tool" >/dev/null || { echo "needs $tool (Debian or Ubuntu with build-essential)"; return; }
  done
  [ -r "$keyring" ] || { echo "needs $keyring (apt-get install debian-archive-keyring)"; return; }
  [ -n "$("$scripts/host-apt.sh" mirror)" ] ||
    echo "no Debian mirror in this host's apt sources: set DEBIAN_MIRROR to one"
}

# How the host reaches its mirror (proxies, retries) is kept; everything else of its configuration is left out.
#   usage: private_apt DIR SUITE...      from then on apt-get uses DIR; packages go to DIR/debs
private_apt() {
  local apt=$1 mirror suite
  shift
  mkdir -p "$apt"/{etc,empty,lists/partial,cache/archives/partial,debs}
  : >"$apt/status"
  mirror=$("$scripts/host-apt.sh" mirror)
  for suite in "$@"; do
    printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite"
  done >"$apt/etc/sources.list"
  "$scripts/host-apt.sh" settings >"$apt/apt.conf"
  cat >>"$apt/apt.conf" <<CONF
Dir::Etc "$apt/etc";
Dir::Etc::main "$apt/empty/none";
Dir::Etc::parts "$apt/empty";
Dir::Etc::sourcelist "$apt/etc/sources.list";
Dir::Etc::sourceparts "$apt/empty";
Dir::Etc::preferences "$apt/empty/none";
Dir::Etc::preferencesparts "$apt/empty";
Dir::State "$apt";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
Dir::Cache "$apt/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
// a mirror's copy may be older than its release file allows; its signature is still checked
Acquire::Check-Valid-Until "false";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
CONF
  export APT_CONFIG=$apt/apt.conf
}

# Whether the host's compiler takes a program, given on stdin.
compiles() {
  "${CC:-cc}" -D_GNU_SOURCE -Werror=implicit-function-declaration -fsyntax-only -x c - 2>/dev/null
}

# The server's headers in DIR were configured for a newer compiler and C library than the host may have.
fit_headers() {
  # glibc declares strlcpy and strlcat only since 2.38
  compiles <<<$'#include <string.h>\nint main(void) { char b[2]; return (int) strlcpy(b, "a", 2); }' ||
    { grep -rlE 'HAVE_DECL_STRLC(PY|AT) 1' "$1" || true; } | xargs -r sed -i -E 's/(HAVE_DECL_STRLC(PY|AT)) 1/\1 0/'
  # gcc has it since 13
  compiles <<<'int main(void) { const int i = 0; typeof_unqual(i) j = i; return j; }' ||
    { grep -rlE 'HAVE_TYPEOF_UNQUAL 1' "$1" || true; } | xargs -r sed -i -E 's/^#define (HAVE_TYPEOF_UNQUAL) 1/#undef \1/'
}

#!/bin/sh
# How this host's apt reaches Debian, for those who need packages of another release.
#
#   usage: scripts/host-apt.sh mirror      the mirror; DEBIAN_MIRROR, if set, goes first
#          scripts/host-apt.sh settings    proxies, retries and the like, as lines of apt.conf
#          scripts/host-apt.sh options     the same and what makes a mirror's older copy usable,
#                                          as apt-get's -o options
set -eu

mirror() {
  # shellcheck disable=SC2016 # the format's names are apt's
  apt-get indextargets --format '$(ORIGIN) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk '$1 == "Debian" && $2 !~ /security/ && !found { print $2; found = 1 }'
}

settings() {
  apt-config dump 2>/dev/null | grep -E '^Acquire::(http|https|ftp|Retries|ForceIPv|Check-)' || true
}

case ${1:-} in
  mirror) echo "${DEBIAN_MIRROR:-$(mirror)}" ;;
  settings) settings ;;
  # no option of these needs a space in its value; one that has some is left out
  options) settings | sed -nE 's/^([^ ]+) "([^ "]+)";$/-o \1=\2/p' | tr '\n' ' ' ;;
  *) echo "usage: $0 mirror|settings|options" >&2; exit 1 ;;
esac

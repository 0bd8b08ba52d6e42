#!/bin/sh
# See to it that the image that ours is made from is there: as it is, or pulled, or, where no registry
# answers and it is Debian's forky-slim, made from the Debian mirror that this host uses.
#
#   usage: scripts/base-image.sh IMAGE
set -eu

image=$1
here=$(cd "$(dirname "$0")" && pwd)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'base-image: %s\n' "$*" >&2; }

docker image inspect "$image" >/dev/null 2>&1 && exit 0
# where packets to the registry vanish instead of being refused, this must end too
problem=$(timeout 300 docker pull -q "$image" 2>&1 >/dev/null) && exit 0
[ "$image" = debian:forky-slim ] || { say "$image could not be pulled: $problem"; exit 1; }

if ! command -v mmdebstrap >/dev/null; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "$image could not be pulled, and to make it mmdebstrap is needed: $problem"
    exit 1
  fi
  say "installing mmdebstrap"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null 2>&1
fi
mirror=$("$here/host-apt.sh" mirror)
[ -n "$mirror" ] || { say "no Debian mirror in this host's apt sources: set DEBIAN_MIRROR to one"; exit 1; }

say "no registry has answered: making $image from this host's Debian mirror"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
"$here/host-apt.sh" settings >"$work/apt.conf"
# As in Debian's own slim image manuals are left out. How this host reaches its mirror is its business
# and does not stay in the image.
# shellcheck disable=SC2016 # the hook's argument
mmdebstrap --quiet --variant=minbase --keyring="$keyring" --aptopt="$work/apt.conf" \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
  forky "$work/root.tar" "$mirror"
docker import --change 'CMD ["bash"]' "$work/root.tar" "$image" >/dev/null

#!/usr/bin/env bash
# Install the zip of a release, and Debian's package, in containers that have nothing but what the documentation asks
# for, and have the server answer (`make test-packages`). Without a container engine, and where none can be started, it
# says why and skips.
#
#   usage: scripts/test-packages.sh ZIP
set -uo pipefail
cd "$(dirname "$0")/.." || exit

base=debian:forky-slim
zip=$1

if [ "${2:-}" != with-engine ]; then
  scripts/with-engine.sh "$0" "$zip" with-engine
  status=$?
  [ "$status" -ne 77 ] || { echo "test-packages: skipped, for the reason above" >&2; exit 0; }
  exit "$status"
fi

set -e
scripts/base-image.sh "$base"
apt_options=
if command -v apt-config >/dev/null; then apt_options=$(scripts/host-apt.sh options); fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/packages" "$work/context"
cp "$zip" "$work/steep_repl.zip"
cp debian/control "$work/context"
proxies=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  [ -z "${!name:-}" ] || proxies+=("$name")
done

# usage: image STAGE      made once for each set of packages
image() {
  docker build -q --target "$1" --tag "steep_repl_test:$1" --file test/packages/Dockerfile --build-arg "BASE=$base" \
    --build-arg "APT_OPTIONS=$apt_options" "${proxies[@]/#/--build-arg=}" "$work/context" >/dev/null
}

# usage: inside IMAGE SHELL-COMMAND
inside() {
  docker run --rm "${proxies[@]/#/--env=}" -v "$PWD/test/packages:/tests:ro" \
    -v "$work/steep_repl.zip:/steep_repl.zip:ro" -v "$work/packages:/packages" "$1" sh -ec "$2"
}

echo "== the zip, on a server with a compiler"
image compiler
inside steep_repl_test:compiler "/tests/from-zip.sh /steep_repl.zip; /tests/answer.sh"
echo "== Debian's package"
image builder
inside steep_repl_test:builder "/tests/build-deb.sh /steep_repl.zip /packages"
inside "$base" "/tests/from-deb.sh /packages $apt_options; /tests/answer.sh"
mkdir -p build/packages
cp "$work"/packages/*.deb build/packages
echo "test-packages: all well"

#!/usr/bin/env bash
# Build the container image (`make image`), with the engine that `docker` talks to.
#
# Environment: TAG (default steep_repl:dev), BASE (default debian:forky-slim), JS (pljs or plv8),
# VERSION. Proxies in the environment and in the host's apt settings are used for building and do not
# stay in the image.
set -euo pipefail
cd "$(dirname "$0")/.."

tag=${TAG:-steep_repl:dev}
base=${BASE:-debian:forky-slim}
# its SQL and JavaScript are bundled with Debian's Node.js, whatever the server is based on
bundle_base=debian:forky-slim

scripts/base-image.sh "$base"
[ "$base" = "$bundle_base" ] || scripts/base-image.sh "$bundle_base"

apt_options=
if command -v apt-config >/dev/null; then apt_options=$(scripts/host-apt.sh options); fi
arguments=(
  --build-arg "BASE=$base" --build-arg "JS=${JS:-pljs}" --build-arg "VERSION=$VERSION"
  --build-arg "REVISION=$(git describe --always --dirty --abbrev=40 2>/dev/null || true)"
  --build-arg "APT_OPTIONS=$apt_options"
)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  [ -z "${!name:-}" ] || arguments+=(--build-arg "$name")
done
docker build --tag "$tag" --file docker/Dockerfile "${arguments[@]}" .
printf '%s: %s MB\n' "$tag" "$(($(docker image inspect --format '{{.Size}}' "$tag") / 1000000))"

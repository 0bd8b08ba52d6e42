#!/usr/bin/env bash
# Build the container image and test it (`make test-image`). Without a container engine, and where none
# can be started, it says why and skips.
#
# Environment: what scripts/image.sh takes; ARGS, given to vitest.
set -uo pipefail
cd "$(dirname "$0")/.." || exit

if [ "${1:-}" = with-engine ]; then
  scripts/image.sh || exit 1
  # shellcheck disable=SC2086 # arguments are words
  STEEP_IMAGE=${TAG:-steep_repl:dev} node_modules/.bin/vitest run --config test/image/vitest.config.ts \
    --reporter=default --reporter=json --outputFile.json=build/image-tests.json ${ARGS:-} || exit 1
  exit
fi

scripts/with-engine.sh scripts/test-image.sh with-engine
status=$?
[ "$status" -ne 77 ] || { echo "test-image: skipped, for the reason above" >&2; exit 0; }
exit "$status"

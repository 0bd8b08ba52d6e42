#!/bin/sh
# npm runs this after it has installed this folder's packages, and before it packs or links the folder:
# build the command line. npm install -g of a fresh checkout links it without its packages.
set -eu
cd "$(dirname "$0")/.."
# an image may copy what npm ci needs before the rest
[ -e cli/build.mjs ] || exit 0
if [ ! -d node_modules/esbuild ]; then
  # the caller's --global and --prefix are about where the link goes
  env -u npm_config_global -u npm_config_prefix -u npm_config_location \
    npm ci --ignore-scripts --loglevel=error --no-audit --no-fund --no-update-notifier
fi
node cli/build.mjs

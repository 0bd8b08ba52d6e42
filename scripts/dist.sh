#!/usr/bin/env bash
# Make the zip of a release (`make dist`): the sources that belong to it, the SQL for both engines, the metadata for
# PGXN and the changelog of Debian's package. The same commit gives the same bytes.
#
#   usage: scripts/dist.sh VERSION ZIP      the SQL is in build/plv8 and build/pljs
set -euo pipefail
cd "$(dirname "$0")/.."

version=$1
zip=$2
top=steep_repl-$version
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf 'dist: %s\n' "$*" >&2; }

# what the checkout has now, also where it is not committed
tree=$(git stash create)
[ -z "$tree" ] || say "with changes that are not committed"
[ -z "$(git ls-files --others --exclude-standard)" ] || say "without files that git does not know"

maintainer=$(sed -n 's/^Maintainer: //p' debian/control)
cat >"$work/changelog" <<LOG
steep-repl ($version-1) unstable; urgency=medium

  * See CHANGELOG.md.

 -- $maintainer  $(git log -1 --format=%aD)
LOG
node scripts/meta.mjs >"$work/META.json"

files=(--prefix="$top/" --add-file="$work/META.json" --prefix="$top/debian/" --add-file="$work/changelog")
for engine in plv8 pljs; do
  files+=(--prefix="$top/generated/$engine/")
  for file in "build/$engine/steep_repl--"{"$version".sql,"$version".control,"0.1.0--$version.sql"}; do files+=(--add-file="$file"); done
done
mkdir -p "$(dirname "$zip")"
# what is said with the last --prefix counts for the tree
git archive --format=zip -9 "${files[@]}" --prefix="$top/" --output="$work/zip" "${tree:-HEAD}"
mv "$work/zip" "$zip"
printf '%s: %s KB\n' "$zip" "$(($(wc -c <"$zip") / 1000))"

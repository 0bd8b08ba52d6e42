#!/bin/sh
# Check the style of everything but the C compiler's part (see the Makefile), or repair it with --fix.
# All checks run, so that one call shows everything there is to mend.
set -u
cd "$(dirname "$0")/.." || exit 1
bin=node_modules/.bin
failed=

check() {
  title=$1
  shift
  "$@" || { echo "lint: $title failed" >&2; failed=1; }
}

c_files() { find bgworker-c test/sanitize test/module -name '*.[ch]' | sort; }
shell_files() { { find scripts bench docker test/packages -name '*.sh' 2>/dev/null; echo .ci/run; } | sort; }

if [ "${1:-}" = --fix ]; then
  check biome "$bin/biome" check --write --log-level=warn .
  # shellcheck disable=SC2046
  check clang-format "$bin/clang-format" -i $(c_files)
  exit "${failed:-0}"
fi

for project in plv8 plv8/build test cli; do
  [ ! -f "$project/tsconfig.json" ] || check "tsc -p $project" "$bin/tsc" --noEmit -p "$project"
done
check layers node scripts/lint-layers.mjs
check biome "$bin/biome" check --log-level=warn --error-on-warnings .
# shellcheck disable=SC2046
check clang-format "$bin/clang-format" --dry-run -Werror $(c_files)

for script in $(shell_files); do
  case $(head -n 1 "$script") in
    *bash) check "bash -n $script" bash -n "$script" ;;
    *) check "sh -n $script" sh -n "$script" ;;
  esac
  ! command -v shellcheck >/dev/null || check "shellcheck $script" shellcheck -x "$script"
done

exit "${failed:-0}"

#!/bin/sh
# Runs what uses `unsafe` of the file layer and the format under valgrind's memcheck: npm run memcheck. Exits 1 when something
# is found.
set -eu
cd "$(dirname "$0")/.."

command -v valgrind >/dev/null 2>&1 || { echo "memcheck: valgrind is missing: apt-get install valgrind" >&2; exit 1; }

export CARGO_PROFILE_DEV_OPT_LEVEL=2 CARGO_PROFILE_DEV_DEBUG=line-tables-only CARGO_INCREMENTAL=0
binary() { # package, "--lib" or "--test NAME": builds it and says where it is
  # shellcheck disable=SC2086 # two words
  cargo test --locked --no-run --quiet --manifest-path native/Cargo.toml -p "$1" $2 --message-format=json |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p'
}

failed=0
memcheck() { # package, what of it
  package=$1 what=$2
  path=$(binary "$package" "$what")
  log=$(mktemp /tmp/kmsfs-memcheck-XXXXXX.log)
  if valgrind --quiet --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --log-file="$log" \
    "$path" --test-threads=1; then
    echo "memcheck: $package $what: nothing found"
  else
    failed=1
    echo "memcheck: $package $what: found" >&2
    cat "$log" >&2
  fi
  rm -f "$log"
}

# The arena and its wiping, the sector cache; keys in locked memory.
memcheck kmsfs-files --lib
memcheck kmsfs-format --lib
exit "$failed"

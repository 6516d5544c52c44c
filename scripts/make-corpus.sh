#!/bin/sh
# Makes test/corpus/NAME from what this build writes. A corpus that is there already is never written again: later builds
# have to open it as it is.
set -eu
cd "$(dirname "$0")/.."
npm run --silent build:test
node dist-test/test/corpus/make.js "$@"
npx --no-install biome format --write "test/corpus/$1"

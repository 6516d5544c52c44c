#!/bin/sh
# Writes docs/metrics.md anew from src/metrics/definitions.ts.
set -eu
cd "$(dirname "$0")/.."
node scripts/bundle.mjs
node --input-type=module -e 'import { metricsDocument } from "./dist/metrics/document.js"; process.stdout.write(metricsDocument());' > docs/metrics.md

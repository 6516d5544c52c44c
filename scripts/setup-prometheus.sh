#!/bin/sh
# Finds or installs prometheus_client, whose parsers judge what kmsfs exposes, and prints a python that has it.
set -eu
cd "$(dirname "$0")/.."

has() {
  "$1" -c 'import prometheus_client.openmetrics.parser' >/dev/null 2>&1
}

for candidate in .venv-prometheus/bin/python3 "$(command -v python3 || true)"; do
  if [ -n "$candidate" ] && [ -x "$candidate" ] && has "$candidate"; then
    case $candidate in
      /*) echo "$candidate" ;;
      *) echo "$PWD/$candidate" ;;
    esac
    exit 0
  fi
done

echo "installing prometheus_client into $PWD/.venv-prometheus" >&2
if ! python3 -m venv .venv-prometheus >&2; then
  # Debian keeps venv in a package of its own.
  rm -rf .venv-prometheus
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup-prometheus: python3 has no venv; install the package python3-venv" >&2
    exit 1
  fi
  apt-get update -qq >&2
  apt-get install -y -qq python3-venv >&2
  python3 -m venv .venv-prometheus >&2
fi
.venv-prometheus/bin/pip install --quiet --disable-pip-version-check 'prometheus_client==0.23.1' >&2
has .venv-prometheus/bin/python3 || { echo "setup-prometheus: prometheus_client does not load" >&2; exit 1; }
echo "$PWD/.venv-prometheus/bin/python3"

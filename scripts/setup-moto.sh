#!/bin/sh
# Finds or installs moto, the independent KMS implementation that the tests talk to, and prints the path of a
# moto_server that starts. A machine's own is taken when it works; else one goes into .venv of the project.
set -eu
cd "$(dirname "$0")/.."

works() {
  "$1" --help >/dev/null 2>&1
}

own=$(command -v moto_server || true)
for candidate in .venv/bin/moto_server "$own"; do
  if [ -n "$candidate" ] && [ -x "$candidate" ] && works "$candidate"; then
    case $candidate in
      /*) echo "$candidate" ;;
      *) echo "$PWD/$candidate" ;;
    esac
    exit 0
  fi
done

echo "installing moto[server] into $PWD/.venv" >&2
if ! python3 -m venv .venv >&2; then
  # Debian keeps venv in a package of its own.
  rm -rf .venv
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "setup-moto: python3 has no venv; install the package python3-venv" >&2
    exit 1
  fi
  apt-get update -qq >&2
  apt-get install -y -qq python3-venv >&2
  python3 -m venv .venv >&2
fi
.venv/bin/pip install --quiet --disable-pip-version-check 'moto[server]==5.2.1' >&2
works .venv/bin/moto_server || { echo "setup-moto: moto_server does not start" >&2; exit 1; }
echo "$PWD/.venv/bin/moto_server"

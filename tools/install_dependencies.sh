#!/usr/bin/env bash
# Installs the Debian packages that building and testing need; does nothing where all are there.
#   --with-figures    also what draws figures
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config libfmt-dev libboost-test-dev libboost-math-dev
  nlohmann-json3-dev libcli11-dev libtomlplusplus-dev libutf8proc-dev libzip-dev libcsv-dev libssl-dev zlib1g-dev)
[ "${1:-}" = --with-figures ] && packages+=(python3-matplotlib)

missing=()
for package in "${packages[@]}"; do
  dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -q '^installed$' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "normtune: error: missing packages (${missing[*]}) and no sudo; ask an administrator to: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Installing ${#missing[@]} Debian packages: ${missing[*]}"
if ! { "${as_root[@]}" apt-get update -qq && "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
  tail -n 5 "$log" >&2
  echo "normtune: error: could not install ${missing[*]} (no network or no free disk space? see above); install them by hand and try again" >&2
  exit 1
fi

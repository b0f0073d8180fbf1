#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests. NORMTUNE_DATA=DIR adds the tests on real checkpoints and tasks.
#   bash tools/test.sh [-DNORMTUNE_SANITIZE=ON ...]     options go to cmake
set -euo pipefail
cd "$(dirname "$0")/.."

bash tools/install_dependencies.sh
build=${BUILD_DIR:-build}
jobs=$(nproc)
cmake -S . -B "$build" -G Ninja "$@" >"$build.configure.tmp" 2>&1 || { cat "$build.configure.tmp" >&2; rm -f "$build.configure.tmp"; exit 1; }
rm -f "$build.configure.tmp"
cmake --build "$build" --parallel "$jobs"
ctest --test-dir "$build" --output-on-failure --parallel "$jobs"

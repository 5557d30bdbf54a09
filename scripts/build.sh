#!/usr/bin/env bash
# Configures and builds.
# Usage: scripts/build.sh [PRESET] [TARGET]...
#   PRESET  release (default), cpu, debug, asan or ci: see CMakePresets.json
#   TARGET  what to build, by default everything; ssgpt is the program alone
# JOBS=N in the environment sets the number of compile jobs.
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

preset=${1:-release}
targets=("${@:2}")
case $preset in
  release | ci) folder=build/release ;;
  cpu | debug | asan) folder=build/$preset ;;
  *) fail "unknown preset '$preset'; known are release, cpu, debug, asan and ci" ;;
esac
for tool in cmake ninja g++ pkg-config; do
  [[ -n $(type -P "$tool") ]] || fail "$tool is missing; run scripts/setup.sh"
done
[[ -x .venv/bin/python ]] || fail "LibTorch is missing (no .venv); run scripts/setup.sh"

jobs=${JOBS:-$(compile_jobs)}
say "Building ${targets[*]:-everything} in $folder with $jobs compile jobs"
cmake --preset "$preset" --log-level=NOTICE
cmake --build "$folder" --parallel "$jobs" ${targets[0]:+--target "${targets[@]}"}

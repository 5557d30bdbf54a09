#!/usr/bin/env bash
# Installs what is missing, checks style and layering, builds with warnings as errors, and runs every test.
# Runs unattended: needs neither a terminal nor input. Exit code 0 only if everything passed.
# Usage: scripts/test.sh
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"
exec </dev/null
failed=()

stage "Set-up"
scripts/setup.sh

stage "Style"
mapfile -t sources < <(find src tests -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' | sort)
if clang-format --dry-run -Werror "${sources[@]}"; then
  say "clang-format: ${#sources[@]} files are formatted"
else
  failed+=("clang-format (repair: clang-format -i FILE)")
fi
if shellcheck -x scripts/*.sh scripts/slurm/*.sbatch .ci/run; then say "shellcheck: no findings"; else failed+=("shellcheck"); fi

stage "Layering"
.venv/bin/python tests/layering.py || failed+=("layering")

stage "Build"
scripts/build.sh ci

# More workers than cores: tests of failing ranks spend most of their time waiting.
workers=$(($(nproc) < 8 ? $(nproc) + 2 : 8))

stage "Unit tests"
# In a new .venv each integration test worker would compile the packages that it imports: do that once, here.
compiled=(.venv/lib/python*/site-packages/transformers/models/llama/__pycache__/*.pyc)
if [[ ! -e ${compiled[0]} ]]; then
  SSGPT_BIN=$PWD/build/release/ssgpt .venv/bin/python -m pytest -q -p no:cacheprovider --collect-only tests/integration >/dev/null 2>&1 &
fi
ctest --test-dir build/release --parallel "$workers" --output-on-failure --no-tests=error || failed+=("unit tests")
wait # errors in what was compiled show up in the integration tests

stage "Integration tests"
SSGPT_BIN=$PWD/build/release/ssgpt \
  .venv/bin/python -m pytest -p no:cacheprovider -n "$workers" --dist worksteal tests/integration ||
  failed+=("integration tests")

if ((${#failed[@]} > 0)); then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi

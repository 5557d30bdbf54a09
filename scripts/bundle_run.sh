#!/usr/bin/env bash
# run.sh of a bundle (scripts/bundle.sh): starts the bundle's ssgpt with the libraries of a python's PyTorch 2.11.
# Usage: run.sh [--python PYTHON] ARGUMENTS OF SSGPT...      PYTHON: by default SSGPT_PYTHON, else python3
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${SSGPT_PYTHON:-python3}
if [[ ${1:-} == --python ]]; then
  if (($# < 2)); then
    echo "run.sh: --python needs the path of a python" >&2
    exit 2
  fi
  python=$2
  shift 2
fi
# shellcheck source=scripts/torch_environment.sh
source "$here/scripts/torch_environment.sh"
use_torch "$python" "$here/bin/ssgpt"
exec "$here/bin/ssgpt" "$@"

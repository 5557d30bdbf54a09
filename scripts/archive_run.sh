#!/usr/bin/env bash
# bin/ssgpt of an archive (scripts/bundle.sh --archive): starts the program with the libraries of a PyTorch 2.11: that of the
# folder LIBTORCH, else of the python SSGPT_PYTHON, else of python3 or python on the PATH.
# Usage: ssgpt ARGUMENTS OF SSGPT...      a symbolic link to this file can be anywhere
set -euo pipefail

own=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")/lib/ssgpt
# shellcheck source=scripts/torch_environment.sh
source "$own/torch_environment.sh"
use_torch_found "$own/ssgpt" "$own"
exec "$own/ssgpt" "$@"

#!/usr/bin/env bash
# Tests the program on this machine's GPU and measures its training step beside PyTorch's. Needs a python with
# PyTorch 2.11 and numpy (python3, or SSGPT_PYTHON), and no network; runs from a bundle (scripts/bundle.sh) or from the
# repository. Exit code 3: no GPU. 1: a test failed, or nothing was measured.
# Usage: scripts/bench_gpu.sh [--no-tests] [--sanitize] [--curves] [--profile] [options of bench_gpu.py; --help lists them]
#   --no-tests  the benchmark alone   --sanitize  the tests under compute-sanitizer too
#   --curves    also whether losses in bfloat16 follow float32 as closely as PyTorch's do (loss_curves.py)
#   --profile   also where the time of our step goes, what SSMax costs, and each operation beside plain ATen
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/torch_environment.sh
source "$here/torch_environment.sh"

if [[ -x $here/../bin/ssgpt ]]; then
  root=$(cd "$here/.." && pwd) binary=$root/bin/ssgpt tests=$root/bin/ssgpt_cuda_tests python=python3
else
  root=$(cd "$here/.." && pwd) binary=$root/build/release/ssgpt tests=$root/build/release/tests/cuda/ssgpt_cuda_tests
  python=$root/.venv/bin/python
  [[ -x $python ]] || python=python3
fi
python=${SSGPT_PYTHON:-$python}

run_tests=1 sanitize=0 curves=0 profile=0 on_gpu=1 arguments=()
while (($# > 0)); do
  case $1 in
    --no-tests) run_tests=0 ;;
    --sanitize) sanitize=1 ;;
    --curves) curves=1 ;;
    --profile) profile=1 ;;
    --help | -h)
      sed -n '2,8s/^# //p' "${BASH_SOURCE[0]}"
      exec "$python" "$here/bench_gpu.py" --help
      ;;
    --device)
      [[ ${2:-} != cpu ]] || on_gpu=0
      arguments+=("$1" "${2:-}")
      shift
      ;;
    --device=cpu)
      on_gpu=0
      arguments+=("$1")
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

if [[ ! -x $binary ]]; then
  echo "bench_gpu.sh: $binary is missing; scripts/build.sh makes it" >&2
  exit 1
fi
use_torch "$python" "$binary"
if ((on_gpu)) && ! "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
  echo "bench_gpu.sh: no GPU that CUDA can use is on this machine" >&2
  exit 3
fi

failed=0
# check TITLE LIMIT COMMAND...: a test under a time limit, whose failure is told at the end.
check() {
  local title=$1 limit=$2
  shift 2
  echo "== $title"
  timeout --kill-after=10 "$limit" "$@" || {
    echo "== $title: failed with exit code $?" >&2
    failed=1
  }
}

if ((on_gpu && run_tests)); then
  if [[ -x $tests ]]; then
    check "GPU tests" 240 "$tests" --gtest_brief=1
    if ((sanitize)); then
      if [[ -n $(type -P compute-sanitizer) ]]; then
        # Our kernels alone: those of the libraries are not ours to mend, and take the longest. Without LibTorch's cache
        # of memory every tensor has bounds; tests of that cache, of waiting, of NCCL and of 4 GiB and more are left out.
        for tool in memcheck racecheck; do
          check "GPU tests under $tool" 600 env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool "$tool" \
            --error-exitcode 9 --kernel-name kernel_substring=ssgpt "$tests" --gtest_brief=1 \
            --gtest_filter='-*32BitIndex*:TrainerOnGpu.*:*DoesNotWait*:Gpu.*'
        done
      else
        echo "compute-sanitizer is not on this machine: not run"
      fi
    fi
  else
    echo "$tests is not there: no GPU tests are run"
  fi
fi

if ((on_gpu && curves)); then
  check "Loss curves" 400 "$python" "$here/loss_curves.py" --binary "$binary"
fi

if ((on_gpu && profile)); then
  step=("$binary" bench step --shape paper --set train.device=cuda --set train.dtype=bfloat16
    --set train.global_batch_size=32 --set train.micro_batch_size=32)
  check "Time of a step" 120 "${step[@]}" --steps 50
  check "SSMax beside Softmax" 120 "${step[@]}" --steps 20 --attention softmax,ssmax
  check "Operations" 240 "$binary" bench kernels --device cuda
fi

"$python" "$here/bench_gpu.py" --binary "$binary" "${arguments[@]}" || failed=1
exit "$failed"

#!/usr/bin/env bash
# Tests this program on this machine's GPU and measures it, within a total time limit. Each stage runs in its own
# processes with its own limit: one that fails, crashes or hangs is marked on its line and costs at most its limit; one
# that does not fit into the remaining time is reported as skipped. Needs a python with PyTorch 2.11 and numpy (python3,
# or SSGPT_PYTHON), and no network; runs from a bundle (scripts/bundle.sh) or from the repository.
# Usage: scripts/gpu_check.sh [OPTION]... DIR [SECONDS]
#   DIR             receives summary.txt, with one line `stage code seconds headline` per stage, and seven output files
#   SECONDS         total time, by default 450; the peers get what the other stages leave
#   --only A,B      only these stages: facts, step, tests, curves, compile-cache, large, rank, products, kernels,
#                   attention, peers, memcheck
#   --pace PERCENT  scales each stage's limit, by default 100: use more on a slower machine
#   --device cpu    tries the script without a GPU, in float32; add --shape tiny for a small model
# Exit code 0: every stage succeeded. 1: one did not. 2: wrong usage. 3: no GPU.
# shellcheck disable=SC2317  # the headline functions and end() are called by name
set -uo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)
declare -A pid_of began_at limit_of file_of
only='' pace=100 device=cuda shape=paper out='' total=450 failed=0

usage() {
  printf 'gpu_check.sh: %s\n' "$1" >&2
  sed -n '/^# Usage/,/^# Exit/s/^# //p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# --- Time ---------------------------------------------------------------------------------------------------------------

now() {
  local time=${EPOCHREALTIME/[.,]/}
  echo $((time / 1000))
}
seconds() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); } # $1 is in milliseconds
of_pace() { echo $(($1 * pace * 10)); }                            # a limit in seconds, as milliseconds
# Milliseconds left, less what it takes to end a stage that does not end by itself.
left() { echo $((begin + total * 1000 - $(of_pace 5) - $(now))); }

# --- Stages -------------------------------------------------------------------------------------------------------------

wanted() { [[ -z $only || ,$only, == *,$1,* ]]; }

# note NAME CODE MILLISECONDS HEADLINE: writes a stage's line.
note() {
  printf '%-15s %4s %6s  %s\n' "$1" "$2" "$(seconds "$3")" "$4" | tee -a "$out/summary.txt"
  [[ $2 == 0 || $2 == - ]] || failed=1
}

# keep NAME: appends what a stage printed, or the end of it if it is long, to its file.
keep() { { tail -c 400000 "$scratch/$1.log" && printf '\n'; } >>"$out/${file_of[$1]}"; }

# start NAME FILE LIMIT COMMAND...: runs a stage in the background; its output goes to FILE once it has ended. Fails if
# its limit does not fit into the time left.
start() {
  local name=$1 file=$2 limit rest kill_after
  limit=$(of_pace "$3") rest=$(left)
  shift 3
  if ((limit > rest)); then
    note "$name" - 0 "skipped: its limit is $(seconds "$limit") s, and $(seconds $((rest > 0 ? rest : 0))) s are left"
    printf '== %s: skipped, the time was over\n' "$name" >>"$out/$file"
    return 1
  fi
  kill_after=$((limit / 10 < 5000 ? limit / 10 + 100 : 5000))
  began_at[$name]=$(now) limit_of[$name]=$((limit + kill_after)) file_of[$name]=$file
  printf '== %s: %s\n' "$name" "$*" >"$scratch/$name.log"
  (
    timeout --kill-after="$(seconds "$kill_after")" "$(seconds "$limit")" "$@" >>"$scratch/$name.log" 2>&1 </dev/null &
    child=$!
    trap 'kill "$child"' TERM # timeout passes it on to everything it started
    wait "$child"
    code=$?
    now >"$scratch/$name.ended"
    kill -KILL -- -"$child" # what the command left behind, in the process group that timeout made
    exit "$code"
  ) 2>/dev/null &
  pid_of[$name]=$!
}

# finish NAME HEADLINE_OF: waits for a stage that was started, for a little longer than its limit; a process stuck in the
# kernel is left behind. HEADLINE_OF LOG prints the headline of a stage that succeeded.
finish() {
  local name=$1 headline_of=$2 code=99 ended log=$scratch/$1.log headline
  [[ -n ${pid_of[$name]:-} ]] || return 0
  local latest=$((began_at[$name] + limit_of[$name] + 2000))
  while kill -0 "${pid_of[$name]}" 2>/dev/null && (($(now) < latest)); do sleep 0.05; done
  ended=$(now)
  if ! kill -0 "${pid_of[$name]}" 2>/dev/null; then
    wait "${pid_of[$name]}"
    code=$?
  fi
  [[ ! -s $scratch/$name.ended ]] || ended=$(<"$scratch/$name.ended")
  unset "pid_of[$name]"
  keep "$name"
  case $code in
    0) headline=$("$headline_of" "$log") ;;
    99) headline="cannot be ended; last: $(last_line "$log")" ;;
    124 | 137) headline="stopped at its limit; last: $(last_line "$log")" ;;
    *) headline=$(reason "$log") ;;
  esac
  headline=${headline#"${headline%%[! ]*}"}
  note "$name" "$code" $((ended - began_at[$name])) "${headline:-no output}"
  return "$code"
}

# stage NAME FILE LIMIT HEADLINE_OF COMMAND...: runs one stage alone. Returns its exit code.
stage() {
  local name=$1 file=$2 limit=$3 headline_of=$4
  shift 4
  start "$name" "$file" "$limit" "$@" || return 1
  finish "$name" "$headline_of"
}

skip() { note "$1" - 0 "skipped: $2"; }

# --- Headlines ----------------------------------------------------------------------------------------------------------

last_line() { tail -c 20000 "$1" | grep -avE '^ *$|^timeout: the monitored' | tail -n 1 | cut -c 1-160; }

# Why a stage failed: the tests that failed, or the one that was running; else the last line.
reason() {
  local names
  names=$(grep -aoE '^\[  FAILED  \] [A-Za-z0-9_/]+\.[A-Za-z0-9_/]+' "$1" | sort -u | cut -c 14-)
  if [[ -n $names ]]; then
    echo "$(wc -l <<<"$names") failed: $(paste -sd ' ' <<<"$names" | cut -c 1-300)"
  elif grep -aq '^\[ RUN  ' "$1" && ! grep -aq '^\[==========\].* ran\.' "$1"; then
    echo "ended in $(grep -a '^\[ RUN  ' "$1" | tail -n 1 | cut -c 14-): $(last_line "$1")"
  else
    last_line "$1"
  fi
}
of_facts() { sed -n 's/^headline: //p' "$1" | head -n 1; }
of_step() { sed -nE 's/^ +(speed|GEMM share|memory) +//p' "$1" | paste -sd ';' | cut -c 1-220; }
of_tests() { sed -nE 's/^\[  PASSED  \] ([0-9]+) tests?.*/\1 passed/p; s/^\[  SKIPPED \] ([0-9]+) tests?.*/\1 skipped/p' "$1" | paste -sd ' '; }
of_peer() { sed -nE 's/.*"seconds_to_ready": ([0-9.]+).*/compiled in \1 s/p' "$1" | head -n 1; }
of_curves() { grep -a ' ours in bfloat16 over ' "$1" | sed -E 's/ours in bfloat16 over the farthest of PyTorch.s: //' | paste -sd ';' | tr -s ' '; }
of_attention() { tail -n 1 "$1" | tr -s ' '; }
of_products() { grep -a '^a micro-batch of ' "$1" | tail -n 1 | cut -c 1-220; }
of_table() { sed -n '/^== /!{/[^ ]/{p;q}}' "$1"; }
of_peers() { grep -aE '^ *[0-9]+ softmax ' "$1" | awk '{ $1 = $2 = ""; print }' | cut -c 1-90 | paste -sd ';' | tr -s ' '; }
of_memcheck() { grep -a 'ERROR SUMMARY' "$1" | tail -n 1 | tr -d '='; }

# --- Stages in detail ---------------------------------------------------------------------------------------------------

# shellcheck disable=SC2016  # expanded by the shell that runs it
facts_script='
program=$1 python=$2 packages=$3 device=$5
date -u; uname -srm; ldd --version | head -n 1; nproc; free -m 2>/dev/null | sed -n 2p; df -Pm "${TMPDIR:-/tmp}" | tail -n 1
"$python" -c "import importlib.metadata as m, sys; print(\"python\", sys.version.split()[0], \"torch\", m.version(\"torch\"))"
nvidia-smi 2>/dev/null
version=$("$program" --version) || exit
echo "$version"
if [[ $device == cuda && $version =~ CUDA[[:space:]]+(none.*) ]]; then echo "no CUDA: ${BASH_REMATCH[1]#none: }"; exit 1; fi
LD_LIBRARY_PATH=$packages ldd "$4" 2>/dev/null | grep "not found" && exit 1
gpu=$(nvidia-smi --query-gpu=name,driver_version,clocks.max.sm,power.limit --format=csv,noheader 2>/dev/null | head -n 1)
echo "headline: ${gpu:-no nvidia-smi}; $(echo "$version" | sed -n 1,2p | tr -s " " | paste -sd " ")"
'
# shellcheck disable=SC2016
with_torch='source "$1"; use_torch "$2" "$3" || exit 1; shift 2; exec "$@"'

# The suites of the test program run in processes of their own: a CUDA error makes everything after it fail in the same
# process. The last process runs what no other filter names; tests that need many GB run alone, afterwards.
test_names=(attention norms rope losses model repeats trainer rest)
test_filters=('*AttentionOnGpu*:*ProductOnGpu*' 'Norm*:Swiglu*:RowScale*:DecodingOnGpu*' 'Rope*:QkNorm*' 'CrossEntropy*:Embedding*'
  '*ModelOnGpu*' 'TrainerOnGpu*Bit*:TrainerOnGpu*Cpu*:TrainerOnGpu*Swaps*' 'TrainerOnGpu*')
readonly large='*32BitIndex*'
# Eight processes at once, each with a thread per core that polls for work, would keep one another from the cores.
readonly few_threads=(OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive)

# filter_of INDEX: the gtest filter of test_names[INDEX].
filter_of() {
  local others
  others=$(IFS=:; echo "${test_filters[*]}")
  case ${test_names[$1]} in
    trainer) echo "${test_filters[$1]}-$large:${test_filters[$(($1 - 1))]}" ;;
    rest) echo "*-$large:$others" ;;
    *) echo "${test_filters[$1]}-$large" ;;
  esac
}

stage_facts() {
  wanted facts || return 0
  # PyTorch's libraries are 6 GB, which every stage reads from a disk that may be slow the first time.
  if [[ $device == cuda ]]; then
    (
      IFS=:
      # shellcheck disable=SC2086  # a list of folders
      exec find $packages -maxdepth 1 -name '*.so*' -type f -exec cat {} + 2>/dev/null
    ) >/dev/null &
    reader=$!
  fi
  stage facts facts.log 15 of_facts bash -c "$facts_script" facts "$program" "$python" "$packages" "$binary" "$device"
}

# The step, with and without measured GEMMs, and if the first fails, which parts of it do work.
stage_step() {
  wanted step || return 0
  local code=0 short=(--steps 5 --warmup 2)
  stage step step.log 45 of_step "$program" bench step "${model[@]}" --steps 30 --warmup 3 || code=$?
  stage step-untuned step.log 15 of_step "$program" bench step "${model[@]}" --steps 20 --warmup 3 --set train.tune_products=false
  ((code != 0)) || return 0
  stage step-flash step.log 12 of_step "$program" bench step "${model[@]}" "${short[@]}" --set train.attention_backend=flash
  stage step-efficient step.log 12 of_step "$program" bench step "${model[@]}" "${short[@]}" --set train.attention_backend=efficient
  stage step-float32 step.log 12 of_step "$program" bench step "${model[@]}" "${short[@]}" --set train.dtype=float32 \
    --set train.global_batch_size=4 --set train.micro_batch_size=4 --set train.attention_backend=auto
  stage step-blocking step.log 12 of_step env CUDA_LAUNCH_BLOCKING=1 "$program" bench step "${model[@]}" "${short[@]}"
}

# Everything that is not timed, side by side: the tests, the loss curves, and a peer that compiles. The compiled kernels
# are kept, whose source holds the batch's sizes; the autotuning, measured next to other work, is discarded.
stage_correctness() {
  local index started=()
  if wanted tests; then
    for index in "${!test_names[@]}"; do
      start "tests-${test_names[$index]}" tests.log 90 env "${few_threads[@]}" "${tests[@]}" --gtest_color=no \
        --gtest_filter="$(filter_of "$index")" &&
        started+=("tests-${test_names[$index]}")
    done
  fi
  ! wanted curves || start curves tests.log 90 "$python" "$here/loss_curves.py" --binary "$program" "${curves[@]}"
  if wanted compile-cache && [[ $device == cuda ]]; then
    start compile-cache peers.log 90 env TORCHINDUCTOR_CACHE_DIR="$scratch/inductor-discarded" "$python" "$here/peer.py" \
      --device cuda --dtype bfloat16 --micro-batch 32 --compile max-autotune --pad-vocabulary 128 --warmup 1
  fi
  local name
  for name in "${started[@]}"; do finish "$name" of_tests; done
  finish curves of_curves
  finish compile-cache of_peer
}

stage_large() {
  if ! wanted large; then return 0; fi
  stage tests-large tests.log 20 of_tests "${tests[@]}" --gtest_color=no --gtest_filter="$large"
}

# One rank under a launcher's variables: NCCL from its start to the end of the process.
stage_rank() {
  ! wanted rank || stage rank step.log 15 of_step env RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 \
    MASTER_ADDR=127.0.0.1 MASTER_PORT=29577 "$program" bench step "${model[@]}" --steps 10 --warmup 2
}

stage_operations() {
  ! wanted products || stage products products.log 25 of_products "$program" bench products --device "$device" "${products[@]}"
  ! wanted kernels || stage kernels kernels.log 25 of_table "$program" bench kernels --device "$device" "${kernels[@]}"
  ! wanted attention || stage attention step.log 15 of_attention "$program" bench step "${model[@]}" --steps 6 \
    --attention "softmax,ssmax"
}

# Takes all the time that is left, except the last stage's.
stage_peers() {
  wanted peers || return 0
  local budget whole
  budget=$((($(left) - $(of_pace 47)) / (pace * 10)))
  if ((budget < 60)); then
    skip peers "less than 60 s are left for them"
    return 0
  fi
  whole=$((budget * pace / 100))
  stage peers peers.log "$budget" of_peers env TORCHINDUCTOR_CACHE_DIR="$scratch/inductor" "$python" "$here/bench_gpu.py" \
    --binary "$program" --attention softmax --budget "$((whole > 30 ? whole - 8 : whole))" --json "$out/peers.json" "${peers[@]}"
}

# Checks only our kernels: we cannot fix those of the libraries, and they take the longest. Without LibTorch's caching
# allocator every tensor has its own bounds.
stage_memcheck() {
  wanted memcheck || return 0
  local help kernels=()
  if [[ -z $(type -P compute-sanitizer) ]]; then
    skip memcheck "compute-sanitizer is not on this machine"
    return 0
  fi
  help=$(compute-sanitizer --help 2>&1) # the option's name depends on the version
  case $help in
    *--kernel-name*) kernels=(--kernel-name kernel_substring=ssgpt) ;;
    *--kernel-regex*) kernels=(--kernel-regex kns=ssgpt) ;;
    *--filter*) kernels=(--filter kns=ssgpt) ;;
  esac
  stage memcheck tests.log 40 of_memcheck env PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck \
    --error-exitcode 9 "${kernels[@]}" "${tests[@]}" --gtest_color=no --gtest_brief=1 \
    --gtest_filter='Swiglu*:RowScale*:NormOnGpu*:CrossEntropy*NanAnd*:EmbeddingOnGpu*NotThere*:DecodingOnGpu*:FlatOnGpu*Adamw*:RopeOnGpu*:QkNormOnGpu*-*32BitIndex*'
}

# --- Beginning and end --------------------------------------------------------------------------------------------------

while (($# > 0)); do
  case $1 in
    --help | -h)
      sed -n '2,/^# Exit/s/^# //p' "${BASH_SOURCE[0]}"
      exit
      ;;
    --only | --pace | --device | --shape)
      (($# > 1)) || usage "$1 needs a value"
      declare "${1#--}=$2"
      shift
      ;;
    -*) usage "there is no option $1" ;;
    *) if [[ -z $out ]]; then out=$1; else total=$1; fi ;;
  esac
  shift
done
[[ -n $out ]] || usage "DIR is missing: where the results go"
[[ $total =~ ^[1-9][0-9]*$ && $pace =~ ^[1-9][0-9]*$ ]] || usage "SECONDS and PERCENT are whole numbers above 0, not '$total' and '$pace'"
[[ $device == cuda || $device == cpu ]] || usage "--device $device: there are cuda and cpu"
[[ $shape == paper || $shape == tiny ]] || usage "--shape $shape: there are paper and tiny"
known=,facts,step,tests,curves,compile-cache,large,rank,products,kernels,attention,peers,memcheck,
for name in ${only//,/ }; do [[ $known == *,$name,* ]] || usage "--only $name: there is no such stage"; done

if [[ -x $root/bin/ssgpt ]]; then # a bundle; its run.sh finds PyTorch's libraries, but only for our program
  binary=$root/bin/ssgpt program=$root/run.sh python=${SSGPT_PYTHON:-python3}
  tests=(bash -c "$with_torch" with_torch "$here/torch_environment.sh" "$python" "$root/bin/ssgpt_cuda_tests")
else
  binary=$root/build/release/ssgpt program=$binary python=$root/.venv/bin/python
  [[ -x $python ]] || python=python3
  python=${SSGPT_PYTHON:-$python}
  tests=("$root/build/release/tests/cuda/ssgpt_cuda_tests")
fi
export SSGPT_PYTHON=$python
if [[ ! -x $binary ]]; then
  echo "gpu_check.sh: $binary is missing; scripts/build.sh makes it" >&2
  exit 1
fi
if [[ $device == cuda && ! -e /dev/nvidiactl && ! -e /dev/dxg ]] && ! nvidia-smi -L >/dev/null 2>&1; then
  echo "gpu_check.sh: no NVIDIA GPU is on this machine; --device cpu --shape tiny tries the script without one" >&2
  exit 3
fi
mkdir -p "$out" || exit 1
out=$(cd "$out" && pwd)
rm -f "$out"/{summary.txt,facts.log,step.log,tests.log,products.log,kernels.log,peers.log,peers.json}
begin=$(now) reader=''
scratch=$(mktemp -d) || exit 1
export TRITON_CACHE_DIR=$scratch/triton
# shellcheck source=scripts/torch_environment.sh
packages=$(source "$here/torch_environment.sh" && use_torch "$python" "$binary" >/dev/null 2>&1 && echo "$LD_LIBRARY_PATH")

end() {
  local name
  for name in "${!pid_of[@]}"; do
    kill "${pid_of[$name]}" 2>/dev/null
    keep "$name"
    note "$name" 143 $(($(now) - began_at[$name])) "ended with the script; last: $(last_line "$scratch/$name.log")"
  done
  [[ -z $reader ]] || kill "$reader" 2>/dev/null
  rm -rf "$scratch" 2>/dev/null
  printf '\n== %s/summary.txt\n' "$out"
  cat "$out/summary.txt"
}
trap end EXIT
trap 'exit 143' TERM INT HUP

settings() { for word in "$@"; do printf '%s\n' --set "$word"; done; }
if [[ $shape == tiny ]]; then
  mapfile -t model < <(settings train.device="$device" model.hidden_size=32 model.num_hidden_layers=2 model.num_attention_heads=2 \
    model.intermediate_size=48 model.vocab_size=201 data.sequence_length=32)
  curves=(--device "$device" --shape tiny --seeds 1 --steps 20 --attention ssmax --programs "eager,eager+autocast")
  products=(--min-time 0.01 --filter 'qkv.*quickstart') kernels=(--min-time 0.01 --filter 'swiglu.*')
  peers=(--device "$device" --shape tiny --micro-batches 4 --programs eager --rounds 3 --turn-seconds 0.05)
else
  model=(--shape paper)
  mapfile -t -O 2 model < <(settings train.device="$device" train.global_batch_size=32 train.micro_batch_size=32)
  curves=(--device "$device" --seeds 1 --programs "eager,eager+autocast")
  products=(--min-time 0.04) kernels=(--min-time 0.1)
  peers=(--device "$device" --quick --rounds 8)
fi
if [[ $device == cuda ]]; then model+=(--set train.dtype=bfloat16); fi

stage_facts
stage_step
stage_correctness
stage_large
stage_rank
stage_operations
stage_peers
stage_memcheck
exit "$failed"

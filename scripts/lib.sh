# shellcheck shell=bash
# What the other scripts share; sourced, never run. Moves to the repository's root: paths below are relative to it.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# What .venv's packages compile to when they are first imported is kept there: PyTorch takes twice as long without.
unset PYTHONDONTWRITEBYTECODE

# fail MESSAGE...: one line on stderr that says what is wrong and what to do; ends the script.
fail() {
  printf '%s: %s\n' "scripts/${0##*/}" "$*" >&2
  exit 1
}

say() { printf '%s\n' "$*"; }

# stage TITLE: the heading of a step, with the time since the script began.
stage() { printf '\n== %s  [%02d:%02d]\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }

# Megabytes (2^20) free on the file system that holds the existing path $1.
free_megabytes() { df -Pm "$1" | awk 'NR == 2 { print $4 }'; }

# Compile jobs that fit: one a core, and 1.5 GB of memory for each. Containers limit memory below what /proc says.
compile_jobs() {
  local cores memory limit jobs
  cores=$(nproc)
  memory=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
  limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null || true)
  if [[ $limit =~ ^[0-9]+$ ]] && ((limit / 1048576 < memory)); then memory=$((limit / 1048576)); fi
  jobs=$((memory / 1536))
  if ((jobs > cores)); then jobs=$cores; fi
  echo $((jobs > 0 ? jobs : 1))
}

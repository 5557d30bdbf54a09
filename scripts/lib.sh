# shellcheck shell=bash
# Functions that the other scripts share; sourced, never run. Changes to the repository's root: paths are relative to it.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Keeps the bytecode of .venv's packages, which is compiled on first import: without it PyTorch takes twice as long.
unset PYTHONDONTWRITEBYTECODE

# fail MESSAGE...: prints one line on stderr that says what is wrong and what to do, and ends the script.
fail() {
  printf '%s: %s\n' "scripts/${0##*/}" "$*" >&2
  exit 1
}

say() { printf '%s\n' "$*"; }

# stage TITLE: prints the heading of a step, with the time since the script began.
stage() { printf '\n== %s  [%02d:%02d]\n' "$1" $((SECONDS / 60)) $((SECONDS % 60)); }

# free_megabytes PATH: megabytes (2^20) free on the file system that holds the existing PATH.
free_megabytes() { df -Pm "$1" | awk 'NR == 2 { print $4 }'; }

# Compile jobs that fit: one per core, with 1.5 GB of memory each. Containers limit memory below what /proc shows.
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

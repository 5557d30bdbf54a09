#!/usr/bin/env bash
# Packs build/release for machines that cannot build: the programs, the shared libraries they need beside PyTorch's, the
# configs, and the scripts that run there. Such a machine needs x86-64 Linux with a glibc not much older than this one's
# (the bundle's README.txt names it) and a python with PyTorch 2.11 (which supplies LibTorch, CUDA, cuDNN and NCCL), and
# nothing else. An existing bundle is replaced. Run scripts/build.sh first.
# Usage: scripts/bundle.sh [DIRECTORY]      (default: build/bundle)
#
# glibc is not packed: a process has only one, that of its loader. The C++ runtime is not packed either: it is tied to
# glibc, and a newer one on the target runs both our program and the system's libraries. Where the system's is older, as
# on RHEL 9, run.sh takes the one that conda installs with its pythons and builds for old systems.
# shellcheck source=scripts/lib.sh
start=$PWD
source "$(dirname "$0")/lib.sh"

readonly largest_megabytes=64
system_libraries='^(linux-vdso|ld-linux-x86-64|libc|libm|libdl|libpthread|librt|libutil|libresolv|libstdc\+\+|libgcc_s)\.so'
programs=(build/release/ssgpt build/release/tests/cuda/ssgpt_cuda_tests)

case ${1:-} in
  -h | --help)
    sed -n '2,6s/^# //p' scripts/bundle.sh
    exit
    ;;
esac
target=${1:-build/bundle}
if (($# > 0)) && [[ $target != /* ]]; then target=$start/$target; fi
[[ -x ${programs[0]} ]] || fail "${programs[0]} is missing: scripts/build.sh makes it"
if [[ -e $target && ! (-d $target && -f $target/VERSION && -f $target/run.sh) ]] &&
    [[ ! -d $target || -n $(ls -A "$target") ]]; then
  fail "$target exists and is not a bundle: name another directory, or remove it"
fi
unfinished=$target.unfinished.$$
trap 'rm -rf "$unfinished"' EXIT
mkdir -p "$unfinished"/{bin,lib,scripts}

# The folder that holds torch/ and nvidia/: the program was linked with torch/lib in its path.
packages=$(readelf -d "${programs[0]}" | sed -nE 's/.*R(UN)?PATH.*\[(.*)\].*/\2/p' | tr : '\n' | sed -n 's|/torch/lib$||p')
[[ -n $packages ]] || fail "${programs[0]} names no torch/lib in its RUNPATH; build it with scripts/build.sh"

# copy_libraries PROGRAM: copies what the loader finds for it outside PyTorch's packages.
copy_libraries() {
  local found name arrow path rest
  found=$(ldd "$1")
  while read -r name arrow path rest; do
    if [[ $path == not ]]; then fail "$1 does not find $name, which it needs; build it again"; fi
    if [[ $arrow != '=>' || $path == "$packages"/* || $name =~ $system_libraries ]]; then continue; fi
    cp -L "$path" "$unfinished/lib/$name"
  done <<<"$found"
}

for program in "${programs[@]}"; do
  if [[ ! -x $program ]]; then
    echo "scripts/bundle.sh: $program is not packed: it is missing (scripts/build.sh makes it where a CUDA toolkit is found)" >&2
    continue
  fi
  name=${program##*/}
  copy_libraries "$program"
  strip -o "$unfinished/bin/$name" "$program"
  # As CMake does for programs that it installs.
  # shellcheck disable=SC2016  # $ORIGIN is the loader's
  printf 'file(RPATH_SET FILE "%s" NEW_RPATH "$ORIGIN/../lib")\n' "$unfinished/bin/$name" >"$unfinished/rpath.cmake"
  cmake -P "$unfinished/rpath.cmake" >/dev/null
done
rm "$unfinished/rpath.cmake"
cp -r configs "$unfinished/configs"
cp scripts/{gpu_check.sh,bench_gpu.py,bench_gpu_report.py,bench_step.py,loss_curves.py,peer.py,student.py,torch_environment.sh} "$unfinished/scripts/"
cp scripts/bundle_run.sh "$unfinished/run.sh"
glibc=$(find "$unfinished"/{bin,lib} -type f -exec objdump -T {} + | grep -oE 'GLIBC_2[0-9.]+' | sort -V | tail -n 1)
build/release/ssgpt --version >"$unfinished/VERSION"
version=$(head -n 1 "$unfinished/VERSION")
cat >"$unfinished/README.txt" <<TEXT
$version, packed for machines that cannot build it. VERSION names the revision and the libraries it was built with.

Needs x86-64 Linux with glibc ${glibc#GLIBC_} or newer (ldd --version prints yours), and a python with PyTorch 2.11 for CUDA 13:
  python3 -m pip install torch==2.11.0 numpy
Start the program with run.sh. It takes PyTorch from python3 on the PATH, or from the python that SSGPT_PYTHON names:
  SSGPT_PYTHON=/path/to/venv/bin/python ./run.sh train --help
Several GPUs:     torchrun --no-python --nproc-per-node 8 ./run.sh train --config configs/paper/b-ssmax.yaml
Test and measure: scripts/gpu_check.sh results     (--help says more)
If the system's C++ runtime is too old, name the python of a conda environment: run.sh then takes the runtime there.
The folder may be moved or copied as a whole.
TEXT
megabytes=$(du -sm "$unfinished" | cut -f 1)
((megabytes < largest_megabytes)) || fail "the bundle takes $megabytes MiB; it must stay below $largest_megabytes"
rm -rf "$target"
mkdir -p "$(dirname "$target")"
mv "$unfinished" "$target"
trap - EXIT
say "$target: $version, $(du -sk "$target" | awk '{ printf "%.1f", $1 / 1024 }') MiB"

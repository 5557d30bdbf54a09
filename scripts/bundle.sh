#!/usr/bin/env bash
# Packs build/release for machines that cannot build: the programs, the shared libraries they need beside PyTorch's, the
# configs, and the scripts that run there. Such a machine needs x86-64 Linux with a glibc not much older than this one's
# (the bundle's README.txt names it) and a python with PyTorch 2.11 (which supplies LibTorch, CUDA, cuDNN and NCCL), and
# nothing else. An existing bundle is replaced. Run scripts/build.sh first.
# Usage: scripts/bundle.sh [DIRECTORY]         (default: build/bundle)
#        scripts/bundle.sh --archive [FILE]    (default: build/ssgpt-VERSION-linux-x86_64.tar.zst)
# --archive packs what users need into one file, and writes its SHA-256 to FILE.sha256: the program with a launcher that finds
# PyTorch, and what cmake --install puts into share. The same commit and builds give the same bytes; file times are the commit's,
# or SOURCE_DATE_EPOCH. SSGPT_ZSTD_LEVEL=3 compresses in a second, but less.
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
cuda_library=build/release/libssgpt_cuda.so
# Headers that are compiled into the program: the archive has the licences of their packages.
headers=(CLI/CLI.hpp nlohmann/json.hpp boost/version.hpp spdlog/spdlog.h fmt/format.h simdjson.h gloo/context.h)

# pack_program PROGRAM AS LIBRARIES: writes a stripped copy of the program to AS, which looks for libraries in the folder
# LIBRARIES, and copies into that folder what the loader finds for the program outside PyTorch's packages.
pack_program() {
  local program=$1 as=$2 libraries=$3 packages found line name path origin
  # The folder that holds torch/ and nvidia/: the program was linked with torch/lib in its path.
  packages=$(readelf -d "$program" | sed -nE 's/.*R(UN)?PATH.*\[(.*)\].*/\2/p' | tr : '\n' | sed -n 's|/torch/lib$||p')
  [[ -n $packages ]] || fail "$program names no torch/lib in its RUNPATH; build it with scripts/build.sh"
  found=$(ldd "$program")
  while read -r line; do
    if [[ $line != *' => '* ]]; then continue; fi
    name=${line%% => *} path=${line#* => }
    if [[ $path == 'not found' ]]; then fail "$program does not find $name, which it needs; build it again"; fi
    path=${path% (0x*}
    if [[ $path == "$packages"/* || $name =~ $system_libraries ]]; then continue; fi
    cp -L "$path" "$libraries/$name"
  done <<<"$found"
  strip -o "$as" "$program"
  origin="\$ORIGIN/$(realpath --relative-to="$(dirname "$as")" "$libraries")"
  cmake -D "PROGRAM:STRING=$as" -D "NEW_RPATH:STRING=${origin%/.}" -P cmake/SetRpath.cmake >/dev/null
}

# needed_glibc FOLDER...: prints the newest version of glibc that a file in these folders needs.
needed_glibc() {
  { find "$@" -type f -exec objdump -T {} + 2>/dev/null || true; } | grep -oE 'GLIBC_2[0-9.]+' | sort -V | tail -n 1 | sed 's/GLIBC_//'
}

# pack_cuda_library TOP LIBRARIES: packs the library that the program loads where there is a GPU, if it was built, into the
# folder LIBRARIES of TOP, where VERSION tells whether the program can load it.
pack_cuda_library() {
  [[ -e $cuda_library ]] || return 0
  if [[ $(<"$1/VERSION") =~ CUDA[[:space:]]+(none.*) ]]; then fail "CUDA ${BASH_REMATCH[1]}; build it again, or remove $cuda_library"; fi
  pack_program "$cuda_library" "$1/$2/${cuda_library##*/}" "$1/$2"
}

# is_new_or FOLDER FILE...: whether the folder may be replaced: it does not exist, is empty, or contains these files.
is_new_or() {
  local folder=$1 file
  shift
  if [[ ! -e $folder || (-d $folder && -z $(ls -A "$folder")) ]]; then return 0; fi
  for file in "$@"; do
    [[ -f $folder/$file ]] || return 1
  done
}

make_folder() {
  local target=$1 program name
  is_new_or "$target" VERSION run.sh || fail "$target exists and is not a bundle: name another directory, or remove it"
  unfinished=$target.unfinished.$$
  mkdir -p "$unfinished"/{bin,lib,scripts}
  for program in "${programs[@]}"; do
    if [[ ! -x $program ]]; then
      echo "scripts/bundle.sh: $program is not packed: it is missing (scripts/build.sh makes it where a CUDA toolkit is found)" >&2
      continue
    fi
    pack_program "$program" "$unfinished/bin/${program##*/}" "$unfinished/lib"
  done
  build/release/ssgpt --version >"$unfinished/VERSION"
  pack_cuda_library "$unfinished" lib
  cp -r configs "$unfinished/configs"
  cp scripts/{gpu_check.sh,bench_gpu.py,bench_gpu_report.py,bench_step.py,loss_curves.py,peer.py,student.py,torch_environment.sh} "$unfinished/scripts/"
  cp scripts/bundle_run.sh "$unfinished/run.sh"
  name=$(head -n 1 "$unfinished/VERSION")
  cat >"$unfinished/README.txt" <<TEXT
$name, packed for machines that cannot build it. VERSION names the revision and the libraries it was built with.

Needs x86-64 Linux with glibc $(needed_glibc "$unfinished"/{bin,lib}) or newer (ldd --version prints yours), and a python with PyTorch 2.11 (on a GPU, that for CUDA 13):
  python3 -m pip install torch==2.11.0 numpy
Start the program with run.sh. It takes PyTorch from python3 on the PATH, or from the python that SSGPT_PYTHON names:
  SSGPT_PYTHON=/path/to/venv/bin/python ./run.sh train --help
Several GPUs:     torchrun --no-python --nproc-per-node 8 ./run.sh train --config configs/paper/b-ssmax.yaml
Test and measure: scripts/gpu_check.sh results     (--help says more)
If the system's C++ runtime is too old, name the python of a conda environment: run.sh then takes the runtime there.
The folder may be moved or copied as a whole.
TEXT
  refuse_too_large "$unfinished"
  rm -rf "$target"
  mkdir -p "$(dirname "$target")"
  mv "$unfinished" "$target"
  say "$target: $name, $(du -sk "$target" | awk '{ printf "%.1f", $1 / 1024 }') MiB"
}

refuse_too_large() {
  local megabytes
  megabytes=$(du -sm "$1" | cut -f 1)
  ((megabytes < largest_megabytes)) || fail "the bundle takes $megabytes MiB; it must stay below $largest_megabytes"
}

# Copies the licences of what is packed or compiled in from Debian's packages.
pack_licences() {
  local top=$1 file package
  cp LICENSE "$top/LICENSE"
  # A private copy (cmake/Sentencepiece.cmake) has the name of its original.
  for file in "${headers[@]/#//usr/include/}" "$top"/lib/ssgpt/*.so*; do
    if [[ $file == */"${cuda_library##*/}" ]]; then continue; fi
    if [[ $file == "$top"/* ]]; then file="*/${file##*/}"; fi
    package=$(dpkg-query -S "$file" | sed -n '1s/[:,].*//p') || fail "no package of Debian has $file: its licence is not known"
    mkdir -p "$top/share/licenses/$package"
    cp -L "/usr/share/doc/$package/copyright" "$top/share/licenses/$package/copyright"
  done
}

archive_readme() {
  local top=$1 name=$2 torch='of any build; to compute on a GPU, the wheel for CUDA 13'
  if [[ ! -e $top/lib/ssgpt/${cuda_library##*/} ]]; then torch='of any build; this program computes on CPUs only'; fi
  cat >"$top/README.txt" <<TEXT
$name, ready to run. VERSION names the revision and the libraries that it was built with.

It needs x86-64 Linux with glibc $(needed_glibc "$top/lib/ssgpt") or newer (ldd --version shows it) and PyTorch 2.11,
$torch:
  python3 -m pip install torch==2.11.0
  bin/ssgpt --version

bin/ssgpt looks for PyTorch in this order. A variable that is set is used or refused, never passed over.
  1. the folder LIBTORCH, an unpacked LibTorch 2.11 with lib/libtorch_cpu.so:   LIBTORCH=/opt/libtorch bin/ssgpt ...
  2. the python SSGPT_PYTHON:                                  SSGPT_PYTHON=/path/to/venv/bin/python bin/ssgpt ...
  3. python3, then python, on the PATH: those of the active environment

The folder can be moved or copied as a whole. A symbolic link to bin/ssgpt can be in any folder of the PATH.
  share/doc/ssgpt           documents; docs/installing.md describes this archive
  share/ssgpt/configs       configs to start from
  share/ssgpt/scripts       report.py draws what ssgpt compare and ssgpt evaluate write; it needs matplotlib
  share/bash-completion, share/zsh, share/fish   shell completions (ssgpt completion --help)
  share/licenses            licences of the libraries in lib/ssgpt and of what is compiled in; LICENSE is that of ssgpt
TEXT
}

make_archive() {
  local file=$1 name folder top epoch
  name=$(build/release/ssgpt --version | head -n 1)
  folder=${name/ /-}
  file=${file:-build/$folder-linux-x86_64.tar.zst}
  [[ -n $(type -P zstd) ]] || fail "zstd is missing; run scripts/setup.sh"
  [[ ! -d $file ]] || fail "$file is a directory: name a file"
  epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || true)}
  [[ $epoch =~ ^[0-9]+$ ]] || fail "no commit tells the time: set SOURCE_DATE_EPOCH to that of the files, in seconds since 1970"
  mkdir -p "$(dirname "$file")"
  unfinished=$file.unfinished.$$
  top=$unfinished/$folder
  mkdir -p "$top"/{bin,lib/ssgpt}
  build/release/ssgpt --version >"$top/VERSION"
  pack_program "${programs[0]}" "$top/lib/ssgpt/ssgpt" "$top/lib/ssgpt"
  pack_cuda_library "$top" lib/ssgpt
  cp scripts/archive_run.sh "$top/bin/ssgpt"
  cp scripts/torch_environment.sh "$top/lib/ssgpt/"
  cmake --install build/release --prefix "$top" --component share >/dev/null
  pack_licences "$top"
  archive_readme "$top" "$name"
  refuse_too_large "$top"
  # Names are sorted, and nothing depends on this machine: not owners, times or umask.
  LC_ALL=C tar --directory "$unfinished" --sort=name --format=gnu --mtime="@$epoch" --owner=0 --group=0 --numeric-owner \
    --mode=u=rwX,go=rX -cf "$unfinished/tar" "$folder"
  zstd --quiet "-${SSGPT_ZSTD_LEVEL:-19}" --single-thread "$unfinished/tar" -o "$unfinished/packed"
  mv "$unfinished/packed" "$file"
  (cd "$(dirname "$file")" && sha256sum "${file##*/}" >"${file##*/}.sha256")
  say "$file: $name, $(du -k "$file" | awk '{ printf "%.1f", $1 / 1024 }') MiB"
  say "SHA-256 $(cut -d ' ' -f 1 "$file.sha256")"
}

# of_caller PATH: prints PATH, which is relative to the folder in which this script was started, as an absolute path.
of_caller() {
  if [[ -z $1 || $1 == /* ]]; then printf '%s' "$1"; else printf '%s' "$start/$1"; fi
}

unfinished=''
trap 'if [[ -n $unfinished ]]; then rm -rf "$unfinished"; fi' EXIT
case ${1:-} in
  -h | --help)
    sed -n '2,10s/^# //p' scripts/bundle.sh
    exit
    ;;
  --archive) make=make_archive && shift ;;
  -*) fail "unknown option $1; see scripts/bundle.sh --help" ;;
  *) make=make_folder ;;
esac
(($# <= 1)) || fail "one argument at most, not $#: see scripts/bundle.sh --help"
[[ -x ${programs[0]} ]] || fail "${programs[0]} is missing: scripts/build.sh makes it"
target=$(of_caller "${1:-}")
if [[ $make == make_folder ]]; then target=${target:-build/bundle}; fi
"$make" "$target"

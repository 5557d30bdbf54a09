# shellcheck shell=bash
# Finds the libraries of a PyTorch 2.11: those of a python, or of an unpacked LibTorch. Sourced, never run, by scripts that
# start the program on another machine than the one that built it.

# torch_of_python PYTHON, torch_of_folder FOLDER: set torch_version, torch_folders (the folders of LibTorch's and NVIDIA's
# libraries, separated by colons), torch_prefix (the python's prefix, or empty) and torch_preload (a library to load before all
# others, or empty). If there is no PyTorch 2.11, they set reason, a phrase on one line, and return 1.
torch_of_python() {
  local found
  torch_preload=''
  if [[ -z $(type -P "$1") ]]; then
    reason="$1 is not a program"
    return 1
  fi
  found=$("$1" - <<'PYTHON' 2>&1
import sys
sys.path[:] = [p for p in sys.path if p]  # a csv.py or torch/ in the current folder is none of Python's
import importlib.metadata, importlib.util, pathlib
torch = importlib.util.find_spec("torch")
if torch is None:
    sys.exit("it has no torch package")
root = pathlib.Path(torch.submodule_search_locations[0])
nvidia = importlib.util.find_spec("nvidia")
beside = [pathlib.Path(p) for p in nvidia.submodule_search_locations] if nvidia else [root.parent / "nvidia"]
libraries = [p for base in beside for p in sorted(base.glob("*/lib"))]
print(importlib.metadata.version("torch"), ":".join(map(str, [root / "lib", *libraries])), sys.base_prefix, sep="|")
PYTHON
  ) || {
    reason="$1 cannot be used: ${found##*$'\n'}"
    return 1
  }
  IFS='|' read -r torch_version torch_folders torch_prefix <<<"${found##*$'\n'}"
  require_version "$1"
}

torch_of_folder() {
  local folder version part
  torch_prefix='' torch_preload=''
  if [[ ! -e $1/lib/libtorch_cpu.so ]]; then
    reason="$1 is not a LibTorch: it has no lib/libtorch_cpu.so"
    return 1
  fi
  folder=$(cd "$1" && pwd)
  torch_folders=$folder/lib
  # NVIDIA's libraries are beside the folder torch of a wheel.
  for part in "$folder"/../nvidia/*/lib; do
    if [[ -d $part ]]; then torch_folders+=:$part; fi
  done
  # LibTorch's zip files rename the OpenMP runtime. If it is loaded first, it also serves as the libgomp.so.1 that the program
  # needs. Otherwise the system's would be loaded besides Torch's, and the process would have two thread teams.
  if [[ ! -e $folder/lib/libgomp.so.1 ]]; then
    for part in "$folder"/lib/libgomp-*.so.1; do
      if [[ -e $part ]]; then torch_preload=${part##*/}; fi
    done
  fi
  version=$folder/include/torch/headeronly/version.h
  if [[ -r $folder/build-version ]]; then
    torch_version=$(head -n 1 "$folder/build-version")
  elif [[ -r $version ]]; then
    torch_version=$(sed -nE 's/^#define TORCH_VERSION_(MAJOR|MINOR|PATCH) ([0-9]+).*/\2/p' "$version" | paste -sd .)
  else
    reason="$1 does not say which version it is (build-version, include/torch/headeronly/version.h)"
    return 1
  fi
  require_version "$1"
}

require_version() {
  [[ $torch_version == 2.11.* ]] || {
    reason="$1 has PyTorch $torch_version, and this program needs 2.11"
    return 1
  }
}

# find_torch: torch_of_folder LIBTORCH if that is set, else torch_of_python SSGPT_PYTHON if that is set, else torch_of_python of
# the first of python3 and python on the PATH that has PyTorch 2.11. A variable that is set is used or refused, never passed
# over. Also sets torch_place to what was used. If there is no PyTorch 2.11, prints one line on stderr and returns 1.
find_torch() {
  local reason reasons=''
  if [[ -n ${LIBTORCH:-} ]]; then
    torch_place=$LIBTORCH
    torch_of_folder "$LIBTORCH" && return
    refuse "LIBTORCH: $reason; set it to the folder of an unpacked LibTorch 2.11, or unset it"
  elif [[ -n ${SSGPT_PYTHON:-} ]]; then
    torch_place=$SSGPT_PYTHON
    torch_of_python "$SSGPT_PYTHON" && return
    refuse "SSGPT_PYTHON: $reason; set it to a python with PyTorch 2.11, or unset it"
  else
    for torch_place in python3 python; do
      torch_of_python "$torch_place" && return
      reasons+="; $reason"
    done
    reasons="no PyTorch 2.11 was found: LIBTORCH and SSGPT_PYTHON are not set$reasons."
    refuse "$reasons Install it (python3 -m pip install torch==2.11.0), set SSGPT_PYTHON to a python that has it, or set LIBTORCH to the folder of an unpacked LibTorch 2.11"
  fi
}

refuse() {
  printf '%s: %s\n' "${0##*/}" "$1" >&2
  return 1
}

# set_library_path PROGRAM OWN: sets LD_LIBRARY_PATH so that PROGRAM finds, in this order, the libraries in the folder OWN of its
# bundle, those of the PyTorch that was found, and last the C++ runtime in the python's prefix if the system's is too old. Sets
# LD_PRELOAD to torch_preload. If something is still not found, sets missing to it and returns 1.
set_library_path() {
  local before=${LD_LIBRARY_PATH:-} folders=$torch_folders preload=${LD_PRELOAD:-}
  if [[ -d $2 ]]; then folders=$(cd "$2" && pwd):$folders; fi
  export LD_LIBRARY_PATH=$folders${before:+:$before}
  if [[ -n $torch_preload ]]; then export LD_PRELOAD=$torch_preload${preload:+:$preload}; fi
  missing=$(missing_libraries "$1")
  if [[ $missing == *GLIBCXX* && -n $torch_prefix && -e $torch_prefix/lib/libstdc++.so.6 ]]; then
    LD_LIBRARY_PATH+=:$torch_prefix/lib
    missing=$(missing_libraries "$1")
  fi
  if [[ -n $missing ]]; then
    LD_LIBRARY_PATH=$before
    if [[ -n $torch_preload ]]; then LD_PRELOAD=$preload; fi
    return 1
  fi
}

# missing_libraries PROGRAM: prints, on one line, the libraries and versions of libraries that the loader does not find for it.
missing_libraries() {
  { ldd "$1" 2>&1 || true; } | sed -nE 's/^.*(version `[^'\'']*'\'' not found).*$/\1/p; s/^[[:space:]]*([^ ]+) => not found$/\1/p' |
    sort -u | paste -sd ' '
}

# use_torch PYTHON PROGRAM: finds the PyTorch of this python and sets LD_LIBRARY_PATH for the program, whose bundle has its
# libraries in the folder lib beside the program's own folder. If that fails, prints one line on stderr and returns 1.
use_torch() {
  local reason torch_version torch_folders torch_prefix torch_preload missing
  if ! torch_of_python "$1"; then
    refuse "$reason; name a python with PyTorch 2.11 in SSGPT_PYTHON"
  elif ! set_library_path "$2" "$(dirname "$2")/../lib"; then
    refuse "$2 cannot start with PyTorch $torch_version of $1; not found: $missing"
  fi
}

# use_torch_found PROGRAM OWN: likewise with the PyTorch that find_torch finds, for a program whose libraries are in the folder OWN.
use_torch_found() {
  local torch_version torch_folders torch_prefix torch_preload torch_place missing
  find_torch || return
  set_library_path "$1" "$2" ||
    refuse "the program cannot start with PyTorch $torch_version of $torch_place; not found: $missing"
}

# shellcheck shell=bash
# Finds the libraries of a python's PyTorch; sourced, never run, by scripts that start the program on a machine other than
# the one that built it.

# use_torch PYTHON PROGRAM: sets LD_LIBRARY_PATH so that PROGRAM finds LibTorch and NVIDIA's libraries in PYTHON's packages;
# the libraries of its own bundle come before them, and the C++ runtime of PYTHON's prefix comes last, if the system's is
# too old. Prints one line on stderr and returns 1 if that does not work.
use_torch() {
  local python=$1 program=$2 found version folders prefix own missing
  if [[ -z $(type -P "$python") ]]; then
    printf '%s: %s is not a program; name a python with PyTorch 2.11 in SSGPT_PYTHON\n' "${0##*/}" "$python" >&2
    return 1
  fi
  found=$("$python" - <<'PYTHON' 2>&1
import importlib.metadata, importlib.util, pathlib, sys
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
    printf '%s: %s cannot be used: %s; name a python with PyTorch 2.11 in SSGPT_PYTHON\n' "${0##*/}" "$python" "${found##*$'\n'}" >&2
    return 1
  }
  IFS='|' read -r version folders prefix <<<"${found##*$'\n'}"
  if [[ $version != 2.11.* ]]; then
    printf '%s: %s has PyTorch %s, and this program needs 2.11; name a python with that in SSGPT_PYTHON\n' \
      "${0##*/}" "$python" "$version" >&2
    return 1
  fi
  own=$(dirname "$program")/../lib
  if [[ -d $own ]]; then folders=$(cd "$own" && pwd):$folders; fi
  export LD_LIBRARY_PATH=$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  missing=$(missing_libraries "$program")
  if [[ $missing == *GLIBCXX* && -e $prefix/lib/libstdc++.so.6 ]]; then
    LD_LIBRARY_PATH+=:$prefix/lib
    missing=$(missing_libraries "$program")
  fi
  if [[ -n $missing ]]; then
    printf '%s: %s cannot start with PyTorch %s of %s; not found: %s\n' "${0##*/}" "$program" "$version" "$python" "$missing" >&2
    return 1
  fi
}

# missing_libraries PROGRAM: the libraries, or versions of them, that the loader does not find, on one line.
missing_libraries() {
  { ldd "$1" 2>&1 || true; } | sed -nE 's/^.*(version `[^'\'']*'\'' not found).*$/\1/p; s/^[[:space:]]*([^ ]+) => not found$/\1/p' |
    sort -u | paste -sd ' '
}

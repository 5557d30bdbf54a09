#!/usr/bin/env bash
# Installs what building, testing and the quickstart need: Debian packages, and a Python environment in .venv whose torch
# package supplies LibTorch. Safe to repeat; does nothing, and needs neither root nor network, if everything is there.
# Usage: scripts/setup.sh
# shellcheck source=scripts/lib.sh
source "$(dirname "$0")/lib.sh"

packages=(
  g++ cmake ninja-build ccache pkg-config git ca-certificates          # build
  libgloo-dev                                                          # only its headers: c10d's Gloo header includes them
  python3 python3-venv                                                 # LibTorch, figures, tests
  libfmt-dev libspdlog-dev libcli11-dev libyaml-cpp-dev                # libraries of the program
  nlohmann-json3-dev libsimdjson-dev libzstd-dev libxxhash-dev libsentencepiece-dev
  libbenchmark-dev libboost-math-dev
  zstd                                                                 # packs archives
  libgtest-dev libgmock-dev clang-format shellcheck openmpi-bin iproute2 zsh fish # tests
  bible-kjv                                                            # text of the quickstart
)
requirements=scripts/requirements.txt
stamp=.venv/requirements.sha256     # checksum of the requirements that .venv holds, written last
unfinished=.venv/unfinished         # present while packages are being installed
logs=build/logs

check_system() {
  [[ $(uname -s) == Linux && $(uname -m) == x86_64 ]] ||
    fail "this is $(uname -s) on $(uname -m); supported is Debian 12 on x86_64"
  [[ -n $(type -P dpkg-query) && -n $(type -P apt-get) ]] ||
    fail "no apt-get and dpkg-query here; supported is Debian 12 (its docker image is debian:12)"
  mkdir -p "$logs" 2>/dev/null || fail "cannot write to $PWD; make it writable for $(id -un)"
}

# reason_in LOG: the line that says why apt-get or pip failed: the first system error, else their own last error.
reason_in() {
  { grep -aE -m 1 'No space left|Temporary failure|Could not|Permission denied|Unable to locate' "$1" ||
    grep -aE '^(E|ERROR|error): ?' "$1" | tail -n 1; } | cut -c 1-200 || true
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null || true) == 'install ok installed'* ]] || echo "$package"
  done
}

install_debian_packages() {
  local missing root=() log=$logs/apt.log
  mapfile -t missing < <(missing_packages)
  if ((${#missing[@]} == 0)); then
    say "Debian packages: all ${#packages[@]} are installed"
    return
  fi
  if ((EUID != 0)); then
    [[ -n $(type -P sudo) ]] || fail "needs root to install Debian packages, and there is no sudo; run as root: apt-get install ${missing[*]}"
    # Without a terminal sudo cannot ask for a password.
    sudo -n true 2>/dev/null || { [[ -t 0 ]] && sudo -v; } ||
      fail "needs root to install Debian packages, and sudo did not let $(id -un) in; run as root: apt-get install ${missing[*]}"
    root=(sudo)
  fi
  (($(free_megabytes /usr) >= 1500)) ||
    fail "needs 1.5 GB for Debian packages on the disk of /usr, $(free_megabytes /usr) MB are free; make room and run it again"
  say "Debian packages: installing ${missing[*]} (log: $log)"
  # A package source that does not answer matters only if an install fails for it.
  local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300)
  if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}"; } \
      >"$log" 2>&1 </dev/null; then
    if grep -qaE 'Temporary failure|Could not (resolve|connect)|Unable to locate|no installation candidate|Failed to fetch' "$log"; then
      fail "apt-get cannot fetch packages (no network, or no Debian 12 package source): $(reason_in "$log") (log: $log)"
    fi
    fail "apt-get failed: $(reason_in "$log") (log: $log)"
  fi
}

# Finds Python 3.11 or newer with venv. Debian's own comes first: it stays when a version manager's is removed.
find_python() {
  local python
  for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
    if "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  fail "no Python 3.11 or newer with venv was found; install Debian 12's python3 and python3-venv"
}

# The checksum of what the environment must hold.
wanted() { sha256sum "$requirements" | cut -d ' ' -f 1; }

install_python_packages() {
  if [[ -f $stamp && $(<"$stamp") == "$(wanted)" ]] && .venv/bin/python -c '' 2>/dev/null; then
    say "Python packages: .venv holds what $requirements lists"
    return
  fi
  local log=$logs/pip.log pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input) python
  # A killed installation may have left a package half written, and a Python that was moved leaves broken links.
  if [[ -e $unfinished ]] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then rm -rf .venv; fi
  if [[ ! -d .venv ]]; then
    (($(free_megabytes .) >= 8192)) ||
      fail "needs 8 GB free for the Python packages (LibTorch with its CUDA libraries) in $PWD, $(free_megabytes .) MB are free; make room and run it again"
    python=$(find_python)
    "$python" -m venv .venv >"$log" 2>&1 || fail "$python -m venv .venv failed: $(tail -n 1 "$log") (log: $log)"
  fi
  say "Python packages: installing into .venv (download 2.5 GB, on disk 5 GB, a few minutes; log: $log)"
  touch "$unfinished"
  # pip unpacks in .venv, since /tmp may be small. Its cache, elsewhere, needs another 3 GB. Bytecode is not compiled here:
  # little of these packages is ever imported, and Python compiles that on first import.
  mkdir -p .venv/tmp
  if (($(free_megabytes .) < 12288)); then pip+=(--no-cache-dir); fi
  TMPDIR=$PWD/.venv/tmp "${pip[@]}" install --no-compile --progress-bar off --retries 3 -r "$requirements" >"$log" 2>&1 </dev/null || {
    if grep -qaE 'Temporary failure|Connection|ConnectTimeout|ReadTimeout|ProxyError|Max retries' "$log"; then
      fail "pip cannot reach the package index (no network?); run it again when there is one (log: $log)"
    elif grep -qa 'No space left' "$log"; then
      fail "the disk of $PWD or of pip's cache is full; make room and run it again (log: $log)"
    fi
    fail "pip failed: $(reason_in "$log") (log: $log)"
  }
  rm -rf .venv/tmp "$unfinished"
  wanted >"$stamp"
}

check_system
install_debian_packages
install_python_packages
say "Set up: $(.venv/bin/python --version), LibTorch $(.venv/bin/python -c 'from importlib.metadata import version; print(version("torch"))'), $(g++ --version | head -n 1)"

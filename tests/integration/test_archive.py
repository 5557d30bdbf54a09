"""scripts/bundle.sh --archive: the archive, unpacked elsewhere, runs against a PyTorch that it finds by rules it states."""

import hashlib
import importlib.util
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tarfile

import pytest

from conftest import ROOT, make_program
from documented import blocks
from test_bundle import BUILT, NOT_CARRIED, bare_python

COMMIT = subprocess.run(["git", "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True).stdout.strip()
EPOCH = os.environ.get("SOURCE_DATE_EPOCH") or COMMIT or "1700000000"
VERSION = re.search(r"^project\(ssgpt VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text(), flags=re.M)[1]
TOP = f"ssgpt-{VERSION}"
ARCHIVE = f"{TOP}-linux-x86_64.tar.zst"
SYSTEM = "/usr/bin:/bin"


def pack(file, **environment):
    # The lowest level takes a second, and not half a minute.
    variables = {**os.environ, **({} if COMMIT else {"SOURCE_DATE_EPOCH": EPOCH}), "SSGPT_ZSTD_LEVEL": "1", **environment}
    process = subprocess.run([ROOT / "scripts/bundle.sh", "--archive", file.name], cwd=file.parent, env=variables, capture_output=True,
                             text=True, timeout=300)  # fmt: skip
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def packed(made_once):
    if not (BUILT.exists() and (BUILT.parent / "CMakeCache.txt").exists() and shutil.which("zstd")):
        pytest.skip("build/release, which the script packs, or zstd is missing")
    return made_once("archive", lambda folder: pack(folder / ARCHIVE)) / ARCHIVE


@pytest.fixture(scope="module")
def unpacked(packed, made_once):
    """To be read alone."""
    return made_once("an unpacked archive", lambda folder: subprocess.run(["tar", "-xf", packed], cwd=folder, check=True)) / TOP


def run(command, directory, code=0, **environment):
    """With nothing of this process's environment."""
    environment = {"PATH": SYSTEM, "HOME": str(directory), "OMP_NUM_THREADS": "1", **{k: str(v) for k, v in environment.items()}}
    process = subprocess.run(list(map(str, command)), cwd=directory, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == code, process.stderr + process.stdout
    return process.stdout, process.stderr


def refused(unpacked, directory, **environment):
    out, err = run([unpacked / "bin/ssgpt", "--version"], directory, code=1, **environment)
    assert out == "" and err.count("\n") == 1 and err.startswith("ssgpt: ")
    return err


def wheel():
    """The folder torch of the PyTorch that these tests run with."""
    return pathlib.Path(importlib.util.find_spec("torch").submodule_search_locations[0])


def libtorch(folder, version, libraries):
    """A folder like an unpacked LibTorch, of links."""
    (folder / "lib").mkdir(parents=True)
    (folder / "build-version").write_text(f"{version}\n")
    for library in libraries:
        (folder / "lib" / library.name).symlink_to(library)
    return folder


def libtorch_for_cpus(folder):
    """That of a PyTorch without CUDA. This one's libtorch_cpu.so needs two libraries of NVIDIA's itself."""
    ours = [wheel() / "lib" / name for name in ("libc10.so", "libtorch_cpu.so", "libtorch.so", "libgomp.so.1")]
    needed = re.findall(r"NEEDED.*\[(libcu\w+\.so\S*)\]", subprocess.run(["readelf", "-d", ours[1]], check=True, capture_output=True, text=True).stdout)
    return libtorch(folder, "2.11.0+cpu", [*ours, *(next(wheel().parent.glob(f"nvidia/*/lib/{name}")) for name in needed)])


def built_version():
    return subprocess.run([BUILT, "--version"], check=True, capture_output=True, text=True).stdout


def test_the_same_tree_gives_the_same_bytes_and_their_checksum(packed, tmp_path):
    old = os.umask(0o077)
    try:
        out = pack(tmp_path / "again.tar.zst", TZ="Asia/Tokyo", LC_ALL="C")
    finally:
        os.umask(old)
    assert (tmp_path / "again.tar.zst").read_bytes() == packed.read_bytes()
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    assert f"SHA-256 {digest}\n" in out and (tmp_path / "again.tar.zst.sha256").read_text() == f"{digest}  again.tar.zst\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again.tar.zst", "again.tar.zst.sha256"]


def test_the_steps_of_the_documentation_install_it(packed, tmp_path):
    """As they stand, with this python and its PyTorch in place of the environment that they make from the network."""
    steps = blocks(ROOT / "docs/installing.md", "sh")[0]
    environment = "python3 -m venv env && env/bin/python -m pip install torch==2.11.0\n"
    assert steps.count(environment) == 1 and "torch==2.11.0\n" in (ROOT / "scripts/requirements.txt").read_text()
    for file in (packed, packed.with_name(f"{packed.name}.sha256")):
        shutil.copy(file, tmp_path)
    for folder in ("env/bin", ".local/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "env/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "env/bin/python").chmod(0o755)
    out, _ = run(["bash", "-euc", steps.replace(environment, "")], tmp_path)
    assert out == f"{packed.name}: OK\n{built_version()}"
    assert run([tmp_path / ".local/bin/ssgpt", "--version"], tmp_path, SSGPT_PYTHON=tmp_path / "env/bin/python") == (built_version(), "")


def test_its_entries_are_sorted_and_know_no_owner_and_no_time_of_their_own(packed, tmp_path):
    subprocess.run(["zstd", "-q", "-d", packed, "-o", tmp_path / "tar"], check=True)
    entries = tarfile.open(tmp_path / "tar").getmembers()
    paths = [entry.name for entry in entries]
    assert paths[0] == TOP and all(path == TOP or path.startswith(f"{TOP}/") for path in paths)
    for folder in {os.path.dirname(path) for path in paths}:
        names = [path for path in paths if os.path.dirname(path) == folder]
        assert names == sorted(names)
    assert {entry.mtime for entry in entries} == {int(EPOCH)}
    assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, "", "")}
    assert {entry.mode for entry in entries if entry.isfile()} == {0o644, 0o755} and all(entry.isfile() or entry.isdir() for entry in entries)


def test_it_holds_what_users_need(unpacked):
    assert [path.name for path in unpacked.parent.iterdir()] == [TOP]
    assert sorted(path.name for path in unpacked.iterdir()) == ["LICENSE", "README.txt", "VERSION", "bin", "lib", "share"]
    assert [path.name for path in (unpacked / "bin").iterdir()] == ["ssgpt"]
    assert (unpacked / "VERSION").read_text() == built_version()
    assert (unpacked / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    assert f"ssgpt {VERSION}" in (unpacked / "README.txt").read_text()
    for path in ("share/ssgpt/configs/quickstart/base.yaml", "share/ssgpt/scripts/report.py", "share/ssgpt/scripts/report_page/style.css",
                 "share/doc/ssgpt/README.md", "share/doc/ssgpt/docs/gpu.md", "share/bash-completion/completions/ssgpt",
                 "share/zsh/site-functions/_ssgpt", "share/fish/vendor_completions.d/ssgpt.fish"):  # fmt: skip
        assert (unpacked / path).stat().st_size > 0
    assert not list(unpacked.rglob("*cuda_tests*")) and not list(unpacked.rglob("__pycache__"))


def test_its_programs_look_beside_themselves_alone(unpacked):
    own = unpacked / "lib/ssgpt"
    for program in (own / "ssgpt", *own.glob("libssgpt_cuda.so")):
        dynamic = subprocess.run(["readelf", "-d", program], check=True, capture_output=True, text=True).stdout
        assert re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic) == ["$ORIGIN"]
        found = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        carried = {name for name in re.findall(r"NEEDED.*\[(.*)\]", dynamic) if (own / name).exists()}
        missing = set(re.findall(r"^\t(\S+) => not found", found, flags=re.M))
        assert carried and all(re.match(r"lib(torch|c10|cu|nccl|gomp)", name) for name in missing), missing
    assert not [path.name for path in own.iterdir() if re.match(NOT_CARRIED, path.name)]
    for script in (unpacked / "bin/ssgpt", own / "torch_environment.sh"):
        assert str(ROOT) not in script.read_text()


def test_help_names_the_script_of_the_archive(unpacked, tmp_path):
    script = unpacked / "share/ssgpt/scripts/report.py"
    out, _ = run([unpacked / "bin/ssgpt", "compare", "--help"], tmp_path, SSGPT_PYTHON=sys.executable)
    assert f"  python3 {shlex.quote(str(script))} runs/report" in out


def test_each_library_has_its_licence(unpacked):
    packages = {path.parent.name for path in (unpacked / "share/licenses").glob("*/copyright")}
    for name in ("libcli11-dev", "nlohmann-json3-dev", "libsentencepiece0"):
        assert name in packages
    for library in (unpacked / "lib/ssgpt").glob("*.so*"):
        if library.name == "libssgpt_cuda.so":
            continue
        stem = re.match(r"lib[a-z]+", library.name)[0]
        assert any(package.startswith(stem) for package in packages), library


def test_it_finds_pytorch_by_its_rules(unpacked, tmp_path):
    launcher, python = unpacked / "bin/ssgpt", pathlib.Path(sys.executable)
    link = tmp_path / "bin/ssgpt"
    link.parent.mkdir()
    link.symlink_to(launcher)
    bare, _ = bare_python(tmp_path)
    for environment in ({"PATH": f"{python.parent}:{SYSTEM}"}, {"SSGPT_PYTHON": python}, {"LIBTORCH": wheel()},
                        {"LIBTORCH": wheel(), "SSGPT_PYTHON": "/none"},  # the first that is named
                        {"SSGPT_PYTHON": python, "PATH": f"{bare.parent}:{SYSTEM}"}):  # fmt: skip
        assert run([link, "--version"], tmp_path, **environment) == (built_version(), "")


def test_it_runs_with_an_unpacked_libtorch_and_no_build_tools(unpacked, tmp_path):
    """As its zip is: all libraries in one folder, though NVIDIA's with names of their own there."""
    folder = libtorch(tmp_path / "libtorch", "2.11.0+cu130", [*(wheel() / "lib").glob("*.so*"), *wheel().parent.glob("nvidia/*/lib/*.so*")])
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "head", "ldd", "paste", "readlink", "sed", "sort"):
        (tools / name).symlink_to(shutil.which(name))
    place = tmp_path / "place"
    place.mkdir()
    config = make_program(place).config({"train": {"max_steps": 3}})
    run(["/usr/bin/env", "bash", unpacked / "bin/ssgpt", "train", "--config", config, "--run-dir", "run"], place, PATH=tools, LIBTORCH=folder)
    assert (place / "run/checkpoints/step-00000003/model.safetensors").exists()


def test_torchs_openmp_runtime_is_the_only_one(unpacked, tmp_path):
    """The zips have it under a name of their own, and the system's would otherwise be loaded beside it."""
    libraries = [*(wheel() / "lib").glob("*.so*"), *wheel().parent.glob("nvidia/*/lib/*.so*")]
    folder = libtorch(tmp_path / "with blanks", "2.11.0+cu130", libraries)
    (folder / "lib/libgomp.so.1").rename(folder / "lib/libgomp-98b21ff3.so.1")
    script = 'source "$1/torch_environment.sh"; use_torch_found "$1/ssgpt" "$1"; ldd "$1/ssgpt"; "$1/ssgpt" --version'
    out, err = run(["bash", "-ec", script, "ssgpt", unpacked / "lib/ssgpt"], tmp_path, LIBTORCH=folder)
    assert re.findall(r"(\S*gomp\S*) => (.*) \(", out) == [("libgomp-98b21ff3.so.1", str(folder / "lib/libgomp-98b21ff3.so.1"))]
    assert "LibTorch  2.11.0" in out and err == ""


def test_without_pytorch_it_says_what_it_looked_for(unpacked, tmp_path):
    python, packages = bare_python(tmp_path)
    err = refused(unpacked, tmp_path, PATH=f"{python.parent}:{SYSTEM}")
    for word in ("LIBTORCH", "SSGPT_PYTHON", "not set", "python3", "no torch package", "python3 -m pip install torch==2.11.0"):
        assert word in err
    # A PyTorch that is named is not passed over for another one that would serve.
    serves = f"{pathlib.Path(sys.executable).parent}:{SYSTEM}"
    assert str(python) in refused(unpacked, tmp_path, SSGPT_PYTHON=python, PATH=serves)
    assert "/none is not a LibTorch" in refused(unpacked, tmp_path, LIBTORCH="/none", PATH=serves)
    other = libtorch(tmp_path / "other", "2.10.0+cpu", (wheel() / "lib").glob("*.so"))
    assert "2.10.0+cpu" in refused(unpacked, tmp_path, LIBTORCH=other)
    (other / "build-version").unlink()
    assert "does not say which version" in refused(unpacked, tmp_path, LIBTORCH=other)
    (packages / "torch").mkdir()
    (packages / "torch/__init__.py").touch()
    (packages / "torch-2.9.1.dist-info").mkdir()
    (packages / "torch-2.9.1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9.1\n")
    err = refused(unpacked, tmp_path, PATH=f"{python.parent}:{SYSTEM}")
    assert "python3 has PyTorch 2.9.1, and this program needs 2.11" in err


def test_a_pytorch_for_cpus_serves(unpacked, tmp_path):
    config = make_program(tmp_path).config({"train": {"max_steps": 3, "device": "cpu"}})
    torches = {"cuda": wheel(), "cpu": libtorch_for_cpus(tmp_path / "a LibTorch")}
    for name, folder in torches.items():
        _, err = run([unpacked / "bin/ssgpt", "train", "--config", config, "--run-dir", name], tmp_path, LIBTORCH=folder)
        assert "Done: 3 steps" in err
    weights = [(tmp_path / name / "checkpoints/step-00000003/model.safetensors").read_bytes() for name in torches]
    assert weights[0] == weights[1]
    out, err = run([unpacked / "bin/ssgpt", "--version"], tmp_path, LIBTORCH=torches["cpu"])
    assert re.search(r"^CUDA +none: ", out, flags=re.M) and err == ""
    _, err = run([unpacked / "bin/ssgpt", "train", "--config", config, "--run-dir", "none", "--set", "train.device=cuda"], tmp_path, code=2,
                 LIBTORCH=torches["cpu"])  # fmt: skip
    assert "this process can use no GPU" in err


def test_only_a_file_is_written(packed, tmp_path):
    for arguments, word in ((["--archive", tmp_path], "is a directory"), (["--archiv"], "unknown option"), (["a", "b"], "one argument")):
        process = subprocess.run([ROOT / "scripts/bundle.sh", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert process.returncode == 1 and word in process.stderr
    assert list(tmp_path.iterdir()) == []

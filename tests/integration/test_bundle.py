"""scripts/bundle.sh: a bundle, moved elsewhere, runs without the repository's .venv and build folder on any path."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from conftest import LENGTH, ROOT, VOCAB, make_program, read_metrics, without_timing

BUILT = ROOT / "build" / "release" / "ssgpt"
CUDA_LIBRARY = BUILT.with_name("libssgpt_cuda.so")
TINY = ["--set", "model.hidden_size=32", "--set", "model.num_hidden_layers=2", "--set", "model.num_attention_heads=2", "--set",
        "model.intermediate_size=48", "--set", f"model.vocab_size={VOCAB}", "--set", f"data.sequence_length={LENGTH}"]
# Libraries of the machine, or PyTorch's.
NOT_CARRIED = r"lib(c|m|dl|pthread|rt|util|resolv|stdc\+\+|gcc_s)\.so|ld-linux|linux-vdso"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    if not BUILT.exists():
        pytest.skip(f"{BUILT} is missing, which the script packs")
    made = tmp_path_factory.mktemp("made") / "bundle"
    process = subprocess.run([ROOT / "scripts/bundle.sh", made], cwd="/", capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert re.search(r"bundle: ssgpt [\d.]+, [\d.]+ MiB\n$", process.stdout)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "a name with spaces"
    made.rename(elsewhere)
    return elsewhere


def run(command, directory, python=sys.executable, code=0, path="/usr/bin:/bin"):
    """Runs a command without this process's environment, with a python named as a user would."""
    environment = {"PATH": path, "HOME": str(directory), "OMP_NUM_THREADS": "1", "SSGPT_PYTHON": str(python)}
    process = subprocess.run(list(map(str, command)), cwd=directory, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == code, process.stderr + process.stdout
    return process.stdout, process.stderr


def bare_python(directory):
    """A python that sees no packages but its own."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "bare"], check=True)
    (packages,) = (directory / "bare/lib").glob("python*/site-packages")
    return directory / "bare/bin/python", packages


def dynamic_sections(bundle):
    files = [path for folder in ("bin", "lib") for path in (bundle / folder).rglob("*") if path.is_file()]
    return subprocess.run(["readelf", "-d", *files], check=True, capture_output=True, text=True).stdout


def test_it_names_no_path_of_this_machine(bundle):
    paths = re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic_sections(bundle))
    programs = len(list((bundle / "bin").iterdir()))
    assert paths[:programs] == ["$ORIGIN/../lib"] * programs
    assert all(part.startswith("$ORIGIN") for path in paths for part in path.split(":"))
    for script in [bundle / "run.sh", *(bundle / "scripts").iterdir()]:
        assert str(ROOT) not in script.read_text()
    assert sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) < 64 << 20


def test_it_carries_what_is_neither_pytorchs_nor_the_systems(bundle):
    script = 'set -e; source scripts/torch_environment.sh; use_torch "$SSGPT_PYTHON" bin/ssgpt; ldd bin/ssgpt'
    found = dict(re.findall(r"^\t(\S+) => (.+) \(0x", run(["bash", "-c", script], bundle)[0], flags=re.M))
    assert "site-packages" in found["libtorch_cpu.so"]
    others = {name: path for name, path in found.items() if "site-packages" not in path and not re.match(NOT_CARRIED, name)}
    carried = {str(path.resolve()) for path in (bundle / "lib").glob("*.so*") if path.name != "libssgpt_cuda.so"}
    assert {os.path.realpath(path) for path in others.values()} == carried
    if CUDA_LIBRARY.exists():  # which is loaded at run time
        script = script.replace("ldd bin/ssgpt", "ldd lib/libssgpt_cuda.so")
        found = dict(re.findall(r"^\t(\S+) => (.+) \(0x", run(["bash", "-c", script], bundle)[0], flags=re.M))
        assert all("site-packages" in found[f"lib{name}"] for name in ("torch_cuda.so", "cublasLt.so.13", "nccl.so.2"))


def test_it_says_what_it_is(bundle, tmp_path):
    out, _ = run([bundle / "run.sh", "--version"], tmp_path)
    assert out == subprocess.run([BUILT, "--version"], check=True, capture_output=True, text=True).stdout
    assert (bundle / "VERSION").read_text() == out
    assert out.splitlines()[0] in (bundle / "README.txt").read_text()
    # The python given as an argument takes precedence over that of the environment.
    assert run([bundle / "run.sh", "--python", sys.executable, "--version"], tmp_path, python="/none")[0] == out


def test_it_measures_a_step(bundle, tmp_path):
    report = json.loads(run([bundle / "run.sh", "bench", "step", *TINY, "--steps", 2, "--warmup", 0, "--json"], tmp_path)[0])
    assert report["hidden_size"] == 32 and len(report["seconds"]) == 2


def test_it_trains_as_the_built_program_does(bundle, tmp_path):
    config = make_program(tmp_path).config({"train": {"max_steps": 3}})
    for program, name in ((bundle / "run.sh", "packed"), (BUILT, "built")):
        run([program, "train", "--config", config, "--run-dir", name], tmp_path)
        assert (tmp_path / name / "checkpoints/step-00000003/model.safetensors").exists()
    packed, built = (without_timing(read_metrics(tmp_path / name)) for name in ("packed", "built"))
    assert [r["train/loss"] for r in packed if "train/loss" in r] == [r["train/loss"] for r in built if "train/loss" in r]
    assert len(packed) >= 3


def test_its_configs_are_complete(bundle, tmp_path):
    configs = sorted((bundle / "configs/paper").glob("[a-f]-*.yaml"))
    assert len(configs) == 8  # six models, two of them in two variants
    for config in configs:
        tiny = [word for word in TINY if "sequence_length" not in word and word != "--set"]
        sets = [word for setting in [*tiny, "data.sequence_length=16", "train.micro_batch_size=1", "train.global_batch_size=1",
                                     "train.dtype=float32", "train.device=cpu"] for word in ("--set", setting)]
        run([bundle / "run.sh", "bench", "step", "--config", config, *sets, "--steps", 1, "--warmup", 0], tmp_path)


def build_small_program(repository):
    """In place of ssgpt, a program that needs a library of PyTorch's and one of its own, both in folders of the repository."""
    packages = pathlib.Path(importlib.util.find_spec("torch").submodule_search_locations[0]).parent
    (repository / "packages").symlink_to(packages)
    (repository / "own").mkdir(parents=True)
    (repository / "build/release").mkdir(parents=True)
    (repository / "own.cpp").write_text('const char* version() { return "ssgpt 0.0.0"; }\n')
    (repository / "main.cpp").write_text('#include <cstdio>\nconst char* version();\nint main() { std::puts(version()); }\n')
    folders = [repository / "packages/torch/lib", repository / "own"]
    rpath = ["-Xlinker", "-rpath", "-Xlinker", ":".join(map(str, folders))]
    for command in (["-shared", "-fPIC", "own.cpp", "-o", "own/libown.so"],
                    ["main.cpp", "-o", "build/release/ssgpt", "-L", folders[0], "-L", folders[1], "-Wl,--no-as-needed", "-lc10", "-lown", *rpath]):  # fmt: skip
        subprocess.run(["g++", *command], cwd=repository, check=True)


def test_the_repository_and_the_bundle_may_have_any_path(tmp_path):
    repository, target = tmp_path / "my own repository", tmp_path / 'a "bundle" \\ ${of} $mine; it\'s'
    repository.mkdir()
    for name in ("scripts", "configs", "cmake"):
        (repository / name).symlink_to(ROOT / name)
    build_small_program(repository)
    process = subprocess.run([repository / "scripts/bundle.sh", target], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    assert [path.name for path in (target / "lib").iterdir()] == ["libown.so"]
    assert re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic_sections(target)) == ["$ORIGIN/../lib"]
    repository.rename(tmp_path / "gone")
    assert run([target / "run.sh"], tmp_path)[0] == "ssgpt 0.0.0\n"


def test_modules_in_the_current_folder_are_not_those_of_the_python(bundle, tmp_path):
    (tmp_path / "torch").mkdir()
    for name in ("csv.py", "pathlib.py", "torch/__init__.py"):
        (tmp_path / name).write_text("raise SystemExit('this was imported')\n")
    assert run([bundle / "run.sh", "--version"], tmp_path)[0].startswith("ssgpt ")


def test_a_python_without_the_right_pytorch_is_refused(bundle, tmp_path):
    python, packages = bare_python(tmp_path)
    out, err = run([bundle / "run.sh", "--version"], tmp_path, python=python, code=1)
    assert out == "" and err.count("\n") == 1 and "no torch package" in err and str(python) in err and "2.11" in err
    (packages / "torch").mkdir()
    (packages / "torch/__init__.py").write_text("")
    (packages / "torch-2.10.0.dist-info").mkdir()
    (packages / "torch-2.10.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.10.0+cu130\n")
    out, err = run([bundle / "run.sh", "--version"], tmp_path, python=python, code=1)
    assert out == "" and err.count("\n") == 1 and "2.10.0+cu130" in err and "2.11" in err
    _, err = run([bundle / "run.sh", "--version"], tmp_path, python=tmp_path / "none", code=1)
    assert err.count("\n") == 1 and "is not a program" in err
    # The right version without libraries, as a build for another CUDA has different ones: the error names what is missing.
    (packages / "torch-2.10.0.dist-info").rename(packages / "torch-2.11.0.dist-info")
    (packages / "torch-2.11.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.11.0\n")
    _, err = run([bundle / "run.sh", "--version"], tmp_path, python=python, code=1)
    assert err.count("\n") == 1 and "libtorch_cpu.so" in err and "libc10.so" in err


def test_an_old_runtime_of_the_system_is_replaced_by_that_of_the_python(bundle, tmp_path):
    """A loader like that of an older system, which lacks a version of libstdc++ unless it finds conda's."""
    prefix, fake = tmp_path / "conda", tmp_path / "fake"
    for folder in (prefix / "lib", fake):
        folder.mkdir(parents=True)
    (fake / "ldd").write_text(f"#!/bin/sh\ncase \"$LD_LIBRARY_PATH\" in *:{prefix}/lib) exit 0;; esac\n"
                              "echo \"$1: /lib64/libstdc++.so.6: version \\`GLIBCXX_3.4.30' not found (required by $1)\"\n")
    python = fake / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c \"import sys; sys.base_prefix = '{prefix}'; exec(sys.stdin.read())\"\n")
    for program in (fake / "ldd", python):
        program.chmod(0o755)
    path = f"{fake}:/usr/bin:/bin"
    script = 'source scripts/torch_environment.sh; use_torch "$SSGPT_PYTHON" bin/ssgpt; echo "$LD_LIBRARY_PATH"'
    _, err = run([bundle / "run.sh", "--version"], tmp_path, python=python, path=path, code=1)
    assert err.count("\n") == 1 and "GLIBCXX_3.4.30" in err
    (prefix / "lib/libstdc++.so.6").write_text("")
    folders = run(["bash", "-ec", script], bundle, python=python, path=path)[0].strip().split(":")
    assert folders[0] == str(bundle / "lib") and folders[-1] == str(prefix / "lib")
    # Not used where the system's is new enough.
    assert str(prefix) not in run(["bash", "-ec", script], bundle, python=python)[0]


def test_only_a_bundle_is_replaced(bundle, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "notes.txt").write_text("mine")
    process = subprocess.run([ROOT / "scripts/bundle.sh", "kept"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert process.returncode == 1 and "kept" in process.stderr and (kept / "notes.txt").read_text() == "mine"
    again = tmp_path / "again"
    shutil.copytree(bundle, again)
    (again / "stale").write_text("")
    process = subprocess.run([ROOT / "scripts/bundle.sh", "again"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert not (again / "stale").exists() and (again / "run.sh").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "kept"]

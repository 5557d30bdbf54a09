"""cmake --install: what is installed runs from any folder, and everything is where it belongs."""

import filecmp
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from conftest import BINARY, ROOT, make_program

BUILD = BINARY.parent


def install(prefix, *arguments, **environment):
    process = subprocess.run(["cmake", "--install", BUILD, "--prefix", prefix, *arguments], cwd="/", capture_output=True, text=True,
                             env={**os.environ, **environment}, timeout=120)
    assert process.returncode == 0, process.stderr


@pytest.fixture(scope="module")
def prefix(made_once):
    """To be read alone."""
    if not (BUILD / "cmake_install.cmake").exists() or not shutil.which("cmake"):
        pytest.skip(f"{BUILD} is no build folder of CMake")
    return made_once("a prefix", install)


def run(command, directory):
    """With nothing of this process's environment."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(directory), "OMP_NUM_THREADS": "1"}
    process = subprocess.run(list(map(str, command)), cwd=directory, env=environment, capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    return process.stdout


def files_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_installed_program_runs_from_another_folder(prefix, tmp_path):
    program = prefix / "bin/ssgpt"
    assert run([program, "--version"], tmp_path) == run([BINARY, "--version"], tmp_path)
    config = make_program(tmp_path).config({"train": {"max_steps": 3}})
    run([program, "train", "--config", config, "--run-dir", "run"], tmp_path)
    assert (tmp_path / "run/checkpoints/step-00000003/model.safetensors").exists()


def test_it_takes_its_own_libraries_from_the_prefix_and_pytorchs_from_where_it_was_built(prefix, tmp_path):
    dynamic = run(["readelf", "-d", prefix / "bin/ssgpt"], tmp_path)
    first, *others = re.search(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic)[1].split(":")
    assert first == "$ORIGIN/../lib/ssgpt" and str(BUILD) not in others
    assert any(path.endswith("torch/lib") for path in others)
    found = dict(re.findall(r"^\t(\S+) => (.+) \(0x", run(["ldd", prefix / "bin/ssgpt"], tmp_path), flags=re.M))
    for library in ("libsentencepiece.so.0", "libsentencepiece_train.so.0"):
        assert pathlib.Path(found[library]).resolve() == (prefix / "lib/ssgpt" / library).resolve()
    assert "torch/lib" in found["libtorch_cpu.so"]


def test_everything_is_where_it_belongs(prefix, tmp_path):
    files = files_in(prefix)
    libraries = {"libsentencepiece.so.0", "libsentencepiece_train.so.0", *(path.name for path in BUILD.glob("libssgpt_cuda.so"))}
    assert {name for name in files if not name.startswith("share/")} == {"bin/ssgpt", *(f"lib/ssgpt/{name}" for name in libraries)}
    configs = prefix / "share/ssgpt/configs"
    assert files_in(configs) == files_in(ROOT / "configs")
    assert all(filecmp.cmp(configs / name, ROOT / "configs" / name, shallow=False) for name in files_in(configs))
    assert {"share/doc/ssgpt/README.md", "share/doc/ssgpt/LICENSE", "share/doc/ssgpt/docs/models.md"} <= files
    for shell, name in (("bash", "bash-completion/completions/ssgpt"), ("zsh", "zsh/site-functions/_ssgpt"),
                        ("fish", "fish/vendor_completions.d/ssgpt.fish")):  # fmt: skip
        assert (prefix / "share" / name).read_text() == run([BINARY, "completion", shell], tmp_path)
    assert not any("__pycache__" in name for name in files)
    assert "ssgpt compare" in run([sys.executable, "-B", prefix / "share/ssgpt/scripts/report.py", "--help"], tmp_path)


def test_the_documents_link_only_to_what_is_installed(prefix):
    documents = prefix / "share/doc/ssgpt"
    links = [(page, link) for page in documents.rglob("*.md") for link in re.findall(r"\]\((?!\w+:|#)([^)\s#]+)", page.read_text())]
    assert {"docs/models.md", "data/README.md", "images/needle.png"} <= {link for _, link in links}
    assert not [(page, link) for page, link in links if not (page.parent / link).is_file()]
    text = (documents / "README.md").read_text()
    assert "(CONTRIBUTING.md)" not in text and "CONTRIBUTING.md: build, test, style" in text


def test_help_names_the_installed_script(prefix, tmp_path):
    script = prefix / "share/ssgpt/scripts/report.py"
    for command in (["compare"], ["evaluate", "needle"]):
        assert f"  python3 {shlex.quote(str(script))} runs/" in run([prefix / "bin/ssgpt", *command, "--help"], tmp_path)


def test_a_destdir_goes_before_the_prefix(prefix, tmp_path):
    install("/usr/local", DESTDIR=str(tmp_path))
    assert files_in(tmp_path / "usr/local") == files_in(prefix)
    assert [path.name for path in tmp_path.iterdir()] == ["usr"]


def test_parts_may_be_installed_alone(prefix, tmp_path):
    for component in ("program", "share"):
        install(tmp_path / component, "--component", component)
    assert sorted(path.name for path in (tmp_path / "program").iterdir()) == ["bin", "lib"]
    assert [path.name for path in (tmp_path / "share").iterdir()] == ["share"]
    assert files_in(tmp_path / "program") | files_in(tmp_path / "share") == files_in(prefix)

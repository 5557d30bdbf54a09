"""libssgpt_cuda.so is loaded only where there is a driver, and what is wrong with it is said. The drivers here are empty libraries."""

import ctypes
import re
import shutil
import subprocess

import pytest

from conftest import BINARY

LIBRARY = BINARY.with_name("libssgpt_cuda.so")
REVISION = 'static const char* revision(void) { return "000000000000"; }\nconst struct { const char* (*f[2])(void); void* more[8]; } ssgpt_gpu_functions = { { revision, revision } };\n'


def has_driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


pytestmark = [pytest.mark.skipif(not LIBRARY.exists(), reason="built without CUDA"),
              pytest.mark.skipif(has_driver(), reason="this machine has a driver of its own")]  # fmt: skip


@pytest.fixture(scope="module")
def libraries(made_once):
    """Folders with a library each: an empty driver, and what is not this program's CUDA library."""

    def make(folder):
        for place, name, code in (("driver", "libcuda.so.1", "int nothing;\n"), ("foreign", LIBRARY.name, "int nothing;\n"),
                                  ("other revision", LIBRARY.name, REVISION)):  # fmt: skip
            (folder / place).mkdir()
            (folder / "code.c").write_text(code)
            subprocess.run(["gcc", "-shared", "-fPIC", "code.c", "-o", f"{place}/{name}"], cwd=folder, check=True)
        (folder / "broken").mkdir()
        (folder / "broken" / LIBRARY.name).write_text("not a library\n")

    if not shutil.which("gcc"):
        pytest.skip("gcc is missing")
    return made_once("libraries", make)


def loaded(program, *arguments, **environment):
    """The libraries that a command loads, by the loader's own log."""
    for log in program.directory.glob("loader.*"):
        log.unlink()
    program.run(*arguments, LD_DEBUG="files", LD_DEBUG_OUTPUT=str(program.directory / "loader"), **environment)
    (log,) = program.directory.glob("loader.*")
    return set(re.findall(r"calling init: \S*/(\S+)", log.read_text()))


def test_a_training_without_a_driver_loads_nothing_of_cuda(program):
    config = program.config({"train": {"max_steps": 3}})
    libraries = loaded(program, "train", "--config", config, "--run-dir", "run")
    assert "libtorch_cpu.so" in libraries
    assert not {name for name in libraries if re.match(r"libssgpt_cuda|libtorch_cuda|libc10_cuda|libcublas|libcudnn|libnccl", name)}


def test_with_a_driver_it_is_loaded_and_the_run_has_the_same_bits(program, libraries):
    config = program.config({"train": {"max_steps": 3}})
    path = {"LD_LIBRARY_PATH": str(libraries / "driver")}
    assert {"libssgpt_cuda.so", "libtorch_cuda.so"} <= loaded(program, "train", "--config", config, "--run-dir", "with", **path)
    _, err = program.run("train", "--config", config, "--run-dir", "without")
    weights = [(program.directory / run / "checkpoints/step-00000003/model.safetensors").read_bytes() for run in ("with", "without")]
    assert weights[0] == weights[1]
    # CUDA's own reason, as this driver does not work.
    _, err = program.run("train", "--config", config, "--run-dir", "gpu", "--set", "train.device=cuda", code=2, **path)
    reason = re.search(r"this process can use no GPU: (.+?)\. To use the CPU", " ".join(err.split()))[1]
    assert "CUDA" in reason and "libssgpt_cuda.so" not in reason


def test_without_a_driver_a_gpu_is_refused_for_that_reason(program):
    _, err = program.run("train", "--config", program.config(), "--run-dir", "run", "--set", "train.device=cuda", code=2)
    assert "NVIDIA's driver is not installed (libcuda.so.1 was not found)" in " ".join(err.split())


@pytest.mark.parametrize(("place", "reason"), [("foreign", "is not a part of this program"), ("broken", "cannot be loaded: "),
                                               ("other revision", "is of another build .revision 000000000000. than the program .revision ")])  # fmt: skip
def test_a_library_that_does_not_fit_is_not_used(program, libraries, place, reason):
    path = {"LD_LIBRARY_PATH": f"{libraries / 'driver'}:{libraries / place}"}
    out, _ = program.run("--version", **path)
    assert re.search(rf"^CUDA +none: libssgpt_cuda.so {reason}", out, flags=re.M)
    config = program.config({"train": {"max_steps": 3}})
    _, err = program.run("train", "--config", config, "--run-dir", "run", **path)  # the device is auto
    assert len(re.findall(rf"NVIDIA's driver is installed, but the CPU computes: libssgpt_cuda.so {reason}", " ".join(err.split()))) == 1
    _, err = program.run("train", "--config", config, "--run-dir", "gpu", "--set", "train.device=cuda", code=2, **path)
    assert re.search(rf"this process can use no GPU: libssgpt_cuda.so {reason}", " ".join(err.split()))


def test_the_library_of_the_process_that_started_it_is_used(program, libraries):
    """As in the runs of a sweep, for which the file may be another one by then."""
    path = {"LD_LIBRARY_PATH": str(libraries / "other revision")}
    with open(LIBRARY, "rb") as library:
        shared = {"SSGPT_CUDA_LIBRARY": f"/proc/self/fd/{library.fileno()}"}
        command = [BINARY, "--version"]
        out = subprocess.run(command, env=program.environment | path | shared, pass_fds=[library.fileno()], capture_output=True, text=True).stdout
    assert re.search(r"^CUDA +13\.", out, flags=re.M)
    assert "none: " in subprocess.run(command, env=program.environment | path, capture_output=True, text=True).stdout


def test_a_driver_that_cannot_be_loaded_is_not_called_missing(program):
    (program.directory / "libcuda.so.1").touch()
    _, err = program.run("train", "--config", program.config(), "--run-dir", "run", "--set", "train.device=cuda", code=2,
                         LD_LIBRARY_PATH=str(program.directory))  # fmt: skip
    assert "NVIDIA's driver cannot be loaded: " in " ".join(err.split()) and "file too short" in " ".join(err.split())


def test_a_program_without_it_says_so(tmp_path):
    """A copy of the program, which looks beside itself."""
    (tmp_path / "lib").symlink_to(BINARY.parent / "lib")
    program = shutil.copy(BINARY, tmp_path)
    out = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    assert re.search(r"^CUDA +none: this program was built or installed without libssgpt_cuda.so$", out, flags=re.M)

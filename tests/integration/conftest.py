"""Shared by the integration tests: the binary, tiny shards made by numpy, a tiny config."""

import fcntl
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

# Set before PyTorch is loaded: the threads of a model this small mostly wait for each other, while other workers need the
# cores.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from fork_server import ForkServer
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("SSGPT_BIN", ROOT / "build" / "release" / "ssgpt")).resolve()
FORK_SERVER = BINARY.parent / "ssgpt_fork_server"
sys.path.insert(0, str(pathlib.Path(__file__).parent))

# nohup and some CI runners ignore SIGHUP, which the processes of a test would inherit. A handler is not inherited.
if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

VOCAB = 96
LENGTH = 16

CONFIG = {
    "run": {"name": "tiny", "seed": 7},
    "model": {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 48,
        "attention": {"kind": "softmax"},
    },
    "data": {"sequence_length": LENGTH},
    "train": {"dtype": "float32", "max_steps": 20, "global_batch_size": 8, "micro_batch_size": 4},
    "optimizer": {"lr": 0.003, "schedule": {"kind": "constant", "warmup_steps": 3}},
    "log": {"every": 1, "tensorboard": False},
}


def write_shard(path, tokens):
    """llm.c's format, version 1: a header of 256 int32, then uint16."""
    header = np.zeros(256, dtype="<i4")
    header[:3] = [20240520, 1, len(tokens)]
    path.write_bytes(header.tobytes() + np.asarray(tokens, dtype="<u2").tobytes())
    return path


def merged(base, *changes):
    """`base` with nested dictionaries merged into it."""
    result = json.loads(json.dumps(base))
    for change in changes:
        for key, value in change.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


# A process's peak memory includes the pages of the one that started it, and pytest holds a large library: so a small
# process starts the program, and writes what the system counted to the file that it is given.
STARTER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
open(sys.argv[1], "w").write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""


OF_PYTEST = "PYTEST_CURRENT_TEST"
# Variables that would make a process take itself for one of several ranks.
OF_LAUNCHERS = ("SLURM", "OMPI", "TORCHELASTIC", "RANK", "WORLD_SIZE", "LOCAL_", "MASTER_")


def default_environment():
    environment = {k: v for k, v in os.environ.items() if not k.startswith(OF_LAUNCHERS) and k != OF_PYTEST}
    # A test may ask for more threads than there are free cores: those that wait must not keep the others from working.
    return {**environment, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


_fork_servers = []  # fork servers in which no command is running


def run_in_fork_server(arguments, directory):
    """Returns the exit code, as subprocess has it, and the text of stdout and stderr."""
    server = _fork_servers.pop() if _fork_servers else ForkServer(FORK_SERVER, 300, default_environment())
    answer, *streams = server.run(arguments, directory)
    _fork_servers.append(server)
    # Line breaks are converted as by text=True.
    return (-answer["signal"] or answer["code"], *(io.TextIOWrapper(io.BytesIO(data), "utf-8").read() for data in streams))


def pytest_sessionfinish():
    while _fork_servers:
        _fork_servers.pop().close()


class Program:
    """Runs the binary in the test's own directory, with one thread: the models are tiny, and results repeatable."""

    def __init__(self, directory):
        self.directory = directory
        self.environment = default_environment()
        self._started = []

    def popen(self, command, environment=None, **options):
        """Starts a command in the directory; end_all() kills it."""
        environment = {**self.environment, **(environment or {})}
        process = subprocess.Popen(list(map(str, command)), cwd=self.directory, env=environment, **options)
        self._started.append(process)
        return process

    def start(self, *arguments, **environment):
        return self.popen([BINARY, *arguments], environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end_all(self):
        """Kills started processes that still run, such as an endless run of a test that failed."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def run(self, *arguments, code=0, **environment):
        """Runs a command to its end; the exit code must be `code`. Returns stdout and stderr."""
        # A sweep starts the file that it is itself, bench measures the memory of its process, and variables may be read when
        # libraries are loaded.
        by_itself = arguments[:1] in (("sweep",), ("bench",)) or environment or self.environment != default_environment()
        if by_itself or not FORK_SERVER.exists():
            process = self.start(*arguments, **environment)
            out, err = process.communicate(timeout=300)
            ended = process.returncode
        else:
            ended, out, err = run_in_fork_server(arguments, self.directory)
        assert ended == code, f"exit code {ended}, expected {code}\n{err}\n{out}"
        return out, err

    def run_measured(self, *arguments):
        """Runs a command, which must succeed. Returns stdout, stderr and the largest resident set in bytes."""
        counted = self.directory / "maxrss"
        command = [sys.executable, "-I", "-S", "-c", STARTER, counted, BINARY, *arguments]
        process = subprocess.run(list(map(str, command)), cwd=self.directory, env=self.environment, capture_output=True, text=True)
        assert process.returncode == 0, process.stderr
        return process.stdout, process.stderr, int(counted.read_text()) * 1024

    def config(self, *changes, name="config.json"):
        path = self.directory / name
        path.write_text(json.dumps(merged(CONFIG, {"data": {"train": [str(self.directory / "train.bin")]}}, *changes)))
        return path

    def train(self, *arguments, changes=(), name="config.json", code=0, **environment):
        return self.run("train", "--config", self.config(*changes, name=name), *arguments, code=code, **environment)


def start_that_becomes_nan(program):
    """A model that becomes infinite on one window of 64, though its weights are finite: for an id that only this window contains
    the logit is -3e38 times a feature that is 5.6 for every token, hence -inf, which only a loss on that id notices. Returns its
    directory, for --init-from."""
    tokens = np.arange(64 * LENGTH + 1) % (VOCAB - 1)
    tokens[40 * LENGTH + 5] = VOCAB - 1
    write_shard(program.directory / "train.bin", tokens)
    program.train("--run-dir", "start", changes=[{"train": {"max_steps": 1}, "optimizer": {"schedule": {"warmup_steps": 0}}}])
    start = program.directory / "start/checkpoints/step-00000001"
    weights = load_file(start / "model.safetensors")
    weights["model.embed_tokens.weight"][:, 0] = 100.0  # sqrt(32) after the norm
    weights["lm_head.weight"][VOCAB - 1, 0] = -3e38
    bad = program.directory / "bad"
    bad.mkdir()
    shutil.copy(start / "config.json", bad)
    save_file(weights, bad / "model.safetensors", metadata={"format": "pt"})
    return bad


def checkpoints(run):
    return sorted(p for p in (run / "checkpoints").iterdir() if p.name.startswith("step-"))


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    raise AssertionError("it took too long")


def equal_tensors(a, b):
    assert a.keys() == b.keys()
    return all(a[k].shape == b[k].shape and bool((a[k] == b[k]).all()) for k in a)


def read_metrics(run_directory):
    return [json.loads(line) for line in (pathlib.Path(run_directory) / "metrics.jsonl").read_text().splitlines()]


TIMING = ("time", "train/tokens_per_second", "train/gemm_share", "train/mfu")


def without_timing(records):
    return [{k: v for k, v in r.items() if k not in TIMING} for r in records]


def pytest_sessionstart():
    if not BINARY.exists():
        pytest.exit(f"{BINARY} is missing: scripts/build.sh makes it", returncode=3)


def make_program(directory):
    """The program in a directory with train.bin (64 windows) and validation.bin (16 windows) of text-like random tokens."""
    rng = np.random.default_rng(5)
    weights = 1.0 / np.arange(1, VOCAB + 1)
    for name, windows in (("train", 64), ("validation", 16)):
        tokens = rng.choice(VOCAB, size=windows * LENGTH + 1, p=weights / weights.sum())
        write_shard(directory / f"{name}.bin", tokens)
    return Program(directory)


@pytest.fixture
def program(tmp_path):
    made = make_program(tmp_path)
    yield made
    made.end_all()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """made_once(name, make) is a folder that make(folder) has filled, once for all pytest workers: the first worker that asks
    makes it, and the others wait. A test that writes into it must copy it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def once(name, make):
        folder, finished = root / "made" / name, root / "made" / f"{name}.finished"
        folder.parent.mkdir(exist_ok=True)
        with open(folder.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                finished.touch()
        return folder

    return once


@pytest.fixture
def finished_run(program, made_once):
    """The directory "run" in the program's directory, as `program.train("--run-dir", "run")` leaves it: a copy of a run that was
    trained once, for tests of what comes after training. Its config names the shards that it was trained on, so a config of
    `program` does not resume it."""
    made = made_once("finished", lambda folder: make_program(folder).train("--run-dir", "run"))
    return pathlib.Path(shutil.copytree(made / "run", program.directory / "run"))


TRAINED_STEPS = 3


def make_trained(folder):
    made = make_program(folder)
    # Weights so large that attention differs between tokens, with hardly any training.
    change = {"train": {"max_steps": TRAINED_STEPS}, "model": {"initializer_range": 0.15}}
    base = made.config(change, name="base.json")
    kinds = {kind: {"model.attention.kind": kind} for kind in ("softmax", "ssmax")}
    (made.directory / "sweep.json").write_text(
        json.dumps({"base": base.name, "variants": kinds, "seeds": [1, 2, 3], "jobs": 1})
    )
    made.run("sweep", "--config", "sweep.json", "--run-dir", "sweep")
    learned = {"model": {"attention": {"kind": "learned_pn"}}}
    made.train("--run-dir", "learned", changes=[change, learned])


@pytest.fixture(scope="session")
def _trained(made_once):
    """A sweep of Softmax and SSMax with three seeds, and a run with a learned p_n, all of a few steps; read-only."""
    return Program(made_once("trained", make_trained))


@pytest.fixture
def trained(_trained, tmp_path):
    """The program with train.bin, validation.bin and a copy of these runs, for tests of what comes after training."""
    shutil.copytree(_trained.directory, tmp_path, dirs_exist_ok=True)
    made = Program(tmp_path)
    yield made
    made.end_all()

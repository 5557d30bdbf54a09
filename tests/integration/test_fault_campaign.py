"""Trainings interrupted by random faults and kills, one after another: once it is resumed without a fault, a run has the metrics,
samples, weights and moments of an uninterrupted one, bit for bit.

SSGPT_FAULTS and SSGPT_KILLS set how many trainings are interrupted by failing calls and by SIGKILL, SSGPT_FAULTS_SEED the
seed."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess

import pytest

from conftest import read_metrics, without_timing
from faults import KILL, Faults
from test_samples import SAMPLES, config  # noqa: F401 (a fixture)

FAULTS = int(os.environ.get("SSGPT_FAULTS", 8))
KILLS = int(os.environ.get("SSGPT_KILLS", 4))
SEED = int(os.environ.get("SSGPT_FAULTS_SEED", 1))

CALLS = ["open", "pread", "pwrite", "write", "fsync", "rename", "mkdir", "stat", "name"]
ERRORS = [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EACCES, errno.ESTALE, KILL]
PLACES = ["run", "run/checkpoints", "step-000000", "manifest.json", "model.safetensors", "optimizer-", "state.json", "run/metrics.jsonl",
          "run/samples.jsonl", "run/log.txt", "run/run.json", "run/config.yaml", "events.out", ".lock", "train.bin", "validation.bin", "t.model"]
EVERY = {"checkpoint": {"every": 4, "keep_last": 2}}
LAST = "checkpoints/step-00000020"
BYTES = ["samples.jsonl", f"{LAST}/model.safetensors", f"{LAST}/trainer/optimizer-00000-of-00001.safetensors", f"{LAST}/t.model"]


def result(run):
    """Everything that a training computes."""
    files = {name: (run / name).read_bytes() for name in BYTES if (run / name).exists()}
    return files, without_timing(read_metrics(run))


class Campaign:
    def __init__(self, program, config):
        self._program = program
        self.faults = Faults(program)
        self._command = ["train", "--config", program.config(config, SAMPLES, EVERY), "--run-dir", "run", "--resume", "auto"]
        whole = program.directory / "whole"
        program.run(*self._command[:3], "--run-dir", "whole")
        self._whole = result(whole)
        assert len(self._whole[0]) == 3 and len(self._whole[1]) == 20
        assert len(self._whole[0]["samples.jsonl"].splitlines()) == 12

    def environment(self, draw):
        """A fault at some call; most often an early one of its kind, since some kinds have few."""
        times = draw.choice([1, 1, 3, 10**6])
        fault = (draw.choice(CALLS), draw.choice(PLACES), draw.choice(ERRORS))
        return self.faults.on(*fault, nth=1 + int(draw.expovariate(1 / 6)), times=times)

    def start(self, environment, seconds=120):
        """Trains with a fault, and kills the process after that many seconds. Returns its exit code and stderr."""
        process = self._program.start(*self._command, **environment)
        try:
            _, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            assert seconds < 120, f"no end within {seconds} s"
            process.kill()
            _, err = process.communicate()
        return process.returncode, err

    def finish(self, story):
        """Resumes without a fault, and compares the results."""
        code, err = self.start({})
        assert code == 0, (story, err)
        run = self._program.directory / "run"
        files, metrics = result(run)
        assert metrics == self._whole[1], story
        assert files == self._whole[0], (story, [name for name in self._whole[0] if files.get(name) != self._whole[0][name]])
        leftovers = [path.name for path in (run / "checkpoints").iterdir() if not path.name.startswith("step-")]
        assert not leftovers, (story, leftovers)
        shutil.rmtree(run)


def told(environment):
    return {name: value for name, value in environment.items() if name.startswith("FAULT_")}


def test_failing_calls_change_no_result_of_a_training(program, config):  # noqa: F811
    campaign, draw = Campaign(program, config), random.Random(SEED)
    met = 0
    for _ in range(FAULTS):
        story = []
        for _ in range(draw.choice([1, 1, 2, 3])):
            environment = campaign.environment(draw)
            code, err = campaign.start(environment)
            story.append((told(environment), code))
            assert code in (0, 1, 2, 3, -signal.SIGKILL), (story, err)
            assert code in (0, -signal.SIGKILL) or err.strip(), story
            met += code != 0
        campaign.finish(story)
    assert met >= FAULTS // 4, "the faults hit nothing"


def test_kills_change_no_result_of_a_training(program, config):  # noqa: F811
    """Half of the kills come before a call that leaves a trace, half at any moment."""
    campaign, draw = Campaign(program, config), random.Random(SEED)
    met = 0
    for number in range(KILLS):
        story = []
        for _ in range(draw.choice([1, 2])):
            environment, seconds = {}, 120
            if number % 2:
                seconds = draw.uniform(0.05, 1.0)
            else:
                call = draw.choice(["write", "pwrite", "fsync", "name"])
                environment = campaign.faults.on(call, "run", KILL, nth=draw.randint(1, 60))
            code, err = campaign.start(environment, seconds)
            story.append((told(environment), seconds, code))
            assert code in (0, -signal.SIGKILL), (story, err)
            met += code != 0
        campaign.finish(story)
    assert met >= KILLS // 4, "the kills hit nothing"

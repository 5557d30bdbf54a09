"""scripts/slurm/sweep.sbatch with stand-ins for srun and scontrol: what it starts, and when it requeues its task."""

import json
import os
import subprocess

import pytest

from conftest import ROOT

SCRIPT = ROOT / "scripts" / "slurm" / "sweep.sbatch"

SRUN = """#!/usr/bin/env python3
import json, os, sys
json.dump([sys.argv[1:], os.environ.get("OMP_NUM_THREADS")], open("srun.json", "w"))
sys.exit(int(os.environ["SRUN_EXITS_WITH"]))
"""
SCONTROL = """#!/bin/bash
echo "$*" >>scontrol.txt
"""


@pytest.fixture
def task(tmp_path):
    for path, text in {"bin/srun": SRUN, "bin/scontrol": SCONTROL, "build/release/ssgpt": "#!/bin/sh\n"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)

    def run(*arguments, srun_exits_with=0, **environment):
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "OMP"))}
        variables |= {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SRUN_EXITS_WITH": str(srun_exits_with)}
        variables |= {"SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3", "SLURM_CPUS_PER_TASK": "6"}
        return subprocess.run(
            ["bash", SCRIPT, *arguments], cwd=tmp_path, env=variables | environment, capture_output=True, text=True
        )

    run.directory = tmp_path
    return run


def test_a_task_trains_the_run_of_its_number(task):
    assert task("my sweep.yaml", "/shared/sweep").returncode == 0
    arguments, threads = json.loads((task.directory / "srun.json").read_text())
    program = f"{task.directory}/build/release/ssgpt"
    command = [program, "sweep", "--config", "my sweep.yaml", "--run-dir", "/shared/sweep", "--only", "3"]
    assert arguments[-len(command):] == command and all(a.startswith("--") for a in arguments[:-len(command)])
    assert threads == "6"


# 138: the signal that comes before the time limit; 143: a stop by SIGTERM; 1: a failure, which would repeat.
@pytest.mark.parametrize("code,again", [(0, False), (138, True), (143, False), (1, False)])
def test_it_goes_on_after_the_time_limit_alone(task, code, again):
    assert task("sweep.yaml", "/shared/sweep", srun_exits_with=code).returncode == code
    calls = task.directory / "scontrol.txt"
    assert (calls.read_text() if calls.exists() else "") == ("requeue 77_3\n" if again else "")


def test_wrong_use_is_refused_before_anything_starts(task):
    assert "usage" in task("sweep.yaml").stderr
    assert "--array" in task("sweep.yaml", "sweep", SLURM_ARRAY_TASK_ID="").stderr
    (task.directory / "build/release/ssgpt").unlink()
    assert "build.sh" in task("sweep.yaml", "sweep").stderr
    assert not (task.directory / "srun.json").exists()

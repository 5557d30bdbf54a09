"""scripts/slurm/train.sbatch with stand-ins for srun and scontrol: what it starts, and when it requeues itself."""

import json
import os
import subprocess

import pytest

from conftest import ROOT

SCRIPT = ROOT / "scripts" / "slurm" / "train.sbatch"

SRUN = """#!/usr/bin/env python3
import json, os, sys
names = ("MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")
json.dump([sys.argv[1:], [os.environ.get(name) for name in names]], open("srun.json", "w"))
sys.exit(int(os.environ["SRUN_EXITS_WITH"]))
"""
SCONTROL = """#!/bin/bash
if [[ "$1 $2 $3" == "show hostnames node[3-4]" ]]; then printf 'node3\\nnode4\\n'; else echo "$*" >>scontrol.txt; fi
"""


@pytest.fixture
def job(tmp_path):
    for path, text in {"bin/srun": SRUN, "bin/scontrol": SCONTROL, "build/release/ssgpt": "#!/bin/sh\n"}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
        (tmp_path / path).chmod(0o755)

    def run(*arguments, srun_exits_with=0, **environment):
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "MASTER", "OMP"))}
        variables |= {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SRUN_EXITS_WITH": str(srun_exits_with)}
        variables |= {"SLURM_JOB_ID": "1234567", "SLURM_JOB_NODELIST": "node[3-4]", "SLURM_CPUS_PER_TASK": "6"}
        return subprocess.run(
            ["bash", SCRIPT, *arguments], cwd=tmp_path, env=variables | environment, capture_output=True, text=True
        )

    run.directory = tmp_path
    return run


def test_the_first_node_serves_the_store_on_a_port_of_the_job(job):
    assert job("my config.yaml", "/shared/runs/a", "--set", "log.every=1").returncode == 0
    arguments, environment = json.loads((job.directory / "srun.json").read_text())
    command = [f"{job.directory}/build/release/ssgpt", "train", "--config", "my config.yaml", "--run-dir", "/shared/runs/a",
               "--resume", "auto", "--set", "log.every=1"]
    assert arguments[-len(command):] == command and all(a.startswith("--") for a in arguments[:-len(command)])
    assert environment == ["node3", str(10000 + 1234567 % 20000), "6"]


# 138: the signal that comes before the time limit; 143: a stop by SIGTERM; 1: a failure, which would repeat.
@pytest.mark.parametrize("code,again", [(0, False), (138, True), (143, False), (1, False)])
def test_it_goes_on_after_the_time_limit_alone(job, code, again):
    assert job("config.yaml", "/shared/runs/a", srun_exits_with=code).returncode == code
    calls = job.directory / "scontrol.txt"
    assert (calls.read_text() if calls.exists() else "") == ("requeue 1234567\n" if again else "")


def test_wrong_use_is_refused_before_anything_starts(job):
    assert "usage" in job("config.yaml").stderr
    assert "not in a job" in job("config.yaml", "runs/a", SLURM_JOB_ID="").stderr
    (job.directory / "build/release/ssgpt").unlink()
    assert "build.sh" in job("config.yaml", "runs/a").stderr
    assert not (job.directory / "srun.json").exists()

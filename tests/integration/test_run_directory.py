"""Whose the files in a run's directory are: others' files are refused, and the run's own survive a kill at any moment."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from conftest import BINARY, checkpoints, make_program, merged, read_metrics, without_timing
from faults import KILL, Faults

SHORT = {"train": {"max_steps": 6}, "checkpoint": {"every": 3, "keep_last": 5}}


def contents(directory):
    return {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["config.yaml", "log.txt", "samples.jsonl", "metrics.jsonl", "run.json", "events.out.tfevents.1.host"])
@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--resume", "auto"]])
def test_files_that_are_no_runs_are_refused_and_stay(program, name, options):
    own = program.directory / "own"
    own.mkdir()
    (own / name).write_text('{"mine": 1}\n')
    before = contents(own)
    _, err = program.train("--run-dir", "own", *options, changes=[SHORT], code=2)
    assert f"own/{name}" in err and "--run-dir" in err
    assert contents(own) == before and os.listdir(own) == [name]


def test_other_files_and_an_empty_folder_of_checkpoints_are_no_obstacle(program):
    own = program.directory / "own"
    (program.directory / "disk").mkdir()
    own.mkdir()
    (own / "notes.txt").write_text("mine")
    (own / "checkpoints").symlink_to(program.directory / "disk")
    program.train("--run-dir", "own", changes=[SHORT])
    assert [path.name for path in checkpoints(own)] == ["step-00000003", "step-00000006"]
    assert (own / "notes.txt").read_text() == "mine" and (own / "checkpoints").is_symlink()


def test_a_sweep_refuses_what_no_sweep_wrote(program):
    base = program.config(SHORT, name="base.json")
    sweep = {"base": str(base), "variants": {"a": {}, "b": {"model.attention.kind": "ssmax"}}, "seeds": [1], "jobs": 1}
    own = program.directory / "own"
    for name in ("sweep.json", "configs/b-seed1.yaml", "report/table.txt"):
        (own / name).parent.mkdir(parents=True)
        (own / name).write_text(json.dumps(sweep))
        (program.directory / "sweep.json").write_text(json.dumps(sweep))
        before = contents(own)
        for only in ([], ["--only", "1"]):
            _, err = program.run("sweep", "--config", "sweep.json", "--run-dir", "own", *only, code=2)
            assert f"own/{name}" in err
        assert contents(own) == before
        shutil.rmtree(own)


def test_a_sweep_leaves_files_beside_its_own_alone(program):
    base = program.config(SHORT, name="base.json")
    sweep = {"base": str(base), "variants": {"a": {}, "b": {"model.attention.kind": "ssmax"}}, "seeds": [1], "jobs": 1}
    (program.directory / "sweep.json").write_text(json.dumps(sweep))
    notes = program.directory / "own/report/notes.md"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    program.run("sweep", "--config", "sweep.json", "--run-dir", "own")
    assert notes.read_text() == "mine" and (notes.parent / "table.txt").exists()


@pytest.mark.parametrize("name", ["log.txt", "metrics.jsonl", "samples.jsonl", "run.json", ".lock"])
@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_links_and_fifos_in_the_place_of_a_runs_files_are_refused(program, name, kind):
    program.train("--run-dir", "run", changes=[SHORT])
    path = program.directory / "run" / name
    target = program.directory / "elsewhere"
    target.write_bytes(path.read_bytes() if path.exists() else b"")
    path.unlink(missing_ok=True)
    path.symlink_to(target) if kind == "link" else os.mkfifo(path)
    before = target.read_bytes()
    _, err = program.train("--run-dir", "run", "--resume", "auto", "--set", "train.max_steps=9", changes=[SHORT], code=2)
    assert f"run/{name} is" in err and ("link" in err if kind == "link" else "not a regular file" in err)
    assert target.read_bytes() == before


def test_checkpoints_linked_to_another_runs_are_refused_and_stay(program):
    program.train("--run-dir", "a", changes=[SHORT])
    before = contents(program.directory / "a")
    (program.directory / "b").mkdir()
    (program.directory / "b/checkpoints").symlink_to("../a/checkpoints")
    for options in ([], ["--resume", "auto"], ["--resume", "auto", "--dry-run"]):
        _, err = program.train("--run-dir", "b", *options, changes=[merged(SHORT, {"train": {"max_steps": 9}})], code=2)
        assert "link" in err and str(program.directory / "a") in err
    assert contents(program.directory / "a") == before


def test_the_retention_deletes_what_the_run_made_and_nothing_else(program):
    program.train("--run-dir", "a", changes=[SHORT])
    few = {"train": {"max_steps": 12}, "checkpoint": {"every": 3, "keep_last": 1}}
    foreign = program.directory / "disk/step-00000001"
    shutil.copytree(program.directory / "a/checkpoints/step-00000003", foreign)
    before = contents(foreign)
    run = program.directory / "b"
    program.train("--run-dir", "b", changes=[SHORT])
    shutil.copytree(foreign, run / "checkpoints/step-00000001")
    program.train("--run-dir", "b", "--resume", "auto", changes=[few])
    assert [path.name for path in checkpoints(run)] == ["step-00000001", "step-00000012"]
    assert contents(run / "checkpoints/step-00000001") == before


def test_a_folder_under_the_name_of_a_coming_step_is_set_aside(program):
    program.train("--run-dir", "run", changes=[SHORT])
    run = program.directory / "run/checkpoints"
    foreign = run / "step-00000009"
    foreign.mkdir()
    (foreign / "notes.md").write_text("mine")
    config = program.config(SHORT)
    for step in ("9", "10"):  # the second time the folder is the run's own, made the first time
        _, err = program.run("train", "--config", config, "--run-dir", "run", "--resume", "auto", "--set", f"train.max_steps={step}")
        assert ("set aside as step-00000009.damaged" in err) == (step == "9")
    assert (run / "step-00000009.damaged/notes.md").read_text() == "mine"
    program.run("inspect", run / "step-00000009")


def test_a_checkpoint_of_another_run_is_not_gone_on_from(program):
    for name in "ab":
        program.train("--run-dir", name, changes=[SHORT])
    shutil.copytree(program.directory / "a/checkpoints/step-00000006", program.directory / "b/checkpoints/step-00000009")
    state = program.directory / "b/checkpoints/step-00000009"
    _, err = program.train("--run-dir", "b", "--resume", "auto", changes=[SHORT], code=3)
    assert "was renamed" in err  # it is of step 6
    for path in (state, program.directory / "b/checkpoints/step-00000006"):
        shutil.rmtree(path)
    shutil.copytree(program.directory / "a/checkpoints/step-00000006", program.directory / "b/checkpoints/step-00000006")
    _, err = program.train("--run-dir", "b", "--resume", "auto", "--set", "train.max_steps=9", changes=[SHORT], code=3)
    assert "another run" in err and "Another process" not in err


def test_a_renamed_checkpoint_is_called_that(program, finished_run):
    (finished_run / "checkpoints/step-00000020").rename(finished_run / "checkpoints/step-00000099")
    config = finished_run / "config.yaml"
    for options in (["--resume", "auto"], ["--resume", "run/checkpoints/step-00000099"]):
        _, err = program.run("train", "--config", config, "--run-dir", "run", *options, "--set", "train.max_steps=22", code=3)
        assert "step-00000099" in err and "was renamed" in err and "step-00000020" in err and "Another process" not in err
    (finished_run / "checkpoints/step-00000099").rename(finished_run / "checkpoints/step-00000020")
    program.run("train", "--config", config, "--run-dir", "run", "--resume", "auto", "--set", "train.max_steps=22")
    assert read_metrics(finished_run)[-1]["step"] == 22


def test_a_start_that_is_killed_at_any_moment_is_repeated_to_the_same_end(program):
    """At each call of the start that gives a name in the run's directory, including the folder of checkpoints."""
    faults = Faults(program)
    program.train("--run-dir", "whole", changes=[SHORT])
    config = program.config(SHORT)
    for nth in range(1, 200):
        run = program.directory / f"begun{nth}"
        process = program.start("train", "--config", config, "--run-dir", run.name, **faults.on("name", run.name, KILL, nth=nth))
        process.communicate(timeout=60)
        if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > 0:
            break
        assert process.returncode == -signal.SIGKILL
        program.run("train", "--config", config, "--run-dir", run.name, "--resume", "auto")
        assert without_timing(read_metrics(run)) == without_timing(read_metrics(program.directory / "whole"))
        left = [path.name for path in run.rglob(".*") if path.name != ".lock"]
        assert left == [], f"killed at call {nth}"
        shutil.rmtree(run)
    assert nth > 10


@pytest.fixture
def shared_program():
    """The program in a folder that all users may enter, unlike pytest's."""
    directory = pathlib.Path(tempfile.mkdtemp(dir="/tmp"))
    directory.chmod(0o755)
    yield make_program(directory)
    shutil.rmtree(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="users are changed by root")
def test_a_group_shares_a_run(shared_program):
    """Two users of one group, umask 002: the second one resumes, even if the lock is the first one's alone."""
    program = shared_program
    shared = program.directory / "g"
    shared.mkdir()
    os.chown(shared, 0, 3000)
    shared.chmod(0o2775)
    config = program.config(SHORT)

    def run_as(user, *arguments):
        become = ("import os, sys; os.umask(0o002); os.setgroups([]); os.setgid(3000); os.setuid(int(sys.argv[1]));"
                  " os.execv(sys.argv[2], sys.argv[2:])")
        command = [sys.executable, "-c", become, str(user), str(BINARY), *map(str, arguments)]
        return subprocess.run(command, cwd=program.directory, env=program.environment, capture_output=True, text=True)

    def train(user, steps):
        return run_as(user, "train", "--config", config, "--run-dir", "g/run", "--resume", "auto", "--set", f"train.max_steps={steps}")

    if run_as(2001, "--version").returncode != 0:
        pytest.skip("other users cannot run the program where it lies")
    first = train(2001, 6)
    assert first.returncode == 0, first.stderr
    lock = shared / "run/.lock"
    assert lock.stat().st_mode & 0o777 == 0o664
    second = train(2002, 9)
    assert second.returncode == 0, second.stderr
    lock.chmod(0o644)  # as an earlier version made it
    third = train(2002, 12)
    assert third.returncode == 0, third.stderr
    assert read_metrics(shared / "run")[-1]["step"] == 12


def test_what_killed_processes_left_half_written_goes_at_the_next_start(program):
    program.train("--run-dir", "run", changes=[SHORT])
    run = program.directory / "run"
    left = [run / ".run.json.tmp-999999-1", run / ".metrics.jsonl.tmp-999999-2", run / ".write-test.tmp-999999-3",
            run / "checkpoints/.step-00000006.tmp-999999-4/model.safetensors"]
    kept = run / ".notes.tmp-999999-5"  # belongs to none of our processes
    for path in [*left, kept]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    program.train("--run-dir", "run", "--resume", "auto", "--set", "train.max_steps=7", changes=[SHORT])
    assert not any(path.exists() for path in left) and not left[-1].parent.exists()
    assert kept.read_text() == "half"

"""A sweep's folder: what may change between two calls of `ssgpt sweep`, what is refused, and what a broken run means for the
others."""

import json
import math
import os

import numpy as np
import pytest

from conftest import LENGTH, VOCAB, read_metrics, wait_for, write_shard
from test_sweep import ENDLESS, NAMES, _no_process_stays, arguments, has_losses, process_of, processes, sweep_file


def files_of(folder):
    """The bytes of all files in a folder except locks."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def test_the_record_of_a_finished_sweep_follows_its_file(program):
    program.run(*arguments(sweep_file(program)))
    record = program.directory / "sweep/sweep.json"
    assert json.loads(record.read_text())["baseline"] == "softmax"
    out, err = program.run(*arguments(sweep_file(program, baseline="ssmax", seeds=[2])))
    assert "starts" not in err
    inspected = json.loads(program.run("inspect", "sweep", "--json")[0])
    assert [(run["name"], run["state"], run["step"]) for run in inspected["runs"]] == [
        ("ssmax-seed2", "done", 20), ("softmax-seed2", "done", 20)]
    read = json.loads(record.read_text())
    assert read["baseline"] == "ssmax" and [run["name"] for run in read["runs"]] == ["ssmax-seed2", "softmax-seed2"]
    assert program.run("compare", "sweep")[0] in out


def test_other_steps_need_another_folder_where_the_rate_depends_on_them(program):
    cosine = {"optimizer": {"schedule": {"kind": "cosine"}}}
    program.run(*arguments(sweep_file(program, cosine), "sweep", "--only", "2"))
    longer = {"train": {"max_steps": 25}}
    before = files_of(program.directory / "sweep")
    _, err = program.run(*arguments(sweep_file(program, cosine, longer)), code=2)
    assert "sweep/ssmax-seed1: optimizer.schedule.total_steps (auto: train.max_steps): 20 in the run, 25 in the sweep file" in err and "softmax" not in err
    assert files_of(program.directory / "sweep") == before
    ends = {"optimizer": {"schedule": {"total_steps": 20, "min_lr": 1e-4}}}
    program.run(*arguments(sweep_file(program, cosine, ends), "ended", "--only", "2"))
    program.run(*arguments(sweep_file(program, cosine, ends, longer), "ended", "--only", "2"))
    assert [line["train/lr"] for line in read_metrics(program.directory / "ended/ssmax-seed1")][18:] == [
        pytest.approx(1e-4 + 0.0029 * (1 + math.cos(math.pi * 16 / 17)) / 2), *[1e-4] * 6]
    program.run(*arguments(sweep_file(program, longer), "constant", "--only", "2"))
    program.run(*arguments(sweep_file(program, {"train": {"max_steps": 30}}), "constant"))
    assert all(read_metrics(program.directory / "constant" / name)[-1]["step"] == 30 for name in NAMES)


def test_changed_data_are_refused_and_missing_ones_do_not_keep_from_comparing(program):
    shard = program.directory / "train.bin"
    held = shard.read_bytes()
    table = program.run(*arguments(sweep_file(program, seeds=1)))[0]
    before = files_of(program.directory / "sweep")
    write_shard(shard, np.random.default_rng(1).integers(0, VOCAB, 40 * LENGTH))
    for seeds, more in ((1, ()), (2, ()), (2, ("--only", "3"))):  # with one seed nothing is left to train
        _, err = program.run(*arguments(sweep_file(program, seeds=seeds), "sweep", *more), code=2)
        assert all(f"sweep/{name}: fingerprint" in err for name in NAMES[:2]) and "seed2" not in err
    assert files_of(program.directory / "sweep") == before
    shard.unlink()
    out, err = program.run(*arguments(sweep_file(program, seeds=1)))
    assert out == table and "is not known" in err and "train.bin" in err
    program.run(*arguments(sweep_file(program, seeds=2)), code=3)
    shard.write_bytes(held)
    program.run(*arguments(sweep_file(program, seeds=2)))
    assert read_metrics(program.directory / "sweep/ssmax-seed2")[-1]["step"] == 20


def test_the_folder_of_a_run_is_no_folder_for_a_sweep(program):
    program.train("--run-dir", "run")
    before = files_of(program.directory / "run")
    for more in ((), ("--list",), ("--only", "1")):
        _, err = program.run(*arguments(sweep_file(program), "run", *more), code=2)
        assert "run is the folder of a run" in err
    assert files_of(program.directory / "run") == before
    assert "--run-dir" in program.run(*arguments(sweep_file(program), ""), code=2)[1]


@pytest.mark.parametrize("breaks", ["folder", "config"])
def test_one_run_that_cannot_be_read_fails_alone(program, breaks):
    folder = program.directory / "sweep"
    folder.mkdir()
    if breaks == "folder":
        (folder / "ssmax-seed1").write_text("a file")
    else:
        (folder / "ssmax-seed1").mkdir()
        (folder / "ssmax-seed1/config.yaml").write_text("train: [")
    assert "failed" in program.run(*arguments(sweep_file(program), "sweep", "--list"))[0]
    program.run(*arguments(sweep_file(program), "sweep", "--only", "2"), code=1)
    for _ in range(2):  # the second time nothing else is left to do
        out, err = program.run(*arguments(sweep_file(program)), code=1)
        last = err[err.index("These runs failed"):]
        assert "ssmax-seed1, step 0/20" in last and "softmax" not in last
        assert "SSMax" in out and "sweep/ssmax-seed1 has no training loss, and is left out" in err
    others = [name for name in NAMES if name != "ssmax-seed1"]
    assert all(read_metrics(folder / name)[-1]["step"] == 20 for name in others)


def test_damaged_metrics_cost_one_run_of_the_comparison_and_hide_no_failure(program):
    program.run(*arguments(sweep_file(program)))
    folder = program.directory / "sweep"
    lines = (folder / "ssmax-seed1/metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "ssmax-seed1/metrics.jsonl").write_text("{damaged\n" + "".join(lines[1:]))
    (folder / "softmax-seed2/config.yaml").write_text("train: [")
    out, err = program.run(*arguments(sweep_file(program, seeds=3)), code=1)
    assert "sweep/ssmax-seed1 cannot be read, and is left out" in err
    assert "softmax-seed2" in err[err.index("These runs failed"):]
    assert "SSMax" in out and len(json.loads((folder / "report/comparison.json").read_text())["runs"]) == 4


def test_a_table_of_a_grid_is_over_finished_runs(program):
    """The best is marked among the points whose runs are all finished."""
    file = sweep_file(program, {"checkpoint": {"every": 5}}, grid={"optimizer.lr": [3e-3, 1e-5]}, variants={"a": {}})
    (program.directory / "sweep/a-lr0.003-seed2/log.txt").mkdir(parents=True)
    program.run(*arguments(file), code=1)
    folder = program.directory / "sweep"
    end = lambda name: sum(line["train/loss"] for line in read_metrics(folder / name)[-4:]) / 4
    head, first, second = [line.split() for line in (folder / "report/grid.txt").read_text().splitlines()[1:]]
    assert head == ["grid", "a"]
    assert first[0] == "lr0.003" and first[2:] == ["(1", "of", "2)"]
    assert float(first[1]) == pytest.approx(end("a-lr0.003-seed1"), abs=6e-6)
    assert second[0] == "lr1e-05" and second[2:] == ["*"]
    mean = (end("a-lr1e-05-seed1") + end("a-lr1e-05-seed2")) / 2
    assert float(second[1]) == pytest.approx(mean, abs=6e-6) and mean > end("a-lr0.003-seed1")


def test_compare_refuses_a_grid_whose_points_differ_in_more_than_the_variants(program):
    program.run(*arguments(sweep_file(program, grid={"optimizer.lr": [3e-3, 1e-3]}, seeds=1)))
    out, err = program.run("compare", "sweep", code=2)
    assert out == "" and "`ssgpt sweep` writes one comparison" in err
    program.run(*arguments(sweep_file(program, grid={"optimizer.lr": [3e-3]}, seeds=1), "one"))
    assert "SSMax" in program.run("compare", "one")[0]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_runs_side_by_side_are_not_bound_to_the_same_core(program):
    """OpenMP's runtime binds the first thread of each process to the first of its places."""
    process = program.start(*arguments(sweep_file(program, ENDLESS), "sweep", "--jobs", "2"), OMP_PROC_BIND="true")
    runs = [program.directory / "sweep" / name for name in NAMES[:2]]
    wait_for(lambda: all(has_losses(run) for run in runs), process)
    allowed = [os.sched_getaffinity(process_of(program, run.name)) for run in runs]
    process.terminate()
    process.communicate(timeout=60)
    assert allowed == [os.sched_getaffinity(0)] * 2
    assert not processes(program.directory)

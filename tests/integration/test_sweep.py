"""ssgpt sweep as a user runs it: what it trains, how it resumes, how it ends its processes, and what it refuses."""

import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import time

import pytest

from conftest import BINARY, checkpoints, read_metrics, wait_for, without_timing
from test_terminal import CLEAR, Terminal

KINDS = {"softmax": {"model.attention.kind": "softmax"}, "ssmax": {"model": {"attention": {"kind": "ssmax"}}}}
LONG = {"train": {"max_steps": 1500}, "checkpoint": {"every": 50}, "log": {"every": 1}}
ENDLESS = {"train": {"max_steps": 10_000_000}, "checkpoint": {"every": 100}, "log": {"every": 10}}


@pytest.fixture(autouse=True)
def _no_process_stays(program):
    """Kills the sweep of a failed test, with its runs."""
    yield
    for pid, command in processes(program.directory):
        os.kill(pid, signal.SIGKILL)


def sweep_file(program, *changes, name="sweep.json", **keys):
    base = program.config(*changes, name="base.json")
    path = program.directory / name
    path.write_text(json.dumps({"base": base.name, "variants": KINDS, "seeds": [1, 2], **keys}))
    return path


def arguments(file, directory="sweep", *more):
    return ["sweep", "--config", file, "--run-dir", directory, *more]


def processes(directory):
    """Processes of the program that work in this directory: id and command line."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes().decode().split("\0")
            if os.readlink(entry / "cwd") == str(directory) and ("train" in command or "sweep" in command):
                found.append((int(entry.name), command))
        except OSError:  # it has ended
            continue
    return found


def process_of(program, run):
    """The id of the process that trains this run; 0 if there is none."""
    return next((pid for pid, command in processes(program.directory) if f"sweep/{run}" in command), 0)


def has_losses(run, count=1):
    metrics = run / "metrics.jsonl"
    return metrics.exists() and metrics.read_text().count("\n") >= count


NAMES = ["softmax-seed1", "ssmax-seed1", "softmax-seed2", "ssmax-seed2"]


def test_the_runs_are_those_of_train_and_end_in_a_report(program):
    file = sweep_file(program)
    out, err = program.run(*arguments(file))
    folder = program.directory / "sweep"
    assert [run["name"] for run in json.loads((folder / "sweep.json").read_text())["runs"]] == NAMES
    for name in NAMES:
        kind, seed = re.fullmatch(r"(\w+)-seed(\d)", name).groups()
        settings = ["--set", f"model.attention.kind={kind}", "--set", f"run.seed={seed}"]
        program.train("--run-dir", name, *settings, name="alone.json")
        assert without_timing(read_metrics(folder / name)) == without_timing(read_metrics(program.directory / name))
        assert "Done: 20 steps" in (folder / name / "log.txt").read_text()
    report = folder / "report"
    assert {path.name for path in report.iterdir()} == {"comparison.json", "comparison.csv", "table.txt"}
    assert (report / "table.txt").read_text() in out
    assert "scripts/report.py sweep/report" in out.splitlines()[-1]
    assert len(json.loads((report / "comparison.json").read_text())["runs"]) == 4
    for name in NAMES:
        assert f"{name} is done at step 20/20, loss" in err


def test_a_finished_sweep_starts_nothing_and_a_longer_one_goes_on(program):
    program.run(*arguments(sweep_file(program)))
    folder = program.directory / "sweep"
    before = {name: (folder / name / "run.json").read_bytes() for name in NAMES}
    out, err = program.run(*arguments(sweep_file(program)))
    assert before == {name: (folder / name / "run.json").read_bytes() for name in NAMES}
    assert "starts" not in err and "scripts/report.py" in out
    _, err = program.run(*arguments(sweep_file(program, {"train": {"max_steps": 25}})))
    assert err.count("resumes at step 20/25") == 4
    assert all(read_metrics(folder / name)[-1]["step"] == 25 for name in NAMES)


def test_a_stopped_sweep_goes_on_to_the_same_losses(program):
    file = sweep_file(program, LONG, {"train": {"max_steps": 800}})
    program.run(*arguments(file, "whole", "--jobs", "2"))
    process = program.start(*arguments(file, "sweep", "--jobs", "2"))
    first, second = (program.directory / "sweep" / name for name in NAMES[:2])
    wait_for(lambda: has_losses(first, 60) and has_losses(second), process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, err
    told = r"Stopped by signal 2: [01] of 4 runs done, .*[12] stopped\. Continue with the same command\."
    assert re.search(told, err), err
    assert checkpoints(second) and not processes(program.directory)
    assert "saved" in (second / "log.txt").read_text()  # not killed
    assert not (program.directory / "sweep/report").exists()
    assert "SSMax" in program.run("compare", "sweep")[0]  # compares what exists of the two that began
    program.run(*arguments(file, "sweep", "--jobs", "2"))
    for name in NAMES:
        sweep, whole = (without_timing(read_metrics(program.directory / f / name)) for f in ("sweep", "whole"))
        assert sweep == whole and sweep[-1]["step"] == 800
    assert len(json.loads((second / "run.json").read_text())["sessions"]) == 2


def test_a_second_signal_ends_the_sweep_at_once(program):
    """The runs are stopped, so that the sweep would wait endlessly for them to save."""
    process = program.start(*arguments(sweep_file(program, ENDLESS), "sweep", "--jobs", "2"))
    runs = [program.directory / "sweep" / name for name in NAMES[:2]]
    wait_for(lambda: all(has_losses(run) for run in runs), process)
    children = [process_of(program, run.name) for run in runs]
    for child in children:
        os.kill(child, signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    for child in children:
        os.kill(child, signal.SIGCONT)
    wait_until_none(program)  # they ended with it


def wait_until_none(program, seconds=30):
    end = time.monotonic() + seconds
    while processes(program.directory):
        assert time.monotonic() < end, processes(program.directory)
        time.sleep(0.05)


def test_runs_do_not_outlive_a_killed_sweep(program):
    process = program.start(*arguments(sweep_file(program, ENDLESS), "sweep", "--jobs", "2"))
    runs = [program.directory / "sweep" / name for name in NAMES[:2]]
    wait_for(lambda: all(has_losses(run) for run in runs), process)
    process.kill()
    process.wait()
    wait_until_none(program)
    assert all("saved" in (run / "log.txt").read_text() for run in runs)


def test_a_killed_process_is_started_once_more_and_then_reported(program):
    changes = {"train": {"max_steps": 1500}, "checkpoint": {"every": 100}, "log": {"every": 10}}
    process = program.start(*arguments(sweep_file(program, changes, seeds=1), "sweep", "--jobs", "1"))
    killed = []
    for name, times in (("softmax-seed1", 1), ("ssmax-seed1", 2)):
        for _ in range(times):
            wait_for(lambda: process_of(program, name) not in (0, *killed), process)
            killed.append(process_of(program, name))
            os.kill(killed[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert err.count("it is started again") == 2
    assert read_metrics(program.directory / "sweep/softmax-seed1")[-1]["step"] == 1500
    last = err[err.index("These runs failed"):]
    assert "ssmax-seed1, step" in last and "signal 9" in last and "softmax-seed1" not in last
    program.run(*arguments(sweep_file(program, changes, seeds=1), "sweep", "--jobs", "1"))
    assert read_metrics(program.directory / "sweep/ssmax-seed1")[-1]["step"] == 1500


def test_a_run_that_fails_stops_no_other_and_says_why(program):
    (program.directory / "sweep/ssmax-seed1/log.txt").mkdir(parents=True)
    out, err = program.run(*arguments(sweep_file(program)), code=1)
    last = err[err.index("These runs failed"):]
    assert "ssmax-seed1, step 0/20" in last and "log.txt is not a regular file" in last
    others = [program.directory / "sweep" / name for name in NAMES if name != "ssmax-seed1"]
    assert all(read_metrics(run)[-1]["step"] == 20 for run in others)
    assert (program.directory / "sweep/report/table.txt").read_text() in out
    out, err = program.run("compare", "sweep")
    assert "sweep/ssmax-seed1 has no training loss yet" in err and "Softmax" in out


def test_a_full_disk_fails_the_runs_with_its_reason(program):
    """RLIMIT_FSIZE stands in for the disk: files may grow to 64 KiB, the optimizer's file is larger."""
    file = sweep_file(program, seeds=1)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
    command = [str(BINARY), *map(str, arguments(file))]
    result = subprocess.run(
        command, cwd=program.directory, env=program.environment, preexec_fn=limit, capture_output=True, text=True
    )
    assert result.returncode == 1, result.stderr
    last = result.stderr[result.stderr.index("These runs failed"):]
    assert last.count("File too large") == 2 and "internal error" not in last
    program.run(*arguments(file))
    assert all(read_metrics(program.directory / "sweep" / name)[-1]["step"] == 20 for name in NAMES[:2])


def test_changed_settings_are_refused_by_name(program):
    program.run(*arguments(sweep_file(program)))
    metrics = program.directory / "sweep/ssmax-seed2/metrics.jsonl"
    before = metrics.read_bytes()
    changed = {"optimizer": {"lr": 0.5}, "train": {"max_steps": 40, "micro_batch_size": 2}, "log": {"every": 5}}
    _, err = program.run(*arguments(sweep_file(program, changed)), code=2)
    for name in NAMES:
        assert f"sweep/{name}: optimizer.lr: 0.003 in the run, 0.5 in the sweep file" in err
    assert "micro_batch_size" not in err and "log.every" not in err and "max_steps" not in err
    _, err = program.run(*arguments(sweep_file(program, changed), "sweep", "--only", "4"), code=2)
    assert "ssmax-seed2: optimizer.lr" in err and "softmax-seed1" not in err
    _, err = program.run(*arguments(sweep_file(program, {"train": {"max_steps": 10}})), code=2)
    assert "the run is at step 20, 10 in the sweep file" in err
    assert metrics.read_bytes() == before


@pytest.mark.parametrize("keys, told", [
    ({"variants": {}}, "variants = {}"),
    ({"seeds": [3, 3]}, "seeds: 3 is listed twice"),
    ({"seeds": 0}, "seeds = 0"),
    ({"seed": 2}, "unknown key seed = 2; did you mean seeds?"),
    ({"baseline": "x"}, "baseline = "),
    ({"variants": {"a": {}, "b": {"model.attention.kind": "softmax"}}}, "variants.b equals variants.a"),
    ({"variants": {"a": {}, "b": {"data.sequence_length": 8}}}, "allow_other_data"),
    ({"variants": {"a/b": {}}}, "a/b"),
    ({"grid": {"run.seed": [1, 2]}}, "run.seed"),
    ({"variants": {"a": {"optimizer.lr": -1}, "b": {"train.max_step": 3}}}, "2 faults"),
    ({"variants": {"a": {"train.dtype": "auto"}}}, "train.dtype is auto"),
], ids=lambda value: None if isinstance(value, str) else "-".join(value))
def test_a_faulty_sweep_starts_nothing(program, keys, told):
    _, err = program.run(*arguments(sweep_file(program, **keys)), code=2)
    assert told in err
    assert not list((program.directory / "sweep").glob("*seed*"))


def test_what_cannot_be_read_starts_nothing(program):
    program.run(*arguments("nowhere.json"), code=3)
    file = sweep_file(program, {"data": {"train": ["nowhere.bin"]}})
    _, err = program.run(*arguments(file), code=3)
    assert "nowhere.bin" in err and not list((program.directory / "sweep").glob("*seed*"))
    sweep_file(program, base="absent.yaml")
    _, err = program.run(*arguments(file), code=3)
    assert "sweep.json:1: base = absent.yaml" in err


def test_jobs_beyond_the_machine(program):
    file = sweep_file(program, seeds=1)
    cores = len(os.sched_getaffinity(0))
    _, err = program.run(*arguments(file, "sweep", "--jobs", "1"), OMP_NUM_THREADS=str(cores + 1))
    assert "warning" in err and f"{cores + 1} threads for {cores} core" in err
    _, err = program.run(*arguments(file, "other", "--jobs", "0"), code=2)
    assert "--jobs" in err
    file = sweep_file(program, {"train": {"device": "cuda"}})
    _, err = program.run(*arguments(file, "other"), code=2, CUDA_VISIBLE_DEVICES="")
    assert "no GPU" in err


def test_list_and_only(program):
    file = sweep_file(program)
    listed = lambda: [line.split() for line in program.run(*arguments(file, "sweep", "--list"))[0].splitlines()]
    assert listed() == [[str(i + 1), name, name.split("-")[0], name[-1], "waiting"] for i, name in enumerate(NAMES)]
    assert not (program.directory / "sweep").exists()
    program.run(*arguments(file, "sweep", "--only", "2"))
    assert listed()[1] == ["2", "ssmax-seed1", "ssmax", "1", "done", "20/20"]
    assert [path.name for path in (program.directory / "sweep").glob("*seed*")] == ["ssmax-seed1"]
    _, err = program.run(*arguments(file, "sweep", "--only", "2"))
    assert "ssmax-seed1 is done" in err
    _, err = program.run(*arguments(file, "sweep", "--only", "5"), code=2)
    assert "4 runs" in err
    _, err = program.run(*arguments(file))
    assert "3 of 4 runs to train" in err
    states = json.loads(program.run(*arguments(file, "sweep", "--list", "--json"))[0])
    assert [(run["number"], run["state"], run["step"]) for run in states] == [(i, "done", 20) for i in (1, 2, 3, 4)]


def test_only_stops_as_train_does(program):
    file = sweep_file(program, ENDLESS)
    process = program.start(*arguments(file, "sweep", "--only", "3"))
    wait_for(lambda: has_losses(program.directory / "sweep/softmax-seed2"), process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and "saved" in err


def test_one_sweep_at_a_time_beside_single_runs(program):
    """A run that another process trains is left to it; runs finished there are not trained again."""
    file = sweep_file(program, LONG, {"log": {"every": 10}})  # so that its log fits the pipe
    only = program.start(*arguments(file, "sweep", "--only", "1"))
    wait_for(lambda: has_losses(program.directory / "sweep/softmax-seed1"), only)
    process = program.start(*arguments(file, "sweep", "--jobs", "1"))
    wait_for(lambda: process_of(program, "ssmax-seed1"), process)
    _, err = program.run(*arguments(file), code=2)
    assert "Another process is training the sweep in sweep" in err
    assert only.wait(timeout=120) == 0
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert len(json.loads((program.directory / "sweep/softmax-seed1/run.json").read_text())["sessions"]) == 1
    assert all(read_metrics(program.directory / "sweep" / name)[-1]["step"] == 1500 for name in NAMES)


def test_a_sweep_under_a_launcher_of_several_processes_is_refused(program):
    place = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    _, err = program.run(*arguments(sweep_file(program)), code=2, **place)
    assert "--only" in err and not (program.directory / "sweep").exists()


def test_a_grid_has_a_comparison_for_each_point_and_a_table_of_all(program):
    """The table's figures are means over the last fifth of the losses, here steps 17 to 20."""
    file = sweep_file(program, grid={"optimizer.lr": [3e-3, 1e-5]}, seeds=1)
    out, _ = program.run(*arguments(file))
    folder = program.directory / "sweep"
    points = ["lr0.003", "lr1e-05"]
    for point in points:
        comparison = json.loads((folder / "report" / point / "comparison.json").read_text())
        assert len(comparison["runs"]) == 2
        assert (folder / "report" / point / "table.txt").read_text() in out
    table = (folder / "report/grid.txt").read_text()
    assert table in out
    *lines, caution = table.splitlines()[1:]
    assert "corrected for its own candidates only" in caution
    rows = [re.sub(r" +\*", "*", line).split() for line in lines]
    assert rows[0] == ["grid", "softmax", "ssmax"] and [row[0] for row in rows[1:]] == points
    for row in rows[1:]:
        for variant, cell in zip(rows[0][1:], row[1:]):
            losses = [line["train/loss"] for line in read_metrics(folder / f"{variant}-{row[0]}-seed1")[-4:]]
            assert float(cell.rstrip("*")) == pytest.approx(sum(losses) / 4, abs=6e-6)
            assert cell.endswith("*") == (row[0] == "lr0.003")  # the other hardly learns


def test_one_run_has_no_comparison(program):
    out, err = program.run(*arguments(sweep_file(program, seeds=1, variants={"a": {}})))
    assert "there is no comparison" in err and out == ""


def test_compare_takes_the_folder(program):
    program.run(*arguments(sweep_file(program, baseline="ssmax")))
    table = program.run("compare", "sweep")[0]
    assert table == (program.directory / "sweep/report/table.txt").read_text()
    names = [f"sweep/{kind}-seed{seed}" for seed in (1, 2) for kind in ("ssmax", "softmax")]
    assert table == program.run("compare", *names)[0]


def test_the_board_is_redrawn_on_a_terminal(program):
    file = sweep_file(program, LONG)
    output = Terminal(program, 100, *arguments(file, "sweep", "--jobs", "2"), TERM="xterm", CI="").finish(code=0)
    texts = re.findall(r"\r(?:\x1b\[4A)?([^\x1b]+(?:\x1b\[K[^\x1b]*)*)\x1b\[J", output)
    drawn = [text.replace(CLEAR, "").split("\r\n") for text in texts]
    boards = [lines for lines in drawn if len(lines) == 5]
    assert boards, output
    assert [line.split()[0] for line in boards[0][:4]] == NAMES
    assert re.fullmatch(r"0 of 4 runs done, 2 running, 2 waiting.*", boards[0][4])
    for first in (r"running +step +\d+/1500   loss \d\.\d{4}   ETA .*", r"done +step 1500/1500   loss \d\.\d{4}"):
        assert any(re.search(f"softmax-seed1 +{first}$", board[0]) for board in boards), first
    assert "\x1b[J" in output[output.rindex(boards[-1][0].split()[0]):]  # it is removed at the end


@pytest.mark.parametrize("variable", [{"CI": "true"}, {"TERM": "dumb"}])
def test_no_board_where_nothing_can_be_redrawn(program, variable):
    environment = {"TERM": "xterm", "CI": "", **variable}
    output = Terminal(program, 100, *arguments(sweep_file(program)), **environment).finish(code=0)
    assert "\x1b[J" not in output and "softmax-seed1 starts (1 of 4)" in output

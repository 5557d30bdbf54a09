"""What happens to a run when the terminal, or whoever reads its output, goes away."""

import json
import os
import signal
import subprocess

from conftest import BINARY, checkpoints, read_metrics, wait_for
from launchers import TORCHRUN, free_port, start_ranks

ENDLESS = {"train": {"max_steps": 10_000_000}, "checkpoint": {"every": 0}, "log": {"every": 10}}
LONG = {"train": {"max_steps": 400}, "checkpoint": {"every": 0}}


def trains(program, run="run"):
    metrics = program.directory / run / "metrics.jsonl"
    return metrics.exists() and metrics.stat().st_size > 0


def test_the_signals_of_one_terminal_are_one_stop(program):
    """The system and the shell each send SIGHUP; the save that the first one asks for is completed."""
    process = program.start("train", "--config", program.config(ENDLESS), "--run-dir", "run")
    wait_for(lambda: trains(program), process)
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP, err
    assert "Stopped by signal 1 " in err and len(checkpoints(program.directory / "run")) == 1


def test_nohup_ignores_it(program):
    command = ["nohup", BINARY, "train", "--config", program.config(ENDLESS), "--run-dir", "run"]
    process = program.popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: trains(program), process)
    process.send_signal(signal.SIGHUP)
    before = len(read_metrics(program.directory / "run"))
    wait_for(lambda: len(read_metrics(program.directory / "run")) > before + 20, process)
    process.terminate()
    assert process.communicate(timeout=60) and process.returncode == 128 + signal.SIGTERM


def test_of_several_ranks_one_is_enough(program):
    arguments = ["train", "--config", program.config(ENDLESS, {"train": {"micro_batch_size": 2}}), "--run-dir", "run"]
    with start_ranks(program, "by_hand", 2, arguments) as ranks:
        ranks.wait_until(lambda: trains(program))
        ranks.signal(signal.SIGHUP, rank=1)
        assert ranks.wait(30)[0] == [129, 129]
    assert len(checkpoints(program.directory / "run")) == 1


def test_a_sweep_passes_it_on(program):
    base = program.config(ENDLESS, name="base.json")
    (program.directory / "sweep.json").write_text(json.dumps(
        {"base": str(base), "variants": {"a": {}, "b": {"model.attention.kind": "ssmax"}}, "seeds": [1], "jobs": 2}))
    process = program.start("sweep", "--config", "sweep.json", "--run-dir", "sweep")
    runs = [program.directory / "sweep" / name for name in ("a-seed1", "b-seed1")]
    wait_for(lambda: all(trains(program, run) for run in runs), process)
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 129, err
    assert all(len(checkpoints(run)) == 1 for run in runs)


def read_some_lines_of(command, program, environment=None):
    """Starts a command whose reader goes away after three lines of output, as with `2>&1 | head -3`, and waits for its end.
    Returns the exit code."""
    process = program.popen(command, environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for _ in range(3):
        assert process.stdout.readline()
    process.stdout.close()
    return process.wait(timeout=120)


def assert_whole(program):
    assert [line["step"] for line in read_metrics(program.directory / "run")] == list(range(1, 401))
    log = (program.directory / "run/log.txt").read_text()
    assert "Done: 400 steps." in log and sum(" step " in line for line in log.splitlines()) == 400


def test_a_run_outlives_the_reader_of_its_output(program):
    assert read_some_lines_of([BINARY, "train", "--config", program.config(LONG), "--run-dir", "run"], program) == 0
    assert_whole(program)


def test_ranks_of_torchrun_outlive_the_reader_of_their_output(program):
    config = program.config(LONG, {"train": {"micro_batch_size": 2}})
    launcher = [TORCHRUN, "--no-python", "--nproc-per-node", 2, "--master-addr", "127.0.0.1", "--master-port", free_port()]
    assert read_some_lines_of([*launcher, BINARY, "train", "--config", config, "--run-dir", "run"], program) == 0
    assert_whole(program)


def test_a_sweep_outlives_the_reader_of_its_log(program):
    base = program.config({"train": {"max_steps": 20}}, name="base.json")
    (program.directory / "sweep.json").write_text(json.dumps(
        {"base": str(base), "variants": {"a": {}, "b": {"model.attention.kind": "ssmax"}}, "seeds": [1], "jobs": 1}))
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run([str(BINARY), "sweep", "--config", "sweep.json", "--run-dir", "sweep"], cwd=program.directory,
                             env=program.environment, stdout=subprocess.PIPE, stderr=writer)
    os.close(writer)
    assert process.returncode == 0 and b"ssmax" in process.stdout
    assert all(len(read_metrics(program.directory / "sweep" / name)) == 20 for name in ("a-seed1", "b-seed1"))


def test_a_process_without_standard_streams_keeps_its_files_apart(program):
    """Otherwise the run's lock would be the file with the number of stderr."""
    program.config({"train": {"max_steps": 5}})
    command = f'exec "{BINARY}" train --config config.json --run-dir run <&- >&- 2>&-'
    assert subprocess.run(["sh", "-c", command], cwd=program.directory, env=program.environment).returncode == 0
    run = program.directory / "run"
    assert (run / ".lock").read_bytes() == b"" and len(read_metrics(run)) == 5
    assert "Done: 5 steps." in (run / "log.txt").read_text()
    # Results that cannot be written are still not a success.
    inspect = subprocess.run(["sh", "-c", f'exec "{BINARY}" inspect run >&-'], cwd=program.directory, env=program.environment,
                             stderr=subprocess.PIPE, text=True)
    assert inspect.returncode == 1 and "standard output" in inspect.stderr

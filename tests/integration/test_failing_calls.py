"""System calls that fail are reported as what they are, with exit code 1, and nothing counts as missing or damaged because of
it."""

import errno
import json
import shutil
import subprocess

import pytest

from conftest import BINARY, LENGTH, checkpoints, read_metrics, without_timing, write_shard
from faults import Faults
from test_samples import SAMPLES, config  # noqa: F401 (a fixture)

SHORT = {"train": {"max_steps": 6}, "checkpoint": {"every": 3, "keep_last": 5}}
NO_SPACE = "No space left on device"


def names(run):
    return sorted(path.name for path in (run / "checkpoints").iterdir())


@pytest.mark.parametrize("call, error, words", [
    ("pread", errno.EIO, "Input/output error"),
    ("open", errno.EMFILE, "RLIMIT_NOFILE"),
    ("open", errno.ENFILE, "Too many open files in system"),
])
@pytest.mark.parametrize("file", ["manifest.json", "model.safetensors", "trainer/state.json"])
def test_a_checkpoint_that_cannot_be_read_is_neither_damaged_nor_passed_over(program, finished_run, call, error, words, file):
    faults = Faults(program)
    resume = ["train", "--config", finished_run / "config.yaml", "--run-dir", "run", "--resume", "auto", "--set", "train.max_steps=22"]
    before = names(finished_run)
    _, err = program.run(*resume, code=1, **faults.on(call, f"step-00000020/{file}", error))
    assert file in err and words in err, err
    assert not any(word in err for word in ("damaged", "passed over", "Another process", "set aside", "missing")), err
    assert "move the folder" not in err  # there is no earlier one
    assert names(finished_run) == before
    program.run(*resume)
    assert read_metrics(finished_run)[-1]["step"] == 22


def test_a_conversion_does_not_do_without_a_tokenizer_that_cannot_be_read(program, config):  # noqa: F811
    program.train("--run-dir", "run", changes=[config])
    source = program.directory / "run/checkpoints/step-00000020"
    convert = ["convert", "--checkpoint", source, "--attention", "softmax", "--out", "out"]
    opens = 0
    while True:  # once for each time that it is read
        opens += 1
        _, err = fails_or_ends(program, convert, Faults(program).on("open", "step-00000020/tokenizer.model", errno.EMFILE, nth=opens))
        if (program.directory / "out").exists():
            break
        assert "tokenizer.model" in err and "RLIMIT_NOFILE" in err and "damaged" not in err
    assert opens > 2 and (program.directory / "out/tokenizer.model").read_bytes() == (source / "tokenizer.model").read_bytes()


def fails_or_ends(program, arguments, environment):
    process = program.start(*arguments, **environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == (0 if (program.directory / "out").exists() else 1), err
    return out, err


def test_data_that_cannot_be_read_in_the_midst_of_training_lose_nothing(program):
    changes = [{"checkpoint": {"every": 0}}]
    program.train("--run-dir", "whole", changes=changes)
    _, err = program.train("--run-dir", "run", changes=changes, code=1, **Faults(program).on("pread", "train.bin", errno.EIO, nth=60, times=10**6))
    assert "train.bin" in err and "Input/output error" in err
    (saved,) = checkpoints(program.directory / "run")
    assert int(saved.name.split("-")[1]) == read_metrics(program.directory / "run")[-1]["step"] > 0
    program.train("--run-dir", "run", "--resume", "auto", changes=changes)
    runs = [without_timing(read_metrics(program.directory / name)) for name in ("whole", "run")]
    assert runs[0] == runs[1]


def test_a_checkpoint_that_never_reads_can_be_moved_away(program):
    program.train("--run-dir", "run", changes=[SHORT])
    resume = ["train", "--config", program.config(SHORT), "--run-dir", "run", "--resume", "auto"]
    _, err = program.run(*resume, code=1, **Faults(program).on("pread", "step-00000006/model.safetensors", errno.EIO, times=10**6))
    assert "Input/output error. If this persists, move the folder step-00000006 out of checkpoints/ and resume" in err
    (program.directory / "run/checkpoints/step-00000006").rename(program.directory / "away")
    _, err = program.run(*resume)
    assert "resumes from step 3" in err


def test_validation_data_that_cannot_be_read_lose_nothing_of_the_training(program):
    changes = [{"checkpoint": {"every": 0}, "data": {"validation": [str(program.directory / "validation.bin")]}, "evaluate": {"every": 5}}]
    fault = Faults(program).on("pread", "validation.bin", errno.EIO, nth=60, times=10**6)
    _, err = program.train("--run-dir", "run", changes=changes, code=1, **fault)
    assert "validation.bin" in err and "Input/output error" in err
    (saved,) = checkpoints(program.directory / "run")
    last = read_metrics(program.directory / "run")[-1]
    assert int(saved.name.split("-")[1]) == last["step"] > 0 and last["step"] % 5 == 0
    assert "train/loss" in last and "validation/loss" not in last
    program.train("--run-dir", "run", "--resume", "auto", changes=changes)
    whole = program.directory / "whole"
    program.train("--run-dir", "whole", changes=changes)
    runs = [without_timing(read_metrics(run)) for run in (whole, program.directory / "run")]
    assert [line["train/loss"] for line in runs[0]] == [line["train/loss"] for line in runs[1]]


def test_a_call_that_fails_at_one_run_ends_no_other_of_a_sweep(program):
    base = program.config(SHORT, name="base.json")
    (program.directory / "sweep.json").write_text(json.dumps(
        {"base": str(base), "variants": {"a": {}, "b": {"model.attention.kind": "ssmax"}}, "seeds": [1], "jobs": 2}))
    fault = Faults(program).on("stat", "a-seed1/metrics.jsonl", errno.ESTALE, times=10**6)
    _, err = program.run("sweep", "--config", "sweep.json", "--run-dir", "sweep", code=1, **fault)
    assert "a-seed1, step 0/6: " in err and "Stale file handle" in err and "filesystem error" not in err
    assert len(read_metrics(program.directory / "sweep/b-seed1")) == 6
    program.run("sweep", "--config", "sweep.json", "--run-dir", "sweep")
    assert len(read_metrics(program.directory / "sweep/a-seed1")) == 6


@pytest.mark.parametrize("file, nth", [("metrics.jsonl", 13), ("samples.jsonl", 8), ("log.txt", 28)])
def test_a_full_disk_ends_the_run_and_the_resumed_one_has_everything(program, config, file, nth):  # noqa: F811
    """After step 10, which has a checkpoint."""
    changes = [config, SAMPLES]
    program.train("--run-dir", "whole", changes=changes)
    full = Faults(program).on("write", f"run/{file}", errno.ENOSPC, nth=nth, times=10**6)
    _, err = program.train("--run-dir", "run", changes=changes, code=1, **full)
    assert f"run/{file}" in err and NO_SPACE in err
    program.train("--run-dir", "run", "--resume", "auto", changes=changes)
    whole, run = (program.directory / name for name in ("whole", "run"))
    assert without_timing(read_metrics(run)) == without_timing(read_metrics(whole))
    assert (run / "samples.jsonl").read_text() == (whole / "samples.jsonl").read_text()
    assert all(line[:4].isdigit() or line.startswith("  ") for line in (run / "log.txt").read_text().splitlines())


@pytest.mark.parametrize("fault", [("fsync", "/out", 3), ("open", "train_000000.bin", 2), ("rename", "prepare.json", 2)])
def test_prepare_goes_on_after_an_error_just_behind_its_first_shard(program, fault):
    """As after SIGKILL at that point: the shard has its name, and the record does not list it yet."""
    (program.directory / "text.txt").write_text("one two three four five six seven eight nine ten\n" * 400)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", 300)
    arguments = ["prepare", "--input", "text.txt", "--tokenizer", "t.model", "--shard-tokens", 500, "--validation-fraction", 0, "--threads", 1]
    program.run(*arguments, "--out", "whole")
    shards = lambda folder: {path.name: path.read_bytes() for path in (program.directory / folder).glob("*.bin")}
    call, path, nth = fault
    out = program.directory / "out"
    for number in range(nth, nth + 4):  # until the failing call comes just after the shard gets its name
        shutil.rmtree(out, ignore_errors=True)
        program.run(*arguments, "--out", "out", code=1, **Faults(program).on(call, path, errno.EIO, nth=number))
        if shards("out"):
            break
    assert list(shards("out")) == ["train_000000.bin"]
    program.run(*arguments, "--out", "out")
    assert shards("out") == shards("whole") and len(shards("whole")) > 3
    assert json.loads((out / "prepare.json").read_text())["complete"]


def limited(program, soft, hard):
    """Runs a command with a limit on open files."""
    script = program.directory / "limited"
    script.write_text(f'#!/bin/sh\nulimit -Sn {soft}\nulimit -Hn {hard}\nexec "$@"\n')
    script.chmod(0o755)
    return script


def test_more_shards_than_the_soft_limit_of_open_files(program):
    (program.directory / "shards").mkdir()
    tokens = list(range(90)) * 2
    for number in range(100):
        write_shard(program.directory / f"shards/{number:03d}.bin", tokens[: LENGTH + 1])
    config = program.config({"data": {"train": ["shards/*.bin"]}, "train": {"max_steps": 3}})
    train = [str(BINARY), "train", "--config", str(config), "--run-dir", "run"]

    def run(soft, hard):
        return subprocess.run([str(limited(program, soft, hard)), *train], cwd=program.directory, env=program.environment,
                              capture_output=True, text=True)

    refused = run(64, 64)
    assert refused.returncode == 1 and "shards/0" in refused.stderr and "64 files open (RLIMIT_NOFILE)" in refused.stderr, refused.stderr
    raised = run(64, 1024)
    assert raised.returncode == 0, raised.stderr

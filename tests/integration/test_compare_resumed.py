"""ssgpt compare on trained runs that a resume changed."""

import json
import shutil

import numpy as np
import pytest
from conftest import LENGTH, VOCAB, read_metrics, write_shard


def compared(program, *runs):
    return json.loads(program.run("compare", *runs, "--json")[0])


def record_of(program, run):
    return json.loads((program.directory / run / "run.json").read_text())


def test_a_run_from_other_weights_that_logs_more_often_after_a_resume_is_no_fork(program):
    source = program.directory / "trunk" / "checkpoints" / "step-00000006"
    program.train("--run-dir", "trunk", changes=[{"model": {"attention": {"kind": "ssmax"}}, "train": {"max_steps": 6}}])
    new = ("--init-from", source, "--swap-attention", "softmax")
    program.train("--run-dir", "each", *new, "--set", "train.max_steps=6")
    program.train("--run-dir", "resumed", *new, "--set", "log.every=4", "--set", "train.max_steps=4")
    program.run("train", "--resume", "resumed", "--set", "log.every=2", "--set", "train.max_steps=6")
    assert record_of(program, "resumed")["first_step"] == 0

    # The same training twice: its lines agree wherever they are for the same steps. They are rounded to float.
    twins = compared(program, "each", "resumed")
    assert (twins["shared"]["first_step"], twins["shared"]["points"]) == (1, 2)
    for segment in twins["comparisons"][0]["segments"]:
        assert segment["difference"] == pytest.approx(0, abs=1e-6)

    (one,) = compared(program, "trunk", "resumed")["comparisons"]
    assert not one["attention_alone_differs"]
    (parent,) = [s for s in one["settings"] if s["key"] == "parent"]
    assert parent["material"] and parent["candidate"] == str(source)


def test_a_fork_keeps_the_step_that_it_began_at(program):
    program.train("--run-dir", "trunk", "--set", "train.max_steps=6", "--set", "checkpoint.every=2")
    source = program.directory / "trunk" / "checkpoints" / "step-00000004"
    program.run("train", "--resume", source, "--run-dir", "fork", "--swap-attention", "ssmax", "--set", "log.every=4",
                "--set", "train.max_steps=8")  # fmt: skip
    program.run("train", "--resume", "fork", "--set", "log.every=1", "--set", "train.max_steps=10")
    assert record_of(program, "trunk")["first_step"] == 0
    assert record_of(program, "fork")["first_step"] == 4
    program.run("train", "--resume", "trunk", "--set", "train.max_steps=10")
    comparison = compared(program, "trunk", "fork")
    assert comparison["shared"]["first_step"] == 5
    assert comparison["comparisons"][0]["attention_alone_differs"]


def test_a_run_and_its_continuation_share_no_steps(program):
    program.train("--run-dir", "trunk", "--set", "train.max_steps=4")
    longer = ("--set", "train.max_steps=8")
    program.run("train", "--resume", "trunk", "--run-dir", "swapped", "--swap-attention", "ssmax", *longer)
    _, err = program.run("compare", "trunk", "swapped", code=2)
    assert "continue the other one too: --resume RUN --run-dir NEW --set train.max_steps=N" in err
    program.run("train", "--resume", "trunk", "--run-dir", "control", *longer)
    assert compared(program, "control", "swapped")["shared"]["first_step"] == 5


def validation_data(program, run):
    """The data of each step's validation loss."""
    return {line["step"]: line["validation/data"] for line in read_metrics(program.directory / run) if "validation/loss" in line}


def validated(path, **more):
    return {"data": {"validation": [str(path)]}, "evaluate": {"every": 2, "batches": 1, **more}, "checkpoint": {"every": 2, "keep_last": 9}}


def test_validation_losses_of_a_text_that_a_resume_replaced_are_not_paired(program):
    text = program.directory / "validation.bin"
    other = write_shard(program.directory / "other.bin", np.arange(16 * LENGTH + 1) % VOCAB)
    ssmax = {"model": {"attention": {"kind": "ssmax"}}}
    go = lambda run, steps, *changes: program.train(
        "--run-dir", run, "--resume", "auto", "--set", f"train.max_steps={steps}", changes=changes
    )
    go("whole", 8, validated(text), ssmax)
    go("replaced", 4, validated(other))
    go("replaced", 8, validated(text))
    data = validation_data(program, "replaced")
    assert data[2] == data[4] != data[6] == data[8] == validation_data(program, "whole")[8]
    assert data[8].endswith("/8")  # windows: batches times global_batch_size
    comparison = compared(program, "whole", "replaced")
    assert comparison["validation"]["steps"] == [6, 8]
    assert "Validation losses at 2 of the shared steps are left out: the validation text differs" in " ".join(
        n["text"] for n in comparison["notes"]
    )

    # Resumed from a checkpoint before the change: the validations after it are made again.
    for step in (4, 6, 8):
        shutil.rmtree(program.directory / "replaced" / "checkpoints" / f"step-{step:08}")
    go("replaced", 8, validated(text))
    assert compared(program, "whole", "replaced")["validation"]["steps"] == [4, 6, 8]

    # A part without validation changes nothing about the existing losses.
    go("replaced", 10, {"evaluate": {"every": 0}})
    assert compared(program, "whole", "replaced")["validation"]["steps"] == [4, 6, 8]

    go("whole", 12, validated(text, batches=2), ssmax)  # another number of windows
    assert validation_data(program, "whole")[12] == data[8].removesuffix("/8") + "/16"
    go("replaced", 12, validated(text))
    comparison = compared(program, "whole", "replaced")
    assert comparison["validation"]["steps"] == [4, 6, 8]
    assert "left out: the number of windows differs" in " ".join(n["text"] for n in comparison["notes"])


def test_how_sequences_are_batched_does_not_change_what_validation_reads(program):
    frozen = {"optimizer": {"lr": 1e-30}}  # too small to change a float32: the weights stay the initial ones
    arguments = ("--run-dir", "run", "--resume", "auto", "--set")
    go = lambda steps, micro: program.train(*arguments, f"train.max_steps={steps}", changes=[
        validated(program.directory / "validation.bin"), frozen, {"train": {"micro_batch_size": micro}}])  # fmt: skip
    for steps, micro in ((4, 8), (6, 1), (8, 2)):
        go(steps, micro)
    lines = [line for line in read_metrics(program.directory / "run") if "validation/loss" in line]
    assert [line["step"] for line in lines] == [2, 4, 6, 8] and len({line["validation/data"] for line in lines}) == 1
    # float32 losses, whose sums may be grouped differently in other batches.
    assert [line["validation/loss"] for line in lines] == pytest.approx([lines[0]["validation/loss"]] * 4, rel=1e-6)


def test_runs_that_were_moved_know_their_origin(program):
    """A fork names its trunk by where that was: the id of the run decides."""
    program.train("--run-dir", "trunk", "--set", "train.max_steps=6", "--set", "checkpoint.every=2")
    source = program.directory / "trunk" / "checkpoints" / "step-00000004"
    program.run("train", "--resume", source, "--run-dir", "fork", "--swap-attention", "ssmax")
    (program.directory / "moved").mkdir()
    for run in ("trunk", "fork"):
        (program.directory / run).rename(program.directory / "moved" / run)
    (one,) = compared(program, "moved/trunk", "moved/fork")["comparisons"]
    assert one["attention_alone_differs"]
    # Another run in the trunk's old place is not its trunk.
    program.train("--run-dir", "trunk", "--set", "train.max_steps=6")
    (one,) = compared(program, "trunk", "moved/fork")["comparisons"]
    assert not one["attention_alone_differs"]
    assert [s["key"] for s in one["settings"] if s["material"]] == ["train.swap_attention", "parent"]

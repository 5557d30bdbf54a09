"""The learning rate of a run that resumes with another number of steps, and what `compare` says about it."""

import json
import math

import pytest

from conftest import checkpoints, read_metrics
from test_earlier_format import rewrite, sign

LR, MIN_LR, WARMUP = 0.003, 0.0001, 3
COSINE = {"optimizer": {"schedule": {"kind": "cosine", "min_lr": MIN_LR}}}
WSD = {"optimizer": {"schedule": {"kind": "wsd", "decay_steps": 6, "min_lr": MIN_LR}}}
LONGER = ("--set", "train.max_steps=30")
STRETCHED = (*LONGER, "--set", "optimizer.schedule.total_steps=30")


def rate(kind, step, end):
    """The schedule's formula in float64: warm-up to LR; then a cosine, or six steps of decay, to MIN_LR at `end`."""
    if step < WARMUP:
        return LR * step / WARMUP
    if kind == "cosine":
        done = min(1.0, (step - WARMUP) / (end - WARMUP))
        return MIN_LR + (LR - MIN_LR) * (1 + math.cos(math.pi * done)) / 2
    return LR + (MIN_LR - LR) * min(1.0, max(0.0, (step - end + 6) / 6))


def rates(program, run):
    return {line["step"]: line["train/lr"] for line in read_metrics(program.directory / run)}


def material(program, one, other):
    (comparison,) = json.loads(program.run("compare", one, other, "--json")[0])["comparisons"]
    return {s["key"] for s in comparison["settings"] if s["material"]}


@pytest.mark.parametrize("kind, change", [("cosine", COSINE), ("wsd", WSD)])
def test_more_steps_leave_the_rate_where_its_schedule_ended(program, kind, change):
    program.train("--run-dir", "run", changes=[change])
    for run, *resume in (("fork", "--resume", "run", "--swap-attention", "ssmax"), ("run", "--resume", "auto")):
        _, err = program.train("--run-dir", run, *resume, *LONGER, changes=[change])
        assert "keeps its schedule, which ends at step 20: it is 0.0001 at step 20, 0.0001 at step 21" in err
        found = rates(program, run)
        assert max(found) == 30
        for step in found:
            assert found[step] == pytest.approx(rate(kind, step, 20), rel=1e-12)  # a few roundings of float64
    program.train("--run-dir", "once", *LONGER, changes=[change])
    assert rates(program, "once")[25] == pytest.approx(rate(kind, 25, 30), rel=1e-12)
    assert material(program, "once", "run") == {"optimizer.schedule.total_steps"}
    assert "optimizer.schedule.total_steps" in program.run("compare", "once", "run")[0]


def test_a_stretched_schedule_is_said_and_recorded(program):
    program.train("--run-dir", "run", changes=[COSINE])
    _, err = program.train("--run-dir", "run", "--resume", "auto", *STRETCHED, changes=[COSINE])
    expected = f"{rate('cosine', 21, 30):g}"
    assert ("total_steps was 20 and is 30: the learning rate is 0.0001 at step 20 and "
            f"{expected} at step 21, where it would have been 0.0001") in err  # fmt: skip
    found = rates(program, "run")
    for step in found:
        assert found[step] == pytest.approx(rate("cosine", step, 20 if step <= 20 else 30), rel=1e-12)
    config = (program.directory / "run/config.yaml").read_text()
    assert "total_steps: 30" in config and "earlier_total_steps: [{until_step: 20, total_steps: 20}]" in config
    program.train("--run-dir", "once", *LONGER, changes=[COSINE])
    assert material(program, "once", "run") == {"optimizer.schedule.earlier_total_steps"}
    # It stays so without being named again, and without a message.
    _, err = program.train("--run-dir", "run", "--resume", "auto", "--set", "train.max_steps=32", changes=[COSINE])
    assert "total_steps was" not in err and rates(program, "run")[32] == MIN_LR


def test_a_run_of_an_earlier_version_keeps_the_schedule_of_its_max_steps(program):
    program.train("--run-dir", "run", changes=[COSINE])
    program.train("--run-dir", "other", changes=[COSINE, {"run": {"seed": 8}}])
    run = program.directory / "run"

    def without_the_keys(text):
        return "".join(line for line in text.splitlines(keepends=True) if "total_steps" not in line)

    (run / "config.yaml").write_text(without_the_keys((run / "config.yaml").read_text()))
    (checkpoint,) = checkpoints(run)
    rewrite(checkpoint / "trainer/state.json", lambda state: state.update(config=without_the_keys(state["config"])))
    sign(checkpoint)
    assert "total_steps" not in (run / "config.yaml").read_text() + (checkpoint / "trainer/state.json").read_text()
    assert material(program, "run", "other") == set()
    program.train("--run-dir", "run", "--resume", "auto", "--set", "train.max_steps=23", changes=[COSINE])
    assert [rates(program, "run")[step] for step in range(20, 24)] == [MIN_LR] * 4

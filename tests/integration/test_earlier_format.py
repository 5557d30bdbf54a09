"""Run directories as earlier versions left them: read, resumed, or refused in one line that says what to do."""

import json
import re

import pytest
from conftest import read_metrics, without_timing
from manifests import sign

VALIDATED = {"evaluate": {"every": 6, "batches": 1}, "log": {"every": 3}, "checkpoint": {"every": 6, "keep_last": 9}}


def rewrite(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data, indent=2))


def to_one_swap(text):
    """A dumped config with its list of swaps, of one or none, as two keys of a section."""
    found = re.search(r"^( *)swap_attention: \[(?:\{at_step: (\d+), kind: (\w+)\})?\]$", text, re.MULTILINE)
    indent, step, kind = found.groups()
    section = f"{indent}swap_attention:\n{indent}  at_step: {step or 'null'}\n{indent}  kind: {kind or 'null'}"
    return text.replace(found[0], section)


def make_earlier(run, by_hand=None):
    """Undoes what has changed since: the earlier version's lines do not say what they are over, a swap by hand is kept beside the
    config, and run.json describes the validation text."""
    lines = read_metrics(run)
    for line in lines:
        line.pop("steps", None)
        line.pop("validation/data", None)
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def without_swap(text):
        if by_hand:
            text = re.sub(r"swap_attention: \[.*\]", "swap_attention: []", text)
        return to_one_swap(text)

    swap = {"at_step": by_hand[0], "kind": by_hand[1]} if by_hand else None
    config = run / "config.yaml"
    config.write_text(without_swap(config.read_text()))
    rewrite(run / "run.json", lambda r: r.update(validation_fingerprint="f", validation_windows=4, **({"manual_swap": swap} if swap else {})))

    for checkpoint in (run / "checkpoints").iterdir():

        def earlier_state(state):
            state.pop("last_line_step")
            state.pop("beginning")
            state["config"] = without_swap(state["config"])
            state["manual_swap"] = swap if swap and state["step"] >= swap["at_step"] else None

        rewrite(checkpoint / "trainer/state.json", earlier_state)
        sign(checkpoint)


@pytest.fixture
def runs(program):
    """A run of softmax and a fork of it from its step 6 on, which was swapped by hand."""
    changes = [VALIDATED, {"data": {"validation": [str(program.directory / "validation.bin")]}, "train": {"max_steps": 14}}]
    program.train("--run-dir", "softmax", changes=changes)
    program.train("--resume", "softmax/checkpoints/step-00000006", "--run-dir", "swapped", "--swap-attention", "ssmax", changes=changes)
    return changes


def test_earlier_runs_are_compared_but_for_their_validation(program, runs):
    before = json.loads(program.run("compare", "softmax", "swapped", "--json")[0])
    assert before["validation"]["steps"] == [12, 14]
    make_earlier(program.directory / "softmax")
    make_earlier(program.directory / "swapped", by_hand=(6, "ssmax"))
    after = json.loads(program.run("compare", "softmax", "swapped", "--json")[0])
    for key in ("shared", "window"):
        assert after[key] == before[key]
    assert [c["segments"] for c in after["comparisons"]] == [c["segments"] for c in before["comparisons"]]
    assert after["runs"][1]["swaps"] == before["runs"][1]["swaps"] == [{"at_step": 6, "kind": "ssmax"}]
    assert after["validation"]["steps"] == []
    assert any("what they are over, which an earlier version did not write, is not known between softmax and" in n["text"] for n in after["notes"])
    out, _ = program.run("inspect", "swapped")
    assert "14 of 14" in out and "to ssmax after step 6" in out


def test_a_run_whose_beginning_is_not_known_is_refused_in_one_line(program, runs):
    make_earlier(program.directory / "swapped", by_hand=(6, "ssmax"))
    rewrite(program.directory / "swapped/run.json", lambda record: record.pop("first_step"))
    for command in (["compare", "softmax", "swapped"], ["inspect", "swapped"]):
        out, err = program.run(*command, code=3)
        assert out == "" and len(err.splitlines()) == 1
        assert "metrics.jsonl:1" in err and "Read it with the version that wrote it" in err


def test_an_earlier_run_goes_on_bit_for_bit(program, runs):
    longer = [*runs, {"train": {"max_steps": 20}}]
    program.train("--resume", "softmax/checkpoints/step-00000006", "--run-dir", "whole", "--swap-attention", "ssmax", changes=longer)
    swapped = program.directory / "swapped"
    make_earlier(swapped, by_hand=(6, "ssmax"))
    assert "swap_attention:\n" in (swapped / "config.yaml").read_text()
    program.train("--run-dir", "swapped", "--resume", "auto", changes=longer)
    assert re.search(r"swap_attention: \[\{at_step: 6, kind: ssmax\}\]", (swapped / "config.yaml").read_text())
    assert "manual_swap" not in json.loads((swapped / "run.json").read_text())
    lines = {line["step"]: line for line in without_timing(read_metrics(swapped))}
    for line in without_timing(read_metrics(program.directory / "whole")):
        if line["step"] > 15:
            assert lines[line["step"]] == line
    # The earlier version did not record which steps a line covers: the first line after it cannot, and readers derive it.
    assert "steps" not in lines[15] and lines[18]["steps"] == [16, 18]
    assert "20 of 20" in program.run("inspect", "swapped")[0]

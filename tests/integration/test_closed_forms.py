"""ssgpt evaluate closed-forms as a user runs it, against numpy in float64, and its picture."""

import csv
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from attention_kinds import FLOOR, KINDS, options
from conftest import ROOT

CLOSED_KINDS = [kind for kind in KINDS if kind != "learned_pn"]
SCALE, BIAS, TRAINED = 0.3, 0.7, 50


def closed_forms(program, *arguments, **settings):
    out, err = program.run("evaluate", "closed-forms", *arguments, **settings)
    return (json.loads(out) if "--json" in arguments else out), err


def report(program, *arguments):
    command = [sys.executable, ROOT / "scripts" / "report.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=program.directory)


def row_scale(kind, n):
    return {
        "softmax": 1.0,
        "softmax_temperature": SCALE,
        "ssmax": SCALE * np.log(n),
        "ssmax_fixed": np.log(n),
        "ssmax_bias": SCALE * np.log(n) + BIAS,
        "logn_clamped": max(1, np.log(n) / np.log(TRAINED)),
        "llama4_temperature": 1 + FLOOR["attn_scale"] * np.log(n // FLOOR["floor_scale"] + 1),
    }[kind]


def weight_of_first(logits, c):
    """The first weight of the softmax of c times the logits."""
    scaled = c * (np.asarray(logits) - max(logits))
    return np.exp(scaled[0]) / np.exp(scaled).sum()


def test_weights_are_those_of_an_explicit_softmax(program):
    arguments = ["--kinds", ",".join(CLOSED_KINDS), "--scale", SCALE, "--bias", BIAS, "--high", 2.5, "--low", -1]
    arguments += ["--trained-length", TRAINED, *options("llama4_temperature")]
    result, _ = closed_forms(program, *arguments, "--lengths", "1,2,30,4000", "--sizes", "3,70,5000", "--json")
    assert [curve["attention"] for curve in result["fading"]["curves"]] == CLOSED_KINDS
    assert {key: result[key] for key in (*FLOOR, "trained_length")} == {**FLOOR, "trained_length": TRAINED}
    for curve in result["fading"]["curves"]:
        for n, weight in zip((1, 2, 30, 4000), curve["weights"]):
            expected = weight_of_first([2.5] + [-1.0] * (n - 1), row_scale(curve["attention"], n))
            assert weight == pytest.approx(expected, abs=2e-6)  # c(n) is float32, as in every model
    focus = result["focus"]
    assert (focus["spread_below"], focus["focused_above"]) == pytest.approx((1 / SCALE, 1 + 1 / SCALE))
    assert len(focus["curves"]) == len(CLOSED_KINDS) * 3
    for curve in focus["curves"]:
        n = curve["n"]
        for z, weight in list(zip(focus["maxima"], curve["weights"]))[::10]:
            logits = [z, *(i / (n - 2) for i in range(n - 1))]
            assert weight == pytest.approx(weight_of_first(logits, row_scale(curve["attention"], n)), abs=2e-6)


def test_the_paper_s_figures_need_no_option_and_no_checkpoint(program):
    result, _ = closed_forms(program, "--json", "--out", "out")
    softmax, ssmax = result["fading"]["curves"]
    assert (softmax["attention"], ssmax["attention"], result["scale"]) == ("softmax", "ssmax", 0.43)
    assert (result["fading"]["high"], result["fading"]["low"]) == (3.0, -2.0)
    assert result["fading"]["lengths"][-1] == 100000
    assert softmax["weights"][-1] < 0.01 and ssmax["weights"][-1] > 0.99
    out = program.directory / "out"
    assert json.loads((out / "closed_forms.json").read_text()) == result
    assert (out / "table.txt").read_text() == closed_forms(program)[0]
    rows = list(csv.DictReader((out / "closed_forms.csv").open()))
    focus = [float(r["weight"]) for r in rows if (r["form"], r["attention"], r["n"]) == ("focus", "ssmax", "100")]
    assert focus == result["focus"]["curves"][5]["weights"]


def test_report_draws_a_picture(program):
    closed_forms(program, "--out", "out")
    result = report(program, "out")
    assert result.returncode == 0 and result.stderr == "" and result.stdout == "out/closed_forms.png\n", result.stderr
    assert (program.directory / "out/closed_forms.png").read_bytes().startswith(b"\x89PNG")
    assert report(program, "out", "--picture", "alone.png").returncode == 0
    path = program.directory / "out/closed_forms.json"
    data = json.loads(path.read_text())
    data["focus"]["curves"][0]["weights"].pop()
    path.write_text(json.dumps(data))
    result = report(program, "out")
    assert result.returncode == 3 and "focus.curves[0].weights has 100 entries, not 101" in result.stderr
    closed_forms(program, "--out", "out")
    assert not (program.directory / "out/closed_forms.png").exists()


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_limits_are_finite_and_drawn(program, scale):
    arguments = ["--kinds", ",".join(CLOSED_KINDS), "--scale", scale, "--bias", 1e6, "--high", 1e6, "--low=-1e6", "--json", "--out", "out"]
    result, _ = closed_forms(program, *arguments)
    for curve in result["fading"]["curves"] + result["focus"]["curves"]:
        assert all(0 <= weight <= 1 for weight in curve["weights"])
    drawn = report(program, "out")
    assert drawn.returncode == 0 and drawn.stderr == "", drawn.stderr


REFUSED = {
    "unknown kind": (["--kinds", "hard"], "--kinds hard: it must be one of softmax"),
    "empty kind": (["--kinds", "softmax,"], "empty"),
    "kind twice": (["--kinds", "ssmax,ssmax"], "twice"),
    "learned p_n": (["--kinds", "learned_pn"], "its p_n is learned"),
    "no scale": (["--scale", "0"], "--scale 0: it must be a number from 1e-06 to 1000000"),
    "scale beyond float32": (["--scale", "1e300"], "--scale 1e+300: it must be a number from 1e-06 to 1000000"),
    "scale that rounds to 0": (["--scale", "1e-45"], "--scale 1e-45: it must be a number from 1e-06 to 1000000"),
    "bias beyond float32": (["--kinds", "ssmax_bias", "--bias", "1e300"], "--bias 1e+300: it must be a number from -1000000 to"),
    "undrawable high": (["--high", "1e308", "--low", "9e307"], "--high 1e+308: it must be a number from -1000000 to 1000000"),
    "undrawable low": (["--low=-1e7"], "--low -10000000: it must be a number from -1000000 to 1000000"),
    "no number at all": (["--low", "nan"], "--low"),
    "no number": (["--bias", "much"], "much"),
    "no a": (["--attn-scale", "0"], "--attn-scale 0: a must be above 0"),
    "no f": (["--floor-scale", "0"], "--floor-scale"),
    "no T": (["--trained-length", "1"], "--trained-length"),
    "equal logits": (["--high=-2"], "--high -2 --low -2"),
    "falling": (["--lengths", "5,4"], "ascending"),
    "too few": (["--sizes", "2"], "3 to"),
    "too many": (["--lengths", "99999999999"], "1 to 16777216"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(program, case):
    arguments, message = case
    _, err = closed_forms(program, *arguments, code=2)
    assert message in err and len(err.strip().splitlines()) <= 2
    assert not re.search(r"Traceback|terminate", err)

"""ssgpt compare on several seeds: the outcomes that are judged, by numpy, and the correction for several candidates."""

import json
import math
import re

import numpy as np
import pytest
from made_runs import STEPS, TOKENS, draw, write_run, write_seeds


def smoothed(losses):
    """The exponential mean over a 50th of the points, with the correction of its start."""
    decay, mean, weight, result = 1 - 1 / (STEPS / 50), 0.0, 0.0, []
    for loss in losses:
        mean, weight = decay * mean + (1 - decay) * loss, decay * weight + (1 - decay)
        result.append(mean / weight)
    return np.array(result)


def tokens_to(curve, target):
    i = int(np.argmax(curve <= target))
    return TOKENS * (i + 1 - (target - curve[i]) / (curve[i - 1] - curve[i]))


def test_seeds_are_grouped_paired_and_judged(program):
    losses, runs = write_seeds(program.directory, ssmax=("ssmax", -0.01))
    comparison = json.loads(program.run("compare", *runs, "--json")[0])
    assert comparison["version"] == 2 and comparison["deciding_outcome"] == "training"
    assert [o["name"] for o in comparison["outcomes"]] == ["training", "validation", "whole_curve", "tokens"]
    (one,) = comparison["comparisons"]
    assert one["verdict"] == "lower"
    assert [s["seed"] for s in one["seeds"]] == [1, 2, 3]
    pairs = list(zip(losses["ssmax"], losses["softmax"]))
    target = max(smoothed(run)[-1] for side in losses.values() for run in side)
    assert comparison["common_loss"] == pytest.approx(target, abs=1e-9)
    expected = {
        "training": [(a - b)[240:].mean() for a, b in pairs],
        "whole_curve": [(a - b).mean() for a, b in pairs],
        "tokens": [math.log(tokens_to(smoothed(a), target) / tokens_to(smoothed(b), target)) for a, b in pairs],
    }
    for name, values in expected.items():
        estimate, mean, error = one[name], np.mean(values), np.std(values, ddof=1) / math.sqrt(3)
        assert estimate["method"] == "seeds, paired"
        assert [s[name] for s in one["seeds"]] == pytest.approx(values, abs=1e-9)
        assert estimate["mean_difference"] == pytest.approx(mean, abs=1e-9)
        assert estimate["standard_error"] == pytest.approx(error, rel=1e-6)
        assert estimate["high"] - estimate["mean_difference"] == pytest.approx(4.302652730 * error, rel=1e-6)
        t = abs(mean) / error
        assert estimate["p"] == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-5)  # of two degrees
    percent = one["tokens"]["percent"]
    assert percent["mean"] == pytest.approx(100 * (math.exp(np.mean(expected["tokens"])) - 1), abs=1e-6)


def test_several_candidates_are_corrected_and_said_to_be(program):
    _, runs = write_seeds(program.directory, ssmax=("ssmax", -0.01), fixed=("ssmax_fixed", 0.0))
    out, _ = program.run("compare", *runs, "--out", "report")
    assert "p, Holm" in out and "corrected for 2 candidates after Holm" in out
    comparison = json.loads((program.directory / "report" / "comparison.json").read_text())
    p = [one["training"]["p"] for one in comparison["comparisons"]]
    corrected = [one["training"]["p_corrected"] for one in comparison["comparisons"]]
    low, high = sorted(range(2), key=p.__getitem__)
    assert corrected[low] == pytest.approx(min(1, 2 * p[low]))
    assert corrected[high] == pytest.approx(max(corrected[low], p[high]))
    page = draw(program)
    assert page.count('<svg class="strip" ') == 2 * 4  # candidates times outcomes
    assert "p, Holm" in page
    # A row has its zero line, a dot for each seed, the mean and its interval.
    row = re.search(r'<svg class="strip" .*?</svg>', page).group()
    assert row.count('class="zero"') == 1 and row.count('class="dot"') == 3
    assert row.count('class="average"') == row.count('class="band"') == 1


def test_a_variant_that_stopped_is_drawn_beside_those_that_finished(program):
    _, runs = write_seeds(program.directory, ssmax=("ssmax", -0.01))
    for seed in (1, 2, 3):
        runs.append(f"hot{seed}")
        write_run(program.directory / runs[-1], "ssmax_fixed", seed=seed, offset=0.5, own=300 + seed, steps=13)
    out, _ = program.run("compare", *runs, "--out", "report")
    assert "stopped in 3 of 3 seeds (seed 1: at step 13 of 300" in out
    comparison = json.loads((program.directory / "report" / "comparison.json").read_text())
    finished, stopped = comparison["comparisons"]
    assert comparison["shared"]["last_step"] == STEPS
    assert finished["verdict"] == "lower" and finished["failed"] is None
    assert stopped["verdict"] == "no verdict" and stopped["training"]["mean_difference"] is None
    page = draw(program)
    assert "<h2>No verdict: SSMax, s fixed at 1 stopped in 3 of 3 seeds</h2>" in page
    assert "nan" not in "".join(re.findall(r' (?:d|x|y|cx|cy|x1|x2)="[^"]*"', page))

"""ssgpt compare on several seeds: the outcomes that are judged, checked by numpy, and the correction for several candidates."""

import json
import math
import re

import numpy as np
import pytest
from made_runs import STEPS, TOKENS, draw, write_run, write_seeds


def fitted(losses):
    """At each step, the straight line in the logarithm of the tokens, fitted through the fifth of the steps around it."""
    tokens, width = np.log(TOKENS * np.arange(1, STEPS + 1)), STEPS // 5
    begins = np.clip(np.arange(STEPS) - width // 2, 0, STEPS - width)
    lines = [np.polyfit(tokens[b : b + width], losses[b : b + width], 1) for b in begins]
    return np.array([np.polyval(line, x) for line, x in zip(lines, tokens)])


def log_tokens(curve, highest, lowest):
    """The logarithm of tokens needed, averaged over the losses between the two: for each loss, how long the curve is above it."""
    tokens = np.log(TOKENS * np.arange(1, STEPS + 1))
    share = np.clip((curve - lowest) / (highest - lowest), 0, 1)
    return tokens[0] + np.trapezoid(share, tokens)


def test_seeds_are_grouped_paired_and_judged(program):
    losses, runs = write_seeds(program.directory, ssmax=("ssmax", -0.01))
    comparison = json.loads(program.run("compare", *runs, "--json")[0])
    assert comparison["version"] == 2 and comparison["deciding_outcome"] == "training"
    assert [o["name"] for o in comparison["outcomes"]] == ["training", "validation", "whole_curve", "tokens"]
    (one,) = comparison["comparisons"]
    assert one["verdict"] == "lower"
    assert [s["seed"] for s in one["seeds"]] == [1, 2, 3]
    pairs = list(zip(losses["ssmax"], losses["softmax"]))
    curves = [fitted(run) for side in losses.values() for run in side]
    highest, lowest = min(c[STEPS // 4] for c in curves), max(c[-1] for c in curves)
    assert one["token_losses"] == pytest.approx({"highest": highest, "lowest": lowest}, abs=1e-9)
    expected = {
        "training": [(a - b)[240:].mean() for a, b in pairs],
        "whole_curve": [(a - b).mean() for a, b in pairs],
        "tokens": [log_tokens(fitted(a), highest, lowest) - log_tokens(fitted(b), highest, lowest) for a, b in pairs],
    }
    for name, values in expected.items():
        estimate, mean, error = one[name], np.mean(values), np.std(values, ddof=1) / math.sqrt(3)
        assert estimate["method"] == "seeds, paired"
        assert [s[name] for s in one["seeds"]] == pytest.approx(values, abs=1e-9)
        assert estimate["mean_difference"] == pytest.approx(mean, abs=1e-9)
        assert estimate["standard_error"] == pytest.approx(error, rel=1e-6)
        assert estimate["high"] - estimate["mean_difference"] == pytest.approx(4.302652730 * error, rel=1e-6)
        t = abs(mean) / error
        assert estimate["p"] == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-5)  # with two degrees of freedom
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
        write_run(program.directory / runs[-1], "ssmax_fixed", seed=seed, offset=5e5, own=300 + seed, steps=40)
    out, _ = program.run("compare", *runs, "--out", "report")
    assert "stopped in 3 of 3 seeds (seed 1: at step 40 of 300" in out
    comparison = json.loads((program.directory / "report" / "comparison.json").read_text())
    finished, stopped = comparison["comparisons"]
    assert comparison["shared"]["last_step"] == STEPS
    assert finished["verdict"] == "lower" and finished["failed"] is None
    assert stopped["verdict"] == "no verdict" and stopped["training"]["mean_difference"] is None
    page = draw(program)
    assert "<h2>No verdict: SSMax, s fixed at 1 stopped in 3 of 3 seeds</h2>" in page
    assert "nan" not in "".join(re.findall(r' (?:d|x|y|cx|cy|x1|x2)="[^"]*"', page))
    assert "00,000</text>" not in page  # its losses do not stretch the axis


def test_two_pairs_that_agree_on_nothing_need_more_seeds_than_are_looked_for(program):
    for seed, offset in ((1, 0.01), (2, -0.01)):
        for own, (name, kind, shift) in enumerate((("a", "softmax", 0.0), ("b", "ssmax", offset))):
            write_run(program.directory / f"{name}{seed}", kind, seed=seed, offset=shift, own=own, noise=0.0)
    out, _ = program.run("compare", "a1", "b1", "a2", "b2", "--out", "report")
    assert "more than 10000 seeds" in out
    page = draw(program)
    assert '<div class="name">Seeds needed</div><div class="value word">more than 10,000</div>' in page
    assert "3 or more" not in page


def test_sides_without_a_shared_seed_are_no_pairs(program):
    runs = [f"a{seed}" for seed in (1, 2, 3)] + [f"b{seed}" for seed in (4, 5, 6, 7)]
    for own, name in enumerate(runs):
        kind = "softmax" if name.startswith("a") else "ssmax"
        write_run(program.directory / name, kind, seed=int(name[1]), offset=-0.01 * own, own=own)
    out, _ = program.run("compare", *runs, "--out", "report")
    assert "4 and 3 runs, unpaired" in out
    (one,) = json.loads((program.directory / "report" / "comparison.json").read_text())["comparisons"]
    assert one["paired"] is False and one["training"]["sides"] == [4, 3]
    page = draw(program)
    assert "· comparison of 7 runs ·" in page and "from 4 and 3 runs, unpaired" in page
    row = re.search(r'<svg class="strip" .*?</svg>', page).group()
    assert row.count('class="dot"') == 1  # the difference of the means
    one_a_side = json.loads(program.run("compare", "a1", "b4", "--json")[0])["comparisons"][0]
    assert one_a_side["training"]["scatter_for_seeds"] is None


def test_an_opposite_validation_takes_the_verdict_from_every_place(program):
    runs = []
    for seed in (1, 2, 3):
        write_run(program.directory / f"a{seed}", "softmax", seed=seed, own=seed)
        write_run(program.directory / f"b{seed}", "ssmax", seed=seed, offset=-0.05 - 0.001 * seed, own=10 + seed)
        runs += [f"a{seed}", f"b{seed}"]
        path = program.directory / f"b{seed}" / "metrics.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if "validation/loss" in line:
                line["validation/loss"] += 0.2
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out, _ = program.run("compare", *runs, "--out", "report")
    assert out.startswith("No verdict: training and validation loss point in opposite directions.\n")
    assert re.search(r"SSMax, training .* no verdict$", out, re.MULTILINE)
    page = draw(program)
    assert "<h1>No verdict between SSMax and Softmax</h1>" in page
    key = re.search(r'<div class="key"><div class="name">Training loss, difference</div>.*?</div></div>', page).group()
    assert 'class="none"' in key and "no verdict" in key and "lower" not in key
    row = re.search(r"<tr><td>SSMax, training loss</td>.*?</tr>", page).group()
    assert "no verdict" in row and "lower" not in row
    assert "Over the whole curve: <b>−0.05" in page

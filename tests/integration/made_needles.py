"""A hand-made evaluation.json of needles with attention; what is drawn of it follows from weight_of() and outcome_of()."""

import itertools
import json
import math

TRAINED = 1024
LENGTHS, DEPTHS = (512, 1024, 2048, 8192), (0, 40, 100)
LAYERS, HEADS, TRIALS = 6, 8, 10
VARIANTS = ("softmax", "ssmax")
MODEL = {
    "checkpoint": "runs/a",
    "attention": "softmax",
    "step": 7,
    "trained_length": TRAINED,
    "rope_theta": 10000.0,
    "overrides": {"rope_theta": None, "yarn_factor": None, "row_scale": None, "attention": None},
    "pn_fit": None,
}


def weight_of(variant, seed, length, depth, rank, trial):
    """Falls with the rank, and with the trial in an order that looks random."""
    fades = 1 + math.log2(length / 512) * (0.9 if variant == "softmax" else 0.2)
    return round((0.4 + 0.04 * (trial * 7 % TRIALS) + 0.02 * seed + 0.0003 * depth) / (fades * (1 + 0.4 * rank)), 6)


def head_of(seed, rank):
    """(layer, head) of a rank, in a different order for each seed."""
    return divmod((rank * 5 + 11 * seed) % (LAYERS * HEADS), HEADS)


def outcome_of(variant, length, trial):
    good = 8 if length <= TRAINED else 5 if variant == "ssmax" else 1
    order = trial * 7 % TRIALS  # as in weight_of
    return "right" if order >= TRIALS - good else "first digit" if order >= TRIALS - good - 2 else "wrong"


def mean_of(variant, seed, length, depth, rank):
    return sum(weight_of(variant, seed, length, depth, rank, trial) for trial in range(TRIALS)) / TRIALS


def result_of(variant, seed, length, depth):
    heads = [dict(zip(("layer", "head"), head_of(seed, rank)), mean=mean_of(variant, seed, length, depth, rank)) for rank in range(25)]
    top = dict(zip(("layer", "head"), head_of(seed, 0)))
    trials = [
        {**top, "weight": weight_of(variant, seed, length, depth, 0, trial), "outcome": outcome_of(variant, length, trial)}
        for trial in range(TRIALS)
    ]
    correct = sum(one["outcome"] == "right" for one in trials)
    share = {"share_right": correct / TRIALS, "share_right_low": 0.0, "share_right_high": 1.0, "margin": 0.5, "margin_stderr": 0.1}
    place = {"length": length, "depth": depth, "trials": TRIALS, "correct": correct, **share}
    return {**place, "first_digit_right": TRIALS, "attention": {"heads": heads, "trials": trials}}


def made_needles(seeds, variants=VARIANTS, titles=("RoPE theta as trained (10000)",)):
    points = list(itertools.product(LENGTHS, DEPTHS))
    models = [
        {"condition": condition, "variant": variant, "seed": seed, **MODEL, "results": [result_of(variant, seed, *p) for p in points]}
        for condition in range(len(titles))
        for seed in seeds
        for variant in variants
    ]
    means = [{"variant": v, "seeds": list(seeds), "left_out": [], "means": [0.5] * len(points)} for v in variants]
    conditions = [{"title": t, "figures": [{"figure": f, "variants": means} for f in ("share_right", "margin")]} for t in titles]
    return {
        **{"format": "ssgpt-evaluation", "version": 1, "kind": "needle", "trained_length": TRAINED, "max_length": LENGTHS[-1]},
        **{"data": ["v.bin"], "prompt": "{city}:", "distractors": 9, "seed": 1, "trials": TRIALS},
        **{"conditions": conditions, "models": models, "comparisons": [], "notes": []},
    }


def write_needles(directory, seeds=(1,), **options):
    directory.mkdir(exist_ok=True)
    (directory / "evaluation.json").write_text(json.dumps(made_needles(seeds, **options)))
    return directory

"""Run directories with made-up curves, and what scripts/report.py makes of their comparison."""

import json
import subprocess
import sys

import numpy as np
from conftest import CONFIG, ROOT, merged

STEPS = 300
TOKENS = CONFIG["train"]["global_batch_size"] * CONFIG["data"]["sequence_length"]


def write_run(
    directory, kind, seed=1, offset=0.0, own=0, every=1, steps=STEPS, validation_every=50, config={}, noise=0.002
):
    """Writes a run whose noise is a function of the seed, as that of the text; returns the losses of the steps."""
    directory.mkdir(parents=True)
    settings = {
        "run": {"name": directory.name, "seed": seed},
        "model": {"attention": {"kind": kind}},
        "log": {"every": every},
        "train": {"max_steps": STEPS},
        "data": {"train": ["train.bin"], "validation": ["validation.bin"]},
    }
    (directory / "config.yaml").write_text(json.dumps(merged(CONFIG, settings, config)))
    (directory / "run.json").write_text(
        json.dumps(
            {
                "run_id": "0123",
                "revision": "abcdef",
                "command": "ssgpt train <&>",
                "hardware": {"cpu": "a & b"},
                "versions": {},
                "num_parameters": 1234,
            }
        )
    )
    step = np.arange(1, steps + 1)
    losses = 2 + 2 * np.exp(-step / 60) + np.random.default_rng(seed).normal(0, 0.1, STEPS)[:steps] + offset
    losses = losses + np.random.default_rng(100 + own).normal(0, noise, STEPS)[:steps]
    with open(directory / "metrics.jsonl", "w") as file:
        for end in step:
            line = {"step": int(end), "tokens": int(end) * TOKENS}
            if end % every == 0 or end == steps:
                first = (end - 1) // every * every
                line["steps"] = [int(first) + 1, int(end)]
                line["train/loss"] = float(losses[first:end].mean())
            if validation_every and end % validation_every == 0:
                line["validation/loss"] = float(2.5 + offset + 1 / end)
                line["validation/data"] = "v/8"
            if len(line) > 2:
                file.write(json.dumps({**line, "time": 1.0}) + "\n")
    return losses


def write_pair(directory):
    return write_run(directory / "softmax", "softmax"), write_run(directory / "ssmax", "ssmax", offset=-0.01, own=1)


def write_seeds(directory, seeds=(1, 2, 3), **candidates):
    """Softmax and candidates {name: (kind, offset)} with several seeds; returns ({name: [losses]}, the runs' names)."""
    losses = {"softmax": [write_run(directory / f"softmax{seed}", "softmax", seed=seed, own=seed) for seed in seeds]}
    for i, (name, (kind, offset)) in enumerate(candidates.items(), start=1):
        losses[name] = [
            write_run(directory / f"{name}{seed}", kind, seed=seed, offset=offset - 0.001 * seed, own=100 * i + seed)
            for seed in seeds
        ]
    return losses, [f"{name}{seed}" for name in losses for seed in seeds]


def draw(program):
    """Runs scripts/report.py on what compare wrote; returns the page."""
    directory = program.directory / "report"
    command = [sys.executable, ROOT / "scripts" / "report.py", directory]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return (directory / "report.html").read_text()

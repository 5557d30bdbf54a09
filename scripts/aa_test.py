#!/usr/bin/env python3
"""A/A test of the verdicts: how often does `ssgpt compare` find a difference where there is none?

Trains a tiny Softmax model with 4 x G seeds, and again with a meaningless change (rms_norm_eps from 1e-5 to 1.001e-5),
after which the two runs of a seed drift apart through rounding. From these runs it makes 2 x G comparisons with 4 seeds
per side: G between runs that share their seeds and differ in the meaningless change alone, and G between runs with
different seeds, hence different initial weights and data order. Every run takes part in one comparison of each sort.
Every verdict is a false one, and one in twenty is expected. Prints a Markdown table with p for each outcome; the exit
code is 1 if more than one verdict in ten is false.

    scripts/quickstart.sh                                  # makes the text and the program
    .venv/bin/python scripts/aa_test.py --out runs/aa      # about 10 minutes on two cores; resumes where it was stopped
"""

import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEEDS = 4  # per side of each comparison
OUTCOMES = {"training": "training", "validation": "validation", "whole_curve": "whole curve", "tokens": "tokens"}

SWEEP = """\
# Written by scripts/aa_test.py.
base:
  include: {root}/configs/quickstart/base.yaml
  model: {{hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 172}}
  data:
    tokenizer: {root}/data/bible/tokenizer.model
    train: ["{root}/data/bible/tokens/train_*.bin"]
    validation: ["{root}/data/bible/tokens/validation_*.bin"]
    sequence_length: 128
  train: {{max_steps: 300, global_batch_size: 8, micro_batch_size: 8}}
  optimizer: {{lr: 6.0e-3, schedule: {{warmup_steps: 30, min_lr: 6.0e-4}}}}
  evaluate: {{every: 30, batches: 4}}
  checkpoint: {{every: 0, keep_last: 1}}
  log: {{every: 1, tensorboard: false}}
variants:
  softmax: {{}}
  softmax-again: {{model.rms_norm_eps: 1.001e-5}}
seeds: {seeds}
"""


def train(arguments):
    arguments.out.mkdir(parents=True, exist_ok=True)
    sweep = arguments.out / "aa.yaml"
    sweep.write_text(SWEEP.format(root=ROOT, seeds=SEEDS * arguments.groups), encoding="utf-8")
    command = [arguments.ssgpt, "sweep", "--config", sweep, "--run-dir", arguments.out / "sweep"]
    if arguments.jobs:
        command += ["--jobs", arguments.jobs]
    status = subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL).returncode
    if status != 0:
        raise SystemExit(status)


def group(arguments, variant, index):
    seeds = range(SEEDS * index + 1, SEEDS * (index + 1) + 1)
    return [arguments.out / "sweep" / f"{variant}-seed{seed}" for seed in seeds]


def compare(arguments, baseline, candidate):
    """The one comparison between these runs, from `ssgpt compare --json`."""
    command = [arguments.ssgpt, "compare", *baseline, *candidate, "--json"]
    result = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if result.returncode != 0:
        raise SystemExit(result.returncode)
    (comparison,) = json.loads(result.stdout)["comparisons"]
    return comparison


def row(sort, seeds, comparison):
    cells = [sort, seeds]
    for name in OUTCOMES:
        estimate = comparison[name]
        difference = f"{estimate['mean_difference']:+.4f}"
        cells.append(f"{difference}, {'-' if estimate['p'] is None else format(estimate['p'], '.3f')}")
    return "| " + " | ".join([*cells, comparison["verdict"]]).replace("-0.", "−0.") + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ssgpt", type=pathlib.Path, default=ROOT / "build/release/ssgpt", help="(default: %(default)s)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/aa"), help="(default: %(default)s)")
    parser.add_argument("--groups", type=int, default=10, help="G: comparisons of each sort (default: %(default)s)")
    parser.add_argument("--jobs", type=int, help="runs at a time (default: one per core)")
    arguments = parser.parse_args()
    if arguments.groups < 2:
        parser.error("--groups: 2 or more, since a group is compared with the next one")
    sys.stdout.reconfigure(encoding="utf-8")  # whatever the locale is
    train(arguments)

    print("| pairs | seeds | " + " | ".join(OUTCOMES.values()) + " | verdict |")
    print("|---" * (3 + len(OUTCOMES)) + "|")
    comparisons = []
    for sort in ("same seeds", "other seeds"):
        for index in range(arguments.groups):
            other = index if sort == "same seeds" else (index + 1) % arguments.groups
            comparison = compare(arguments, group(arguments, "softmax", index), group(arguments, "softmax-again", other))
            seeds = f"{SEEDS * index + 1}–{SEEDS * (index + 1)}, {SEEDS * other + 1}–{SEEDS * (other + 1)}"
            print(row(sort, seeds, comparison))
            comparisons.append(comparison)
    false = sum(one["verdict"] != "no verdict" for one in comparisons)
    by_outcome = [
        f"{title} {sum(one[name]['verdict'] != 'no verdict' for one in comparisons)}" for name, title in OUTCOMES.items()
    ]
    print(f"\n{false} of {len(comparisons)} verdicts are false. By outcome, each tested by itself: {', '.join(by_outcome)}.")
    sys.exit(false > len(comparisons) // 10)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares several single-threaded ranks with one process of as many threads, and shows what reducing the gradient
costs.

Each round measures the training step in one process, and in R ranks started by torchrun, with plain data parallelism
and with ZeRO-1, in a different order every round. Prints the medians, the ratio of tokens/s to that of the one process
within a round with its 95 % interval, and how much of a step the ranks wait for each other.

    scripts/build.sh release ssgpt && .venv/bin/python scripts/bench_ranks.py --rounds 6
"""

import argparse
import json
import os
import statistics
import subprocess

from bench_step import ROOT, paired_ratio, positive

BINARY = ROOT / "build/release/ssgpt"
TORCHRUN = ROOT / ".venv/bin/torchrun"
BATCH = {"quickstart": 8, "paper": 2}


def measure(arguments, ranks, zero_stage):
    """The report of one `ssgpt bench step --json`."""
    step = [BINARY, "bench", "step", "--json", "--shape", arguments.shape, "--steps", arguments.steps, "--warmup", 2,
            "--set", f"train.micro_batch_size={BATCH[arguments.shape] // ranks}", "--set", f"parallel.zero_stage={zero_stage}"]
    launcher = [TORCHRUN, "--no-python", "--standalone", "--nproc-per-node", ranks] if ranks > 1 else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.ranks // ranks)}
    process = subprocess.run(list(map(str, [*launcher, *step])), env=environment, capture_output=True, text=True, encoding="utf-8")
    if process.returncode != 0:
        raise SystemExit(process.stderr)
    return json.loads(process.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=BATCH, default="quickstart", help="the model and batch (default: %(default)s)")
    parser.add_argument("--ranks", type=positive, default=2, help="number of ranks, with one thread each (default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=6, help="(default: %(default)s)")
    parser.add_argument("--steps", type=positive, default=8, help="steps per measurement (default: %(default)s)")
    arguments = parser.parse_args()
    if BATCH[arguments.shape] % arguments.ranks != 0:
        parser.error(f"--ranks: the batch of {BATCH[arguments.shape]} does not divide")
    settings = {f"1 process, {arguments.ranks} threads": (1, 0), f"{arguments.ranks} ranks": (arguments.ranks, 0),
                f"{arguments.ranks} ranks, ZeRO-1": (arguments.ranks, 1)}
    reports = {name: [] for name in settings}
    for round_ in range(arguments.rounds):
        first = round_ % len(settings)
        names = list(settings)
        for name in names[first:] + names[:first]:
            reports[name].append(measure(arguments, *settings[name]))
    one = [report["tokens_per_second"] for report in next(iter(reports.values()))]
    print(f"{arguments.shape}, {arguments.rounds} rounds of {arguments.steps} steps")
    print(f"  {'':24} {'tokens/s':>9} {'ratio':>7} {'95 % interval':>16} {'exposed':>9} {'in all':>9} {'peak MiB':>9}")
    for name, runs in reports.items():
        speeds = [report["tokens_per_second"] for report in runs]
        ratio = paired_ratio(one, speeds)
        interval = "" if speeds == one or ratio["low"] is None else f"{ratio['low']:.3f} to {ratio['high']:.3f}"
        shares = ["", ""]
        if "communication" in runs[0]:
            shares = [f"{100 * statistics.median(r['communication'][key] / statistics.fmean(r['seconds']) for r in runs):.1f} %"
                      for key in ("exposed_seconds_per_step", "total_seconds_per_step")]
        print(f"  {name:24} {statistics.median(speeds):9.0f} {ratio['ratio']:7.3f} {interval:>16} {shares[0]:>9} {shares[1]:>9} "
              f"{statistics.median(r['peak_bytes'] for r in runs) / (1 << 20):9.0f}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Compares our training step with plain PyTorch's, eager and compiled, in the same run.

Three programs hold the same model (Llama's mathematics, fp32, fused AdamW, clipping at 1.0; PyTorch's is in peer.py)
and take turns: a few steps each, in a different order every round, so that whatever else the machine does affects all
of them. Prints the medians, the ratio of the times within a round with its 95 % interval, and each program's peak of
resident memory.

    scripts/build.sh release ssgpt && .venv/bin/python scripts/bench_step.py --shape quickstart --rounds 10
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from student import interval

ROOT = pathlib.Path(__file__).resolve().parents[1]
PEER = pathlib.Path(__file__).resolve().parent / "peer.py"
SHAPES = {
    "quickstart": dict(vocab=4096, hidden=256, layers=6, heads=4, feed_forward=688, time=512, batch=8),
    "paper": dict(vocab=50257, hidden=768, layers=12, heads=12, feed_forward=2048, time=1024, batch=2),
}
NAMES = {"ssgpt": "ssgpt", "eager": "PyTorch, eager", "compiled": "PyTorch, compiled"}


class Contestant:
    def __init__(self, kind, arguments):
        self.kind = kind
        if kind == "ssgpt":
            command = [arguments.binary, "bench", "step", "--shape", arguments.shape, "--on-request", "--warmup", str(arguments.warmup)]
        else:
            shape = SHAPES[arguments.shape]
            command = [sys.executable, str(PEER), "--compile", "default" if kind == "compiled" else "none",
                       "--micro-batch", str(shape["batch"]), "--threads", str(arguments.threads), "--warmup", str(arguments.warmup)]
            for key in ("vocab", "hidden", "layers", "heads", "feed_forward", "time"):
                command += [f"--{key.replace('_', '-')}", str(shape[key])]
        environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", env=environment)
        self.rounds = []  # mean seconds per step
        self.seconds = []
        self.peak_bytes = 0
        self.answer()  # wait until it is ready

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{NAMES[self.kind]} ended with exit code {self.process.wait()}")
        return json.loads(line)

    def measure(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        answer = self.answer()
        self.seconds += answer["seconds"]
        self.rounds.append(statistics.fmean(answer["seconds"]))
        self.peak_bytes = answer["peak_bytes"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def paired_ratio(ours, theirs):
    """Their time over ours: exp of the mean logarithm over the rounds, with its 95 % interval."""
    mean, low, high = interval([math.log(b / a) for a, b in zip(ours, theirs)])
    return {"ratio": math.exp(mean), **{key: end if end is None else math.exp(end) for key, end in (("low", low), ("high", high))}}


def run(arguments):
    shape = SHAPES[arguments.shape]
    tokens = shape["time"] * shape["batch"]
    contestants = [Contestant(kind, arguments) for kind in arguments.programs]
    for round_ in range(arguments.rounds):
        first = round_ % len(contestants)
        for contestant in contestants[first:] + contestants[:first]:
            contestant.measure(arguments.steps)
    for contestant in contestants:
        contestant.close()
    ours = next((c for c in contestants if c.kind == "ssgpt"), None)
    report = {"shape": arguments.shape, **shape, "threads": arguments.threads, "rounds": arguments.rounds,
              "steps_per_round": arguments.steps, "load_average": os.getloadavg()[0], "programs": {}}
    for contestant in contestants:
        result = {"tokens_per_second": tokens / statistics.median(contestant.seconds),
                  "slowest_round": tokens / max(contestant.rounds), "fastest_round": tokens / min(contestant.rounds),
                  "peak_bytes": contestant.peak_bytes, "seconds": contestant.seconds}
        if ours is not None and contestant is not ours:
            result["time_over_ssgpt"] = paired_ratio(ours.rounds, contestant.rounds)
        report["programs"][contestant.kind] = result
    return report


def table(report):
    lines = [f"{report['shape']}: T = {report['time']}, B = {report['batch']}, fp32, {report['threads']} threads; "
             f"{report['rounds']} rounds of {report['steps_per_round']} steps",
             f"  {'':18} {'tokens/s':>9} {'rounds':>15} {'time / ssgpt':>13} {'95 % interval':>16} {'peak MiB':>9}"]
    for kind, result in report["programs"].items():
        ratio = result.get("time_over_ssgpt")
        known = ratio is not None and ratio["low"] is not None
        rounds = f"{result['slowest_round']:.0f} to {result['fastest_round']:.0f}"
        lines.append(f"  {NAMES[kind]:18} {result['tokens_per_second']:9.0f} {rounds:>15} "
                     f"{format(ratio['ratio'], '.3f') if ratio else '':>13} "
                     f"{format(ratio['low'], '.3f') + ' to ' + format(ratio['high'], '.3f') if known else '':>16} "
                     f"{result['peak_bytes'] / (1 << 20):9.0f}")
    return "\n".join(lines)


def positive(text):
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="quickstart", help="the model and batch (default: %(default)s)")
    parser.add_argument("--rounds", type=positive, default=10, help="turns of each program (default: %(default)s)")
    parser.add_argument("--steps", type=positive, default=5, help="steps per turn (default: %(default)s)")
    parser.add_argument("--warmup", type=positive, default=3, help="steps before the first turn (default: %(default)s)")
    parser.add_argument("--threads", type=positive, default=len(os.sched_getaffinity(0)), help="threads per program (default: all cores)")
    parser.add_argument("--programs", default="ssgpt,eager,compiled", help="programs to run, comma-separated (default: %(default)s)")
    parser.add_argument("--binary", default=str(ROOT / "build/release/ssgpt"), help="our program (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    arguments = parser.parse_args()
    arguments.programs = arguments.programs.split(",")
    unknown = [name for name in arguments.programs if name not in NAMES]
    if unknown:
        parser.error(f"--programs: {', '.join(unknown)} is none of {', '.join(NAMES)}")
    if "ssgpt" in arguments.programs and not os.access(arguments.binary, os.X_OK):
        parser.error(f"{arguments.binary} is missing: scripts/build.sh makes it")
    report = run(arguments)
    print(json.dumps(report) if arguments.json else table(report))


if __name__ == "__main__":
    main()

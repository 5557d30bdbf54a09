#!/usr/bin/env python3
"""Runs the stages of a plan (configs/reproduce/SIZE/plan.yaml) one after the other, with one progress line and ETA for
all of them, and writes which of the abstract's claims hold. scripts/reproduce.sh installs, builds and then calls this.

A stage counts as done if its mark says that it was made from the present settings, files and earlier stages: calling it
again makes what is missing, and nothing twice. Exit codes: 0 done; 1 a stage failed; 2 wrong usage or plan; 3 a damaged
result; 128 + signal stopped.
"""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from report_page.schema import Damaged
from reproduction import results
from reproduction.claims import load_claims
from reproduction.plan import BadPlan, load_plan
from reproduction.runner import Runner, StageFailed, Stopped

SIZES = ("cpu-short", "cpu", "gpu")
FAILED, WRONG_USAGE, DAMAGED = 1, 2, 3


def folder_of(size):
    return pathlib.Path("configs/reproduce", size) if size in SIZES else pathlib.Path(size)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", nargs="?", default="cpu", help="cpu-short, cpu, gpu, or a folder with a plan.yaml (default: %(default)s)")
    parser.add_argument("--publish", action="store_true", help="also renew docs/results.md and docs/results/")
    parser.add_argument("--list", action="store_true", help="show the stages, and which of them are done")
    arguments = parser.parse_args()
    try:
        return run(load_plan(folder_of(arguments.size)), arguments)
    except (BadPlan, Damaged, StageFailed, OSError) as error:
        print(f"scripts/reproduce.sh: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, BadPlan) else DAMAGED if isinstance(error, Damaged) else FAILED
    except Stopped as stop:
        print(f"Stopped by signal {stop.signal}; run the same command again to resume.", file=sys.stderr)
        return 128 + stop.signal


def run(plan, arguments):
    claims = load_claims(plan)  # before hours of training, not after them
    runner = Runner(plan)
    if arguments.list:
        print(runner.listing())
        return 0
    if plan.needs_gpu and not pathlib.Path("/dev/nvidiactl").exists():
        raise BadPlan(f"{plan.name} needs an NVIDIA GPU, and this machine has none; cpu and cpu-short do without")
    try:
        runner.run()
    except StageFailed:
        results.write(plan, claims)  # with the results that there are so far
        raise
    print("\n".join(f"wrote {path}" for path in results.write(plan, claims, pathlib.Path("docs") if arguments.publish else None)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

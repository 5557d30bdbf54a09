#!/usr/bin/env python3
"""Compares our training step with PyTorch's, eager and compiled in several ways, on one GPU in the same run.

At each micro-batch size, our program and the PyTorch programs of peer.py, with Softmax and with SSMax, take turns: a
few steps each, in a different order every round, so that whatever else the machine does affects all of them. As many of
them are alive at once as are estimated to fit into the device's memory; only one works at a time. Prints tokens/s
(median over the rounds), the ratio of PyTorch's time to ours within a round and that of SSMax's time to Softmax's, each
with its 95 % interval, and the peak of device memory. The fastest compiled PyTorch program of a row is marked; it is
the one to compare with.

A PyTorch program is written MODE[+OPTION...]: MODE is eager or a mode of torch.compile (default, max-autotune,
max-autotune-no-cudagraphs); OPTION is autocast (instead of bfloat16 copies of float32 masters), or the preferred
attention kernel: cudnn, flash, efficient.

    .venv/bin/python scripts/bench_gpu.py --binary build/release/ssgpt             in the repository
    /path/to/venv/bin/python scripts/bench_gpu.py --binary ./run.sh               in a bundle
scripts/gpu_check.sh starts it too, with fewer programs.
"""

import argparse
import atexit
import json
import math
import os
import pathlib
import queue
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from bench_step import paired_ratio

HERE = pathlib.Path(__file__).resolve().parent
SHAPES = {
    "paper": dict(vocab=50257, hidden=768, layers=12, heads=12, feed_forward=2048, time=1024),
    "tiny": dict(vocab=201, hidden=32, layers=2, heads=2, feed_forward=48, time=32),
}
KEYS = {"vocab": "model.vocab_size", "hidden": "model.hidden_size", "layers": "model.num_hidden_layers",
        "heads": "model.num_attention_heads", "feed_forward": "model.intermediate_size", "time": "data.sequence_length"}
MODES = ("eager", "default", "max-autotune", "max-autotune-no-cudagraphs")
KERNELS = ("cudnn", "flash", "efficient")
OURS = "ssgpt"
GIB = 1 << 30


class Failure(Exception):
    """A contestant that does not answer; its text goes into the table."""


class Entry:
    """One program with one kind of attention at one micro-batch size, and everything measured of it."""

    def __init__(self, program, attention, micro_batch, arguments):
        self.program, self.attention, self.micro_batch = program, attention, micro_batch
        self.mode, *self.options = program.split("+")
        self.arguments, self.shape = arguments, SHAPES[arguments.shape]
        self.tokens = micro_batch * self.shape["time"]
        self.rounds = {}  # group of programs alive together -> mean seconds per step in each round
        self.last = {}  # the last answer: peaks, loss
        self.failure = None
        self.seconds_to_ready = None

    @property
    def compiled(self):
        return self.mode not in (OURS, "eager")

    @property
    def measures(self):
        """Whether it times alternatives while it starts: PyTorch its kernels, ours its attention."""
        return self.program == OURS or self.mode.startswith("max-autotune")

    def command(self):
        arguments = self.arguments
        dtype = "bfloat16" if arguments.device == "cuda" else "float32"
        if self.program == OURS:
            settings = {**{key: self.shape[name] for name, key in KEYS.items()}, "train.device": arguments.device,
                        "train.dtype": dtype, "train.micro_batch_size": self.micro_batch,
                        "train.global_batch_size": self.micro_batch, "model.attention.kind": self.attention}
            sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
            return [arguments.binary, "bench", "step", "--shape", "paper", *sets, "--on-request",
                    "--warmup", str(arguments.warmup)]
        sizes = [word for name in KEYS for word in (f"--{name.replace('_', '-')}", str(self.shape[name]))]
        kernel = next((option for option in self.options if option in KERNELS), "auto")
        return [sys.executable, str(HERE / "peer.py"), *sizes, "--attention", self.attention, "--device", arguments.device,
                "--dtype", dtype, "--precision", "autocast" if "autocast" in self.options else "copies",
                "--micro-batch", str(self.micro_batch), "--compile", "none" if self.mode == "eager" else self.mode,
                "--attention-kernel", kernel, "--pad-vocabulary", "128", "--release", "--warmup", str(arguments.warmup)]

    def memory(self):
        """Estimated bytes of device memory: held between the turns, and while at work.

        Ours follows model::allocate_buffers. PyTorch's is what the backward pass of its fused operations reads again
        (per block the inputs of both norms and of four GEMMs, q, k and v twice, attention's output, SiLU's) and the
        logits: eager in bfloat16, as log-softmax, and two gradients of that in float32; compiled twice in bfloat16 and
        once in float32. A compiled program keeps no more than an eager one."""
        s = self.shape
        hidden, feed_forward = s["hidden"], s["feed_forward"]
        parameters = s["layers"] * (4 * hidden**2 + 3 * hidden * feed_forward) + 2 * s["vocab"] * hidden
        if self.program == OURS:
            layer = 2 * (8 * hidden + 3 * feed_forward) + 8 + 4 * s["heads"]  # bytes kept per token
            shared = 2 * (8 * hidden + feed_forward) + min(2 * s["vocab"], 2**32 // self.tokens)  # the logits in chunks
            whole = 18 * parameters + GIB + self.tokens * (s["layers"] * layer + shared)
            return whole, whole
        fixed = 20 * parameters + GIB  # weights, gradients, moments, copies; the context
        layer = 2 * (10 * hidden + 4 * feed_forward)  # bytes kept per token for the backward pass
        whole = fixed + self.tokens * (s["layers"] * layer + s["vocab"] * (14 if self.mode == "eager" else 8))
        # Only plain PyTorch gives its cache back between turns: a CUDA graph keeps its pool, ours its buffers.
        return (whole if self.mode == "max-autotune" else fixed), whole

    def mean_rounds(self):
        return [seconds for rounds in self.rounds.values() for seconds in rounds]

    def ratio_over(self, other):
        """This one's time over the other's, paired by round in the first group that held both; None if no group did."""
        for group, rounds in self.rounds.items():
            theirs = other.rounds.get(group, [])
            if rounds and theirs:
                return paired_ratio(theirs, rounds)
        return None


class Contestant:
    """An entry's process. Its stderr goes to a file, whose last line explains a failure."""

    alive = set()

    def __init__(self, entry):
        self.entry, self.begin = entry, time.monotonic()
        self.log = tempfile.TemporaryFile("w+", errors="replace")
        # Its own process group, so that inductor's workers end with it.
        self.process = subprocess.Popen(entry.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True, encoding="utf-8", start_new_session=True)
        self.alive.add(self)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            if line.startswith("{"):  # compilers may print to stdout too
                self.lines.put(line)
        self.lines.put("")

    def answer(self, limit):
        try:
            line = self.lines.get(timeout=max(limit, 0.0))
        except queue.Empty:
            raise Failure("no answer in time") from None
        if not line:
            raise Failure(self.reason())
        found = json.loads(line)
        if found.get("out_of_memory"):
            raise Failure("out of memory")
        return found

    def reason(self):
        code = self.process.wait()
        self.log.seek(0)
        text = self.log.read()
        if "out of memory" in text.lower():
            return "out of memory"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"exit code {code}: {lines[-1][:160] if lines else 'no message'}"

    def become_ready(self, latest):
        self.answer(min(self.begin + self.entry.arguments.start_limit, latest) - time.monotonic())
        self.entry.seconds_to_ready = time.monotonic() - self.begin

    def measure(self, steps, limit):
        """Mean seconds per step."""
        try:
            self.process.stdin.write(f"{steps}\n")
            self.process.stdin.flush()
        except OSError:
            raise Failure(self.reason()) from None
        found = self.answer(limit)
        if not math.isfinite(found.get("loss", 0.0)):
            raise Failure(f"the loss is {found['loss']}")
        self.entry.last = {key: value for key, value in found.items() if key != "seconds"}
        return statistics.fmean(found["seconds"])

    def close(self, patience=10.0):
        if self not in self.alive:
            return
        self.alive.discard(self)
        try:
            self.process.stdin.close()
            self.process.wait(timeout=patience)
        except (OSError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


# --- Who is alive together ----------------------------------------------------------------------------------------------


def need(entries):
    """Bytes needed with all of them alive and the largest at work."""
    held = sum(entry.memory()[0] for entry in entries)
    return held + max(whole - kept for kept, whole in (entry.memory() for entry in entries))


def plan_groups(entries, capacity):
    """All together if they fit; else one group per kind, and ours alone for the ratio between the kinds; else the
    compiled ones with ours, and the others in pairs with ours; else all in pairs."""
    if need(entries) <= capacity:
        return [entries]
    ours = [entry for entry in entries if entry.program == OURS]
    groups = [ours] if len(ours) > 1 else []
    for our in ours:
        of_kind = [entry for entry in entries if entry.attention == our.attention]
        together = [entry for entry in of_kind if entry is our or entry.compiled]
        if need(of_kind) <= capacity:
            groups.append(of_kind)
        elif len(together) > 2 and need(together) <= capacity:
            groups += [together, *([our, entry] for entry in of_kind if entry not in together)]
        else:
            groups += [[our, entry] for entry in of_kind if entry is not our]
    return groups


def plan_waves(entries, capacity):
    """The waves in which they start: all programs of a wave work at once. One that times alternatives starts alone."""
    waves, held = [], 0
    for entry in sorted(entries, key=lambda entry: entry.measures):
        kept, whole = entry.memory()
        together = bool(waves) and not entry.measures and not waves[-1][-1].measures
        working = sum(other.memory()[1] - other.memory()[0] for other in waves[-1]) if together else 0
        if together and held + working + whole <= capacity:
            waves[-1].append(entry)
        else:
            waves.append([entry])
        held += kept
    return waves


# --- Measuring ----------------------------------------------------------------------------------------------------------


def start(entries, capacity, latest):
    """The contestants that became ready by `latest`."""
    ready = []
    for wave in plan_waves(entries, capacity):
        begun = [Contestant(entry) for entry in wave]
        for contestant in begun:
            try:
                contestant.become_ready(latest)
                ready.append(contestant)
            except Failure as failure:
                contestant.entry.failure = str(failure)
                contestant.close(patience=0.0)
    return sorted(ready, key=lambda contestant: entries.index(contestant.entry))


def take_turns(contestants, name, arguments, deadline):
    """Rounds in a rotating order, with the same number of steps for each contestant; one that fails leaves."""
    contestants = list(contestants)

    def turn(contestant, steps):
        try:
            return contestant.measure(steps, min(arguments.turn_limit, deadline - time.monotonic()))
        except Failure as failure:
            contestant.entry.failure = str(failure)
            contestant.close(patience=0.0)
            contestants.remove(contestant)
            return 0.0

    slowest = max((turn(contestant, 2) for contestant in list(contestants)), default=0.0)
    steps = min(100, max(2, math.ceil(arguments.turn_seconds / max(slowest, 1e-6))))
    for round_ in range(arguments.rounds):
        if not contestants or time.monotonic() + len(contestants) * steps * slowest > deadline:
            break
        first = round_ % len(contestants)
        for contestant in contestants[first:] + contestants[:first]:
            seconds = turn(contestant, steps)
            if seconds > 0.0:
                contestant.entry.rounds.setdefault(name, []).append(seconds)
    return steps


def measure_group(entries, capacity, arguments, deadline):
    """The group's part of the report."""
    name = ", ".join(f"{entry.program} {entry.attention}" for entry in entries) + f" at {entries[0].micro_batch}"
    remaining = deadline - time.monotonic()
    if remaining < arguments.least_seconds:
        for entry in entries:
            entry.failure = entry.failure or (None if entry.rounds else "not measured: the time was over")
        return {"alive": name, "measured": False}
    print(f"[{time.monotonic() - arguments.begin:4.0f} s] alive together: {name}", file=sys.stderr, flush=True)
    # A contestant that is not ready must not cost the others their turns.
    contestants = start(entries, capacity, deadline - len(entries) * arguments.rounds * arguments.turn_seconds)
    try:
        steps = take_turns(contestants, name, arguments, deadline)
    finally:
        for contestant in contestants:
            contestant.close()
    return {"alive": name, "measured": True, "steps_of_a_turn": steps}


def benchmark(arguments, device, report_so_far):
    """All entries, in the order of the table."""
    capacity = 0.92 * device["free_bytes"]
    deadline = arguments.begin + arguments.budget
    entries, groups = [], []
    for index, micro_batch in enumerate(arguments.micro_batches):
        programs = [OURS, *(arguments.programs if index == 0 else arguments.other_programs)]
        stage = [Entry(program, kind, micro_batch, arguments) for kind in arguments.attention for program in programs]
        entries += stage
        for group in plan_groups(stage, capacity):
            groups.append(measure_group(group, capacity, arguments, deadline))
            report_so_far(entries, groups)
    return entries, groups


# --- Beginning and end --------------------------------------------------------------------------------------------------


def find_device(name):
    """A description of the device; None if CUDA finds none."""
    if name == "cpu":
        return {"name": "CPU", "total_bytes": None, "free_bytes": math.inf}
    # In a process of its own: the device memory that CUDA takes for this one would be missing in the measurements.
    script = """import json, torch
if torch.cuda.is_available():
    free, total = torch.cuda.mem_get_info()
    print(json.dumps({"name": torch.cuda.get_device_name(), "total_bytes": total, "free_bytes": free, "torch": torch.__version__,
                      "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}))"""
    out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout
    return json.loads(out) if out else None


def names_of(*allowed):
    def parse(text):
        names = text.split(",")
        for name in names:
            mode, *options = name.split("+")
            if mode not in allowed or not set(options) <= {"autocast", *KERNELS}:
                raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(allowed)}" +
                                                 (" with +autocast, +cudnn, +flash, +efficient" if "eager" in allowed else ""))
        return names

    return parse


def sizes(text):
    values = [int(word) for word in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a micro-batch is 1 sequence or more")
    return values


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--binary", required=True, help="our program")
    add("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: try the script without a GPU, in float32 (default: %(default)s)")
    add("--shape", choices=SHAPES, default="paper", help="the model (default: %(default)s)")
    add("--attention", type=names_of("softmax", "ssmax"), default=["softmax", "ssmax"], help="kinds of attention (default: softmax,ssmax)")
    add("--micro-batches", type=sizes, default=[32, 64, 16, 8], help="micro-batch sizes, in this order (default: 32,64,16,8)")
    add("--programs", type=names_of(*MODES), default=["eager", "default", "default+autocast", "max-autotune"],
        help="PyTorch programs at the first micro-batch size (default: eager,default,default+autocast,max-autotune)")
    add("--other-programs", type=names_of(*MODES), default=["eager", "default"], help="PyTorch programs at the other sizes (default: eager,default)")
    add("--quick", action="store_true", help="only micro-batch 32, with eager, default, max-autotune")
    add("--rounds", type=int, default=8, help="turns of each program (default: %(default)s)")
    add("--turn-seconds", type=float, default=1.0, help="length of the slowest program's turn; all take as many steps (default: %(default)s)")
    add("--warmup", type=int, default=3, help="steps before the first turn (default: %(default)s)")
    add("--budget", type=float, default=530, help="seconds in all; what does not fit is left out (default: %(default)s)")
    add("--start-limit", type=float, default=260, help="seconds a program may take to compile and warm up (default: %(default)s)")
    add("--turn-limit", type=float, default=60, help="seconds a turn may take (default: %(default)s)")
    add("--least-seconds", type=float, default=20, help="no group starts with less left (default: %(default)s)")
    add("--json", metavar="FILE", help="also write all figures to FILE, after every group")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.micro_batches, arguments.programs = [32], ["eager", "default", "max-autotune"]
    if not os.access(arguments.binary, os.X_OK):
        parser.error(f"{arguments.binary} is missing: scripts/build.sh makes it")
    arguments.begin = time.monotonic()
    return arguments


def main():
    from bench_gpu_report import report_of, table

    arguments = parse()
    device = find_device(arguments.device)
    if device is None:
        print("bench_gpu.py: no GPU that CUDA can use; --device cpu --shape tiny tries the script without one", file=sys.stderr)
        sys.exit(3)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    atexit.register(lambda: [contestant.close(patience=0.0) for contestant in list(Contestant.alive)])
    # Programs that compile the same kernels share the compiled ones.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(tempfile.gettempdir(), f"ssgpt-inductor-{os.getuid()}"))

    def keep(entries, groups):
        report = report_of(entries, groups, arguments, device)
        if arguments.json:
            pathlib.Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        return report

    report = keep(*benchmark(arguments, device, keep))
    print(table(report))
    if not any("tokens_per_second" in result for result in report["results"]):
        sys.exit("bench_gpu.py: nothing was measured; the table says why")


if __name__ == "__main__":
    main()

"""How far the plan is, and how long the rest takes: the stages' measured minutes, corrected by this machine's speed."""

import json
import sys
import time

LINE_PERIOD = 60.0  # seconds between lines if there is no terminal


def duration(seconds):
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {seconds:02d} s" if minutes < 10 else f"{minutes} min"


def last_step(metrics):
    """The step of the last whole line of metrics.jsonl; 0 if there is none."""
    try:
        with open(metrics, "rb") as file:
            file.seek(max(0, metrics.stat().st_size - 4096))
            lines = file.read().split(b"\n")[:-1]
        return json.loads(lines[-1])["step"] if lines else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


class SweepWatch:
    """The share of a sweep's steps that are done, from the metrics of its runs."""

    def __init__(self, folder, runs):
        self.folder, self.runs = folder, runs  # as `ssgpt sweep --list --json` prints them

    def look(self):
        """(share of all steps, finished runs)."""
        steps = [min(last_step(self.folder / run["name"] / "metrics.jsonl") / run["max_steps"], 1.0) for run in self.runs]
        return sum(steps) / max(len(steps), 1), sum(step >= 1.0 for step in steps)


class Progress:
    """The progress of a whole plan. `minutes`: minutes of each stage; `done`: stages with nothing left to do."""

    def __init__(self, name, stages, done):
        self.name, self.stages, self.done = name, stages, set(done)
        self.total = sum(stage.minutes for stage in stages)
        self.begin = time.monotonic()
        self.began_with = None  # what earlier calls made, known at the first look
        self.on_terminal = sys.stderr.isatty()
        self.last_line = 0.0

    def planned_minutes(self, current, share):
        """Those of the plan's minutes that are done."""
        minutes = sum(stage.minutes for stage in self.stages if stage.name in self.done)
        return minutes + current.minutes * share

    def line(self, current, share, what):
        behind = self.planned_minutes(current, share)
        if self.began_with is None:
            self.began_with = behind
        here = behind - self.began_with  # done by this call
        elapsed = (time.monotonic() - self.begin) / 60.0
        # Half a minute at the planned pace is added: from less than that the pace would not be reliable.
        pace = (elapsed + 0.5) / (here + 0.5)
        number = 1 + self.stages.index(current)
        left = duration(60.0 * pace * (self.total - behind))
        return f"{self.name}: {100.0 * behind / self.total:.0f} %, stage {number} of {len(self.stages)}, {what}, {left} left"

    def show(self, current, share, what):
        now = time.monotonic()
        text = self.line(current, share, what)
        if self.on_terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        elif now - self.last_line >= LINE_PERIOD:
            self.last_line = now
            print(text, file=sys.stderr, flush=True)

    def clear(self):
        if self.on_terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

"""Runs the stages of a plan that are not done, each in a process of its own whose output goes to OUT/log.txt."""

import ctypes
import hashlib
import json
import pathlib
import signal
import subprocess
import sys
import time

from reproduction.plan import BadPlan
from reproduction.progress import Progress, SweepWatch, duration

POLL_SECONDS = 1.0
PR_SET_PDEATHSIG = 1
FAILED_LINES = 12  # of a failed stage's output that are shown


class StageFailed(Exception):
    pass


class Stopped(Exception):
    def __init__(self, number):
        super().__init__(number)
        self.signal = number


def end_with_parent():
    """In the child: it gets SIGTERM when this process ends, however that ends, so that no training outlives a killed call."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Runner:
    def __init__(self, plan):
        self.plan = plan
        self.stopped_by = None

    def mark_path(self, stage):
        return self.plan.out / "marks" / stage.name

    def digests(self):
        """{name: what a stage was made from}: its command, the files that it reads, and the same of the stages that it needs."""
        found = {}
        for stage in self.plan.stages:
            parts = [self.plan.name, stage.command]
            for name in stage.reads:
                parts += [self.contents(path) for path in self.included(self.plan.folder / name)]
            parts += [found[name] for name in stage.needs]
            found[stage.name] = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return found

    @staticmethod
    def contents(path):
        try:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise BadPlan(f"{path}: {error.strerror}") from None

    @staticmethod
    def included(path):
        """The file, and the configs that it names by base: or include:, beside it."""
        files = [path]
        for file in files:
            if not file.is_file() or file.suffix != ".yaml":
                continue
            for line in file.read_text(encoding="utf-8").splitlines():
                key, _, value = line.strip().partition(":")
                other = (file.parent / value.split("#")[0].strip()).resolve()
                if key in ("base", "include") and other.is_file() and other not in files:
                    files.append(other)
        return files

    def is_done(self, stage, digest):
        path = self.mark_path(stage)
        made = all(any(pathlib.Path().glob(self.plan.fill(glob))) for glob in stage.makes)
        return made and path.is_file() and path.read_text(encoding="utf-8").strip() == digest

    def done(self, digests):
        return [stage.name for stage in self.plan.stages if self.is_done(stage, digests[stage.name])]

    def listing(self):
        done = self.done(self.digests())
        width = max(len(stage.name) for stage in self.plan.stages)
        lines = [f"{self.plan.name}, some {sum(stage.minutes for stage in self.plan.stages):.0f} minutes on {self.plan.machine}; results in {self.plan.out}"]
        for stage in self.plan.stages:
            state = "done" if stage.name in done else f"{stage.minutes:g} min"
            lines.append(f"  {stage.name:{width}}  {state:>8}  {stage.title}")
        return "\n".join(lines)

    def run(self):
        """Throws StageFailed, Stopped or BadPlan."""
        (self.plan.out / "marks").mkdir(parents=True, exist_ok=True)
        digests = self.digests()
        done = self.done(digests)
        progress = Progress(self.plan.name, self.plan.stages, done)
        print(self.listing())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.stop)
        for stage in self.plan.stages:
            if stage.name in progress.done:
                continue
            begin = time.monotonic()
            self.run_stage(stage, progress)
            self.mark_path(stage).write_text(digests[stage.name] + "\n", encoding="utf-8")
            progress.done.add(stage.name)
            progress.clear()
            print(f"{stage.title}: {duration(time.monotonic() - begin)}", flush=True)

    def stop(self, number, _frame):
        self.stopped_by = number

    def watch(self, stage):
        """What tells how far a sweep is; none of another stage."""
        if not stage.is_sweep:
            return None
        listed = subprocess.run([*self.plan.words(stage), "--list", "--json"], capture_output=True, text=True, check=False)
        if listed.returncode != 0:
            raise StageFailed(f"{stage.title}: {listed.stderr.strip()}")
        return SweepWatch(self.plan.out / stage.name, json.loads(listed.stdout))

    def run_stage(self, stage, progress):
        watch = self.watch(stage)
        with open(self.plan.out / "log.txt", "a", encoding="utf-8") as log:
            command = self.plan.words(stage)
            print(f"\n== {stage.title}\n$ {' '.join(command)}", file=log, flush=True)
            begin_of_output = log.tell()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, preexec_fn=end_with_parent,
                                       start_new_session=True)
            self.wait(process, stage, watch, progress)
        if process.returncode != 0:
            progress.clear()
            if self.stopped_by:
                raise Stopped(self.stopped_by)
            raise StageFailed(f"{stage.title} ended with exit code {process.returncode}; the end of {self.plan.out}/log.txt:\n{self.tail(begin_of_output)}")
        if missing := [glob for glob in stage.makes if not any(pathlib.Path().glob(self.plan.fill(glob)))]:
            raise StageFailed(f"{stage.title} did not write {', '.join(map(self.plan.fill, missing))}")

    def wait(self, process, stage, watch, progress):
        """Until it ends; a signal to this process goes on to it, once."""
        told = None
        begin = time.monotonic()
        while process.poll() is None:
            if self.stopped_by and not told:
                told = self.stopped_by
                process.send_signal(signal.SIGTERM if told == signal.SIGHUP else told)
            share, what = self.share_of(stage, watch, (time.monotonic() - begin) / 60.0)
            progress.show(stage, share, what)
            time.sleep(POLL_SECONDS)

    @staticmethod
    def share_of(stage, watch, minutes):
        if watch is None:
            return min(minutes / stage.minutes, 1.0), stage.name
        share, finished = watch.look()
        return share, f"{stage.name} ({finished} of {len(watch.runs)} runs)"

    def tail(self, offset):
        text = (self.plan.out / "log.txt").read_text(encoding="utf-8", errors="replace")[offset:]
        return "\n".join(f"  {line}" for line in text.splitlines()[-FAILED_LINES:])

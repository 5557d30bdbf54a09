"""Runs the stages of a plan that are not done, each in its own process, whose output goes to OUT/log.txt."""

import ctypes
import fcntl
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
FAILED_LINES = 12  # of a failed stage's output, which are shown


class StageFailed(Exception):
    pass


class Stopped(Exception):
    def __init__(self, number):
        super().__init__(number)
        self.signal = number


def end_with_parent():
    """In the child: it gets SIGTERM when this process ends, in whatever way, so that no training outlives a killed call."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Runner:
    def __init__(self, plan):
        self.plan = plan
        self.digests = self.find_digests()
        self.signals = []  # received signals that ask for a stop, in order of arrival

    def mark_path(self, stage):
        return self.plan.out / "marks" / stage.name

    def find_digests(self):
        """{name: digest of what a stage is made from}: its command, the files that it reads, and the digests of the stages that it needs."""
        found = {}
        for stage in self.plan.stages:
            parts = [self.plan.name, stage.command]
            for name in stage.reads:
                parts += [self.contents(path) for path in self.included(pathlib.Path(self.plan.fill(name)).resolve())]
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
        """The file, and the configs beside it that it names by base: or include:."""
        files = [path]
        for file in files:
            if not file.is_file() or file.suffix != ".yaml":
                continue
            for line in file.read_text(encoding="utf-8").splitlines():
                key, _, value = line.strip().partition(":")
                other = (file.parent / value.split("#")[0].strip().strip("'\"")).resolve()
                if key in ("base", "include") and other.is_file() and other not in files:
                    files.append(other)
        return files

    def is_done(self, stage):
        path = self.mark_path(stage)
        return not self.plan.missing(stage) and path.is_file() and path.read_text(encoding="utf-8").strip() == self.digests[stage.name]

    def done(self):
        return {stage.name for stage in self.plan.stages if self.is_done(stage)}

    def listing(self):
        done = self.done()
        width = max(len(stage.name) for stage in self.plan.stages)
        lines = [f"{self.plan.name}, some {sum(stage.minutes for stage in self.plan.stages):.0f} minutes on {self.plan.machine}; results in {self.plan.out}"]
        for stage in self.plan.stages:
            state = "done" if stage.name in done else f"{stage.minutes:g} min"
            lines.append(f"  {stage.name:{width}}  {state:>8}  {stage.title}")
        return "\n".join(lines)

    def run(self):
        """Raises StageFailed, Stopped or BadPlan."""
        (self.plan.out / "marks").mkdir(parents=True, exist_ok=True)
        with open(self.plan.out / "lock", "w", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StageFailed(f"another call is working on {self.plan.out}") from None
            earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
            for number, handler in earlier.items():
                if handler != signal.SIG_IGN:  # nohup leaves SIGHUP ignored
                    signal.signal(number, self.stop)
            try:
                self.run_stages()
            finally:
                for number, handler in earlier.items():
                    signal.signal(number, handler)

    def run_stages(self):
        progress = Progress(self.plan.name, self.plan.stages, self.done())
        print(self.listing())
        for stage in self.plan.stages:
            if stage.name in progress.done:
                continue
            self.forget(stage, progress)
            begin = time.monotonic()
            is_whole = self.run_stage(stage, progress)
            if is_whole:
                self.mark_path(stage).write_text(self.digests[stage.name] + "\n", encoding="utf-8")
            progress.done.add(stage.name)
            progress.clear()
            print(f"{stage.title}: {duration(time.monotonic() - begin)}{'' if is_whole else ', with runs that failed (see the log)'}", flush=True)

    def forget(self, stage, progress):
        """Forgets the stages that depend on one that is made again, so that they are made again too."""
        behind = {stage.name}
        for other in self.plan.stages:
            if behind & set(other.needs):
                behind.add(other.name)
        for name in behind:
            (self.plan.out / "marks" / name).unlink(missing_ok=True)
        progress.done -= behind

    def stop(self, number, _frame):
        self.signals.append(number)

    def watch(self, stage):
        """A SweepWatch that follows a sweep; None for other stages."""
        if not stage.is_sweep:
            return None
        listed = subprocess.run([*self.plan.words(stage), "--list", "--json"], capture_output=True, text=True, check=False)
        if listed.returncode != 0:
            raise StageFailed(f"{stage.title}: {listed.stderr.strip()}")
        return SweepWatch(self.plan.out / stage.name, json.loads(listed.stdout))

    def run_stage(self, stage, progress):
        """Returns whether everything was made; if runs of a sweep failed, the others are still made."""
        watch = self.watch(stage)
        command = self.plan.words(stage)
        with open(self.plan.out / "log.txt", "ab") as log:
            log.write(f"\n== {stage.title}\n$ {' '.join(command)}\n".encode())
            log.flush()
            begin_of_output = log.tell()
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, preexec_fn=end_with_parent,
                                       start_new_session=True)
            self.wait(process, stage, watch, progress)
        if self.signals:
            progress.clear()
            raise Stopped(self.signals[0])
        missing = self.plan.missing(stage)
        if process.returncode == 1 and stage.is_sweep and not missing:
            return False
        progress.clear()
        if process.returncode != 0:
            hint = f"; if settings were changed, move {self.plan.out / stage.name} away" if stage.is_sweep and process.returncode == 2 else ""
            raise StageFailed(f"{stage.title} ended with exit code {process.returncode}{hint}; the end of {self.plan.out}/log.txt:\n{self.tail(begin_of_output)}")
        if missing:
            raise StageFailed(f"{stage.title} did not write {', '.join(missing)}")
        return True

    def wait(self, process, stage, watch, progress):
        """Waits until the process ends, and passes on the signals that this process receives."""
        told = 0
        begin = time.monotonic()
        while process.poll() is None:
            for number in self.signals[told:]:
                process.send_signal(number)
            told = len(self.signals)
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
        text = (self.plan.out / "log.txt").read_bytes()[offset:].decode(errors="replace")
        return "\n".join(f"  {line}" for line in text.splitlines()[-FAILED_LINES:])

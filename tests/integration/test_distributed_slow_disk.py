"""How the ranks, and a checkpoint in progress, behave while the disk of rank 0 makes it wait."""

import contextlib
import shutil
import signal
import subprocess
import time

import pytest

from conftest import start_that_becomes_nan
from launchers import start_ranks
from test_distributed_failures import TIMEOUT, ZERO, arguments_of, assert_sound, checkpoints, wait_for_end

# fsync() of a file with $STUCK in its path returns once the file $STUCK_UNTIL exists.
STUCK_FSYNC = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
int fsync(int file) {
  char link[64], path[4096] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  readlink(link, path, sizeof path - 1);
  const char* stuck = getenv("STUCK");
  while (stuck && strstr(path, stuck) && access(getenv("STUCK_UNTIL"), F_OK) != 0) usleep(10000);
  return syscall(SYS_fsync, file);
}
"""
AT_40 = {"train": {"max_steps": 40}}


class StuckDisk:
    """A disk on which the checkpoint of one step does not finish before release(). environment: that of its ranks."""

    def __init__(self, program, step):
        compiler = shutil.which("cc")
        if compiler is None:
            pytest.skip("a slow disk is an LD_PRELOAD library, which takes a C compiler")
        library = program.directory / "stuck_fsync.so"
        subprocess.run([compiler, "-w", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=STUCK_FSYNC, text=True, check=True)
        self._released = program.directory / "released"
        self._name = f"step-{step:08d}"
        self.environment = {"LD_PRELOAD": str(library), "STUCK": self._name, "STUCK_UNTIL": str(self._released)}

    def release(self):
        self._released.touch()

    def saves(self, program, run):
        return any(path.name.startswith(f".{self._name}") for path in (program.directory / run / "checkpoints").glob(".*"))


def names(program, run):
    return [directory.name for directory in checkpoints(program, run)]


def test_a_signal_while_ranks_wait_for_the_last_checkpoint_ends_nobody(program):
    disk = StuckDisk(program, 40)
    with start_ranks(program, "mpirun", 2, arguments_of(program, "run", AT_40), environment=disk.environment) as ranks:
        ranks.wait_until(lambda: disk.saves(program, "run"))
        time.sleep(1)  # rank 1 only has to reach its end
        ranks.signal(signal.SIGUSR1)
        time.sleep(1)
        disk.release()
        assert ranks.wait(30)[0] == [0], ranks.errors()
        assert_sound(program, ranks, "run", tidy=True)


def test_a_checkpoint_that_needs_no_other_rank_is_completed_when_one_dies(program):
    disk = StuckDisk(program, 80)
    with start_ranks(program, "by_hand", 2, arguments_of(program, "run"), environment=disk.environment) as ranks:
        ranks.wait_until(lambda: disk.saves(program, "run"))
        ranks.signal(signal.SIGKILL, rank=1)
        # Rank 1 counts as lost after 3 s (a broken connection) to 0.75 of the timeout, and a hanging main thread has 0.2 of it;
        # the checkpoint has a whole timeout.
        time.sleep(0.95 * TIMEOUT + 1.5)
        assert ranks.processes[0].poll() is None, ranks.errors()
        disk.release()
        codes, errors = ranks.wait(5)
        assert codes == [1, -signal.SIGKILL]
        assert "Rank 1 is lost" in errors[0]
        assert names(program, "run")[-1] == "step-00000080"
        assert_sound(program, ranks, "run", tidy=True)


def test_a_checkpoint_that_never_ends_does_not_keep_a_process(program):
    disk = StuckDisk(program, 80)
    short = {"parallel": {"timeout_s": 4}}
    with start_ranks(program, "by_hand", 2, arguments_of(program, "run", short), environment=disk.environment) as ranks:
        ranks.wait_until(lambda: disk.saves(program, "run"))
        ranks.signal(signal.SIGKILL, rank=1)
        assert wait_for_end(ranks, [0], (0.75 + 1) * 4 + 4) > 4
        assert ranks.processes[0].returncode == 1 and "Rank 1 is lost" in ranks.errors()[0]
        disk.release()
        assert_sound(program, ranks, "run")


def test_the_death_of_rank_0_in_the_last_checkpoint_is_told_by_who_waits_for_it(program):
    disk = StuckDisk(program, 40)
    with start_ranks(program, "by_hand", 2, arguments_of(program, "run", AT_40), environment=disk.environment) as ranks:
        ranks.wait_until(lambda: disk.saves(program, "run"))
        time.sleep(1)  # rank 1 only has to reach its end
        ranks.signal(signal.SIGKILL, rank=0)
        codes, errors = ranks.wait(TIMEOUT + 2)
        assert codes == [-signal.SIGKILL, 1]
        assert "Rank 0 " in errors[1] and "does not answer" in errors[1], errors
        assert names(program, "run") == []


def test_an_error_of_all_ranks_is_said_once_and_after_the_checkpoint_under_way(program):
    bad = start_that_becomes_nan(program)
    every = {"checkpoint": {"every": 1, "keep_last": 50}, "parallel": {"timeout_s": TIMEOUT}}
    arguments = {name: ["train", "--config", program.config(every, change, name=f"{name}.json"), "--init-from", bad, "--run-dir", name]
                 for name, change in (("learns", {}), ("plain", {}), ("zero", ZERO))}
    with start_ranks(program, "by_hand", 2, arguments["learns"]) as ranks:
        assert ranks.wait(60)[0] == [1, 1]
    saved = names(program, "learns")
    disk = StuckDisk(program, len(saved) - 1)  # of the step before the bad one
    with contextlib.ExitStack() as stack:
        started = {name: stack.enter_context(start_ranks(program, "by_hand", 2, arguments[name], environment=disk.environment))
                   for name in ("plain", "zero")}
        for name, ranks in started.items():
            ranks.wait_until(lambda name=name: disk.saves(program, name))
        time.sleep(3)
        for ranks in started.values():
            assert all(process.poll() is None for process in ranks.processes), ranks.errors()
        disk.release()
        for name, ranks in started.items():
            codes, errors = ranks.wait(20)
            assert codes == [1, 1]
            assert errors[0].count("is not finite") == 1 and errors[1] == "", errors
            assert names(program, name) == saved

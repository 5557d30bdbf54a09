"""Starts the program as several ranks, in the ways that people do, and leaves no process behind.

    with start_ranks(program, "torchrun", 2, ["train", "--config", config, "--run-dir", "run"]) as ranks:
        ranks.signal(signal.SIGTERM)
        codes, errors = ranks.wait(60)

`how` is one of

- "torchrun": `.venv/bin/torchrun --no-python`; one process, the launcher, which exits 1 when a rank fails;
- "mpirun": Open MPI's; one process, the launcher, whose exit code is that of the first rank that failed;
- "slurm": a process per rank, with the variables that srun sets;
- "by_hand": a process per rank, with the variables that torchrun sets, without its agent.

Every start has its own port, so that tests may run beside each other, and one thread per rank.
"""

import contextlib
import itertools
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time
import uuid

from conftest import BINARY, ROOT

TORCHRUN = ROOT / ".venv" / "bin" / "torchrun"
RANK_VARIABLES = {"torchrun": "RANK", "by_hand": "RANK", "mpirun": "OMPI_COMM_WORLD_RANK", "slurm": "SLURM_PROCID"}
MARK = "SSGPT_TEST_RANKS"  # set for all processes of one start, since launchers put ranks into process groups of their own
_numbers = itertools.count()
_reservations = []  # kept until this process ends


def free_port():
    """A port below the range from which the system serves connections, so that none of those takes it meanwhile. Before a rank
    uses it, a test in another process may look for a port as well: an abstract socket, whose name only one process can hold,
    reserves it for this one."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0ssgpt-test-port-{port}")
            with socket.socket() as taken:
                taken.bind(("", port))
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        return port


def start_ranks(program, how, count, arguments, environment=None, per_rank=None, launcher_options=()):
    """Starts `count` ranks with these arguments of the binary, in program's directory.

    environment: variables for all ranks, over program's. per_rank, for "slurm" and "by_hand" only: settings of single ranks, {1:
    {"arguments": [additional ones], "binary": path, "environment": {...}}}. launcher_options: those of torchrun or mpirun.
    Returns Ranks, a context manager."""
    return Ranks(program, how, count, arguments, environment or {}, per_rank or {}, list(launcher_options))


def run_ranks(program, how, count, arguments, code=0, timeout=120, **options):
    """Runs ranks to their end; every process must exit with `code`, and none may be left. Returns what each wrote to stdout and
    to stderr."""
    with start_ranks(program, how, count, arguments, **options) as ranks:
        codes, errors = ranks.wait(timeout)
        assert codes == [code] * len(codes), f"exit codes {codes}, expected {code}\n" + "\n".join(errors)
        assert ranks.alive() == []
        return ranks.outputs(), errors


class Ranks:
    """The processes of one start.

    processes: Popen, each with its own process group: one per rank, or the launcher alone. port: that of the store."""

    def __init__(self, program, how, count, arguments, environment, per_rank, launcher_options):
        self.how = how
        self.port = free_port()
        self.processes = []
        self._mark = f"{MARK}={uuid.uuid4()}"
        self._logs = pathlib.Path(program.directory) / f"ranks-{next(_numbers)}"
        self._logs.mkdir()
        launched = how in ("torchrun", "mpirun")
        assert launched or how in ("slurm", "by_hand"), how
        assert not (launched and per_rank) and not (launcher_options and not launched)
        # MASTER_ADDR is mpirun's own default on one machine, and torchrun sets it.
        common = {**program.environment, "OMP_NUM_THREADS": "1", "MASTER_PORT": str(self.port), **environment}
        common.update([self._mark.split("=")])
        commands = {
            "torchrun": [TORCHRUN, "--no-python", "--nproc-per-node", count, "--master-addr", "127.0.0.1",
                         "--master-port", self.port, *launcher_options],
            "mpirun": ["mpirun", "-np", count, "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", *launcher_options],
        }
        try:
            if launched:
                self._start([*commands[how], BINARY, *arguments], common, program.directory)
            else:
                for rank in range(count):
                    own = per_rank.get(rank, {})
                    variables = {**common, **rank_variables(how, rank, count, self.port), **own.get("environment", {})}
                    command = [own.get("binary", BINARY), *arguments, *own.get("arguments", [])]
                    self._start(command, variables, program.directory)
        except BaseException:
            self.kill()
            raise

    def _start(self, command, environment, directory):
        number = len(self.processes)
        with open(self._logs / f"{number}.out", "wb") as out, open(self._logs / f"{number}.err", "wb") as err:
            self.processes.append(subprocess.Popen(
                list(map(str, command)), cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                start_new_session=True))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.kill()

    def _texts(self, kind):
        return [(self._logs / f"{i}.{kind}").read_text(errors="replace") for i in range(len(self.processes))]

    def outputs(self):
        """What each process has written to stdout; the launcher's output includes that of all ranks."""
        return self._texts("out")

    def errors(self):
        """What each process has written to stderr."""
        return self._texts("err")

    def wait(self, timeout):
        """Waits for all processes, `timeout` seconds in all. Returns their exit codes, as a shell reports them except for signals
        (-9: killed by SIGKILL), and what each wrote to stderr."""
        end = time.monotonic() + timeout
        for process in self.processes:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise AssertionError(f"still running after {timeout} s: {self.alive()}\n" + "\n".join(self.errors())) from None
        return [process.returncode for process in self.processes], self.errors()

    def wait_until(self, condition, timeout=60):
        """Waits until `condition()` holds, while all processes are alive."""
        end = time.monotonic() + timeout
        while not condition():
            ended = [process.returncode for process in self.processes if process.poll() is not None]
            assert not ended, f"ended with {ended} too early\n" + "\n".join(self.errors())
            assert time.monotonic() < end, f"did not come within {timeout} s\n" + "\n".join(self.errors())
            time.sleep(0.01)

    def alive(self):
        """Ids of all living processes of this start, including the launcher and its children."""
        return [int(path.name) for path in pathlib.Path("/proc").iterdir() if path.name.isdigit() and self._is_ours(path)]

    def _is_ours(self, path):
        try:  # a zombie has no environment any more
            return self._mark.encode() in (path / "environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def pid(self, rank):
        """The process id of a living rank; under a launcher that of its child."""
        end = time.monotonic() + 2  # while a process starts, it has no environment for a moment
        while True:
            for candidate in self.alive():
                with contextlib.suppress(OSError):
                    process = pathlib.Path(f"/proc/{candidate}")
                    variables = (process / "environ").read_bytes().split(b"\0")
                    if f"{RANK_VARIABLES[self.how]}={rank}".encode() in variables:
                        return candidate
            assert time.monotonic() < end, f"no process of rank {rank}\n" + "\n".join(self.errors())
            time.sleep(0.01)

    def signal(self, number, rank=None):
        """Signals one rank, or without `rank` all of `processes`, which is the launcher if there is one."""
        if rank is not None:
            os.kill(self.pid(rank), number)
        else:
            for process in self.processes:
                process.send_signal(number)

    def has_taken_signals(self, rank):
        """Whether no signal to the rank is pending any more. Of two equal pending signals the system keeps only one."""
        status = pathlib.Path(f"/proc/{self.pid(rank)}/status").read_text()
        return all(int(mask, 16) == 0 for mask in re.findall(r"^(?:SigPnd|ShdPnd):\s*(\S+)$", status, re.M))

    def kill(self):
        """Kills whatever is left, including stopped processes."""
        while left := self.alive():
            for candidate in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(candidate, signal.SIGKILL)
            time.sleep(0.01)
        for process in self.processes:
            process.wait()


def rank_variables(how, rank, count, port):
    """The variables that srun or torchrun sets for a rank, with all ranks on this machine."""
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if how == "slurm":
        return {**address, "SLURM_PROCID": str(rank), "SLURM_NTASKS": str(count), "SLURM_LOCALID": str(rank),
                "SLURM_JOB_ID": "1", "SLURM_STEP_ID": "0"}
    return {**address, "RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(count)}


def overwrite_memory(pid, sought, written):
    """Overwrites every place in a process's writable memory that holds the bytes `sought`. Returns how many."""
    found = 0
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        for line in maps:
            bounds, permissions = line.split()[:2]
            if not permissions.startswith("rw"):
                continue
            begin, end = (int(bound, 16) for bound in bounds.split("-"))
            memory.seek(begin)
            try:
                held = memory.read(end - begin)
            except OSError:  # the kernel's pages
                continue
            at = held.find(sought)
            while at >= 0:
                memory.seek(begin + at)
                memory.write(written)
                found += 1
                at = held.find(sought, at + len(sought))
    return found

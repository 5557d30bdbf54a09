"""What training shows on a terminal: a line that is redrawn in place, below the lines of the log that stay. Read through a
pseudo-terminal."""

import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from fcntl import ioctl

import pytest

from conftest import BINARY, read_metrics, wait_for
from launchers import free_port

LONG = {"train": {"max_steps": 1500}, "log": {"every": 10}, "checkpoint": {"every": 100, "keep_last": 2}}
ENDLESS = {"train": {"max_steps": 10_000_000}, "log": {"every": 10}}
CLEAR = "\x1b[K"


STARTED = []


@pytest.fixture(autouse=True)
def _nothing_stays():
    """Some of these trainings have no end of their own, so a failed test must kill them."""
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.wait()


class Terminal:
    """The program with stderr on a terminal with the given number of columns."""

    def __init__(self, program, columns, *arguments, **environment):
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen([str(BINARY), *map(str, arguments)], cwd=program.directory, stderr=slave,
                                        env={**program.environment, "TERM": "xterm", **environment}, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL)
        STARTED.append(self.process)
        os.close(slave)
        self.output = ""

    def read_until(self, text):
        while text not in self.output:
            assert self._read(), f"the output ended without {text!r}:\n{self.output}"

    def finish(self, code):
        while self._read():
            pass
        os.close(self.master)
        ended = self.process.wait(timeout=60)
        assert code is None or ended == code
        return self.output

    def _read(self):
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the other side is closed completely
            return False
        self.output += data.decode()
        return bool(data)


def screen(output):
    """The lines that such output leaves on an infinitely wide terminal: \\r goes to the first column, CLEAR removes what is right
    of the cursor, colours have no width."""
    lines, line, column = [], "", 0
    for part in re.findall(r"\x1b\[K|\x1b\[[0-9;]*m|.", output, re.DOTALL):
        if part == "\r":
            column = 0
        elif part == "\n":
            lines.append(line)
            line, column = "", 0
        elif part == CLEAR:
            line = line[:column]
        elif not part.startswith("\x1b"):
            line = line[:column] + part + line[column + 1 :]
            column += 1
    return [*lines, line]


def redrawn(output):
    """The texts that were on the redrawn line."""
    return re.findall(r"\r(step [^\r\n\x1b]*)" + re.escape(CLEAR), output)


def messages(lines, stamp):
    """The lines without the time in front, which every line must have."""
    for line in lines:
        assert re.match(stamp, line), repr(line)
    return [re.sub(stamp, "", line) for line in lines]


def logged(run_directory):
    lines = (run_directory / "log.txt").read_text().splitlines()
    return messages([line for line in lines if not line.startswith("  ")], r"\d{4}-\d\d-\d\dT[\d:.+-]+ ")


def shown(output):
    """What stays on the screen, line by line, without the table at the start."""
    lines = screen(output)
    assert lines[-1] == "", "the line that is redrawn is left behind"
    return messages([line for line in lines[:-1] if not line.startswith("  ")], r"\d\d:\d\d:\d\d ")


@pytest.mark.parametrize("columns", [200, 40])
def test_a_line_is_redrawn_and_lines_of_the_log_stay_whole(program, columns):
    output = Terminal(program, columns, "train", "--config", program.config(LONG), "--run-dir", "run").finish(code=0)
    texts = redrawn(output)
    assert texts and all(len(text) < columns for text in texts)
    if columns == 200:
        for word in ("tok/s", "ETA", "loss", "smooth", "lr", "grad"):
            assert any(word in text for text in texts), word
    else:
        assert any(len(text) == columns - 1 for text in texts)  # cut
    log = logged(program.directory / "run")
    assert [line.split("/")[0].split()[1] for line in log if line.startswith("step ")] == [str(i) for i in range(10, 1501, 10)]
    stay = shown(output)
    remaining = iter(log)
    assert all(line in remaining for line in stay if line in log or line.startswith("step "))  # in order, and whole
    assert [line for line in log if not line.startswith("step ") and line not in stay] == []
    # A line stays if a checkpoint is saved, as does the last one; between them ten seconds pass.
    steps = [int(line.split("/")[0].split()[1]) for line in stay if line.startswith("step ")]
    assert set(range(100, 1501, 100)) <= set(steps) and len(steps) < 150


def test_validation_stays_on_the_terminal(program):
    changes = [{"train": {"max_steps": 20}, "data": {"validation": [str(program.directory / "validation.bin")]}, "evaluate": {"every": 5}}]
    output = Terminal(program, 200, "train", "--config", program.config(*changes), "--run-dir", "run").finish(code=0)
    steps = [int(line.split("/")[0].split()[1]) for line in shown(output) if "validation" in line and line.startswith("step ")]
    assert steps == [5, 10, 15, 20]


def test_a_stop_leaves_the_terminal_clean(program):
    terminal = Terminal(program, 100, "train", "--config", program.config(ENDLESS), "--run-dir", "run")
    terminal.read_until("\rstep ")
    terminal.process.send_signal(signal.SIGTERM)
    lines = shown(terminal.finish(code=128 + signal.SIGTERM))
    assert lines[-1].startswith("Stopped by signal 15")


def test_a_second_signal_leaves_the_terminal_clean(program):
    """The save that the first signal asks for is not waited for."""
    terminal = Terminal(program, 100, "train", "--config", program.config(ENDLESS), "--run-dir", "run")
    terminal.read_until("\rstep ")
    terminal.process.send_signal(signal.SIGSTOP)  # both arrive before it can end by the first
    terminal.process.send_signal(signal.SIGTERM)
    terminal.process.send_signal(signal.SIGINT)
    terminal.process.send_signal(signal.SIGCONT)
    output = terminal.finish(code=None)
    assert terminal.process.returncode in (128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert screen(output)[-1] == ""


def test_a_terminal_that_goes_away_ends_nothing(program):
    """As when a window is closed after a run was started with setsid."""
    terminal = Terminal(program, 100, "train", "--config", program.config(ENDLESS), "--run-dir", "run")
    terminal.read_until("\rstep ")
    lines = lambda: len(read_metrics(program.directory / "run"))
    before = lines()
    os.close(terminal.master)
    time.sleep(1)  # a few redraws, and a few hundred lines
    wait_for(lambda: lines() > before + 10, terminal.process)
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(timeout=60) == 128 + signal.SIGTERM


def test_an_error_leaves_the_terminal_clean(program):
    """With a learning rate far too high the loss rises by more than a nat, once there are enough lines for the smoothed one."""
    change = {"train": {"on_spike": "stop", "max_steps": 2000}, "optimizer": {"lr": 50.0, "schedule": {"warmup_steps": 200}}, "log": {"every": 1}}
    terminal = Terminal(program, 100, "train", "--config", program.config(change), "--run-dir", "run")
    lines = shown(terminal.finish(code=1))
    assert lines[-1].startswith("error: Step ")


def test_other_ranks_draw_nothing(program):
    config = program.config({"train": {"max_steps": 40}})
    ranks = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    terminals = [Terminal(program, 100, "train", "--config", config, "--run-dir", "run", RANK=str(rank), LOCAL_RANK=str(rank), **ranks)
                 for rank in range(2)]
    outputs = [terminal.finish(code=0) for terminal in terminals]
    assert redrawn(outputs[0])
    assert outputs[1] == ""


def test_elsewhere_each_line_is_written_once(program):
    _, err = program.train("--run-dir", "run", changes=[{"train": {"max_steps": 30}}])
    assert "\r" not in err and "\x1b" not in err
    lines = messages([line for line in err.splitlines() if not line.startswith("  ")], r"\d\d:\d\d:\d\d ")
    assert lines == logged(program.directory / "run")
    assert sum(line.startswith("step ") for line in lines) == 30 == len(read_metrics(program.directory / "run"))


@pytest.mark.parametrize("variables", [{}, {"COLORTERM": "truecolor"}])
def test_a_dumb_terminal_gets_plain_lines(program, variables):
    terminal = Terminal(program, 100, "train", "--config", program.config(ENDLESS), "--run-dir", "run", TERM="dumb", **variables)
    terminal.read_until("step ")
    terminal.process.send_signal(signal.SIGTERM)
    output = terminal.finish(code=128 + signal.SIGTERM)
    assert "\x1b" not in output and output.count("\r") == output.count("\r\n")
    failed = Terminal(program, 100, "inspect", "absent", TERM="dumb", **variables)
    assert "error: absent" in failed.finish(code=3) and "\x1b" not in failed.output

"""Strangers that reach the ranks' store can end a run, but not change what it computes: the losses of a run that ends are those
of an undisturbed one, bit for bit (fp32 on the same ranks), and a run that was ended resumes to them."""

import contextlib
import json
import pathlib
import random
import signal
import socket
import time
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from conftest import make_program, read_metrics, without_timing
from launchers import free_port, run_ranks, start_ranks

STEPS = 250
RUN = {
    "train": {"max_steps": STEPS, "global_batch_size": 12, "micro_batch_size": 6},
    "checkpoint": {"every": 100, "keep_last": 9},
    "log": {"every": 1},
    "parallel": {"timeout_s": 10, "zero_stage": 1},
}


def arguments_of(program, run, *changes):
    return ["train", "--config", program.config(RUN, *changes, name=f"{run}.json"), "--run-dir", run]


@pytest.fixture(scope="module")
def undisturbed(made_once, tmp_path_factory):
    """The program, and the metrics of an undisturbed run."""

    def make(folder):
        program = make_program(folder)
        run_ranks(program, "by_hand", 2, arguments_of(program, "alone"))

    alone = made_once("undisturbed", make) / "alone"
    return make_program(tmp_path_factory.mktemp("strangers")), without_timing(read_metrics(alone))


def listening_addresses(pid):
    """{(address in hexadecimal as the system shows it, port)} of the sockets that a process listens on."""
    inodes = set()
    for link in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in pathlib.Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found


def has_steps(program, run, count):
    metrics = program.directory / run / "metrics.jsonl"
    return metrics.exists() and metrics.read_bytes().count(b"\n") >= count


def stranger(port):
    return TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=20))


def assert_right_result(program, run, codes, expected):
    """What the run has is right; it ended normally or can be resumed to its end."""
    done = without_timing(read_metrics(program.directory / run))
    assert done == expected[: len(done)]
    if 0 in codes:  # a rank whose farewell was disturbed may still fail after the last step
        assert len(done) == len(expected)
    else:
        run_ranks(program, "by_hand", 2, [*arguments_of(program, run), "--resume", "auto"])
        assert without_timing(read_metrics(program.directory / run)) == expected


def test_store_listens_where_the_others_are_told_to_look(undisturbed):
    program, _ = undisturbed
    with start_ranks(program, "by_hand", 2, arguments_of(program, "listens")) as ranks:
        ranks.wait_until(lambda: has_steps(program, "listens", 1))
        ranks.signal(signal.SIGSTOP, rank=1)
        listening = listening_addresses(ranks.pid(0))
        assert ("0100007F", ranks.port) in listening  # 127.0.0.1
        assert {address for address, _ in listening} == {"0100007F"}  # Gloo's as well


def test_strange_bytes_change_nothing(undisturbed):
    """At the port of the store, and at those of the engine."""
    program, expected = undisturbed
    noise = random.Random(3)
    messages = [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 64, b"\xff" * 64, *(noise.randbytes(200) for _ in range(8))]
    connections = []
    with start_ranks(program, "by_hand", 2, arguments_of(program, "noise")) as ranks:
        ranks.wait_until(lambda: has_steps(program, "noise", 1))
        ranks.signal(signal.SIGSTOP, rank=1)
        ports = {port for rank in (0, 1) for _, port in listening_addresses(ranks.pid(rank))}
        assert ranks.port in ports
        for port in sorted(ports):
            for message in messages:
                with contextlib.suppress(OSError):
                    connections.append(socket.create_connection(("127.0.0.1", port), timeout=5))
                    connections[-1].sendall(message)
        assert connections
        ranks.signal(signal.SIGCONT, rank=1)
        codes, _ = ranks.wait(60)
    assert_right_result(program, "noise", codes, expected)


@pytest.mark.parametrize("family, how", [*((family, "set") for family in ("stop", "beat", "failure", "left", "checkpoint", "engine")),
                                         ("everything", "set"), ("everything", "delete")])
def test_keys_written_by_a_stranger_change_no_result(undisturbed, family, how):
    program, expected = undisturbed
    run = f"{family}-{how}"
    with start_ranks(program, "by_hand", 2, arguments_of(program, run)) as ranks:
        ranks.wait_until(lambda: has_steps(program, run, 3))
        ranks.signal(signal.SIGSTOP, rank=1)  # nobody reaches the end meanwhile
        store = stranger(ranks.port)
        known = [key for key in store.list_keys() if "ssgpt" in key]
        space = next(key for key in known if key.endswith("/run/beat/0")).removesuffix("beat/0").removeprefix("/")
        names = {
            "stop": ["stop"],
            "beat": ["beat/0", "beat/1"],
            "failure": ["failure"],
            "left": ["left", "failure/seen"],
            "checkpoint": [f"exchange/checkpoint/{n}/{name}" for n in range(1, 5) for name in ("temporary/0", "digest/1")],
            "engine": [key.removeprefix("/").removeprefix(space) for key in known if "/exchange/" not in key],
            "everything": [key.removeprefix("/").removeprefix(space) for key in known],
        }[family]
        assert names
        for times in range(4):
            with contextlib.suppress(Exception if times > 0 else ()):  # later the store may be gone with the run
                for name in names:
                    if how == "delete":
                        store.delete_key(space + name)
                    else:
                        store.set(space + name, "\x1b[31mnonsense/../..")
            if times == 0:
                ranks.signal(signal.SIGCONT, rank=1)
            time.sleep(0.05)
        codes, errors = ranks.wait(60)
        assert not any("\x1b" in error for error in errors)
    assert_right_result(program, run, codes, expected)


def test_terms_that_a_stranger_changed_are_found(undisturbed):
    """Rank 1 reads another dtype than rank 0 chose; what each would show the other through the store is the same."""
    program, _ = undisturbed
    arguments = arguments_of(program, "forged", {"train": {"dtype": "auto"}})
    with start_ranks(program, "by_hand", 2, arguments) as ranks:
        ranks.signal(signal.SIGSTOP, rank=1)
        store = stranger_of_a_started_store(ranks)
        ranks.signal(signal.SIGCONT, rank=1)
        wait_for_key(store, "/exchange/host/1")
        ranks.signal(signal.SIGSTOP, rank=1)
        key = wait_for_key(store, "/exchange/terms/0")
        terms = json.loads(store.get(key))
        held = "float32" if "dtype: float32" in terms["config"] else "bfloat16"
        other = {"float32": "bfloat16", "bfloat16": "float32"}[held]
        terms["config"] = terms["config"].replace(f"dtype: {held}", f"dtype: {other}")
        store.set(key, json.dumps(terms))
        ranks.signal(signal.SIGCONT, rank=1)
        codes, errors = ranks.wait(60)
    assert codes == [1, 1]
    assert "begins by other terms" in errors[0]
    assert not (program.directory / "forged").exists()


def stranger_of_a_started_store(ranks):
    def accepts():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", ranks.port), timeout=1):
            return True
        return False

    ranks.wait_until(accepts)
    return stranger(ranks.port)


def wait_for_key(store, end, seconds=30):
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        for key in store.list_keys():
            if key.endswith(end):
                return key.removeprefix("/")
    raise AssertionError(f"no key ...{end}: {store.list_keys()}")

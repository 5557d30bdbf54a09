"""Two machines, as network namespaces connected by a cable, with one rank each. They share the file system, like nodes of a
cluster."""

import os
import shutil
import subprocess
import time

import pytest

from conftest import BINARY, read_metrics, without_timing
from launchers import start_ranks

TIMEOUT_S = 8


def ip(*arguments):
    return subprocess.run(["ip", *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def may_make_hosts():
    name = f"ssgpt-{os.getpid()}"
    try:
        ip("netns", "add", name)
        ip("netns", "delete", name)
        return True
    except (OSError, subprocess.CalledProcessError):
        return False


pytestmark = pytest.mark.skipif(not may_make_hosts(), reason="needs ip of iproute2 and the right to make network namespaces")


@pytest.fixture
def hosts(program):
    """The names of two hosts, 10.9.0.1 and 10.9.0.2, and for each a program that starts the binary on it."""
    names = [f"ssgpt-{os.getpid()}-{i}" for i in range(2)]
    cables = [f"v{os.getpid() % 100000}-{i}" for i in range(2)]
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", cables[0], "netns", names[0], "type", "veth", "peer", "name", cables[1], "netns", names[1])
        starters = []
        for i, name in enumerate(names):
            ip("-n", name, "addr", "add", f"10.9.0.{i + 1}/24", "dev", cables[i])
            ip("-n", name, "link", "set", cables[i], "up")
            starter = program.directory / f"host{i}"
            starter.write_text(f'#!/bin/sh\nexec {shutil.which("ip")} netns exec {name} {BINARY} "$@"\n')
            starter.chmod(0o755)
            starters.append(starter)
        yield names, cables, starters
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def start(program, starters, run, *changes):
    own = {
        rank: {"binary": starter, "environment": {"MASTER_ADDR": "10.9.0.1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}}
        for rank, starter in enumerate(starters)
    }
    config = program.config({"parallel": {"timeout_s": TIMEOUT_S}}, *changes, name=f"{run}.json")
    return start_ranks(program, "by_hand", 2, ["train", "--config", config, "--run-dir", run], per_rank=own)


def test_two_hosts_train_as_two_ranks_of_one_do(program, hosts):
    _, _, starters = hosts
    with start(program, starters, "hosts") as ranks:
        codes, errors = ranks.wait(60)
    assert codes == [0, 0], errors
    assert errors[1] == ""
    config = program.config(name="local.json")
    with start_ranks(program, "by_hand", 2, ["train", "--config", config, "--run-dir", "local"]) as ranks:
        assert ranks.wait(60)[0] == [0, 0]
    assert without_timing(read_metrics(program.directory / "hosts")) == without_timing(read_metrics(program.directory / "local"))


def test_a_cable_that_is_pulled_ends_both_within_the_timeout(program, hosts):
    names, cables, starters = hosts
    metrics = program.directory / "cut" / "metrics.jsonl"
    with start(program, starters, "cut", {"train": {"max_steps": 10**6}, "checkpoint": {"every": 50}}) as ranks:
        ranks.wait_until(lambda: metrics.exists() and metrics.read_text().count("\n") > 60)
        ip("-n", names[1], "link", "set", cables[1], "down")
        begin = time.monotonic()
        codes, errors = ranks.wait(3 * TIMEOUT_S)
        seconds = time.monotonic() - begin
    assert codes == [1, 1], errors
    # The timeout counts from the last heartbeat received, up to a period (0.5 s) before; two seconds for a busy machine.
    assert seconds < TIMEOUT_S + 2.5, errors
    assert "Rank 1 is lost" in errors[0], errors[0]
    assert "10.9.0.1" in errors[1], errors[1]
    program.run("inspect", program.directory / "cut")

"""Ranks that die, hang, disagree or cannot start: the others end in time and say which rank and why, no process is left, and the
checkpoints are intact."""

import contextlib
import json
import re
import signal
import socket
import threading
import time

import numpy as np
import pytest

from conftest import BINARY, LENGTH, VOCAB, read_metrics, start_that_becomes_nan, write_shard
from launchers import start_ranks

TIMEOUT = 8  # parallel.timeout_s
# A rank counts as lost after 0.75 of the timeout, and a hanging main thread has 0.2 more: 7.6 s. A rank's heartbeat, what
# rank 0 learns and what the others learn from it are up to half a second old each; the rest is for two busy cores.
IN_TIME = 0.95 * TIMEOUT + 3 * 0.5 + 2

# 12 sequences divide among 1, 2 and 3 ranks. Training would take minutes.
LONG = {
    "train": {"max_steps": 100000, "global_batch_size": 12, "micro_batch_size": 2},
    "checkpoint": {"every": 40, "keep_last": 2},
    "log": {"every": 20},
    "parallel": {"timeout_s": TIMEOUT},
}
ZERO = {"parallel": {"zero_stage": 1}}


def arguments_of(program, run, *changes):
    return ["train", "--config", program.config(LONG, *changes, name=f"{run}.json"), "--run-dir", run]


def checkpoints(program, run):
    return sorted((program.directory / run / "checkpoints").glob("step-*"))


def has_checkpoint(program, run):
    return any((directory / "manifest.json").exists() for directory in checkpoints(program, run))


def log_of(program, run):
    return (program.directory / run / "log.txt").read_text()


def assert_sound(program, ranks, run, tidy=False):
    """No process is left; whatever has a checkpoint's name is one; the newest can be resumed in one process. tidy: nothing else
    is left among the checkpoints, either."""
    assert ranks.alive() == []
    found = checkpoints(program, run)
    assert found and all((directory / "manifest.json").exists() for directory in found)
    if tidy:
        assert sorted((program.directory / run / "checkpoints").iterdir()) == found
    program.run("inspect", found[-1])
    step = int(found[-1].name.removeprefix("step-"))
    program.run("train", "--config", f"{run}.json", "--run-dir", run, "--resume", "auto", "--set", f"train.max_steps={step + 2}")
    assert read_metrics(program.directory / run)[-1]["step"] == step + 2


def wait_for_end(ranks, numbers, timeout):
    """Waits for these processes. Returns the seconds that it took."""
    begin = time.monotonic()
    for number in numbers:
        ranks.processes[number].wait(max(0.1, begin + timeout - time.monotonic()))
    return time.monotonic() - begin


def test_ranks_end_within_seconds_when_one_is_killed(program):
    cases = [(2, 0), (3, 0), (3, 1)]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(start_ranks(program, "by_hand", count, arguments_of(program, f"run{i}")))
                   for i, (count, _) in enumerate(cases)]
        for i, ranks in enumerate(started):
            ranks.wait_until(lambda i=i: has_checkpoint(program, f"run{i}"))
        for (_, victim), ranks in zip(cases, started):
            ranks.signal(signal.SIGKILL, rank=victim)
        begin = time.monotonic()
        for (count, victim), ranks in zip(cases, started):
            codes, errors = ranks.wait(IN_TIME)
            assert codes == [-signal.SIGKILL if rank == victim else 1 for rank in range(count)]
            if victim == 0:
                assert all(re.search(r"error: \[rank \d\] Rank 0 .*does not answer", error) for error in errors[1:]), errors
            else:
                assert "error: Rank 1 is lost" in errors[0]
                assert errors[1:] == [""] * (count - 1)  # rank 0 speaks for the others
        # A broken connection shortens the limit to 3 s of silence. Gloo sometimes misses one while it sends; then only silence
        # shows it, as for a rank that hangs.
        assert time.monotonic() - begin < IN_TIME
        assert "[rank 2] Rank 1 is lost" in log_of(program, "run2")
        for i, ranks in enumerate(started):
            assert_sound(program, ranks, f"run{i}")


@pytest.mark.parametrize("how", ["torchrun", "mpirun"])
def test_launchers_end_when_a_rank_is_killed(program, how):
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(start_ranks(program, how, 2, arguments_of(program, f"run{victim}"))) for victim in (0, 1)]
        for victim, ranks in enumerate(started):
            ranks.wait_until(lambda run=f"run{victim}": has_checkpoint(program, run))
        for victim, ranks in enumerate(started):
            ranks.signal(signal.SIGKILL, rank=victim)
        begin = time.monotonic()
        for victim, ranks in enumerate(started):
            (code,), (error,) = ranks.wait(IN_TIME + 3)  # Python takes time to exit
            assert code != 0
            # The launcher itself names the rank; it ends the other ranks, some before they can report.
            named = {"torchrun": rf"rank\s*: {victim} \(local_rank: {victim}\)\s+exitcode\s*: -9",
                     "mpirun": rf"process rank {victim} .* exited on signal 9"}[how]
            assert re.search(named, error), error
        assert time.monotonic() - begin < IN_TIME + 3
        for victim, ranks in enumerate(started):
            assert_sound(program, ranks, f"run{victim}")


def test_ranks_end_in_time_when_one_stands_still(program):
    cases = [(2, 1), (3, 0), (2, 0)]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(start_ranks(program, "by_hand", count, arguments_of(program, f"run{i}", change)))
                   for i, ((count, _), change) in enumerate(zip(cases, [{}, {}, ZERO]))]
        for i, ranks in enumerate(started):
            ranks.wait_until(lambda i=i: has_checkpoint(program, f"run{i}"))
        for (_, victim), ranks in zip(cases, started):
            ranks.signal(signal.SIGSTOP, rank=victim)
        begin = time.monotonic()
        for (count, victim), ranks in zip(cases, started):
            others = [rank for rank in range(count) if rank != victim]
            wait_for_end(ranks, others, begin + IN_TIME - time.monotonic())
            assert [ranks.processes[rank].returncode for rank in others] == [1] * len(others)
            for rank in others:
                assert re.search(r"error: Rank 1 is lost" if victim == 1 else
                                 rf"error: \[rank {rank}\] Rank 0 .*does not answer", ranks.errors()[rank]), ranks.errors()
            assert ranks.processes[victim].poll() is None
            ranks.signal(signal.SIGCONT, rank=victim)
        for i, ((_, victim), ranks) in enumerate(zip(cases, started)):
            codes, errors = ranks.wait(IN_TIME)
            assert codes == [1] * len(codes)
            assert "error: " in errors[victim]
            assert_sound(program, ranks, f"run{i}")


def test_the_stop_of_one_rank_for_a_while_is_no_failure(program):
    with start_ranks(program, "by_hand", 2, arguments_of(program, "run")) as ranks:
        for rank in (0, 1):
            ranks.wait_until(lambda: has_checkpoint(program, "run"))
            ranks.signal(signal.SIGSTOP, rank=rank)
            time.sleep(0.35 * TIMEOUT)
            ranks.signal(signal.SIGCONT, rank=rank)
            newest = checkpoints(program, "run")[-1]
            ranks.wait_until(lambda newest=newest: checkpoints(program, "run")[-1] > newest)
        ranks.signal(signal.SIGTERM, rank=1)
        assert ranks.wait(30)[0] == [143, 143]


def limited(program, blocks):
    """The program with a file size limit of that many blocks of 512 bytes, as if the disk were full on this rank."""
    script = program.directory / "limited"
    script.write_text(f'#!/bin/sh\nulimit -f {blocks}\nexec "{BINARY}" "$@"\n')
    script.chmod(0o755)
    return script


def test_a_rank_that_cannot_write_its_part_of_a_checkpoint_ends_all(program):
    # The first checkpoint is saved without the limit, so that an intact one exists.
    steps = ["--set", "train.max_steps=40"]
    arguments = arguments_of(program, "run", ZERO)
    with start_ranks(program, "by_hand", 2, [*arguments, *steps]) as ranks:
        assert ranks.wait(60)[0] == [0, 0]
    reasons = [program.directory / f"reason{rank}.json" for rank in (0, 1)]
    per_rank = {rank: {"environment": {"TORCHELASTIC_ERROR_FILE": str(reasons[rank])}} for rank in (0, 1)}
    per_rank[1]["binary"] = limited(program, 40)  # its moments are 95 kB, its log is less
    with start_ranks(program, "by_hand", 2, [*arguments, "--resume", "auto"], per_rank=per_rank) as ranks:
        codes, errors = ranks.wait(TIMEOUT + 20)
        assert codes == [1, 1]
        assert re.search(r"error: .*Rank 1 .*optimizer-00001-of-00002.*", errors[0], re.S), errors
        assert "File too large" in errors[0] and "File too large" in errors[1]
        # torchrun shows the reason of the rank at fault, not of one that suffers from it.
        assert "File too large" in json.loads(reasons[1].read_text())["message"]["message"]
        assert not reasons[0].exists()
        assert [directory.name for directory in checkpoints(program, "run")] == ["step-00000040"]
        assert_sound(program, ranks, "run", tidy=True)


def assert_refused(program, ranks, *words):
    """All end before the first step, and say which rank differs and in what."""
    codes, errors = ranks.wait(60)
    assert all(code in (1, 2) for code in codes) and 2 in codes, codes
    for word in ("Rank 1 does not do what rank 0 does", *words):
        assert word in errors[0], errors  # rank 0's output is where people look
    assert ranks.alive() == []
    assert not (program.directory / "run").exists()


def test_a_rank_with_another_config_is_named(program):
    first = program.config(LONG, name="first.json")
    second = program.config(LONG, {"optimizer": {"lr": 0.004}, "run": {"seed": 8}}, name="second.json")
    per_rank = {0: {"arguments": ["--config", first]}, 1: {"arguments": ["--config", second]}}
    with start_ranks(program, "by_hand", 2, ["train", "--run-dir", "run"], per_rank=per_rank) as ranks:
        assert_refused(program, ranks, "optimizer.lr: 0.003 on rank 0, 0.004 here", "run.seed: 7 on rank 0, 8 here")


def test_a_rank_with_other_shards_is_named(program):
    tokens = np.arange(64 * LENGTH + 1) % VOCAB
    other = write_shard(program.directory / "other.bin", tokens)
    assert other.stat().st_size == (program.directory / "train.bin").stat().st_size
    first = program.config(LONG, name="first.json")
    second = program.config(LONG, {"data": {"train": [str(other)]}}, name="second.json")
    per_rank = {0: {"arguments": ["--config", first]}, 1: {"arguments": ["--config", second]}}
    with start_ranks(program, "by_hand", 2, ["train", "--run-dir", "run"], per_rank=per_rank) as ranks:
        assert_refused(program, ranks, "the training data's fingerprint", "train.bin", "other.bin")


def in_folders(program, names):
    """Each rank in its own folder, in which a relative path means another file."""
    per_rank = {}
    for rank, name in enumerate(names):
        script = program.directory / f"in_{name}"
        script.write_text(f'#!/bin/sh\ncd {name}\nexec "{BINARY}" "$@"\n')
        script.chmod(0o755)
        per_rank[rank] = {"binary": script}
    return per_rank


def test_a_rank_with_other_bytes_under_the_same_name_is_named(program):
    for name, seed in (("a", 1), ("b", 2)):
        (program.directory / name).mkdir()
        tokens = np.random.default_rng(seed).integers(VOCAB, size=64 * LENGTH + 1)
        write_shard(program.directory / name / "train.bin", tokens)
    config = program.config(LONG, {"data": {"train": ["train.bin"]}})
    run = program.directory / "run"
    with start_ranks(program, "by_hand", 2, ["train", "--config", config, "--run-dir", run], per_rank=in_folders(program, "ab")) as ranks:
        assert_refused(program, ranks, "the training data's fingerprint")


def test_a_rank_with_other_weights_under_the_same_name_is_named(program):
    for name, seed in (("a", 1), ("b", 2)):
        program.train("--run-dir", f"{name}/start", changes=[{"train": {"max_steps": 3}, "run": {"seed": seed}}])
    arguments = ["train", "--config", program.config(LONG), "--run-dir", program.directory / "run",
                 "--init-from", "start/checkpoints/step-00000003"]
    with start_ranks(program, "by_hand", 2, arguments, per_rank=in_folders(program, "ab")) as ranks:
        assert_refused(program, ranks, "initial weights", "start/checkpoints/step-00000003")


def test_a_rank_of_another_build_is_named(program):
    revision = re.search(r"revision\s+([0-9a-f]+)", program.run("--version")[0]).group(1)
    other = program.directory / "other_build"
    other.write_bytes(BINARY.read_bytes().replace(revision.encode(), revision[::-1].encode()))
    other.chmod(0o755)
    with start_ranks(program, "by_hand", 2, arguments_of(program, "run"), per_rank={1: {"binary": other}}) as ranks:
        assert_refused(program, ranks, "the program's revision", revision, revision[::-1])


@contextlib.contextmanager
def listener(answer):
    """A program that is not a store: `answer` gets each connection."""
    with socket.create_server(("", 0)) as server:
        kept = []

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    answer(connection)
                    kept.append(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_a_port_that_is_taken_and_an_address_that_is_none(program):
    arguments = arguments_of(program, "run")
    with contextlib.ExitStack() as stack:
        ports = [stack.enter_context(listener(answer)) for answer in
                 (lambda connection: None, lambda connection: connection.close(), lambda connection: connection.send(b"SSH-2.0-\r\n" * 9))]
        taken = [stack.enter_context(start_ranks(program, "by_hand", 2, arguments, per_rank={
            rank: {"environment": {"MASTER_PORT": str(port)}} for rank in (0, 1)})) for port in ports]
        nameless = stack.enter_context(start_ranks(program, "by_hand", 2, arguments, per_rank={
            rank: {"environment": {"MASTER_ADDR": "no-such-machine.invalid"}} for rank in (0, 1)}))
        begin = time.monotonic()
        for port, ranks in zip(ports, taken):
            wait_for_end(ranks, [0], 10)
            assert f"port {port}" in ranks.errors()[0] and "MASTER_PORT" in ranks.errors()[0]
        for port, ranks in zip(ports, taken):
            codes, errors = ranks.wait(begin + 30 - time.monotonic())  # 20 s for the first answer
            assert codes == [1, 1]
            assert re.search(rf"127.0.0.1:{port} .*not the store that rank 0 serves", errors[1]), errors
        codes, errors = nameless.wait(begin + 30 - time.monotonic())  # 20 s for the name, too
        assert codes == [2, 2]
        assert all("MASTER_ADDR=no-such-machine.invalid" in error for error in errors)
    assert not (program.directory / "run").exists()


def test_a_second_run_at_the_same_port_does_not_disturb_the_first(program):
    with start_ranks(program, "by_hand", 2, arguments_of(program, "run")) as first:
        first.wait_until(lambda: has_checkpoint(program, "run"))
        same_port = {rank: {"environment": {"MASTER_PORT": str(first.port)}} for rank in range(3)}
        for count in (2, 3):
            with start_ranks(program, "by_hand", count, arguments_of(program, "second"), per_rank=same_port) as second:
                codes, errors = second.wait(30)
                assert codes == [1] * count
                assert f"port {first.port}" in errors[0]
                assert all(f"127.0.0.1:{first.port}" in error and "another run" in error for error in errors[1:]), errors
        first.signal(signal.SIGTERM, rank=0)
        assert first.wait(30)[0] == [143, 143]
        assert not (program.directory / "second").exists()
        assert_sound(program, first, "run", tidy=True)


def test_a_second_signal_stops_a_rank_at_once(program):
    # The other rank hangs, so the first signal alone cannot stop the run.
    with start_ranks(program, "by_hand", 2, arguments_of(program, "run")) as ranks:
        ranks.wait_until(lambda: has_checkpoint(program, "run"))
        ranks.signal(signal.SIGSTOP, rank=0)
        ranks.signal(signal.SIGTERM, rank=1)
        ranks.wait_until(lambda: ranks.has_taken_signals(1))
        ranks.signal(signal.SIGTERM, rank=1)
        # Without the second signal it would miss rank 0 after 6 s, say so, and exit with another code.
        wait_for_end(ranks, [1], IN_TIME)
        assert ranks.processes[1].returncode == 143 and ranks.errors()[1] == ""
        ranks.signal(signal.SIGCONT, rank=0)
        codes, errors = ranks.wait(IN_TIME)
        assert codes == [1, 143]
        assert "Rank 1 is lost" in errors[0]
        assert_sound(program, ranks, "run")


def test_a_rank_may_come_late(program):
    late = program.directory / "late"
    late.write_text(f'#!/bin/sh\nsleep 4\nexec "{BINARY}" "$@"\n')
    late.chmod(0o755)
    steps = ["--set", "train.max_steps=40"]
    with start_ranks(program, "by_hand", 2, [*arguments_of(program, "run"), *steps], per_rank={1: {"binary": late}}) as ranks, \
            start_ranks(program, "by_hand", 2, [*arguments_of(program, "turned"), *steps], per_rank={0: {"binary": late}}) as others:
        for one, run in ((ranks, "run"), (others, "turned")):
            assert one.wait(60)[0] == [0, 0]
            assert_sound(program, one, run, tidy=True)


def test_a_second_run_into_the_same_directory_is_refused(program):
    with start_ranks(program, "by_hand", 2, arguments_of(program, "run")) as first:
        first.wait_until(lambda: has_checkpoint(program, "run"))
        with start_ranks(program, "by_hand", 2, [*arguments_of(program, "run"), "--resume", "auto"]) as second:
            codes, errors = second.wait(30)
            assert codes == [2, 1]
            assert "Another process is training into" in errors[0]
            assert second.alive() == []
        first.signal(signal.SIGTERM, rank=1)
        assert first.wait(30)[0] == [143, 143]
        assert_sound(program, first, "run", tidy=True)


def test_a_loss_of_one_rank_that_is_not_finite_is_that_of_all(program):
    """One window of 64 has no finite loss: only one rank reads it, in one step."""
    bad = start_that_becomes_nan(program)

    # The ranks' weights are compared after each step: a rank that skipped alone would differ from then on.
    config = program.config({"checkpoint": {"every": 1, "keep_last": 50}, "parallel": {"check_every": 1}}, name="bad.json")
    arguments = ["train", "--config", config, "--init-from", bad, "--run-dir"]
    with start_ranks(program, "by_hand", 2, [*arguments, "run"]) as stops, \
            start_ranks(program, "by_hand", 2, [*arguments, "skip", "--set", "train.on_nonfinite=skip"]) as skips:
        codes, errors = stops.wait(60)
        assert codes == [1, 1]
        assert errors[0].count("is not finite") == 1 and errors[1] == ""
        named = int(re.search(r"Step (\d+): the loss or the gradient norm is not finite", errors[0])[1])
        assert [directory.name for directory in checkpoints(program, "run")] == [f"step-{step:08d}" for step in range(named)]
        assert stops.alive() == []

        codes, errors = skips.wait(60)
        assert codes == [0, 0], errors
        said = f"Step {named}: the loss or the gradient norm is not finite; its update was skipped"
        assert said in errors[0] and errors[1] == ""
        assert log_of(program, "skip").count(said) == 1  # all ranks find it, and one says it
        records = {record["step"]: record for record in read_metrics(program.directory / "skip")}
        assert list(records) == list(range(1, 21)) and "train/loss" not in records[named]
        assert np.isfinite(records[20]["train/loss"])


def test_data_that_are_bad_for_one_rank_end_all_and_torchrun_shows_the_reason(program):
    """One window holds an id beyond the vocabulary: the rank that reads it fails while the others are in the step."""
    tokens = np.arange(64 * LENGTH + 1) % VOCAB
    tokens[40 * LENGTH + 5] = 2000
    write_shard(program.directory / "train.bin", tokens)
    small = {"train": {"global_batch_size": 4, "micro_batch_size": 1}, "checkpoint": {"every": 0}}
    # Nothing has been saved at that point, and one rank alone cannot save.
    reason = "id 2000, outside the vocabulary"
    with start_ranks(program, "torchrun", 2, arguments_of(program, "run", small)) as ranks, \
            start_ranks(program, "by_hand", 2, arguments_of(program, "hand", small)) as others:
        (code,), (error,) = ranks.wait(60)
        assert code != 0 and reason in error[error.index("Root Cause"):], error
        codes, errors = others.wait(60)
        assert sorted(codes) == [1, 3], errors
        named = f"Rank {codes.index(3)} failed: " if codes[1] == 3 else ""
        assert f"{named}{program.directory}/train.bin: " in errors[0] and reason in errors[0]
        for one, run in ((ranks, "run"), (others, "hand")):
            assert one.alive() == []
            assert checkpoints(program, run) == []

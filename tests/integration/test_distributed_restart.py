"""Restarts after a failure: torchrun, on one machine and on two, starts the ranks again, and the run resumes."""

import contextlib
import json
import os
import signal

from conftest import read_metrics, without_timing
from launchers import free_port, start_ranks
from test_distributed_failures import ZERO, arguments_of, assert_sound, checkpoints, has_checkpoint

OFTEN = {"log": {"every": 2}, "checkpoint": {"every": 20}}


def sessions(program, run):
    return json.loads((program.directory / run / "run.json").read_text())["sessions"]


def pid_of(launchers, rank):
    for launcher in launchers:
        with contextlib.suppress(AssertionError):
            return launcher.pid(rank)
    raise AssertionError(f"no launcher has rank {rank}")


def ends_at(step):
    return {"train": {"max_steps": step}}


def kill_after_a_checkpoint(program, launchers, rank, run, *changes):
    """Kills a rank of a run that has a checkpoint and would train for minutes, so that it cannot end before. The restart reads
    the config again, which by then names a last step. Returns this step, an even one."""
    launchers[0].wait_until(lambda: has_checkpoint(program, run))
    victim = pid_of(launchers, rank)
    # Nothing is started while the launchers are stopped.
    for launcher in launchers:
        launcher.signal(signal.SIGSTOP)
    os.kill(victim, signal.SIGKILL)
    end = int(checkpoints(program, run)[-1].name.removeprefix("step-")) + 180
    arguments_of(program, run, *changes, ends_at(end))
    for launcher in launchers:
        launcher.signal(signal.SIGCONT)
    return end


def test_torchrun_starts_again_and_the_curve_goes_on(program):
    changes = {"plain": [OFTEN], "zero": [OFTEN, ZERO]}
    with contextlib.ExitStack() as stack:
        killed = {name: stack.enter_context(start_ranks(
            program, "torchrun", 2, [*arguments_of(program, name, *change), "--resume", "auto"],
            launcher_options=["--max-restarts", 1])) for name, change in changes.items()}
        ends = {name: kill_after_a_checkpoint(program, [ranks], 1, name, *changes[name]) for name, ranks in killed.items()}
        for name, ranks in killed.items():
            codes, errors = ranks.wait(90)
            assert codes == [0], errors
            assert ranks.alive() == []
            assert len(sessions(program, name)) == 2
        whole = {name: stack.enter_context(start_ranks(
            program, "by_hand", 2, arguments_of(program, f"{name}-whole", *change, ends_at(ends[name]))))
            for name, change in changes.items()}
        for name, ranks in whole.items():
            assert ranks.wait(90)[0] == [0, 0]
            curves = [without_timing(read_metrics(program.directory / run)) for run in (name, f"{name}-whole")]
            assert len(curves[1]) == ends[name] // 2
            assert curves[0] == curves[1]
        for name, ranks in killed.items():
            assert_sound(program, ranks, name)


def start_agents(program, stack, run):
    """Two of torchrun's agents, each with one rank, as on two machines."""
    options = ["--nnodes", 2, "--max-restarts", 3, "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}",
               "--local-addr", "127.0.0.1"]
    arguments = [*arguments_of(program, run, OFTEN), "--resume", "auto"]
    return [stack.enter_context(start_ranks(program, "torchrun", 1, arguments, launcher_options=options)) for _ in range(2)]


def test_agents_on_two_machines_start_again_together(program):
    # An agent counts the failures of its own rank. Here the other rank ends because its agent hears of a restart, or because it
    # misses its peer, whichever is first: so its count may or may not differ from its peer's.
    with contextlib.ExitStack() as stack:
        started = {rank: start_agents(program, stack, f"run{rank}") for rank in (0, 1)}
        ends = {rank: kill_after_a_checkpoint(program, agents, rank, f"run{rank}", OFTEN) for rank, agents in started.items()}
        for rank, agents in started.items():
            for agent in agents:
                codes, errors = agent.wait(120)
                assert codes == [0], errors
            assert len(sessions(program, f"run{rank}")) == 2
            assert read_metrics(program.directory / f"run{rank}")[-1]["step"] == ends[rank]
            for agent in agents:
                assert_sound(program, agent, f"run{rank}")


def test_runs_of_one_process_at_the_same_time_need_no_ports(program):
    # Slurm may give one machine to several jobs, and without MASTER_PORT all use the same port.
    with contextlib.ExitStack() as stack:
        variables = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_ID": "0", "MASTER_PORT": ""}
        started = [stack.enter_context(start_ranks(program, "slurm", 1, arguments_of(program, f"run{i}"), per_rank={
            0: {"environment": variables}})) for i in range(2)]
        for i, ranks in enumerate(started):
            ranks.wait_until(lambda i=i: has_checkpoint(program, f"run{i}"))
        assert all(len(ranks.alive()) == 1 for ranks in started)
        for i, ranks in enumerate(started):
            ranks.signal(signal.SIGTERM, rank=0)
            assert ranks.wait(30)[0] == [143], ranks.errors()
            assert_sound(program, ranks, f"run{i}")

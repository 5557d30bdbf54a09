"""TensorBoard's own reader applied to the event files that the program writes."""

import re
import shutil
import subprocess

import pytest
from conftest import BINARY
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

WRITER = next(iter(sorted(BINARY.parent.rglob("ssgpt_write_events"))), None)


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """Steps 1 to 8 with 10 + 1/step, then a file that resumes after step 5 with steps 6 to 10 and 20 + 1/step."""
    assert WRITER is not None, f"ssgpt_write_events is not built below {BINARY.parent}"
    directory = tmp_path_factory.mktemp("events")
    subprocess.run([WRITER, directory], check=True)
    return directory


def test_every_record_passes_the_readers_checksums(events):
    first, second = sorted(events.iterdir())
    # file_version, text and 8 steps; file_version, session log and 5 steps.
    assert len(list(EventFileLoader(str(first)).Load())) == 10
    assert len(list(EventFileLoader(str(second)).Load())) == 7


def test_a_flipped_byte_is_noticed(events, tmp_path):
    """The reader does check: otherwise the test above would prove nothing."""
    first = sorted(events.iterdir())[0]
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / first.name).write_bytes(data)
    try:
        count = len(list(EventFileLoader(str(tmp_path / first.name)).Load()))
    except Exception:  # the reader's exception differs between versions
        return
    assert count < 10


def test_a_resumed_run_replaces_the_later_points(events):
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    points = [(e.step, e.value, e.wall_time) for e in accumulator.Scalars("train/loss")]
    expected = [(s, 10 + 1 / s) for s in range(1, 6)] + [(s, 20 + 1 / s) for s in range(6, 11)]
    assert [p[0] for p in points] == [e[0] for e in expected]
    for (step, value, wall_time), (_, loss) in zip(points, expected):
        assert value == pytest.approx(loss, rel=1e-7)  # scalars are float32
        assert wall_time == 1.7e9 + step
    assert [e.step for e in accumulator.Scalars("train/lr")] == list(range(1, 11))


def test_text_is_read_back(events):
    accumulator = EventAccumulator(str(events))
    accumulator.Reload()
    (event,) = accumulator.Tensors("config")
    assert event.step == 0
    assert event.tensor_proto.string_val[0].decode() == "run:\n  name: été\n"
    assert accumulator.SummaryMetadata("config").plugin_data.plugin_name == "text"


def test_the_clock_may_be_set_back_between_two_sessions(program):
    """The points after the checkpoint that a run resumes from are dropped all the same."""
    changes = [{"log": {"tensorboard": True}, "checkpoint": {"every": 10, "keep_last": 5}}]
    program.train("--run-dir", "run", changes=changes)
    run = program.directory / "run"
    shutil.rmtree(run / "checkpoints/step-00000020")  # as if it had been killed before that
    (first,) = run.glob("events.out.tfevents.*")
    first.rename(run / re.sub(r"tfevents\.\d+", "tfevents.7999999999", first.name))
    program.train("--run-dir", "run", "--resume", "auto", changes=changes)
    accumulator = EventAccumulator(str(run))
    accumulator.Reload()
    assert [event.step for event in accumulator.Scalars("train/loss")] == list(range(1, 21))

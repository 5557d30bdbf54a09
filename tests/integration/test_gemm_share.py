"""gemm_share, the share of the fastest GEMM's speed: where it is recorded, and that it is a share."""

import signal

import pytest

from conftest import read_metrics
from launchers import start_ranks

ENDLESS = {"train": {"max_steps": 100_000_000}}


@pytest.mark.parametrize("count", [1, 2])
def test_a_long_training_has_it_from_its_first_line_on(program, count):
    config = program.config(ENDLESS)
    run = program.directory / "run"
    with start_ranks(program, "by_hand", count, ["train", "--config", config, "--run-dir", "run"]) as ranks:
        ranks.wait_until(lambda: (run / "metrics.jsonl").exists() and len(read_metrics(run)) >= 5)
        ranks.signal(signal.SIGTERM)
        ranks.wait(60)
    records = read_metrics(run)
    assert len(records) >= 5
    for record in records:
        assert 0 < record["train/gemm_share"] <= 1
        assert "train/mfu" not in record  # a CPU has no spec sheet
    log = (run / "log.txt").read_text()
    assert "a large GEMM reaches" in log and "GEMM share" in log
    assert (f"on {count} ranks together" in log) == (count > 1)
    # A share is the speed times a constant over the fastest GEMM so far, which never falls.
    ratios = [record["train/gemm_share"] / record["train/tokens_per_second"] for record in records]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in zip(ratios, ratios[1:]))


def test_a_training_of_a_moment_does_not_measure_it(program):
    program.train("--run-dir", "run")
    assert all("train/tokens_per_second" in record and "train/gemm_share" not in record for record in read_metrics(program.directory / "run"))
    assert "a large GEMM" not in (program.directory / "run/log.txt").read_text()

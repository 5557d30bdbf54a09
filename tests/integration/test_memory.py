"""What --dry-run predicts for a run's memory, compared with the peak that the system counts for that run."""

import re

import numpy as np
import pytest

from conftest import write_shard

TOLERANCE = 0.10  # promised by README and the interface

QUICKSTART = {
    "model": {"vocab_size": 4096, "hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "intermediate_size": 688},
    "data": {"sequence_length": 512},
    "train": {"max_steps": 2, "global_batch_size": 4, "micro_batch_size": 4},
    "optimizer": {"schedule": {"warmup_steps": 1}},
}
DEEPER = {
    "model": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 1376},
    "train": {"global_batch_size": 2, "micro_batch_size": 1},
}
VALIDATION = {"data": {"validation": ["held_out.bin"]}, "evaluate": {"every": 1, "batches": 2}}
CASES = {
    "tiny": [],
    "quickstart": [QUICKSTART],
    "quickstart with validation and a checkpoint each step": [QUICKSTART, VALIDATION, {"checkpoint": {"every": 1}}],
    "quickstart, SSMax in bfloat16": [QUICKSTART, {"model": {"attention": {"kind": "ssmax"}}, "train": {"dtype": "bfloat16"}}],
    "30M parameters": [QUICKSTART, DEEPER],
    "30M parameters, bfloat16": [QUICKSTART, DEEPER, {"train": {"dtype": "bfloat16"}}],
    "quickstart, normed queries and keys": [QUICKSTART, {"model": {"qk_norm": "rms"}}],
    "a swap after a checkpoint": [QUICKSTART, {"train": {"max_steps": 3, "swap_attention": {"at_step": 2, "kind": "ssmax"}}, "checkpoint": {"every": 1}}],
}


def run(program, *arguments):
    """Standard output, and the largest resident set in MiB."""
    out, _, peak = program.run_measured(*arguments)
    return out, peak / (1 << 20)


def estimate(text):
    return float(re.search(r"^  memory +about (\d+) MiB:", text, re.MULTILINE)[1])


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_the_estimate_of_a_dry_run_is_within_ten_percent_of_the_peak(program, changes):
    write_shard(program.directory / "long.bin", np.arange(16_000) % 90)
    write_shard(program.directory / "held_out.bin", np.arange(16_000) % 89)
    config = program.config({"data": {"train": ["long.bin"]}}, *changes)
    arguments = ("train", "--config", config, "--run-dir", "run")
    out, dry_peak = run(program, *arguments, "--dry-run")
    _, peak = run(program, *arguments)
    assert estimate(out) == pytest.approx(peak, rel=TOLERANCE)
    assert estimate((program.directory / "run/log.txt").read_text()) == pytest.approx(peak, rel=TOLERANCE)
    # A dry run allocates nothing of what it counts: it stays near the program's own size.
    own = float(re.search(r"program (\d+)", out)[1])
    assert dry_peak < own + 40


def test_a_swap_that_lies_behind_costs_nothing(program):
    write_shard(program.directory / "long.bin", np.arange(16_000) % 90)
    swap = {"train": {"max_steps": 2, "swap_attention": {"at_step": 1, "kind": "ssmax"}}}
    short = {"data": {"train": ["long.bin"], "sequence_length": 128}}  # mostly weights, moments and copies, which a swap may need
    changes = [QUICKSTART, DEEPER, short, swap]
    run(program, "train", "--config", program.config(*changes), "--run-dir", "run")
    goes_on = {"train": {"max_steps": 4}, "checkpoint": {"every": 1}}
    arguments = ("train", "--config", program.config(*changes, goes_on), "--run-dir", "run", "--resume", "auto")
    out, _ = run(program, *arguments, "--dry-run")
    _, peak = run(program, *arguments)
    assert estimate(out) == pytest.approx(peak, rel=TOLERANCE)


@pytest.mark.parametrize("swap", [(), ("--swap-attention", "ssmax")], ids=["as before", "with a swap"])
def test_a_resume_needs_no_more_than_its_estimate(program, swap):
    """Weights and moments are read beside the model, and the first checkpoint is copied where they were."""
    write_shard(program.directory / "long.bin", np.arange(16_000) % 90)
    short = {"data": {"train": ["long.bin"], "sequence_length": 64}, "train": {"global_batch_size": 1, "micro_batch_size": 1}}
    config = program.config(QUICKSTART, short)
    run(program, "train", "--config", config, "--run-dir", "run")
    arguments = ("train", "--config", config, "--set", "train.max_steps=4", "--run-dir", "run", "--resume", "auto", *swap)
    out, _ = run(program, *arguments, "--dry-run")
    _, peak = run(program, *arguments)
    assert estimate(out) == pytest.approx(peak, rel=TOLERANCE)


def test_a_dry_run_of_a_model_that_no_machine_holds_says_what_it_would_need(program):
    """2^40 parameters of 16 bytes each, and twelve more for the checkpoint's copy: 28 TiB."""
    config = program.config({"model": {"hidden_size": 1 << 16, "intermediate_size": 1 << 18, "num_hidden_layers": 16,
                                       "num_attention_heads": 512}})
    out, dry_peak = run(program, "train", "--config", config, "--run-dir", "run", "--dry-run")
    matrices = 16 * (4 * (1 << 32) + 3 * (1 << 34))
    assert estimate(out) == pytest.approx(28 * matrices / (1 << 20), rel=0.01)  # norms, embeddings, activations: below 1 %
    assert dry_peak < 1000

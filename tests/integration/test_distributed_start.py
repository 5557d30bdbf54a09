"""How several ranks begin together, and what they report when they cannot."""

import numpy as np

from conftest import LENGTH, VOCAB, write_shard
from launchers import run_ranks


def test_what_every_rank_finds_wrong_is_told_once(program):
    """A setting that a resume must not change, a damaged checkpoint, other shards: each rank finds it by itself."""
    short = program.config({"train": {"max_steps": 4}, "checkpoint": {"every": 2, "keep_last": 9}}, name="short.json")
    program.run("train", "--config", short, "--run-dir", "run")
    common = ["train", "--config", short, "--run-dir", "run", "--set", "train.max_steps=9"]
    older = program.directory / "run/checkpoints/step-00000002"

    def refused(code, word, *arguments):
        _, errors = run_ranks(program, "by_hand", 2, [*common, *arguments], code=code)
        assert word in errors[0] and errors[1] == "", errors

    refused(2, "optimizer.lr: 0.003 in the checkpoint, 0.1 now", "--resume", "auto", "--set", "optimizer.lr=0.1")
    refused(2, "fork", "--resume", older)
    weights = program.directory / "run/checkpoints/step-00000004/model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused(3, "its checksum is not the manifest's", "--resume", weights.parent)
    weights.write_bytes(data)
    write_shard(program.directory / "train.bin", np.arange(64 * LENGTH + 1) % VOCAB)
    refused(3, "The training shards are not those", "--resume", "auto")


def test_a_complete_run_needs_no_device_and_no_data(program):
    config = program.config({"train": {"max_steps": 4}})
    run_ranks(program, "by_hand", 2, ["train", "--config", config, "--run-dir", "run"])
    (program.directory / "train.bin").unlink()
    again = ["train", "--config", config, "--run-dir", "run", "--resume", "auto", "--set", "train.device=cuda"]
    _, errors = run_ranks(program, "by_hand", 2, again)
    assert "is complete: 4 of 4 steps" in errors[0]

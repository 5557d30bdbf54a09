"""prepare --synthetic as a user runs it: its shards equal those of an independent implementation, and can be trained on."""

import json
import math

import numpy as np
import pytest
from conftest import read_metrics
from synthetic_tasks import copy_window, key_value_window, passkey_window

FIRST_VALIDATION = 2**40


def prepare(program, *options, task="copy", vocab=64, length=64, windows=40, out="data", code=0):
    sizes = ["--vocab-size", vocab, "--length", length, "--windows", windows]
    return program.run("prepare", "--synthetic", task, *sizes, "--out", out, *options, code=code)


def windows_of(folder, split, length, dtype="<u2"):
    parts = [np.fromfile(path, dtype=dtype, offset=1024) for path in sorted(folder.glob(f"{split}_*.bin"))]
    return np.concatenate(parts).reshape(-1, length)


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("task, make, length, vocab", [
    ("copy", copy_window, 64, 64), ("copy", copy_window, 51, 1000), ("passkey", passkey_window, 75, 30),
    ("key_value", key_value_window, 77, 15)])
def test_shards_hold_the_sequences_of_the_grammar(program, task, make, length, vocab):
    options = ["--seed", 7, "--shard-tokens", 999, "--validation-windows", 3, "--json"]
    out, _ = prepare(program, *options, task=task, vocab=vocab, length=length)
    folder = program.directory / "data"
    train, validation = (windows_of(folder, split, length) for split in ("train", "validation"))
    assert train.tolist() == [make(7, index, length, vocab) for index in range(40)]
    assert validation.tolist() == [make(7, FIRST_VALIDATION + index, length, vocab) for index in range(3)]
    summary = json.loads(out)
    shards = len(list(folder.glob("train_*.bin")))
    assert shards == math.ceil(40 * length / 999)
    assert summary["train"] == {"windows": 40, "tokens": 40 * length, "shards": shards}
    assert summary["validation"] == {"windows": 3, "tokens": 3 * length, "shards": 1}
    assert (summary["task"], summary["length"], summary["vocab_size"], summary["seed"]) == (task, length, vocab, 7)


def test_large_vocabularies_are_stored_in_32_bits(program):
    prepare(program, vocab=70_000)
    train = windows_of(program.directory / "data", "train", 64, dtype="<u4")
    assert train[5].tolist() == copy_window(1, 5, 64, 70_000)


def test_the_same_call_gives_the_same_bytes_and_a_folder_is_kept(program):
    prepare(program, out="one")
    prepare(program, out="two")
    before = bytes_of(program.directory / "one")
    assert before == bytes_of(program.directory / "two") and len(before) == 3
    _, err = prepare(program, out="one", code=2)
    assert "same settings" in err and "--overwrite" in err
    _, err = prepare(program, "--seed", 2, out="one", code=2)
    assert "other settings (seed)" in err and bytes_of(program.directory / "one") == before
    prepare(program, "--seed", 2, "--overwrite", out="one")
    changed = bytes_of(program.directory / "one")
    assert changed["train_000000.bin"] != before["train_000000.bin"] and changed.keys() == before.keys()


@pytest.mark.parametrize("changes, options, code, words", [
    ({"task": "needle"}, [], 2, ["copy", "passkey", "key_value"]),
    ({"length": 0}, [], 2, ["sequences of 0 tokens", "takes 10 to"]),
    ({"length": 9, "task": "passkey"}, [], 2, ["sequences of 9 tokens"]),
    ({"vocab": 1}, [], 2, ["a vocabulary of 1", "takes 2 to"]),
    ({"vocab": 8, "task": "passkey"}, [], 2, ["a vocabulary of 8", "takes 9 to"]),
    ({"length": 27, "vocab": 4, "task": "key_value"}, [], 2, ["27 tokens", "5 different keys", "up to 26"]),
    ({"windows": 0}, [], 2, ["0 windows"]),
    ({"windows": "many"}, [], 2, ["--windows"]),
    ({}, ["--input", "book.txt"], 2, ["--input"]),
    ({}, ["--tokenizer", "t.model"], 2, ["--tokenizer"]),
    ({}, ["--validation-fraction", 0.1], 2, ["--validation-fraction"]),
    ({}, ["--on-bad", "skip"], 2, ["--on-bad"]),
    ({}, ["--validation-windows", 1], 2, ["1 validation windows"]),
    ({}, ["--shard-tokens", 0], 2, ["0 tokens per shard"]),
    ({"out": "/proc/data"}, [], 1, ["/proc/data"]),
])
def test_what_cannot_be_made_is_refused(program, changes, options, code, words):
    _, err = prepare(program, *options, **changes, code=code)
    assert all(word in err for word in words) and "internal error" not in err, err
    assert not (program.directory / "data").exists()


def test_options_of_one_use_need_those_that_belong_to_it(program):
    for arguments, word in (
        (["--out", "data"], "--input"),
        (["--out", "data", "--input", "book.txt"], "--tokenizer"),
        (["--out", "data", "--length", 64], "--synthetic"),
        (["--out", "data", "--synthetic", "copy", "--length", 64], "--vocab-size and --windows"),
        (["--synthetic", "copy", "--vocab-size", 64, "--length", 64, "--windows", 9], "--out"),
    ):
        _, err = program.run("prepare", *arguments, code=2)
        assert word in err, err
    assert not (program.directory / "data").exists()


def test_inspect_says_what_the_shards_are(program):
    prepare(program, task="passkey", windows=50)
    out, _ = program.run("inspect", "data")
    for word in ("passkey of 64 tokens", "vocabulary 64", "50 to train on, 3 for validation", "intact"):
        assert word in out
    found = json.loads(program.run("inspect", "data", "--json")[0])
    assert found["tokens"] == 53 * 64
    assert found["settings"]["synthetic"] == {"task": "passkey", "vocab_size": 64, "length": 64}
    out, _ = program.run("inspect", "data/train_000000.bin", "--json")
    assert json.loads(out)["tokens"] == 50 * 64
    shard = program.directory / "data/train_000000.bin"
    shard.write_bytes(shard.read_bytes()[:-1] + b"\xff")
    program.run("inspect", "data", code=3)


def test_a_model_trains_on_the_shards_without_a_tokenizer(program):
    """Segments of 4 to 16 symbols out of 4: how often a symbol came before predicts how often it comes again. So the loss falls
    below log 4, the minimum for symbols that are not repeated, by several times the scatter of 2,560 tokens."""
    prepare(program, vocab=4, length=32, windows=400)
    data = {"sequence_length": 32, "train": ["data/train_*.bin"], "validation": ["data/validation_*.bin"]}
    change = {"model": {"vocab_size": 4}, "data": data, "train": {"max_steps": 100}, "evaluate": {"every": 50}}
    program.train("--run-dir", "run", changes=[change])
    records = read_metrics(program.directory / "run")
    losses = [record["train/loss"] for record in records]
    assert len(losses) == 100 and abs(losses[0] - math.log(4)) < 0.1
    assert np.mean(losses[-10:]) < math.log(4) - 0.03
    assert [record["step"] for record in records if "validation/loss" in record] == [50, 100]


def test_what_is_missing_is_listed(program):
    _, err = program.run("prepare", "--synthetic", "copy", "--out", "data", code=2)
    assert "--synthetic copy needs --vocab-size, --length and --windows as well." in err
    _, err = program.run("prepare", "--synthetic", "copy", "--length", 64, "--windows", 9, "--out", "data", code=2)
    assert "--synthetic copy needs --vocab-size as well." in err

"""Inputs that do not belong together: shards to train on that are held out, a tokenizer that did not make them. Refused
in one line that names both, before anything is written."""

import json
import random
import shutil
import signal

import pytest
import xxhash

from conftest import checkpoints, wait_for
from test_earlier_format import rewrite, sign

VOCABULARY = 300


@pytest.fixture
def prepared(program):
    """Changes of a config that trains on shards/, which `a.model` made; `b.model` is another tokenizer of its size."""
    random.seed(3)
    for name, letters in (("a", "bcdfg"), ("b", "klmnp")):
        syllable = lambda letters=letters: random.choice(letters) + random.choice("aeiou")
        words = ["".join(syllable() for _ in range(random.randint(1, 4))) for _ in range(300)]
        lines = (json.dumps({"text": " ".join(random.choices(words, k=30))}) for _ in range(60))
        (program.directory / f"{name}.jsonl").write_text("\n".join(lines))
        files = ["--input", f"{name}.jsonl", "--output", f"{name}.model"]
        program.run("tokenizer", "train", *files, "--vocab-size", VOCABULARY)
    program.run("prepare", "--input", "a.jsonl", "--tokenizer", "a.model", "--out", "shards",
                "--validation-fraction", "0.2")  # fmt: skip
    shutil.copy(program.directory / "a.model", program.directory / "t.model")
    return {
        "model": {"vocab_size": VOCABULARY},
        "data": {"tokenizer": "t.model", "train": ["shards/train_*.bin"], "validation": ["shards/validation_*.bin"]},
        "evaluate": {"every": 10, "batches": 1},
    }


def refused(program, code, *arguments, changes=(), words=()):
    """In one line that names each of the words, with --dry-run as well, and without a run directory."""
    for more in ((), ("--dry-run",)):
        out, err = program.train(*arguments, *more, changes=changes, code=code)
        assert out == "" and len(err.splitlines()) == 1
        for word in words:
            assert str(word) in err, err
    assert not (program.directory / "run").exists()


def checksum(path):
    return xxhash.xxh3_128_hexdigest(path.read_bytes())


def replace_tokenizer(program):
    shutil.copy(program.directory / "b.model", program.directory / "t.model")


@pytest.mark.parametrize("more", [{}, {"evaluate": {"every": 0}}], ids=["validated", "held out for later"])
def test_what_is_held_out_is_not_trained_on(program, prepared, more):
    arguments = ("--run-dir", "run")
    everything = {"data": {"train": ["shards/*.bin"]}}
    refused(program, 2, *arguments, changes=[prepared, everything, more],
            words=["shards/validation_000000.bin is in both"])  # fmt: skip
    shutil.copy(program.directory / "shards/validation_000000.bin", program.directory / "more.bin")
    copied = {"data": {"train": ["shards/train_*.bin", "more.bin"]}}
    refused(program, 2, *arguments, changes=[prepared, copied, more],
            words=["more.bin holds the same as shards/validation_000000.bin"])  # fmt: skip
    program.train(*arguments, changes=[prepared, more])


def test_shards_of_another_tokenizer_are_refused(program, prepared):
    recorded = json.loads((program.directory / "shards/prepare.json").read_text())["settings"]["tokenizer"]["checksum"]
    assert recorded == checksum(program.directory / "a.model")
    replace_tokenizer(program)
    refused(program, 3, "--run-dir", "run", changes=[prepared],
            words=["shards", "a.model", recorded, "t.model", checksum(program.directory / "b.model")])  # fmt: skip


@pytest.mark.parametrize("earlier", [False, True], ids=["recorded", "of an earlier version"])
def test_a_resume_with_another_tokenizer_is_refused(program, prepared, earlier):
    program.train("--run-dir", "made", changes=[prepared])
    (program.directory / "shards/prepare.json").unlink()  # what the shards say is not needed to see it
    made = program.directory / "made"
    (checkpoint,) = checkpoints(made)
    fingerprint = checksum(program.directory / "a.model")
    for record in (made / "run.json", checkpoint / "trainer/state.json"):
        assert json.loads(record.read_text())["tokenizer_fingerprint"] == fingerprint
    if earlier:
        rewrite(checkpoint / "trainer/state.json", lambda state: state.pop("tokenizer_fingerprint"))
        sign(checkpoint)
    replace_tokenizer(program)
    words = ["t.model", checksum(program.directory / "b.model"), fingerprint, checkpoint.relative_to(program.directory)]
    longer = [prepared, {"train": {"max_steps": 25}}]
    for arguments in (["--run-dir", "made", "--resume", "auto"], ["--run-dir", "run", "--resume", "made"]):
        refused(program, 3, *arguments, changes=longer, words=words)
    _, err = program.train("--run-dir", "new", "--init-from", checkpoint, changes=longer)
    assert "is not the tokenizer that" in err
    shutil.copy(program.directory / "a.model", program.directory / "t.model")
    program.train("--run-dir", "made", "--resume", "auto", changes=longer)
    assert checksum(made / "checkpoints/step-00000025/tokenizer.model") == fingerprint


def test_a_tokenizer_that_is_replaced_during_a_run_gets_into_no_checkpoint(program, prepared):
    changes = [prepared, {"train": {"max_steps": 1_000_000}, "checkpoint": {"every": 20}, "log": {"every": 20}}]
    process = program.start("train", "--config", program.config(*changes), "--run-dir", "run")
    saved = lambda: len(checkpoints(program.directory / "run")) > 0
    wait_for(lambda: (program.directory / "run/checkpoints").exists() and saved(), process)
    (program.directory / "b.model").replace(program.directory / "t.model")
    newest = checkpoints(program.directory / "run")[-1]
    wait_for(lambda: not newest.exists(), process)  # two later ones are complete
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "was replaced while the run was trained with it" in err and "without its tokenizer" in err
    assert not (checkpoints(program.directory / "run")[-1] / "tokenizer.model").exists()

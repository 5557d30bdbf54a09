"""Inputs that do not belong together: training on held-out shards, a tokenizer that did not make the shards, weights that are not
numbers. They are refused in one line that names both, before anything is written."""

import json
import random
import shutil
import signal

import numpy as np
import pytest
import xxhash
from safetensors import safe_open
from safetensors.numpy import save_file

from conftest import Program, checkpoints, read_metrics, wait_for, without_timing
from test_earlier_format import rewrite, sign

VOCABULARY = 300


@pytest.fixture
def prepared(program):
    """Config changes for training on shards/, which `a.model` made; `b.model` is another tokenizer of the same size."""
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
    """Refused in one line that names each of the words, with --dry-run as well, and without a run directory."""
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


def test_a_tokenizer_is_replaced_only_where_asked_for(program, prepared):
    train = ["tokenizer", "train", "--input", "b.jsonl", "--vocab-size", VOCABULARY, "--output"]
    before = checksum(program.directory / "t.model"), checksum(program.directory / "b.jsonl")
    for output, word in (("t.model", "--overwrite"), ("./b.jsonl", "is an input as well")):
        _, err = program.run(*train, output, code=2)
        assert output in err and word in err and len(err.splitlines()) == 1
    program.run(*train, "b.jsonl", "--overwrite", code=2)
    assert before == (checksum(program.directory / "t.model"), checksum(program.directory / "b.jsonl"))
    program.run(*train, "t.model", "--overwrite")
    assert checksum(program.directory / "t.model") == checksum(program.directory / "b.model")


@pytest.mark.parametrize("earlier", [False, True], ids=["recorded", "of an earlier version"])
def test_a_resume_with_another_tokenizer_is_refused(program, prepared, earlier):
    program.train("--run-dir", "made", changes=[prepared])
    (program.directory / "shards/prepare.json").unlink()  # it must be found without what the shards record
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


def test_a_run_goes_on_with_the_same_data_in_another_place(program, prepared):
    program.train("--run-dir", "run", changes=[prepared])
    program.train("--run-dir", "whole", changes=[prepared, {"train": {"max_steps": 25}}])
    moved = program.directory / "disk"
    moved.mkdir()
    for name in ("shards", "t.model"):
        (program.directory / name).rename(moved / name)
    data = {"tokenizer": str(moved / "t.model"), "train": [str(moved / "shards/train_*.bin")],
            "validation": [str(moved / "shards/validation_*.bin")]}  # fmt: skip
    changes = [prepared, {"data": data, "train": {"max_steps": 25}}]
    program.train("--run-dir", "run", "--resume", "auto", changes=changes)
    assert str(moved) in (program.directory / "run/config.yaml").read_text()
    resumed, whole = (without_timing(read_metrics(program.directory / run)) for run in ("run", "whole"))
    assert resumed == whole
    # Other data in that place are not what the run was trained on.
    (moved / "shards/prepare.json").unlink()
    shard = moved / "shards/train_000000.bin"
    shard.write_bytes(shard.read_bytes()[:-2] + b"\0\0")
    longer = [*changes, {"train": {"max_steps": 30}}]
    _, err = program.train("--run-dir", "run", "--resume", "auto", changes=longer, code=3)
    assert "are not those" in err and "fingerprint" in err


def test_a_run_of_relative_paths_goes_on_from_another_directory(program, prepared):
    program.train("--run-dir", "run", changes=[prepared])
    program.train("--run-dir", "whole", changes=[prepared, {"train": {"max_steps": 40}}])
    run = program.directory / "run"
    for number, arguments in enumerate((["--resume", run], ["--config", run / "config.yaml", "--run-dir", run, "--resume", "auto"])):
        elsewhere = Program(program.directory / f"elsewhere{number}")
        elsewhere.directory.mkdir()
        _, err = elsewhere.run("train", *arguments, "--set", f"train.max_steps={30 + 10 * number}")
        # The first option of both makes the paths absolute.
        assert ("data.tokenizer: t.model is not here, and is read from" in err) == (number == 0)
    other = {"data": {"train": ["none_*.bin"]}, "train": {"max_steps": 41}}
    _, err = elsewhere.run("train", "--config", program.config(prepared, other), "--run-dir", run, "--resume", "auto", code=3)
    assert "none_*.bin: no such file" in err
    resumed, whole = (without_timing(read_metrics(program.directory / name)) for name in ("run", "whole"))
    assert resumed == whole


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


@pytest.mark.parametrize("name, index, value", [
    ("model.layers.1.mlp.up_proj.weight", (40, 3), np.nan),
    ("model.layers.0.self_attn.q_proj.weight.exp_avg_sq", (0, 31), np.inf)])
def test_numbers_that_are_none_are_refused_by_name(program, finished_run, name, index, value):
    (checkpoint,) = checkpoints(finished_run)
    moment = name.endswith("exp_avg_sq")
    path = checkpoint / ("trainer/optimizer-00000-of-00001.safetensors" if moment else "model.safetensors")
    with safe_open(path, framework="numpy") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    tensors[name][index] = value
    save_file(tensors, path, metadata=metadata)
    sign(checkpoint)
    words = [name.removesuffix(".exp_avg_sq"), f"is {value} at [{index[0]}, {index[1]}]", checkpoint.name]
    commands = [["train", "--resume", "run", "--set", "train.max_steps=25"], ["inspect", checkpoint],
                ["convert", "--checkpoint", checkpoint, "--attention", "ssmax", "--out", "out"]]  # fmt: skip
    model = program.directory / "model"  # a directory with weights only
    model.mkdir()
    for file in ("config.json", "model.safetensors"):
        shutil.copy(checkpoint / file, model)
    if not moment:
        new = ["train", "--config", program.config(), "--run-dir", "new", "--init-from"]
        evaluate = ["evaluate", "loss", "--data", "validation.bin", "--checkpoint"]
        generate = ["generate", "--prompt-tokens", "1", "--checkpoint"]
        commands += [[*first, checkpoint] for first in (new, evaluate, generate)]
    for command in commands:
        _, err = program.run(*command, code=3)
        assert len(err.splitlines()) == 1
        for word in words:
            assert word in err, err
    if not moment:
        convert = ["convert", "--attention", "ssmax", "--out", "out", "--checkpoint"]
        for first in (["inspect"], convert, new, evaluate):
            assert words[0] in program.run(*first, model, code=3)[1]
    assert not (program.directory / "out").exists() and not (program.directory / "new").exists()

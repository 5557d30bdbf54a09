"""No command overwrites its inputs: an output that a user names may be an input, by the same or by another name. For tokenizers
see test_mismatched_inputs.py, for the trials of needles test_needle.py."""

import shutil
import subprocess
import sys

import pytest

from conftest import ROOT
from evaluated_models import attention, model, position

TEXT = "The hand of Thomas went into water. It was night, and nobody saw 3.14 boats.\n" * 40


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


WRITTEN = ["evaluation.json", "evaluation.csv", "table.txt", "evaluation.png", "needle_attention.png", "report.html"]


@pytest.mark.parametrize("name", WRITTEN)
def test_an_evaluation_is_not_written_over_its_shards(trained, name):
    """llm.c's format is recognised by its header, whatever the file is called."""
    folder = trained.directory / "data"
    folder.mkdir()
    shutil.copy(trained.directory / "train.bin", folder / name)
    before = contents(folder)
    for evaluate in (position, attention):
        arguments = ["--checkpoint", model("softmax"), "--max-length", 32, "--windows", 2]
        err = evaluate(trained, *arguments, "--data", f"data/{name}", "--out", "./data/../data", code=2)[1]
        assert f"--out ./data/../data/{name}: it is an input as well" in err and "model 1 of" not in err
    assert contents(folder) == before


def test_an_evaluation_is_written_beside_its_shards(trained):
    folder = trained.directory / "data"
    folder.mkdir()
    shutil.copy(trained.directory / "train.bin", folder)
    arguments = ["--checkpoint", model("softmax"), "--max-length", 32, "--windows", 2]
    trained.run("evaluate", "position", "--data", "data/train.bin", *arguments, "--out", "data")
    names = ["evaluation.csv", "evaluation.json", "table.txt", "train.bin"]
    assert sorted(contents(folder)) == names


@pytest.mark.parametrize("name", ["train_000000.bin", "validation_000003.bin", "prepare.json", ".replacement/t.model"])
def test_shards_are_not_written_over_the_tokenizer_or_the_text(program, name):
    out = program.directory / "out"
    (out / ".replacement").mkdir(parents=True)
    (program.directory / "text.txt").write_text(TEXT)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", f"out/{name}", "--vocab-size", 300)
    whole = (out / name).read_bytes()
    (program.directory / "link").symlink_to(out / name)
    for tokenizer in (f"out/{name}", "link"):
        arguments = ["--input", "text.txt", "--tokenizer", tokenizer, "--out", "out/../out/", "--validation-fraction", 0]
        for more in ([], ["--overwrite"]):
            err = program.run("prepare", *arguments, *more, code=2)[1]
            assert f"{tokenizer} is an input in a place where shards are written" in err
    assert (out / name).read_bytes() == whole


def test_shards_are_written_beside_the_tokenizer_and_the_text(program):
    (program.directory / "text.txt").write_text(TEXT)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", 300)
    arguments = ["--input", "text.txt", "--tokenizer", "t.model", "--out", ".", "--validation-fraction", 0]
    (program.directory / "train.bin").unlink()
    program.run("prepare", *arguments)
    assert (program.directory / "train_000000.bin").exists() and (program.directory / "text.txt").read_text() == TEXT


def test_a_picture_is_not_drawn_over_its_numbers(trained):
    position(trained, "--checkpoint", model("softmax"), "--max-length", 32, "--windows", 2, "--out", "out")
    out = trained.directory / "out"
    before = contents(out)
    (trained.directory / "link.png").symlink_to(out / "evaluation.json")
    command = [sys.executable, ROOT / "scripts/report.py", "out", "--picture"]
    for picture in ("out/evaluation.json", "./out/../out/evaluation.json", "link.png"):
        drawn = subprocess.run([*command, picture], capture_output=True, text=True, cwd=trained.directory)
        assert drawn.returncode == 2 and drawn.stderr.count("\n") == 1
        assert "it is an input as well" in drawn.stderr
    assert contents(out) == before

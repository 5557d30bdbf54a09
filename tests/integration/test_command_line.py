"""Arguments arrive as they were typed, and a wrong command line is reported in one short line."""

import json
import random
import re
import shutil

import numpy as np
import pytest
import sentencepiece

from conftest import LENGTH, Program, write_shard
from evaluated_models import model, position


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    program = Program(tmp_path_factory.mktemp("tokenizer"))
    words = ["bo", "lami", "ko", "seru", "ti", "navo", "do"]
    rng = random.Random(1)
    (program.directory / "text.txt").write_text("".join(" ".join(rng.choices(words, k=8)) + ".\n" for _ in range(300)))
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", 290)
    return program.directory / "t.model"


def message_of(err):
    """The message of the one line on stderr, after its time."""
    found = re.fullmatch(r"\d\d:\d\d:\d\d error: (.*)\n", err)
    assert found, err
    return found[1]


@pytest.mark.parametrize("words", [
    ["[hello]"], ["[a,b]"], ["{}"], ["%%"], ["@file"], ["++"], ["'q',\"q\""], ["-1 of it"], ["-"],
    ["--", "-x"], ["--", "--json"], ["--", "--"], ["--", "[x]"],
])  # fmt: skip
def test_a_text_is_encoded_as_typed(program, tokenizer, words):
    out, _ = program.run("tokenizer", "encode", "--tokenizer", tokenizer, *words)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).encode(words[-1])
    assert [int(word) for word in out.split()] == reference


def test_a_vocabulary_of_another_size_than_the_tokenizers_is_named(program, tokenizer):
    """290 pieces. What pads them to a multiple of 128 is usual; more is an oversight, and less cannot be."""
    write_shard(program.directory / "train.bin", np.arange(LENGTH * 40) % 290)

    def dry_run(size, code=0):
        changes = [{"model": {"vocab_size": size}, "data": {"tokenizer": str(tokenizer)}}]
        return program.train("--dry-run", "--run-dir", "run", code=code, changes=changes)[1]

    assert "290 pieces" not in dry_run(290) and "290 pieces" not in dry_run(384)
    assert "vocab_size is 512" in (err := dry_run(512)) and "290 pieces: 222 rows" in err
    assert "has 290 pieces and model.vocab_size is 200" in dry_run(200, code=3)


def test_lists_are_taken_word_by_word(program, tokenizer):
    """Lists of files with brackets and dashes in their names, each file as an argument of its own."""
    names = ["[x].txt", "[a,b].txt", "-y.txt", "a,b.txt", "@z.txt"]
    for number, name in enumerate(names):
        (program.directory / name).write_text(f"{'bo ' * (number + 1)}")
    (program.directory / "x.txt").write_text("another")
    prepare = ["prepare", "--tokenizer", tokenizer, "--validation-fraction", 0, "--json", "--out"]
    expected = [["--input", "[x].txt", "[a,b].txt", "--input=-y.txt", "a,b.txt", "--input", "@z.txt"],
                ["--input", "--", *names], ["--input", names[0], "--", *names[1:]]]  # fmt: skip
    made = [json.loads(program.run(*prepare, f"out{i}", *files)[0])["train"] for i, files in enumerate(expected)]
    assert [one["documents"] for one in made] == [5, 5, 5]
    shards = [(program.directory / f"out{i}/train_000000.bin").read_bytes() for i in range(3)]
    assert shards[0] == shards[1] == shards[2]


def test_runs_data_and_variants_with_brackets(trained):
    shutil.copytree(trained.directory / "sweep/softmax-seed1", trained.directory / "[b]")
    shutil.copytree(trained.directory / "sweep/ssmax-seed1", trained.directory / "[c,d]")
    out, _ = trained.run("compare", "[b]", "[c,d]", "--baseline", "[b]", "--json")
    assert [run["directory"] for run in json.loads(out)["runs"]] == ["[b]", "[c,d]"]
    shutil.copy(trained.directory / "train.bin", trained.directory / "x[1].bin")
    write_shard(trained.directory / "x1.bin", [1] * (4 * LENGTH + 1))
    arguments = ["evaluate", "loss", "--checkpoint", model("softmax"), "--json", "--data"]
    assert trained.run(*arguments, "x[1].bin") == trained.run(*arguments, "train.bin")
    assert trained.run(*arguments, "x[1].bin")[0] != trained.run(*arguments, "x1.bin")[0]
    _, err = trained.run(*arguments, "y[1].bin", code=3)
    assert message_of(err) == "y[1].bin: no such file, and nothing matches it as a pattern"
    _, err = position(trained, "--checkpoint", "sweep", "--row-scale", "2", "--apply-to", "[softmax]", code=2)
    assert "[softmax]" in err


def test_training_data_with_brackets(program):
    """By the config, and by --set with a list."""
    shutil.copy(program.directory / "train.bin", program.directory / "part[1].bin")
    write_shard(program.directory / "part1.bin", [1] * (64 * LENGTH + 1))
    for name, data in (("a", "part[1].bin"), ("b", "train.bin")):
        program.train("--run-dir", name, "--set", "train.max_steps=4", "--set", f'data.train=["{data}"]')
    losses = [[json.loads(line)["train/loss"] for line in (program.directory / run / "metrics.jsonl").read_text().splitlines()] for run in "ab"]
    assert losses[0] == losses[1]
    out, _ = program.train("--dry-run", "--set", "optimizer.betas=[0.8, 0.85]")
    assert "0.85" in out
    _, err = program.train("--dry-run", "--set", 'data.train=["none[1].bin"]', code=3)
    assert "none[1].bin: no such file, and nothing matches it as a pattern" in err


@pytest.mark.parametrize("arguments, message", [
    (["train", "--run_dir", "x"], "unknown option --run_dir: did you mean --run-dir?"),
    (["train", "--RUN-DIR=x"], "unknown option --RUN-DIR: did you mean --run-dir?"),
    (["train", "-config", "x"], "unknown option -config: did you mean --config?"),
    (["train", "--quite-unknown"], "unknown option --quite-unknown; see `ssgpt train --help`."),
    (["train", "-x"], "unknown option -x; see `ssgpt train --help`."),
    (["tokenizer", "encode", "-x"],
     "unknown option -x; write -- before a text that begins with '-', and see `ssgpt tokenizer encode --help`."),
    (["Train"], "unknown command 'Train': did you mean train?"),
    (["tokenizer", "encod"], "unknown command 'encod': did you mean encode?"),
    (["tokenizer", "xyz"], "unknown command 'xyz'; there are train, encode, decode."),
    (["evaluate"], "`ssgpt evaluate` needs a command: loss, position, retrieval, needle, attention, closed-forms; see `ssgpt evaluate --help`."),
    (["--config", "x", "train"], "unknown option --config; a command's options follow its name."),
    (["train", "config.yaml"], "unexpected argument 'config.yaml': `ssgpt train` takes only options; see `ssgpt train --help`."),
    (["inspect", "a", "b"], "unexpected argument 'b': a text of several words needs quotes; see `ssgpt inspect --help`."),
    (["train", "--config"], "--config needs a value; see `ssgpt train --help`."),
    (["train", "--config", "--dry-run"],
     "--config needs a value, and --dry-run is an option: write --config=--dry-run if that is the value."),
    (["train", "--config", "a", "--config", "b"], "--config is given more than once, and takes one value."),
    (["train", "--config", "a", "--dry-run=x"], "--dry-run takes no value."),
    (["sweep", "--config", "a"], "--run-dir is required; see `ssgpt sweep --help`."),
    (["sweep", "--config", "a", "--run-dir", "b", "--json"], "--json requires --list; see `ssgpt sweep --help`."),
    (["compare"], "RUN is required; see `ssgpt compare --help`."),
    (["generate", "--checkpoint", "x", "--prompt-tokens", "1", "--prompt", "x"],
     "--prompt excludes --prompt-tokens; see `ssgpt generate --help`."),
    *((["generate", "--checkpoint", "x", option, value], f"{option}: '{value}': {text}; see `ssgpt generate --help`.")
      for option, value, text in [("--top-k", "-1", "it must be a whole number, 0 or more"),
                                  ("--top-k", "1.5", "it must be a whole number, 0 or more"),
                                  ("--temperature", "warm", "it must be a number"),
                                  ("--samples", "0", "it must be a whole number, 1 to 65536"),
                                  ("--max-tokens", "1e99", "it must be a whole number, 1 to 16777216"),
                                  ("--seed", "-1", f"a seed must be a whole number from 0 to {2**64 - 1}")]),
    (["generate", "--checkpoint", "x", "--temperature", "-1"], "--temperature -1: it must be a number of at least 0 (0: always the most likely token)."),
    (["bench", "kernels", "--min-time", "0"], "--min-time: '0': it must be a number above 0; see `ssgpt bench kernels --help`."),
    (["bench", "kernels", "--device", "tpu"], "--device: tpu not in {cpu,cuda}; see `ssgpt bench kernels --help`."),
])  # fmt: skip
def test_wrong_words_are_one_line(program, arguments, message):
    out, err = program.run(*arguments, code=2)
    assert out == "" and message_of(err) == message


def test_help_is_given_whatever_else_is_typed(program):
    expected, _ = program.run("train", "--help")
    for arguments in (["--bogus"], ["--config"], ["--swap-attention", "x"], ["stray"]):
        assert program.run("train", *arguments, "-h")[0] == expected
    assert program.run("--help", "train")[0] == expected


def test_numbers_are_decimal(finished_run, program):
    """010 is ten, not the eight of C."""
    arguments = ["generate", "--checkpoint", "run/checkpoints/step-00000020", "--prompt-tokens", "1,2", "--json", "--max-tokens", 4]
    ten, padded, eight = (json.loads(program.run(*arguments, "--seed", seed)[0]) for seed in ("10", "010", "8"))
    assert padded["seed"] == 10 and padded["tokens"] == ten["tokens"] and eight["seed"] == 8

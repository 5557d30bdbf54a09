"""docs/reference.md says what the program does: every key, metric, file and exit code, and none that does not exist."""

import json
import re
import signal
import subprocess

from conftest import BINARY, ROOT, checkpoints, default_environment, read_metrics, wait_for

TEXT = (ROOT / "docs/reference.md").read_text()
NEEDS_A_GPU = {"train/mfu"}


def test_the_reference_lists_every_key_as_the_program_does(program):
    table, _ = program.run("keys", "--markdown")
    assert TEXT.split("<!-- keys -->\n")[1] == table
    keys = json.loads(program.run("keys", "--json")[0])
    assert len(keys) == table.count("\n") - 2 and {"name": "train.max_steps", "required": True, "default": None}.items() <= next(key for key in keys if key["name"] == "train.max_steps").items()
    text, _ = program.run("keys")
    assert text in program.run("train", "--help")[0]


def rows_of(section):
    """The tables of a section, without their headings: what the first column names, and what the second one says."""
    text = TEXT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [row for row in re.findall(r"^\| (.*?) \| (.*) \|$", text, flags=re.M) if row[0] not in ("file", "metric", "code")]


def names_in(section):
    return {name for first, _ in rows_of(section) for name in re.findall(r"`([^`]+)`", first)}


def train_with_everything(program):
    """A run with all that a config can ask for, asked to stop once it has measured the GEMM; returns its exit code."""
    (program.directory / "text.txt").write_text("In the beginning was the word, and the word was with the others.\n" * 40)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", 280)
    config = program.config({
        "model": {"vocab_size": 280, "attention": {"kind": "ssmax"}},
        "data": {"tokenizer": "t.model", "validation": ["validation.bin"]},
        "train": {"max_steps": 100_000_000},
        "evaluate": {"every": 1, "batches": 1, "samples": {"prompts": ["In the"], "max_tokens": 1}},
        "log": {"tensorboard": True},
    })  # fmt: skip
    process = program.start("train", "--config", config, "--run-dir", "run")
    metrics = program.directory / "run/metrics.jsonl"
    wait_for(lambda: metrics.exists() and "train/gemm_share" in metrics.read_text(), process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    return process.returncode


def test_the_reference_lists_the_metrics_and_files_of_a_run(program):
    assert train_with_everything(program) == 128 + signal.SIGTERM
    run = program.directory / "run"
    metrics = {re.sub(r"(attention/scale)/\d+", r"\1/LAYER", name) for line in read_metrics(run) for name in line}
    assert metrics | NEEDS_A_GPU == names_in("Metrics") and not metrics & NEEDS_A_GPU
    source = (ROOT / "src/train/recorder.cpp").read_text()
    assert all(f'emplace_back("{name}"' in source for name in NEEDS_A_GPU)
    files = {re.sub(r"tfevents\..*", "tfevents.*", path.name) for path in run.iterdir()}
    assert files - {"checkpoints"} | {"checkpoints/step-XXXXXXXX/"} == names_in("Run directory")
    newest = checkpoints(run)[-1]
    assert {str(path.relative_to(newest)) for path in newest.rglob("*") if path.is_file()} == names_in("Checkpoints")


def ended(*arguments, **options):
    return subprocess.run([BINARY, *arguments], env=default_environment(), stderr=subprocess.DEVNULL, **options).returncode


def test_the_reference_lists_the_exit_codes(program):
    """Those of the help, in its words, which the program ends with; test_the_reference_lists_the_metrics_and_files_of_a_run has the last one."""
    told = " ".join(program.run("--help")[0].split()).split("Exit codes: ")[1].rstrip(".")
    codes = [re.fullmatch(r"(\d+(?: \+ signal)?) (.*)", one).groups() for one in told.split("; ")]
    assert [(code, re.sub(r" \(.*", "", meaning)) for code, meaning in rows_of("Exit codes")] == codes
    with open("/dev/full", "w") as full:
        failed = ended("keys", stdout=full)
    seen = [ended("keys", stdout=subprocess.DEVNULL), failed, ended("train"), ended("inspect", program.directory / "missing")]
    assert [code for code, _ in codes] == [*map(str, seen), "128 + signal"]

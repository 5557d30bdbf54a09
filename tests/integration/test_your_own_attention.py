"""The example of docs/your-own-attention.md: its diff is applied, built and trained, and transformers computes the same."""

import json
import os
import re
import subprocess

import numpy as np
import pytest
import torch
from conftest import BINARY, LENGTH, ROOT, read_metrics
from transformers import AutoModelForCausalLM

TARGET = "ssgpt_your_own_attention"


def build():
    """The example's program, rebuilt if the document or the program has changed: two files are compiled."""
    folder = BINARY.parent
    if not (folder / "build.ninja").exists():
        pytest.skip(f"{BINARY} does not stand in a folder of builds")
    result = subprocess.run(["cmake", "--build", folder, "--target", TARGET], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder / TARGET


def test_the_diff_is_short_and_touches_what_the_document_says():
    (diff,) = re.findall(r"```diff\n(.*?)```", (ROOT / "docs/your-own-attention.md").read_text(), re.S)
    changes = [line for line in diff.splitlines() if re.match(r"[+-](?![+-])", line)]
    assert len(changes) <= 20 and all(line.startswith("+") for line in changes)
    assert re.findall(r"^\+\+\+ b/(.*)", diff, re.M) == ["src/config/attention_kind.cpp", "python/modeling_ssgpt.py"]


def test_the_example_builds_trains_and_equals_transformers(program):
    own = build()

    def run(*arguments):
        result = program.popen([own, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = result.communicate()
        assert result.returncode == 0, err
        return out

    assert "ssmax_root: s sqrt(log n)" in " ".join(run("train", "--help").split())
    settings = {"model": {"attention": {"kind": "ssmax_root"}}, "train": {"max_steps": 10}}
    run("train", "--config", program.config(settings), "--run-dir", "run")
    metrics = read_metrics(program.directory / "run")
    assert len(metrics) == 10 and metrics[-1]["train/loss"] < metrics[0]["train/loss"]
    mean = np.sqrt(np.log(np.arange(1, LENGTH + 1))).mean()
    assert metrics[0]["attention/scale/0"] == pytest.approx(1 / mean, abs=0.003)  # after one update of a third of the rate

    checkpoint = program.directory / "run/checkpoints/step-00000010"
    out = run("evaluate", "loss", "--checkpoint", checkpoint, "--data", "validation.bin", "--json", "--sequence-length", 4 * LENGTH)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True, dtype=torch.float32)
    tokens = np.fromfile(program.directory / "validation.bin", dtype="<u2", offset=1024).astype(np.int64)
    span = 4 * LENGTH
    windows = torch.tensor(np.stack([tokens[i : i + span + 1] for i in range(0, len(tokens) - span, span)]))
    with torch.no_grad():
        logits = model(windows[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), windows[:, 1:].flatten()).item()
    assert json.loads(out)["loss"] == pytest.approx(loss, rel=1e-5)  # float32 on both sides
    run("convert", "--checkpoint", checkpoint, "--attention", "ssmax", "--out", "ssmax")
    assert os.path.exists(program.directory / "ssmax/manifest.json")

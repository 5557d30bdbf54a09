"""scripts/loss_curves.py on a CPU: our bfloat16 is among PyTorch's, and a different model is told from it."""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from conftest import BINARY, ROOT


def run_script(directory, binary, *arguments):
    return subprocess.run([sys.executable, ROOT / "scripts/loss_curves.py", "--binary", binary, "--device", "cpu", "--shape", "tiny",
                           "--attention", "ssmax", "--programs", "eager,eager+autocast", "--steps", "60", "--seeds", "1", "--json",
                           "report.json", *arguments], cwd=directory, capture_output=True, text=True, timeout=200,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_our_bfloat16_is_within_the_spread_of_pytorchs(tmp_path):
    process = run_script(tmp_path, BINARY)
    assert process.returncode == 0, process.stdout + process.stderr
    (result,) = json.loads((tmp_path / "report.json").read_text())["results"]
    curves = {name: np.array(curves) for name, curves in result["curves"].items()}
    reference = curves.pop("PyTorch float32")
    assert reference.shape == (1, 60) and reference[0, 0] - reference[0, -1] > 0.5
    for name, curve in curves.items():
        assert result["distances"][name]["rms"] == pytest.approx(np.sqrt(np.mean((curve - reference) ** 2)))
    rms = {name: distance["rms"] for name, distance in result["distances"].items()}
    farthest = max(rms["PyTorch eager"], rms["PyTorch eager+autocast"])
    assert result["ratio"] == pytest.approx(rms["ssgpt bfloat16"] / farthest)
    # float32 rounds 2^16 times finer than bfloat16; what remains are updates of elements with almost no gradient, whose sign
    # is decided by rounding in any dtype.
    assert rms["ssgpt float32"] < 0.3 * min(value for name, value in rms.items() if name != "ssgpt float32")
    assert f"{result['ratio']:.2f}" in process.stdout


def test_another_model_is_too_far(tmp_path):
    """Ours with an epsilon in its norms that makes the output of the first one 1 % smaller: the embedding's mean square is
    0.02^2, to which 2e-5 is added instead of 1e-5."""
    other = tmp_path / "ssgpt"
    other.write_text(f"#!/bin/sh\nexec {BINARY} \"$@\" --set model.rms_norm_eps=2e-5\n")
    other.chmod(0o755)
    process = run_script(tmp_path, other, "--steps", "15")  # the difference shows from the first step
    assert process.returncode == 1 and "too far" in process.stdout, process.stdout + process.stderr


def test_steps_that_share_a_buffer_keep_their_losses(monkeypatch):
    """Under CUDA graphs every step writes its loss into the same float32 tensor."""
    torch = pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import loss_curves

    class OneBuffer:
        device = torch.device("cpu")

        def __init__(self, *_):
            self.loss = torch.zeros(())

        def step(self):
            return self.loss.add_(1)

    monkeypatch.setattr(loss_curves.peer, "Trainer", OneBuffer)
    arguments = argparse.Namespace(shape="tiny", device="cpu", steps=3)
    tokens = loss_curves.markov_tokens(loss_curves.SHAPES["tiny"])
    assert loss_curves.peers_curve(arguments, tokens, "softmax", None, "float32") == [1, 2, 3]

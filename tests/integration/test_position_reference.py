"""`ssgpt evaluate position` in windows of four times the training length, compared with full forward passes of transformers."""

import json

import numpy as np
import pytest
import torch
from conftest import write_shard
from test_logits import train_shape
from test_overrides import LENGTH, SHAPE, fit_position, load, with_row_scale

LONG = 4 * LENGTH
BIN = 10  # does not divide the window
WINDOWS = 5


def text(program):
    """WINDOWS windows, and half a window more that no evaluation reads."""
    tokens = np.random.default_rng(6).integers(0, SHAPE[0], WINDOWS * LONG + 1 + LONG // 2)
    write_shard(program.directory / "long.bin", tokens)
    return np.stack([tokens[w * LONG : (w + 1) * LONG + 1] for w in range(WINDOWS)])


def expected_bins(model, windows):
    """Mean loss and its standard error over windows for each bin, in float64 from the model's logits."""
    with torch.no_grad():
        logits = model(torch.tensor(windows[:, :-1])).logits.double()
    targets = torch.tensor(windows[:, 1:])
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    losses = losses.view(targets.shape).numpy()
    bins = []
    for first in range(0, LONG, BIN):
        part = losses[:, first : first + BIN].mean(1)
        last = min(first + BIN, LONG) - 1
        bins.append((first, last, part.mean(), part.std(ddof=1) / np.sqrt(WINDOWS), WINDOWS * (last - first + 1)))
    return bins


@pytest.mark.parametrize("kind", ["softmax", "ssmax", "learned_pn"])
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_losses_by_position_equal_transformers(program, kind, theta):
    checkpoint = train_shape(program, SHAPE, kind)
    windows = text(program)
    arguments = ["evaluate", "position", "--checkpoint", checkpoint, "--data", "long.bin", "--max-length", LONG,
                 "--bin", BIN, "--rope-theta", theta, "--json"]
    if kind == "learned_pn":
        arguments += ["--extend-pn", "fit"]
    out, _ = program.run(*arguments)
    bins = json.loads(out)["bins"]
    expected = expected_bins(load(checkpoint, kind, rope_theta=theta), windows)
    assert len(bins) == len(expected)
    for ours, (first, last, loss, error, tokens) in zip(bins, expected):
        assert (ours["first"], ours["last"], ours["tokens"]) == (first, last, tokens)
        # Losses of about 5 nats, off by about 1e-6 of that in float32.
        assert ours["loss"] == pytest.approx(loss, abs=1e-4)
        assert ours["stderr"] == pytest.approx(error, abs=1e-4)
    fit = json.loads(out)["models"][0]["pn_fit"]
    assert (fit is None) == (kind != "learned_pn")
    if fit:
        _, line, residuals = fit_position(checkpoint)
        expected = {"a1": line[0], "a2": line[1], "rms_residual": np.sqrt(np.mean(residuals**2)),
                    "max_residual": np.abs(residuals).max(), "entries": LENGTH}
        assert fit == pytest.approx(expected, rel=1e-9)  # float64 on both sides, from the same float32 entries


def test_a_row_scale_multiplies_the_scores(program):
    checkpoint = train_shape(program, SHAPE, "ssmax")
    windows = text(program)
    arguments = ["evaluate", "position", "--checkpoint", checkpoint, "--data", "long.bin", "--max-length", LONG,
                 "--bin", BIN, "--rope-theta", 500000, "--row-scale", 1.5, "--json"]
    out, _ = program.run(*arguments)
    # The unchanged model comes first, with the one with a row scale beside it.
    models = json.loads(out)["models"]
    (ours,) = [model for model in models if model["overrides"].get("row_scale") == 1.5]
    expected = expected_bins(with_row_scale(load(checkpoint, "ssmax", rope_theta=500000.0), 1.5), windows)
    losses = [b["loss"] for b in ours["bins"]]
    assert losses == pytest.approx([loss for _, _, loss, _, _ in expected], abs=1e-4)

"""Training compared with PyTorch: the same weights, the same data, torch.optim.AdamW."""

import json
import math
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from attention_kinds import KINDS, attention, constants
from conftest import CONFIG, LENGTH, VOCAB, read_metrics, without_timing, write_shard
from reference_model import ReferenceModel

STEPS = 20


def train_ours(program, kind, multiplier, options):
    """Eight windows and a batch of eight: each step reads all of them, in any order, in two micro-batches. The first run writes
    the weights after one update with a learning rate of nearly zero; the second starts from them."""
    tokens = np.random.default_rng(11).integers(0, VOCAB, 8 * LENGTH + 1)
    write_shard(program.directory / "train.bin", tokens)
    change = {"model": {"attention": attention(kind), **options}, "optimizer": {"scale_lr_multiplier": multiplier}}
    program.train("--run-dir", "start", changes=[change, {"train": {"max_steps": 1}, "optimizer": {"lr": 1e-30, "schedule": {"warmup_steps": 0}}}])
    start = program.directory / "start/checkpoints/step-00000001"
    program.train("--run-dir", "ours", "--init-from", start, changes=[change])
    final = program.directory / f"ours/checkpoints/step-{STEPS:08d}"
    windows = torch.tensor(np.stack([tokens[i * LENGTH : i * LENGTH + LENGTH + 1] for i in range(8)]))
    return load_file(start / "model.safetensors"), load_file(final / "model.safetensors"), windows


def train_reference(start, windows, kind, multiplier, options):
    """The same twenty steps in float64; s, b and p_n have their own learning rate and, like all vectors, no weight decay."""
    model = ReferenceModel({k: v.double() for k, v in start.items()}, heads=2, layers=2, kind=kind,
                           trained_length=LENGTH, **constants(kind), **options)
    optimizer_config = {"betas": (0.9, 0.95), "eps": 1e-8}
    of_row_scale = [w for name, w in model.named_tensors().items() if "ssmax" in name]
    others = [w for name, w in model.named_tensors().items() if "ssmax" not in name]
    groups = [
        {"params": [w for w in others if w.dim() >= 2], "weight_decay": 0.1, "multiplier": 1.0},
        {"params": [w for w in others if w.dim() < 2], "weight_decay": 0.0, "multiplier": 1.0},
        {"params": of_row_scale, "weight_decay": 0.0, "multiplier": multiplier},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.003, **optimizer_config)
    losses, norms = [], []
    for step in range(1, STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = 0.003 * min(1.0, step / 3) * group["multiplier"]
        loss = model.loss(windows)
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.weights, 1.0).item())
        optimizer.step()
        losses.append(loss.item())
    return model, losses, norms


CASES = [
    *((kind, 1, {}) for kind in KINDS),
    ("learned_pn", 4, {}),
    ("learned_pn", 0, {}),
    ("softmax", 1, {"qk_norm": "rms"}),
    ("softmax", 1, {"rope_fraction": 0.5}),
    ("softmax", 1, {"nope_layers": [1]}),
    ("ssmax", 1, {"qk_norm": "rms", "rope_fraction": 0.5}),
    ("learned_pn", 4, {"qk_norm": "rms", "nope_layers": [1]}),
    ("ssmax_bias", 1, {"rope_fraction": 0.25, "nope_layers": [0]}),
]


@pytest.mark.parametrize("kind, multiplier, options", CASES)
def test_twenty_steps_equal_pytorch(program, kind, multiplier, options):
    start, final, windows = train_ours(program, kind, multiplier, options)
    model, losses, norms = train_reference(start, windows, kind, multiplier, options)
    assert ("model.layers.1.self_attn.q_norm.weight" in final) == ("qk_norm" in options)
    records = read_metrics(program.directory / "ours")
    assert [r["step"] for r in records] == list(range(1, STEPS + 1))
    # float32 against float64: a loss is a mean of 128 terms with relative errors of a few 2^-24 each; over 20 updates the
    # weights drift apart by about 1e-6, and the loss has a slope of at most the gradient norm.
    np.testing.assert_allclose([r["train/loss"] for r in records], losses, rtol=2e-5)
    np.testing.assert_allclose([r["train/grad_norm"] for r in records], norms, rtol=5e-4)
    for name, weight in model.named_tensors().items():
        # An element whose gradient is near zero gets an update of +-lr whose sign rounding decides: hence a bound on the mean
        # difference, as a share of the distance that the tensor moved.
        if "ssmax" in name and multiplier == 0:
            assert torch.equal(final[name], start[name]), name
            continue
        moved = (weight - start[name]).abs().mean().item()
        apart = (weight - final[name]).abs().mean().item()
        assert moved > 1e-4, name
        assert apart < 2e-3 * moved, f"{name}: {apart} of {moved}"


def test_shared_tensors_start_equal_whatever_the_attention(program):
    starts = {}
    for kind in KINDS:
        change = {"model": {"attention": {"kind": kind}}, "train": {"max_steps": 1}, "optimizer": {"lr": 1e-30, "schedule": {"warmup_steps": 0}}}
        program.train("--run-dir", kind, changes=[change])
        starts[kind] = load_file(program.directory / kind / "checkpoints/step-00000001/model.safetensors")
    shared = starts["softmax"]
    assert len(shared) == 3 + 2 * 9
    for kind in KINDS[1:]:
        for name, tensor in shared.items():
            assert torch.equal(tensor, starts[kind][name]), f"{kind}: {name}"
    extra = set(starts["learned_pn"]) - set(shared)
    assert extra == {"model.ssmax_position"} | {
        f"model.layers.{layer}.self_attn.ssmax_{name}" for layer in range(2) for name in ("scale", "bias")
    }


def test_a_temperature_of_one_begins_as_softmax_bit_for_bit(program):
    """1 * q is q: the first loss and gradient are the same; s differs in the second step."""
    for kind in ("softmax", "softmax_temperature"):
        program.train("--run-dir", kind, changes=[{"model": {"attention": {"kind": kind}}}])
    softmax, temperature = (read_metrics(program.directory / kind) for kind in ("softmax", "softmax_temperature"))
    assert temperature[0]["train/loss"] == softmax[0]["train/loss"]
    assert temperature[1]["train/loss"] != softmax[1]["train/loss"]
    assert "attention/scale/0" not in softmax[0]
    assert temperature[0]["attention/scale/0"] == pytest.approx(1, abs=0.003)  # after one update of a third of the rate
    # 16 positions: sum of log n = log(16!).
    scale = {"kind": "softmax_temperature", "scale_init": 1.0}
    program.train("--run-dir", "one", changes=[{"model": {"attention": scale}, "train": {"max_steps": 1},
                                                "optimizer": {"lr": 1e-30, "schedule": {"warmup_steps": 0}}}])
    mean_log = math.lgamma(LENGTH + 1) / LENGTH
    assert read_metrics(program.directory / "one")[0]["attention/scale/1"] == pytest.approx(mean_log, rel=1e-6)


def test_clamped_log_n_is_softmax_bit_for_bit_in_windows_of_training(program):
    for kind in ("softmax", "logn_clamped"):
        program.train("--run-dir", kind, changes=[{"model": {"attention": {"kind": kind}}}])
    softmax, clamped = (without_timing(read_metrics(program.directory / kind)) for kind in ("softmax", "logn_clamped"))
    assert clamped == softmax
    evaluate = ["evaluate", "loss", "--data", "validation.bin", "--sequence-length", 4 * LENGTH, "--json", "--checkpoint"]
    longer = [json.loads(program.run(*evaluate, f"{kind}/checkpoints/step-{STEPS:08d}")[0])["loss"]
              for kind in ("softmax", "logn_clamped")]
    assert longer[0] != longer[1]


def test_accumulation_does_not_change_the_curve(program):
    """8 x 1, 4 x 2 and 1 x 8 micro-batches: the same sums in another order, so equal within float32 rounding."""
    curves = []
    for micro_batch in (8, 4, 1):
        program.train("--run-dir", f"m{micro_batch}", changes=[{"train": {"micro_batch_size": micro_batch}}])
        curves.append([r["train/loss"] for r in read_metrics(program.directory / f"m{micro_batch}")])
    assert len(curves[0]) == STEPS == CONFIG["train"]["max_steps"]
    np.testing.assert_allclose(curves[1], curves[0], rtol=2e-5)
    np.testing.assert_allclose(curves[2], curves[0], rtol=2e-5)


def test_training_lowers_the_loss_to_what_the_data_allow(program):
    """A corpus of one repeated cycle has no entropy: its loss must go to nearly zero."""
    tokens = np.tile(np.arange(10, 42), 200)
    write_shard(program.directory / "train.bin", tokens)
    program.train("--run-dir", "cycle", changes=[{"train": {"max_steps": 150}, "log": {"every": 10}}])
    records = read_metrics(program.directory / "cycle")
    assert records[0]["train/loss"] > 3.0
    assert records[-1]["train/loss"] < 0.05


@pytest.mark.parametrize("on_spike, code", [("warn", 0), ("stop", 1)])
def test_a_spike_of_the_loss_is_named_and_stops_where_asked(program, on_spike, code):
    """One window of noise among windows of one token: by the time it is read, the loss of the others is near 0."""
    tokens = np.full(64 * LENGTH + 1, 5)
    tokens[6 * LENGTH : 7 * LENGTH] = np.random.default_rng(1).permutation(VOCAB)[:LENGTH]
    write_shard(program.directory / "train.bin", tokens)
    changes = {"train": {"on_spike": on_spike, "max_steps": 64, "global_batch_size": 1, "micro_batch_size": 1},
               "optimizer": {"lr": 0.02}, "checkpoint": {"every": 1, "keep_last": 1}}
    _, err = program.train("--run-dir", "run", changes=[changes], code=code)
    spike = int(re.search(r"Step (\d+): the loss spiked", err)[1])
    saved = [p.name for p in (program.directory / "run/checkpoints").glob("step-*")]
    if on_spike == "stop":
        assert saved == [f"step-{spike - 1:08d}"]
    else:
        assert saved == ["step-00000064"] and read_metrics(program.directory / "run")[-1]["step"] == 64

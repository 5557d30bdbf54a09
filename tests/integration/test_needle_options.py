"""evaluate needle --attention with a model with normed queries and keys, partial RoPE and a layer without RoPE."""

import numpy as np
import pytest
import torch
from needle_models import make_text, needle, step, without_training
from safetensors.torch import load_file, save_file
from test_needle import trials_of, weights_on_needle


def test_attention_on_the_needle_with_options_of_the_model_is_that_of_the_reference(tmp_path):
    """Normed queries and keys, half of each head rotated, and a layer without RoPE."""
    options = {"qk_norm": "rms", "rope_fraction": 0.5, "nope_layers": [1]}
    made, change = make_text(tmp_path)
    made.train("--run-dir", "options", changes=[change, {"model": {"attention": {"kind": "ssmax"}, **options}}])
    folder = without_training(made, step("options"), "varied_options")
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(3)
    for name in sorted(weights):
        if "ssmax_" in name or "self_attn.q_norm" in name or "self_attn.k_norm" in name:
            weights[name] += 0.5 * torch.rand(weights[name].shape, generator=generator)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tensors = {name: tensor.double() for name, tensor in weights.items()}
    arguments = ["--checkpoint", folder.name, "--lengths", 300, "--depths", 50, "--trials", 2]
    needle(made, *arguments, "--attention", "--trials-out", "options.jsonl")
    trials = trials_of(made, "options.jsonl")
    assert len(trials) == 2
    for trial in trials:
        expected = weights_on_needle(tensors, "ssmax", trial, **options)
        for ours, theirs in zip(trial["attention"], expected, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)  # float32 weights between 0 and 1
        for key in options:  # each matters
            others = weights_on_needle(tensors, "ssmax", trial, **{k: v for k, v in options.items() if k != key})
            assert np.abs(np.subtract(expected, others)).max() > 1e-3, key

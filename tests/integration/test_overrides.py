"""What an evaluation changes in a model, in windows of four times the training length, compared with transformers."""

import numpy as np
import pytest
import torch
from attention_kinds import SCALED_KINDS
from safetensors.torch import load_file
from test_logits import assert_logits_equal, our_logits, train_shape
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

SHAPE = (96, 32, 2, 2, 48, 16)
LENGTH = SHAPE[-1]
CONDITIONS = [(theta, scale) for theta in (10000.0, 500000.0) for scale in (1.0, 1.5)]


def long_tokens():
    return np.random.default_rng(4).integers(0, SHAPE[0], (3, 4 * LENGTH))


def load(checkpoint, kind, **rope):
    """The model in transformers with this RoPE: Llama's in float64, other kinds by their modelling file."""
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)
    config.rope_parameters = {"rope_type": "default", **rope}
    settings = {"config": config, "attn_implementation": "eager"}
    if kind == "softmax":
        return LlamaForCausalLM.from_pretrained(checkpoint, dtype=torch.float64, **settings)
    settings["trust_remote_code"] = True
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, **settings)
    if kind == "learned_pn":
        model.model.ssmax_position = torch.nn.Parameter(torch.tensor(extended_position(checkpoint)))
    return model


def fit_position(checkpoint):
    """The learned p_n, the line a1 log n + a2 fitted to it by numpy, and the residuals."""
    learned = load_file(checkpoint / "model.safetensors")["model.ssmax_position"].double().numpy()
    columns = log_columns(LENGTH)
    line, _, _, _ = np.linalg.lstsq(columns, learned, rcond=None)
    residuals = learned - columns @ line
    assert np.abs(residuals).max() > 1e-3, "p_n has not moved from its start"
    return learned, line, residuals


def log_columns(count):
    logs = np.log(np.arange(1, count + 1))
    return np.stack([logs, np.ones_like(logs)], 1)


def extended_position(checkpoint):
    """The learned p_n, extended by the line through it up to four times its length."""
    learned, line, _ = fit_position(checkpoint)
    return np.concatenate([learned, log_columns(4 * LENGTH)[LENGTH:] @ line]).astype(np.float32)


def with_row_scale(model, row_scale):
    """Multiplies the scores of every query, in addition to other factors: they are linear in its projection."""
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.q_proj.weight.mul_(row_scale)
    return model


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits.numpy()


@pytest.mark.parametrize("yarn", [None, 4.0])
@pytest.mark.parametrize("theta, scale", CONDITIONS)
def test_softmax_equals_transformers(program, theta, scale, yarn):
    checkpoint = train_shape(program, SHAPE)
    rope = {"rope_theta": theta}
    overrides = {"rope_theta": theta, "row_scale": scale}
    if yarn:
        rope |= {"rope_type": "yarn", "factor": yarn, "original_max_position_embeddings": LENGTH}
        overrides["yarn_factor"] = yarn
    model = load(checkpoint, "softmax", **rope)
    assert (model.model.rotary_emb.attention_scaling > 1.1) == bool(yarn), "transformers did not take the config"
    theirs = logits_of(with_row_scale(model, scale), long_tokens())
    assert_logits_equal(our_logits(program, checkpoint, long_tokens(), **overrides), theirs)
    if yarn or (theta, scale) != (10000.0, 1.0):
        assert np.abs(our_logits(program, checkpoint, long_tokens()) - theirs).max() > 1e-3, "it makes no difference"


@pytest.mark.parametrize("kind", SCALED_KINDS)
def test_other_kinds_equal_the_modelling_file(program, kind):
    checkpoint = train_shape(program, SHAPE, kind)
    for theta, scale in CONDITIONS:
        theirs = logits_of(with_row_scale(load(checkpoint, kind, rope_theta=theta), scale), long_tokens())
        ours = our_logits(program, checkpoint, long_tokens(), rope_theta=theta, row_scale=scale, extend_pn=1)
        assert_logits_equal(ours, theirs)


@pytest.mark.parametrize("kind", ["ssmax", "ssmax_fixed", "logn_clamped"])
def test_a_swap_on_reading_is_that_of_convert(program, kind):
    checkpoint = train_shape(program, SHAPE)
    program.run("convert", "--checkpoint", checkpoint, "--attention", kind, "--out", "swapped")
    swapped = our_logits(program, program.directory / "swapped", long_tokens())
    ours = our_logits(program, checkpoint, long_tokens(), attention=kind)
    assert (ours == swapped).all()
    assert np.abs(ours - our_logits(program, checkpoint, long_tokens())).max() > 1e-3, "it makes no difference"

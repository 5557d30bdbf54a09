"""Models of transformers, Llama and Qwen 3: which models are written as one of them, what is read, and what is refused."""

import json
import os
import re
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_MODULES_CACHE", tempfile.mkdtemp(prefix="ssgpt-modules-"))

import numpy as np
import pytest
import torch
import transformers
from conftest import LENGTH, VOCAB
from safetensors.torch import load_file
from test_logits import assert_logits_equal, our_logits, train_shape


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor(tokens), use_cache=False).logits.numpy()


def test_normed_softmax_is_a_qwen_3_of_transformers(program):
    """Without the modelling file, to 1e-5 of the largest logit."""
    checkpoint = train_shape(program, (257, 96, 3, 3, 100, 64), theta=50000.0, qk_norm="rms")
    assert not (checkpoint / "modeling_ssgpt.py").exists()
    model, report = transformers.Qwen3ForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (model.config.head_dim, model.config.sliding_window, model.config.attention_bias) == (32, None, False)
    tokens = np.random.default_rng(4).integers(0, 257, (3, 64))
    ours, theirs = our_logits(program, checkpoint, tokens), logits_of(model, tokens)
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()
    gains = load_file(checkpoint / "model.safetensors")["model.layers.1.self_attn.q_norm.weight"]
    assert gains.shape == (32,) and (gains != 1).all(), "the gains have not learned"


def make_qwen3(directory, dtype=torch.float32, **settings):
    torch.manual_seed(0)
    config = transformers.Qwen3Config(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=LENGTH, rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1234.5}, **settings)
    model = transformers.Qwen3ForCausalLM(config).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_qwen_3_of_transformers_is_read_and_trained_on(program, dtype):
    make_qwen3(program.directory / "qwen", dtype)
    model = transformers.Qwen3ForCausalLM.from_pretrained(program.directory / "qwen", dtype=torch.float32).eval()
    found = json.loads(program.run("inspect", "qwen", "--json")[0])
    assert (found["attention"], found["model"]["qk_norm"], found["model"]["rope_theta"]) == ("softmax", "rms", 1234.5)
    assert found["parameters"]["total"] == model.num_parameters()
    tokens = np.random.default_rng(4).integers(0, VOCAB, (3, LENGTH))
    assert_logits_equal(our_logits(program, program.directory / "qwen", tokens), logits_of(model, tokens))
    program.run("convert", "--checkpoint", "qwen", "--attention", "ssmax", "--out", "ssmax")
    converted = json.loads((program.directory / "ssmax/config.json").read_text())
    assert (converted["model_type"], converted["qk_norm"]) == ("ssgpt", "rms")
    change = {"model": {"qk_norm": "rms", "rope_theta": 1234.5}, "train": {"max_steps": 3}}
    program.train("--run-dir", "run", "--init-from", "qwen", changes=[change])
    _, err = program.train("--run-dir", "other", "--init-from", "qwen", code=2)
    assert "model.qk_norm: rms in the checkpoint, none in the config" in err


def test_a_llama_that_claims_a_partial_rotation_is_refused(program):
    """transformers rotates all of its dimensions; another program might not."""
    config = transformers.LlamaConfig(vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                      num_attention_heads=2, max_position_embeddings=LENGTH, partial_rotary_factor=0.5)
    model = transformers.LlamaForCausalLM(config)
    assert model.model.rotary_emb.inv_freq.numel() == 8
    model.save_pretrained(program.directory / "llama")
    _, err = program.run("inspect", "llama", code=3)
    assert re.search(r"partial_rotary_factor is 0.5, which transformers' 'llama' does not read; it must be 1", err)
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("settings, message", [
    ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, "'layer_types' is "),
    ({"attention_bias": True}, "'attention_bias' is true, where false"),
    ({"tie_word_embeddings": True}, "'tie_word_embeddings' is true, where false"),
])
def test_a_qwen_3_with_other_mathematics_is_refused(program, settings, message):
    make_qwen3(program.directory / "qwen", **settings)
    _, err = program.run("inspect", "qwen", code=3)
    assert re.search(message, err) and len(err.strip().splitlines()) == 1, err


# The keys that this program requires. 32 heads, since Qwen3Config defaults to as many key-value heads.
REQUIRED = {"vocab_size": VOCAB, "hidden_size": 64, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 32,
            "max_position_embeddings": LENGTH}


@pytest.mark.parametrize("family, given", [(transformers.LlamaConfig, {}),
                                           (transformers.Qwen3Config, {"head_dim": 2, "use_sliding_window": True})])
def test_what_a_config_leaves_out_is_what_transformers_takes(program, family, given):
    """The program writes everything that it read, so that transformers needs no defaults."""
    directory, config = program.directory / "bare", family(**REQUIRED, **given)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    (directory / "config.json").write_text(json.dumps({"model_type": family.model_type, **REQUIRED, **given}))
    program.run("convert", "--checkpoint", "bare", "--attention", "softmax", "--out", "ours")
    ours = json.loads((program.directory / "ours/config.json").read_text())
    assert len(ours) > 20
    fields = {key for key in ours if hasattr(config, key)} - {"architectures", "torch_dtype", "dtype", "bos_token_id", "eos_token_id"}
    assert {"rms_norm_eps", "initializer_range", "hidden_act", "rope_parameters", "tie_word_embeddings", "attention_bias"} <= fields
    for key in fields - {"use_sliding_window"}:
        assert ours[key] == getattr(config, key), key
    assert set(getattr(config, "layer_types", ["full_attention"])) == {"full_attention"}


@pytest.mark.parametrize("key, changes", [
    ("num_key_value_heads", {"num_attention_heads": 2, "head_dim": 32}),
    ("head_dim", {}),
    ("sliding_window", {"head_dim": 2, "num_hidden_layers": 29, "use_sliding_window": True}),
])
def test_a_qwen_3_that_leaves_out_what_does_not_fit_is_refused(program, key, changes):
    """The error gives the value that transformers would use; the config is read before the weights."""
    sizes = {**REQUIRED, **changes}
    theirs = transformers.Qwen3Config(**sizes)
    (program.directory / "bare").mkdir()
    (program.directory / "bare/config.json").write_text(json.dumps({"model_type": "qwen3", **sizes}))
    (program.directory / "bare/model.safetensors").touch()
    _, err = program.run("inspect", "bare", code=3)
    assert f"'{key}' is missing, where " in err and f"'qwen3' has {getattr(theirs, key)}" in err, err
    if key == "sliding_window":
        assert theirs.layer_types == ["full_attention"] * theirs.max_window_layers + ["sliding_attention"]
        assert f"from max_window_layers, {theirs.max_window_layers}, on" in err

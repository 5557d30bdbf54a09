"""Normed queries and keys, partial RoPE and layers without RoPE: against transformers and float64, in files, and through the
commands that carry them."""

import json
import os
import re
import shutil
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_MODULES_CACHE", tempfile.mkdtemp(prefix="ssgpt-modules-"))

import numpy as np
import pytest
import torch
import transformers
from attention_kinds import constants
from conftest import LENGTH, ROOT, VOCAB, read_metrics, without_timing
from manifests import sign
from model_options import DOCUMENT_END, VARIANTS, name_of, resolved
from reference_model import ReferenceModel
from safetensors.torch import load_file
from test_checkpoint_formats import diversify
from test_logits import assert_logits_equal, our_logits, train_shape

SHAPE = (96, 48, 2, 3, 56, 24)  # vocab, hidden, layers, heads, feed-forward, length: a head dimension of 16
OPTIONS = {"qk_norm": "rms", "rope_fraction": 0.5, "nope_layers": {"every": 2}}
EVERYTHING = ("ssmax", OPTIONS, True)


def load(checkpoint, **settings):
    settings = {"trust_remote_code": True, "dtype": torch.float32, "attn_implementation": "eager", **settings}
    return transformers.AutoModelForCausalLM.from_pretrained(checkpoint, **settings).eval()


def logits_of(model, tokens):
    with torch.no_grad():
        return model(torch.tensor(tokens), use_cache=False).logits.numpy()


def train(program, variant):
    kind, options, documents = variant
    data = {"reset_at_document": True, "document_token_id": DOCUMENT_END} if documents else {}
    return train_shape(program, SHAPE, kind, data=data, **options)


def random_tokens(documents=False, length=SHAPE[-1]):
    tokens = np.random.default_rng(4).integers(8, SHAPE[0], (3, length))
    if documents:
        tokens[0, [4, 5, 11]] = tokens[1, 0] = DOCUMENT_END
    return tokens


@pytest.mark.parametrize("variant", VARIANTS, ids=map(name_of, VARIANTS))
def test_logits_equal_float64_and_transformers(program, variant):
    kind, options, documents = variant
    checkpoint = train(program, variant)
    diversify(checkpoint)
    sign(checkpoint)
    tokens = random_tokens(documents)
    ours = our_logits(program, checkpoint, tokens)
    config = json.loads((checkpoint / "config.json").read_text())
    plain = kind == "softmax" and set(options) == {"qk_norm"} and not documents
    assert config["model_type"] == ("qwen3" if plain else "ssgpt")
    theirs = load(checkpoint)
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if plain else "SsgptForCausalLM")
    assert_logits_equal(ours, logits_of(theirs, tokens))
    if not documents:
        weights = {k: v.double() for k, v in load_file(checkpoint / "model.safetensors").items()}
        reference = ReferenceModel(weights, heads=SHAPE[3], layers=SHAPE[2], kind=kind, **constants(kind), **resolved(options),
                                   trained_length=config["max_position_embeddings"])
        with torch.no_grad():
            assert_logits_equal(ours, reference(torch.tensor(tokens)).numpy())


def test_normed_softmax_is_a_qwen_3_of_transformers(program):
    """Without the modelling file, and to 1e-5 of the largest logit."""
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


@pytest.mark.parametrize("variant", [EVERYTHING, ("learned_pn", {"qk_norm": "rms", "nope_layers": [0]}, False),
                                     ("ssmax_bias", {"rope_fraction": 0.5}, False), ("softmax", OPTIONS, True)], ids=name_of)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_packing_and_caches_change_nothing(program, variant, attention):
    """In the modelling file: left padding, documents packed by their positions, tokens in parts behind a cache, generation."""
    checkpoint = train(program, variant)
    diversify(checkpoint)
    model = load(checkpoint, attn_implementation=attention)
    tokens = torch.tensor(random_tokens(variant[2], 12))
    padding = 4
    padded = torch.cat([torch.full((3, padding), DOCUMENT_END), tokens], 1)
    mask = (torch.arange(12 + padding) >= padding).long().expand(3, -1)
    close = {"rtol": 0, "atol": 1e-4}  # other shapes sum in another order: logits of a size of about 5
    with torch.no_grad():
        full = model(tokens, use_cache=False).logits
        assert full.abs().max() > 1
        torch.testing.assert_close(model(padded, attention_mask=mask).logits[:, padding:], full, **close)
        for inputs, masks, offset in ((tokens, None, 0), (padded, mask, padding)):
            cache, logits = None, []
            for part in (slice(0, 3 + offset), slice(3 + offset, 4 + offset), slice(4 + offset, None)):
                stop = part.stop or inputs.shape[1]
                out = model(inputs[:, part], attention_mask=None if masks is None else masks[:, :stop],
                            past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                logits.append(out.logits)
            torch.testing.assert_close(torch.cat(logits, 1)[:, offset:], full, **close)
        continued = tokens
        for _ in range(4):
            following = model(continued, use_cache=False).logits[:, -1:].argmax(-1)
            continued = torch.cat([continued, following], 1)
        generated = model.generate(padded, attention_mask=mask, max_new_tokens=4, do_sample=False, eos_token_id=-1,
                                   pad_token_id=0)
        assert torch.equal(generated[:, padding:], continued)
        positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7]])
        row = torch.tensor(random_tokens(False, 12))[:1]  # no other end than that of the positions
        packed = model(row, position_ids=positions, use_cache=False).logits
        alone = torch.cat([model(row[:, :4]).logits, model(row[:, 4:]).logits], 1)
        torch.testing.assert_close(packed, alone, **close)


def test_n_is_counted_in_fp32_in_a_model_of_bfloat16(program):
    """bfloat16 has no 257, and log n of 8 bits is off by up to a hundredth."""
    checkpoint = train(program, ("ssmax", OPTIONS, False))
    model = load(checkpoint, dtype=torch.bfloat16)
    seen = []
    hook = model.model.layers[1].self_attn.register_forward_pre_hook(
        lambda module, arguments, options: seen.append(options["row_position"]), with_kwargs=True)
    tokens = torch.tensor(np.random.default_rng(4).integers(8, SHAPE[0], (1, 300)))
    with torch.no_grad():
        assert model(tokens).logits.dtype == torch.bfloat16
    hook.remove()
    n = torch.arange(1, 301, dtype=torch.float64)
    assert seen[0].dtype == torch.float32
    assert seen[0].flatten().tolist() == pytest.approx(n.log().tolist(), rel=1e-6, abs=1e-12)
    layer = model.model.layers[1].self_attn
    assert layer.ssmax_scale.dtype == torch.float32 and layer.q_norm.weight.dtype == torch.bfloat16
    query = torch.ones(1, SHAPE[3], 300, 1, dtype=torch.bfloat16)
    exact = (layer.ssmax_scale.double()[:, None] * n.log()).to(torch.bfloat16)[None, :, :, None]
    # One rounding to bfloat16; where fp32 falls on the other side of a tie, to the neighbour.
    assert (layer.scale_query(query, seen[0]) == exact).double().mean() > 0.99


@pytest.mark.parametrize("yarn, scale", [(4.0, 1.0), (4.0, 1.5), (None, 1.5)])
@pytest.mark.parametrize("options", [OPTIONS, {"rope_fraction": 0.5}, {"qk_norm": "rms"}, {"nope_layers": [0]}], ids=str)
def test_changed_positions_equal_transformers(program, options, yarn, scale):
    """YaRN over the rotated dimensions and a factor on all scores, in windows of four times the trained length. YaRN's own
    factor is of the rotated dimensions alone, as transformers has it."""
    checkpoint = train_shape(program, SHAPE, **options)
    config = transformers.AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)
    rope = {"rope_type": "default", "rope_theta": 500000.0, "partial_rotary_factor": options.get("rope_fraction", 1.0)}
    if yarn:
        rope |= {"rope_type": "yarn", "factor": yarn, "original_max_position_embeddings": SHAPE[-1]}
    config.rope_parameters = rope
    model = load(checkpoint, config=config)
    assert (model.model.rotary_emb.attention_scaling > 1.1) == bool(yarn), "transformers did not take the config"
    with torch.no_grad():
        for layer in model.model.layers:  # scores are linear in these
            layer.self_attn.get_submodule("q_norm" if "qk_norm" in options else "q_proj").weight.mul_(scale)
    overrides = {"rope_theta": 500000.0, "row_scale": scale, **({"yarn_factor": yarn} if yarn else {})}
    tokens = random_tokens(length=4 * SHAPE[-1])
    theirs = logits_of(model, tokens)
    assert_logits_equal(our_logits(program, checkpoint, tokens, **overrides), theirs)
    assert np.abs(our_logits(program, checkpoint, tokens) - theirs).max() > 1e-3, "it makes no difference"


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


def test_what_transformers_saves_again_is_read(program):
    checkpoint = train(program, EVERYTHING)
    load(checkpoint).save_pretrained(program.directory / "again")
    tokens = random_tokens(documents=True)
    assert (our_logits(program, program.directory / "again", tokens) == our_logits(program, checkpoint, tokens)).all()


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
    ({"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}, r"'sliding_window' is 8, where null"),
    ({"attention_bias": True}, "'attention_bias' is true, where false"),
    ({"tie_word_embeddings": True}, "'tie_word_embeddings' is true, where false"),
])
def test_a_qwen_3_with_other_mathematics_is_refused(program, settings, message):
    make_qwen3(program.directory / "qwen", **settings)
    _, err = program.run("inspect", "qwen", code=3)
    assert re.search(message, err) and len(err.strip().splitlines()) == 1, err


def test_options_go_through_swaps_resumes_and_reports(program):
    swap = {"train": {"swap_attention": {"at_step": 12, "kind": "ssmax"}}, "checkpoint": {"every": 12, "keep_last": 5}}
    change = {"model": OPTIONS}
    out, _ = program.train("--run-dir", "run", "--dry-run", changes=[change, swap])
    assert "softmax, ssmax after step 12; RMSNorm of q and k" in out
    assert re.search(r"positions +RoPE, theta 10000, on 8 of the 16 dimensions of a head, not in layer 1 \(from 0\)", out)
    assert "  qk_norm: rms\n" in out and "  nope_layers: [1]\n" in out and "  rope_fraction: 0.5\n" in out
    program.train("--run-dir", "run", changes=[change, swap])
    for step, kind in ((12, "softmax"), (20, "ssmax")):
        config = json.loads((program.directory / f"run/checkpoints/step-{step:08}/config.json").read_text())
        assert (config["attention_kind"], config["qk_norm"], config["no_rope_layers"]) == (kind, "rms", [1, 0])
        assert config["partial_rotary_factor"] == config["rope_parameters"]["partial_rotary_factor"] == 0.5
    last = "run/checkpoints/step-00000020"
    out, _ = program.run("inspect", last)
    assert re.search(r"positions +RoPE, theta 10000, on 8 of the 16", out) and "query and key norms" in out
    found = json.loads(program.run("inspect", last, "--json")[0])
    assert {key: found["model"][key] for key in OPTIONS} == {**OPTIONS, "nope_layers": [1]}
    assert found["parameters"]["query and key norms"] == 2 * 2 * 16
    program.run("convert", "--checkpoint", last, "--attention", "softmax_temperature", "--out", "converted")
    converted = json.loads((program.directory / "converted/config.json").read_text())
    assert (converted["qk_norm"], converted["no_rope_layers"], converted["partial_rotary_factor"]) == ("rms", [1, 0], 0.5)

    _, err = program.train("--run-dir", "run", "--resume", "auto", "--set", "model.qk_norm=none", "--set",
                           "model.nope_layers=[]", "--set", "train.max_steps=22", changes=[change, swap], code=2)
    assert "model.qk_norm: rms in the checkpoint, none now" in err and "model.nope_layers: [1] in the checkpoint, [] now" in err
    program.train("--run-dir", "run", "--resume", "auto", "--set", "train.max_steps=22", changes=[change, swap])
    _, err = program.train("--run-dir", "new", "--init-from", last, "--swap-attention", "ssmax", "--set", "model.rope_fraction=1",
                           changes=[change], code=2)
    assert "model.rope_fraction: 0.5 in the checkpoint, 1 in the config" in err
    program.train("--run-dir", "plain")
    compared = json.loads(program.run("compare", "plain", "run", "--json")[0])
    (comparison,) = compared["comparisons"]
    assert {"model.qk_norm", "model.rope_fraction", "model.nope_layers"} <= {s["key"] for s in comparison["settings"]}


def test_generation_equals_full_forwards(program):
    """The program's cache: greedy tokens are the likeliest of float64 forwards over the whole sequence."""
    kind, options, _ = EVERYTHING
    checkpoint = train_shape(program, SHAPE, kind, initializer_range=0.4, **options)
    out = program.run("generate", "--checkpoint", checkpoint, "--json", "--prompt-tokens", "9,10,11", "--max-tokens", 20,
                      "--temperature", 0)[0]
    tokens = [9, 10, 11, *json.loads(out)["tokens"]]
    weights = {k: v.double() for k, v in load_file(checkpoint / "model.safetensors").items()}
    reference = ReferenceModel(weights, heads=SHAPE[3], layers=SHAPE[2], kind=kind, **resolved(options))
    with torch.no_grad():
        logits = reference(torch.tensor([tokens]))[0]
    for row, token in zip(logits[2:-1], tokens[3:], strict=True):
        assert row.max() - row[token] <= 4e-5 * row.abs().max()  # float32 beside float64: see test_logits.py


# As the program wrote it before it had these options.
EARLIER_CONFIG = """{
  "architectures": ["SsgptForCausalLM"], "model_type": "ssgpt", "attention_kind": "ssmax",
  "auto_map": {"AutoConfig": "modeling_ssgpt.SsgptConfig", "AutoModelForCausalLM": "modeling_ssgpt.SsgptForCausalLM"},
  "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
  "num_key_value_heads": 2, "max_position_embeddings": 16, "hidden_act": "silu", "rms_norm_eps": 1e-05,
  "rope_theta": 10000.0, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}, "initializer_range": 0.02,
  "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": false, "bos_token_id": null, "eos_token_id": null,
  "torch_dtype": "float32", "dtype": "float32",
  "ssgpt": {"scale_init": null, "bias_init": 0.0, "document_token_id": null}
}"""


def test_an_earlier_checkpoint_goes_on_bit_for_bit(program):
    ssmax = {"model": {"attention": {"kind": "ssmax"}}}
    program.train("--run-dir", "run", changes=[ssmax, {"train": {"max_steps": 12}}])
    earlier = program.directory / "earlier"
    shutil.copytree(program.directory / "run", earlier)
    checkpoint = earlier / "checkpoints/step-00000012"
    assert json.loads((checkpoint / "config.json").read_text()) == json.loads(EARLIER_CONFIG)
    (checkpoint / "config.json").write_text(EARLIER_CONFIG)

    def without_options(text):
        stripped = re.sub(r" *(qk_norm|rope_fraction|nope_layers): .*\n", "", text)
        assert len(text.splitlines()) - len(stripped.splitlines()) == 3
        return stripped

    state = json.loads((checkpoint / "trainer/state.json").read_text())
    (checkpoint / "trainer/state.json").write_text(json.dumps(state | {"config": without_options(state["config"])}))
    (earlier / "config.yaml").write_text(without_options((earlier / "config.yaml").read_text()))
    sign(checkpoint)
    for name in ("run", "earlier"):
        program.train("--run-dir", name, "--resume", "auto", changes=[ssmax])
    lines = [without_timing(read_metrics(program.directory / name)) for name in ("run", "earlier")]
    assert lines[0] == lines[1] and len(lines[0]) == 20


@pytest.mark.parametrize("setting, message", [
    ("model.rope_fraction=0.3", "model.rope_fraction = 0.3: of the head dimension 16 (hidden_size 32 / 2 heads) it is 4.8"),
    ("model.nope_layers=[0, 2]", "model.nope_layers = [0, 2]: there is no layer 2; layers are 0 to"),
    ("model.nope_layers={every: 3}", "model.nope_layers = {every: 3}: there is no layer 2; every must be at most"),
    ("model.nope_layers={each: 3}", "model.nope_layers = {each: 3}: expected a list of layers"),
    ("model.qk_norm=layer", "model.qk_norm = layer: expected none | rms"),
])
def test_impossible_options_are_refused_in_one_line(program, setting, message):
    _, err = program.train("--run-dir", "run", "--set", setting, code=2)
    assert message in err and len(err.strip().splitlines()) == 1, err


def options_of_the_page():
    """(key, value) of each value in the table of docs/models.md."""
    rows = re.findall(r"^\| `model\.(\w+)` \| (.*?) \|", (ROOT / "docs/models.md").read_text(), re.M)
    return [(f"model.{key}", value) for key, values in rows for value in re.findall(r"`(.*?)`", values)]


def test_the_page_of_models_has_the_keys_of_the_program(program):
    """Those of the architecture beside its sizes, and each value of its table trains."""
    text = program.run("train", "--help")[0]
    keys = set(re.findall(r"^  (model\.\w+): ", text, re.M))
    sizes = {"vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "rope_theta",
             "rms_norm_eps", "initializer_range"}
    assert {key for key, _ in options_of_the_page()} == keys - {f"model.{size}" for size in sizes}
    four_layers = {"model": {"num_hidden_layers": 4, "initializer_range": 0.15, "attention": {"kind": "ssmax"}}, "train": {"max_steps": 3}}
    losses = {}
    for i, (key, value) in enumerate(options_of_the_page()):
        program.train("--run-dir", f"run{i}", "--set", f"{key}={value}", changes=[four_layers])
        losses[key, value] = read_metrics(program.directory / f"run{i}")[-1]["train/loss"]
    defaults = [losses[pair] for pair in (("model.qk_norm", "none"), ("model.rope_fraction", "1"), ("model.nope_layers", "[]"))]
    assert len(set(defaults)) == 1 and len(set(losses.values())) == len(losses) - 2

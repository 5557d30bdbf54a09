"""Normed queries and keys, partial RoPE and layers without RoPE: compared with transformers and float64, in files, and through
the commands that support them."""

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
from conftest import ROOT, read_metrics, without_timing
from indifference import check_packing, check_padding_and_caches
from manifests import sign
from model_options import DOCUMENT_END, VARIANTS, name_of, resolved
from reference_model import ReferenceModel
from safetensors.torch import load_file
from test_checkpoint_formats import diversify
from test_kinds import modelling
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


@pytest.mark.parametrize("variant", [EVERYTHING, ("learned_pn", {"qk_norm": "rms", "nope_layers": [0]}, False),
                                     ("ssmax_bias", {"rope_fraction": 0.5}, False), ("softmax", OPTIONS, True)], ids=name_of)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_packing_and_caches_change_nothing(program, variant, attention):
    """In the modelling file: left padding, documents packed by their position ids, parts with a KV cache, generation."""
    checkpoint = train(program, variant)
    diversify(checkpoint)
    model = load(checkpoint, attn_implementation=attention)
    check_padding_and_caches(model, torch.tensor(random_tokens(variant[2], 12)), filler=DOCUMENT_END)
    check_packing(model, torch.tensor(random_tokens(False, 12))[:1], cut=4)  # only the position ids end a document


def test_n_is_counted_in_fp32_in_a_model_of_bfloat16(program):
    """bfloat16 cannot represent 257, and log n with 8 bits is off by up to a hundredth."""
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
    # One rounding to bfloat16; if fp32 is on the other side of a tie, to the neighbour.
    assert (layer.scale_query(query, seen[0]) == exact).double().mean() > 0.99


@pytest.mark.parametrize("yarn, scale", [(4.0, 1.0), (4.0, 1.5), (None, 1.5)])
@pytest.mark.parametrize("options", [OPTIONS, {"rope_fraction": 0.5}, {"qk_norm": "rms"}, {"nope_layers": [0]}], ids=str)
def test_changed_positions_equal_transformers(program, options, yarn, scale):
    """YaRN over the rotated dimensions and a factor on all scores, in windows of four times the training length. YaRN's own
    factor is applied to the rotated dimensions only, as in transformers."""
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


def test_a_part_in_decimals_is_the_same_in_transformers(program):
    """YaRN rotates int(factor * head_dim) dimensions there, which for 0.333333 times 24 would be 7."""
    length = 16
    checkpoint = train_shape(program, (96, 48, 1, 2, 56, length), rope_fraction=0.333333)
    stored = json.loads((checkpoint / "config.json").read_text())
    factor = stored["partial_rotary_factor"]
    assert factor == stored["rope_parameters"]["partial_rotary_factor"] == 1 / 3
    tokens = random_tokens(length=4 * length)
    for rope, overrides in (
        ({"rope_type": "default"}, {}),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": length}, {"yarn_factor": 4.0}),
    ):
        config = transformers.AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)
        config.rope_parameters = {"rope_theta": 10000.0, "partial_rotary_factor": factor, **rope}
        model = load(checkpoint, config=config)
        assert model.model.rotary_emb.inv_freq.numel() == 4
        assert_logits_equal(our_logits(program, checkpoint, tokens, **overrides), logits_of(model, tokens))


@pytest.mark.parametrize("settings, message", [
    ({"attention_kind": "sharp"}, r"attention_kind is 'sharp'; it must be one of \('softmax', "),
    ({"qk_norm": "layer"}, "qk_norm is 'layer'; it must be 'none' or 'rms'"),
    ({"no_rope_layers": [1]}, r"no_rope_layers is \[1\]; it must be a list of num_hidden_layers = 2 flags"),
    ({"no_rope_layers": [1, 2]}, r"no_rope_layers is \[1, 2\]; it must be a list"),
    *(({"partial_rotary_factor": factor}, f"partial_rotary_factor is {factor}, which makes {dims} of the 24 dimensions of a head")
      for factor, dims in ((0, 0), (0.49, 11.76), (0.45, 10.8), (0.333333, 7.999992), (1 / 24, 1.0), (0.0, 0.0), (-0.5, -12.0), (2.0, 48.0))),
])
def test_the_modelling_file_refuses_what_the_program_cannot_have_written(settings, message):
    sizes = {"hidden_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
    with pytest.raises(ValueError, match=message):
        modelling.SsgptConfig(**sizes, **settings)
    part = modelling.SsgptConfig(**sizes, partial_rotary_factor=1 / 3, no_rope_layers=[1, 0], qk_norm="rms")
    assert (part.rotated_dims(), part.is_rotated(0), part.is_rotated(1)) == (8, True, False)


def test_what_transformers_saves_again_is_read(program):
    checkpoint = train(program, EVERYTHING)
    load(checkpoint).save_pretrained(program.directory / "again")
    tokens = random_tokens(documents=True)
    assert (our_logits(program, program.directory / "again", tokens) == our_logits(program, checkpoint, tokens)).all()


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
    """The program's KV cache: greedy tokens have the largest logits of float64 forward passes over the whole sequence."""
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


def test_the_sweep_of_the_page_is_one(program):
    """Each of its variants satisfies the rules, and learns something else than the others: otherwise a sweep is refused."""
    (variants,) = re.findall(r"```yaml\n(variants:\n.*?)```", (ROOT / "docs/models.md").read_text(), re.S)
    program.config(name="base.json")
    (program.directory / "sweep.yaml").write_text(f"base: base.json\nseeds: 1\n{variants}")
    out, _ = program.run("sweep", "--config", "sweep.yaml", "--run-dir", "sweep", "--list")
    names = re.findall(r"^  (\S+): \{", variants, re.M)
    assert len(names) == 4 and re.findall(r"\S+-seed1", out) == [f"{name}-seed1" for name in names], out


def options_of_the_page():
    """(key, value) for each value in the table of docs/models.md."""
    rows = re.findall(r"^\| `model\.(\w+)` \| (.*?) \|", (ROOT / "docs/models.md").read_text(), re.M)
    return [(f"model.{key}", value) for key, values in rows for value in re.findall(r"`(.*?)`", values)]


def test_the_page_of_models_has_the_keys_of_the_program(program):
    """The keys of the architecture other than its sizes, and each value of the table trains."""
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

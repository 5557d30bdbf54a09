"""The kinds of attention: the program's table, the modelling file and README agree on each."""

import importlib.util
import json
import re

import pytest
import torch
import transformers.models.llama4.configuration_llama4 as llama4
import transformers.models.llama4.modeling_llama4 as llama4_model
from safetensors.torch import load_file

from attention_kinds import FORMULAS, KINDS_WITH_BIAS, KINDS_WITH_SCALE, constants
from conftest import ROOT


def load_modelling_file():
    spec = importlib.util.spec_from_file_location("modeling_ssgpt", ROOT / "python" / "modeling_ssgpt.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


modelling = load_modelling_file()


def test_the_modelling_file_has_the_kinds_of_the_program():
    assert list(modelling.KINDS) == list(FORMULAS)
    assert [name for name, kind in modelling.KINDS.items() if kind.scale] == KINDS_WITH_SCALE
    assert [name for name, kind in modelling.KINDS.items() if kind.bias] == KINDS_WITH_BIAS
    assert [name for name, kind in modelling.KINDS.items() if kind.position is None] == ["softmax"]


@pytest.mark.parametrize("kind", FORMULAS)
def test_the_row_scale_of_the_modelling_file_is_that_of_the_program(program, kind):
    """c(n) with s = 0.3 and b = 0.7 up to a million keys, in float32 on both sides: a few roundings of 2^-24."""
    n = torch.tensor([1, 2, 3, 31, 32, 33, 95, 96, 1000, 8191, 8192, 999_999])
    settings = {"attn_scale": 0.2, "floor_scale": 32}
    config = modelling.SsgptConfig(attention_kind=kind, max_position_embeddings=32, num_hidden_layers=0, hidden_size=8,
                                   num_attention_heads=2, vocab_size=2, **settings)
    if config.kind().learned:
        return  # it has an L only at its start: see test_s_starts_where_the_modelling_file_says
    command = ["evaluate", "closed-forms", "--kinds", kind, "--scale", 0.3, "--bias", 0.7, "--trained-length", 32, "--json"]
    command += ["--attn-scale", 0.2, "--floor-scale", 32, "--lengths", ",".join(map(str, n.tolist()))]
    (curve,) = json.loads(program.run(*command)[0])["fading"]["curves"]
    position = modelling.SsgptModel(config).row_position(n[None])
    c = torch.ones(len(n)) if position is None else position[0, 0, :, 0]
    c = c * (0.3 if config.kind().scale else 1) + (0.7 if config.kind().bias else 0)
    assert c.dtype == torch.float32
    assert c.tolist() == pytest.approx(curve["factors"], rel=1e-6)


def test_the_temperature_is_that_of_transformers_llama_4(program):
    """A layer of transformers' Llama 4 without RoPE, whose query shows the factor applied to it."""
    config = llama4.Llama4TextConfig(hidden_size=4, num_attention_heads=1, num_key_value_heads=1, head_dim=4,
                                     num_hidden_layers=1, no_rope_layers=[0], attn_scale=0.2, floor_scale=32,
                                     attn_temperature_tuning=True, use_qk_norm=False, attention_bias=False)
    layer = llama4_model.Llama4TextAttention(config, layer_idx=0)
    seen = []

    def attend(module, query, key, value, *arguments, **options):
        seen.append(query)
        return value.transpose(1, 2), None

    layer.config._attn_implementation = "shows_the_query"
    llama4_model.ALL_ATTENTION_FUNCTIONS.register("shows_the_query", attend)
    with torch.no_grad():
        layer.q_proj.weight.copy_(torch.eye(4))
        layer(torch.ones(1, 100, 4), position_embeddings=None, attention_mask=None)
    command = ["evaluate", "closed-forms", "--kinds", "llama4_temperature", "--attn-scale", 0.2, "--floor-scale", 32, "--json"]
    (curve,) = json.loads(program.run(*command, "--lengths", ",".join(map(str, range(1, 101))))[0])["fading"]["curves"]
    assert seen[0][0, 0, :, 0].tolist() == pytest.approx(curve["factors"], rel=1e-6)  # float32 on both sides
    assert len(set(curve["factors"])) == 4


@pytest.mark.parametrize("kind", KINDS_WITH_SCALE)
def test_s_starts_where_the_modelling_file_says(program, finished_run, kind):
    source = finished_run / "checkpoints/step-00000020"
    for name, options in (("auto", []), ("given", ["--scale-init", "0.43"])):
        program.run("convert", "--checkpoint", source, "--attention", kind, "--out", name, *options)
        config = modelling.SsgptConfig.from_pretrained(program.directory / name)
        scale = load_file(program.directory / name / "model.safetensors")["model.layers.1.self_attn.ssmax_scale"]
        assert scale.tolist() == pytest.approx([config.initial_scale()] * 2, rel=1e-7)  # one rounding to float32


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_the_table_of_kinds_is_that_of_the_program(page):
    lines = re.findall(r"^\| `(\w+)` \| (.*?) \|(.*?)\|", (ROOT / page).read_text(), re.M)
    rows = {kind: (formula.replace("*", ""), learned) for kind, formula, learned in lines if kind in FORMULAS}
    assert [(kind, formula) for kind, (formula, _) in rows.items()] == list(FORMULAS.items())
    for kind, (_, learned) in rows.items():
        letters = re.findall(r"\*(\w+)\*", learned.replace("each *n*", ""))
        assert ("s" in letters, "b" in letters) == (kind in KINDS_WITH_SCALE, kind in KINDS_WITH_BIAS), kind

"""Checkpoints as others see them: the safetensors package, transformers, and models that transformers wrote."""

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
from attention_kinds import KINDS, SCALED_KINDS, attention, options
from conftest import LENGTH, VOCAB
from indifference import CLOSE, check_packing, check_padding_and_caches
from manifests import sign
from safetensors import safe_open
from safetensors.torch import load_file, save_file



@pytest.fixture
def trained(finished_run):
    """A Softmax checkpoint."""
    return finished_run / "checkpoints" / "step-00000020"


def convert(program, checkpoint, kind):
    out = program.directory / f"as-{kind}"
    program.run("convert", "--checkpoint", checkpoint, "--attention", kind, "--out", out,
                "--scale-init", "0.43", "--bias-init", "0.3", *options(kind))
    return out


def load(directory, kind, **settings):
    """The model as transformers reads it, with row scales that differ between heads and weights that matter."""
    return transformers.AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=kind != "softmax", **settings)


def diversify(directory):
    """Makes the weights large and the row scales different, so that a wrong attention shows in the logits."""
    path = directory / "model.safetensors"
    tensors = load_file(path)
    generator = torch.Generator().manual_seed(3)
    for name, tensor in tensors.items():
        if "ssmax" in name:
            tensor *= 1 + 0.3 * torch.randn(tensor.shape, generator=generator)
        elif tensor.dim() == 2:
            tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    save_file(tensors, path, metadata={"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    if config.get("attention_kind") == "logn_clamped":  # T; up to it the kind is Softmax
        (directory / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4}))


def test_files_open_with_the_safetensors_package(trained):
    with safe_open(trained / "model.safetensors", framework="np") as model:
        assert model.metadata()["format"] == "pt"
        shapes = {name: model.get_slice(name).get_shape() for name in model.keys()}
        assert all(model.get_tensor(name).dtype == np.float32 for name in shapes)
    assert shapes["model.embed_tokens.weight"] == [VOCAB, 32]
    assert shapes["model.layers.1.mlp.down_proj.weight"] == [32, 48]
    assert len(shapes) == 3 + 2 * 9
    with safe_open(trained / "trainer" / "optimizer-00000-of-00001.safetensors", framework="np") as moments:
        assert {f"{name}.{m}" for name in shapes for m in ("exp_avg", "exp_avg_sq")} == set(moments.keys())
        ranges = json.loads(moments.metadata()["ranges"])
        assert ranges == {name: [0, int(np.prod(shape))] for name, shape in shapes.items()}
        for name, shape in shapes.items():
            assert moments.get_slice(f"{name}.exp_avg_sq").get_shape() == shape
            assert (moments.get_tensor(f"{name}.exp_avg_sq") >= 0).all()


def spread_moments(directory, ranks, cuts):
    """Deals the pieces between the cuts of each parameter to the ranks in turn, as the format allows."""
    whole = directory / "trainer" / "optimizer-00000-of-00001.safetensors"
    moments = load_file(whole)
    whole.unlink()
    names = [name.removesuffix(".exp_avg") for name in moments if name.endswith(".exp_avg")]
    for rank in range(ranks):
        ranges, tensors = {}, {}
        for name in names:
            flat = {m: moments[f"{name}.{m}"].flatten() for m in ("exp_avg", "exp_avg_sq")}
            bounds = [0, *(cut for cut in cuts if cut < flat["exp_avg"].numel()), flat["exp_avg"].numel()]
            pieces = [piece for i, piece in enumerate(zip(bounds, bounds[1:])) if i % ranks == rank]
            if not pieces:
                continue
            ranges[name] = [bound for piece in pieces for bound in piece]
            shape = moments[f"{name}.exp_avg"].shape if pieces == [(0, bounds[-1])] else (-1,)
            for m, values in flat.items():
                tensors[f"{name}.{m}"] = torch.cat([values[a:b] for a, b in pieces]).reshape(shape)
        save_file(tensors, directory / "trainer" / f"optimizer-{rank:05d}-of-{ranks:05d}.safetensors",
                  metadata={"format": "pt", "ranges": json.dumps(ranges)})
    sign(directory)


@pytest.mark.parametrize("ranks, cuts", [(2, [100, 101, 200, 1000]), (4, [100, 101])])
def test_moments_spread_over_ranks_are_read(program, trained, ranks, cuts):
    """The files are made with the safetensors package alone, following the format. The last of four ranks holds nothing."""
    before = load_file(trained / "trainer" / "optimizer-00000-of-00001.safetensors")
    copy = program.directory / "spread"
    shutil.copytree(trained, copy)
    spread_moments(copy, ranks, cuts)
    found = json.loads(program.run("inspect", copy, "--json")[0])
    assert found["state"] == "intact"
    assert found["optimizer_files"] == ranks
    assert re.search(rf"optimizer files +{ranks}", program.run("inspect", copy)[0])
    assert "optimizer files" not in program.run("inspect", trained)[0]
    after = load_file(convert(program, copy, "softmax") / "trainer" / "optimizer-00000-of-00001.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name

    (copy / "trainer" / f"optimizer-00001-of-{ranks:05d}.safetensors").unlink()
    _, err = program.run("convert", "--checkpoint", copy, "--attention", "ssmax", "--out", "x", code=3)
    assert f"optimizer-00001-of-{ranks:05d}.safetensors" in err


@pytest.mark.parametrize("kind", KINDS)
def test_transformers_loads_every_tensor(program, trained, kind):
    directory = convert(program, trained, kind)
    model, report = load(directory, kind, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(model).__name__ == ("LlamaForCausalLM" if kind == "softmax" else "SsgptForCausalLM")
    stored = load_file(directory / "model.safetensors")
    loaded = dict(model.named_parameters())
    assert stored.keys() == loaded.keys()
    for name, tensor in stored.items():
        assert torch.equal(tensor, loaded[name]), name


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", SCALED_KINDS)
def test_left_padding_and_caching_change_nothing(program, trained, kind, attention):
    directory = convert(program, trained, kind)
    diversify(directory)
    model = load(directory, kind, attn_implementation=attention).eval()
    tokens = torch.randint(0, VOCAB, (3, 9), generator=torch.Generator().manual_seed(1))
    check_padding_and_caches(model, tokens, new_tokens=6)


def test_the_row_scale_matters(program, trained):
    """The comparisons above could not fail if the kinds computed the same."""
    tokens = torch.arange(12)[None]
    logits = []
    for kind in KINDS:
        directory = convert(program, trained, kind)
        diversify(directory)
        with torch.no_grad():
            logits.append(load(directory, kind)(tokens).logits)
    for i, first in enumerate(logits):
        for second in logits[i + 1 :]:
            assert (first - second).abs().max() > 0.1


def test_packed_documents_count_from_their_start(program, trained):
    directory = convert(program, trained, "ssmax_bias")
    diversify(directory)
    model = load(directory, "ssmax_bias", attn_implementation="eager").eval()
    check_packing(model, torch.randint(0, VOCAB, (1, 10), generator=torch.Generator().manual_seed(1)), cut=4)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_stay_apart_with_a_cache(program, kind):
    """Documents that end in cached tokens, in padding and in batches: the result is as without a cache, or an error."""
    end, rows = 7, torch.Generator().manual_seed(1)
    program.train("--run-dir", "run", changes=[{
        "model": {"attention": attention(kind)}, "train": {"max_steps": 4},
        "data": {"reset_at_document": True, "document_token_id": end},
    }])
    directory = program.directory / "run" / "checkpoints" / "step-00000004"
    diversify(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, trust_remote_code=True).eval()
    tokens = torch.randint(8, VOCAB, (3, 12), generator=rows)
    tokens[0, [2, 7]] = end
    tokens[1, 4] = end
    full = check_padding_and_caches(model, tokens, filler=end, padding=2, cuts=(4, 5, 6), new_tokens=3)
    with torch.no_grad():
        cache = model(tokens[:, :4], use_cache=True).past_key_values
        order = torch.tensor([1, 2, 0])  # as a beam search does
        cache.reorder_cache(order)
        out = model(tokens[order, 4:], past_key_values=cache, use_cache=True)
        torch.testing.assert_close(out.logits, full[order, 4:], **CLOSE)

        foreign = transformers.DynamicCache()
        for layer in range(2):
            foreign.update(torch.zeros(3, 2, 4, 16), torch.zeros(3, 2, 4, 16), layer)
        with pytest.raises(ValueError, match="another model filled it"):
            model(tokens, past_key_values=foreign, use_cache=True)
        with pytest.raises(ValueError, match="inputs_embeds"):
            model(inputs_embeds=model.get_input_embeddings()(tokens))


@pytest.mark.parametrize("kind", SCALED_KINDS)
def test_half_precision_keeps_the_row_scale_in_fp32(program, trained, kind):
    directory = convert(program, trained, kind)
    model = load(directory, kind, dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if "ssmax" in name else torch.bfloat16), name
    with torch.no_grad():
        assert model(torch.arange(8)[None]).logits.isfinite().all()


def test_learned_positions_end_where_training_did(program, trained):
    model = load(convert(program, trained, "learned_pn"), "learned_pn")
    with torch.no_grad():
        model(torch.zeros(1, LENGTH, dtype=torch.long))
        with pytest.raises(ValueError, match=f"{LENGTH + 1} keys"):
            model(torch.zeros(1, LENGTH + 1, dtype=torch.long))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_llama_of_transformers_is_read(program, dtype):
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=LENGTH, rope_parameters={"rope_type": "default", "rope_theta": 1234.5},
    )
    model = transformers.LlamaForCausalLM(config).to(dtype)
    model.save_pretrained(program.directory / "llama")
    out, _ = program.run("inspect", program.directory / "llama", "--json")
    found = json.loads(out)
    assert found["attention"] == "softmax"
    assert found["model"]["rope_theta"] == 1234.5
    assert found["parameters"]["total"] == model.num_parameters()
    converted = load_file(convert(program, program.directory / "llama", "ssmax") / "model.safetensors")
    for name, parameter in model.named_parameters():
        assert torch.equal(converted[name], parameter.detach().float()), name


def test_what_transformers_saves_again_is_read(program, trained):
    model = load(convert(program, trained, "ssmax_bias"), "ssmax_bias")
    model.save_pretrained(program.directory / "again")
    found = json.loads(program.run("inspect", program.directory / "again", "--json")[0])
    assert found["attention"] == "ssmax_bias"
    assert found["attention_scale"][0]["mean"] == pytest.approx(0.43)


def test_grouped_queries_are_refused_with_the_reason(program):
    config = transformers.LlamaConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=LENGTH,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(program.directory / "grouped")
    _, err = program.run("inspect", program.directory / "grouped", code=3)
    assert "grouped-query" in err


def test_inspect_and_convert_report_damage(program, trained):
    copy = program.directory / "copy"
    shutil.copytree(trained, copy)
    out, _ = program.run("inspect", copy, "--json")
    assert json.loads(out)["state"] == "intact"
    data = bytearray((copy / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (copy / "model.safetensors").write_bytes(data)
    _, err = program.run("inspect", copy, code=3)
    assert "model.safetensors" in err
    program.run("inspect", copy, "--no-verify")
    program.run("convert", "--checkpoint", copy, "--attention", "ssmax", "--out", program.directory / "x", code=3)
    assert not (program.directory / "x").exists()


def test_inspect_recognises_what_the_program_writes(program, trained):
    kinds = {"run": "run", trained: "checkpoint", "train.bin": "shard"}
    for path, expected in kinds.items():
        found = json.loads(program.run("inspect", path, "--json")[0])
        assert found["type"] == expected
        assert program.run("inspect", path)[0].strip()
    (program.directory / "notes.txt").write_text("hello")
    program.run("inspect", "notes.txt", code=3)
    program.run("inspect", "nothing", code=3)


def test_a_run_where_a_checkpoint_is_expected_is_told_its_newest(program, trained):
    _, err = program.run("evaluate", "loss", "--checkpoint", "run", "--data", "validation.bin", code=3)
    assert f"checkpoints/{trained.name}" in err

"""Our model's logits compared with other implementations, through checkpoints that our program wrote."""

import json
import subprocess

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from attention_kinds import KINDS, SCALED_KINDS, attention, constants
from conftest import BINARY, VOCAB, write_shard
from reference_model import ReferenceModel

# vocab, hidden, layers, heads, feed-forward, length: some of the sizes are odd
SHAPES = [(96, 32, 2, 2, 48, 16), (131, 40, 1, 5, 37, 23), (257, 96, 3, 3, 100, 64), (64, 128, 2, 1, 72, 2)]


def our_logits(program, checkpoint, tokens, **overrides):
    """overrides: those of evaluation::Overrides, by name."""
    np.asarray(tokens, dtype="<i4").tofile(program.directory / "tokens.raw")
    out = program.directory / "logits.raw"
    arguments = [checkpoint, program.directory / "tokens.raw", str(len(tokens)), out]
    arguments += [f"{name}={value}" for name, value in overrides.items()]
    subprocess.run([str(BINARY.with_name("ssgpt_logits")), *map(str, arguments)], check=True)
    return np.fromfile(out, dtype="<f4").reshape(*np.shape(tokens), -1)


def train_shape(program, shape, kind="softmax", theta=10000.0, data=None, **options):
    """A few steps with a high learning rate, so that no weight keeps its initial value. options: those of the model section."""
    vocab, hidden, layers, heads, inter, length = shape
    write_shard(program.directory / "train.bin", np.random.default_rng(3).integers(0, vocab, 40 * length + 1))
    program.train(
        "--run-dir", "run",
        changes=[{
            "model": {"vocab_size": vocab, "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
                      "intermediate_size": inter, "rope_theta": theta, "attention": attention(kind), **options},
            "data": {"sequence_length": length, **(data or {})},
            "train": {"max_steps": 8},
            "optimizer": {"lr": 0.02},
        }],
    )
    return program.directory / "run/checkpoints/step-00000008"


def assert_logits_equal(ours, theirs):
    # float32 in both: logits are sums of `hidden` products with relative errors of 2^-24 each, after as many in every
    # layer; 2e-5 of the largest logit is about ten times what is observed.
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()
    assert np.abs(theirs).max() > 0.1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_logits_equal_transformers(program, shape, theta):
    checkpoint = train_shape(program, shape, theta=theta)
    tokens = np.random.default_rng(4).integers(0, shape[0], (3, shape[-1]))
    model = LlamaForCausalLM.from_pretrained(checkpoint, attn_implementation="eager", dtype=torch.float32)
    with torch.no_grad():
        theirs = model(torch.tensor(tokens)).logits.numpy()
    assert_logits_equal(our_logits(program, checkpoint, tokens), theirs)


@pytest.mark.parametrize("kind", SCALED_KINDS)
def test_scaled_logits_equal_the_specification_and_the_modelling_file(program, kind):
    checkpoint = train_shape(program, SHAPES[2], kind)
    tokens = np.random.default_rng(4).integers(0, SHAPES[2][0], (3, SHAPES[2][-1]))
    ours = our_logits(program, checkpoint, tokens)
    weights = {k: v.double() for k, v in load_file(checkpoint / "model.safetensors").items()}
    reference = ReferenceModel(weights, heads=SHAPES[2][3], layers=SHAPES[2][2], kind=kind,
                               trained_length=SHAPES[2][-1], **constants(kind))
    modelling_file = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True, dtype=torch.float32)
    with torch.no_grad():
        assert_logits_equal(ours, reference(torch.tensor(tokens)).numpy())
        assert_logits_equal(ours, modelling_file(torch.tensor(tokens)).logits.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_documents_do_not_see_each_other(program, kind):
    """Rows with several documents: our logits, those of the modelling file, and those of each document alone."""
    shape, end = (96, 32, 2, 2, 48, 16), 7
    checkpoint = train_shape(program, shape, kind, data={"reset_at_document": True, "document_token_id": end})
    tokens = np.random.default_rng(4).integers(8, shape[0], (4, shape[-1]))
    tokens[0, [4, 5, 11]] = end  # one of the documents is a single token
    tokens[1, [0, 15]] = end
    tokens[2, 8] = end  # the last row is one document
    ours = our_logits(program, checkpoint, tokens)
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == "ssgpt"
    for implementation in ("eager", "sdpa"):
        model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True, dtype=torch.float32,
                                                     attn_implementation=implementation)
        with torch.no_grad():
            for use_cache in (False, True):
                theirs = model(torch.tensor(tokens), use_cache=use_cache).logits.numpy()
                assert_logits_equal(ours, theirs)
            alone = [model(torch.tensor(part)[None]).logits[0].numpy() for part in np.split(tokens[0], [5, 6, 12])]
        assert_logits_equal(ours[0], np.concatenate(alone))
    plain = json.loads((checkpoint / "config.json").read_text())
    plain["ssgpt"]["document_token_id"] = None
    (checkpoint / "config.json").write_text(json.dumps(plain))
    model = AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True, dtype=torch.float32)
    with torch.no_grad():
        assert np.abs(model(torch.tensor(tokens)).logits.numpy() - ours).max() > 1e-2, "documents make no difference"


def test_learned_positions_reach_as_far_as_training_did(program):
    """Windows shorter than in training read the first entries of p_n; longer ones have no entries, and are refused."""
    checkpoint = train_shape(program, (VOCAB, 32, 2, 2, 48, 16), "learned_pn")
    tokens = np.random.default_rng(4).integers(0, VOCAB, (2, 16))
    assert_logits_equal(our_logits(program, checkpoint, tokens[:, :5]), our_logits(program, checkpoint, tokens)[:, :5])
    evaluate = ["evaluate", "loss", "--checkpoint", checkpoint, "--data", "validation.bin", "--json", "--sequence-length"]
    assert json.loads(program.run(*evaluate, 8)[0])["sequence_length"] == 8
    _, err = program.run(*evaluate, 17, code=2)
    assert "up to 16" in err and "--extend-pn fit" in err


def test_a_transformers_model_is_evaluated_and_trained_on(program):
    """A directory written by transformers is read as it is; the loss of consecutive windows equals transformers' own."""
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                         max_position_embeddings=16, rms_norm_eps=1e-5, tie_word_embeddings=False)
    model = LlamaForCausalLM(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    model.save_pretrained(program.directory / "llama")
    out, _ = program.run("evaluate", "loss", "--checkpoint", "llama", "--data", "validation.bin", "--json")
    tokens = np.fromfile(program.directory / "validation.bin", dtype="<u2", offset=1024).astype(np.int64)
    windows = torch.tensor(np.stack([tokens[i : i + 17] for i in range(0, len(tokens) - 1, 16)]))
    with torch.no_grad():
        logits = model(windows[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).double(), windows[:, 1:].flatten()).item()
    report = json.loads(out)
    assert report["tokens"] == 256
    assert report["loss"] == pytest.approx(loss, rel=1e-5)  # float32 on both sides
    program.train("--run-dir", "run", "--init-from", "llama", changes=[{"train": {"max_steps": 3}}])

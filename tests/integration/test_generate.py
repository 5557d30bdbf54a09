"""ssgpt generate: greedy tokens compared with full forward passes elsewhere, sampling, streaming, and user errors."""

import json
import os
import shutil
import socket
import subprocess

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from attention_kinds import KINDS, attention, constants
from conftest import BINARY, write_shard
from reference_model import ReferenceModel

VOCAB, LENGTH, HEADS, LAYERS = 96, 64, 2, 2


def trained(program, kind="softmax", vocab=VOCAB, **data):
    """A checkpoint after a few steps from wide initial values: its greedy text varies instead of repeating one token."""
    write_shard(program.directory / "train.bin", np.random.default_rng(3).integers(0, vocab, 20 * LENGTH + 1))
    program.train("--run-dir", f"run-{kind}", changes=[{
        "model": {"vocab_size": vocab, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "initializer_range": 0.4,
                  "attention": attention(kind, bias_init=0.1)},
        "data": {"sequence_length": LENGTH, **data},
        "train": {"max_steps": 6},
    }])
    return program.directory / f"run-{kind}/checkpoints/step-00000006"


def generate(program, checkpoint, *arguments, code=0, **environment):
    """The object that --json prints."""
    out, _ = program.run("generate", "--checkpoint", checkpoint, "--json", *arguments, code=code, **environment)
    return json.loads(out)


def ids(tokens):
    return ",".join(map(str, tokens))


def reference(checkpoint, kind):
    weights = {k: v.double() for k, v in load_file(checkpoint / "model.safetensors").items()}
    return ReferenceModel(weights, heads=HEADS, layers=LAYERS, kind=kind, trained_length=LENGTH, **constants(kind))


def count_greedy(logits, tokens):
    """Each token must have the largest of its logits, (T, V). Returns how many do so only within float32's rounding."""
    ties = 0
    for row, token in zip(logits, tokens, strict=True):
        if int(row.argmax()) != token:
            # The program's logits are off by up to about 1e-5 of the largest (test_logits.py).
            assert row.max() - row[token] <= 4e-5 * row.abs().max()
            ties += 1
    return ties


def test_greedy_tokens_of_all_kinds_are_the_likeliest_of_full_forwards(program):
    """All kinds, four prompts of 1 to 14 tokens, 50 tokens each, compared with one float64 forward pass over the whole
    sequence."""
    count = ties = 0
    distinct = set()
    for kind in KINDS:
        checkpoint = trained(program, kind)
        model = reference(checkpoint, kind)
        for seed, length in enumerate((1, 2, 7, 14)):
            prompt = np.random.default_rng(seed).integers(0, VOCAB, length).tolist()
            result = generate(program, checkpoint, "--prompt-tokens", ids(prompt), "--max-tokens", 50, "--temperature", 0)
            assert result["prompt_tokens"] == prompt and len(result["tokens"]) == 50
            with torch.no_grad():
                logits = model(torch.tensor([prompt + result["tokens"][:-1]]))[0, length - 1 :]
            ties += count_greedy(logits, result["tokens"])
            count += 50
            distinct.update(result["tokens"])
    assert count == 200 * len(KINDS) >= 1200
    assert ties <= 2, f"{ties} ties"
    assert len(distinct) > 30, "the texts are too dull to tell anything"


def test_greedy_text_of_a_transformers_model_is_what_transformers_generates(program):
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
                         max_position_embeddings=LENGTH, tie_word_embeddings=False, initializer_range=0.4,
                         bos_token_id=None, eos_token_id=None)
    model = LlamaForCausalLM(config).float()
    model.save_pretrained(program.directory / "llama")
    theirs = model.generate(torch.tensor([[5, 9, 40]]), max_new_tokens=40, do_sample=False, pad_token_id=0)[0, 3:].tolist()
    ours = generate(program, "llama", "--prompt-tokens", "5,9,40", "--max-tokens", 40, "--temperature", 0)
    assert ours["tokens"] == theirs
    assert ours["text"] is None and ours["finish_reason"] == "length"


@pytest.mark.parametrize("kind", ["softmax", "ssmax"])
def test_attention_and_n_begin_again_behind_the_end_of_a_document(program, kind):
    """The text after a document's end is that of a model which never saw what comes before it."""
    end = 7
    checkpoint = trained(program, kind, reset_at_document=True, document_token_id=end)
    model = reference(checkpoint, kind)
    result = generate(program, checkpoint, "--prompt-tokens", f"3,50,{end},5,9", "--max-tokens", 50, "--temperature", 0)
    tokens = result["tokens"]
    assert result["finish_reason"] == ("stop" if tokens[-1] == end else "length")
    with torch.no_grad():
        assert count_greedy(model(torch.tensor([[5, 9] + tokens[:-1]]))[0, 1:], tokens) == 0
        whole = model(torch.tensor([[3, 50, end, 5, 9] + tokens[:-1]]))[0, 4:]
    assert whole.argmax(-1).tolist() != tokens, "documents make no difference"
    # From any token, an end comes soon at a high temperature; it ends the sample unless it is ignored.
    hot = ["--prompt-tokens", "5", "--max-tokens", 60, "--temperature", 8, "--top-p", 1, "--samples", 40]
    stopped = generate(program, checkpoint, *hot)["samples"]
    endless = generate(program, checkpoint, *hot, "--ignore-eos")["samples"]
    assert any(s["finish_reason"] == "stop" for s in stopped)
    for short, long in zip(stopped, endless, strict=True):
        assert len(long["tokens"]) == 60 and long["finish_reason"] == "length"
        assert short["tokens"] == long["tokens"][: len(short["tokens"])]
        assert (end in long["tokens"]) == (short["finish_reason"] == "stop") == (short["tokens"][-1] == end)


def test_samples_depend_on_the_seed_and_their_number_alone(program):
    checkpoint = trained(program, "ssmax")
    arguments = ["--prompt-tokens", "1,2,3", "--max-tokens", 30, "--temperature", 2]
    three = generate(program, checkpoint, *arguments, "--samples", 3)
    assert three["tokens"] == three["samples"][0]["tokens"] != three["samples"][1]["tokens"]
    alone = generate(program, checkpoint, *arguments, OMP_NUM_THREADS="2")
    assert alone["samples"] == three["samples"][:1]
    assert generate(program, checkpoint, *arguments, "--seed", 2)["tokens"] != alone["tokens"]
    likeliest = generate(program, checkpoint, *arguments[:4], "--temperature", 0)["tokens"]
    assert generate(program, checkpoint, *arguments, "--top-k", 1)["tokens"] == likeliest
    assert generate(program, checkpoint, *arguments, "--top-p", 1e-9)["tokens"] == likeliest
    lines = program.run("generate", "--checkpoint", checkpoint, *arguments, "--samples", 3)[0].splitlines()
    assert lines == [line for i, s in enumerate(three["samples"])
                     for line in (f"--- sample {i + 1} of 3 ---", " ".join(map(str, s["tokens"])))]


def test_first_tokens_are_drawn_with_the_probabilities_of_the_model(program):
    checkpoint = trained(program, "ssmax")
    result = generate(program, checkpoint, "--prompt-tokens", "4,8", "--max-tokens", 1, "--samples", 2000, "--temperature", 1.5,
                      "--top-p", 1)
    assert result["tokens_per_second"] is None  # nothing was decoded after the prompt
    counts = np.bincount([s["tokens"][0] for s in result["samples"]], minlength=VOCAB)
    with torch.no_grad():
        p = (reference(checkpoint, "ssmax")(torch.tensor([[4, 8]]))[0, -1] / 1.5).softmax(-1).numpy()
    # A count is binomial: with 96 of them, one in 20,000 seeds exceeds 5 standard deviations, and the seed is fixed.
    assert (np.abs(counts - 2000 * p) <= 5 * np.sqrt(2000 * p * (1 - p)) + 1).all()


def test_texts_beyond_the_trained_length(program):
    """Angles and log n continue, with one warning; a learned p_n has an end, which is named, and which the default length
    respects."""
    checkpoint = trained(program, "ssmax")
    prompt = np.random.default_rng(0).integers(0, VOCAB, LENGTH + 10).tolist()
    out, err = program.run("generate", "--checkpoint", checkpoint, "--prompt-tokens", ids(prompt), "--max-tokens", 20,
                           "--temperature", 0, "--json")
    tokens = json.loads(out)["tokens"]
    assert err.count("warning") == 1 and str(LENGTH) in err and str(LENGTH + 29) in err
    with torch.no_grad():
        assert count_greedy(reference(checkpoint, "ssmax")(torch.tensor([prompt + tokens[:-1]]))[0, len(prompt) - 1 :], tokens) <= 1
    checkpoint = trained(program, "learned_pn")
    learned = ["generate", "--checkpoint", checkpoint, "--prompt-tokens", "1,2,3,4"]
    _, err = program.run(*learned, "--max-tokens", LENGTH - 2, code=2)
    assert f"{LENGTH} entries" in err
    out, err = program.run(*learned, "--json")  # the last of 61 is not read
    assert len(json.loads(out)["tokens"]) == LENGTH - 3 and "warning" not in err
    _, err = program.run("generate", "--checkpoint", checkpoint, "--prompt-tokens", ids(prompt), code=2)
    assert f"{LENGTH} entries" in err


TEXT = "In the beginning was the word — « naïve café » 日本語 😀 and the word was with the others.\n" * 40


@pytest.fixture
def with_tokenizer(program):
    """A checkpoint with a tokenizer of 300 pieces, most of them bytes."""
    (program.directory / "text.txt").write_text(TEXT)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", 300)
    return trained(program, "ssmax", vocab=300, tokenizer=str(program.directory / "t.model"))


def test_text_is_streamed_as_valid_utf8_and_is_what_json_holds(program, with_tokenizer):
    arguments = ["--checkpoint", with_tokenizer, "--prompt", "naïve 日", "--max-tokens", 400, "--temperature", 1.5]
    whole = generate(program, *arguments[1:])
    # Such a socket keeps the writes apart, however late they are read; a pipe would join them.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        process = subprocess.Popen([BINARY, "generate", *map(str, arguments)], env=program.environment, cwd=program.directory,
                                   stdout=theirs, stderr=subprocess.PIPE)
        theirs.close()
        parts = []
        while part := ours.recv(65536):
            parts.append(part.decode())  # raises if a character is split
    assert process.wait() == 0
    assert "".join(parts) == whole["text"] + "\n"
    assert len(parts) > 20, "it does not come as it is made"
    assert len(whole["text"].encode()) > 400 and "\ufffd" in whole["text"], "no byte was worth holding back"
    assert b"tokens/s" in process.stderr.read()


def test_a_full_disk_ends_the_text_at_once(program, with_tokenizer):
    with open("/dev/full", "w") as full:
        process = subprocess.run([BINARY, "generate", "--checkpoint", with_tokenizer, "--prompt", "a", "--max-tokens", "50"],
                                 env=program.environment, cwd=program.directory, stdout=full, stderr=subprocess.PIPE, text=True)
    assert process.returncode == 1
    assert "No space left on device" in process.stderr and "tokens/s" not in process.stderr


def test_prompts_with_a_tokenizer(program, with_tokenizer):
    result = generate(program, with_tokenizer, "--prompt", "", "--max-tokens", 3)
    assert result["prompt_tokens"] == [2]  # </s>: a document begins after the end of another
    assert set(result) == {"tokens", "text", "finish_reason", "samples", "prompt_tokens", "attention", "step", "seed",
                           "tokens_per_second"}
    assert (result["attention"], result["step"], result["seed"]) == ("ssmax", 6, 1)
    by_text = generate(program, with_tokenizer, "--prompt", "the word", "--max-tokens", 9)
    by_ids = generate(program, with_tokenizer, "--prompt-tokens", ids(by_text["prompt_tokens"]), "--max-tokens", 9)
    assert by_ids["tokens"] == by_text["tokens"] and by_ids["text"] == by_text["text"]
    stopped = generate(program, with_tokenizer, "--prompt", "a", "--max-tokens", 60, "--temperature", 9, "--top-p", 1,
                       "--samples", 60)["samples"]
    assert all((s["finish_reason"] == "stop") == (s["tokens"][-1] == 2) for s in stopped)
    assert any(s["finish_reason"] == "stop" for s in stopped)


def test_bfloat16_is_greedy_within_its_rounding(program):
    checkpoint = trained(program, "ssmax_bias")
    result = generate(program, checkpoint, "--prompt-tokens", "1,2,3", "--max-tokens", 50, "--temperature", 0, "--bfloat16")
    with torch.no_grad():
        logits = reference(checkpoint, "ssmax_bias")(torch.tensor([[1, 2, 3] + result["tokens"][:-1]]))[0, 2:]
    # After two layers of rounding to 8 bits a logit is off by about 2^-8 of the largest; 0.05 is a dozen times that.
    for row, token in zip(logits, result["tokens"], strict=True):
        assert row.max() - row[token] <= 0.05 * row.abs().max()


BAD_ARGUMENTS = [
    (["--prompt", "In the"], ["tokenizer.model", "--prompt-tokens"]),
    (["--prompt", ""], ["empty", "--prompt-tokens"]),
    (["--prompt-tokens", ""], ["empty"]),
    (["--prompt-tokens", f"1,{VOCAB}"], [str(VOCAB), f"0 to {VOCAB - 1}"]),
    (["--prompt-tokens=-1,2"], ["-1"]),
    (["--prompt-tokens", "1,x"], ["'x'"]),
    (["--prompt-tokens", "1,,2"], ["1,,2"]),
    (["--prompt-tokens", "1", "--prompt", "a"], ["--prompt"]),
    ([], ["--prompt"]),
    (["--prompt-tokens", "1", "--temperature", "-0.5"], ["--temperature", "-0.5"]),
    (["--prompt-tokens", "1", "--temperature", "nan"], ["--temperature", "nan"]),
    (["--prompt-tokens", "1", "--top-p", "0"], ["--top-p"]),
    (["--prompt-tokens", "1", "--top-p", "1.5"], ["--top-p", "1.5"]),
    (["--prompt-tokens", "1", "--top-k", "-1"], ["--top-k"]),
    (["--prompt-tokens", "1", "--max-tokens", "0"], ["--max-tokens"]),
    (["--prompt-tokens", "1", "--samples", "0"], ["--samples"]),
]


def test_bad_arguments_are_named(program):
    checkpoint = trained(program)
    for arguments, words in BAD_ARGUMENTS:
        out, err = program.run("generate", "--checkpoint", checkpoint, *arguments, code=2)
        assert all(word in err for word in words), err
        assert "internal error" not in err and out == ""


def test_the_newest_checkpoint_of_a_run_continues(program):
    checkpoint = trained(program)
    run = checkpoint.parents[1]
    out, err = program.run("generate", "--checkpoint", run, "--prompt-tokens", "1", "--json")
    assert json.loads(out)["tokens"] == generate(program, checkpoint, "--prompt-tokens", "1")["tokens"]
    assert f"{run}: its newest checkpoint, step 6," in err
    shutil.rmtree(checkpoint)
    _, err = program.run("generate", "--checkpoint", run, "--prompt-tokens", "1", code=3)
    assert f"{run}: this run has no complete checkpoint yet." in err


def test_checkpoints_that_do_not_load(program):
    _, err = program.run("generate", "--checkpoint", "nowhere", "--prompt-tokens", "1", code=3)
    assert "nowhere" in err
    checkpoint = trained(program)
    (checkpoint / "model.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes()[:-1])
    _, err = program.run("generate", "--checkpoint", checkpoint, "--prompt-tokens", "1", code=3)
    assert "model.safetensors" in err
    program.run("generate", "--prompt-tokens", "1", code=2)


def test_control_bytes_reach_a_pipe_but_no_terminal(program):
    """Most tokens of this tokenizer are single bytes: 400 random ones include some below a blank."""
    (program.directory / "text.txt").write_text("In the beginning was the word.\n" * 40)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", 280)
    checkpoint = trained(program, vocab=280, tokenizer="t.model")
    command = [str(BINARY), "generate", "--checkpoint", str(checkpoint), "--prompt", "In", "--max-tokens", "400",
               "--temperature", "50", "--ignore-eos"]
    for samples in ("1", "2"):
        whole = subprocess.run([*command, "--samples", samples], capture_output=True, check=True).stdout
        ours, theirs = os.openpty()
        with subprocess.Popen([*command, "--samples", samples], stdout=theirs, stderr=subprocess.DEVNULL) as process:
            os.close(theirs)
            shown = b""
            try:
                while part := os.read(ours, 4096):
                    shown += part
            except OSError:  # the other end is closed
                pass
        os.close(ours)
        assert process.returncode == 0
        control = [byte for byte in range(0x20) if byte not in b"\n\t"] + [0x7F]
        assert b"\x1b" in whole
        assert shown.replace(b"\r\n", b"\n") == bytes(byte for byte in whole if byte not in control)

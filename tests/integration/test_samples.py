"""Texts sampled during training: where they are written, and that they do not affect the training."""

import json

import pytest
import sentencepiece
from conftest import LENGTH, read_metrics, without_timing
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

PROMPTS = ["In the beginning", "", "naïve 日\n"]
VOCABULARY = 300


@pytest.fixture
def config(program):
    """A config with a tokenizer, validation every 5 of 20 steps, a checkpoint every 10, and no samples yet."""
    text = "In the beginning was the word — « naïve café » 日本語 and the word was with the others.\n" * 40
    (program.directory / "text.txt").write_text(text)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", VOCABULARY)
    return {
        "model": {"vocab_size": VOCABULARY, "attention": {"kind": "ssmax"}},
        "data": {"sequence_length": 48, "tokenizer": "t.model", "validation": ["validation.bin"]},
        "evaluate": {"every": 5, "batches": 1},
        "checkpoint": {"every": 10, "keep_last": 5},
        "log": {"tensorboard": True},
    }


SAMPLES = {"evaluate": {"samples": {"prompts": PROMPTS, "max_tokens": 20, "temperature": 1.2}}}


def read_samples(program, run):
    return [json.loads(line) for line in (program.directory / run / "samples.jsonl").read_text().splitlines()]


def test_samples_land_everywhere_and_change_no_bit_of_the_training(program, config):
    program.train("--run-dir", "without", changes=[config])
    program.train("--run-dir", "with", changes=[config, SAMPLES])
    assert not (program.directory / "without/samples.jsonl").exists()
    metrics = [without_timing(read_metrics(program.directory / run)) for run in ("without", "with")]
    assert metrics[0] == metrics[1] and len(metrics[0]) == 20
    last = "checkpoints/step-00000020"
    for name in ("model.safetensors", "trainer/optimizer-00000-of-00001.safetensors"):
        assert (program.directory / "without" / last / name).read_bytes() == (program.directory / "with" / last / name).read_bytes()

    samples = read_samples(program, "with")
    assert [(s["step"], s["prompt"]) for s in samples] == [(step, p) for step in (5, 10, 15, 20) for p in PROMPTS]
    assert len({s["text"] for s in samples}) > 6
    log = (program.directory / "with/log.txt").read_text()
    assert all(f"Step {step}: \"In the beginning\" ->" in log for step in (5, 10, 15, 20))
    accumulator = EventAccumulator(str(program.directory / "with"))
    accumulator.Reload()
    for i, prompt in enumerate(PROMPTS):
        assert accumulator.SummaryMetadata(f"samples/{i}").plugin_data.plugin_name == "text"
        shown = [(e.step, e.tensor_proto.string_val[0].decode()) for e in accumulator.Tensors(f"samples/{i}")]
        assert shown == [(s["step"], f"~~~~~~~~\n{prompt}{s['text']}\n~~~~~~~~") for s in samples[i::3]]

    # The checkpoint of a step samples the same text after training.
    for i, prompt in enumerate(PROMPTS):
        out, _ = program.run("generate", "--checkpoint", f"with/{last}", "--prompt", prompt, "--max-tokens", 20,
                             "--temperature", 1.2, "--seed", 7, "--json")
        assert json.loads(out)["text"] == samples[9 + i]["text"]


def test_a_resumed_run_has_the_samples_of_one_that_was_not_stopped(program, config):
    program.train("--run-dir", "run", changes=[config, SAMPLES])
    whole = (program.directory / "run/samples.jsonl").read_bytes()
    (program.directory / "run/checkpoints/step-00000020").rename(program.directory / "lost")
    program.train("--run-dir", "run", "--resume", "auto", changes=[config, SAMPLES])
    assert (program.directory / "run/samples.jsonl").read_bytes() == whole
    # A resume may change the prompts: earlier samples stay.
    program.train("--run-dir", "run", "--resume", "auto", changes=[
        config, SAMPLES, {"evaluate": {"samples": {"prompts": ["other"], "temperature": 0}}, "train": {"max_steps": 25}}])
    assert (program.directory / "run/samples.jsonl").read_bytes().startswith(whole)
    assert [(s["step"], s["prompt"]) for s in read_samples(program, "run")[12:]] == [(25, "other")]


def test_a_learned_position_and_a_swap_have_samples_too(program, config):
    swap = {"train": {"swap_attention": {"at_step": 10, "kind": "softmax"}}, "model": {"attention": {"kind": "learned_pn"}}}
    program.train("--run-dir", "run", changes=[config, SAMPLES, swap])
    assert len(read_samples(program, "run")) == 12


def test_prompts_that_cannot_be_continued(program, config):
    long = {"evaluate": {"samples": {"prompts": ["日" * LENGTH]}}}
    for arguments in ([], ["--dry-run"]):
        _, err = program.train("--run-dir", "run", *arguments, changes=[config, long], code=2)
        assert "evaluate.samples" in err and "48" in err and "max_tokens" in err
        assert not (program.directory / "run").exists()
    _, err = program.train("--run-dir", "run", changes=[config, SAMPLES, {"evaluate": {"every": 0}}], code=2)
    assert "evaluate.samples.prompts" in err and "evaluate.every" in err
    _, err = program.train("--run-dir", "run", changes=[config, SAMPLES, {"data": {"tokenizer": None}}], code=2)
    assert "evaluate.samples.prompts" in err and "data.tokenizer" in err


def test_one_token_ends_documents_for_samples_and_for_generate(program, config):
    """data.document_token_id is a property of the model only if attention is kept within documents; EOS is 2."""
    for reset, token in ((False, 2), (True, 7)):
        run = f"run-{token}"
        program.train("--run-dir", run, changes=[config, SAMPLES, {"data": {"document_token_id": 7, "reset_at_document": reset}}])
        text = [s["text"] for s in read_samples(program, run) if s["step"] == 20 and s["prompt"] == ""]
        out, _ = program.run("generate", "--checkpoint", f"{run}/checkpoints/step-00000020", "--prompt", "", "--max-tokens", 20,
                             "--temperature", 1.2, "--seed", 7, "--json")
        out = json.loads(out)
        assert out["prompt_tokens"] == [token] and [out["text"]] == text


def test_a_tokenizer_without_eos_needs_another_token_for_an_empty_prompt(program, config):
    sentencepiece.SentencePieceTrainer.train(
        input=str(program.directory / "text.txt"), model_prefix=str(program.directory / "none"), vocab_size=VOCABULARY,
        model_type="bpe", byte_fallback=True, eos_id=-1, bos_id=-1, hard_vocab_limit=False, minloglevel=2)
    none = {"data": {"tokenizer": "none.model"}}
    token = {"data": {"document_token_id": 7}}
    _, err = program.train("--run-dir", "run", "--dry-run", changes=[config, SAMPLES, none, token], code=2)
    assert "evaluate.samples.prompts" in err and "none.model" in err and "data.reset_at_document" in err
    program.train("--run-dir", "run", changes=[config, SAMPLES, none, token, {"data": {"reset_at_document": True}}])
    assert len(read_samples(program, "run")) == 12


def test_a_model_that_cannot_be_sampled_from_has_its_line_and_its_checkpoint(program, config):
    """Weights so large that every logit overflows: no loss is finite, and every step is skipped."""
    softmax = {"model": {"attention": {"kind": "softmax"}}}
    program.train("--run-dir", "sound", changes=[config, softmax])
    sound = program.directory / "sound/checkpoints/step-00000020"
    damaged = program.directory / "damaged"
    damaged.mkdir()
    (damaged / "config.json").write_bytes((sound / "config.json").read_bytes())
    weights = load_file(sound / "model.safetensors")
    weights["model.norm.weight"][:] = 1e6
    weights["lm_head.weight"][:] = 3e38
    save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    _, err = program.train("--run-dir", "run", "--init-from", damaged, changes=[
        config, softmax, SAMPLES, {"train": {"on_nonfinite": "skip"}}])
    assert all(f"Step {step}: no samples" in err for step in (5, 10, 15, 20)), err
    assert len(read_metrics(program.directory / "run")) == 20
    assert (program.directory / "run/checkpoints/step-00000020/manifest.json").exists()

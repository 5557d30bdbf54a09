"""Which tokens a fine-tuning learns, also with tokenizers that put a blank before every text, and where they are counted."""

import json

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file

from reference_model import ReferenceModel
from tunings import LAST, VOCABULARY, Tuning, answer_loss, make_examples, only_once, write_examples

ONE_STEP = {"train": {"max_steps": 1, "global_batch_size": 1, "micro_batch_size": 1},
            "optimizer": {"lr": 1e-30, "schedule": {"warmup_steps": 0}}}


@pytest.fixture
def tuning(program):
    return Tuning(program)


def reference(checkpoint, kind):
    return ReferenceModel({k: v.double() for k, v in load_file(checkpoint / "model.safetensors").items()}, heads=2, layers=2, kind=kind)


def mean_answer_loss(model, encoded):
    with torch.no_grad():
        total = sum(answer_loss(model, *example).item() for example in encoded)
    return total / sum(len(tokens) - prompt for tokens, prompt in encoded)


def train_llama_tokenizer(directory):
    """Like Llama 2's: byte-pair encoding with a blank before the text."""
    sentencepiece.SentencePieceTrainer.train(
        input=str(directory / "text.txt"), model_prefix=str(directory / "llama"), vocab_size=VOCABULARY - 10, model_type="bpe",
        byte_fallback=True, add_dummy_prefix=True, remove_extra_whitespaces=False, normalization_rule_name="identity",
        hard_vocab_limit=False, minloglevel=2)
    return "llama.model"


# The third and the fourth merge where they meet: a blank belongs to the following word.
EXAMPLES = [("how many lamps?\nAnswer:", " seven"), ("under the bridge:", "stone lamps"), ("Answer: ", "seven lamps"), ("Answer: ", "7"),
            ("river\n", "\nstone"), ("of the", " river and a bridge ")]


@pytest.mark.parametrize("kind", ["ours", "llama"])
def test_an_answer_has_the_tokens_that_stand_behind_its_prompt(tuning, kind):
    """The answer's tokens in the whole text, as needles are scored; where it merges with the prompt, its tokens after a line break."""
    name = train_llama_tokenizer(tuning.directory) if kind == "llama" else "t.model"
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(tuning.directory / name))
    assert tokenizer.vocab_size() <= VOCABULARY
    encoded, joined = [], 0
    for prompt, answer in EXAMPLES:
        before, whole = tokenizer.encode(prompt), tokenizer.encode(prompt + answer)
        if whole[: len(before)] != before:
            joined += 1
            neutral = ":" if answer.startswith("\n") else ":\n"  # two line breaks are one piece in our tokenizer
            whole = before + tokenizer.encode(neutral + answer)[len(tokenizer.encode(neutral)) :]
        # The text itself, without an additional blank.
        assert tokenizer.decode(whole) == prompt + answer
        encoded.append((whole + [tokenizer.eos_id()], len(before)))
    assert joined >= 1
    for_themselves = [tokenizer.encode(p) + tokenizer.encode(a) for p, a in EXAMPLES]
    assert (for_themselves == [tokens[:-1] for tokens, _ in encoded]) == (kind == "ours")
    start = tuning.start("ssmax", 128)
    tuning.write(EXAMPLES)
    tuning.train("run", ONE_STEP, {"data": {"tokenizer": name}}, arguments=["--init-from", start], kind="ssmax")
    record, = tuning.metrics("run")
    assert record["tokens"] == sum(len(tokens) - prompt for tokens, prompt in encoded)
    # Means of float32 losses.
    assert record["train/loss"] == pytest.approx(mean_answer_loss(reference(start, "ssmax"), encoded), rel=2e-6)


def test_fields_that_are_passed_over_may_hold_what_python_writes(tuning):
    """NaN and unpaired surrogates, as json.dumps writes them."""
    with open(tuning.directory / "train.jsonl", "a") as file:
        file.write(json.dumps({"prompt": "river?", "answer": " of", "score": float("nan"), "note": "\ud83d"}) + "\n")
    out, _ = tuning.train("run", arguments=["--dry-run"])
    assert "61 examples in" in out
    with open(tuning.directory / "train.jsonl", "a") as file:
        file.write(json.dumps({"prompt": "river?", "answer": " of\ud83d"}) + "\n")
    _, err = tuning.train("run", arguments=["--dry-run"], code=3)
    assert 'train.jsonl:62: the field "answer" holds half of a surrogate pair' in err


def test_the_budget_counts_the_tokens_that_the_run_will_have_predicted(tuning):
    """Over whole epochs and a part of one, whose windows have answers of different lengths."""
    change = {"train": {"max_steps": 7, "global_batch_size": 4, "micro_batch_size": 2}}
    out, _ = tuning.train("run", change, arguments=["--dry-run"])
    steps, tokens = only_once(out, r"budget +(\d+) steps, (\S+) tokens of answers, ")
    assert "4 windows = 512 positions per step" in out
    tuning.train("run", change)
    last = tuning.metrics("run")[-1]
    assert int(steps) == last["step"] == 7
    value = float(tokens.rstrip("K")) * (1000 if tokens.endswith("K") else 1)
    assert value == pytest.approx(last["tokens"], rel=0.006)  # three digits are shown
    assert last["tokens"] < 7 * 512 / 2


def test_the_loss_of_a_checkpoint_on_examples_is_that_of_their_answers(tuning):
    """As PyTorch computes it, and as the validation of the run that wrote the checkpoint does."""
    validation = {"data": {"validation": ["held_out.jsonl"]}, "evaluate": {"every": 8, "batches": 100}}
    tuning.train("run", validation, kind="ssmax")
    checkpoint = tuning.directory / "run" / LAST.format(8)
    evaluate = ["evaluate", "loss", "--checkpoint", checkpoint, "--device", "cpu"]
    found = json.loads(tuning.program.run(*evaluate, "--data", "held_out.jsonl", "--json")[0])
    encoded = [tuning.encode(*example) for example in make_examples(2, 25)]
    assert found["tokens"] == sum(len(tokens) - prompt for tokens, prompt in encoded)
    # Means of float32 losses.
    assert found["loss"] == pytest.approx(mean_answer_loss(reference(checkpoint, "ssmax"), encoded), rel=2e-6)
    assert found["loss"] == pytest.approx(tuning.metrics("run")[-1]["validation/loss"], rel=1e-6)
    assert found["examples_left_out"] == 0
    # Longer windows hold more examples, and change nothing.
    longer = json.loads(tuning.program.run(*evaluate, "--data", "held_out.jsonl", "--sequence-length", 300, "--json")[0])
    assert longer["windows"] < found["windows"] and longer["tokens"] == found["tokens"]
    assert longer["loss"] == pytest.approx(found["loss"], rel=2e-6)
    write_examples(tuning.directory / "long.jsonl", [*make_examples(2, 25), ("river?", " of" * 200)])
    _, err = tuning.program.run(*evaluate, "--data", "long.jsonl", code=3)
    assert "long.jsonl:26" in err and "--skip-long" in err
    out, _ = tuning.program.run(*evaluate, "--data", "long.jsonl", "--skip-long")
    assert "left out    1 examples" in out and f"tokens      {found['tokens']} of answers in" in out
    _, err = tuning.program.run(*evaluate, "--data", "held_out.jsonl", "train.bin", code=2)
    assert "train.bin" in err


def test_the_loss_on_examples_needs_a_tokenizer(tuning):
    start = tuning.start("softmax", 128)
    _, err = tuning.program.run("evaluate", "loss", "--checkpoint", start, "--data", "held_out.jsonl", code=2)
    assert "holds no tokenizer.model" in err


def test_only_files_of_examples_are_inspected_as_examples(tuning):
    tuning.train("run")
    for name in ("run.json", "metrics.jsonl"):
        _, err = tuning.program.run("inspect", f"run/{name}", code=3)
        assert "not a file of fine-tuning examples" in err and "name the folder" in err
    assert json.loads(tuning.program.run("inspect", "train.jsonl", "--json")[0])["examples"] == 60


def test_that_a_model_forgets_its_documents_is_said(tuning):
    """Its attention was kept within documents, which no key of a fine-tuning config says."""
    documents = {"data": {"reset_at_document": True, "document_token_id": 3, "sequence_length": 128},
                 "model": {"vocab_size": VOCABULARY}, **ONE_STEP}
    tuning.program.train("--run-dir", "start", changes=[documents])
    start = tuning.directory / "start" / LAST.format(1)
    _, err = tuning.train("run", ONE_STEP, arguments=["--init-from", start])
    assert "ends with a document (token 3)" in err
    config = json.loads((tuning.directory / "run" / LAST.format(1) / "config.json").read_text())
    assert config["model_type"] == "llama" and config.get("document_token_id") is None
    for setting in ({"reset_at_document": True}, {"document_token_id": 3}):
        _, err = tuning.train("other", {"data": setting}, code=2)
        assert "has no effect with data.format = sft" in err

"""Fine-tuning for the tests: a tokenizer, base models, examples, and the loss over answers."""

import json
import re

import numpy as np
import sentencepiece
import torch

from conftest import read_metrics

VOCABULARY = 350
LAST = "checkpoints/step-{:08d}"
WORDS = ["river", "stone", "of", "the", "seven", "lamps", "and", "a", "bridge", "under"]


def words(rng, count):
    return " ".join(rng.choice(WORDS, count))


def write_examples(path, examples):
    path.write_text("".join(json.dumps({"prompt": p, "answer": a}) + "\n" for p, a in examples))
    return path


def make_examples(seed, count):
    rng = np.random.default_rng(seed)
    return [(f"{words(rng, rng.integers(1, 40))}?", " " + words(rng, rng.integers(1, 12))) for _ in range(count)]


class Tuning:
    """The program with a tokenizer, a base model of each kind, and examples."""

    def __init__(self, program):
        self.program = program
        self.directory = program.directory
        (self.directory / "text.txt").write_text((" ".join(WORDS) + ".\n") * 40 + "0123456789 Question: Answer: unanswerable\n" * 5)
        program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", VOCABULARY)
        self.tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(self.directory / "t.model"))
        self.train_examples = make_examples(1, 60)
        self.write(self.train_examples)
        write_examples(self.directory / "held_out.jsonl", make_examples(2, 25))

    def write(self, examples):
        return write_examples(self.directory / "train.jsonl", examples)

    def config(self, *changes, kind="softmax"):
        return [{
            "model": {"vocab_size": VOCABULARY, "attention": {"kind": kind}, "initializer_range": 0.1},
            "data": {"train": ["train.jsonl"], "format": "sft", "tokenizer": "t.model", "sequence_length": 128},
            "train": {"max_steps": 8, "global_batch_size": 6, "micro_batch_size": 6},
            "optimizer": {"lr": 0.001},
        }, *changes]

    def start(self, kind, length):
        """A pretraining checkpoint to start from."""
        name = f"start-{kind}"
        one = {"model": {"vocab_size": VOCABULARY, "attention": {"kind": kind}, "initializer_range": 0.1},
               "data": {"sequence_length": length}, "train": {"max_steps": 1, "global_batch_size": 1, "micro_batch_size": 1},
               "optimizer": {"lr": 1e-30, "schedule": {"warmup_steps": 0}}}
        self.program.train("--run-dir", name, changes=[one])
        return self.directory / name / LAST.format(1)

    def encode(self, prompt, answer):
        """The tokens of an example, and how many of them belong to the prompt."""
        before = self.tokenizer.encode(prompt)
        return before + self.tokenizer.encode(answer) + [self.tokenizer.eos_id()], len(before)

    def train(self, run, *changes, arguments=(), code=0, **options):
        return self.program.train("--run-dir", run, *arguments, changes=self.config(*changes, **options), code=code)

    def metrics(self, run):
        return read_metrics(self.directory / run)


def answer_loss(model, tokens, prompt):
    """The cross-entropy summed over an answer, for an example that is alone in its window."""
    logits = model(torch.tensor([tokens[:-1]]))[0]
    targets = torch.tensor(tokens[1:])
    return torch.nn.functional.cross_entropy(logits[prompt - 1 :], targets[prompt - 1 :], reduction="sum")


def only_once(out, pattern):
    found = re.findall(pattern, out)
    assert len(found) == 1, out
    return found[0]

"""data/needles.py: fine-tuning examples in the form that ssgpt evaluate needle uses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "data" / "needles.py"
FORM = re.compile(r"The special magic ([A-Z][a-z]+) number is: ([1-9]\d{6})\.")


def make(corpus, output, *options, code=0):
    command = [sys.executable, SCRIPT, corpus, output, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return [json.loads(line) for line in output.read_text().splitlines()] if code == 0 else done.stderr


@pytest.fixture
def corpus(tmp_path):
    """Documents with sentences of seven words, which differ between documents."""
    documents = [" ".join(f"Document {d} has this sentence number {s}{'.!?'[s % 3]}" for s in range(30)) for d in range(5)]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in documents))
    return path


def test_each_example_holds_its_answer_once_in_a_stretch_of_one_document(corpus, tmp_path):
    texts = [json.loads(line)["text"] for line in corpus.read_text().splitlines()]
    examples = make(corpus, tmp_path / "out.jsonl", "--examples", 500, "--words", 60)
    assert len(examples) == 500
    sentences, places = set(), set()
    for example in examples:
        stretch, question = example["prompt"].split("\n\n")
        ((city, number),) = FORM.findall(stretch)
        assert question == f"The special magic {city} number is:" and example["answer"] == f" {number}"
        needle = f"{question} {number}."
        before, after = (part.strip() for part in stretch.split(needle))
        text = f"{before} {after}".strip()
        assert any(text in document for document in texts)
        assert 7 <= len(text.split()) <= 60 and len(text.split()) % 7 == 0
        sentences.add(len(text.split()) // 7)
        places.add(len(before.split()) // 7)
    assert sentences == set(range(1, 9)) and places == set(range(9))
    assert len({example["answer"] for example in examples}) == 500


def test_the_form_is_the_one_that_the_program_asks_in(program):
    out, _ = program.run("evaluate", "needle", "--help")
    assert FORM.search(" ".join(out.split())).groups() == ("Tokyo", "8106422")


def test_the_seed_says_which_examples(corpus, tmp_path):
    one, again, other = (
        make(corpus, tmp_path / f"{i}.jsonl", "--examples", 20, "--seed", seed) for i, seed in enumerate((1, 1, 2)))
    assert one == again and one != other


def test_too_few_words_are_refused(corpus, tmp_path):
    assert "at least 8 are needed" in make(corpus, tmp_path / "out.jsonl", "--words", 7, code=2)

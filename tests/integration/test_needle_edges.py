"""evaluate needle with models whose attention ends with a document, with logits that are not finite, and with too few seeds."""

import json
import subprocess
import sys

import pytest
import sentencepiece
from conftest import ROOT
from needle_models import make_text, needle, step, without_training
from safetensors.torch import load_file, save_file


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Models with one seed: "goes_on", "scaled" with SSMax, and two whose attention ends with other tokens."""
    program, change = make_text(tmp_path_factory.mktemp("edges"))
    program.train("--run-dir", "goes_on", changes=[change])
    program.train("--run-dir", "scaled", changes=[change, {"model": {"attention": {"kind": "ssmax"}}}])
    for run, token in (("paragraphs", paragraph(program)), ("documents", 2)):
        data = {"document_token_id": token, "reset_at_document": True}
        program.train("--run-dir", run, changes=[change, {"data": data}])
    return program


def paragraph(program):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(program.directory / "t.model"))
    return pieces.encode("a\n\nb")[1]


def report(program, name):
    command = [sys.executable, ROOT / "scripts/report.py", program.directory / name]
    drawn = subprocess.run(command, capture_output=True, text=True)
    assert drawn.returncode == 0 and drawn.stderr == "", drawn.stderr
    return (program.directory / name / "report.html").read_text()


SMALL = ["--lengths", 160, "--depths", "0,50", "--trials", 3]
IN_LINE = ["--prompt", " The special magic {city} number is:"]


def test_a_question_that_ends_a_document_is_refused(made):
    """After its empty line the model sees nothing of the needle."""
    token = paragraph(made)
    for options in (SMALL, [*SMALL, "--attention"], [*SMALL, "--prompt-style", "question"]):
        err = needle(made, "--checkpoint", "goes_on", "paragraphs", *options, code=2)[1]
        assert f"holds the token {token}, which ends a document" in err and "--prompt" in err
        assert "model 1 of" not in err
    outputs = ["--attention", "--json", "--trials-out", "paragraphs.jsonl"]
    result, _ = needle(made, "--checkpoint", "paragraphs", *SMALL, *IN_LINE, *outputs)
    for line in (made.directory / "paragraphs.jsonl").read_text().splitlines():
        assert token not in json.loads(line)["prompt_tokens"]
    weights = [head["mean"] for value in result["results"] for head in value["attention"]["heads"]]
    assert all(0 < weight < 1 for weight in weights)


def test_a_number_that_ends_a_document_is_refused(made):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(made.directory / "t.model"))
    folder = without_training(made, step("paragraphs"), "digits")
    config = (folder / "config.json").read_text()
    assert config.count(f'"document_token_id": {paragraph(made)}') == 1
    (folder / "config.json").write_text(config.replace(f'_token_id": {paragraph(made)}', f'_token_id": {pieces.encode("5")[-1]}'))
    err = needle(made, "--checkpoint", "digits", *SMALL, *IN_LINE, code=2)[1]
    assert "which ends a document" in err and "model 1 of" not in err


def test_models_whose_documents_end_otherwise_are_not_compared(made):
    err = needle(made, "--checkpoint", "goes_on", "paragraphs", "documents", *SMALL, *IN_LINE, code=2)[1]
    assert f"paragraphs/checkpoints/step-00000004 ends with the token {paragraph(made)}, that of" in err
    assert "documents/checkpoints/step-00000004 with 2 (data.reset_at_document)" in err and "model 1 of" not in err
    for other in ("paragraphs", "documents"):
        needle(made, "--checkpoint", "goes_on", other, *SMALL, *IN_LINE, "--attention")


def test_a_trial_that_is_not_finite_has_no_outcome(made):
    """One logit is infinite, so no probability is known, though all weights and the attention are finite."""
    folder = without_training(made, step("goes_on"), "infinite")
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][:, 0] = 100.0  # after the norm about the root of the 32 features, 5.7
    weights["lm_head.weight"][7, 0] = 3e38
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    out = ["--attention", "--json", "--out", "infinite_out", "--trials-out", "infinite.jsonl"]
    result, _ = needle(made, "--checkpoint", "infinite", *SMALL, *out)
    for value in result["results"]:
        assert value["correct"] is None and value["share_right"] is None and value["margin"] is None
        assert [trial["outcome"] for trial in value["attention"]["trials"]] == [None] * 3
        assert all(0 < trial["weight"] < 1 for trial in value["attention"]["trials"])
    for line in (made.directory / "infinite.jsonl").read_text().splitlines():
        trial = json.loads(line)
        assert trial["correct"] is None and trial["leading_digits"] is None and trial["margin"] is None
    report(made, "infinite_out")


def test_the_page_names_an_error_where_it_stands(made):
    """Heat maps show no errors; the table of each difference has a column for them."""
    needle(made, "--checkpoint", "goes_on", "scaled", *SMALL, "--out", "pair")
    page = report(made, "pair")
    parts = page.split("<h3>Difference to ")[1:]
    assert len(parts) == 2  # for the share right, and for the margin
    for part in parts:
        maps, tables = part.split("1 seed: three or more are needed", 1)
        assert 'class="heat"' in maps and "standard error" not in maps
        before, column = tables.split("In the table: one standard error of the trials.", 1)
        assert "<table" not in before and "std. error of the trials" in column

"""evaluate needle compared with sentencepiece, the float64 reference model and generate; its pictures; what it refuses."""

import collections
import json
import math
import random
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import sentencepiece
import torch
from conftest import ROOT, write_shard
from needle_models import HEADS, LAYERS, PIECES, TRAINED, copied_models, needle, sentences, step, without_training
from reference_model import ReferenceModel
from safetensors.torch import load_file, save_file

KINDS = ("softmax", "ssmax", "learned_pn")
FLOOR = 16  # f of llama4_temperature: much shorter than a trial


@pytest.fixture(scope="module")
def made(made_once, tmp_path_factory):
    return copied_models(made_once, tmp_path_factory.mktemp("needle"))


def trials_of(program, name="trials.jsonl"):
    return [json.loads(line) for line in (program.directory / name).read_text().splitlines()]


def checkpoint(kind, seed=1):
    return step("learned_pn") if kind == "learned_pn" else step(f"sweep/{kind}-seed{seed}")


def reference(program, kind, theta=10000.0):
    weights = load_file(program.directory / checkpoint(kind) / "model.safetensors")
    tensors = {name: tensor.double() for name, tensor in weights.items()}
    return ReferenceModel(tensors, heads=HEADS, layers=LAYERS, kind=kind, theta=theta)


def behind(model, prompt, tokens):
    """Log-probabilities over all tokens where each of `tokens` is predicted: (len(tokens), V)."""
    with torch.no_grad():
        logits = model(torch.tensor([prompt + tokens[:-1]]))[0, len(prompt) - 1 :]
    return logits.log_softmax(-1)


class Watching(ReferenceModel):
    """Keeps the last query's attention to every token: per layer (heads, T)."""

    def attention(self, x, prefix):
        b, t, d = x.shape
        q, k = (
            (x @ self.weight(f"{prefix}{name}_proj.weight").T).view(b, t, self.heads, -1).transpose(1, 2) for name in "qk"
        )
        q = (self.prepare(q, prefix, "q") * self.row_scale(prefix, t, x.dtype)[None, :, :, None])[:, :, -1:]
        scores = q @ self.prepare(k, prefix, "k").transpose(-1, -2) / math.sqrt(q.shape[-1])
        self.seen = [*getattr(self, "seen", []), scores.softmax(-1)[0, :, 0]]
        return super().attention(x, prefix)


def weights_on_needle(tensors, kind, trial, **options):
    """The weight on the needle per layer and head, by the reference."""
    model = Watching(tensors, heads=HEADS, layers=LAYERS, kind=kind, trained_length=TRAINED, floor_scale=FLOOR, **options)
    with torch.no_grad():
        model(torch.tensor([trial["prompt_tokens"]]))
    first = trial["needle_first_token"]
    return [seen[:, first : first + trial["needle_tokens"]].sum(-1).tolist() for seen in model.seen]


def varied(program, kind):
    """A checkpoint of this kind whose s and b differ between heads, and whose p_n is not log n. Returns its name and its tensors
    in float64."""
    floor = ["--floor-scale", FLOOR] if kind == "llama4_temperature" else []
    program.run("convert", "--checkpoint", checkpoint("softmax"), "--attention", kind, *floor, "--out", f"converted_{kind}")
    folder = without_training(program, f"converted_{kind}", f"varied_{kind}")
    weights = load_file(folder / "model.safetensors")
    generator = torch.Generator().manual_seed(3)
    for name in sorted(weights):
        if "ssmax_" in name:
            weights[name] += 0.5 * torch.rand(weights[name].shape, generator=generator)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder.name, {name: tensor.double() for name, tensor in weights.items()}


@pytest.mark.parametrize("kind", ["softmax", "softmax_temperature", "ssmax", "ssmax_fixed", "ssmax_bias", "learned_pn", "logn_clamped",
                                  "llama4_temperature"])
def test_attention_on_the_needle_is_that_of_the_reference(made, kind):
    name, tensors = varied(made, kind)
    length, depth = (129, 0) if kind == "learned_pn" else (300, 50)  # a learned p_n reaches 128 positions
    arguments = ["--checkpoint", name, "--lengths", length, "--depths", depth, "--trials", 4, "--json"]
    result, _ = needle(made, *arguments, "--attention", "--trials-out", "attention.jsonl")
    found = result["results"][0]["attention"]
    trials = trials_of(made, "attention.jsonl")
    sums = {}
    for trial, top in zip(trials, found["trials"], strict=True):
        expected = weights_on_needle(tensors, kind, trial)
        for ours, theirs in zip(trial["attention"], expected, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)  # float32 weights between 0 and 1
        if kind != "softmax":  # the row scale matters: without it the weights differ
            plain = weights_on_needle(tensors, "softmax", trial)
            assert np.abs(np.subtract(expected, plain)).max() > 1e-3
        weights = {(i, j): w for i, layer in enumerate(trial["attention"]) for j, w in enumerate(layer)}
        for head, weight in weights.items():
            sums[head] = sums.get(head, 0.0) + weight / 4
        assert top["weight"] == max(weights.values()) == weights[top["layer"], top["head"]]
        assert top["outcome"] == ("first digit" if trial["leading_digits"] else "wrong")
    ranked = [(one["layer"], one["head"]) for one in found["heads"]]
    assert ranked == sorted(sums, key=lambda head: -sums[head])
    assert [one["mean"] for one in found["heads"]] == pytest.approx([sums[head] for head in ranked], abs=1e-7)
    plain, _ = needle(made, *arguments)
    del result["results"][0]["attention"]
    assert plain["results"] == result["results"]


def attention_rows(table):
    """{(length, depth, variant): the following cells} from the part on attention."""
    part = table[table.index("attention on the needle") :]
    cells = [re.split(" {2,}", line.strip()) for line in part.splitlines() if re.match(r" +[0-9]+ {2,}", line)]
    return {(int(length), int(depth), variant): rest for length, _, depth, variant, *rest in cells}


def by_outcome(trials):
    """Cells for [(weight, outcome)]."""
    cells = []
    for outcome in ("right", "first digit", "wrong"):
        weights = [weight for weight, one in trials if one == outcome]
        cells.append(f"{sum(weights) / len(weights):.4f} ({len(weights)})" if weights else "-")
    return cells


def test_the_table_of_a_model_that_attends_to_all_alike(made):
    """Without queries and keys all weights are equal, and the needle has as many of them as it has tokens."""
    folder = made.directory / "evenly"
    shutil.copytree(made.directory / checkpoint("softmax"), folder, ignore=shutil.ignore_patterns("trainer", "manifest.json"))
    weights = load_file(folder / "model.safetensors")
    for layer in range(LAYERS):
        for name in "qk":
            weights[f"model.layers.{layer}.self_attn.{name}_proj.weight"].zero_()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    arguments = ["--checkpoint", "evenly", "--lengths", "100,160", "--depths", "0,100", "--trials", 5, "--attention"]
    table, _ = needle(made, *arguments, "--trials-out", "evenly.jsonl")
    rows = attention_rows(table)
    assert len(rows) == 4
    for (length, depth, _), cells in rows.items():
        cell = [t for t in trials_of(made, "evenly.jsonl") if (t["length"], t["depth"]) == (length, depth)]
        shares = [t["needle_tokens"] / len(t["prompt_tokens"]) for t in cell]
        outcomes = ["first digit" if t["leading_digits"] else "wrong" for t in cell]
        assert cells == ["0.0", f"{sum(shares) / 5:.4f}", *by_outcome(list(zip(shares, outcomes)))]


def test_the_table_has_the_top_heads_of_each_variant(made):
    arguments = ["--checkpoint", "sweep", "--lengths", "100,160", "--depths", "0,100", "--trials", 3, "--attention"]
    result, _ = needle(made, *arguments, "--json", "--out", "heads")
    table = (made.directory / "heads/table.txt").read_text()
    assert needle(made, *arguments)[0] == table and "attention on the needle; shown, not judged" in table
    rows = attention_rows(table)
    assert list(rows) == [(length, depth, v) for length in (100, 160) for depth in (0, 100) for v in ("softmax", "ssmax")]
    for i, ((_, _, variant), cells) in enumerate(rows.items()):
        found = [m["results"][i // 2]["attention"] for m in result["models"] if m["variant"] == variant]
        tops = [one["heads"][0] for one in found]
        trials = [(one["weight"], one["outcome"]) for model in found for one in model["trials"]]
        names = ", ".join(f"{top['layer']}.{top['head']}" for top in tops)
        assert len(tops) == 3 and len(trials) == 9
        assert cells == [names, f"{sum(top['mean'] for top in tops) / 3:.4f}", *by_outcome(trials)]
    command = [sys.executable, ROOT / "scripts/report.py", made.directory / "heads"]
    drawn = subprocess.run(command, capture_output=True, text=True)
    assert drawn.returncode == 0 and drawn.stderr == "", drawn.stderr
    assert (made.directory / "heads/needle_attention.png").read_bytes().startswith(b"\x89PNG")
    assert "Attention on the needle" in (made.directory / "heads/report.html").read_text()
    needle(made, *arguments[:-1], "--out", "heads")  # without attention, the earlier drawing of it is removed
    names = ["evaluation.csv", "evaluation.json", "table.txt"]
    assert sorted(path.name for path in (made.directory / "heads").iterdir()) == names
    assert "attention on the needle" not in (made.directory / "heads/table.txt").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_every_trial_is_that_of_the_reference(made, kind):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(made.directory / "t.model"))
    theta = 10000.0 if kind == "learned_pn" else 50000.0
    arguments = ["--checkpoint", checkpoint(kind), "--lengths", "150,400", "--depths", "0,30,100", "--trials", 3]
    fit = ["--extend-pn", "fit"] if kind == "learned_pn" else []
    shared = [*arguments, "--seed", 5, "--distractors", 4, "--rope-theta", theta, *fit, "--json"]
    result, _ = needle(made, *shared, "--trials-out", "trials.jsonl")
    trials = trials_of(made)
    assert [(t["length"], t["depth"], t["trial"]) for t in trials] == [
        (length, depth, i) for length in (150, 400) for depth in (0, 30, 100) for i in range(3)
    ]
    model = reference(made, kind, theta)
    if kind == "learned_pn":  # the line that the program fitted
        fitted = result["models"][0]["pn_fit"]
        name = "model.ssmax_position"
        known = model.weight(name).data
        n = torch.arange(len(known) + 1, 401, dtype=torch.float64)
        model.weights[model.names.index(name)].data = torch.cat([known, fitted["a1"] * n.log() + fitted["a2"]])
    for trial in trials:
        prompt = trial["prompt_tokens"]
        assert len(prompt) == trial["length"] - 10
        first = trial["needle_first_token"]
        needle_tokens = prompt[first : first + trial["needle_tokens"]]
        sentence = f" The special magic {trial['city']} number is: {trial['answer']}."
        assert pieces.decode(needle_tokens) == sentence
        assert pieces.decode(prompt).count(trial["answer"]) == 1
        assert pieces.decode(prompt).endswith(f"\n\nThe special magic {trial['city']} number is:")
        answer = pieces.encode(f" {trial['answer']}")
        right = behind(model, prompt, answer)[range(len(answer)), answer].sum().item()
        # The program's float32 logits, off by about 1e-5 of the largest (test_logits.py), eight times.
        close = {"abs": 1e-3}
        assert trial["log_probability"] == pytest.approx(right, **close)
        wrong = trial["distractors"]
        assert len({*wrong, trial["answer"]}) == 5 and all(re.fullmatch("[1-9][0-9]{6}", number) for number in wrong)
        for number, found in zip(wrong, trial["wrong_log_probabilities"], strict=True):
            tokens = pieces.encode(f" {number}")
            assert found == pytest.approx(behind(model, prompt, tokens)[range(len(tokens)), tokens].sum().item(), **close)
        assert trial["margin"] == pytest.approx(trial["log_probability"] - max(trial["wrong_log_probabilities"]), abs=1e-9)
        tokens = trial["generated_tokens"]
        likeliest = behind(model, prompt, tokens)
        assert all(row.max() - row[token] < 1e-3 for row, token in zip(likeliest, tokens, strict=True))
        assert len(tokens) <= 10
        digits = re.search("[0-9]*", re.sub("^[^0-9]*", "", trial["generated"])).group()
        assert trial["correct"] == (digits == trial["answer"])
    for value in result["results"]:
        cell = [t for t in trials if (t["length"], t["depth"]) == (value["length"], value["depth"])]
        margins = torch.tensor([t["margin"] for t in cell], dtype=torch.float64)
        assert value["trials"] == len(cell) == 3
        assert value["correct"] == sum(t["correct"] for t in cell)
        assert value["margin"] == pytest.approx(margins.mean().item(), abs=1e-9)
        assert value["margin_stderr"] == pytest.approx(margins.std().item() / math.sqrt(3), abs=1e-9)
    # One trial at a time or eight: the same bits.
    for batch in (1, 8):
        needle(made, *shared, "--trials-out", "batch.jsonl", "--batch", batch)
        assert trials_of(made, "batch.jsonl") == trials


def test_tokenizers_that_join_digits_and_begin_with_a_blank(made):
    """Like Llama's tokenizers, one puts a blank before every text; numbers have two to seven tokens, so that their lengths differ
    from those of the wrong numbers beside them."""
    rng = random.Random(4)
    numbers = " ".join(str(rng.randint(1, 10 ** rng.randint(1, 4))) for _ in range(3000))
    (made.directory / "numbers.txt").write_text(sentences(200, 1) + " " + numbers)
    sentencepiece.SentencePieceTrainer.train(
        input=str(made.directory / "numbers.txt"), model_prefix=str(made.directory / "foreign"), vocab_size=400,
        model_type="bpe", byte_fallback=True, split_by_number=True, max_sentence_length=1 << 20, minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(made.directory / "foreign.model"))
    made.run("prepare", "--input", "text.txt", "--tokenizer", "foreign.model", "--out", "foreign", "--validation-fraction", 0)
    model = {"vocab_size": 400, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "initializer_range": 0.2}
    data = {"tokenizer": str(made.directory / "foreign.model"), "train": [str(made.directory / "foreign/train_*.bin")]}
    made.train("--run-dir", "of_foreign", changes=[{"model": model, "data": data, "train": {"max_steps": 4}}])
    arguments = ["--checkpoint", "of_foreign", "--lengths", 150, "--depths", "0,60", "--trials", 5, "--trials-out", "foreign.jsonl"]
    made.run("evaluate", "needle", "--data", "foreign/train_*.bin", *arguments, "--batch", 5)
    weights = load_file(made.directory / step("of_foreign") / "model.safetensors")
    tensors = {name: tensor.double() for name, tensor in weights.items()}
    reference_model = ReferenceModel(tensors, heads=HEADS, layers=LAYERS, kind="softmax")
    lengths = set()
    for trial in trials_of(made, "foreign.jsonl"):
        prompt, first = trial["prompt_tokens"], trial["needle_first_token"]
        assert len(prompt) == 140
        sentence = f"The special magic {trial['city']} number is: {trial['answer']}."
        assert pieces.decode(prompt[first : first + trial["needle_tokens"]]) == sentence
        scores = [trial["log_probability"], *trial["wrong_log_probabilities"]]
        for number, found in zip([trial["answer"], *trial["distractors"]], scores, strict=True):
            tokens = pieces.encode(number)  # with the blank that it puts before
            lengths.add(len(tokens))
            expected = behind(reference_model, prompt, tokens)[range(len(tokens)), tokens].sum().item()
            assert found == pytest.approx(expected, abs=1e-3)
    assert len(lengths) > 1


def test_the_answer_is_what_generate_continues_with(made):
    needle(made, "--checkpoint", checkpoint("ssmax"), "--lengths", 200, "--depths", 50, "--trials", 2, "--trials-out", "g.jsonl")
    for trial in trials_of(made, "g.jsonl"):
        ids = ",".join(map(str, trial["prompt_tokens"]))
        arguments = ["--checkpoint", checkpoint("ssmax"), "--prompt-tokens", ids, "--temperature", 0, "--max-tokens", 10]
        out, _ = made.run("generate", *arguments, "--json", "--ignore-eos")
        count = len(trial["generated_tokens"])
        assert json.loads(out)["tokens"][:count] == trial["generated_tokens"]


def test_a_sweep_is_compared_on_the_same_trials_and_drawn(made):
    arguments = ["--checkpoint", "sweep", "--lengths", "100,160", "--depths", "0,50,100", "--trials", 2]
    result, _ = needle(made, *arguments, "--json", "--out", "drawn", "--trials-out", "all.jsonl")
    assert "results" not in result and result["kind"] == "needle"
    prompts = collections.defaultdict(set)
    for trial in trials_of(made, "all.jsonl"):
        prompts[trial["length"], trial["depth"], trial["trial"]].add(tuple(trial["prompt_tokens"]))
    assert len(prompts) == 12 and all(len(same) == 1 for same in prompts.values())
    assert [(c["figure"], c["candidate"]) for c in result["comparisons"]] == [("share_right", "ssmax"), ("margin", "ssmax")]
    margins = {(m["variant"], m["seed"]): [r["margin"] for r in m["results"]] for m in result["models"]}
    for i, point in enumerate(result["comparisons"][1]["points"]):
        pairs = [margins["ssmax", seed][i] - margins["softmax", seed][i] for seed in (1, 2, 3)]
        assert point["mean_difference"] == pytest.approx(sum(pairs) / 3, abs=1e-9)
        assert point["method"] == "seeds, paired" and point["tests_corrected_for"] == 6
        assert (point["first"], point["depth"]) == ((100, 160)[i // 3], (0, 50, 100)[i % 3])
    table = needle(made, *arguments)[0]
    assert (made.directory / "drawn/table.txt").read_text() == table and "share right" in table
    command = [sys.executable, ROOT / "scripts/report.py", made.directory / "drawn"]
    drawn = subprocess.run(command, capture_output=True, text=True)
    assert drawn.returncode == 0 and drawn.stderr == "", drawn.stderr
    assert (made.directory / "drawn/evaluation.png").read_bytes().startswith(b"\x89PNG")
    page = (made.directory / "drawn/report.html").read_text()
    assert "Needle in a haystack: softmax and ssmax" in page and page.count('class="heat"') == 2 * 3 * 6
    assert "0 of 2" in page and "160 tokens, 50 %" in page
    picture = subprocess.run([*command, "--picture", made.directory / "one.png"], capture_output=True, text=True)
    assert picture.returncode == 0, picture.stderr


def test_damaged_results_are_refused_by_the_picture(made):
    needle(made, "--checkpoint", checkpoint("softmax"), "--lengths", "100,160", "--depths", "0,100", "--trials", 1, "--out", "bad")
    path = made.directory / "bad/evaluation.json"
    whole = path.read_text()
    command = [sys.executable, ROOT / "scripts/report.py", made.directory / "bad"]
    for old, new in (('"depth": 100', '"depth": 101'), ('"depth": 100', '"depth": 0'), ('"figure": "margin"', '"figure": "loss"')):
        assert old in whole
        path.write_text(whole.replace(old, new))
        drawn = subprocess.run(command, capture_output=True, text=True)
        assert drawn.returncode == 3 and "Traceback" not in drawn.stderr
    path.write_text(whole)
    assert subprocess.run(command, capture_output=True).returncode == 0


REFUSED = {
    "depth": (["--depths", "0,101"], 2, "--depths: 101 is not from 0 to 100"),
    "no depth": (["--depths", "middle"], 2, "'middle' is not a whole number"),
    "falling": (["--depths", "50,0"], 2, "0 comes after 50"),
    "short": (["--lengths", "30"], 2, "30 tokens have no room for text: the needle takes"),
    "long answer": (["--answer-tokens", "190"], 2, "the answer 190"),
    "short answer": (["--answer-tokens", "8"], 2, "give 9 or more"),
    "no trials": (["--trials", "0"], 2, "1 to 10000"),
    "endless trials": (["--trials", "9000000000000000000"], 2, "1 to 10000"),
    "style of a prompt": (["--prompt-style", "question", "--prompt", "{city}:"], 2, "--prompt-style excludes --prompt"),
    "no city": (["--prompt", "Which number?"], 2, "{city}"),
    "style": (["--prompt-style", "sing"], 2, "continue or question"),
    "long": (["--lengths", "100000000"], 2, "is not from 1 to 16777216"),
    "beyond the data": (["--lengths", "100000"], 3, "too few for a haystack"),
    "no folder": (["--trials-out", "none/trials.jsonl"], 1, "none"),
    "a folder": (["--trials-out", "tokens"], 2, "it is a directory"),
    "empty path": (["--trials-out", ""], 2, "--trials-out was given an empty value"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(made, case):
    arguments, code, message = case
    lengths = [] if "--lengths" in arguments else ["--lengths", 200]
    err = needle(made, "--checkpoint", checkpoint("softmax"), *lengths, *arguments, code=code)[1]
    assert message in err and "model 1 of" not in err


def test_trials_are_written_over_nothing_that_is_read(made):
    """Also if they could not be made: the error comes before hours of work."""
    shard, link = made.directory / "tokens/train_000000.bin", made.directory / "alias"
    link.symlink_to(made.directory / "sweep")
    (made.directory / "link.bin").symlink_to(shard)
    weights = f"{checkpoint('softmax')}/model.safetensors"
    read = {path: path.read_bytes() for path in (shard, made.directory / weights)}
    for path, checkpoints, message in (
        ("tokens/train_000000.bin", "sweep", "it is an input as well"),
        ("tokens/../tokens/train_000000.bin", "sweep", "it is an input as well"),
        ("link.bin", "sweep", "it is an input as well"),
        (weights, checkpoint("softmax"), "which is an input"),
        (weights, "sweep", "which is an input"),
        (weights.replace("sweep", "alias"), "sweep", "which is an input"),
        ("sweep/new.jsonl", "alias", "which is an input"),
        ("new/table.txt", "sweep", "--out writes this file as well"),
    ):
        out = ["--out", "new"] if path.startswith("new") else []
        err = needle(made, "--checkpoint", checkpoints, "--lengths", 100_000, "--trials-out", path, *out, code=2)[1]
        assert f"error: --trials-out {path}: " in err and message in err and "model 1 of" not in err
    assert all(path.read_bytes() == content for path, content in read.items())
    assert not (made.directory / "sweep/new.jsonl").exists() and not (made.directory / "new").exists()


def test_refuses_data_and_models_that_do_not_fit(made):
    one = ["--checkpoint", checkpoint("softmax"), "--lengths", 200]
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(made.directory / "t.model"))
    words = pieces.encode("a word and another 3.14 " * 100)
    for name, tokens, message in (
        ("empty", [2, 2, 2], "no sentence ends in its 3 tokens"),
        ("words", words, "no sentence ends"),
        ("a document", [*words, 2], "no sentence ends inside the"),  # but at its end
        ("other pieces", [PIECES + 1] * 900, "token"),
    ):
        write_shard(made.directory / "other.bin", tokens)
        err = made.run("evaluate", "needle", "--data", "other.bin", *one, code=3)[1]
        assert message in err and "model 1 of" not in err, name
    # A learned p_n reaches 128 positions: the last token of an answer is not read.
    learned = ["--checkpoint", checkpoint("softmax"), checkpoint("learned_pn"), "--depths", 0]
    err = needle(made, *learned, "--lengths", 130, code=2)[1]
    assert "learned p_n of 128 entries" in err and "model 1 of" not in err
    needle(made, *learned, "--lengths", 129, "--trials", 1)
    # The error comes before trials are made, which would be impossible here.
    err = needle(made, *learned, "--lengths", 100_000, code=2)[1]
    assert "learned p_n of 128 entries" in err
    made.train("--run-dir", "untold", changes=[{"train": {"max_steps": 4}}])
    err = needle(made, "--checkpoint", step("untold"), "--lengths", 200, code=2)[1]
    assert "holds no tokenizer.model" in err

"""ssgpt evaluate position and retrieval as a user runs them: of one model, of several and of a sweep, under changes."""

import csv
import json
import math
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from conftest import LENGTH, ROOT, VOCAB, make_program, start_that_becomes_nan, write_shard
from test_compare import References
from test_terminal import CLEAR, Terminal, screen

STEPS = 3
NAME = f"checkpoints/step-{STEPS:08}"


@pytest.fixture(scope="module")
def _trained(tmp_path_factory):
    """A sweep of Softmax and SSMax with three seeds, and a run of a learned p_n, all of a few steps."""
    made = make_program(tmp_path_factory.mktemp("trained"))
    # Weights so large that attention looks at some tokens more than at others, with hardly any training.
    change = {"train": {"max_steps": STEPS}, "model": {"initializer_range": 0.15}}
    base = made.config(change, name="base.json")
    kinds = {kind: {"model.attention.kind": kind} for kind in ("softmax", "ssmax")}
    (made.directory / "sweep.json").write_text(
        json.dumps({"base": base.name, "variants": kinds, "seeds": [1, 2, 3], "jobs": 1})
    )
    made.run("sweep", "--config", "sweep.json", "--run-dir", "sweep")
    learned = {"model": {"attention": {"kind": "learned_pn"}}}
    made.train("--run-dir", "learned", changes=[change, learned])
    return made


@pytest.fixture
def trained(_trained, tmp_path):
    """The program beside a copy of these runs and the shards."""
    shutil.copytree(_trained.directory, tmp_path, dirs_exist_ok=True)
    return type(_trained)(tmp_path)


def model(variant, seed=1):
    return f"sweep/{variant}-seed{seed}/{NAME}"


def position(program, *arguments, **options):
    out, err = program.run("evaluate", "position", "--data", "train.bin", *arguments, **options)
    return (json.loads(out) if "--json" in arguments else out), err


def retrieval(program, *arguments, **options):
    out, err = program.run("evaluate", "retrieval", "--task", "copy", *arguments, **options)
    return (json.loads(out) if "--json" in arguments else out), err


def loss(program, checkpoint, length, *arguments):
    model_and_data = ["--checkpoint", checkpoint, "--data", "train.bin", "--sequence-length", length]
    out, _ = program.run("evaluate", "loss", *model_and_data, "--json", *arguments)
    return json.loads(out)


# What `evaluate loss` means over the same windows; both add fp32 losses in fp64, in another order and grouping of the
# fp32 matrix products.
ROUNDING = {"rel": 2e-6}


@pytest.mark.parametrize(
    "changes",
    [[], ["--rope-theta", "500000"], ["--row-scale", "1.5"], ["--swap-attention", "ssmax"], ["--yarn", "4"]],
    ids=["unchanged", "theta", "row scale", "swap", "yarn"],
)
def test_the_bins_of_one_model_are_the_loss_by_position(trained, changes):
    result, _ = position(
        trained, "--checkpoint", model("softmax"), "--max-length", 64, "--bin", 24, "--json", *changes
    )
    bins = result["bins"]
    assert [(b["first"], b["last"]) for b in bins] == [(0, 23), (24, 47), (48, 63)]
    assert [b["tokens"] for b in bins] == [16 * 24, 16 * 24, 16 * 16]
    mean = sum(b["loss"] * b["tokens"] for b in bins) / sum(b["tokens"] for b in bins)
    whole = loss(trained, model("softmax"), 64, *changes)
    assert whole["tokens"] == sum(b["tokens"] for b in bins)
    assert mean == pytest.approx(whole["loss"], **ROUNDING)
    unchanged = loss(trained, model("softmax"), 64)["loss"]
    assert (abs(unchanged - whole["loss"]) > 1e-5) == bool(changes)
    assert result["models"][-1]["bins"] == bins
    assert (result["windows"], result["overlap"], result["trained_length"]) == (16, 0, LENGTH)


def test_one_window_has_no_error(trained):
    result, _ = position(trained, "--checkpoint", model("ssmax"), "--max-length", 64, "--windows", 1, "--json")
    assert [(b["first"], b["last"]) for b in result["bins"]] == [(0, 3), (4, 7), (8, 15), (16, 31), (32, 63)]
    assert all(b["stderr"] is None for b in result["bins"])
    assert result["comparisons"] == []


def holm(values):
    order = np.argsort(values)
    corrected = np.empty(len(values))
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[i]))
        corrected[i] = largest
    return corrected


def check_comparison(result, comparison, values):
    """`values(model)` are its numbers at the points; three pairs of seeds, so Student's t has two degrees of freedom,
    where p has a closed form and the quantile is 4.302653."""
    by_name = {(m["variant"], m["seed"]): np.array(values(m)) for m in result["models"]}
    seeds = [1, 2, 3]
    differences = np.array(
        [by_name[comparison["candidate"], s] - by_name[comparison["baseline"], s] for s in seeds]
    )
    errors = differences.std(axis=0, ddof=1) / math.sqrt(3)
    t = np.abs(differences.mean(axis=0)) / errors
    p = 1 - t / np.sqrt(2 + t * t)
    for i, point in enumerate(comparison["points"]):
        assert point["mean_difference"] == pytest.approx(differences[:, i].mean(), abs=1e-12)
        assert point["p"] == pytest.approx(p[i], abs=1e-6)  # differences of losses near 5: t is good to 1e-9 or so
        assert point["high"] - point["mean_difference"] == pytest.approx(4.302653 * errors[i], rel=1e-6)
        assert [s["difference"] for s in point["seeds"]] == pytest.approx(differences[:, i].tolist(), abs=1e-12)
        assert point["method"] == "seeds, paired"
    return p


def test_a_sweep_is_compared_seed_by_seed_over_all_bins(trained):
    result, err = position(trained, "--checkpoint", "sweep", "--max-length", 64, "--json", "--out", "out")
    assert [(m["variant"], m["seed"]) for m in result["models"]] == [
        (variant, seed) for seed in (1, 2, 3) for variant in ("softmax", "ssmax")
    ]
    assert {m["step"] for m in result["models"]} == {STEPS}
    (one,) = result["comparisons"]
    assert (one["candidate"], one["baseline"], one["paired"]) == ("ssmax", "softmax", True)
    p = check_comparison(result, one, lambda m: [b["loss"] for b in m["bins"]])
    assert [q["p_corrected"] for q in one["points"]] == pytest.approx(holm(p).tolist(), abs=1e-5)
    assert {q["tests_corrected_for"] for q in one["points"]} == {5}
    for q in one["points"]:
        expected = "no verdict" if q["p_corrected"] >= 0.05 else "lower" if q["mean_difference"] < 0 else "higher"
        assert q["verdict"] == expected
    assert "bins" not in result
    assert "newest checkpoints of 6 runs" in err and "model 6 of 6: ssmax, seed 3" in err
    # What --out holds is what is printed.
    out = trained.directory / "out"
    assert json.loads((out / "evaluation.json").read_text()) == result
    assert (out / "table.txt").read_text() == position(trained, "--checkpoint", "sweep", "--max-length", 64)[0]
    rows = list(csv.DictReader((out / "evaluation.csv").open()))
    assert len(rows) == 6 * 5
    assert [float(r["loss"]) for r in rows[:5]] == [b["loss"] for b in result["models"][0]["bins"]]
    assert sorted(p.name for p in out.iterdir()) == ["evaluation.csv", "evaluation.json", "table.txt"]


def test_fewer_seeds_have_the_noise_of_the_text_and_no_verdict(trained):
    arguments = ["--checkpoint", "sweep/softmax-seed1", model("ssmax"), "--max-length", 32]
    result, err = position(trained, *arguments, "--json")
    (one,) = result["comparisons"]
    assert (one["candidate"], one["baseline"]) == ("SSMax", "Softmax")
    assert all(q["verdict"] == "no verdict" and q["low"] is q["p"] is None for q in one["points"])
    assert all(q["trials"]["trials"] == 32 and q["trials"]["standard_error"] > 0 for q in one["points"])
    assert f"sweep/softmax-seed1: its newest checkpoint, step {STEPS}" in err
    table = position(trained, *arguments)[0]
    assert "error of the trials" in table and "A verdict needs 3 seeds or more" in table
    assert "lower" not in table and "higher" not in table


def test_conditions_are_tables_and_changes_are_candidates(trained):
    changes = ["--rope-theta", "10000,500000", "--row-scale", "1,1.5", "--swap-attention", "ssmax"]
    arguments = ["--checkpoint", model("softmax"), model("ssmax"), "--max-length", 32, "--bin", 16, *changes]
    result, _ = position(trained, *arguments, "--json")
    names = [
        "Softmax", "SSMax", "Softmax, row scale 1.5", "SSMax, row scale 1.5", "Softmax -> SSMax, untrained",
    ]  # fmt: skip
    assert [m["variant"] for m in result["models"]] == names * 2
    assert [m["rope_theta"] for m in result["models"]] == [10000.0] * 5 + [500000.0] * 5
    assert [m["overrides"]["row_scale"] for m in result["models"]] == [None, None, 1.5, 1.5, None] * 2
    assert result["models"][4]["attention"] == result["models"][4]["overrides"]["attention"] == "ssmax"
    assert [c["title"] for c in result["conditions"]] == ["RoPE theta 10000", "RoPE theta 500000"]
    candidates = [(c["condition"], c["candidate"]) for c in result["comparisons"]]
    assert candidates == [(i, n) for i in (0, 1) for n in names[1:]]
    as_trained, _ = position(trained, "--checkpoint", model("softmax"), "--max-length", 32, "--bin", 16, "--json")
    assert result["models"][0]["bins"] == as_trained["bins"]  # 10000 is what it was trained with
    table = position(trained, *arguments)[0]
    for text in (*names, "RoPE theta 10000: loss", "RoPE theta 500000: loss", "overlap 0", "17..32"):
        assert text in table


def test_the_baseline_can_be_named(trained):
    for name in ("ssmax", "SSMax"):
        arguments = ["sweep"] if name == "ssmax" else [model("softmax"), model("ssmax")]
        result, _ = position(trained, "--checkpoint", *arguments, "--baseline", name, "--max-length", 16, "--json")
        assert [c["baseline"] for c in result["comparisons"]] == [name]
    both = ["--checkpoint", model("softmax"), model("ssmax")]
    result, _ = position(trained, *both, "--baseline", model("ssmax"), "--max-length", 16, "--json")
    assert result["baseline"] == "SSMax"


def test_a_learned_position_is_continued_where_asked(trained):
    arguments = ["--checkpoint", f"learned/{NAME}", "--max-length", 64]
    assert "p_n" in position(trained, *arguments, code=2)[1]
    result, _ = position(trained, *arguments, "--extend-pn", "fit", "--json")
    fit = result["models"][0]["pn_fit"]
    assert fit["entries"] == LENGTH
    assert fit["a1"] == pytest.approx(1.0, abs=0.05)  # a few steps from its start, log n
    table = position(trained, *arguments, "--extend-pn", "fit")[0]
    assert f"p_n beyond its {LENGTH} entries is" in table


def test_documents_begin_windows(program):
    end = VOCAB - 1
    program.train("--run-dir", "run", changes=[{"data": {"document_token_id": end}, "train": {"max_steps": STEPS}}])
    documents = [np.arange(length) % (VOCAB - 2) for length in (33, 20, 40)]
    tokens = np.concatenate([np.append(one, end) for one in documents])
    write_shard(program.directory / "documents.bin", tokens)
    arguments = ["--checkpoint", "run", "--data", "documents.bin", "--documents", "--json", "--max-length"]
    result = json.loads(program.run("evaluate", "position", *arguments, 32)[0])
    assert (result["windows"], result["documents"]) == (2, True)
    assert "the longest has 41" in program.run("evaluate", "position", *arguments, 60, code=3)[1]


def test_retrieval_has_accuracy_and_loss_by_length(trained):
    arguments = ["--lengths", "16,32,64", "--trials", 6, "--json"]
    result, _ = retrieval(trained, "--checkpoint", model("softmax"), *arguments)
    assert [r["length"] for r in result["results"]] == [16, 32, 64]
    for r in result["results"]:
        assert 0 <= r["accuracy"] < 0.5  # a model of three steps cannot copy
        assert r["loss"] == pytest.approx(math.log(VOCAB), abs=1.5) and r["stderr"] > 0
    # Answers: the repetition of a half but for its first four tokens.
    assert [r["tokens"] for r in result["results"]] == [6 * 4, 6 * 12, 6 * 28]
    assert retrieval(trained, "--checkpoint", model("softmax"), *arguments)[0] == result
    other, _ = retrieval(trained, "--checkpoint", model("softmax"), *arguments, "--seed", 2)
    assert other["results"][0]["loss"] != result["results"][0]["loss"]
    scaled, _ = retrieval(trained, "--checkpoint", model("softmax"), *arguments, "--row-scale", 1.5)
    assert [m["overrides"]["row_scale"] for m in scaled["models"]] == [None, 1.5]
    assert scaled["models"][0]["results"] == result["results"]
    assert scaled["results"] == scaled["models"][1]["results"] != result["results"]


def test_retrieval_of_a_sweep_judges_both_figures(trained):
    result, _ = retrieval(trained, "--checkpoint", "sweep", "--trials", 4, "--json")
    assert [r["length"] for r in result["models"][0]["results"]] == [LENGTH * n for n in (1, 2, 4, 8, 16)]
    assert [c["figure"] for c in result["comparisons"]] == ["accuracy", "loss"]
    check_comparison(result, result["comparisons"][1], lambda m: [r["loss"] for r in m["results"]])
    table = retrieval(trained, "--checkpoint", "sweep", "--trials", 4)[0]
    assert "accuracy" in table and "loss" in table and "4 trials of each length (seed 1)" in table


def test_a_loss_that_is_not_finite_has_no_verdict(program):
    bad = start_that_becomes_nan(program)
    result, _ = position(program, "--checkpoint", "start", bad, "--max-length", 16, "--bin", 16, "--json")
    (point,) = result["comparisons"][0]["points"]
    assert point["verdict"] == "no verdict" and point["mean_difference"] is None
    assert result["models"][1]["bins"][0]["loss"] is None
    assert "-" in position(program, "--checkpoint", "start", bad, "--max-length", 16)[0]


def test_loss_takes_one_value_of_each_change(trained):
    result = loss(trained, model("softmax"), 32, "--rope-theta", "500000", "--row-scale", "2")
    assert result["overrides"] == {
        "rope_theta": 500000.0, "yarn_factor": None, "row_scale": 2.0, "attention": None, "extend_pn": False,
    }  # fmt: skip
    arguments = ["evaluate", "loss", "--checkpoint", model("softmax"), "--data", "train.bin"]
    assert "RoPE theta 500000, row scale 2" in trained.run(*arguments, "--rope-theta", 500000, "--row-scale", 2)[0]
    assert "one value, not 2" in trained.run(*arguments, "--rope-theta", "1,2", code=2)[1]


REFUSED = {
    "empty theta": (["--rope-theta", ""], "empty"),
    "empty in a list": (["--rope-theta", "10000,,5"], "empty"),
    "zero theta": (["--rope-theta", "0"], "--rope-theta 0"),
    "no number": (["--rope-theta", "many"], "'many' is not a number"),
    "theta twice": (["--rope-theta", "5,5"], "twice"),
    "negative scale": (["--row-scale=-1"], "--row-scale -1"),
    "unknown kind": (["--swap-attention", "hard"], "--swap-attention hard: it must be one of softmax"),
    "same kind": (["--swap-attention", "softmax"], "has this attention already"),
    "thetas and yarn": (["--rope-theta", "1,2", "--yarn", "4"], "--yarn"),
    "small yarn": (["--yarn", "0.5"], "--yarn 0.5"),
    "no p_n": (["--extend-pn", "fit"], "--extend-pn"),
    "other fit": (["--extend-pn", "line"], "--extend-pn"),
    "unknown baseline": (["--baseline", "other"], "Softmax"),
    "no bin": (["--bin", "0"], "--bin"),
    "the same again": (["--checkpoint", model("softmax")], "same settings and seed"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(_trained, case):
    arguments, message = case
    _, err = position(_trained, "--checkpoint", model("softmax"), "--max-length", 32, *arguments, code=2)
    assert message in err
    assert "Traceback" not in err and len(err.strip().splitlines()) <= 2


def test_refuses_what_does_not_go_together(trained):
    both = ["--checkpoint", model("softmax")]
    for lengths, message in (("64,32", "rising"), ("16,16", "rising"), ("0", "above 0"), ("", "empty"), ("4", "copy")):
        assert message in retrieval(trained, *both, "--lengths", lengths, code=2)[1]
    err = trained.run("evaluate", "retrieval", "--task", "sing", *both, code=2)[1]
    assert "copy" in err and "passkey" in err
    assert "1025" in position(trained, *both, "--max-length", 5000, code=3)[1]  # tokens that there are
    assert "end" in position(trained, *both, "--documents", code=2)[1]
    assert "absent" in position(trained, "--checkpoint", "absent", code=3)[1]
    (trained.directory / "begun/checkpoints").mkdir(parents=True)
    assert "no complete checkpoint" in position(trained, "--checkpoint", "begun", code=3)[1]
    wide = {"model": {"vocab_size": 128}, "train": {"max_steps": STEPS}}
    trained.train("--run-dir", "wide", changes=[wide])
    assert "vocabulary" in position(trained, *both, "wide", code=2)[1]
    record = json.loads((trained.directory / "sweep/sweep.json").read_text())
    for i, one in enumerate(record["runs"]):
        one["point"] = f"lr{i % 2}"
    (trained.directory / "sweep/sweep.json").write_text(json.dumps(record))
    assert "grid" in position(trained, "--checkpoint", "sweep", code=2)[1]


def test_runs_of_a_sweep_without_a_checkpoint_are_left_out(trained):
    shutil.rmtree(trained.directory / "sweep/ssmax-seed2")
    result, err = position(trained, "--checkpoint", "sweep", "--max-length", 16, "--json")
    assert len(result["models"]) == 5
    assert "ssmax-seed2 has no complete checkpoint yet" in err
    assert any("ssmax-seed2" in n["text"] for n in result["notes"])
    assert result["comparisons"][0]["points"][0]["values"] == 2


def test_a_signal_stops_it_without_output(trained):
    shards = np.arange(256 * 1024 + 1) % VOCAB
    write_shard(trained.directory / "long.bin", shards)
    arguments = ["--checkpoint", "sweep", "--data", "long.bin", "--max-length", 1024, "--out", "out", "--json"]
    process = trained.start("evaluate", "position", *arguments)
    for line in process.stderr:
        if "model 1 of 6" in line:
            break
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert out == "" and not (trained.directory / "out").exists()


def test_a_terminal_shows_one_line_that_goes_again(trained):
    arguments = ["evaluate", "position", "--data", "train.bin", "--max-length", 64, "--checkpoint"]
    output = Terminal(trained, 80, *arguments, model("softmax"), model("ssmax")).finish(0)
    lines = re.findall(r"\r(model [^\r\n\x1b]*)" + re.escape(CLEAR), output)
    assert any(line.startswith("model 1 of 2: Softmax, seed 1, 0 %") for line in lines)
    assert any(re.fullmatch(r"model 2 of 2: SSMax, seed 1, \d+ %, .* left", line) for line in lines)
    assert "model" not in "".join(screen(output))


def draw(program, name):
    command = [sys.executable, ROOT / "scripts" / "report.py", program.directory / name]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    page = (program.directory / name / "report.html").read_text()
    assert (program.directory / name / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    references = References()
    references.feed(page)
    assert references.fetched == [] and references.open == []
    assert not re.search(r"https?://|@import|url\((?!#clip)|fetch\(|XMLHttpRequest", page)
    assert "nan" not in "".join(re.findall(r'd="[^"]*"', page))
    return page, " ".join(" ".join(references.text).split())


def test_the_page_says_what_the_json_says(trained):
    arguments = ["--checkpoint", "sweep", "--max-length", 64, "--rope-theta", "10000,500000", "--json", "--out", "out"]
    result, _ = position(trained, *arguments)
    page, text = draw(trained, "out")
    verdicts = [p["verdict"] for c in result["comparisons"] for p in c["points"]]
    assert page.count('<span class="none">no verdict</span>') == verdicts.count("no verdict")
    assert page.count('<span class="lower">lower</span>') == verdicts.count("lower")
    assert page.count('<span class="higher">higher</span>') == verdicts.count("higher")
    assert "Loss, RoPE theta 10000" in text and "Loss, RoPE theta 500000" in text
    assert "95 % interval over seeds" in text and "positions 16–31" in text and "trained length" in text
    charts = [json.loads(d) for d in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    assert len(charts) == 4
    means = result["conditions"][0]["figures"][0]["variants"][1]["means"]
    assert charts[0]["series"][1]["name"] == "ssmax"
    assert charts[0]["series"][1]["values"] == pytest.approx(means, abs=1e-5)


def test_pages_of_a_retrieval_and_of_one_model(trained):
    retrieval(trained, "--checkpoint", model("softmax"), model("ssmax"), "--trials", 4, "--out", "pair")
    _, text = draw(trained, "pair")
    assert "Accuracy, RoPE theta as trained (10000)" in text
    assert "one standard error of the trials" in text and "1 seed: three or more are needed" in text
    position(trained, "--checkpoint", model("softmax"), "--out", "single")
    page, text = draw(trained, "single")
    assert "verdict" not in text and "Difference" not in text
    shutil.copy(trained.directory / "pair/evaluation.json", trained.directory / "single/comparison.json")
    command = [sys.executable, ROOT / "scripts/report.py", trained.directory / "single"]
    assert "directory of its own" in subprocess.run(command, capture_output=True, text=True).stderr

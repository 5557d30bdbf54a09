"""ssgpt evaluate position and retrieval as a user runs them: on one model, on several and on a sweep, with changes."""

import csv
import json
import math
import shutil

import numpy as np
import pytest

from conftest import LENGTH, VOCAB, start_that_becomes_nan, write_shard
from evaluated_models import NAME, STEPS, model, position, retrieval


def loss(program, checkpoint, length, *arguments):
    model_and_data = ["--checkpoint", checkpoint, "--data", "train.bin", "--sequence-length", length]
    out, _ = program.run("evaluate", "loss", *model_and_data, "--json", *arguments)
    return json.loads(out)


# The loss that `evaluate loss` prints for the same windows; both add fp32 losses in fp64, with fp32 GEMMs whose order and
# grouping differ.
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
    """`values(model)` are a model's numbers at the points; with three pairs of seeds Student's t has two degrees of freedom, for
    which p has a closed form and the quantile is 4.302653."""
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
        assert point["p"] == pytest.approx(p[i], abs=1e-6)  # differences of losses near 5: t is good to about 1e-9
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
    # --out holds the same as is printed.
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
    assert result["models"][0]["bins"] == as_trained["bins"]  # it was trained with 10000
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


def test_a_candidate_can_be_the_baseline_and_changes_apply_to_one_variant(trained):
    changes = ["--row-scale", 1.5, "--apply-to", "softmax", "--baseline", "softmax, row scale 1.5"]
    result, _ = position(trained, "--checkpoint", "sweep", "--max-length", 16, "--json", *changes)
    assert result["baseline"] == "softmax, row scale 1.5"
    assert [c["candidate"] for c in result["comparisons"]] == ["softmax", "ssmax"]
    assert len(result["models"]) == 9


def test_how_it_was_computed_is_recorded(trained):
    arguments = ["--checkpoint", model("softmax"), "--max-length", 16]
    result, _ = position(trained, *arguments, "--json")
    assert (result["dtype"], result["device"]) == ("float32", "cpu")
    version = trained.run("--version")[0].split()
    assert result["program_version"] == version[1] and result["revision"] == version[3]
    assert "bfloat16" not in position(trained, *arguments)[0]
    assert position(trained, *arguments, "--bfloat16", "--json")[0]["dtype"] == "bfloat16"
    assert "Softmax (in bfloat16)" in position(trained, *arguments, "--bfloat16")[0]


def test_models_that_differ_in_more_than_attention_come_with_a_warning(trained):
    trained.train("--run-dir", "fast", changes=[{"train": {"max_steps": STEPS}, "optimizer": {"lr": 0.01}}])
    init = ["--init-from", model("softmax"), "--swap-attention", "ssmax", "--run-dir", "tuned"]
    base = {"train": {"max_steps": STEPS}, "model": {"initializer_range": 0.15}}
    trained.train(*init, changes=[base])
    models = ["--checkpoint", model("softmax"), model("ssmax", 2), "fast", "tuned"]
    result, _ = position(trained, *models, "--max-length", 16, "--json")
    names = [m["variant"] for m in result["models"]]
    assert names[1] == "SSMax" and names[3] == f"SSMax from softmax-seed1, step-{STEPS:08}"
    texts = [n["text"] for n in result["notes"]]
    assert any("optimizer.lr (0.003; 0.01)" in t and "besides attention" in t for t in texts)
    assert any("parent (none; " in t and "softmax-seed1" in t for t in texts)
    assert not any("and SSMax, beside" in t for t in texts)


def test_a_model_that_has_not_learned_the_task_comes_with_a_warning(trained):
    synthetic = ["prepare", "--synthetic", "passkey", "--vocab-size", VOCAB, "--length", LENGTH, "--windows", 64]
    trained.run(*synthetic, "--out", "keys")
    data = {"data": {"train": [str(trained.directory / "keys/train_*.bin")]}, "train": {"max_steps": STEPS}}
    trained.train("--run-dir", "keys-run", changes=[data])
    arguments = ["--checkpoint", "keys-run", "--lengths", "16", "--trials", 2, "--json"]
    (note,) = retrieval(trained, *arguments)[0]["notes"]
    assert note["warning"] and "sequences of the task passkey" in note["text"]
    out, _ = trained.run("evaluate", "retrieval", "--task", "passkey", *arguments)
    assert json.loads(out)["notes"] == []


def test_a_trial_that_fits_a_learned_position_is_measured(trained):
    """Nothing is predicted after the last of 17 tokens: 16 entries are enough."""
    arguments = ["--checkpoint", f"learned/{NAME}", "--lengths", LENGTH + 1, "--trials", 2, "--json"]
    result, _ = retrieval(trained, *arguments)
    assert result["results"][0]["length"] == LENGTH + 1 and result["models"][0]["pn_fit"] is None


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
    # The answers are the repetition of a half, except its first four tokens.
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


def test_loss_reports_what_it_changed(trained):
    arguments = ["evaluate", "loss", "--data", "train.bin", "--checkpoint"]
    assert "learned p_n" in trained.run(*arguments, model("softmax"), "--extend-pn", "fit", code=2)[1]
    swap = ["--swap-attention", "softmax"]
    assert "has this attention already" in trained.run(*arguments, model("softmax"), *swap, code=2)[1]
    inside = json.loads(trained.run(*arguments, f"learned/{NAME}", "--extend-pn", "fit", "--json")[0])
    assert inside["overrides"]["extend_pn"] is False and inside["pn_fit"] is None
    beyond = ["--extend-pn", "fit", "--sequence-length", 64]
    fit = json.loads(trained.run(*arguments, f"learned/{NAME}", *beyond, "--json")[0])["pn_fit"]
    same, _ = position(trained, "--checkpoint", f"learned/{NAME}", "--max-length", 64, *beyond[:2], "--json")
    assert fit == same["models"][0]["pn_fit"] and fit["entries"] == LENGTH
    assert f"p_n beyond its {LENGTH} entries is" in trained.run(*arguments, f"learned/{NAME}", *beyond)[0]


def test_runs_of_a_sweep_without_a_checkpoint_are_left_out(trained):
    shutil.rmtree(trained.directory / "sweep/ssmax-seed2")
    result, err = position(trained, "--checkpoint", "sweep", "--max-length", 16, "--json")
    assert len(result["models"]) == 5
    assert "ssmax-seed2 has no complete checkpoint yet" in err
    assert any("ssmax-seed2" in n["text"] for n in result["notes"])
    assert result["comparisons"][0]["points"][0]["values"] == 2


def test_models_of_other_steps_come_with_a_warning(trained):
    trained.run("train", "--resume", "learned", "--set", f"train.max_steps={STEPS + 2}")
    result, _ = position(trained, "--checkpoint", model("softmax"), "learned", "--max-length", 16, "--json")
    assert [m["step"] for m in result["models"]] == [STEPS, STEPS + 2]
    (note,) = result["notes"]
    assert note["warning"] and "different numbers of steps" in note["text"]

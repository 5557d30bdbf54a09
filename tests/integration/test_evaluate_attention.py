"""ssgpt evaluate attention as a user runs it: compared with transformers, on a sweep, in pictures, and what it refuses."""

import csv
import json
import math
import re
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from conftest import LENGTH, ROOT, VOCAB, write_shard
from evaluated_models import NAME, STEPS, attention, model
from test_logits import train_shape
from test_overrides import SHAPE, load, with_row_scale

sys.path.insert(0, str(ROOT / "scripts"))
from report_page import attention_figure
from report_page.attention import attention_panels
from report_page.attention_page import build_page
from report_page.evaluation import Evaluation

LONG = 4 * SHAPE[-1]
BIN = 10  # does not divide the window
WINDOWS = 3
FIGURES = ("entropy", "largest_weight", "first_token_weight", "effective_row_scale")


def text(program):
    """WINDOWS windows of LONG tokens, and the token after the last."""
    tokens = np.random.default_rng(6).integers(0, SHAPE[0], WINDOWS * LONG + 1)
    write_shard(program.directory / "long.bin", tokens)
    return np.stack([tokens[w * LONG : (w + 1) * LONG] for w in range(WINDOWS)])


def weights_of(their_model, tokens):
    """The output of each layer's softmax in transformers: (layer, window, head, query, key) in float64."""
    found = []
    hooks = [
        layer.self_attn.register_forward_hook(lambda _, __, output: found.append(output[1].double().numpy()))
        for layer in their_model.model.layers
    ]
    with torch.no_grad():
        their_model(torch.tensor(tokens))
    for hook in hooks:
        hook.remove()
    return np.stack(found)


def expected_figures(weights):
    """{figure: (layer, head, bin)}, computed from the weights."""
    logs = np.log(np.where(weights > 0, weights, 1.0))
    of_queries = {
        "entropy": -(weights * logs).sum(-1),
        "largest_weight": weights.max(-1),
        "first_token_weight": weights[..., 0],
    }
    spans = [(first, min(first + BIN, LONG)) for first in range(0, LONG, BIN)]
    return {
        key: np.stack([values[..., first:end].mean((1, 3)) for first, end in spans], -1)
        for key, values in of_queries.items()
    }


@pytest.mark.parametrize("kind, scale", [("softmax", 1.0), ("softmax", 1.5), ("ssmax", 1.0), ("learned_pn", 1.5)])
def test_figures_equal_those_of_transformers(program, kind, scale):
    checkpoint = train_shape(program, SHAPE, kind)
    tokens = text(program)
    changes = ["--rope-theta", 500000, "--row-scale", scale]
    if kind == "learned_pn":
        changes += ["--extend-pn", "fit"]
    arguments = ["--checkpoint", checkpoint, "--data", "long.bin", "--max-length", LONG, "--bin", BIN, "--json"]
    out, _ = program.run("evaluate", "attention", *arguments, *changes)
    result = json.loads(out)
    their_model = with_row_scale(load(checkpoint, kind, rope_theta=500000.0), scale)
    expected = expected_figures(weights_of(their_model, tokens))
    assert (result["kind"], result["windows"], result["max_length"]) == ("attention", WINDOWS, LONG)
    assert len(result["layers"]) == SHAPE[2]
    for i, layer in enumerate(result["layers"]):
        assert len(layer["heads"]) == SHAPE[3]
        for key in FIGURES[:3]:
            for j, head in enumerate(layer["heads"]):
                # Scores of a few units, in float32 on at least one side.
                assert head[key] == pytest.approx(expected[key][i, j].tolist(), abs=1e-4)
            assert layer[key] == pytest.approx(expected[key][i].mean(0).tolist(), abs=1e-4)
            assert all(error > 0 or key == "first_token_weight" for error in layer[f"{key}_stderr"])
    logs = np.log(np.arange(1, LONG + 1))
    bins = [logs[b["first"] : b["last"] + 1] for b in result["bins"]]
    assert result["spread_evenly"]["entropy"] == pytest.approx([part.mean() for part in bins], abs=1e-6)
    assert result["spread_evenly"]["weight"] == pytest.approx([np.exp(-part).mean() for part in bins], abs=1e-6)
    for i, layer in enumerate(result["layers"]):
        for j, head in enumerate(layer["heads"]):
            c = {
                "softmax": lambda logs: np.ones_like(logs),
                "ssmax": lambda logs: logs * their_model.model.layers[i].self_attn.ssmax_scale[j].item(),
                "learned_pn": lambda logs: None,
            }[kind](logs)
            if c is not None:
                spans = [(b["first"], b["last"] + 1) for b in result["bins"]]
                means = [scale * c[first:end].mean() for first, end in spans]
                assert head["effective_row_scale"] == pytest.approx(means, abs=1e-5)


def check_differences(result, table):
    """Over layers, the differences seed by seed and their t tests are those of the layers' values."""
    assert [one["figure"] for one in result["comparisons"]] == list(FIGURES[:3])
    for one in result["comparisons"]:
        assert (one["candidate"], one["baseline"], one["paired"]) == ("ssmax", "softmax", True)
        values = {
            variant: np.array([
                np.mean([layer[one["figure"]] for layer in m["layers"]], axis=0)
                for m in result["models"] if m["variant"] == variant])
            for variant in ("softmax", "ssmax")
        }  # fmt: skip
        differences = values["ssmax"] - values["softmax"]
        t = np.abs(differences.mean(axis=0)) / (differences.std(axis=0, ddof=1) / math.sqrt(3))
        p = 1 - t / np.sqrt(2 + t * t)  # Student's distribution with two degrees of freedom, both sides
        for i, point in enumerate(one["points"]):
            found = [seed["difference"] for seed in point["seeds"]]
            assert found == pytest.approx(list(differences[:, i]), abs=1e-12)
            assert point["p"] == pytest.approx(p[i], rel=1e-6)
            assert point["tests_corrected_for"] == len(one["points"])
    assert table.count("ssmax minus softmax, ") == table.count("3 seeds, paired") == 3


def test_a_sweep_is_shown_by_variant_layer_and_bin(trained):
    arguments = ["--checkpoint", "sweep", "--max-length", 64]
    result, err = attention(trained, *arguments, "--json", "--out", "out")
    assert [(m["variant"], m["seed"]) for m in result["models"]] == [
        (variant, seed) for seed in (1, 2, 3) for variant in ("softmax", "ssmax")
    ]
    assert "layers" not in result
    assert "model 6 of 6: ssmax, seed 3" in err
    table, _ = attention(trained, *arguments)
    for line in ("softmax, layer 0 ", "ssmax, layer 1 ", "spread evenly ", "positions "):
        assert line in table
    # The tables hold the means over seeds of the means over heads.
    ours = [m["layers"][1] for m in result["models"] if m["variant"] == "ssmax"]
    for key in FIGURES:
        means = [sum(values) / 3 for values in zip(*(layer[key] for layer in ours))]
        row = "".join(f"  +{mean:.4f}" for mean in means)
        assert re.search(rf"ssmax, layer 1{row}\n", table), (key, row, table)
    check_differences(result, table)
    out = trained.directory / "out"
    assert (out / "table.txt").read_text() == table
    assert json.loads((out / "evaluation.json").read_text()) == result
    rows = list(csv.DictReader((out / "evaluation.csv").open()))
    assert len(rows) == 6 * 2 * 3 * 5  # models, layers, two heads and their mean, bins
    first = [r for r in rows if (r["variant"], r["seed"], r["layer"], r["head"]) == ("softmax", "1", "0", "1")]
    assert [float(r["entropy"]) for r in first] == result["models"][0]["layers"][0]["heads"][1]["entropy"]


def test_the_row_scale_is_that_of_each_kind(trained):
    changes = ["--row-scale", 2, "--swap-attention", "ssmax_fixed", "--apply-to", "Softmax", "--bin", 64]
    arguments = ["--checkpoint", model("softmax"), "--max-length", 64, *changes, "--windows", 2, "--json"]
    result, _ = attention(trained, *arguments)
    mean_log = sum(math.log(n) for n in range(1, 65)) / 64
    found = {m["variant"]: m["layers"][0]["effective_row_scale"] for m in result["models"]}
    assert found["Softmax"] == [1.0] and found["Softmax, row scale 2"] == pytest.approx([2.0], abs=1e-6)
    assert found["Softmax -> SSMax, s fixed at 1, untrained"] == pytest.approx([mean_log], abs=1e-5)
    entropies = {m["variant"]: m["layers"][0]["entropy"][0] for m in result["models"]}
    assert entropies["Softmax, row scale 2"] < entropies["Softmax"] < mean_log


def test_documents_are_windows_and_may_end_attention(program):
    end = VOCAB - 1
    changes = {"data": {"document_token_id": end, "reset_at_document": True}, "train": {"max_steps": STEPS}}
    program.train("--run-dir", "run", changes=[changes])
    documents = [np.arange(length) % (VOCAB - 2) for length in (33, 20, 40)]
    write_shard(program.directory / "documents.bin", np.concatenate([np.append(one, end) for one in documents]))
    arguments = ["evaluate", "attention", "--checkpoint", "run", "--data", "documents.bin", "--max-length"]
    whole = json.loads(program.run(*arguments, 32, "--documents", "--json")[0])
    assert (whole["windows"], whole["documents"]) == (2, True)
    # 64 consecutive positions: n starts again after the 34 and 21 tokens of the first documents.
    across = json.loads(program.run(*arguments, 64, "--bin", 64, "--json")[0])
    counts = [*range(1, 35), *range(1, 22), *range(1, 10)]
    assert across["spread_evenly"]["entropy"] == pytest.approx([sum(map(math.log, counts)) / 64], abs=1e-6)
    assert "the longest has 41" in program.run(*arguments, 60, "--documents", code=3)[1]


def test_no_matrix_of_all_scores_is_held(program):
    """With 8,192 positions and two heads it would take 537 MB."""
    program.train("--run-dir", "run", changes=[{"train": {"max_steps": STEPS}}])
    write_shard(program.directory / "long.bin", np.random.default_rng(1).integers(0, VOCAB, 8193))
    sizes = []
    for length in (1024, 8192):
        arguments = ["--checkpoint", "run", "--data", "long.bin", "--max-length", length, "--windows", 1]
        sizes.append(program.run_measured("evaluate", "attention", *arguments)[2])
    assert sizes[1] - sizes[0] < 150e6


REFUSED = {
    "no bin": (["--bin", "0"], "--bin: '0': it must be a whole number, 1 or more;", 2),
    "too long": (["--max-length", "100000000"], "1 to 16777216", 2),
    "more than there is": (["--max-length", "5000"], "1025 tokens in all", 3),
    "zero theta": (["--rope-theta", "0"], "--rope-theta 0", 2),
    "unknown kind": (["--swap-attention", "hard"], "--swap-attention hard: it must be one of softmax", 2),
    "no p_n": (["--extend-pn", "fit"], "--extend-pn", 2),
    "no end": (["--documents"], "end", 2),
    "no model": (["--checkpoint", "absent"], "absent", 3),
    "beyond p_n": (["--checkpoint", f"learned/{NAME}", "--max-length", LENGTH + 1], "has a learned p_n of 16 entries", 2),
    "no windows": (["--windows", "0"], "1 or more", 2),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(_trained, case):
    arguments, message, code = case
    _, err = attention(_trained, "--checkpoint", model("softmax"), *arguments, code=code)
    assert message in err and "model 1 of" not in err
    assert len(err.strip().splitlines()) <= 2


def test_a_model_that_is_not_finite_has_empty_fields(program):
    program.train("--run-dir", "run", changes=[{"train": {"max_steps": STEPS}}])
    from safetensors.numpy import load_file, save_file

    bad = program.directory / "bad"
    bad.mkdir()
    (bad / "config.json").write_bytes((program.directory / f"run/{NAME}/config.json").read_bytes())
    weights = load_file(program.directory / f"run/{NAME}/model.safetensors")
    weights["model.layers.1.self_attn.q_proj.weight"][:] = 1e25
    weights["model.layers.1.self_attn.k_proj.weight"][:] = 1e25
    save_file(weights, bad / "model.safetensors", metadata={"format": "pt"})
    arguments = ["--checkpoint", "bad", "--max-length", LENGTH, "--bin", LENGTH, "--out", "out"]
    result, _ = attention(program, *arguments, "--json")
    assert result["layers"][1]["entropy"] == [None] and result["layers"][0]["entropy"][0] > 0
    assert re.search(r"layer 1 +-\n", (program.directory / "out/table.txt").read_text())
    assert report(program, "out").returncode == 0


def report(program, *arguments):
    command = [sys.executable, ROOT / "scripts" / "report.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=program.directory)


@pytest.mark.parametrize("checkpoints", [["sweep"], [model("ssmax")]], ids=["variants", "one model"])
def test_pictures_have_a_line_for_each_layer_or_variant(trained, checkpoints):
    changes = ["--rope-theta", "10000,500000"] if checkpoints == ["sweep"] else []
    attention(trained, "--checkpoint", *checkpoints, "--max-length", 64, *changes, "--out", "out")
    evaluation = Evaluation(trained.directory / "out")
    panels = attention_panels(evaluation)
    assert len(panels) == 4 * (2 if changes else 1)
    figure = plt.figure(figsize=attention_figure.size(evaluation), layout="constrained")
    attention_figure.draw(evaluation, figure, ["#000000"] * 6)
    figure.canvas.draw()
    for axes, panel in zip(figure.axes, panels):
        curves = [list(line.get_ydata()) for line in axes.lines if len(line.get_xdata()) == len(evaluation.places)]
        shown = [*(curve for layers in panel.layers.values() for curve in layers)]
        shown += panel.means().values() if checkpoints == ["sweep"] else []
        for curve in [*shown, *([panel.evenly] if panel.evenly else [])]:
            assert curve in curves
        assert len(curves) == len(shown) + bool(panel.evenly)
    labels = [one.get_text() for one in figure.legends[0].get_texts()]
    names = ["softmax", "ssmax"] if checkpoints == ["sweep"] else ["layer 0", "layer 1"]
    assert labels == [*names, "spread evenly over all keys"]
    box = figure.legends[0].get_window_extent()
    assert box.y0 >= 0 and all(box.y1 <= axes.get_tightbbox().y0 for axes in figure.axes)
    plt.close(figure)
    page = build_page(evaluation)
    assert page.count("<h3>Difference to softmax</h3>") == (6 if changes else 0)
    assert page.count("<section>") >= len(panels) + 1 and "http" not in re.sub(r"http://www.w3.org\S*", "", page)


def test_report_draws_a_picture_and_a_page(trained):
    attention(trained, "--checkpoint", model("softmax"), model("ssmax"), "--max-length", 64, "--out", "out")
    result = report(trained, "out")
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert (trained.directory / "out/evaluation.png").read_bytes().startswith(b"\x89PNG")
    assert "Attention by position" in (trained.directory / "out/report.html").read_text()
    assert report(trained, "out", "--picture", "alone.png").returncode == 0
    path = trained.directory / "out/evaluation.json"
    data = json.loads(path.read_text())
    data["models"][1]["layers"][0]["entropy"].pop()
    path.write_text(json.dumps(data))
    result = report(trained, "out")
    assert result.returncode == 3 and "models[1].layers[0].entropy has 4 entries, not 5" in result.stderr

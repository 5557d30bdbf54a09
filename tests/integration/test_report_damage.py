"""scripts/report.py on damaged or forged files: one line that names the file and the field, never a traceback, and a browser does
not execute anything that they hold."""

import copy
import csv
import io
import json
import os
import random
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT
from evaluated_models import attention, position, retrieval
from made_runs import write_run, write_seeds
from mutations import places
from needle_models import models, needle

sys.path.insert(0, str(ROOT / "scripts"))
import report

MUTANTS = 200
KINDS = ("compare", "retrieval", "position", "needle", "attention")
FORGED = "<script>alert('&')</script><img src=x onerror=\"alert(1)\">"
VALUES = [None, True, -1, 0, 0.5, 1e308, -1e308, 5e-324, 2**70, 10**400, float("nan"), float("inf"), "", "nan", "1", FORGED, "x" * 70_000,
          "\ud800", "_x", "$x$", [], {}, [[]], [None], {"a": 1}]  # fmt: skip


@pytest.fixture(scope="module")
def originals(_trained, made_once):
    """{command: directory} with what compare and evaluate write for several seeds; read-only."""

    def make(runs):
        evaluate(_trained, models(made_once), runs)

    return {name: made_once("reported", make) / name for name in KINDS}


def evaluate(trained, needles, runs):
    _, names = write_seeds(runs, ssmax=("ssmax", -0.01), fixed=("ssmax_fixed", 0.0))
    trained.run("compare", *(runs / name for name in names), "--out", runs / "compare")
    retrieval(trained, "--checkpoint", "sweep", "--trials", 2, "--row-scale", "2", "--out", runs / "retrieval")
    position(trained, "--checkpoint", "sweep", "--rope-theta", "10000,50000", "--out", runs / "position")
    attention(trained, "--checkpoint", "sweep", "--rope-theta", "10000,50000", "--out", runs / "attention")
    trials = ["--lengths", "120,160", "--depths", "0,50,100", "--trials", 2, "--rope-theta", "10000,50000", "--attention"]
    needle(needles, "--checkpoint", "sweep", *trials, "--out", runs / "needle")


@pytest.fixture
def drawn_by(capfd, monkeypatch, tmp_path):
    """Draws a copy of a directory with its JSON replaced by a text: (exit code, standard error, page). A picture takes most of a
    second, so only those in `pictures` are drawn."""
    save_figure = report.save_figure

    def draw(original, text, pictures=False, table=lambda text: text):
        directory = tmp_path / "report"
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(original, directory)
        (path,) = directory.glob("*.json")
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        (columns,) = directory.glob("*.csv")
        columns.write_text(table(columns.read_text()))
        monkeypatch.setattr(report, "save_figure", save_figure if pictures else lambda *_: None)
        code = report.main([str(directory)])
        page = (directory / "report.html").read_text(encoding="utf-8") if code == 0 else ""
        return code, capfd.readouterr().err, page

    return draw


def leaf(data, place):
    for key in place:
        data = data[key]
    return data


def renamed(table, names):
    """A CSV table with other names in its header: those of the columns as in loss/NAME."""
    head, *rows = csv.reader(io.StringIO(table))
    parts = [column.partition("/") for column in head]
    out = io.StringIO()
    csv.writer(out).writerows([[kind + slash + names.get(name, name) for kind, slash, name in parts], *rows])
    return out.getvalue()


def mutate(data, rng, paths):
    """The text of `data` with one change, or sometimes broken as a text."""
    changed = copy.deepcopy(data)
    *way, key = rng.choice(paths)
    holder = changed
    for step in way:
        holder = holder[step]
    kind = rng.choice(["value", "value", "value", "remove", "twice", "other", "bytes"])
    if kind == "value":
        holder[key] = rng.choice(VALUES)
    elif kind == "remove":
        del holder[key]
    elif kind == "twice" and isinstance(holder[key], list) and holder[key]:
        holder[key].append(copy.deepcopy(holder[key][0]))
    elif kind == "other":
        other = rng.choice(paths)
        value = data
        for step in other:
            value = value[step]
        holder[key] = copy.deepcopy(value)
    text = json.dumps(changed).encode()
    if kind == "bytes":
        at = rng.randrange(len(text))
        text = rng.choice([text[:at], text[:at] + bytes([rng.randrange(256)]) + text[at + 1 :]])
    return text


@pytest.mark.parametrize("name", KINDS)
def test_no_mutant_makes_a_traceback(originals, drawn_by, name):
    (path,) = originals[name].glob("*.json")
    data = json.loads(path.read_text())
    # Equally often at each depth: otherwise most changes would hit the longest lists.
    by_depth = {}
    for place in places(data):
        by_depth.setdefault(len(place), []).append(place)
    del by_depth[0]
    rng = random.Random(1)
    codes = []
    for i in range(MUTANTS):
        text = mutate(data, rng, rng.choice(list(by_depth.values())))
        code, err, page = drawn_by(originals[name], text, pictures=i % 100 == 0)
        codes.append(code)
        assert code in (0, 3), (i, err)
        assert "<script>alert" not in page and "<img" not in page, i
        if code == 3:
            assert err.count("\n") == 1 and path.stem in err and len(err) < 1000, (i, err)
            assert "do not fit together" not in err, (i, err)
    assert 20 < codes.count(0) < MUTANTS - 20


@pytest.mark.parametrize("name", KINDS)
def test_every_text_is_escaped(originals, drawn_by, name):
    """Each text of the file by itself, and all names together."""
    (path,) = originals[name].glob("*.json")
    data = json.loads(path.read_text())
    texts = [place for place in places(data) if isinstance(leaf(data, place), str)]
    kinds = {tuple("*" if isinstance(key, int) else key for key in place): place for place in texts}
    shown = 0
    for place in kinds.values():
        forged = copy.deepcopy(data)
        leaf(forged, place[:-1])[place[-1]] = FORGED
        code, err, page = drawn_by(originals[name], json.dumps(forged))
        assert code in (0, 3) and "<script>alert" not in page and "<img" not in page, place
        shown += "&lt;script&gt;alert(" in page
    assert shown >= 5
    names = {leaf(data, place) for place in texts if place[-1] in ("candidate", "baseline", "variant", "label", "title")}
    names -= {"training", "validation", "whole_curve", "tokens"}
    text, forged_names = path.read_text(), {}
    for i, old in enumerate(sorted(names, key=len, reverse=True)):
        forged_names[old] = f"{i}{FORGED}"
        text = text.replace(json.dumps(old), json.dumps(forged_names[old]))

    code, err, page = drawn_by(originals[name], text, pictures=True, table=lambda table: renamed(table, forged_names))
    assert code == 0 and err == "", err
    assert "<script>alert" not in page and "<img" not in page and "&lt;script&gt;alert(" in page


@pytest.mark.parametrize("change, message", [
    (lambda d: d["comparisons"][0]["training"].update(low="0.1"), 'comparison.json: comparisons[0].training.low is "0.1", not a number'),
    (lambda d: d["comparisons"][1].update(verdict="better"),
     'comparison.json: comparisons[1].verdict is "better", not one of lower, higher, no verdict'),
    (lambda d: d["variants"][0].update(label="y" * 5000), "comparison.json: variants[0].label is a text of 5,000 characters, more than 4,096"),
    (lambda d: d.pop("window"), "comparison.json: window is missing"),
    (lambda d: d["runs"][2].update(seed=-1), "comparison.json: runs[2].seed is -1, not a whole number from 0 on"),
    (lambda d: d["comparisons"][0].update(candidate="Other"),
     "comparison.json: comparisons[0].candidate is 'Other', which is none of the variants"),
    (lambda d: d.update(smoothing_steps=1e35), "comparison.json: smoothing_steps is 1e+35, not a number from 0 to 1e+30"),
    (lambda d: d["comparisons"].extend(copy.deepcopy(d["comparisons"][0]) for _ in range(3000)),
     "comparison.json: comparisons has 3,002 entries, more than the 200 that are drawn"),
    (lambda d: d["variants"].extend(d["variants"] * 100), "comparison.json: variants has 303 entries, more than the 200 that are drawn"),
    (lambda d: d.update(notes=[{"warning": True, "text": "x"}] * 5001), "comparison.json: notes has 5,001 entries, more than the 5,000 that are drawn"),
    (lambda d: d["runs"][0].update(label="gone") or d["variants"][0].update(runs=["gone"]), "comparison.csv has no column loss/gone"),
])  # fmt: skip
def test_the_field_is_named(originals, drawn_by, change, message):
    data = json.loads((originals["compare"] / "comparison.json").read_text())
    change(data)
    code, err, _ = drawn_by(originals["compare"], json.dumps(data))
    assert code == 3 and f"not what `ssgpt compare --out` writes, or damaged: {message}; write it again\n" in err, err


@pytest.mark.parametrize("cell", ["inf", "-inf", "1e308", "nan", "-5e-324", "1e30", ""])
def test_numbers_of_the_table_without_bounds(originals, drawn_by, cell):
    """A curve may hold values that are not finite, and is drawn without them."""

    def table(text):
        head, *rows = csv.reader(io.StringIO(text))
        at = head.index("difference/SSMax")
        for row in rows[10:20]:
            row[at] = cell
        out = io.StringIO()
        csv.writer(out).writerows([head, *rows])
        return out.getvalue()

    text = (originals["compare"] / "comparison.json").read_text()
    code, err, page = drawn_by(originals["compare"], text, pictures=True, table=table)
    assert code == 0 and err == "" and page


def test_a_run_whose_loss_has_any_size(originals, drawn_by):
    """A value that is finite but too large is not drawn, nor what depends on it; the rest is."""
    data = json.loads((originals["compare"] / "comparison.json").read_text())
    first, second = data["comparisons"]
    first["training"].update(mean_difference=3e35, low=-1e20, high=1e36, standard_error=3e34)
    first["segments"][0].update(candidate=3e35, difference=3e35)
    second["whole_curve"].update(high=1e31)
    text = json.dumps(data).replace('"target_loss": ', '"target_loss": 1e999, "before": ')
    code, err, page = drawn_by(originals["compare"], text, pictures=True)
    assert code == 0 and err == "", err
    candidate, baseline = first["candidate"], first["baseline"]
    assert f"There are no losses of {candidate} and {baseline} that could be compared over these steps." in page
    assert "e+3" not in page and "0" * 20 not in page


def test_models_under_changes_of_any_size(originals, drawn_by):
    data = json.loads((originals["position"] / "evaluation.json").read_text())
    data["models"][0]["rope_theta"] = 1e40
    data["models"][0]["overrides"].update(rope_theta=1e40, yarn_factor=1e35, row_scale=1e38)
    data["models"][0]["bins"][0]["loss"] = 3e35
    code, err, page = drawn_by(originals["position"], json.dumps(data))
    assert code == 0 and err == "", err
    assert "RoPE theta 1e+40; YaRN factor 1e+35; row scale 1e+38" in page
    data["models"][0]["rope_theta"] = "1e40"
    code, err, _ = drawn_by(originals["position"], json.dumps(data))
    assert code == 3 and 'models[0].rope_theta is "1e40", not a number' in err, err
    data["models"] *= 1000
    code, err, _ = drawn_by(originals["position"], json.dumps(data))
    assert code == 3 and "entries, more than the 2,000 that are drawn" in err, err


def test_settings_and_commands_that_list_many_files(_trained, tmp_path):
    """As `ssgpt compare` writes them; the page shows their beginning and end."""
    shards = [f"/data/a-folder-with-a-name-of-its-own/{'x' * 100}/train-{i:05}.bin" for i in range(600)]
    names = ["softmax", "ssmax"]
    for own, (name, data) in enumerate(zip(names, (["train.bin"], shards))):
        write_run(tmp_path / name, name, own=own, config={"data": {"train": data}})
    record = json.loads((tmp_path / "ssmax/run.json").read_text())
    record["command"] = f"ssgpt train --set data.train={json.dumps(shards)} --resume the-end"
    (tmp_path / "ssmax/run.json").write_text(json.dumps(record))
    _trained.run("compare", *(tmp_path / name for name in names), "--out", tmp_path / "out")
    assert max(len(s["candidate"]) for s in json.loads((tmp_path / "out/comparison.json").read_text())["comparisons"][0]["settings"]) > 65_536
    assert report.main([str(tmp_path / "out")]) == 0
    page = (tmp_path / "out/report.html").read_text()
    before_configs = page.partition("<summary>Config as resolved</summary>")[0]
    assert "train-00000.bin" in before_configs and "train-00300.bin" not in before_configs and "train-00599.bin" in before_configs
    assert "--resume the-end</pre>" in page


def test_a_picture_that_the_memory_does_not_hold(originals, capfd, monkeypatch, tmp_path):
    shutil.copytree(originals["compare"], tmp_path / "out")

    def out_of_memory(*_):
        raise MemoryError

    monkeypatch.setattr(report, "save_figure", out_of_memory)
    assert report.main([str(tmp_path / "out")]) == 3
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "drawing it takes more memory than there is" in err, err


def test_a_file_that_cannot_be_written_is_named(originals, capfd, tmp_path):
    picture = tmp_path / "no such folder/both.png"
    assert report.main([str(originals["compare"]), "--picture", str(picture)]) == 1
    assert capfd.readouterr().err == f"{picture}: No such file or directory\n"
    shutil.copytree(originals["compare"], tmp_path / "out")
    (tmp_path / "out/report.html").mkdir()
    assert report.main([str(tmp_path / "out")]) == 1
    assert capfd.readouterr().err == f"{tmp_path / 'out/report.html'}: Is a directory\n"


@pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C", "PYTHONUTF8": "1"}], ids=["C", "UTF-8"])
def test_files_are_utf8_whatever_the_locale(originals, tmp_path, variables):
    """Names in other scripts in the JSON and the CSV; the page's own text has dashes and primes."""
    shutil.copytree(originals["compare"], tmp_path / "out")
    for name in ("comparison.json", "comparison.csv"):
        path = tmp_path / "out" / name
        path.write_text(path.read_text().replace("SSMax", "Größe λ"), encoding="utf-8")
    command = [sys.executable, "-B", ROOT / "scripts/report.py", "out"]
    result = subprocess.run(command, cwd=tmp_path, env={**os.environ, **variables}, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    page = (tmp_path / "out/report.html").read_bytes().decode("utf-8")
    assert "Größe λ − Softmax" in page and "95&nbsp;%" in page


@pytest.mark.parametrize("name", ["_hidden", "__x", "a$b$c", "$\\frac{1}{2}$", "_$x"])
def test_names_are_shown_as_they_are(originals, tmp_path, name):
    """In the legends and titles of the pictures: Matplotlib hides names that begin with _, and typesets $...$ as formulas."""
    from report_page import comparison_figure, evaluation_figure, files
    from report_page.comparison import Comparison
    from report_page.evaluation import Evaluation
    from report_page.styles import COLORS

    for source, old in (("compare", "SSMax"), ("retrieval", "ssmax")):
        directory = tmp_path / source
        shutil.copytree(originals[source], directory)
        (path,) = directory.glob("*.json")
        path.write_text(path.read_text().replace(json.dumps(old), json.dumps(name)))
        (table,) = directory.glob("*.csv")
        table.write_text(renamed(table.read_text(), {old: name}))
    pictures = {}

    def kept(key, draw):
        def run(figure):
            draw(figure)
            figure.canvas.draw()
            axes = [text for part in figure.axes if part.get_legend() for text in part.get_legend().get_texts()]
            pictures[key] = axes + [text for legend in figure.legends for text in legend.get_texts()]

        return run

    comparison, evaluation = Comparison(tmp_path / "compare"), Evaluation(tmp_path / "retrieval")
    files.save_figure(tmp_path / "a.png", (9, 8), kept("compare", lambda figure: comparison_figure.draw(comparison, figure)))
    files.save_figure(
        tmp_path / "b.png", (9, 8),
        kept("retrieval", lambda figure: evaluation_figure.draw(evaluation, figure, COLORS, evaluation.figures)),
    )  # fmt: skip
    for texts in pictures.values():
        shown = [text for text in texts if text.get_text() == name]
        assert shown and not any(text.get_parse_math() for text in shown), [text.get_text() for text in texts]
        assert all(text.get_window_extent().width > 5 for text in shown)

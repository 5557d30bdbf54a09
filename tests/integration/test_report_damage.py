"""scripts/report.py on files that are damaged or forged: one line that names the file and the field, never a traceback,
and nothing of what they hold is obeyed by a browser."""

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
from evaluated_models import position, retrieval
from made_runs import write_seeds

sys.path.insert(0, str(ROOT / "scripts"))
import report

MUTANTS = 200
FORGED = "<script>alert('&')</script><img src=x onerror=\"alert(1)\">"
VALUES = [None, True, -1, 0, 0.5, 1e308, -1e308, 5e-324, 2**70, 10**400, float("nan"), float("inf"), "", "nan", "1", FORGED, "x" * 70_000,
          "\ud800", "_x", "$x$", [], {}, [[]], [None], {"a": 1}]  # fmt: skip


@pytest.fixture(scope="module")
def originals(_trained, tmp_path_factory):
    """{command: directory} of what compare and evaluate write for several seeds."""
    runs = tmp_path_factory.mktemp("runs")
    _, names = write_seeds(runs, ssmax=("ssmax", -0.01), fixed=("ssmax_fixed", 0.0))
    _trained.run("compare", *(runs / name for name in names), "--out", runs / "compare")
    retrieval(_trained, "--checkpoint", "sweep", "--trials", 2, "--row-scale", "2", "--out", runs / "retrieval")
    position(_trained, "--checkpoint", "sweep", "--rope-theta", "10000,50000", "--out", runs / "position")
    return {name: runs / name for name in ("compare", "retrieval", "position")}


@pytest.fixture
def drawn_by(capfd, monkeypatch, tmp_path):
    """Draws a copy of a directory with its JSON replaced by a text: (exit code, standard error, page). A picture takes
    most of a second, so that of one in `pictures` alone is drawn."""
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


def places(value, path=()):
    """Paths of all that a JSON value holds."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield from places(one, (*path, key))


def leaf(data, place):
    for key in place:
        data = data[key]
    return data


def renamed(table, names):
    """A CSV table with other names in its head: of columns as in loss/NAME."""
    head, *rows = csv.reader(io.StringIO(table))
    parts = [column.partition("/") for column in head]
    out = io.StringIO()
    csv.writer(out).writerows([[kind + slash + names.get(name, name) for kind, slash, name in parts], *rows])
    return out.getvalue()


def mutate(data, rng, paths):
    """The text of `data` with one change, or of it one that is broken as a text."""
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


@pytest.mark.parametrize("name", ["compare", "retrieval", "position"])
def test_no_mutant_makes_a_traceback(originals, drawn_by, name):
    (path,) = originals[name].glob("*.json")
    data = json.loads(path.read_text())
    # As often of each depth: most of a file are the values of its longest lists.
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


@pytest.mark.parametrize("name", ["compare", "retrieval", "position"])
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
    (lambda d: d["runs"][0].update(label="gone") or d["variants"][0].update(runs=["gone"]), "comparison.csv has no column loss/gone"),
])  # fmt: skip
def test_the_field_is_named(originals, drawn_by, change, message):
    data = json.loads((originals["compare"] / "comparison.json").read_text())
    change(data)
    code, err, _ = drawn_by(originals["compare"], json.dumps(data))
    assert code == 3 and f"not what `ssgpt compare --out` writes, or damaged: {message}; write it again\n" in err, err


@pytest.mark.parametrize("cell", ["inf", "-inf", "1e308", "nan", "-5e-324", "1e30", ""])
def test_numbers_of_the_table_without_bounds(originals, drawn_by, cell):
    """A curve may hold what is not finite, and is drawn without it."""

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


@pytest.mark.parametrize("variables", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"LC_ALL": "C", "PYTHONUTF8": "1"}], ids=["C", "UTF-8"])
def test_files_are_utf8_whatever_the_locale(originals, tmp_path, variables):
    """Names in other scripts in the JSON and the CSV; the page's own text has its dashes and primes."""
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
    """In the legends and titles of the pictures: Matplotlib hides names that begin with _, and sets $...$ as formulas."""
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

"""ssgpt compare on runs made here, and the figures that scripts/report.py draws from it."""

import csv
import html.parser
import json
import math
import re
import subprocess
import sys

import pytest
from conftest import ROOT, Program
from made_runs import STEPS, TOKENS, draw, write_pair, write_run


@pytest.fixture
def pair(tmp_path):
    return write_pair(tmp_path)


def test_finds_a_known_difference_and_writes_the_same_curves(program, pair):
    softmax, ssmax = pair
    out, _ = program.run("compare", "softmax", "ssmax", "--json", "--out", "report")
    comparison = json.loads(out)
    assert comparison == json.loads((program.directory / "report" / "comparison.json").read_text())
    (one,) = comparison["comparisons"]
    assert (one["candidate"], one["baseline"]) == ("SSMax", "Softmax")
    # One pair of runs: a difference far beyond the noise of its curve, yet no verdict.
    assert one["verdict"] == one["training"]["verdict"] == one["tokens"]["verdict"] == "no verdict"
    assert one["training"]["low"] is one["training"]["p"] is one["training"]["standard_error"] is None
    assert one["attention_alone_differs"]
    window = slice(240, 300)
    assert one["training"]["mean_difference"] == pytest.approx((ssmax - softmax)[window].mean(), abs=1e-12)
    batches = (ssmax - softmax)[window].reshape(15, 4).mean(axis=1)  # 60 points: batches of 4
    noise = one["training"]["curve_noise"]
    assert (noise["batches"], noise["points"]) == (15, 60)
    assert noise["standard_error"] == pytest.approx(batches.std(ddof=1) / math.sqrt(15), rel=1e-9)
    assert one["whole_curve"]["mean_difference"] == pytest.approx((ssmax - softmax).mean(), abs=1e-12)
    with open(program.directory / "report" / "comparison.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(r["loss/Softmax"]) for r in rows] == softmax.tolist()
    assert [float(r["loss/SSMax"]) for r in rows] == ssmax.tolist()
    assert [float(r["difference/SSMax"]) for r in rows] == (ssmax - softmax).tolist()


def test_table_says_what_is_not_in_the_error(program, pair):
    out, _ = program.run("compare", "softmax", "ssmax", "--out", "report")
    assert out.startswith("No verdict on the training loss: SSMax minus Softmax is -0.0")
    assert "it does not include the scatter between seeds, which is often several times as large" in out
    assert "at least 3 are needed" in out and "curve's noise" in out
    assert "lower" not in out and "higher" not in out
    assert out == (program.directory / "report" / "table.txt").read_text()


def test_window_and_baseline_are_options(program, pair):
    softmax, ssmax = pair
    out, _ = program.run("compare", "softmax", "ssmax", "--baseline", "ssmax/", "--window", "101:200", "--json")
    (one,) = json.loads(out)["comparisons"]
    assert one["baseline"] == "SSMax"
    assert one["training"]["mean_difference"] == pytest.approx((softmax - ssmax)[100:200].mean(), abs=1e-12)


def test_other_lengths_and_logging_steps_meet_in_what_they_share(program):
    softmax = write_run(program.directory / "softmax", "softmax", every=10)
    ssmax = write_run(program.directory / "ssmax", "ssmax", offset=-0.01, own=1, every=4, steps=200)
    comparison = json.loads(program.run("compare", "softmax", "ssmax", "--json")[0])
    assert comparison["shared"] == {"first_step": 1, "last_step": 200, "points": 10, "tokens": 200 * TOKENS}
    text = " ".join(n["text"] for n in comparison["notes"])
    assert "continues to step 300" in text and "log every 4 to 10" in text
    (one,) = comparison["comparisons"]
    assert one["training"]["mean_difference"] == pytest.approx((ssmax[160:200] - softmax[160:200]).mean(), abs=1e-12)


def test_a_torn_last_line_is_passed_over(program, pair):
    with open(program.directory / "ssmax" / "metrics.jsonl", "a") as file:
        file.write('{"step": 301, "tok')
    comparison = json.loads(program.run("compare", "softmax", "ssmax", "--json")[0])
    assert "torn" in " ".join(n["text"] for n in comparison["notes"])


def test_exit_codes(program, pair):
    assert "two runs" in program.run("compare", "softmax", code=2)[1]
    program.run("compare", "softmax", "absent", code=3)
    program.run("compare", "softmax", "ssmax", "--window", "5000:6000", code=2)
    program.run("compare", "softmax", "ssmax", "--baseline", "train.bin", code=2)
    write_run(program.directory / "wide", "ssmax", config={"model": {"vocab_size": 128}})
    assert "vocab_size" in program.run("compare", "softmax", "wide", code=2)[1]
    with open(program.directory / "ssmax" / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "tokens": 1, "train/loss": 1.0}\n')
    assert "metrics.jsonl:301" in program.run("compare", "softmax", "ssmax", code=3)[1]


class References(html.parser.HTMLParser):
    """What a page would fetch, its visible text, and whether its tags are closed."""

    def __init__(self):
        super().__init__()
        self.fetched, self.text, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.fetched += [
            v for n, v in attributes if n in ("src", "href", "srcset", "action", "data") and not v.startswith("data:")
        ]
        if tag not in ("meta", "link", "br", "rect", "line", "circle", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("rect", "line", "circle", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Several tests read the same report, and change nothing in it."""
    program = Program(tmp_path_factory.mktemp("report"))
    write_pair(program.directory)
    program.run("compare", "softmax", "ssmax", "--out", "report")
    directory = program.directory / "report"
    subprocess.run([sys.executable, ROOT / "scripts" / "report.py", directory], check=True)
    return directory


def test_the_page_is_one_file_without_requests(report):
    page = (report / "report.html").read_text()
    assert not re.search(r"https?://|@import|url\((?!#clip)|fetch\(|XMLHttpRequest", page)
    references = References()
    references.feed(page)
    assert references.fetched == []
    assert references.open == []
    text = " ".join(references.text)
    assert "No verdict between SSMax and Softmax" in text
    assert "it does not include the scatter between seeds, which is often several times as large" in text
    assert "ssgpt train <&>" in text  # what runs say is escaped


def test_the_page_draws_the_curves(report):
    page = (report / "report.html").read_text()
    data = [json.loads(d) for d in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    training = data[0]
    assert training["steps"][-1] == STEPS
    assert [s["name"] for s in training["series"]] == ["Softmax", "SSMax"]
    assert page.count('class="wide"') == page.count('class="narrow"') == len(data) == 4
    assert "nan" not in "".join(re.findall(r'd="[^"]*"', page))


def test_the_loss_axis_does_not_follow_a_single_low_loss(program, pair):
    """After a tenth of the steps both runs have one loss far below their curves, which are at 3 there."""
    for run in ("softmax", "ssmax"):
        change_lines(program.directory / run, lambda l: {**l, "train/loss": 1.9} if l["step"] == 31 else l)
    program.run("compare", "softmax", "ssmax", "--out", "report")
    data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', draw(program))[0])
    low, high = data["y"]
    for series in data["series"]:
        assert all(low < value < high for value in series["values"][45:])
    assert high < 4  # the first losses, of 4 and more, are outside


def test_one_pair_is_one_dot_without_a_band(report):
    page = (report / "report.html").read_text()
    rows = re.findall(r'<svg class="strip" .*?</svg>', page)
    assert len(rows) == 4
    for row in rows:
        assert row.count('class="dot"') == row.count('class="zero"') == 1
        assert "average" not in row and "band" not in row
    assert 'class="band"' not in page


def test_the_figure_is_an_image(report):
    import matplotlib.image

    picture = matplotlib.image.imread(report / "comparison.png")
    assert picture.shape[0] > 800 and picture.shape[1] > 1000
    assert picture[..., :3].std() > 0.05  # something is drawn


def test_a_broken_run_still_gives_a_report(program):
    write_run(program.directory / "softmax", "softmax", validation_every=0)
    write_run(program.directory / "ssmax", "ssmax", own=1, validation_every=0)
    path = program.directory / "ssmax" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[120:]:
        line["train/loss"] = None
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out, _ = program.run("compare", "softmax", "ssmax", "--out", "report")
    assert "No verdict" in out and "without a finite training loss" in out
    subprocess.run([sys.executable, ROOT / "scripts" / "report.py", program.directory / "report"], check=True)
    assert "No verdict" in (program.directory / "report" / "report.html").read_text()


def change_lines(directory, change):
    path = directory / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(change(line)) + "\n" for line in lines))


def text_of(page):
    references = References()
    references.feed(page)
    return " ".join(" ".join(references.text).split())


def test_a_diverged_seed_leads_text_json_and_page(program):
    runs = []
    for seed in (1, 2, 3):
        write_run(program.directory / f"a{seed}", "softmax", seed=seed, own=seed)
        write_run(program.directory / f"b{seed}", "ssmax", seed=seed, offset=-0.5, own=10 + seed)
        runs += [f"a{seed}", f"b{seed}"]
    change_lines(program.directory / "b2", lambda l: {**l, "train/loss": None if l["step"] > 250 else l["train/loss"]})
    out, _ = program.run("compare", *runs, "--out", "report")
    statement = "SSMax diverged in 1 of 3 seeds"
    assert out.startswith(f"No verdict: {statement} (seed 2: the training loss is not finite at 50 of the 60 points")
    comparison = json.loads((program.directory / "report" / "comparison.json").read_text())
    (one,) = comparison["comparisons"]
    assert one["verdict"] == one["training"]["verdict"] == one["validation"]["verdict"] == "no verdict"
    assert one["failed"].startswith(statement) and one["summary"][0] == f"No verdict: {one['failed']}."
    assert [v["diverged_seeds"] for v in comparison["variants"]] == [[], [2]]
    page = draw(program)
    assert f"<h1>No verdict: {statement}</h1>" in page
    assert "lower training loss than" not in text_of(page)


def test_a_validation_that_is_never_finite_is_said(program, pair):
    for run in ("softmax", "ssmax"):
        change_lines(
            program.directory / run, lambda l: {**l, **({"validation/loss": None} if "validation/loss" in l else {})}
        )
    program.run("compare", "softmax", "ssmax", "--out", "report")
    assert "No validation loss that the runs share is finite" in text_of(draw(program))


def test_a_validation_that_is_not_finite_at_first_keeps_the_rows_together(program, pair):
    for run in ("softmax", "ssmax"):
        change_lines(program.directory / run, lambda l: {**l, **({"validation/loss": None} if l["step"] == 50 else {})})
    change_lines(program.directory / "ssmax", lambda l: {**l, **({"validation/loss": 9.0} if l["step"] == 300 else {})})
    program.run("compare", "softmax", "ssmax", "--out", "report")
    page = draw(program)
    assert "<td>50</td><td>–</td><td>–</td><td>–</td>" in page
    baseline = 2.5 + 1 / 300
    assert f"<td>300</td><td>{baseline:.4f}</td><td>9.0000</td><td>+{9 - baseline:.4f}</td>" in page


@pytest.mark.parametrize("every", [1, 10], ids=["one step", "one line of ten steps"])
def test_a_single_shared_line_is_drawn(program, every):
    for own, kind in enumerate(("softmax", "ssmax")):
        write_run(program.directory / kind, kind, own=own, steps=every, every=every, validation_every=every)
    out, _ = program.run("compare", "softmax", "ssmax", "--out", "report")
    assert "too few" in out
    assert "nan" not in "".join(re.findall(r' (?:d|x|y|cx|cy)="[^"]*"', draw(program)))


def test_means_are_over_the_shared_seeds(program):
    losses = {}
    for name, kind, seed, offset in (
        ("a1", "softmax", 1, 0),
        ("a2", "softmax", 2, 0),
        ("a3", "softmax", 3, 5.0),
        ("b1", "ssmax", 1, -0.1),
        ("b2", "ssmax", 2, -0.2),
    ):
        losses[name] = write_run(program.directory / name, kind, seed=seed, offset=offset)
    out, _ = program.run("compare", *losses, "--out", "report")
    assert "only the seeds that both have (1, 2) are compared" in " ".join(out.split())
    assert re.search(r"^  Softmax +2 of 3 ", out, re.MULTILINE) and re.search(r"^  SSMax +2 ", out, re.MULTILINE)
    comparison = json.loads((program.directory / "report" / "comparison.json").read_text())
    softmax, ssmax = comparison["variants"]
    assert softmax["averaged_runs"] == ["Softmax (seed 1)", "Softmax (seed 2)"]
    assert softmax["window_loss"] == pytest.approx((losses["a1"] + losses["a2"])[240:].mean() / 2, abs=1e-12)
    difference = comparison["comparisons"][0]["training"]["mean_difference"]
    assert ssmax["window_loss"] - softmax["window_loss"] == pytest.approx(difference, abs=1e-12)
    last = 2.5 + 1 / 300
    row = f"<td>300</td><td>{last:.4f}</td><td>{last - 0.15:.4f}</td><td>−0.1500</td>"
    assert row in draw(program)


def test_a_run_from_other_weights_is_more_than_attention(program, pair):
    path = program.directory / "ssmax" / "run.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "parent": "elsewhere/checkpoints/step-00000100"}))
    out, _ = program.run("compare", "softmax", "ssmax", "--out", "report")
    assert "attention alone" not in out
    assert re.search(r"^  parent +none +elsewhere/checkpoints/step-00000100$", out, re.MULTILINE)
    assert "More than attention differs." in draw(program)


def test_validation_text_is_told_by_its_fingerprint(program, pair):
    path = program.directory / "ssmax" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"v/8"', '"w/8"'))
    out, _ = program.run("compare", "softmax", "ssmax")
    assert "Validation losses are not compared: the validation text differs" in " ".join(out.split())


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2].rsplit(",", 2)[0] + "\n",
        lambda text: text.replace("0", "x"),
        lambda text: text.replace("first_step", "other", 1),
        lambda text: text.replace("difference/SSMax", "other", 1),
        lambda text: text.splitlines()[0] + "\n",
        lambda text: "",
    ],
    ids=["short line", "no number", "no first_step", "no difference", "no rows", "empty"],
)
def test_a_damaged_table_is_one_line(program, pair, damage):
    program.run("compare", "softmax", "ssmax", "--out", "report")
    path = program.directory / "report" / "comparison.csv"
    path.write_text(damage(path.read_text()))
    command = [sys.executable, ROOT / "scripts" / "report.py", path.parent]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 3
    assert "damaged" in result.stderr and result.stderr.count("\n") == 1, result.stderr


def test_report_refuses_an_older_version(program, pair):
    program.run("compare", "softmax", "ssmax", "--out", "report")
    path = program.directory / "report" / "comparison.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 1', 1))
    command = [sys.executable, ROOT / "scripts" / "report.py", path.parent]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 3
    assert "comparison.json: it is of version 1, and this script reads version 2" in result.stderr and result.stderr.count("\n") == 1


def test_report_says_how_a_folder_that_is_not_there_is_written(tmp_path):
    folder = tmp_path / "report"
    result = subprocess.run([sys.executable, ROOT / "scripts" / "report.py", folder], capture_output=True, text=True)
    assert result.returncode == 3 and result.stderr.count("\n") == 1
    assert f"{folder}: no such folder" in result.stderr and f"ssgpt compare ... --out {folder}" in result.stderr


def test_report_refuses_a_foreign_directory(tmp_path):
    result = subprocess.run([sys.executable, ROOT / "scripts" / "report.py", tmp_path], capture_output=True, text=True)
    assert result.returncode == 3
    assert "ssgpt compare --out" in result.stderr and "Traceback" not in result.stderr

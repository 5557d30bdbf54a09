"""The pictures and pages for many variants, and for several directories together."""

import json
import re
import struct
import subprocess
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

from conftest import ROOT
from evaluated_models import model, position, retrieval

sys.path.insert(0, str(ROOT / "scripts"))
from report_page import evaluation_figure
from report_page.elements import without_shared_origin
from report_page.evaluation import Evaluation
from report_page.evaluation_page import build_page
from report_page.styles import slots

COLORS = [f"#{i}{i}{i}{i}{i}{i}" for i in range(6)]


def report(program, *arguments):
    command = [sys.executable, ROOT / "scripts" / "report.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=program.directory)


def png_size(path):
    header = path.read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    return struct.unpack(">II", header[16:])


def drawn(evaluation, figures=None):
    figures = figures or evaluation.figures
    figure = plt.figure(figsize=evaluation_figure.size(evaluation, figures), layout="constrained")
    evaluation_figure.draw(evaluation, figure, COLORS, figures)
    figure.canvas.draw()
    return figure


@pytest.fixture
def many(trained):
    """Sixteen candidates: row scales of two models."""
    scales = ",".join(str(1 + i / 10) for i in range(9))
    arguments = ["--checkpoint", model("softmax"), model("ssmax"), "--lengths", "16,32,64", "--trials", 2]
    retrieval(trained, *arguments, "--row-scale", scales, "--out", "many")
    return Evaluation(trained.directory / "many")


def test_kinds_keep_their_colours_and_no_two_variants_look_alike():
    sweep = slots(["softmax", "softmax_temperature", "ssmax", "swap"])
    titles = slots(["SSMax", "Softmax, learned temperature", "Softmax"])
    assert [sweep[n] for n in ("softmax", "softmax_temperature", "ssmax")] == [0, 1, 2]
    assert [titles[n] for n in ("Softmax", "Softmax, learned temperature", "SSMax")] == [0, 1, 2]
    assert sweep["swap"] == 3
    tuned = slots(["SSMax from 3 runs, step-00000200", "Softmax from other, step-00000100", "SSMax"])
    assert list(tuned.values()) == [2, 0, 1]  # the second SSMax has to look different
    names = ["SSMax", *(f"SSMax, row scale {i}" for i in range(15)), "Softmax"]
    assert len(set(slots(names).values())) == len(names)


def test_pictures_leave_out_the_origin_that_all_variants_share():
    shared = ["Softmax from 4 runs, step-00000200", "SSMax from 4 runs, step-00000200"]
    assert list(without_shared_origin(shared).values()) == ["Softmax", "SSMax"]
    others = ["Softmax from a, step-00000200", "SSMax from b, step-00000200", "SSMax"]
    for labels in (others, others[:2], others[1:], ["Softmax", "SSMax"]):
        assert without_shared_origin(labels) == {label: label for label in labels}


def test_sixteen_candidates_stay_apart_in_the_figure(many):
    assert len(many.panels[0].comparisons) >= 16
    figure = drawn(many)
    (legend,) = figure.legends
    looks = [(h.get_color(), str(h._dash_pattern), h.get_marker()) for h in legend.legend_handles]
    assert len(set(looks)) == len(looks) == len(many.slot)
    differences = figure.axes[2]
    assert differences.get_title(loc="left").startswith("Difference")
    low, high = differences.get_xlim()
    curves = [line.get_xdata() for line in differences.lines if len(line.get_xdata()) == 3]
    assert len(curves) == len(many.panels[0].comparisons)
    for point in range(3):
        places = [curve[point] for curve in curves]
        assert max(places) / min(places) < 1.12 and low < min(places) and max(places) < high
        assert len(set(places)) == len(places)
    # The legend is below all axes, inside the picture.
    box = legend.get_window_extent()
    assert box.y0 >= 0 and box.x0 >= 0 and box.x1 <= figure.bbox.width
    assert all(box.y1 <= axes.get_tightbbox().y0 for axes in figure.axes)
    plt.close(figure)


def test_sixteen_candidates_stay_apart_on_the_page(many):
    page = build_page(many)
    legend = re.search(r'<div class="legend">.*?</div>', page)[0]
    looks = re.findall(r"</?(?:i|svg) .*?(?=</button>)", legend)
    samples = [re.sub(r">[^<]*$", "", look) for look in looks]
    assert len(samples) == len(set(samples)) == len(many.slot)
    lines = re.findall(r'<path class="smooth" data-series="([^"]*)" style="([^"]*)"', page)
    marks = re.findall(r'<g data-series="([^"]*)" style="([^"]*)"[^>]*><(\w+) class="dot"[^>]*?([a-z][^"]*)?"/>', page)
    assert len({style for _, style in lines}) == len(many.slot)
    assert {name for name, *_ in marks} >= set(many.slot)


def test_panels_name_their_condition_and_the_trained_length(trained):
    arguments = ["--checkpoint", "sweep", "--max-length", 64, "--rope-theta", "10000,50000,500000", "--out", "out"]
    position(trained, *arguments)
    evaluation = Evaluation(trained.directory / "out")
    figure = drawn(evaluation)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    titles = [axes.get_title(loc="left") for axes in shown]
    for theta in (10000, 50000, 500000):
        assert sum(title.endswith(f"RoPE theta {theta}") for title in titles) == 2  # values and differences
    assert figure.get_size_inches()[0] == 9
    for axes in shown:
        assert any(list(line.get_xdata()) == [evaluation.trained_length] * 2 for line in axes.lines)
        # A title, in one line or two, does not reach the next panel.
        box = axes._left_title.get_window_extent()
        others = [other.get_window_extent() for other in shown if other is not axes]
        assert box.x1 <= figure.bbox.width and not any(box.overlaps(other) for other in others)
    plt.close(figure)


def test_seeds_that_only_one_side_has_are_marked(trained):
    checkpoints = [*(model("softmax", seed) for seed in (1, 2, 3)), *(model("ssmax", seed) for seed in (1, 2))]
    position(trained, "--checkpoint", *checkpoints, "--row-scale", "1,2", "--out", "out")
    evaluation = Evaluation(trained.directory / "out")
    figure = drawn(evaluation)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "SSMax † (seeds 1, 2)" in labels and "Softmax" in labels
    assert "† Its differences are over the seeds that the baseline has too" in figure.legends[0].get_title().get_text()
    page = build_page(evaluation)
    assert "SSMax − Softmax †" in page and "SSMax over 1, 2" in page and "mean is over 1, 2, 3" in page
    plt.close(figure)


def test_values_that_are_not_finite_are_named(trained):
    arguments = ["--checkpoint", *(model(v, seed) for v in ("softmax", "ssmax") for seed in (1, 2, 3))]
    position(trained, *arguments, "--out", "out")
    path = trained.directory / "out" / "evaluation.json"
    data = json.loads(path.read_text())
    for one in data["comparisons"]:
        for point in one["points"]:
            for name in ("mean_difference", "low", "high", "p", "p_corrected", "smallest_detectable"):
                point[name] = None
            point.update(values=0, missing=3, verdict="no verdict")
            point["trials"].update(mean_difference=None, standard_error=None)
            for seed in point["seeds"]:
                seed["difference"] = None
    path.write_text(json.dumps(data))
    evaluation = Evaluation(trained.directory / "out")
    page = build_page(evaluation)
    assert "values not finite: 3 of 3 seeds at positions" in page and "(3 not finite)" in page
    assert "three or more" not in re.sub(r"<section><h2>Method.*", "", page)
    figure = drawn(evaluation)
    assert "values were not finite" in figure.legends[0].get_title().get_text()
    plt.close(figure)


def test_writing_again_removes_what_was_drawn(trained):
    arguments = ["--checkpoint", model("softmax"), "--out", "out"]
    position(trained, *arguments)
    assert report(trained, "out").returncode == 0
    assert (trained.directory / "out/report.html").exists() and (trained.directory / "out/evaluation.png").exists()
    position(trained, *arguments, "--max-length", 64)
    assert sorted(path.name for path in (trained.directory / "out").iterdir()) == [
        "evaluation.csv",
        "evaluation.json",
        "table.txt",
    ]


def test_a_comparison_and_an_evaluation_in_one_picture(trained):
    trained.run("compare", "sweep", "--out", "compared")
    retrieval(trained, "--checkpoint", "sweep", "--trials", 2, "--out", "evaluated")
    for name in ("compared", "evaluated"):
        result = report(trained, name, "--picture", f"{name}-alone.png")
        assert result.returncode == 0 and result.stderr == "", result.stderr
    result = report(trained, "compared", "evaluated", "--picture", "both.png")
    assert result.returncode == 0 and result.stderr == "", result.stderr
    assert result.stdout == "both.png\n"
    sizes = [png_size(trained.directory / f"{name}.png") for name in ("compared-alone", "evaluated-alone", "both")]
    assert [width for width, _ in sizes] == [9 * 150] * 3
    # Below each other: as high as both, except that each is rounded to whole pixels.
    assert sizes[2][1] == pytest.approx(sizes[0][1] + sizes[1][1], abs=2)
    assert not list(trained.directory.glob("*/report.html")) and not list(trained.directory.glob("*/*.png"))
    result = report(trained, "compared", "absent", "--picture", "third.png")
    assert result.returncode == 3 and "absent: no such folder" in result.stderr
    assert not (trained.directory / "third.png").exists()
    assert report(trained, "compared", "evaluated").returncode == 0
    assert (trained.directory / "compared/comparison.png").exists()
    assert (trained.directory / "evaluated/evaluation.png").exists()

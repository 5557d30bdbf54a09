"""scripts/report.py on the attention on needles: pictures and page from hand-made values, and what it refuses."""

import json
import re
import sys

import matplotlib
import pytest

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from conftest import ROOT
from made_needles import DEPTHS, LENGTHS, TRIALS, VARIANTS, head_of, made_needles, mean_of, outcome_of, weight_of, write_needles
from test_compare import References

sys.path.insert(0, str(ROOT / "scripts"))
import report
from report_page import needle_attention_figure, needle_attention_page
from report_page.evaluation import Evaluation
from report_page.evaluation_page import build_page
from report_page.styles import COLORS

SHOWN = (1024, 8192)  # the longest within the training length, and the longest
OUTCOMES = {"right": "right", "first digit": "first digit right", "wrong": "wrong"}


def drawn(directory):
    evaluation = Evaluation(directory)
    figure = plt.figure(figsize=needle_attention_figure.size(evaluation), layout="constrained")
    needle_attention_figure.draw(evaluation, figure, COLORS)
    figure.canvas.draw()
    return figure


def name_of(seed, rank):
    return "{}.{}".format(*head_of(seed, rank))


def sorted_trials(variant, seed, length):
    """[(weight, outcome)] at all depths."""
    trials = [(weight_of(variant, seed, length, depth, 0, t), outcome_of(variant, length, t)) for depth in DEPTHS for t in range(TRIALS)]
    return sorted(trials, reverse=True)


def panels(figure):
    """(subfigure's heading, axes) in reading order."""
    return [(part._suptitle.get_text(), axes) for part in figure.subfigs for axes in part.axes if axes.get_visible()]


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3), (1, 2, 3, 4, 5, 6)], ids=str)
def test_the_picture_has_the_heads_by_rank(tmp_path, seeds):
    figure = drawn(write_needles(tmp_path, seeds))
    found = [(heading, axes) for heading, axes in panels(figure) if heading.startswith("Heads")]
    assert len(found) == len(SHOWN) * len(VARIANTS)
    for i, (heading, axes) in enumerate(found):
        length, variant = SHOWN[i // 2], VARIANTS[i % 2]
        heading = " ".join(heading.split())  # headings may have two lines
        assert heading == f"Heads by mean weight, depth 40 %: {length:,} tokens, RoPE theta as trained (10000)"
        assert axes.get_title(loc="left") == variant
        curves = [list(line.get_xdata()) for line in axes.lines]
        of_seeds = [[mean_of(variant, seed, length, 40, rank) for rank in range(25)] for seed in seeds]
        means = [sum(values) / len(seeds) for values in zip(*of_seeds)]
        assert curves[-1] == pytest.approx(means, abs=1e-12) and axes.lines[-1].get_marker() == "o"
        assert list(axes.lines[-1].get_ydata()) == list(range(1, 26))
        if len(seeds) > 1:
            for curve, expected in zip(curves[:-1], of_seeds, strict=True):
                assert curve == pytest.approx(expected, abs=1e-12)
        labels = [label.get_text() for label in axes.get_yticklabels()]
        named = ["  ".join(name_of(seed, rank) for seed in seeds) for rank in range(25)]
        assert labels == (named if len(seeds) <= 4 else [str(rank) for rank in range(1, 26)])
        top, bottom = axes.get_ylim()
        assert top > bottom  # the highest rank is on top
    # All axes of one length are the same.
    assert found[0][1].get_xlim() == found[1][1].get_xlim() != found[2][1].get_xlim()
    plt.close(figure)


@pytest.mark.parametrize("seeds", [(1,), (1, 2, 3)], ids=str)
def test_the_picture_has_every_trial_with_its_outcome(tmp_path, seeds):
    figure = drawn(write_needles(tmp_path, seeds))
    found = [(heading, axes) for heading, axes in panels(figure) if heading.startswith("Trials by largest weight, all depths")]
    assert len(found) == len(SHOWN) * len(VARIANTS)
    looks = set()
    for i, (heading, axes) in enumerate(found):
        length, variant = SHOWN[i // 2], VARIANTS[i % 2]
        assert f"{length:,} tokens" in heading
        counts = dict.fromkeys(OUTCOMES, 0)
        lines = iter(axes.lines)
        for seed in seeds:
            trials = sorted_trials(variant, seed, length)
            assert list(next(lines).get_ydata()) == [weight for weight, _ in trials]
            for outcome in OUTCOMES:
                line = next(lines)
                expected = [(place, weight) for place, (weight, one) in enumerate(trials, 1) if one == outcome]
                assert list(zip(line.get_xdata(), line.get_ydata())) == expected
                looks.add((outcome, line.get_color(), line.get_marker(), line.get_markerfacecolor()))
                counts[outcome] += len(expected)
        assert sum(counts.values()) == len(seeds) * len(DEPTHS) * TRIALS
        text = " · ".join(f"{count} {outcome}" for outcome, count in counts.items())
        assert axes.get_title(loc="left") == f"{variant}\n{text}"
    # Each outcome has its own colour and marker.
    assert len(looks) == 3 and all(len({look[i] for look in looks}) == 3 for i in (0, 1, 2))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["answered right", "first digit right", "wrong"]
    assert "there is no verdict on it" in legend.get_title().get_text()
    assert ("single seeds" in legend.get_title().get_text()) == (len(seeds) > 1)
    plt.close(figure)


def test_nothing_reaches_out_of_the_picture(tmp_path):
    variants = ("softmax", "ssmax", "ssmax_bias", "learned_pn", "Softmax -> SSMax, s fixed at 1, untrained")
    titles = ("RoPE theta as each was trained, YaRN factor 4", "RoPE theta 500000, YaRN factor 4")
    figure = drawn(write_needles(tmp_path, (1, 2, 3), variants=variants, titles=titles))
    # With several conditions only the longest length; four variants side by side.
    assert [len(part.axes) for part in figure.subfigs] == [4] * 8
    assert all("8,192 tokens" in heading for heading, _ in panels(figure)) and len(panels(figure)) == 2 * 2 * 5
    box = figure.legends[0].get_window_extent()
    assert box.y0 >= 0 and box.x0 >= 0 and box.x1 <= figure.bbox.width
    for part in figure.subfigs:
        heading = part._suptitle.get_window_extent()
        assert 0 <= heading.x0 and heading.x1 <= figure.bbox.width
        shown = [axes for axes in part.axes if axes.get_visible()]
        boxes = [axes.get_tightbbox() for axes in shown]
        assert all(0 <= one.x0 and one.x1 <= figure.bbox.width and one.y1 <= heading.y0 + 1 for one in boxes)
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    plt.close(figure)
    single = drawn(write_needles(tmp_path / "one", (1,), variants=("ssmax",), titles=titles[:1]))
    assert all(part._suptitle.get_window_extent().x1 <= single.bbox.width for part in single.subfigs)
    plt.close(single)


def test_the_page_has_charts_and_a_table_of_all_points(tmp_path):
    seeds = (1, 2)
    page = build_page(Evaluation(write_needles(tmp_path, seeds)))
    references = References()
    references.feed(page)
    assert references.fetched == [] and references.open == []
    text = " ".join(" ".join(references.text).split())
    assert "Attention on the needle, RoPE theta as trained (10000)" in text and "there is no verdict on it" in text
    section = page[page.index("Attention on the needle,") :]
    charts = [json.loads(data) for data in re.findall(r'<script type="application/json">(.*?)</script>', section)]
    assert len(charts) == len(SHOWN) * (1 + len(VARIANTS))
    for i, length in enumerate(SHOWN):
        heads, *trials = charts[3 * i : 3 * i + 3]
        for variant, series in zip(VARIANTS, heads["series"], strict=True):
            means = [sum(mean_of(variant, seed, length, 40, rank) for seed in seeds) / 2 for rank in range(25)]
            assert series["name"] == variant and series["values"] == pytest.approx(means, abs=1e-5)
        assert heads["axis"] == {"name": "rank", "least": 1} and heads["steps"] == list(range(1, 26))
        for variant, chart in zip(VARIANTS, trials):
            for j, seed in enumerate(seeds):
                for outcome, series in zip(OUTCOMES, chart["series"][3 * j : 3 * j + 3], strict=True):
                    expected = [w if one == outcome else None for w, one in sorted_trials(variant, seed, length)]
                    assert series["name"] == f"seed {seed}, {outcome}" and series["hiddenBy"] == outcome
                    assert series["values"] == [w if w is None else pytest.approx(w, abs=1e-5) for w in expected]
    rows = re.findall(r"<tr>(.*?)</tr>", section[section.index("All lengths and depths") :])
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in rows][1:]
    points = [(length, depth) for length in LENGTHS for depth in DEPTHS]
    for i, (length, depth) in enumerate(points):
        for j, variant in enumerate(VARIANTS):
            mean = sum(mean_of(variant, seed, length, depth, 0) for seed in seeds) / 2
            expected = [f"{length:,} tokens, {depth} %", variant, ", ".join(name_of(s, 0) for s in seeds), f"{mean:.4f}"]
            for outcome in OUTCOMES:
                weights = [
                    weight_of(variant, s, length, depth, 0, t)
                    for s in seeds
                    for t in range(TRIALS)
                    if outcome_of(variant, length, t) == outcome
                ]
                expected.append(f"{sum(weights) / len(weights):.4f} ({len(weights)})" if weights else "–")
            assert cells[2 * i + j] == expected
    for seed in seeds:
        assert f"<td>{name_of(seed, 3)}: {mean_of('ssmax', seed, 8192, 40, 3):.4f}</td>" in section


def test_of_many_trials_the_page_marks_some(tmp_path, monkeypatch):
    """As many marks as are allowed in all, divided among the seeds; the first and the last trial are among them."""
    monkeypatch.setattr(needle_attention_page, "MOST_MARKS", 10)
    page = build_page(Evaluation(write_needles(tmp_path, (1, 2))))
    section = page[page.index("Attention on the needle,") :]
    assert section.count("5 trials of each model are marked.") == len(SHOWN) * len(VARIANTS)
    chart = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', section)[1])
    marked = [[w for w in values if w is not None] for values in zip(*(one["values"] for one in chart["series"][:3]))]
    assert sum(map(len, marked)) == 5 and marked[0] and marked[-1]


def test_report_writes_both_pictures_and_none_of_attention_without_it(tmp_path, capsys):
    write_needles(tmp_path)
    assert report.main([str(tmp_path)]) == 0
    names = ("evaluation.png", "needle_attention.png", "report.html")
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in names]
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in names[:2])
    plain = tmp_path / "plain"
    data = made_needles((1,))
    for model in data["models"]:
        for result in model["results"]:
            del result["attention"]
    plain.mkdir()
    (plain / "evaluation.json").write_text(json.dumps(data))
    assert report.main([str(plain)]) == 0
    assert capsys.readouterr().out.split() == [str(plain / name) for name in (names[0], names[2])]
    assert not (plain / names[1]).exists() and "Attention on the needle" not in (plain / names[2]).read_text()


def test_what_is_not_finite_is_not_drawn(tmp_path):
    data = made_needles((1,))
    for result in data["models"][0]["results"]:
        for one in result["attention"]["heads"]:
            one["mean"] = None
        for one in result["attention"]["trials"]:
            one["weight"] = None
    (tmp_path / "evaluation.json").write_text(json.dumps(data))
    assert report.main([str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "NaN" not in page and "nan" not in "".join(re.findall(r'd="[^"]*"', page))
    assert "<td>– (8)</td>" in page


def first(data):
    return data["models"][0]["results"][0]


def attention(data):
    return first(data)["attention"]


WHERE = "evaluation.json: models[0].results[0].attention"
DAMAGED = {
    "weight": (lambda d: attention(d)["trials"][2].update(weight=1.5), f"{WHERE}.trials[2].weight is 1.5, not a number from 0 to 1.001"),
    "mean": (lambda d: attention(d)["heads"][1].update(mean="0.1"), f'{WHERE}.heads[1].mean is "0.1", not a number'),
    "head": (lambda d: attention(d)["heads"][1].update(head=-1), f"{WHERE}.heads[1].head is -1, not a whole number from 0 on"),
    "no layer": (lambda d: attention(d)["heads"][0].pop("layer"), f"{WHERE}.heads[0].layer is missing"),
    "outcome": (
        lambda d: attention(d)["trials"][0].update(outcome="lucky"),
        f'{WHERE}.trials[0].outcome is "lucky", not one of right, first digit, wrong',
    ),
    "no heads": (lambda d: attention(d).update(heads=[]), f"{WHERE}.heads has 0 entries, fewer than 1"),
    "many heads": (lambda d: attention(d)["heads"].append({"layer": 9, "head": 9, "mean": 0.0}), f"{WHERE}.heads has 26 entries, more than"),
    "fewer heads": (lambda d: attention(d)["heads"].pop(), "results[1].attention.heads has 25 entries, not 24"),
    "twice": (lambda d: attention(d)["heads"].__setitem__(1, attention(d)["heads"][0]), f"{WHERE}.heads: a head is listed twice"),
    "order": (lambda d: attention(d)["heads"].reverse(), f"{WHERE}.heads are not in falling order of their means"),
    "trials": (lambda d: attention(d)["trials"].pop(), f"{WHERE}.trials has 9 entries, not 10"),
    "right": (lambda d: first(d).update(correct=3), f"{WHERE}.trials has 8 right answers, and correct is 3"),
    "missing": (
        lambda d: d["models"][1]["results"][4].pop("attention"),
        "evaluation.json: models[1].results[4].attention is missing, unlike in models[0].results[0]",
    ),
    "first missing": (
        lambda d: first(d).pop("attention"),
        "evaluation.json: models[0].results[1].attention is there, unlike in models[0].results[0]",
    ),
    "no object": (lambda d: first(d).update(attention=[1]), f"{WHERE} is list, not an object"),
}


@pytest.mark.parametrize("change, message", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_attention_is_refused_by_name(tmp_path, capsys, change, message):
    data = made_needles((1,))
    change(data)
    (tmp_path / "evaluation.json").write_text(json.dumps(data))
    assert report.main([str(tmp_path)]) == 3
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and message in err, err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evaluation.json"]

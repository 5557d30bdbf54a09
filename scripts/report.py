#!/usr/bin/env python3
"""Draws what `ssgpt compare RUN RUN... --out DIR` wrote, as DIR/comparison.png and DIR/report.html, and what
`ssgpt evaluate position|retrieval --out DIR` wrote, as DIR/evaluation.png and DIR/report.html.

    .venv/bin/python scripts/report.py runs/quickstart/report
    .venv/bin/python scripts/report.py runs/quickstart/report runs/copying/report --picture both.png

The page is one file: it makes no request, and works without JavaScript. With --picture the pictures of all the
directories are drawn below each other into one file, and nothing else is written; of a retrieval it has the accuracy
alone.
"""

import argparse
import csv
import json
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from report_page.files import save_figure, write_atomically
from report_page.styles import color, slots

VERSION = 2  # of comparison.json
# Okabe and Ito's palette, which stays distinct for colour-blind readers.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#4A4A8A"]


def damaged(directory, error, command="compare"):
    return SystemExit(
        f"{directory}: not what `ssgpt {command} --out` writes, or damaged ({type(error).__name__}: {error}); "
        "write it again"
    )


def as_columns(names, rows):
    """{name: numbers of that column}, NaN for an empty cell."""
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise ValueError(f"comparison.csv, line {number}: {len(row)} values for {len(names)} columns")
    return {n: [float(r[i]) if r[i] else math.nan for r in rows] for i, n in enumerate(names)}


class Comparison:
    """comparison.json, and the columns of comparison.csv as lists with NaN for what is absent."""

    def __init__(self, directory):
        try:
            self.data = json.loads((directory / "comparison.json").read_text())
            with open(directory / "comparison.csv", newline="") as file:
                names, *rows = csv.reader(file)
            if not isinstance(self.data, dict) or self.data.get("format") != "ssgpt-comparison":
                raise ValueError("comparison.json is no comparison")
            if self.data.get("version") != VERSION:
                raise SystemExit(
                    f"{directory}: comparison.json is of version {self.data.get('version')}, and this script reads "
                    f"version {VERSION}, whose verdicts come from seeds; write it again: "
                    f"`ssgpt compare RUN RUN... --out {directory}`"
                )
            self.read_columns(names, rows, as_columns(names, rows))
        except (OSError, ValueError, IndexError, KeyError, csv.Error) as error:
            raise damaged(directory, error)

    def read_columns(self, names, rows, columns):
        trained = [i for i, first in enumerate(columns["first_step"]) if not math.isnan(first)]
        validation = [n for n in names if n.startswith("validation/")]
        shared = set(self.data["validation"]["steps"])
        validated = [i for i, step in enumerate(columns["step"]) if step in shared]
        self.curves = {n: [v[i] for i in trained] for n, v in columns.items() if n not in validation}
        self.steps = self.curves["step"]
        self.validation = {n: [columns[n][i] for i in validated] for n in validation}
        self.validation_steps = [columns["step"][i] for i in validated]
        self.variants = self.data["variants"]
        self.comparisons = self.data["comparisons"]
        self.color = {label: color(slot) for label, slot in slots([v["label"] for v in self.variants]).items()}
        needed = [f"loss/{run}" for v in self.variants for run in v["runs"]]
        needed += [f"smoothed/{v['label']}" for v in self.variants]
        needed += [
            f"{kind}/{one['candidate']}" for one in self.comparisons for kind in ("difference", "smoothed_difference")
        ]
        missing = [n for n in needed if n not in self.curves]
        if shared:
            averaged = [f"validation/{run}" for v in self.variants for run in v["averaged_runs"]]
            missing += [n for n in averaged if n not in names]
        if missing or not self.steps:
            raise ValueError(f"comparison.csv has no column {missing[0]}" if missing else "comparison.csv has no rows")

    def step_range(self):
        """Limits of the step axis, around a single step too."""
        first, last = self.curves["first_step"][0], self.steps[-1]
        return (first, last) if first < last else (first - 0.5, last + 0.5)

    def validation_mean(self, variant):
        """Over the runs that the comparison is over."""
        series = [self.validation[f"validation/{run}"] for run in variant["averaged_runs"]]
        if not series:
            return [math.nan] * len(self.validation_steps)
        return [sum(values) / len(values) for values in zip(*series)]

    def loss_range(self):
        """Limits that show most of the curves compared: what they were before a tenth of the steps is cut off."""
        begin = len(self.steps) // 10
        labels = [run for v in self.variants for run in v["averaged_runs"]]
        curves = [self.curves[f"loss/{run}"] for run in labels]
        raw = [v for c in curves for v in c[begin:] if not math.isnan(v)]
        top = max((c[begin] for c in curves if not math.isnan(c[begin])), default=max(raw, default=1.0))
        return padded(min([*raw, *(v for v in self.validation_values() if v <= top)], default=0.0), top)

    def window_curves(self):
        """(steps, {variant: smoothed loss}) inside the window, for the enlarged view of its end."""
        window = self.data["window"]
        inside = [i for i, s in enumerate(self.steps) if window["first_step"] <= s <= window["last_step"]]
        smoothed = {v["label"]: [self.curves[f"smoothed/{v['label']}"][i] for i in inside] for v in self.variants}
        return [self.steps[i] for i in inside], smoothed

    def validation_values(self):
        return [v for c in self.validation.values() for v in c if not math.isnan(v)]

    def difference_range(self):
        """Limits that hold nearly all of the raw differences, zero and every interval."""
        begin = len(self.steps) // 25
        values = [0.0]
        for one in self.comparisons:
            raw = sorted(v for v in self.curves[f"difference/{one['candidate']}"][begin:] if not math.isnan(v))
            if raw:
                values += [raw[len(raw) // 50], raw[-1 - len(raw) // 50]]
            values += [v for v in self.curves[f"smoothed_difference/{one['candidate']}"][begin:] if not math.isnan(v)]
            values += [one["training"][k] for k in ("low", "high", "mean_difference") if one["training"][k] is not None]
        return padded(min(values), max(values))


def padded(low, high):
    room = 0.06 * (high - low) or 0.01
    return low - room, high + room


def shortened(label, most=26):
    return label if len(label) <= most else f"{label[: most // 2]}…{label[-(most - most // 2 - 1) :]}"


def draw_losses(axes, comparison):
    for variant in comparison.variants:
        label = variant["label"]
        color = COLORS[comparison.color[label]]
        for run in variant["runs"]:
            axes.plot(comparison.steps, comparison.curves[f"loss/{run}"], color=color, alpha=0.22, linewidth=0.7)
        axes.plot(
            comparison.steps,
            comparison.curves[f"smoothed/{label}"],
            color=color,
            linewidth=1.8,
            label=shortened(label),
        )
        if comparison.validation:
            mean = comparison.validation_mean(variant)
            axes.plot(comparison.validation_steps, mean, "o", color=color, markerfacecolor="white", markersize=4.5)
    axes.set_ylim(*comparison.loss_range())
    draw_window_inset(axes, comparison)
    axes.set_ylabel("loss (nats a token)")
    axes.set_title(
        "Training loss: raw (faint) and smoothed" + (", validation (circles)" if comparison.validation else ""),
        loc="left",
    )
    axes.legend(frameon=False, loc="lower left", fontsize=8.5)


def draw_window_inset(axes, comparison):
    steps, smoothed = comparison.window_curves()
    values = [v for series in smoothed.values() for v in series if not math.isnan(v)]
    if len(steps) < 2 or not values:
        return
    inset = axes.inset_axes([0.5, 0.62, 0.48, 0.31])  # a falling curve leaves this corner free
    for label, series in smoothed.items():
        inset.plot(steps, series, color=COLORS[comparison.color[label]], linewidth=1.6)
    inset.set_ylim(*padded(min(values), max(values)))
    inset.set_xlim(steps[0], steps[-1])
    inset.set_title("the window enlarged, smoothed", fontsize=8.5, fontweight="normal", loc="left")
    inset.tick_params(labelsize=8)


def draw_differences(axes, comparison):
    window = comparison.data["window"]
    few = len(comparison.comparisons) <= 2  # more intervals hide each other; the seeds' panel has them all
    axes.axvspan(window["first_step"], window["last_step"], color="#808890", alpha=0.13, linewidth=0, label="window")
    axes.axhline(0, color="black", linewidth=0.9)
    for one in comparison.comparisons:
        label = one["candidate"]
        color = COLORS[comparison.color[label]]
        estimate = one["training"]
        axes.plot(comparison.steps, comparison.curves[f"difference/{label}"], color=color, alpha=0.22, linewidth=0.7)
        axes.plot(
            comparison.steps,
            comparison.curves[f"smoothed_difference/{label}"],
            color=color,
            linewidth=1.6,
            label=shortened(label),
        )
        if few and estimate["low"] is not None:
            span = [window["first_step"], window["last_step"]]
            axes.fill_between(span, estimate["low"], estimate["high"], color=color, alpha=0.3, linewidth=0)
            text = f"mean {estimate['mean_difference']:+.4f}, 95 % {estimate['low']:+.4f} … {estimate['high']:+.4f}"
            axes.plot(
                span,
                [estimate["mean_difference"]] * 2,
                color=color,
                linewidth=1.6,
                linestyle="--",
                label=text.replace("-", "−"),
            )
    axes.set_ylim(*comparison.difference_range())
    axes.set_xlabel("step")
    axes.set_ylabel("difference (nats a token)")
    axes.set_title(
        f"Difference to {shortened(comparison.data['baseline'], 40)}: below zero the baseline is worse", loc="left"
    )
    axes.legend(frameon=not few, edgecolor="none", framealpha=0.8, loc="best", fontsize=8.5)


def draw_seeds(axes, comparison):
    """Two rows for each candidate, over the window and over the whole curve: a dot for each seed (without shared
    seeds for the difference of the means) and, of three seeds or more, their mean and its interval."""
    axes.axvline(0, color="black", linewidth=0.9)
    rows = [(one, name) for one in comparison.comparisons for name in ("training", "whole_curve")]
    for row, (one, name) in enumerate(rows):
        estimate = one[name]
        color = COLORS[comparison.color[one["candidate"]]]
        if estimate["low"] is not None:
            axes.plot(
                [estimate["low"], estimate["high"]],
                [row] * 2,
                color=color,
                linewidth=7,
                alpha=0.25,
                solid_capstyle="butt",
            )
            axes.plot([estimate["mean_difference"]] * 2, [row - 0.28, row + 0.28], color=color, linewidth=2)
        values = sorted(s[name] for s in one["seeds"] if s[name] is not None)
        if not one["paired"] and estimate["mean_difference"] is not None:
            values = [estimate["mean_difference"]]
        lanes = [0.0] if len(values) == 1 else [-0.21, 0.07, -0.07, 0.21]  # neighbours apart
        places = [row + lanes[i % len(lanes)] for i in range(len(values))]
        axes.plot(values, places, "o", color=color, markerfacecolor="white", markersize=5)
    names = [row_name(one, name) for one, name in rows]
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.grid(False, axis="y")
    axes.set_xlabel(f"difference to {shortened(comparison.data['baseline'], 40)} (nats a token)")
    paired = all(one["paired"] for one in comparison.comparisons)
    tested = any(one["training"]["low"] is not None for one in comparison.comparisons)
    title = "Each seed's difference" if paired else "Differences"
    axes.set_title(title + (", their mean and its 95 % interval" if tested else ""), loc="left")


def row_name(one, name):
    from report_page.elements import number_of_seeds
    from report_page.outcomes import verdict_of

    where = "window" if name == "training" else "whole curve"
    return f"{shortened(one['candidate'])}, {where}\n{number_of_seeds(one[name])}, {verdict_of(one, name)}"


def seeds_height(comparison):
    return 0.9 + 0.9 * len(comparison.comparisons)  # inches


def comparison_size(comparison):
    return 9, 7.2 + seeds_height(comparison)


def draw_comparison(comparison, figure):
    losses, differences, seeds = figure.subplots(3, 1, height_ratios=[4.1, 2.8, seeds_height(comparison) - 0.6])
    losses.sharex(differences)
    losses.tick_params(labelbottom=False)
    draw_losses(losses, comparison)
    draw_differences(differences, comparison)
    draw_seeds(seeds, comparison)
    differences.set_xlim(*comparison.step_range())


def report_comparison(directory):
    comparison = Comparison(directory)
    from report_page.page import build_page

    page = build_page(comparison)
    write_atomically(directory / "report.html", lambda p: p.write_text(page, encoding="utf-8"))
    save_figure(
        directory / "comparison.png", comparison_size(comparison), lambda figure: draw_comparison(comparison, figure)
    )
    return directory / "comparison.png"


EVALUATION_ERRORS = (OSError, ValueError, IndexError, KeyError, TypeError)


def report_evaluation(directory):
    from report_page import evaluation_figure
    from report_page.evaluation import Evaluation
    from report_page.evaluation_page import build_page

    try:
        evaluation = Evaluation(directory)
        page = build_page(evaluation)
        save_figure(
            directory / "evaluation.png",
            evaluation_figure.size(evaluation, evaluation.figures),
            lambda figure: evaluation_figure.draw(evaluation, figure, COLORS, evaluation.figures),
        )
    except EVALUATION_ERRORS as error:
        raise damaged(directory, error, "evaluate")
    write_atomically(directory / "report.html", lambda p: p.write_text(page, encoding="utf-8"))
    return directory / "evaluation.png"


def is_evaluation(directory):
    evaluated = (directory / "evaluation.json").exists()
    if evaluated and (directory / "comparison.json").exists():
        raise SystemExit(
            f"{directory} holds a comparison and an evaluation, whose pages have the same name: write each into a "
            "directory of its own"
        )
    return evaluated


def part_of_picture(directory):
    """(heading, size, function that draws into a part of a figure) of a directory."""
    from report_page import evaluation_figure
    from report_page.elements import listed
    from report_page.evaluation import Evaluation

    if not is_evaluation(directory):
        comparison = Comparison(directory)
        heading = f"Pretraining loss: {listed([v['label'] for v in comparison.variants])}"
        return heading, comparison_size(comparison), lambda part: draw_comparison(comparison, part)
    try:
        evaluation = Evaluation(directory)
        first = evaluation.figures[:1]
        return (
            evaluation.title(),
            evaluation_figure.size(evaluation, first),
            lambda part: evaluation_figure.draw(evaluation, part, COLORS, first),
        )
    except EVALUATION_ERRORS as error:
        raise damaged(directory, error, "evaluate")


def draw_picture(directories, path):
    """The pictures of the directories below each other, each under a heading."""
    parts = [part_of_picture(directory) for directory in directories]
    heights = [size[1] + 0.5 for _, size, _ in parts]  # inches; half of one for the heading

    def draw(figure):
        drawn = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False, hspace=0.03)[:, 0]
        for directory, part, (heading, _, draw_part) in zip(directories, drawn, parts):
            part.suptitle(shortened(heading, 90), x=0.01, horizontalalignment="left", fontsize=13, fontweight="bold")
            try:
                draw_part(part)
            except EVALUATION_ERRORS as error:
                raise damaged(directory, error, "evaluate" if is_evaluation(directory) else "compare")

    save_figure(path, (max(size[0] for _, size, _ in parts), sum(heights)), draw)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "directories",
        nargs="+",
        metavar="directory",
        type=pathlib.Path,
        help="what was given to `ssgpt compare --out` or `ssgpt evaluate ... --out`",
    )
    parser.add_argument("--picture", type=pathlib.Path, help="one picture of all directories, a PNG file")
    arguments = parser.parse_args()
    if arguments.picture:
        draw_picture(arguments.directories, arguments.picture)
        print(arguments.picture)
        return
    for directory in arguments.directories:
        picture = report_evaluation(directory) if is_evaluation(directory) else report_comparison(directory)
        print(f"{picture}\n{directory / 'report.html'}")


if __name__ == "__main__":
    main()

"""evaluation.png: the figures by context, and below each the difference to the baseline."""

import math

from report_page.evaluation import TITLES, interval

AXES = {"loss": "{} (nats a token)", "accuracy": "{}"}


def draw_values(axes, evaluation, panel, colors):
    for variant in panel.variants:
        color = colors[evaluation.color[variant["variant"]]]
        seeds = panel.seeds_of(variant["variant"])
        if len(seeds) > 1:
            for curve in seeds:
                axes.plot(evaluation.places, curve, color=color, alpha=0.3, linewidth=0.8)
        axes.plot(
            evaluation.places,
            variant["means"],
            "o-",
            color=color,
            markersize=3.5,
            linewidth=1.7,
            label=variant["variant"],
        )
    axes.set_ylim(*panel.value_range())
    axes.set_ylabel(AXES[panel.figure].format(panel.figure))
    axes.set_title(f"{TITLES[panel.figure]}, {panel.condition}", loc="left")
    axes.legend(frameon=False, loc="best", fontsize=8)


def draw_differences(axes, evaluation, panel, colors):
    axes.axhline(0, color="black", linewidth=0.9)
    tested = False
    for i, one in enumerate(panel.comparisons):
        color = colors[evaluation.color[one["candidate"]]]
        # Bars of several candidates stand beside each other.
        places = [place * (1 + 0.05 * (i - (len(panel.comparisons) - 1) / 2)) for place in evaluation.places]
        axes.plot(places, [as_float(p["mean_difference"]) for p in one["points"]], color=color, linewidth=1.2)
        for place, point in zip(places, one["points"]):
            draw_point(axes, place, point, color)
            tested |= interval(point)[2]
    axes.set_ylim(*panel.difference_range())
    axes.set_ylabel(AXES[panel.figure].format("difference"))
    bars = "95 % interval over seeds, filled: a verdict" if tested else "one standard error of the trials, no verdict"
    axes.set_title(f"Difference to {panel.comparisons[0]['baseline']}", loc="left")
    axes.set_title(bars, loc="right", fontsize=8, fontweight="normal")


def draw_point(axes, place, point, color):
    """The mean, filled where it has a verdict, its bar, and a small dot a seed."""
    low, high, of_seeds = interval(point)
    if low is not None:
        width, alpha = (4, 0.35) if of_seeds else (1.2, 0.8)
        axes.plot([place] * 2, [low, high], color=color, linewidth=width, alpha=alpha)
    seeds = [s["difference"] for s in point["seeds"] if s["difference"] is not None]
    if len(seeds) > 1:
        axes.plot([place] * len(seeds), seeds, ".", color=color, markersize=3, alpha=0.7)
    if point["mean_difference"] is not None:
        face = "white" if point["verdict"] == "no verdict" else color
        axes.plot([place], [point["mean_difference"]], "o", color=color, markerfacecolor=face, markersize=5)


def as_float(value):
    return math.nan if value is None else value


def mark_training(axes, evaluation):
    axes.axvline(evaluation.trained_length, color="#808890", linewidth=1, linestyle=":", label="_trained length")
    axes.set_xscale("log", base=2)
    axes.set_xlim(*evaluation.context_range())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.text(
        evaluation.trained_length,
        0.02,
        " trained length",
        transform=axes.get_xaxis_transform(),
        fontsize=7.5,
        color="#606870",
    )


def draw(evaluation, plt, colors):
    """Returns the figure, made with `plt`: a column a condition; rows, a figure and its differences."""
    compared = bool(evaluation.data["comparisons"])
    columns = len(evaluation.data["conditions"])
    heights = [3.2, 2.4] if compared else [3.2]
    rows = len(heights) * len(evaluation.figures)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(max(8.5, 5.6 * columns), sum(heights) * len(evaluation.figures) + 0.5),
        height_ratios=heights * len(evaluation.figures),
        layout="constrained",
        squeeze=False,
    )
    for i, panel in enumerate(evaluation.panels):
        column, row = divmod(i, len(evaluation.figures))
        axes = grid[row * len(heights)][column]
        draw_values(axes, evaluation, panel, colors)
        mark_training(axes, evaluation)
        if compared:
            below = grid[row * len(heights) + 1][column]
            draw_differences(below, evaluation, panel, colors)
            mark_training(below, evaluation)
    for axes in grid[-1]:
        axes.set_xlabel("context (tokens; of a bin its middle)" if evaluation.is_position else "context (tokens)")
    return figure

"""comparison.png: the losses, their differences, and each seed's difference."""

import math

from report_page.elements import number_of_seeds, padded, shortened
from report_page.files import add_legend
from report_page.outcomes import verdict_of
from report_page.styles import COLORS


def draw_losses(axes, comparison):
    legend = []
    marker = "-" if len(comparison.steps) > 1 else "o"  # a line of one point shows nothing
    for variant in comparison.variants:
        label = variant["label"]
        color = COLORS[comparison.color[label]]
        for run in variant["runs"]:
            axes.plot(comparison.steps, comparison.curves[f"loss/{run}"], marker, color=color, alpha=0.22, linewidth=0.7)
        smoothed = comparison.curves[f"smoothed/{label}"]
        (line,) = axes.plot(comparison.steps, smoothed, marker, color=color, linewidth=1.8)
        legend.append((line, shortened(label)))
        if comparison.validation:
            mean = comparison.validation_mean(variant)
            axes.plot(comparison.validation_steps, mean, "o", color=color, markerfacecolor="white", markersize=4.5)
    axes.set_ylim(*comparison.loss_range())
    draw_window_inset(axes, comparison)
    axes.set_ylabel("loss (nats per token)")
    axes.set_title(
        "Training loss: raw (faint) and smoothed" + (", validation (circles)" if comparison.validation else ""),
        loc="left",
    )
    add_legend(axes, legend, frameon=False, loc="lower left", fontsize=8.5)


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
    few = len(comparison.comparisons) <= 2  # more intervals would hide each other; the seeds' panel shows them all
    span = window["first_step"], window["last_step"]
    legend = [(axes.axvspan(*span, color="#808890", alpha=0.13, linewidth=0), "window")]
    axes.axhline(0, color="black", linewidth=0.9)
    for one in comparison.comparisons:
        label = one["candidate"]
        color = COLORS[comparison.color[label]]
        estimate = one["training"]
        axes.plot(comparison.steps, comparison.curves[f"difference/{label}"], color=color, alpha=0.22, linewidth=0.7)
        smoothed = comparison.curves[f"smoothed_difference/{label}"]
        (line,) = axes.plot(comparison.steps, smoothed, color=color, linewidth=1.6)
        legend.append((line, shortened(label)))
        if few and estimate["low"] is not None:
            axes.fill_between(span, estimate["low"], estimate["high"], color=color, alpha=0.3, linewidth=0)
            text = f"mean {estimate['mean_difference']:+.4f}, 95 % {estimate['low']:+.4f} … {estimate['high']:+.4f}"
            (line,) = axes.plot(span, [estimate["mean_difference"]] * 2, color=color, linewidth=1.6, linestyle="--")
            legend.append((line, text.replace("-", "−")))
    axes.set_ylim(*comparison.difference_range())
    axes.set_xlabel("step")
    axes.set_ylabel("difference (nats per token)")
    axes.set_title(
        f"Difference to {shortened(comparison.data['baseline'], 40)}: below zero the baseline is worse", loc="left"
    )
    add_legend(axes, legend, frameon=not few, edgecolor="none", framealpha=0.8, loc="best", fontsize=8.5)


def draw_seeds(axes, comparison):
    """Two rows per candidate, over the window and over the whole curve: a dot per seed (without shared seeds, one for
    the difference of the means) and, with three seeds or more, their mean and its interval."""
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
        lanes = [0.0] if len(values) == 1 else [-0.21, 0.07, -0.07, 0.21]  # keeps neighbouring dots apart
        places = [row + lanes[i % len(lanes)] for i in range(len(values))]
        axes.plot(values, places, "o", color=color, markerfacecolor="white", markersize=5)
    names = [row_name(one, name) for one, name in rows]
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.margins(x=0.08)
    axes.grid(False, axis="y")
    axes.set_xlabel(f"difference to {shortened(comparison.data['baseline'], 40)} (nats per token)")
    paired = all(one["paired"] for one in comparison.comparisons)
    tested = any(one["training"]["low"] is not None for one in comparison.comparisons)
    title = "Each seed's difference" if paired else "Differences"
    axes.set_title(title + (", their mean and its 95 % interval" if tested else ""), loc="left")


def row_name(one, name):
    where = "window" if name == "training" else "whole curve"
    return f"{shortened(one['candidate'])}, {where}\n{number_of_seeds(one[name])}, {verdict_of(one, name)}"


def seeds_height(comparison):
    return 0.9 + 0.9 * len(comparison.comparisons)  # inches


def size(comparison):
    return 9, 7.2 + seeds_height(comparison)


def draw(comparison, figure):
    losses, differences, seeds = figure.subplots(3, 1, height_ratios=[4.1, 2.8, seeds_height(comparison) - 0.6])
    losses.sharex(differences)
    losses.tick_params(labelbottom=False)
    draw_losses(losses, comparison)
    draw_differences(differences, comparison)
    draw_seeds(seeds, comparison)
    differences.set_xlim(*comparison.step_range())

"""evaluation.png of needles in haystacks: a heat map by length and depth for each variant, and below them one for each
difference to the baseline."""

import math

from report_page.elements import shortened
from report_page.evaluation import TITLES, as_number

ACROSS = 4  # maps side by side
WIDTH = 2.9  # inches per map
MOST_NUMBERS = 12  # cells along an axis, up to which each cell shows its number
UNKNOWN = "#D8D8D8"


def maps_of(evaluation, panel):
    """(title, the values of all points, whether each has a verdict) for each map of a panel: means, then
    differences."""
    shown = evaluation.shown
    means = [(shown[v["variant"]], v["means"], [False] * len(v["means"])) for v in panel.variants]
    differences = [
        (
            f"{shortened(shown[one['candidate']], 26)} − {shortened(shown[one['baseline']], 14)}",
            [as_number(p["mean_difference"]) for p in one["points"]],
            [p["verdict"] != "no verdict" for p in one["points"]],
        )
        for one in panel.comparisons
    ]
    return means, differences


def bands(evaluation, figures):
    """[(panel, whether it shows differences, maps side by side, the limits of their colours)], from the top."""
    found = []
    for panel in (p for p in evaluation.panels if p.figure in figures):
        for is_difference, maps in enumerate(maps_of(evaluation, panel)):
            limits = limits_of(panel.figure, is_difference, maps)
            for i in range(0, len(maps), ACROSS):
                found.append((panel, bool(is_difference), maps[i : i + ACROSS], limits))
    return found


def limits_of(figure, is_difference, maps):
    """The limits of the colours, the same in all maps that are compared by eye."""
    finite = [v for _, values, _ in maps for v in values if not math.isnan(v)] or [0.0]
    if not is_difference and figure == "share_right":
        return 0.0, 1.0
    if is_difference or figure == "margin":  # zero is in the middle: neither side is preferred
        size = max(map(abs, finite)) or 1.0
        return -size, size
    return min(finite), max(finite)


def size(evaluation, figures):
    """Width and height in inches of what draw() draws."""
    drawn = bands(evaluation, figures)
    across = max(len(maps) for _, _, maps, _ in drawn)
    return max(5.5, WIDTH * across + 1.2), sum(band_height(evaluation) for _ in drawn) + 0.3


def band_height(evaluation):
    return 1.2 + min(3.0, 0.3 * max(4, len(evaluation.depths)))


def number_text(value, is_difference):
    if math.isnan(value):
        return "–"
    return f"{value:+.2f}" if is_difference else f"{value:.2f}"


def draw_map(axes, evaluation, values, verdicts, limits, colors, is_difference):
    import numpy

    rows = numpy.array(evaluation.rows(values), dtype=float)
    image = axes.imshow(numpy.ma.masked_invalid(rows), cmap=colors, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_facecolor(UNKNOWN)
    axes.grid(False)
    axes.set_xticks(range(len(evaluation.lengths)), [f"{n:,}" for n in evaluation.lengths], fontsize=7.5)
    axes.set_yticks(range(len(evaluation.depths)), evaluation.depths, fontsize=7.5)
    within = sum(length <= evaluation.trained_length for length in evaluation.lengths)
    if 0 < within < len(evaluation.lengths):
        axes.axvline(within - 0.5, color="black", linewidth=1, linestyle=":")
    if max(len(evaluation.lengths), len(evaluation.depths)) > MOST_NUMBERS:
        return image
    small = len(evaluation.lengths) > 6
    for y, (row, marked) in enumerate(zip(rows, evaluation.rows(verdicts))):
        for x, value in enumerate(row):
            text = number_text(value, is_difference) + ("*" if marked[x] else "")
            shade = 0.5 if math.isnan(value) else (value - limits[0]) / (limits[1] - limits[0])
            dark = shade < 0.4 if colors == "viridis" else not 0.2 < shade < 0.8
            axes.text(
                x, y, text, ha="center", va="center", fontsize=5.5 if small else 7, color="white" if dark else "black"
            )
    return image


def draw(evaluation, figure, _colors, figures):
    """Draws those of `figures` (as in Evaluation.figures) into `figure`, or a part of one."""
    drawn = bands(evaluation, figures)
    parts = figure.subfigures(len(drawn), 1, squeeze=False)[:, 0]
    across = max(len(maps) for _, _, maps, _ in drawn)
    for part, (panel, is_difference, maps, limits) in zip(parts, drawn):
        what = "difference" if is_difference else TITLES[panel.figure]
        of = f" of the {TITLES[panel.figure].lower()}; *: a verdict" if is_difference else ""
        part.suptitle(f"{what.capitalize()}{of}, {panel.condition}", x=0.01, ha="left", fontsize=9, fontweight="bold")
        grid = part.subplots(1, across, squeeze=False)[0]
        colors = "RdBu" if is_difference or panel.figure == "margin" else "viridis"
        for axes, one in zip(grid, maps):
            title, values, verdicts = one
            image = draw_map(axes, evaluation, values, verdicts, limits, colors, is_difference)
            axes.set_title(shortened(title, 36), fontsize=8, loc="left")
            axes.set_xlabel("length (tokens)", fontsize=8)
        grid[0].set_ylabel("depth (%)", fontsize=8)
        for axes in grid[len(maps) :]:
            axes.set_visible(False)
        bar = part.colorbar(image, ax=list(grid[: len(maps)]), fraction=0.05, pad=0.02)
        bar.ax.tick_params(labelsize=7)

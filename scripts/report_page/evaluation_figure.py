"""evaluation.png: the figures by context, each above its difference to the baseline."""

from report_page.elements import shortened
from report_page.evaluation import TITLES, as_number, interval, is_tested
from report_page.files import add_legend
from report_page.styles import color, line, marker

WIDTH = 9  # inches, like comparison.png
MOST_ACROSS = 2  # panels side by side
UNITS = {"loss": "{} (nats per token)", "accuracy": "{} (share of answers)"}
# Horizontal offsets of the candidates, as a share of the context: between two neighbours, and at most in all.
NEIGHBOURS, SPREAD = 0.04, 0.1
FEW = 4  # up to this many candidates, each has wide bars and a dot per seed


def rows_of(evaluation, figures):
    """Panels in rows: the conditions side by side, or the figures of a single condition."""
    panels = [p for p in evaluation.panels if p.figure in figures]
    if len(evaluation.data["conditions"]) == 1:
        return [panels]
    by_figure = [[p for p in panels if p.figure == figure] for figure in figures]
    return [row[i : i + MOST_ACROSS] for row in by_figure for i in range(0, len(row), MOST_ACROSS)]


def heights(evaluation, rows):
    """Heights of the axes in inches, from the top."""
    across = max(map(len, rows))
    of_values, of_differences = (3.2, 2.5) if across == 1 else (2.8, 2.2)
    return [of_values, of_differences] * len(rows) if evaluation.data["comparisons"] else [of_values] * len(rows)


def title(name, panel):
    """The title, in two lines if one would run into the next panel."""
    text = f"{name}, {panel.condition}"
    return text if len(text) <= 42 else f"{name},\n{panel.condition}"


def draw_values(axes, evaluation, panel, colors):
    for variant in panel.variants:
        slot = evaluation.slot[variant["variant"]]
        seeds = panel.seeds_of(variant["variant"])
        style = {"color": colors[color(slot)], "linestyle": line(slot)}
        if len(seeds) > 1:
            for curve in seeds:
                axes.plot(evaluation.places, curve, alpha=0.3, linewidth=0.6, **style)
        axes.plot(evaluation.places, variant["means"], marker=marker(slot), markersize=3.5, linewidth=1.6, **style)
    axes.set_ylim(*panel.value_range())
    axes.set_ylabel(UNITS[panel.figure].format(panel.figure))
    axes.set_title(title(TITLES[panel.figure], panel), loc="left")
    # Curves are low there and at the top elsewhere, or the other way round.
    height, side = (0.97, "top") if panel.figure == "loss" else (0.03, "bottom")
    axes.text(
        evaluation.trained_length,
        height,
        f" trained length, {evaluation.trained_length:,}",
        transform=axes.get_xaxis_transform(),
        verticalalignment=side,
        fontsize=8,
        color="#606870",
    )


def shifts(number):
    """The factors on the context for so many candidates, so that their bars stand beside each other."""
    step = min(NEIGHBOURS, SPREAD / max(1, number - 1))
    return [1 + step * (i - (number - 1) / 2) for i in range(number)]


def draw_differences(axes, evaluation, panel, colors):
    axes.axhline(0, color="black", linewidth=0.9)
    few = len(panel.comparisons) <= FEW
    for one, shift in zip(panel.comparisons, shifts(len(panel.comparisons))):
        slot = evaluation.slot[one["candidate"]]
        places = [place * shift for place in evaluation.places]
        means = [as_number(p["mean_difference"]) for p in one["points"]]
        axes.plot(places, means, color=colors[color(slot)], linestyle=line(slot), linewidth=1.2 if few else 0.8)
        for place, point in zip(places, one["points"]):
            draw_point(axes, place, point, colors[color(slot)], marker(slot), few)
    axes.set_ylim(*panel.difference_range())
    axes.set_ylabel(UNITS[panel.figure].format("difference"))
    axes.set_title(title(f"Difference to {shortened(evaluation.shown[panel.comparisons[0]['baseline']], 24)}", panel), loc="left")


def draw_point(axes, place, point, shade, shape, few):
    """The mean, filled if it has a verdict, its bar, and for few candidates a small dot per seed."""
    low, high, of_seeds = interval(point)
    if low is not None:
        width, alpha = (4 if few else 1.6, 0.35) if of_seeds else (1, 0.8)
        axes.plot([place] * 2, [low, high], color=shade, linewidth=width, alpha=alpha, solid_capstyle="butt")
    seeds = [s["difference"] for s in point["seeds"] if s["difference"] is not None]
    if few and len(seeds) > 1:
        axes.plot([place] * len(seeds), seeds, ".", color=shade, markersize=2.5, alpha=0.7)
    if point["mean_difference"] is not None:
        face = "white" if point["verdict"] == "no verdict" else shade
        size = 4.5 if few else 3
        axes.plot([place], [point["mean_difference"]], shape, color=shade, markerfacecolor=face, markersize=size)


def prepare_context(axes, evaluation):
    axes.axvline(evaluation.trained_length, color="#808890", linewidth=1, linestyle=":")
    axes.set_xscale("log", base=2)
    axes.set_xlim(*evaluation.context_range())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.tick_params(labelsize=8.5)


def explanation(panels):
    """What the marks mean, and what the reader must know about the seeds."""
    comparisons = [one for panel in panels for one in panel.comparisons]
    lines = []
    if any(len(panel.models) > len(panel.variants) for panel in panels):
        lines.append("Thin lines: single seeds; bold: their mean.")
    if any(is_tested(point) for one in comparisons for point in one["points"]):
        lines.append("Bars: 95 % interval over seeds. Filled marks: a verdict.")
    elif comparisons:
        lines.append("Bars: one standard error of the trials; no verdicts.")
    if not all(panel.is_finite() for panel in panels):
        lines.append("Where marks or verdicts are missing, values were not finite.")
    text = [" ".join(lines)] if lines else []
    if other_seeds(panels):
        text.append("† Its differences are over the seeds that the baseline has too, and not those of the means shown.")
    return "\n".join(text)


def other_seeds(panels):
    """{candidate: seeds}, see Panel.other_seeds."""
    return {name: seeds for panel in panels for name, seeds in panel.other_seeds().items()}


def draw_legend(figure, evaluation, panels, colors):
    """A legend below the axes, which all have the same variants."""
    from matplotlib.lines import Line2D

    marked = other_seeds(panels)
    names = {name: shortened(evaluation.shown[name], 48) for name in evaluation.slot}
    for name, seeds in marked.items():
        names[name] += f" † ({'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))})"
    handles = [
        Line2D(
            [],
            [],
            color=colors[color(slot)],
            linestyle=line(slot),
            marker=marker(slot),
            markersize=4,
        )
        for slot in evaluation.slot.values()
    ]
    across = max(1, min(len(handles), 6, 120 // (max(map(len, names.values())) + 8)))
    legend = add_legend(
        figure,
        list(zip(handles, (names[name] for name in evaluation.slot))),
        loc="outside lower center",
        ncols=across,
        frameon=False,
        fontsize=8.5,
        handlelength=3.2,
        title=explanation(panels) or None,
    )
    legend.get_title().set(fontsize=8.5, multialignment="center")


def size(evaluation, figures):
    """Width and height in inches of what draw() draws."""
    rows = rows_of(evaluation, figures)
    entries = 0.2 * (2 + len(evaluation.slot) / 2)
    return WIDTH, sum(heights(evaluation, rows)) + 0.3 + entries


def draw(evaluation, figure, colors, figures):
    """Draws those of `figures` (as in Evaluation.figures) into `figure`, or a part of one."""
    rows = rows_of(evaluation, figures)
    compared = bool(evaluation.data["comparisons"])
    of_row = heights(evaluation, rows)
    grid = figure.subplots(len(of_row), max(map(len, rows)), height_ratios=of_row, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    each = 2 if compared else 1
    context = "context (tokens; middle of each bin)" if evaluation.has_bins else "context (tokens)"
    for i, row in enumerate(rows):
        for column, panel in enumerate(row):
            drawn = grid[i * each : (i + 1) * each, column]
            for axes in drawn:
                axes.set_visible(True)
                prepare_context(axes, evaluation)
            draw_values(drawn[0], evaluation, panel, colors)
            if compared:
                draw_differences(drawn[1], evaluation, panel, colors)
            drawn[-1].set_xlabel(context)
    draw_legend(figure, evaluation, [panel for row in rows for panel in row], colors)

"""evaluation.png of attention: each figure by context. For several variants it has the mean over layers, bold, and the
layers; for one variant one line per layer."""

from report_page.attention import TITLES, UNITS, attention_panels
from report_page.evaluation_figure import WIDTH, prepare_context, title
from report_page.files import add_legend
from report_page.elements import shortened
from report_page.styles import color, line, marker

ACROSS = 2  # panels side by side
HEIGHT = 2.7  # inches per panel
EVEN = {"color": "#606870", "linewidth": 1, "linestyle": (0, (1, 2))}
MOST_LAYERS_NAMED = 12


def by_layer(evaluation):
    return len(evaluation.slot) == 1


def layer_shades(number):
    """Colours from light to dark, by layer."""
    import matplotlib

    return [matplotlib.colormaps["viridis_r"](0.15 + 0.8 * i / max(1, number - 1)) for i in range(number)]


def draw_panel(axes, evaluation, panel, colors):
    places = evaluation.places
    if panel.evenly:
        axes.plot(places, panel.evenly, **EVEN)
    if by_layer(evaluation):
        (layers,) = panel.layers.values()
        for curve, shade in zip(layers, layer_shades(len(layers))):
            axes.plot(places, curve, color=shade, marker="o", markersize=3, linewidth=1.3)
    else:
        means = panel.means()
        for name, layers in panel.layers.items():
            slot = evaluation.slot[name]
            style = {"color": colors[color(slot)], "linestyle": line(slot)}
            for curve in layers:
                axes.plot(places, curve, alpha=0.35, linewidth=0.6, **style)
            axes.plot(places, means[name], marker=marker(slot), markersize=3.5, linewidth=1.7, **style)
    if panel.is_logarithmic():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
    else:
        axes.set_ylim(*panel.value_range())
    axes.set_ylabel(UNITS[panel.figure])
    axes.set_title(title(TITLES[panel.figure], panel), loc="left")


def entries(evaluation, panels, colors):
    """[(artist, name)] for the legend."""
    from matplotlib.lines import Line2D

    found = []
    if by_layer(evaluation):
        number = max(len(layers) for panel in panels for layers in panel.layers.values())
        named = range(0, number, max(1, -(-number // MOST_LAYERS_NAMED)))
        shades = layer_shades(number)
        found = [(Line2D([], [], color=shades[i], marker="o", markersize=4), f"layer {i}") for i in named]
    else:
        for name, slot in evaluation.slot.items():
            style = {"color": colors[color(slot)], "linestyle": line(slot), "marker": marker(slot), "markersize": 4}
            found.append((Line2D([], [], **style), shortened(name, 48)))
    if any(panel.evenly for panel in panels):
        found.append((Line2D([], [], **EVEN), "spread evenly over all keys"))
    return found


def size(evaluation):
    """Width and height in inches of what draw() draws."""
    rows = len(attention_panels(evaluation)) // ACROSS
    return WIDTH, HEIGHT * rows + 0.6 + 0.1 * len(evaluation.slot)


def draw(evaluation, figure, colors):
    """Draws into `figure`, or a part of one."""
    panels = attention_panels(evaluation)
    grid = figure.subplots(len(panels) // ACROSS, ACROSS, squeeze=False)
    for axes, panel in zip(grid.flat, panels):
        prepare_context(axes, evaluation)
        draw_panel(axes, evaluation, panel, colors)
    for axes in grid[-1]:
        axes.set_xlabel("context (tokens; middle of each bin)")
    shown = entries(evaluation, panels, colors)
    across = max(1, min(len(shown), 6, 120 // (max(len(name) for _, name in shown) + 8)))
    about = "" if by_layer(evaluation) else "Thin lines: single layers; bold: their mean."
    legend = add_legend(
        figure, shown, loc="outside lower center", ncols=across, frameon=False, fontsize=8.5, title=about or None
    )
    legend.get_title().set(fontsize=8.5)

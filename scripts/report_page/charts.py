"""SVG charts, each in a version for wide and one for narrow screens, and the figures that hovering shows."""

import html
import json
import math
import re

from report_page.styles import color as color_of
from report_page.styles import dashes, marker

SHAPES = {"wide": (1000, 380), "narrow": (380, 300)}
MOST_POINTS = 700  # per line on the screen
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 34


def ticks(low, high, count, smallest=0.0):
    """Round values within [low, high], low < high: about `count` of them, `smallest` or more apart."""
    raw = max((high - low) / max(1, count), smallest)
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)], step


def number(value, step):
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{value:,.{digits}f}".replace("-", "−")


def thin(values, most):
    """Indices of at most `most` points, including the last."""
    if len(values) <= most:
        return list(range(len(values)))
    return [round(i * (len(values) - 1) / (most - 1)) for i in range(most)]


def extremes(values, most):
    """Indices of the lowest and highest value of each stretch, so that a thinned line is as ragged as the whole one."""
    if len(values) <= most:
        return list(range(len(values)))
    picked = []
    buckets = most // 2
    for k in range(buckets):
        bucket = [
            i for i in range(len(values) * k // buckets, len(values) * (k + 1) // buckets) if not math.isnan(values[i])
        ]
        if bucket:
            picked += sorted({min(bucket, key=values.__getitem__), max(bucket, key=values.__getitem__)})
    return picked


def mark(slot, x, y):
    """A series' marker, centred on (x, y)."""
    kind = marker(slot)
    if kind == "o":
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>'
    outline = {"s": "m-3.2 -3.2h6.4v6.4h-6.4z", "^": "m0 -4.2l4.2 7.2h-8.4z", "D": "m0 -4.4l4.4 4.4l-4.4 4.4l-4.4 -4.4z"}
    return f'<path class="dot" d="M{x:.1f} {y:.1f}{outline[kind]}"/>'


def sample(slot, is_line=True):
    """A series' line and marker for the legend, or its marker alone."""
    if is_line and slot == color_of(slot):
        return f'<i style="background:var(--c{slot})"></i>'
    if not is_line:
        return f'<svg class="sample mark" viewBox="0 0 10 10" style="stroke:var(--c{color_of(slot)})">{mark(slot, 5, 5)}</svg>'
    dash = f' stroke-dasharray="{dashes(slot)}"' if dashes(slot) else ""
    return (
        f'<svg class="sample" viewBox="0 0 34 10" style="stroke:var(--c{color_of(slot)})"><path d="M0 5h34"{dash}/>'
        f"{mark(slot, 17, 5)}</svg>"
    )


class StepAxis:
    """The horizontal axis of a chart over steps: its name, its ticks, and how a place on it is named."""

    name = "step"

    def ticks(self, low, high, count):
        values, step = ticks(low, high, count, smallest=1)
        return [(value, number(value, step)) for value in values]

    def text(self, value):
        return f"step {value:,.0f}"


class CountAxis:
    """Whole numbers from 1 on; `name` says what they count."""

    def __init__(self, name):
        self.name = name

    def ticks(self, low, high, count):
        values, step = ticks(low, high, count, smallest=1)
        return [(value, number(value, step)) for value in values if value >= 1]

    def text(self, value):
        return f"{self.name} {value:,.0f}"


class Chart:
    """Lines over steps, or over another `axis`. Draw with the methods, then call html(). Both versions share colours
    and legend. A series' `color` is its slot, see styles.py."""

    def __init__(self, x_range, y_range, label, signed=False, axis=StepAxis()):
        self.x_range, self.y_range, self.label, self.signed, self.axis = x_range, y_range, label, signed, axis
        self.layers = []  # functions of a version's coordinates that return SVG
        self.legend = []  # (name, slot, whether it is a line)
        self.hover = []  # (name, slot, steps, values)

    def _path(self, steps, values, css, color, name, pick, under=False):
        pen_style = f"stroke:var(--c{color_of(color)})"
        if dashes(color):
            pen_style += f";stroke-dasharray:{dashes(color)};stroke-linecap:butt"

        def draw(x, y):
            parts = []
            pen = "M"
            for i in pick(values, MOST_POINTS):
                if math.isnan(values[i]):
                    pen = "M"
                    continue
                parts.append(f"{pen}{x(steps[i]):.1f} {y(values[i]):.1f}")
                pen = "L"
            if len(parts) == 1:
                parts.append("h0")  # a dot, because of the round line caps
            return f'<path class="{css}" data-series="{html.escape(name)}" style="{pen_style}" d="{"".join(parts)}"/>'

        self.layers.append((not under, draw))

    def raw(self, steps, values, color, name):
        self._path(steps, values, "raw", color, name, extremes, under=True)

    def smooth(self, steps, values, color, name):
        self._path(steps, values, "smooth", color, name, thin)
        self.name(name, color)
        self.read_out(steps, values, color, name)

    def name(self, name, color, is_line=True):
        """Adds an entry to the legend."""
        self.legend.append((name, color, is_line))

    def read_out(self, steps, values, color, name):
        """Adds a series to what hovering shows; all series have the same steps."""
        self.hover.append((name, color, steps, values))

    def dots(self, steps, values, color, name):
        def draw(x, y):
            marks = "".join(mark(color, x(s), y(v)) for s, v in zip(steps, values) if not math.isnan(v))
            return f'<g data-series="{html.escape(name)}" style="stroke:var(--c{color_of(color)})">{marks}</g>'

        self.layers.append((True, draw))

    def window(self, first, last):
        def draw(x, y):
            top, bottom = y(self.y_range[1]), y(self.y_range[0])
            return f'<rect class="window" x="{x(first):.1f}" y="{top:.1f}" width="{x(last) - x(first):.1f}" height="{bottom - top:.1f}"/>'

        self.layers.insert(0, (False, draw))

    def zero(self):
        self.layers.append(
            (
                False,
                lambda x, y: (
                    f'<line class="zero" x1="{x(self.x_range[0]):.1f}" x2="{x(self.x_range[1]):.1f}" y1="{y(0):.1f}" y2="{y(0):.1f}"/>'
                ),
            )
        )

    def mark(self, place, text):
        """A vertical line across the chart with a word beside it."""

        def draw(x, y):
            top, bottom = y(self.y_range[1]), y(self.y_range[0])
            return (
                f'<line class="mark" x1="{x(place):.1f}" x2="{x(place):.1f}" y1="{top:.1f}" y2="{bottom:.1f}"/>'
                f'<text x="{x(place) + 5:.1f}" y="{top + 12:.1f}">{html.escape(text)}</text>'
            )

        self.layers.insert(0, (False, draw))

    def interval(self, place, low, high, color, name, faint=False):
        """A vertical bar; a faint one is thinner."""

        def draw(x, y):
            width = 1.2 if faint else 5
            return (
                f'<line class="bar" data-series="{html.escape(name)}" x1="{x(place):.1f}" x2="{x(place):.1f}" '
                f'y1="{y(low):.1f}" y2="{y(high):.1f}" style="stroke:var(--c{color_of(color)});stroke-width:{width}"/>'
            )

        self.layers.append((True, draw))

    def estimate(self, first, last, estimate, color, name):
        if estimate["mean_difference"] is None:
            return

        def draw(x, y):
            mean = y(estimate["mean_difference"])
            band = ""
            if estimate["low"] is not None:
                high, low = y(estimate["high"]), y(estimate["low"])
                band = f'<rect class="band" x="{x(first):.1f}" y="{high:.1f}" width="{x(last) - x(first):.1f}" height="{max(1, low - high):.1f}" style="fill:var(--c{color_of(color)})"/>'
            line = f'<line class="mean" x1="{x(first):.1f}" x2="{x(last):.1f}" y1="{mean:.1f}" y2="{mean:.1f}" style="stroke:var(--c{color_of(color)})"/>'
            return f'<g data-series="{html.escape(name)}">{band}{line}</g>'

        self.layers.append((True, draw))

    def _svg(self, shape):
        width, height = SHAPES[shape]
        right, bottom = width - RIGHT, height - BOTTOM
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        x = lambda step: LEFT + (step - x0) / (x1 - x0) * (right - LEFT)
        y = lambda value: bottom - (value - y0) / (y1 - y0) * (bottom - TOP)
        parts = []
        values, step = ticks(y0, y1, 6 if shape == "wide" else 5)
        for value in values:
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
                f'<text x="{LEFT - 9}" y="{y(value) + 4:.1f}" text-anchor="end">{number(value, step)}</text>'
            )
        for value, text in self.axis.ticks(x0, x1, 8 if shape == "wide" else 4):
            # A label centred on its tick must not leave the picture.
            anchor = "end" if x(value) > right - 16 else "middle"
            parts.append(
                f'<line class="axis" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
                f'<text x="{min(x(value), right):.1f}" y="{bottom + 20}" text-anchor="{anchor}">{text}</text>'
            )
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>'
            f'<text x="{LEFT - 9}" y="{bottom + 20}" text-anchor="end">{self.axis.name}</text>'
        )
        clip = "clip-" + re.sub(r"[^a-z0-9]+", "-", f"{self.label} {shape}".lower())
        parts.append(
            f'<clipPath id="{clip}"><rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}"/></clipPath><g clip-path="url(#{clip})">'
        )
        parts += [draw(x, y) for _, draw in sorted(self.layers, key=lambda layer: layer[0])]
        parts.append(f'</g><line class="cursor" x1="0" x2="0" y1="{TOP}" y2="{bottom}"/>')
        return (
            f'<svg class="{shape}" viewBox="0 0 {width} {height}" role="img" aria-label="{html.escape(self.label)}" '
            f'data-plot="{LEFT},{right},{x0:g},{x1:g}">{"".join(parts)}</svg>'
        )

    def html(self):
        legend = "".join(
            f'<button type="button" aria-pressed="true" data-series="{html.escape(name)}">{sample(color, is_line)}{html.escape(name)}</button>'
            for name, color, is_line in self.legend
        )
        legend = f'<div class="legend">{legend}</div>' if legend else ""
        steps = self.hover[0][2]
        picked = thin(steps, MOST_POINTS)
        series = [
            {"name": n, "color": color_of(c), "values": [None if math.isnan(v[i]) else round(v[i], 5) for i in picked]}
            for n, c, _, v in self.hover
        ]
        data = json.dumps(
            {
                "signed": self.signed,
                "steps": [round(steps[i], 4) for i in picked],
                "names": [self.axis.text(steps[i]) for i in picked],
                "series": series,
            }
        ).replace("<", "\\u003c")
        return (
            f"<figure data-chart>{legend}{self._svg('wide')}{self._svg('narrow')}"
            f'<div class="tip" role="status"></div><script type="application/json">{data}</script></figure>'
        )

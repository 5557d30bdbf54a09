"""SVG charts, each in a version for wide and one for narrow screens, with the data from which plot.js draws a part of
one and script.js shows values. The page is complete without scripts."""

import html
import json
import math

from report_page.axes import CHARACTER, SHAPES, Frame, StepAxis, exponent
from report_page.elements import digits_for
from report_page.styles import color as color_of
from report_page.styles import dashes, marker
from report_page.thinning import extremes, thin_together

MOST_DRAWN = {"wide": 700, "narrow": 350}  # points per line on the screen
MOST_KEPT = 2000  # points per curve that the page holds for its scripts
MOST_KEPT_FAINT = 20_000  # points of all faint lines of a chart, but for each at least as many as are drawn


OUTLINES = {"s": "m-3.2 -3.2h6.4v6.4h-6.4z", "^": "m0 -4.2l4.2 7.2h-8.4z", "D": "m0 -4.4l4.4 4.4l-4.4 4.4l-4.4 -4.4z"}


def mark(slot, x, y):
    """A series' marker, centred on (x, y)."""
    kind = marker(slot)
    if kind == "o":
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.4"/>'
    return f'<path class="dot" d="M{x:.1f} {y:.1f}{OUTLINES[kind]}"/>'


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


def at(*places):
    """The attribute from which plot.js places an element again: x and y of its corners, values or names of edges."""
    return f' data-at="{" ".join(p if isinstance(p, str) else f"{p:.12g}" for p in places)}"'


def line(frame, css, start, end, style=""):
    (x1, y1), (x2, y2) = ((frame.x(x), frame.y(y)) for x, y in (start, end))
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{at(*start, *end)}{style}/>'


def rectangle(frame, css, start, end, style=""):
    """`start` is the upper left corner."""
    (x1, y1), (x2, y2) = ((frame.x(x), frame.y(y)) for x, y in (start, end))
    size = f'width="{x2 - x1:.1f}" height="{max(1, y2 - y1):.1f}"'
    return f'<rect class="{css}" x="{x1:.1f}" y="{y1:.1f}" {size}{at(*start, *end)}{style}/>'


def tenths(pixel):
    """Tenths of a pixel as short text."""
    return f"{pixel / 10:g}"


def path_of(frame, steps, values, picked):
    """The line through the picked points, with a gap where a value is absent; a point between two gaps is a dot."""
    parts, before, alone = [], None, False
    for i in picked:
        if math.isnan(values[i]):
            parts += ["h0"] if alone else []
            before, alone = None, False
            continue
        here = round(10 * frame.x(steps[i])), round(10 * frame.y(values[i]))
        if before is None:
            parts.append(f"M{tenths(here[0])} {tenths(here[1])}")
        else:
            parts.append(f"l{tenths(here[0] - before[0])} {tenths(here[1] - before[1])}")
        before, alone = here, before is None
    return "".join([*parts, "h0"] if alone else parts).replace(" -", "-")


def whole(step):
    """The step as JSON writes it shortest."""
    return int(step) if step == int(step) else step


def differences(steps):
    """The first step, and the distance of each following one from the one before."""
    return [after - before for before, after in zip([0, *steps], steps)]


def rounded(values, digits):
    return [None if math.isnan(v) else round(v, digits) for v in values]


def as_script(data):
    """JSON that nothing in it can end."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


class Chart:
    """Lines over steps, or over another `axis`. Draw with the methods, then call html(). Both versions share colours
    and legend. A series' `color` is its slot, see styles.py; its `name` stands in the legend and hides it."""

    def __init__(self, x_range, y_range, label, signed=False, axis=StepAxis()):
        self.x_range, self.y_range, self.label, self.signed, self.axis = x_range, y_range, label, signed, axis
        self.layers = []  # (whether it is on top, function of a frame and its shape that returns SVG)
        self.legend = []  # (name, slot, whether it is a line)
        self.hover = []  # (name, slot, values, the name that hides it)
        self.steps = []  # of the series that hovering shows
        self.curves = []  # (kind, steps, values, name): what each element with data-line shows

    def _curve(self, *curve):
        """Adds a curve to those that plot.js can draw; returns the attribute that refers to it."""
        self.curves.append(curve)
        return f'data-line="{len(self.curves) - 1}"'

    def _path(self, steps, values, css, color, name, under=False):
        pen = f"stroke:var(--c{color_of(color)})"
        if dashes(color):
            pen += f";stroke-dasharray:{dashes(color)};stroke-linecap:butt"
        curve = self._curve(css, steps, values, name)

        def draw(frame, shape):
            path = path_of(frame, steps, values, extremes(values, MOST_DRAWN[shape]))
            return f'<path class="{css}" data-series="{html.escape(name)}" style="{pen}" {curve} d="{path}"/>'

        self.layers.append((not under, draw))

    def raw(self, steps, values, color, name):
        self._path(steps, values, "raw", color, name, under=True)

    def smooth(self, steps, values, color, name):
        self._path(steps, values, "smooth", color, name)
        self.name(name, color)
        self.read_out(steps, values, color, name)

    def name(self, name, color, is_line=True):
        """Adds an entry to the legend."""
        self.legend.append((name, color, is_line))

    def read_out(self, steps, values, color, name, hidden_by=None):
        """Adds a series to what hovering shows, unless the series `hidden_by` is hidden (by default its own name); all
        series have the same steps."""
        self.steps = steps
        self.hover.append((name, color, values, hidden_by or name))

    def dots(self, steps, values, color, name):
        curve = self._curve("dots", steps, values, name)

        def draw(frame, shape):
            marks = "".join(mark(color, frame.x(s), frame.y(v)) for s, v in zip(steps, values) if not math.isnan(v))
            return f'<g data-series="{html.escape(name)}" style="stroke:var(--c{color_of(color)})" {curve}>{marks}</g>'

        self.layers.append((True, draw))

    def _below(self, draw):
        self.layers.insert(0, (False, lambda frame, shape: draw(frame)))

    def window(self, first, last):
        self._below(lambda frame: rectangle(frame, "window", (first, "top"), (last, "bottom")))

    def zero(self):
        self.layers.append((False, lambda frame, shape: line(frame, "zero", ("left", 0), ("right", 0))))

    def mark(self, place, text):
        """A vertical line across the chart with a word beside it."""

        def draw(frame):
            x = frame.x(place)
            side = 'dx="-5" text-anchor="end"' if x + 5 + CHARACTER * len(text) > frame.right else 'dx="5" text-anchor="start"'
            word = f'<text x="{x:.1f}" y="{frame.top}" {side} dy="12"{at(place, "top")}>{html.escape(text)}</text>'
            return line(frame, "mark", (place, "top"), (place, "bottom")) + word

        self._below(draw)

    def interval(self, place, low, high, color, name, faint=False):
        """A vertical bar; a faint one is thinner."""
        style = f' style="stroke:var(--c{color_of(color)});stroke-width:{1.2 if faint else 5}" data-series="{html.escape(name)}"'
        self.layers.append((True, lambda frame, shape: line(frame, "bar", (place, low), (place, high), style)))

    def estimate(self, first, last, estimate, color, name):
        if estimate["mean_difference"] is None:
            return
        mean, low, high = (estimate[key] for key in ("mean_difference", "low", "high"))

        def draw(frame, shape):
            paint = f"var(--c{color_of(color)})"
            band = "" if low is None else rectangle(frame, "band", (first, high), (last, low), f' style="fill:{paint}"')
            middle = line(frame, "mean", (first, mean), (last, mean), f' style="stroke:{paint}"')
            return f'<g data-series="{html.escape(name)}">{band}{middle}</g>'

        self.layers.append((True, draw))

    def _axes(self, frame):
        parts = []
        for value, text in frame.y_ticks:
            y = frame.y(value)
            parts.append(
                f'<line class="grid" x1="{frame.left}" x2="{frame.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{frame.left - 9}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
            )
        bottom = frame.bottom
        for x, middle, text in frame.labels():
            parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>')
            if text:
                parts.append(f'<text x="{middle:.1f}" y="{bottom + 20}" text-anchor="middle">{html.escape(text)}</text>')
        parts.append(
            f'<line class="axis" x1="{frame.left}" x2="{frame.right}" y1="{bottom}" y2="{bottom}"/>'
            f'<text x="{frame.left - 9}" y="{bottom + 20}" text-anchor="end">{self.axis.name}</text>'
        )
        return f'<g class="axes">{"".join(parts)}</g>'

    def _faintness(self, frame, shape):
        """The opacity of faint lines: less where they have more points than pixels, so that they hide nothing."""
        points = sum(min(len(values), MOST_DRAWN[shape]) for kind, _, values, _ in self.curves if kind == "raw")
        return max(0.05, 0.4 / math.sqrt(max(1, points / (frame.right - frame.left))))

    def _svg(self, shape):
        frame = Frame(shape, self.x_range, self.y_range, self.axis)
        layers = "".join(draw(frame, shape) for _, draw in sorted(self.layers, key=lambda layer: layer[0]))
        # An inner svg cuts off what is outside the axes, as a clipPath does, but needs no name that is unique on the page.
        area = f"{frame.left} {frame.top} {frame.right - frame.left} {frame.bottom - frame.top}"
        sides = 'x="{}" y="{}" width="{}" height="{}"'.format(*area.split())
        return (
            f'<svg class="{shape}" viewBox="0 0 {frame.width} {frame.height}" role="img" aria-label="{html.escape(self.label)}" '
            f'data-plot>{self._axes(frame)}<svg class="area" {sides} viewBox="{area}" '
            f'style="--faint:{self._faintness(frame, shape):.3f}">{layers}</svg></svg>'
        )

    def _digits(self):
        """Decimals of values that are read out: enough for the range shown, and for typical differences."""
        size = (self.y_range[1] - self.y_range[0]) / 2
        if self.signed:
            sizes = sorted(abs(v) for _, _, values, _ in self.hover for v in values if v and not math.isnan(v))
            size = min([size, *sizes[len(sizes) // 2 :][:1]])
        return digits_for(size)

    def _lines(self, picked, kept, digits):
        """What each element with data-line shows: the number of a series, or values of its own at its own steps."""
        numbers = {id(values): number for number, (_, _, values, _) in enumerate(self.hover)}
        faint = sum(kind == "raw" for kind, *_ in self.curves)
        most = max(MOST_DRAWN["wide"], min(MOST_KEPT, MOST_KEPT_FAINT // max(1, faint)))
        for kind, steps, values, name in self.curves:
            # A mark belongs to one value, so that none of these may be left out.
            if id(values) in numbers and (kind == "smooth" or len(picked) == len(values)):
                yield {"kind": kind, "series": name, "of": numbers[id(values)]}
                continue
            own = extremes(values, most) if kind == "raw" else range(len(values))
            data = {"kind": kind, "series": name, "values": rounded((values[i] for i in own), digits)}
            places = [whole(steps[i]) for i in own]
            yield data if places == kept else {**data, "steps": differences(places)}

    def _data(self):
        """What the scripts need: the axes, and the curves at the same steps or each at its own."""
        picked = thin_together([values for _, _, values, _ in self.hover], MOST_KEPT)
        steps = [whole(self.steps[i]) for i in picked]
        resolution = 3 - exponent(self.y_range[1] - self.y_range[0])  # a ten thousandth of the range, as decimals
        series = []
        for name, color, values, hidden_by in self.hover:
            kept = rounded((values[i] for i in picked), max(5, resolution + 1))
            one = {"name": name, "color": color_of(color), "values": kept}
            series.append(one if hidden_by == name else {**one, "hiddenBy": hidden_by})
        return {
            "signed": self.signed,
            "digits": self._digits(),
            "x": self.x_range,
            "y": self.y_range,
            **self.axis.described(steps),
            "steps": steps,
            "series": series,
            "lines": list(self._lines(picked, steps, max(3, resolution))),
        }

    def html(self):
        legend = "".join(
            f'<button type="button" aria-pressed="true" data-series="{html.escape(name)}">{sample(color, is_line)}{html.escape(name)}</button>'
            for name, color, is_line in self.legend
        )
        legend = f'<div class="legend">{legend}</div>' if legend else ""
        shapes = "".join(self._svg(shape) for shape in SHAPES)
        return f'<figure data-chart>{legend}{shapes}<script type="application/json">{as_script(self._data())}</script></figure>'

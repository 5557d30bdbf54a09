"""Ticks, the text at them, and where on a chart a value stands. plot.js does the same again for a range that the reader
chooses, with the same constants."""

import math

SHAPES = {"wide": (1000, 380), "narrow": (380, 300)}
RIGHT, TOP, BOTTOM = 14, 14, 34  # margins; the left one depends on the labels
GAP = 9  # between the vertical axis and its labels
CHARACTER = 8  # width of a digit of a label in the widest of the usual fonts
MOST_TICKS = 8  # on each axis
FARTHEST = 20_000  # from the picture's edge: browsers do not draw what is further away correctly


def exponent(value):
    return math.floor(math.log10(abs(value)) + 1e-9)


def ticks(low, high, count, smallest=0.0):
    """Round values within [low, high], low < high: about `count` of them, `smallest` or more apart."""
    raw = max((high - low) / max(1, count), smallest)
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)], step


def number(value, step):
    digits = max(0, -exponent(step))
    return f"{value:,.{digits}f}".replace("-", "−")


def scientific(value, step):
    """As in 2.5e6, with the digits that tell multiples of `step` apart."""
    if value == 0:
        return "0"
    mantissa, power = f"{value:.{max(0, exponent(value) - exponent(step))}e}".split("e")
    return f"{mantissa}e{int(power)}".replace("-", "−")


def value_ticks(low, high, count):
    """[(value, text)]; values of a million or more, or all below 0.0001, are written with an exponent."""
    values, step = ticks(low, high, count)
    largest = max(map(abs, values), default=0)
    write = scientific if largest >= 1e6 or 0 < largest < 1e-4 else number
    return [(value, write(value, step)) for value in values]


def ticks_that_fit(text, width):
    """How many labels like `text` fit."""
    return max(1, min(MOST_TICKS, width // (CHARACTER * len(text) + 24)))


class StepAxis:
    """The horizontal axis of a chart over whole numbers, by default steps: its name, and its ticks."""

    def __init__(self, name="step", least=-math.inf):
        self.name, self.least = name, least

    def ticks(self, low, high, width):
        values, step = ticks(low, high, ticks_that_fit(f"{high:,.0f}", width), smallest=1)
        return [(value, number(value, step)) for value in values if value >= self.least]

    def described(self, places):
        """What plot.js needs to know about the axis."""
        return {"axis": {"name": self.name, "least": None if self.least == -math.inf else self.least}}


def count_axis(name):
    """Whole numbers from 1 on; `name` says what they count."""
    return StepAxis(name, least=1)


class Frame:
    """A chart's area in one of its shapes, and the ticks around it."""

    def __init__(self, shape, x_range, y_range, axis):
        self.width, self.height = SHAPES[shape]
        self.x_range, self.y_range = x_range, y_range
        self.y_ticks = value_ticks(*y_range, MOST_TICKS)
        self.left = GAP + 4 + CHARACTER * max(len(text) for text in [axis.name, *(text for _, text in self.y_ticks)])
        self.right, self.top, self.bottom = self.width - RIGHT, TOP, self.height - BOTTOM
        self.x_ticks = axis.ticks(*x_range, self.right - self.left)

    def x(self, place):
        """The pixel of a value, or of an edge's name."""
        if isinstance(place, str):
            return getattr(self, place)
        low, high = self.x_range
        return self._near(self.left + (place - low) / (high - low) * (self.right - self.left))

    def y(self, place):
        if isinstance(place, str):
            return getattr(self, place)
        low, high = self.y_range
        return self._near(self.bottom - (place - low) / (high - low) * (self.bottom - self.top))

    def _near(self, pixel):
        return min(max(pixel, -FARTHEST), FARTHEST)

    def labels(self):
        """[(pixel of the tick, pixel of the label's middle, text)]: labels stay in the picture, and one that would touch
        the label before it is empty."""
        found = []
        end = self.left - GAP  # of the axis' name
        for value, text in self.x_ticks:
            half = CHARACTER * len(text) / 2
            middle = min(max(self.x(value), end + 6 + half), self.width - 2 - half)
            shown = middle - half >= end + 5.9 and abs(middle - self.x(value)) <= half
            end = middle + half if shown else end
            found.append((self.x(value), middle, text if shown else ""))
        return found

"""Charts of curves that are known, on a page as report.py writes it."""

import math
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from report_page.charts import Chart
from report_page.elements import document

STEPS = list(range(1, 101))


def page_of(*charts):
    return document("charts", "".join(chart.html() for chart in charts))


def rising():
    """Two straight lines over steps 1 to 100, of which the second has no values from 41 to 60, and a faint third one."""
    chart = Chart((1, 100), (2.0, 4.0), "Rising")
    gap = [math.nan if 41 <= step <= 60 else 3 + step / 100 for step in STEPS]
    chart.raw(STEPS, [2.5 + step / 1000 for step in STEPS], 0, "straight")
    chart.smooth(STEPS, [2 + step / 100 for step in STEPS], 0, "straight")
    chart.smooth(STEPS, gap, 1, "broken")
    chart.dots(STEPS, gap, 1, "broken")
    chart.interval(30, 2.1, 2.2, 0, "straight")
    chart.window(20, 40)
    chart.mark(30, "here")
    return chart


def differing(values, y_range=None, steps=None):
    """Differences at steps 1, 2, ..."""
    steps = steps or list(range(1, len(values) + 1))
    size = max([abs(v) for v in values if not math.isnan(v)], default=1.0) or 1.0
    chart = Chart((steps[0] - 0.5, steps[-1] + 0.5), y_range or (-1.5 * size, 1.5 * size), "Differing", signed=True)
    chart.zero()
    chart.smooth(steps, values, 0, "b − a")
    return chart

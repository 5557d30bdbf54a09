"""The charts of report pages: what a page holds without scripts, and what zooming makes of special axes and long curves."""

import json
import math
import re
import types

import pytest

from browser import Browser, points_of
from made_charts import STEPS, differing, page_of, rising
from test_page_scripts import across, down
from report_page.axes import CHARACTER, Frame, StepAxis, count_axis, ticks, value_ticks
from report_page.charts import MOST_DRAWN, Chart
from report_page.elements import decimals, table
from report_page.evaluation_page import ContextAxis
from report_page.thinning import extremes, thin_together


def still(chart, width=1000):
    return Browser(page_of(chart), width, with_scripts=False)


def contexts(*lengths):
    """A chart over contexts of these lengths: its values are the logarithms of the lengths."""
    names = [f"{length:,} tokens" for length in lengths]
    places = [math.log2(length) for length in lengths]
    axis = ContextAxis(types.SimpleNamespace(places=lengths, names=names))
    chart = Chart((math.log2(lengths[0] / 1.15), math.log2(lengths[-1] * 1.15)), (0, 20), "Contexts", axis=axis)
    chart.smooth(places, places, 0, "curve")
    chart.dots(places, places, 0, "curve")
    return chart


@pytest.mark.parametrize("width", [1000, 380])
@pytest.mark.parametrize(
    "lengths, labels",
    [
        ((100,), ["100 tokens"]),
        ((300, 350, 400), ["300 tokens", "350 tokens", "400 tokens"]),
        ((600, 1000), ["600 tokens", "1,000 tokens"]),
        ((300, 302, 304, 400), ["300 tokens", "400 tokens"]),  # no room for the others
        ((32, 100), ["32", "64"]),
    ],
)
def test_contexts_between_two_powers_of_two_have_their_names(lengths, labels, width):
    shown, _ = still(contexts(*lengths), width).labels()
    assert list(shown) == labels
    assert Browser(page_of(contexts(*lengths)), width).labels()[0] == pytest.approx(shown, abs=0.11)


def test_powers_of_two_leave_room_for_each_other():
    chart = contexts(*(2**power for power in range(4, 21)))
    for width in (1000, 380):
        found = [int(text.replace(",", "")) for text in still(chart, width).labels()[0]]
        steps = {second // first for first, second in zip(found, found[1:])}
        assert len(steps) == 1 and len(found) >= 3
        assert Browser(page_of(chart), width).labels()[0].keys() == still(chart, width).labels()[0].keys()


def test_a_zoom_between_powers_of_two_names_the_measured_contexts_or_round_numbers():
    browser = Browser(page_of(contexts(64, 100, 110, 4000, 8192)))
    place = lambda tokens: 40 + across_log(browser, tokens)
    browser.drag(place(70), place(120))
    assert list(browser.labels()[0]) == ["100 tokens", "110 tokens"]
    browser.press("0")
    browser.drag(place(1100), place(2000))  # nothing was measured there
    tokens = [int(text.replace(",", "")) for text in browser.labels()[0]]
    assert len(tokens) > 2 and all(1100 <= one <= 2000 and one % 100 == 0 for one in tokens)


def across_log(browser, tokens):
    labels = [(math.log2(float(text.replace(",", ""))), x) for text, x in browser.labels()[0].items()]
    (low, left), *_, (high, right) = labels
    return left + (math.log2(tokens) - low) / (high - low) * (right - left)


def test_a_count_begins_at_one():
    chart = Chart((0, 30), (0, 1), "Counts", axis=count_axis("trial"))
    chart.smooth(list(range(1, 30)), [0.5] * 29, 0, "weights")
    for browser in (still(chart), Browser(page_of(chart))):
        numbers = [int(text) for text in browser.labels()[0]]
        assert min(numbers) >= 1 and len(numbers) > 3


@pytest.mark.parametrize("y_range", [(-6e-6, 6e-6), (-1e30, 2e30), (0.0, 4.0), (999_000.0, 1_002_000.0), (2.300001, 2.300009), (-1e5, 1e5), (0.99999, 1.00001)])
@pytest.mark.parametrize("x_range", [(1, 300), (10_000_001, 10_000_050), (1, 300_000_000)])
def test_labels_stay_in_the_picture_and_apart(x_range, y_range):
    for shape in ("wide", "narrow"):
        frame = Frame(shape, x_range, y_range, StepAxis())
        texts = [text for _, text in frame.y_ticks]
        assert len(texts) >= 3 and len(set(texts)) == len(texts)
        # A digit is 8 pixels wide at most; labels end 9 pixels before the axis.
        assert min(frame.left - 9 - 8 * len(text) for text in texts) >= 0
        assert frame.left < 0.45 * frame.width
        ends = [(middle - 4 * len(text), middle + 4 * len(text)) for _, middle, text in frame.labels() if text]
        assert ends and ends[-1][1] <= frame.width and ends[0][0] > frame.left - 9
        assert all(end + 5 <= begin for (_, end), (begin, _) in zip(ends, ends[1:]))


def test_large_and_small_numbers_have_exponents():
    assert [text for _, text in value_ticks(-2e6, 2e6, 4)] == ["−2e6", "−1e6", "0", "1e6", "2e6"]
    assert [text for _, text in value_ticks(0, 2.5e6, 5)] == ["0", "5e5", "1.0e6", "1.5e6", "2.0e6", "2.5e6"]
    assert [text for _, text in value_ticks(-5e-6, 5e-6, 2)] == ["−5e−6", "0", "5e−6"]
    assert [text for _, text in value_ticks(0, 800_000, 2)] == ["0", "500,000"]
    assert ticks(0, 10, 5)[1] == 2


@pytest.mark.parametrize("width", [1000, 380])
def test_a_long_line_keeps_its_gaps_and_its_outliers(width):
    steps = list(range(1, 5001))
    values = [math.nan if 2000 <= step <= 2003 or step > 4000 else float(step % 2) for step in steps]
    values[3210] = 9.0
    chart = Chart((1, 5000), (0, 10), "Long")
    chart.raw(steps, values, 0, "long")
    chart.smooth(steps, values, 0, "long")
    for browser in (still(chart, width), Browser(page_of(chart), width)):
        for css in ("raw", "smooth"):
            parts = browser.path(css)
            assert len(parts) == 2
            assert 40 + parts[0][-1][0] == pytest.approx(across(browser, 2000), abs=4)
            assert 40 + parts[1][-1][0] == pytest.approx(across(browser, 4000), abs=4)
        assert min(y for _, y in browser.path("raw")[1]) == pytest.approx(down(browser, 9), abs=0.3)
    points = {name: sum(map(len, still(chart, width).path(name))) for name in ("raw", "smooth")}
    assert max(points.values()) <= MOST_DRAWN["wide" if width == 1000 else "narrow"]


def test_thinning_marks_each_stretch_that_is_absent():
    values = [float(i) for i in range(1000)]
    values[500:503] = [math.nan] * 3
    assert any(math.isnan(values[i]) for i in extremes(values, 100))
    assert sum(math.isnan(values[i]) for i in thin_together([values, [0.0] * 1000], 100)) == 1
    assert thin_together([], 100) == []


def test_a_zoom_shows_the_steps_of_a_long_faint_line():
    steps = list(range(10, 50_001, 10))
    values = [math.sin(step / 3000) for step in steps]
    chart = Chart((10, 50_000), (-1.1, 1.1), "Faint")
    chart.raw(steps, values, 0, "sine")
    chart.read_out(steps, values, 0, "sine")
    browser = Browser(page_of(chart))
    browser.drag(across(browser, 20_000), across(browser, 24_000))
    for step in range(20_500, 24_000, 500):
        x = across(browser, step) - 40
        here = min(browser.path("raw")[0], key=lambda point: abs(point[0] - x))
        assert here[0] == pytest.approx(x, abs=6)
        # Between the values on both sides.
        assert here[1] == pytest.approx(down(browser, math.sin(step / 3000)), abs=4)


def test_a_faint_line_with_steps_of_its_own_stands_at_them():
    chart = Chart((1, 100), (0, 10), "Own steps")
    chart.raw([10, 25, 70], [2.0, 4.0, 8.0], 0, "own")
    chart.smooth(STEPS, [5.0] * 100, 1, "others")
    for browser in (still(chart), Browser(page_of(chart))):
        expected = [(across(browser, step) - 40, down(browser, value)) for step, value in ((10, 2), (25, 4), (70, 8))]
        assert browser.path("raw") == [[pytest.approx(point, abs=0.3) for point in expected]]


def test_one_far_value_of_a_faint_line_leaves_the_zoom_as_it_is():
    values = [2.0 + 0.001 * (step % 7) for step in STEPS]
    values[69] = 50.0
    chart = Chart((1, 100), (0.0, 4.0), "Outlier")
    chart.raw(STEPS, values, 0, "faint")
    chart.read_out(STEPS, values, 0, "faint")
    browser = Browser(page_of(chart))
    browser.drag(across(browser, 20), across(browser, 95))
    assert all(1.99 < float(text) < 2.02 for text in browser.labels()[1])


@pytest.mark.parametrize("hidden", [False, True])
def test_a_zoom_holds_the_whole_of_the_bars_that_it_shows(hidden):
    chart = Chart((1, 100), (0.0, 4.0), "Bars")
    chart.smooth(STEPS, [2.0 + step / 1000 for step in STEPS], 0, "middle")
    chart.interval(50, 1.0, 3.0, 1, "barred")
    chart.interval(90, 0.0, 4.0, 1, "barred")
    chart.name("barred", 1)
    browser = Browser(page_of(chart))
    if hidden:
        browser.fire("click", on='figure.querySelectorAll(".legend button")[1]')
    browser.drag(across(browser, 40), across(browser, 60))
    values = [float(text) for text in browser.labels()[1]]
    if hidden:
        assert 2.03 < min(values) and max(values) < 2.07
    else:
        assert 0.8 < min(values) <= 1.0 and 3.0 <= max(values) < 3.2


def test_many_faint_lines_are_fainter_until_a_zoom_parts_them():
    def opacity(number, zoom=False):
        chart = Chart((1, 1000), (0, 2), "Faint")
        steps = list(range(1, 1001))
        for i in range(number):
            chart.raw(steps, [1 + (step + i) % 7 / 10 for step in steps], 0, "many")
        chart.read_out(steps, [1.0] * 1000, 0, "many")
        static = still(chart).ask('svg.querySelector(".area").getAttribute("style")')
        browser = Browser(page_of(chart))
        if zoom:
            browser.drag(across(browser, 500), across(browser, 510))
        drawn = float(browser.ask('svg.querySelector(".area").style["--faint"]'))
        return drawn, float(static.removeprefix("--faint:"))

    assert opacity(1)[0] == pytest.approx(0.4, abs=0.03) and opacity(1)[1] == 0.4
    assert all(0.05 <= one < 0.15 for one in opacity(20))
    assert opacity(20, zoom=True)[0] > 0.35


def test_steps_and_ends_are_exact_in_the_page():
    chart = differing([0.1] * 50, steps=list(range(10_000_001, 10_000_051)))
    (data,) = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', chart.html())]
    assert data["x"] == [10_000_000.5, 10_000_050.5] and data["steps"] == list(range(10_000_001, 10_000_051))
    assert '"steps":[10000001,' in chart.html()


def test_read_outs_have_the_decimals_of_the_tables():
    for size in (0.3, 1e-3, 9e-4, 2e-5, 3e-9):
        chart = differing([size, size, -size], y_range=(-1.0, 1.0))
        (data,) = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', chart.html())]
        assert data["digits"] == decimals({"low": -size, "high": size, "mean_difference": 0.0})


def test_values_far_outside_the_range_stay_drawable():
    chart = Chart((1, 3), (2.0, 4.0), "Diverged")
    chart.smooth([1, 2, 3], [3.0, 1e30, -1e30], 0, "far")
    for browser in (still(chart), Browser(page_of(chart))):
        (points,) = browser.path("smooth")
        assert len(points) == 3 and all(abs(y) <= 20_001 for _, y in points)
        assert points[1][1] < 0 and points[2][1] > 400


def test_a_point_between_two_gaps_is_a_dot():
    values = [1.0, 2.0, math.nan, 3.0, math.nan, 1.0]
    chart = Chart((1, 6), (0.0, 4.0), "Alone")
    chart.smooth([1, 2, 3, 4, 5, 6], values, 0, "parts")
    for browser in (still(chart), Browser(page_of(chart))):
        path = browser.ask('svg.querySelector("path.smooth").getAttribute("d")')
        assert [len(part) for part in points_of(path)] == [2, 1, 1] and path.count("h0") == 2


def test_what_is_outside_the_axes_is_cut_off_without_names():
    page = page_of(rising(), rising())
    assert "url(" not in page and "clip-path=" not in page and " id=" not in page
    for browser in (still(rising()), Browser(page_of(rising()))):
        x, y, width, height = (browser.ask(f'svg.querySelector(".area").getAttribute("{side}")') for side in ("x", "y", "width", "height"))
        assert browser.ask('svg.querySelector(".area").getAttribute("viewBox")') == f"{x} {y} {width} {height}"
        left, right = across(browser, 1) - 40, across(browser, 100) - 40
        assert float(x) == pytest.approx(left, abs=0.5) and float(width) == pytest.approx(right - left, abs=0.5)
    browser = Browser(page_of(rising()))
    browser.resize(780)
    side = lambda name: browser.ask(f'svg.querySelector(".area").getAttribute("{name}")')
    assert side("viewBox") == " ".join(side(name) for name in ("x", "y", "width", "height"))


def test_the_reserved_width_of_a_digit_is_that_of_plot_js():
    assert Browser(page_of(rising())).context.eval("CHARACTER") == CHARACTER


@pytest.mark.parametrize("width", [1000, 380])
def test_a_word_at_the_right_edge_stands_left_of_its_line(width):
    chart = Chart((1, 100), (0.0, 1.0), "Words")
    chart.mark(97, "trained length")
    chart.mark(50, "middle")
    chart.smooth(STEPS, [0.5] * 100, 0, "flat")
    for browser in (still(chart, width), Browser(page_of(chart), width)):
        words = browser.ask('svg.querySelector(".area").querySelectorAll("text").map((e) => [e.textContent, Object.fromEntries(e.attributes)])')
        found = {text: (a["text-anchor"], a["dx"]) for text, a in words}
        assert found == {"trained length": ("end", "-5"), "middle": ("start", "5")}
    browser.drag(across(browser, 40), across(browser, 50.4))
    sides = '["text-anchor", "dx"].map((name) => e.getAttribute(name))'
    assert browser.ask(f'svg.querySelector(".area").querySelectorAll("text").map((e) => {sides})') == [["end", "-5"]] * 2


def test_only_a_table_with_long_names_lets_them_wrap():
    wraps = lambda name: 'class="names"' in table(["", "value"], [["short", 1], [name, 2]])
    assert wraps("Softmax, learned temperature") and not wraps("positions 1,024–2,047") and not wraps("&lt;" * 24)
    assert 'class="text"' in table([], [["Softmax, learned temperature"]], "text")

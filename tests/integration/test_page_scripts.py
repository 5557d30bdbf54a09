"""What the scripts of a report page do with events. The scripts run on the DOM of page_dom.js; the expected places are
computed here from the axes that the page holds without scripts, and the expected values from the curves' formulas."""

import math

import pytest

from browser import Browser
from made_charts import STEPS, differing, page_of, rising

LEFT = 40  # of every picture, on the screen


def between(value, low, high, low_pixel, high_pixel):
    return low_pixel + (value - low) / (high - low) * (high_pixel - low_pixel)


def across(browser, step, chart=0):
    """The screen's x of a step, from the first and the last tick of the axis: those nearest to their labels."""
    lines = [a for tag, a, _ in browser.axes(chart) if tag == "line" and a["class"] == "axis" and a["x1"] == a["x2"]]
    ticks = [float(line["x1"]) for line in lines]
    labels = browser.labels(chart)[0].items()
    first, *_, last = [(float(text.replace(",", "")), min(ticks, key=lambda tick: abs(tick - x))) for text, x in labels]
    return LEFT + between(step, first[0], last[0], first[1], last[1])


def down(browser, value, chart=0):
    first, *_, last = [(float(text.replace("−", "-")), y) for text, y in browser.labels(chart)[1].items()]
    return between(value, first[0], last[0], first[1], last[1])


@pytest.fixture(params=[1000, 380], ids=["wide", "narrow"])
def browser(request):
    return Browser(page_of(rising()), request.param)


@pytest.fixture
def wide():
    return Browser(page_of(rising()))


def test_the_scripts_draw_the_whole_range_as_the_page_holds_it():
    charts = [rising(), differing([2e-5, -1e-5]), differing([1e7, -3e9]), differing([0.1] * 50, steps=list(range(10_000_001, 10_000_051)))]
    for width in (1000, 380):
        static, drawn = (Browser(page_of(*charts), width, with_scripts=scripts) for scripts in (False, True))
        for chart in range(len(charts)):
            expected, found = static.axes(chart), drawn.axes(chart)
            assert [(tag, text) for tag, _, text in found] == [(tag, text) for tag, _, text in expected]
            for (_, one, _), (_, other, _) in zip(found, expected):
                assert one.keys() == other.keys()
                numbers = [name for name in one if name not in ("class", "text-anchor")]
                assert all(float(one[n]) == pytest.approx(float(other[n]), abs=0.11) for n in numbers)
            for css in ("smooth", "raw")[: 2 if chart == 0 else 1]:
                before, after = static.path(css, chart=chart), drawn.path(css, chart=chart)
                assert [len(part) for part in after] == [len(part) for part in before]
                for here, there in zip(sum(after, []), sum(before, [])):
                    assert here == pytest.approx(there, abs=0.11)
        kinds = [".dot", ".bar", ".window", ".mark", "text"]
        for kind in kinds:
            places = f'svg.querySelector(".area").querySelectorAll("{kind}").map((e) => Object.fromEntries(e.attributes))'
            before, after = static.ask(places), drawn.ask(places)
            assert before and len(before) == len(after)
            for one, other in zip(after, before):
                numbers = [n for n in other if n in ("x", "y", "cx", "cy", "x1", "x2", "y1", "y2", "width", "height")]
                assert [float(one[n]) for n in numbers] == pytest.approx([float(other[n]) for n in numbers], abs=0.11)


def test_hovering_shows_the_values_of_the_nearest_step(browser):
    assert browser.tip() is None
    browser.fire("pointermove", clientX=across(browser, 30.4))
    assert browser.tip() == ("step 30", {"straight": "2.3000", "broken": "3.3000"})
    cursor = browser.ask('Object.fromEntries(svg.querySelector(".cursor").attributes)')
    assert LEFT + float(cursor["x1"]) == pytest.approx(across(browser, 30), abs=0.2)
    # The read-out is 120 wide and 60 high, beside the line and 8 below the picture's upper edge, which is at 50 in the
    # figure. On the narrow one it is 8 above the axis, which is 34 above the lower edge, where the values are in the upper half.
    style = lambda name: float(browser.ask(f'figure.querySelector(".tip").style.{name}').removesuffix("px"))
    assert style("left") == pytest.approx(float(cursor["x1"]) + 14, abs=0.1) and style("top") == 58
    browser.fire("pointermove", clientX=across(browser, 99))
    assert style("left") == pytest.approx(across(browser, 99) - LEFT - 14 - 120, abs=0.2)
    assert style("top") == (58 if browser.shape == "wide" else 50 + 300 - 34 - 8 - 60)
    browser.fire("pointermove", clientX=across(browser, 50))
    assert browser.tip() == ("step 50", {"straight": "2.5000"})  # the other has no value there
    browser.fire("pointerleave")
    assert browser.tip() is None
    assert browser.ask('svg.querySelector(".cursor").style.visibility') == "hidden"


def test_a_tap_shows_values_until_the_next_tap_elsewhere(browser):
    touch = {"pointerType": "touch", "clientX": across(browser, 70)}
    browser.fire("pointerdown", **touch)
    assert browser.tip() == ("step 70", {"straight": "2.7000", "broken": "3.7000"})
    browser.fire("pointerup", **touch)
    browser.fire("pointerleave", **touch)
    assert browser.tip() is not None
    browser.fire("pointerdown", pointerType="touch", clientX=across(browser, 20))
    assert browser.tip()[0] == "step 20"
    browser.fire("pointerup", pointerType="touch")
    browser.fire("pointerdown", on="body", pointerType="touch")
    assert browser.tip() is None


def test_a_finger_that_moves_reads_and_does_not_zoom(browser):
    before = browser.labels()
    browser.fire("pointerdown", pointerType="touch", clientX=across(browser, 20))
    browser.fire("pointermove", pointerType="touch", clientX=across(browser, 60))
    browser.fire("pointerup", pointerType="touch", clientX=across(browser, 60))
    assert browser.tip()[0] == "step 60" and browser.labels() == before


def test_the_legend_hides_a_series_everywhere(browser):
    button = 'figure.querySelectorAll(".legend button")[1]'
    browser.fire("click", on=button)
    assert browser.ask(f'{button}.getAttribute("aria-pressed")') == "false"
    parts = 'figure.querySelectorAll("svg [data-series]").map((e) => [e.dataset.series, e.className.includes("off")])'
    assert {name: off for name, off in browser.ask(parts)} == {"straight": False, "broken": True}
    browser.fire("pointermove", clientX=across(browser, 30))
    assert browser.tip()[1] == {"straight": "2.3000"}
    browser.fire("click", on=button)
    assert browser.ask(f'{button}.getAttribute("aria-pressed")') == "true"
    assert not any(off for _, off in browser.ask(parts))
    browser.fire("pointermove", clientX=across(browser, 30))
    assert "broken" in browser.tip()[1]


def test_a_series_hides_with_the_legend_entry_that_it_names():
    chart = differing([0.1, 0.2, 0.3])
    chart.read_out([1, 2, 3], [0.5, 0.6, 0.7], 1, "seed 1, b − a", hidden_by="b − a")
    browser = Browser(page_of(chart))
    browser.fire("pointermove", clientX=across(browser, 2))
    assert browser.tip()[1] == {"b − a": "+0.2000", "seed 1, b − a": "+0.6000"}
    browser.fire("click", on='figure.querySelector(".legend button")')
    assert browser.tip()[1] == {}


def assert_shows(browser, first, last, low, high):
    """That the axes show these ranges: their ticks lie inside and cover most of them, and lines are at their values."""
    steps = [float(text.replace(",", "")) for text in browser.labels()[0]]
    values = [float(text) for text in browser.labels()[1]]
    assert first <= min(steps) and max(steps) <= last and max(steps) - min(steps) > 0.6 * (last - first)
    assert low <= min(values) and max(values) <= high and max(values) - min(values) > 0.6 * (high - low)
    points = {round(x, 1): y for x, y in sum(browser.path("smooth"), [])}
    for step in range(math.ceil(first), math.floor(last) + 1):
        x = round(across(browser, step) - LEFT, 1)
        (y,) = [points[one] for one in points if abs(one - x) < 0.35]
        assert y == pytest.approx(down(browser, 2 + step / 100), abs=0.7)


def test_a_drag_shows_its_range_with_fitting_axes(wide):
    whole = wide.axes()
    wide.drag(across(wide, 62), across(wide, 78))
    # Both lines are there, at 2.62 to 2.78 and 3.62 to 3.78, and room of 6 % on both sides.
    assert_shows(wide, 62, 78, 2.49, 3.86)
    # The way back takes the place of the hint.
    assert wide.ask('[".whole", ".hint"].map((css) => figure.querySelector(css).hidden)') == [False, True]
    wide.fire("pointermove", clientX=across(wide, 70))
    assert wide.tip()[0] == "step 70"
    wide.fire("dblclick")
    assert wide.axes() == whole
    assert wide.ask('[".whole", ".hint"].map((css) => figure.querySelector(css).hidden)') == [True, False]


def test_the_vertical_axis_fits_what_is_not_hidden(wide):
    for number, (low, high) in {1: (2.50, 2.79), 0: (3.61, 3.79)}.items():
        button = f'figure.querySelectorAll(".legend button")[{number}]'
        wide.fire("click", on=button)
        wide.drag(across(wide, 62), across(wide, 78))
        values = [float(text) for text in wide.labels()[1]]
        # The faint line of "straight" is at 2.56 to 2.58.
        assert low <= min(values) and max(values) <= high
        wide.fire("click", on=button)
        wide.fire("dblclick")


def test_marks_bars_and_words_move_with_the_zoom(wide):
    wide.drag(across(wide, 20), across(wide, 40))
    x = across(wide, 30) - LEFT
    attribute = lambda css, name: float(wide.ask(f'svg.querySelector(".area").querySelector("{css}").getAttribute("{name}")'))
    for css, names in ((".bar", ("x1", "x2")), (".mark", ("x1", "x2")), ("text", ("x",))):
        assert all(attribute(css, name) == pytest.approx(x, abs=0.4) for name in names)
    assert attribute(".bar", "y1") == pytest.approx(down(wide, 2.1), abs=0.7)
    assert attribute(".bar", "y2") == pytest.approx(down(wide, 2.2), abs=0.7)
    assert attribute(".window", "width") == pytest.approx(across(wide, 40) - across(wide, 20), abs=0.7)
    dots = wide.ask('svg.querySelectorAll(".dot").map((e) => [e.getAttribute("cx"), e.getAttribute("cy")].map(Number))')
    present = [step for step in STEPS if not 41 <= step <= 60]
    assert len(dots) == len(present)
    assert dots[present.index(30)] == pytest.approx((x, down(wide, 3.3)), abs=0.7)


def test_a_range_without_values_keeps_the_gap(wide):
    wide.drag(across(wide, 35), across(wide, 66))
    parts = wide.path("smooth", 1)
    assert len(parts) == 2
    assert LEFT + parts[0][-1][0] == pytest.approx(across(wide, 40), abs=0.4)
    assert LEFT + parts[1][0][0] == pytest.approx(across(wide, 61), abs=0.4)


def test_a_click_is_no_zoom_and_a_drag_shows_what_it_will_select(wide):
    before = wide.axes()
    wide.drag(across(wide, 50), across(wide, 50.3))
    assert wide.axes() == before
    wide.fire("pointerdown", clientX=across(wide, 40))
    wide.fire("pointermove", clientX=across(wide, 20))
    assert wide.ask("svg.captured") == [1, 1]  # of the click before, and of this press: the drag may end elsewhere
    chosen = lambda name: float(wide.ask(f'svg.querySelector(".chosen").getAttribute("{name}")'))
    assert LEFT + chosen("x") == pytest.approx(across(wide, 20), abs=0.2)
    assert chosen("width") == pytest.approx(across(wide, 40) - across(wide, 20), abs=0.2)
    wide.press("Escape")
    wide.fire("pointerup", clientX=across(wide, 20))
    assert chosen("width") == 0 and wide.axes() == before
    wide.fire("pointerdown", clientX=across(wide, 40))
    wide.fire("pointermove", clientX=across(wide, 20))
    wide.fire("pointercancel")
    assert chosen("width") == 0 and wide.axes() == before
    wide.fire("pointerdown", clientX=across(wide, 40), button=2)
    wide.fire("pointermove", clientX=across(wide, 20))
    wide.fire("pointerup", clientX=across(wide, 20), button=2)
    assert wide.axes() == before


def test_the_wheel_zooms_with_ctrl_only_and_keeps_the_place_below_the_pointer(wide):
    before, pointer = wide.axes(), across(wide, 30)
    assert wide.fire("wheel", clientX=pointer, deltaY=-300) is False
    assert wide.axes() == before
    assert wide.fire("wheel", clientX=pointer, deltaY=-300, ctrlKey=True) is True
    assert wide.axes() != before and across(wide, 30) == pytest.approx(pointer, abs=1)
    for _ in range(9):
        wide.fire("wheel", clientX=pointer, deltaY=300, ctrlKey=True)
    assert wide.axes() == before


def test_two_fingers_keep_what_is_below_them(browser):
    touch = lambda kind, finger, x: browser.fire(kind, pointerType="touch", pointerId=finger, clientX=x)
    first, second = across(browser, 40), across(browser, 60)
    touch("pointerdown", 1, first)
    touch("pointerdown", 2, second)
    assert browser.tip() is None
    touch("pointermove", 1, first - 40)
    touch("pointermove", 2, second + 60)
    assert across(browser, 40) == pytest.approx(first - 40, abs=1)
    assert across(browser, 60) == pytest.approx(second + 60, abs=1)
    crossed = browser.axes()
    touch("pointermove", 1, second + 100)
    assert browser.axes() == crossed
    touch("pointermove", 1, first - 40)
    touch("pointerup", 2, second + 60)
    touch("pointermove", 1, first)
    assert browser.tip() is not None  # one finger reads again
    touch("pointerup", 1, first)
    browser.fire("click", on='figure.querySelector(".whole")')
    assert browser.ask('figure.querySelector(".whole").hidden') is True


def test_arrow_keys_read_values_aloud(browser):
    assert browser.ask('svg.getAttribute("tabindex")') == "0"
    assert browser.ask('svg.getAttribute("aria-label")') == "Rising" and browser.ask('svg.getAttribute("role")') == "application"
    assert browser.ask('figure.querySelector(".spoken").getAttribute("aria-live")') == "polite"
    described = browser.ask('svg.getAttribute("aria-describedby")')
    assert browser.ask('figure.querySelector(".hint").id') == described
    assert browser.press("ArrowRight") is True
    assert browser.spoken() == "step 1: straight 2.0100; broken 3.0100" and browser.tip()[0] == "step 1"
    browser.press("ArrowRight")
    assert browser.spoken() == "step 2: straight 2.0200; broken 3.0200"
    browser.press("ArrowRight", shiftKey=True)
    browser.press("ArrowLeft")
    assert browser.spoken().startswith("step 11: ")
    browser.press("End")
    browser.press("ArrowRight")
    assert browser.spoken().startswith("step 100: ")
    browser.press("Home")
    browser.press("ArrowLeft")
    assert browser.spoken().startswith("step 1: ")
    browser.press("Escape")
    assert browser.tip() is None
    browser.press("ArrowLeft")
    assert browser.tip()[0] == "step 100"
    browser.fire("blur")
    assert browser.tip() is None


@pytest.mark.parametrize("ending", ["0", "Escape"])
def test_keys_zoom_around_the_cursor_and_show_all_again(wide, ending):
    before = wide.axes()
    for key in ("Home", *["ArrowRight"] * 29, "+", "="):
        wide.press(key)
    # Twice half of 99 steps around step 30, which stays where it was.
    first, last = 30 - 29 / 4, 30 + 70 / 4
    assert wide.spoken() == "step 23 to 48"
    assert_shows(wide, first, last, 2.1, 3.6)
    wide.press("-")
    assert wide.spoken() == "step 16 to 65"
    for _ in range(60):
        wide.press("ArrowRight")
    assert wide.tip()[0] == "step 90" and wide.ask('svg.querySelector(".cursor").style.visibility') == "visible"
    assert LEFT < across(wide, 90) < LEFT + 1000
    wide.press(ending)
    assert wide.axes() == before and wide.spoken() == "all"


def test_other_keys_are_left_to_the_browser(wide):
    before = wide.axes()
    assert not any(wide.press(key) for key in ("Tab", "a", "ArrowUp", "toString"))
    assert not wide.press("+", ctrlKey=True) and not wide.press("-", metaKey=True) and not wide.press("ArrowLeft", altKey=True)
    assert wide.axes() == before and wide.tip() is None


def test_a_picture_is_drawn_for_the_width_that_it_gets(wide):
    wide.resize(780)
    assert wide.ask('svg.getAttribute("viewBox")') == "0 0 780 380"
    assert max(wide.labels()[0].values()) < 780
    wide.fire("pointermove", clientX=across(wide, 30))
    assert wide.tip()[0] == "step 30"
    wide.drag(across(wide, 20), across(wide, 40))
    wide.resize(380)  # a telephone that was turned
    assert wide.ask('svg.getAttribute("viewBox")') == "0 0 380 300"
    assert_shows(wide, 20, 40, 2.0, 3.5)


@pytest.mark.parametrize(
    "value, text", [(2e-5, "+0.000020"), (-2e-5, "−0.000020"), (0.25, "+0.2500"), (-3.5e7, "−3.5000e7"), (1e30, "+1.0000e30")]
)
def test_values_are_read_out_with_the_digits_that_they_need(value, text):
    browser = Browser(page_of(differing([value, value, value])))
    browser.press("Home")
    assert browser.tip()[1] == {"b − a": text}


def test_what_rounds_to_zero_has_no_sign():
    browser = Browser(page_of(differing([0.5, -3e-5, 3e-5, 0.0, 0.4, 0.3])))
    for step in range(1, 4):
        browser.press("Home")
        for _ in range(step):
            browser.press("ArrowRight")
        assert browser.tip()[1] == {"b − a": "0.0000"}


def test_a_zoom_shows_more_digits():
    values = [1 + 1e-6 * step for step in range(1, 21)] + [0.0] * 20
    browser = Browser(page_of(differing(values)))
    browser.drag(across(browser, 2), across(browser, 12))
    browser.fire("pointermove", clientX=across(browser, 5))
    ((_, text),) = browser.tip()[1].items()
    assert float(text) == pytest.approx(1, abs=1e-4) and len(text) > len("+1.0000")


def test_far_steps_are_told_apart():
    steps = list(range(10_000_001, 10_000_051))
    browser = Browser(page_of(differing([0.1 + i / 1000 for i in range(50)], steps=steps)))
    browser.fire("pointermove", clientX=across(browser, 10_000_037))
    assert browser.tip() == ("step 10,000,037", {"b − a": "+0.1360"})
    cursor = float(browser.ask('svg.querySelector(".cursor").getAttribute("x1")'))
    assert LEFT + cursor == pytest.approx(across(browser, 10_000_037), abs=0.5)


@pytest.mark.parametrize("values", [[], [0.3], [math.nan] * 5, [math.nan, 0.3, math.nan]], ids=["none", "one", "absent", "alone"])
def test_every_event_is_harmless_with_few_or_no_values(values):
    browser = Browser(page_of(differing(values, steps=None if values else [1]) if values else empty()))
    for kind in ("pointermove", "pointerdown", "pointerup", "dblclick"):
        browser.fire(kind, clientX=300)
    browser.fire("pointerdown", pointerType="touch", clientX=300)
    browser.fire("pointerup", pointerType="touch", clientX=300)
    browser.drag(200, 400)
    browser.fire("wheel", clientX=300, deltaY=-50, ctrlKey=True)
    for key in ("ArrowLeft", "ArrowRight", "Home", "End", "+", "-", "0", "Escape"):
        browser.press(key)
    finite = [v for v in values if not math.isnan(v)]
    points = sum(browser.path("smooth"), []) if values else []
    assert len(points) == len(finite)


def empty():
    chart = differing([0.3])
    chart.hover[0] = ("b − a", 0, [], "b − a")
    chart.layers, chart.curves, chart.steps = [], [], []
    return chart


def test_names_of_runs_stay_text():
    name = '</script><img src=x onerror="alert(1)"> & "größe" ≥ 模型'
    chart = differing([0.1, 0.2])
    chart.smooth([1, 2], [0.3, 0.4], 1, name)
    chart.label = name
    browser = Browser(page_of(chart, chart))
    browser.press("Home", chart=1)
    assert browser.tip(1)[1] == {"b − a": "+0.1000", name: "+0.3000"}
    assert browser.ask('document.querySelectorAll("img").length') == 0
    assert browser.ask('figure.querySelectorAll(".legend button").map((e) => e.textContent)') == ["b − a", name]
    assert browser.ask('svg.getAttribute("aria-label")') == name
    browser.fire("click", chart=1, on='figure.querySelectorAll(".legend button")[1]')
    browser.press("Home", chart=1)
    assert browser.tip(1)[1] == {"b − a": "+0.1000"} and browser.tip(0) is None
    ids = browser.ask('document.querySelectorAll("[id]").map((e) => e.id)')
    assert len(ids) == len(set(ids)) == 2

"""The heat maps of needles in haystacks as tables of a page: one row per depth, one column per length."""

from report_page.elements import esc, plain, signed, table
from report_page.needle_figure import limits_of, maps_of

# For a value at the lower end, in the middle and at the upper end of its range.
SHARES = ((255, 255, 255), (188, 223, 216), (92, 179, 164))
SIGNED = ((244, 180, 150), (255, 255, 255), (146, 190, 232))


def shade(value, limits, colors):
    """The colour of a value as CSS; none if the value is unknown."""
    if value != value:
        return ""
    place = 2 * min(1.0, max(0.0, (value - limits[0]) / (limits[1] - limits[0])))
    low, part = (0, place) if place < 1 else (1, place - 1)
    mixed = (round(a + part * (b - a)) for a, b in zip(colors[low], colors[low + 1]))
    return f"background: rgb({', '.join(map(str, mixed))}); color: #14202B"


def heat_map(evaluation, title, values, verdicts, limits, is_signed, written):
    head = ["depth", *(f"{length:,}" for length in evaluation.lengths)]
    rows = []
    for depth, row, marked in zip(evaluation.depths, evaluation.rows(values), evaluation.rows(verdicts)):
        cells = [
            f'<span class="heat" style="{shade(value, limits, SIGNED if is_signed else SHARES)}">{written(value)}'
            f"{'*' if mark else ''}</span>"
            for value, mark in zip(row, marked)
        ]
        rows.append([f"{depth}&nbsp;%", *cells])
    return f"<h3>{esc(title)}</h3>{table(head, rows)}"


def means(evaluation, panel):
    maps, _ = maps_of(evaluation, panel)
    limits = limits_of(panel.figure, False, maps)
    is_signed = panel.figure == "margin"
    return "".join(heat_map(evaluation, *one, limits, is_signed, lambda v: plain(v, 3)) for one in maps)


def differences(evaluation, panel):
    _, maps = maps_of(evaluation, panel)
    limits = limits_of(panel.figure, True, maps)
    return "".join(heat_map(evaluation, *one, limits, True, lambda v: signed(v, 3)) for one in maps)


def intervals(evaluation, panel):
    """For each model's share of right answers: the number of right trials, with Wilson's interval."""
    models = [m for m in evaluation.data["models"] if m["condition"] == panel.number]
    rows = [
        [
            esc(model["variant"]),
            model["seed"],
            name,
            "–" if value["correct"] is None else f"{value['correct']} of {value['trials']}",
            "–" if value["share_right_low"] is None else f"{value['share_right_low']:.3f} … {value['share_right_high']:.3f}",
        ]
        for model in models
        for name, value in zip(evaluation.names, evaluation.values(model))
    ]
    head = ["variant", "seed", "", "right", "95&nbsp;% interval (Wilson)"]
    return f"<details><summary>Each model: right answers</summary>{table(head, rows)}</details>"

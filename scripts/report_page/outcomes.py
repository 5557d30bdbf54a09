"""The figures that are judged over seeds: a dot for each seed's difference, and a table of all outcomes."""

import math

from report_page.axes import number, ticks
from report_page.elements import decimals, esc, is_independent, number_of_seeds, p_value, padded, plain, section, signed, table

DOTS = "a dot for each seed, or one for the difference of the means if the sides share no seed"
WORDS = {"lower": "lower", "higher": "higher", "no verdict": "none"}


def as_percent(log_ratio):
    return None if log_ratio is None else 100 * math.expm1(log_ratio)


def percent(value):
    return "–" if value is None else f"{signed(value, 1)}&nbsp;%"


def shown(name, estimate):
    """(value in the unit that is shown, as text) for an outcome."""
    if name == "tokens":
        return as_percent, percent
    return (lambda v: v), lambda v: signed(v, decimals(estimate) if estimate else 4)


def verdict_of(one, name):
    """The verdict of an outcome; for the deciding one the comparison's, which an opposite validation loss takes away."""
    return one["verdict"] if name == "training" else one[name]["verdict"]


def values_of(one, name):
    """The seeds' differences, or the difference of the means if the sides share no seed."""
    estimate = one[name]
    seeds = [s[name] for s in one["seeds"] if s[name] is not None]
    if not one["paired"] and estimate and estimate["mean_difference"] is not None:
        seeds = [estimate["mean_difference"]]
    return seeds


class Axis:
    """Places on a common axis in per cent of its width, for the values of one outcome in all rows."""

    def __init__(self, rows, name):
        self.convert, self.text = shown(name, rows[0][name] if rows else None)
        numbers = [0.0]
        for one in rows:
            numbers += [self.convert(v) for v in values_of(one, name)]
            numbers += [self.convert(one[name][k]) for k in ("low", "high") if one[name][k] is not None]
        self.low, self.high = padded(min(numbers), max(numbers), 0.08)

    def place(self, number):
        return 100 * (number - self.low) / (self.high - self.low)

    def x(self, value):
        return f"{self.place(self.convert(value)):.2f}%"

    def said(self, value):
        return self.text(self.convert(value))

    def labels(self, unit):
        marked, step = ticks(self.low, self.high, 5)
        texts = "".join(
            f'<text x="{self.place(value):.2f}%" y="14" text-anchor="middle">{number(value, step)}{unit}</text>'
            for value in marked
            if 3 < self.place(value) < 97
        )
        return f'<div></div><svg class="strip axis-labels" aria-hidden="true">{texts}</svg>'


def strip_row(axis, one, estimate, values, color):
    x = axis.x
    marks = f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="0" y2="100%"/>'
    seeds = number_of_seeds(estimate)
    said = f"{axis.said(estimate['mean_difference'])}, {seeds}: {'too few for an interval' if is_independent(one) else 'not independent, and no interval'}"
    if estimate["low"] is not None:
        low, mean, high = (estimate[k] for k in ("low", "mean_difference", "high"))
        width = axis.place(axis.convert(high)) - axis.place(axis.convert(low))
        style = f"var(--c{color})"
        marks += f'<rect class="band" x="{x(low)}" y="11" width="{width:.2f}%" height="14" style="fill:{style}"/>'
        marks += f'<line class="average" x1="{x(mean)}" x2="{x(mean)}" y1="6" y2="30" style="stroke:{style}"/>'
        said = f"{axis.said(mean)}, 95&nbsp;% {axis.said(low)} … {axis.said(high)}, {seeds}"
    for i, value in enumerate(sorted(values)):
        y = 18 if len(values) == 1 else (9, 21, 15, 27)[i % 4]  # keeps neighbouring dots apart
        marks += f'<circle class="dot" cx="{x(value)}" cy="{y}" r="4" style="stroke:var(--c{color})"/>'
    name = esc(one["candidate"])
    return (
        f'<div class="strip-name">{name}<span class="soft">{said}</span></div>'
        f'<svg class="strip" role="img" aria-label="{name}: differences of the seeds">{marks}</svg>'
    )


def strip(comparison, name):
    """One row per candidate on a common axis: dots, and with three seeds or more the mean and its interval."""
    rows = [one for one in comparison.comparisons if one[name] is not None]
    axis = Axis(rows, name)
    parts = [strip_row(axis, one, one[name], values_of(one, name), comparison.color[one["candidate"]]) for one in rows]
    return f'<figure class="strips">{"".join(parts)}{axis.labels(" %" if name == "tokens" else "")}</figure>'


def by_seed(comparison):
    data = comparison.data
    names = [o["name"] for o in data["outcomes"] if any(one[o["name"]] for one in comparison.comparisons)]
    titles = {o["name"]: o["title"] for o in data["outcomes"]}
    decides = data["deciding_outcome"]
    body = strip(comparison, decides)
    for name in names:
        if name != decides:
            body += f"<details><summary>{esc(titles[name]).capitalize()}</summary>{strip(comparison, name)}</details>"
    for one in comparison.comparisons:
        if len(one["seeds"]) > 1:
            show = {n: shown(n, one[n]) for n in names}
            rows = [[s["seed"], *(text(convert(s[n])) for n, (convert, text) in show.items())] for s in one["seeds"]]
            title = f"{esc(one['candidate'])} − {esc(one['baseline'])}"
            head = ["seed", *(esc(titles[n]) for n in names)]
            body += f"<details><summary>{title}, in numbers</summary>{table(head, rows)}</details>"
    tested = any(one[decides]["low"] is not None for one in comparison.comparisons)
    about = (
        f"Training loss over the window, candidate minus {esc(data['baseline'])}, in nats per token: "
        + ("a dot for each seed" if all(one["paired"] for one in comparison.comparisons) else DOTS)
        + (
            ", the line is their mean, the bar its 95&nbsp;% interval."
            if tested
            else ". With fewer than three independent seeds there is no interval."
        )
    )
    return section("Difference, seed by seed", about, body)


def outcomes(comparison):
    data = comparison.data
    corrected = any(
        one["training"]["p"] is not None and one["training"]["candidates_corrected_for"] > 1
        for one in comparison.comparisons
    )
    head = [
        "",
        "seeds",
        "difference",
        "95&nbsp;% interval",
        "p",
        *(["p, Holm"] if corrected else []),
        "detectable",
        "seeds needed",
        "verdict",
    ]
    rows = []
    for one in comparison.comparisons:
        for outcome in data["outcomes"]:
            name, estimate = outcome["name"], one[outcome["name"]]
            if estimate is None:
                continue
            convert, text = shown(name, estimate)
            verdict = verdict_of(one, name)
            known = estimate["low"] is not None
            detectable = (
                estimate["percent"]["smallest_detectable"] if name == "tokens" else estimate["smallest_detectable"]
            )
            if name == "tokens":
                detectable = "–" if detectable is None else f"{detectable:.1f}&nbsp;%"
            else:
                detectable = plain(detectable, decimals(estimate))
            seeds_known = estimate["method"] != "none"
            rows.append(
                [
                    f"{esc(one['candidate'])}, {esc(outcome['title'])}",
                    "{} and {}".format(*estimate["sides"][:2]) if estimate["sides"] else estimate["values"],
                    text(convert(estimate["mean_difference"])),
                    f"{text(convert(estimate['low']))} … {text(convert(estimate['high']))}" if known else "–",
                    p_value(estimate["p"]),
                    *([p_value(estimate["p_corrected"])] if corrected else []),
                    detectable,
                    "–" if not seeds_known else estimate["seeds_needed"] or "&gt;10,000",
                    f'<span class="{WORDS[verdict]}">{esc(verdict)}</span>',
                ]
            )
    about = (
        f"Candidate minus {esc(data['baseline'])}. The training loss over the window decides; the others are further "
        "outcomes, each with its own test at 5&nbsp;%. Tokens: change, in per cent, of the tokens to the same "
        "training loss, averaged over losses that the runs of both sides reach."
    )
    if corrected:
        about += " p, Holm: corrected within each outcome for the number of candidates; the verdict follows it."
    return section("Outcomes", about, table(head, rows, "outcomes"))

"""The page of an evaluation: report.html without external requests."""

import math

from report_page import needle_attention, needle_attention_page, needle_tables
from report_page.axes import ticks_that_fit
from report_page.charts import Chart
from report_page.elements import (
    decimals,
    document,
    esc,
    is_independent,
    number_of_seeds,
    origin_of,
    p_value,
    plain,
    section,
    signed,
    table,
)
from report_page.evaluation import BETTER, TITLES, UNITS, as_number, counted, interval, is_tested
from report_page.outcomes import WORDS


class ContextAxis:
    """Contexts on a log scale: places are logarithms to base 2 of tokens."""

    name = "context"

    def __init__(self, evaluation):
        self.names = {math.log2(place): name for place, name in zip(evaluation.places, evaluation.names)}

    def ticks(self, low, high, width):
        """Powers of two, or the measured contexts if the range has fewer than two powers."""
        powers = range(math.ceil(low), math.floor(high) + 1)
        if len(powers) < 2:
            return [(place, name) for place, name in sorted(self.names.items()) if low <= place <= high]
        every = math.ceil(len(powers) / ticks_that_fit(f"{2 ** powers[-1]:,}", width))
        return [(float(power), f"{2**power:,}") for power in powers if power % every == 0]

    def described(self, places):
        """What plot.js needs to know about the axis."""
        return {"axis": {"name": self.name, "logarithmic": True}, "names": [self.names.get(x, "") for x in places]}


def places(evaluation):
    return [math.log2(place) for place in evaluation.places]


def chart(evaluation, panel, y_range, label, signed=False):
    made = Chart(
        tuple(math.log2(limit) for limit in evaluation.context_range()), y_range, label, signed, ContextAxis(evaluation)
    )
    made.mark(math.log2(evaluation.trained_length), "trained length")
    return made


def values_chart(evaluation, panel):
    made = chart(evaluation, panel, panel.value_range(), f"{panel.figure} by context, {panel.condition}")
    x = places(evaluation)
    for variant in panel.variants:
        name = variant["variant"]
        slot = evaluation.slot[name]
        seeds = panel.seeds_of(name)
        if len(seeds) > 1:
            for curve in seeds:
                made.raw(x, curve, slot, name)
        made.smooth(x, variant["means"], slot, name)
        made.dots(x, variant["means"], slot, name)
    return made.html()


def differences_chart(evaluation, panel):
    made = chart(
        evaluation, panel, panel.difference_range(), f"Difference of the {panel.figure}, {panel.condition}", signed=True
    )
    made.zero()
    x = places(evaluation)
    for one in panel.comparisons:
        name = f"{one['candidate']} − {one['baseline']}" + (" †" if one["candidate"] in panel.other_seeds() else "")
        slot = evaluation.slot[one["candidate"]]
        for place, point in zip(x, one["points"]):
            low, high, of_seeds = interval(point)
            if low is not None:
                made.interval(place, low, high, slot, name, faint=not of_seeds)
        means = [as_number(point["mean_difference"]) for point in one["points"]]
        made.smooth(x, means, slot, name)
        made.dots(x, means, slot, name)
    return made.html()


def missing_places(evaluation, panel, one):
    """Where values are not finite, as in "1 of 3 seeds at positions 8–31"; empty if all are finite."""
    parts = []
    for span, point in zip(evaluation.spans, one["points"]):
        if point["missing"]:
            of = counted(panel.number_of_seeds(one), "seed") if one["paired"] else ""
            number = f"{point['missing']} of {of}" if one["paired"] else counted(point["missing"], "run")
            parts.append(f"{number} at {evaluation.named([span])}")
    return ", ".join(parts)


def verdict_places(evaluation, panel, one):
    """Where the verdict is "lower" and where "higher", or why there is none."""
    parts = []
    for verdict in ("lower", "higher"):
        found = [span for span, point in zip(evaluation.spans, one["points"]) if point["verdict"] == verdict]
        if found:
            parts.append(f'<b class="{WORDS[verdict]}">{verdict}</b> at {evaluation.named(found)}')
    without = sum(point["verdict"] == "no verdict" for point in one["points"])
    if without:
        every = without == len(one["points"])
        parts.append("no verdict at any point" if every else f"no verdict at {without} of {len(one['points'])} points")
    text = "; ".join(parts)
    if missing := missing_places(evaluation, panel, one):
        text += f"; values not finite: {missing}"
    if panel.too_few_seeds(one) and is_independent(one):
        number = panel.number_of_seeds(one)
        seeds = counted(number, "seed") if one["paired"] else f"{counted(number, 'run')} of one side"
        text += f" ({seeds}: three or more are needed for a verdict)"
    return text


def differences_table(evaluation, panel, one):
    tested = not panel.too_few_seeds(one)
    head = ["", "seeds", "difference"]
    head += ["95&nbsp;% interval", "p", "p, Holm", "detectable"] if tested else ["std. error of the trials"]
    rows = []
    for name, point in zip(evaluation.names, one["points"]):
        digits = decimals(point)
        row = [name, number_of_seeds(point), signed(point["mean_difference"], digits)]
        if tested:
            known = point["low"] is not None
            row += [
                f"{signed(point['low'], digits)} … {signed(point['high'], digits)}" if known else "–",
                p_value(point["p"]),
                p_value(point["p_corrected"]),
                plain(point["smallest_detectable"], digits),
            ]
        else:
            row.append(plain(point["trials"]["standard_error"]))
        verdict = f'<span class="{WORDS[point["verdict"]]}">{esc(point["verdict"])}</span>'
        rows.append([*row, verdict + (f" ({point['missing']} not finite)" if point["missing"] else "")])
    return table([*head, "verdict"], rows)


def means_table(evaluation, panel):
    head = ["", *(esc(variant["variant"]) for variant in panel.variants)]
    rows = [
        [name, *(plain(variant["means"][i]) for variant in panel.variants)] for i, name in enumerate(evaluation.names)
    ]
    return table(head, rows)


def values_of(evaluation, panel):
    if not evaluation.is_needle:
        return values_chart(evaluation, panel) + means_table(evaluation, panel)
    found = needle_tables.means(evaluation, panel)
    return found + (needle_tables.intervals(evaluation, panel) if panel.figure == "share_right" else "")


def differences_of(evaluation, panel):
    if evaluation.is_needle:
        return needle_tables.differences(evaluation, panel)
    return differences_chart(evaluation, panel)


ERROR_OF_TRIALS = (
    "one standard error of the trials. It says how far other trials would move the difference of these models; other seeds "
    "move it further, so there is no verdict."
)


def panel_section(evaluation, panel):
    better = BETTER.get(panel.figure, "")
    unit = UNITS[panel.figure][0].upper() + UNITS[panel.figure][1:]
    if evaluation.is_needle:
        about = f"{unit}, by length (tokens) and depth; the mean over seeds. {better}"
    else:
        about = f"{unit}, by context. {better} Faint: each seed; bold: their mean."
    left_out = [f"{v['variant']} {', '.join(map(str, v['left_out']))}" for v in panel.variants if v["left_out"]]
    if left_out:
        about += f" Seeds that the other side lacks are not in the means: {esc('; '.join(left_out))}."
    differing = panel.other_seeds()
    if differing:
        over = "; ".join(f"{name} over {', '.join(map(str, seeds))}" for name, seeds in differing.items())
        base = panel.comparisons[0]["baseline"]
        about += (
            f" † Differences over the seeds that both sides have are not those of the means shown: {esc(over)}; "
            f"{esc(base)}’s mean is over {', '.join(map(str, panel.compared_seeds(base)))}."
        )
    body = values_of(evaluation, panel) + differences_body(evaluation, panel)
    return section(f"{TITLES[panel.figure]}, {esc(panel.condition)}", about, body)


def differences_body(evaluation, panel):
    """The chart and the tables of each candidate's differences; empty without candidates."""
    body = ""
    if panel.comparisons:
        tested = any(is_tested(point) for one in panel.comparisons for point in one["points"])
        few = all(panel.too_few_seeds(one) for one in panel.comparisons)
        bars = ""
        if tested:
            bars = "*: a verdict." if evaluation.is_needle else "Bars: 95&nbsp;% interval over seeds."
        elif few and not evaluation.is_needle:  # heat maps show no error
            bars = f"Bars: {ERROR_OF_TRIALS}"
        body += f"<h3>Difference to {esc(panel.comparisons[0]['baseline'])}</h3><p class=\"soft\">{bars}</p>"
        body += differences_of(evaluation, panel)
    for one in panel.comparisons:
        title = f"{esc(one['candidate'])} − {esc(one['baseline'])}"
        body += f"<h3>{title}</h3><p>{verdict_places(evaluation, panel, one)}.{origin_of(one)}</p>"
        if evaluation.is_needle and panel.too_few_seeds(one):
            body += f'<p class="soft">In the table: {ERROR_OF_TRIALS}</p>'
        body += differences_table(evaluation, panel, one)
    return body


def changes_of(model):
    changes = model["overrides"]
    parts = []
    if changes["rope_theta"] is not None:
        parts.append(f"RoPE theta {changes['rope_theta']:g}")
    if changes["yarn_factor"] is not None:
        parts.append(f"YaRN factor {changes['yarn_factor']:g}")
    if changes["row_scale"] is not None:
        parts.append(f"row scale {changes['row_scale']:g}")
    if changes["attention"] is not None:
        parts.append(f"swapped to {esc(changes['attention'])}, untrained")
    if fit := model["pn_fit"]:
        parts.append(
            f"p_n beyond {fit['entries']:,} entries: {fit['a1']:.4g} log n {fit['a2']:+.4g}, "
            f"residuals {fit['rms_residual']:.2g} (root mean square), {fit['max_residual']:.2g} at most"
        )
    return "; ".join(parts) or "nothing"


def models(evaluation):
    rows = [
        [
            esc(model["variant"]),
            model["seed"],
            "–" if model["step"] is None else f"{model['step']:,}",
            esc(model["attention"]),
            f"{model['rope_theta']:g}",
            changes_of(model),
            f"<code>{esc(model['checkpoint'])}</code>",
        ]
        for model in evaluation.data["models"]
    ]
    head = ["variant", "seed", "step", "attention", "RoPE theta", "changed on reading", "checkpoint"]
    return section("Models", "", f"<details><summary>All {len(rows)}</summary>{table(head, rows, 'text')}</details>")


METHOD = """<ul>
<li>Every model reads the same {trials}; differences are taken seed by seed between runs that share their seed.</li>
<li>A verdict needs three seeds or more: a paired t test at 5&nbsp;% (Welch's test where no seed is shared).
All points of all candidates in one table are tested together, so their p values are corrected together (Holm).
An interval is for its own point alone.</li>
<li>A value that is not finite takes the verdict of its point away.</li>
</ul>"""


def header(evaluation):
    badges = ""
    for panel in evaluation.panels:
        for one in panel.comparisons:
            verdicts = sorted({p["verdict"] for p in one["points"]} - {"no verdict"}) or ["no verdict"]
            marks = "".join(f'<span class="badge {WORDS[v]}">{v}</span> ' for v in verdicts)
            badges += (
                f'{marks}<p class="lead">{TITLES[panel.figure]}, {esc(panel.condition)}: '
                f"{esc(one['candidate'])} against {esc(one['baseline'])}: {verdict_places(evaluation, panel, one)}.</p>"
            )
    count = len({model["checkpoint"] for model in evaluation.data["models"]})
    return (
        f'<header><p class="eyebrow">ssgpt · {"attention" if evaluation.is_attention else "evaluation"} of {count} model{"" if count == 1 else "s"}</p>'
        f"<h1>{esc(evaluation.title())}</h1><p>{esc(evaluation.source())}</p>{badges}</header>"
    )


def build_page(evaluation, sections=None):
    """The page, with `sections` if given, else with those of the panels."""
    if sections is None:
        sections = [panel_section(evaluation, panel) for panel in evaluation.panels]
    notes = "".join(
        f'<p class="note{" warning" if note["warning"] else ""}">{esc(note["text"])}</p>'
        for note in evaluation.data["notes"]
    )
    trials = "windows of text" if evaluation.has_bins else "trials"
    body = [
        header(evaluation),
        *sections,
        *(needle_attention_page.attention_sections(evaluation) if needle_attention.is_there(evaluation) else []),
        section("Notes", "", notes) if notes else "",
        models(evaluation),
        section("Method", "", METHOD.format(trials=trials)) if evaluation.data["comparisons"] else "",
    ]
    return document(f"{esc(evaluation.title())} · ssgpt", "".join(body))

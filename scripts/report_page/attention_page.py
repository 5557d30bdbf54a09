"""The page of an evaluation of attention: report.html without external requests."""

import math

from report_page import evaluation_page
from report_page.attention import TITLES, UNITS, attention_panels
from report_page.charts import Chart
from report_page.elements import esc, plain, section, table
from report_page.evaluation_page import ContextAxis, differences_body, places

ABOUT = {
    "entropy": "− Σ a log a over the n keys that a query attends to, in nats; log n where all have the same weight.",
    "largest_weight": "The largest weight of a query. If attention fades, it falls as the context grows.",
    "first_token_weight": "The weight that a query gives to the first token that it sees.",
    "effective_row_scale": "The factor on the scores q·k / √H of a query: s log n for SSMax, 1 for Softmax.",
}
EVENLY = "spread evenly"


def panel_chart(evaluation, panel):
    made = Chart(
        tuple(math.log2(limit) for limit in evaluation.context_range()),
        panel.value_range(),
        f"{UNITS[panel.figure]} by context, {panel.condition}",
        axis=ContextAxis(evaluation),
    )
    made.mark(math.log2(evaluation.trained_length), "trained length")
    x = places(evaluation)
    for name, curve in panel.means().items():
        for layer in panel.layers[name]:
            made.raw(x, layer, evaluation.slot[name], name)
        made.smooth(x, curve, evaluation.slot[name], name)
        made.dots(x, curve, evaluation.slot[name], name)
    if panel.evenly:
        slot = max(evaluation.slot.values()) + 1
        made.smooth(x, panel.evenly, slot, EVENLY)
    return made.html()


def panel_table(evaluation, panel):
    head = ["", *(esc(name) for name in evaluation.names)]
    rows = [[EVENLY, *(plain(v) for v in panel.evenly)]] if panel.evenly else []
    for name, layers in panel.layers.items():
        for i, curve in enumerate(layers):
            rows.append([f"{esc(name)}, layer {i}", *(plain(v) for v in curve)])
    return table(head, rows)


def judged(evaluation, panel):
    """The panel of the same figure over all layers and heads, as it is judged; None for the row scale."""
    found = [p for p in evaluation.panels if (p.number, p.figure) == (panel.number, panel.figure)]
    return found[0] if found else None


def panel_section(evaluation, panel):
    about = f"{ABOUT[panel.figure]} Faint: each layer, over its heads and seeds; bold: the mean over layers."
    body = panel_chart(evaluation, panel) + panel_table(evaluation, panel)
    whole = judged(evaluation, panel)
    if whole and whole.comparisons:
        about += " Differences are those of the mean over all layers and heads."
        body += differences_body(evaluation, whole)
    return section(f"{TITLES[panel.figure]}, {esc(panel.condition)}", about, body)


def build_page(evaluation):
    sections = [panel_section(evaluation, panel) for panel in attention_panels(evaluation)]
    return evaluation_page.build_page(evaluation, sections)

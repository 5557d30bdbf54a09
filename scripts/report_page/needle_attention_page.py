"""The sections of a page on the attention to needles."""

import math

from report_page.axes import count_axis
from report_page.charts import Chart
from report_page.elements import esc, plain, section, table
from report_page.needle_attention import PointSummary, attention_at_lengths, models_of, variants_of
from report_page.needle_formats import TRIAL_OUTCOMES
from report_page.styles import OUTCOME_SLOTS
from report_page.thinning import thin

MOST_MARKS = 600  # per chart
ABOUT = (
    "For the prompt’s last token, which predicts the answer’s first: a head’s total attention weight on the needle’s "
    "tokens. Heads are layer.head, both from 0. All of this is shown, not judged: there is no verdict on it."
)

FAINT = "By the rank of the head. Faint: each seed; bold: their mean, which belongs to a rank, not to a head."
OF_TRIALS = "A mark per trial: the largest weight of any head, by size, and how the trial was answered. Each seed has its own line."


def heads_chart(drawn):
    made = Chart(
        (0.5, drawn.most_heads() + 0.5),
        (0.0, 1.05 * drawn.largest_mean()),
        f"Mean weight on the needle by rank of the head, {drawn.length} tokens, {drawn.condition}",
        axis=count_axis("rank"),
    )
    ranks = list(range(1, drawn.most_heads() + 1))
    for variant in drawn.variants:
        if len(variant.seeds) > 1:
            for heads in variant.heads:
                made.raw(ranks, [value for _, value in heads], variant.slot, variant.variant)
        means = padded_to(variant.means(), len(ranks))
        made.smooth(ranks, means, variant.slot, variant.variant)
        made.dots(ranks, means, variant.slot, variant.variant)
    return made.html()


def padded_to(values, length):
    return values + [math.nan] * (length - len(values))


def heads_table(drawn):
    """A table of each model's heads, by rank."""
    columns = [
        (f"{esc(variant.variant)}, seed {seed}", heads)
        for variant in drawn.variants
        for seed, heads in zip(variant.seeds, variant.heads)
    ]
    rows = [
        [rank + 1, *(f"{heads[rank][0]}: {plain(heads[rank][1])}" if rank < len(heads) else "" for _, heads in columns)]
        for rank in range(drawn.most_heads())
    ]
    found = table(["rank", *(name for name, _ in columns)], rows)
    return f"<details><summary>Each model: its heads</summary>{found}</details>"


def most_marks(variant):
    """The number of marks for the trials of one model."""
    return max(2, MOST_MARKS // len(variant.seeds))


def trials_chart(drawn, variant):
    made = Chart(
        (0.0, drawn.most_trials() + 1.0),
        (0.0, 1.05 * drawn.largest_weight()),
        f"Largest weight of each trial, {variant.variant}, {drawn.length} tokens, {drawn.condition}",
        axis=count_axis("trial"),
    )
    places = list(range(1, drawn.most_trials() + 1))
    for seed, trials in zip(variant.seeds, variant.trials):
        shown = set(thin(trials, most_marks(variant)))
        made.raw(places, [weight for weight, _ in trials], variant.slot, f"seed {seed}")
        for outcome in TRIAL_OUTCOMES:
            weights = [w if i in shown and found == outcome else math.nan for i, (w, found) in enumerate(trials)]
            name = outcome if len(variant.seeds) == 1 else f"seed {seed}, {outcome}"
            weights = padded_to(weights, len(places))
            made.dots(places, weights, OUTCOME_SLOTS[outcome], outcome)
            made.read_out(places, weights, OUTCOME_SLOTS[outcome], name, hidden_by=outcome)
    for outcome in TRIAL_OUTCOMES:
        made.name(outcome, OUTCOME_SLOTS[outcome], is_line=False)
    return made.html()


def trials_of(drawn, variant):
    counts = ", ".join(f"{count} {outcome}" for outcome, count in variant.counts().items())
    most = most_marks(variant)
    few = f" {most} trials of each model are marked." if max(map(len, variant.trials)) > most else ""
    return f'<h3>{esc(variant.variant)}</h3><p class="soft">{counts}.{few}</p>{trials_chart(drawn, variant)}'


def summaries(evaluation, number):
    rows = []
    for point, name in enumerate(evaluation.names):
        for variant in variants_of(evaluation, number):
            summary = PointSummary(models_of(evaluation, number, variant), point)
            cells = [f"{plain(weight)} ({count})" if count else "–" for count, weight in summary.outcomes.values()]
            rows.append([name, esc(variant), ", ".join(summary.heads), plain(summary.mean), *cells])
    about = (
        '<p class="soft">Top head: for each seed, the head with the largest mean over trials; its weight: that mean, over seeds. '
        "Right, first digit, wrong: the mean of the largest weight of any head over these trials of all seeds; in brackets "
        "their number.</p>"
    )
    head = ["", "variant", "top head", "its weight", *TRIAL_OUTCOMES]
    return f"<h3>All lengths and depths</h3>{about}{table(head, rows)}"


def attention_sections(evaluation):
    sections = []
    for number, lengths in attention_at_lengths(evaluation).items():
        body = ""
        for drawn in lengths:
            body += f"<h3>Heads by mean weight, {drawn.length:,} tokens, depth {drawn.depth}&nbsp;%</h3>"
            body += f'<p class="soft">{FAINT}</p>{heads_chart(drawn)}{heads_table(drawn)}'
            body += f"<h3>Trials by largest weight, {drawn.length:,} tokens, all depths</h3>"
            body += f'<p class="soft">{OF_TRIALS}</p>'
            body += "".join(trials_of(drawn, variant) for variant in drawn.variants)
        body += summaries(evaluation, number)
        condition = evaluation.data["conditions"][number]["title"]
        sections.append(section(f"Attention on the needle, {esc(condition)}", ABOUT, body))
    return sections

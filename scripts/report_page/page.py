"""The report as one HTML page without external requests."""

import math

from report_page.background import method, notes, provenance, settings
from report_page.charts import Chart
from report_page.elements import (
    count,
    decimals,
    document,
    esc,
    is_independent,
    number_of_seeds,
    origin_of,
    p_value,
    padded,
    plain,
    section,
    signed,
    table,
)
from report_page.outcomes import WORDS, by_seed, outcomes, percent, verdict_of


def basis(estimate):
    corrected = estimate["candidates_corrected_for"] > 1
    return (
        f"p {p_value(estimate['p'])}"
        + (
            f", corrected for {estimate['candidates_corrected_for']} candidates {p_value(estimate['p_corrected'])}"
            if corrected
            else ""
        )
        + f", from {number_of_seeds(estimate)}, {estimate['method'].split(', ')[1]}"
    )


def too_few(one, estimate):
    if not is_independent(one):
        return f"{number_of_seeds(estimate)}, which are not independent"
    return f"{number_of_seeds(estimate)}: three are needed for a verdict"


def headline(comparison, one):
    """The verdict of a comparison in a sentence, and the figures that it rests on."""
    candidate, baseline, training = esc(one["candidate"]), esc(one["baseline"]), one["training"]
    if one["failed"]:
        title = f"No verdict: {esc(one['failed'].split(' (')[0])}"
    elif one["verdict"] == "no verdict":
        title = f"No verdict between {candidate} and {baseline}"
    else:
        title = f"{candidate} has a {one['verdict']} training loss than {baseline}"
    window = comparison.data["window"]
    digits = decimals(training)
    lead = (
        f"{candidate} minus {baseline}: <b>{signed(training['mean_difference'], digits)}</b> nats per token on average over steps "
        f"{window['first_step']:,} to {window['last_step']:,}"
    )
    if one["failed"]:
        if training["mean_difference"] is None:
            return title, f"{esc(one['failed'])}. No pair of runs came to the end of the comparison with finite losses."
        return title, f"{esc(one['failed'])}. Of the runs and losses that are left, which hides the failure, {lead}."
    if training["mean_difference"] is None:
        return title, f"There are no losses of {candidate} and {baseline} that could be compared over these steps."
    if not is_independent(one):
        return title, f"{lead}, from {too_few(one, training)}.{origin_of(one)}"
    if training["low"] is None:
        return title, f"{lead}, from {too_few(one, training)}.{untested(training)}"
    low, high = signed(training["low"], digits), signed(training["high"], digits)
    lead += f", 95&nbsp;% interval <b>{low}</b> to <b>{high}</b>, {basis(training)}."
    if one["verdict"] == training["verdict"] == "no verdict":
        excluded = training["low"] > 0 or training["high"] < 0
        lead += (
            " The interval by itself excludes zero; corrected for the number of candidates, chance could give that."
            if excluded
            else " Chance alone could give that."
        )
    elif one["verdict"] == "no verdict":
        lead += f" By itself that would be “{esc(training['verdict'])}”, but the validation loss says the opposite."
    return title, lead + whole_curve(one) + origin_of(one)


def whole_curve(one):
    """The lead's sentence on the whole curve, beside the window."""
    estimate = one["whole_curve"]
    digits = decimals(estimate)
    return (
        f" Over the whole curve: <b>{signed(estimate['mean_difference'], digits)}</b>, 95&nbsp;% interval "
        f"{signed(estimate['low'], digits)} to {signed(estimate['high'], digits)}, {esc(estimate['verdict'])}."
        if estimate["low"] is not None
        else ""
    )


def untested(estimate):
    """What a difference without a test still shows."""
    noise = estimate["curve_noise"]
    text = ""
    if noise["standard_error"] is not None:
        text = (
            f" The noise along its curve is {plain(noise['standard_error'])} (standard error of {noise['batches']} batch "
            "means); it does not include the scatter between seeds, which is often several times as large."
        )
    if estimate["method"] != "none":
        text += (
            f" As a rough guess from two seeds, {estimate['seeds_needed'] or 'more than 10,000'} would show a difference of this size in 4 of 5 "
            "repetitions."
        )
    return text


def header(comparison):
    data = comparison.data
    first = comparison.comparisons[0]
    parts = [
        f'<p class="eyebrow">ssgpt · {"paired " if first["paired"] else ""}comparison of {len(data["runs"])} runs · {count(data["shared"]["tokens"])} tokens each</p>'
    ]
    for i, one in enumerate(comparison.comparisons):
        title, lead = headline(comparison, one)
        css = WORDS[one["verdict"]]
        tag = "h1" if one is first else "h2"
        parts.append(
            f'<span class="badge {css}">{esc(one["verdict"])}</span><{tag}>{title}</{tag}><p class="lead">{lead}</p>'
        )
    return f"<header>{''.join(parts)}</header>"


def key(name, value, under, css=""):
    return f'<div class="key"><div class="name">{name}</div><div class="value {css}">{value}</div><div class="under">{under}</div></div>'


def estimate_key(name, one, outcome, more=""):
    estimate = one[outcome]
    if estimate is None:
        return key(name, "not measured", "no shared validation in the window", "word")
    verdict = verdict_of(one, outcome)
    relative = estimate.get("percent")  # for an outcome that is reported as a change
    show = percent if relative else lambda value: signed(value, decimals(estimate))
    figures = ("mean", "low", "high") if relative else ("mean_difference", "low", "high")
    mean, low, high = ((relative or estimate)[k] for k in figures)
    interval = f"95&nbsp;%: {show(low)} … {show(high)}" if low is not None else too_few(one, estimate)
    return key(name, f'<span class="{WORDS[verdict]}">{show(mean)}</span>', f"{interval}<br>{esc(verdict)}{more}")


def tokens_key(comparison, one):
    variants = {v["label"]: v for v in comparison.variants}
    own = variants[one["candidate"]]["tokens_to_baseline_final_loss"]
    base = variants[one["baseline"]]["tokens_to_baseline_final_loss"]
    losses = one["token_losses"]
    name = f"Tokens to the same loss, {plain(losses['highest'], 3)} down to {plain(losses['lowest'], 3)}"
    if one["failed"]:
        return key("Tokens needed", "not compared", "a run failed", "word")
    loss = plain(comparison.data["target_loss"], 3)
    target = f"To {esc(one['baseline'])}’s final smoothed loss, {loss}, by the mean curves"
    if own is None or base is None:
        more = f"<br>{target}: not reached"
    else:
        more = f"<br>{target}: {count(own)} against {count(base)}"
    return estimate_key(name, one, "tokens", more)


def power_key(one):
    training = one["training"]
    if one["failed"]:
        return key("Smallest difference it could show", "–", "a run failed", "word")
    if training["smallest_detectable"] is not None:
        needed = training["seeds_needed"]
        equal = training["mean_difference"] == 0 and training["seed_scatter"] == 0
        return key(
            "Smallest difference it could show",
            plain(training["smallest_detectable"]),
            "nats per token, found in 4 of 5 repetitions<br>"
            + ("" if equal else f"One as large as observed: {needed or 'more than 10,000'} seeds"),
        )
    if not is_independent(one):
        return key("Smallest difference it could show", "–", "the runs are not independent", "word")
    if training["method"] != "none":
        needed = f"about {training['seeds_needed']}" if training["seeds_needed"] else "more than 10,000"
        return key("Seeds needed", needed, "a rough guess from two seeds", "word")
    scatter = training["scatter_for_seeds"]
    under = "for a difference of this size"
    if scatter is not None and training["mean_difference"]:
        under += ", if differences between seeds scatter by up to:<br>" + "<br>".join(
            f"{esc(seeds)} seeds: {plain(value)}" for seeds, value in scatter.items()
        )
    return key("Seeds needed", "3 or more", under, "word")


def keys(comparison, one):
    title = f"<h3>{esc(one['candidate'])}</h3>" if len(comparison.comparisons) > 1 else ""
    return (
        f'{title}<div class="keys">{estimate_key("Training loss, difference", one, "training")}'
        f"{estimate_key('Validation loss, difference', one, 'validation')}"
        f"{estimate_key('Training loss over the whole curve, difference', one, 'whole_curve')}"
        f"{tokens_key(comparison, one)}{power_key(one)}</div>"
    )


def curves(comparison):
    x_range = comparison.step_range()
    chart = Chart(x_range, comparison.loss_range(), "Training loss by step")
    for variant in comparison.variants:
        label = variant["label"]
        color = comparison.color[label]
        for run in variant["runs"]:
            chart.raw(comparison.steps, comparison.curves[f"loss/{run}"], color, label)
        chart.smooth(comparison.steps, comparison.curves[f"smoothed/{label}"], color, label)
    about = (
        f"Nats per token by step. Faint: each logged line; bold: smoothed over about {comparison.data['smoothing_steps']:.0f} steps. "
        "The steep beginning is above the axis."
    )
    return section("Training loss", about, chart.html() + window_chart(comparison))


def window_chart(comparison):
    steps, smoothed = comparison.window_curves()
    values = [v for series in smoothed.values() for v in series if not math.isnan(v)]
    if len(steps) < 2 or not values:
        return ""
    limits = padded(min(values), max(values))
    chart = Chart((steps[0], steps[-1]), limits, "Smoothed training loss within the window")
    for label, series in smoothed.items():
        chart.smooth(steps, series, comparison.color[label], label)
    chart.legend = []  # the chart above it has one
    return f"<h3>The window enlarged, smoothed</h3>{chart.html()}"


def difference_panel(comparison):
    data = comparison.data
    window = data["window"]
    x_range = comparison.step_range()
    chart = Chart(x_range, comparison.difference_range(), "Difference of the training losses by step", signed=True)
    chart.window(window["first_step"], window["last_step"])
    chart.zero()
    for one in comparison.comparisons:
        label = one["candidate"]
        color = comparison.color[label]
        name = f"{label} − {one['baseline']}"
        if len(comparison.comparisons) == 1:
            chart.raw(comparison.steps, comparison.curves[f"difference/{label}"], color, name)
        chart.smooth(comparison.steps, comparison.curves[f"smoothed_difference/{label}"], color, name)
        chart.estimate(window["first_step"], window["last_step"], one["training"], color, name)
    tested = any(one["training"]["low"] is not None for one in comparison.comparisons)
    about = (
        f"Below zero, {esc(data['baseline'])} has the higher loss at that step. Shaded: the window, steps {window['first_step']:,} to {window['last_step']:,}, "
        "with its mean (dashed)" + (" and 95&nbsp;% interval over seeds." if tested else ".")
    )
    return section("Difference, step by step", about, chart.html())


def validation_panel(comparison):
    if not comparison.validation:
        return ""
    steps = comparison.validation_steps
    means = {v["label"]: comparison.validation_mean(v) for v in comparison.variants}
    values = sorted(v for series in means.values() for v in series if not math.isnan(v))
    if not values:
        return section("Validation loss", "", "<p>No validation loss that the runs share is finite.</p>")
    top = max((m[len(m) // 8] for m in means.values() if not math.isnan(m[len(m) // 8])), default=values[-1])
    chart = Chart(comparison.step_range(), padded(values[0], max(values[0], top)), "Validation loss by step")
    for label, series in means.items():
        chart.smooth(steps, series, comparison.color[label], label)
        chart.dots(steps, series, comparison.color[label], label)
    head = [
        "step",
        *(esc(label) for label in means),
        *(f"{esc(one['candidate'])} − {esc(one['baseline'])}" for one in comparison.comparisons),
    ]
    rows = []
    for i, step in enumerate(steps):
        rows.append(
            [
                f"{step:,.0f}",
                *(plain(m[i]) for m in means.values()),
                *(signed(one["validation_difference"][i]) for one in comparison.comparisons),
            ]
        )
    shown = [rows[round((k + 1) * len(rows) / min(6, len(rows))) - 1] for k in range(min(6, len(rows)))]
    body = chart.html() + table(head, shown)
    if len(shown) < len(rows):
        body += f"<details><summary>All {len(rows)} validations</summary>{table(head, rows)}</details>"
    return section("Validation loss", "The same held-out windows each time, for every run.", body)


def along_the_curve(comparison):
    first = comparison.comparisons[0]
    head = ["steps", esc(first["baseline"])]
    for one in comparison.comparisons:
        head += [esc(one["candidate"]), "difference"]
    rows = []
    for i, segment in enumerate(first["segments"]):
        row = [f"{segment['first_step']:,}–{segment['last_step']:,}", plain(segment["baseline"])]
        for one in comparison.comparisons:
            row += [plain(one["segments"][i]["candidate"]), signed(one["segments"][i]["difference"])]
        rows.append(row)
    body = table(head, rows)
    return section("Along the curve", "Mean training loss over each tenth of the steps.", body)


def build_page(comparison):
    title = f"{headline(comparison, comparison.comparisons[0])[0]} · ssgpt"
    body = [
        header(comparison),
        *(keys(comparison, one) for one in comparison.comparisons),
        by_seed(comparison),
        outcomes(comparison),
        curves(comparison),
        difference_panel(comparison),
        validation_panel(comparison),
        along_the_curve(comparison),
        notes(comparison),
        settings(comparison),
        method(comparison),
        provenance(comparison),
    ]
    return document(title, "".join(body))

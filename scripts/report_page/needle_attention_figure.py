"""needle_attention.png: for each variant the heads that attend most to the needle, and below them its trials by the
largest weight of any head (figures 7 and 8 of the paper)."""

import textwrap

from report_page.elements import shortened
from report_page.files import add_legend
from report_page.needle_attention import MOST_SEEDS_NAMED, attention_at_lengths
from report_page.needle_formats import TRIAL_OUTCOMES
from report_page.styles import OUTCOME_SLOTS, color, marker

ACROSS = 4  # variants side by side
WIDTH = 2.9  # inches per variant
ROW = 0.125  # inches per head
TRIALS_HEIGHT = 2.3
TITLES = 0.85  # inches of a band for titles and axis
SOFT = "#606870"
LEGEND = {"right": "answered right", "first digit": "first digit right", "wrong": "wrong"}


def bands(evaluation):
    """[(what is drawn at a length, whether it is the trials, variants side by side)], from the top."""
    found = []
    for drawn in (one for lengths in attention_at_lengths(evaluation).values() for one in lengths):
        for is_trials in (False, True):
            for i in range(0, len(drawn.variants), ACROSS):
                found.append((drawn, is_trials, drawn.variants[i : i + ACROSS]))
    return found


def band_height(drawn, is_trials):
    return TITLES + (TRIALS_HEIGHT if is_trials else max(1.0, ROW * drawn.most_heads()))


def size(evaluation):
    """Width and height in inches of what draw() draws."""
    drawn = bands(evaluation)
    across = max(len(variants) for _, _, variants in drawn)
    return max(5.8, WIDTH * across + 0.4), sum(band_height(one, is_trials) for one, is_trials, _ in drawn) + 0.7


def draw_heads(axes, drawn, variant, colors):
    shade = colors[color(variant.slot)]
    ranks = range(1, len(variant.heads[0]) + 1)
    means = variant.means()
    axes.hlines(ranks, 0, means, color=shade, linewidth=1, alpha=0.35)
    if len(variant.seeds) > 1:
        for heads in variant.heads:
            axes.plot([value for _, value in heads], ranks, ".", color=shade, markersize=3, alpha=0.6)
    axes.plot(means, ranks, marker(variant.slot), color=shade, markersize=4)
    axes.set_yticks(ranks, variant.labels(), fontsize=6)
    axes.set_ylim(drawn.most_heads() + 0.6, 0.4)
    axes.set_xlim(0, 1.05 * drawn.largest_mean())
    if len(variant.seeds) > MOST_SEEDS_NAMED:
        axes.set_ylabel(f"rank of the heads of {len(variant.seeds)} seeds", fontsize=7)
    elif len(variant.seeds) > 1:
        axes.set_ylabel(f"heads of seeds\n{', '.join(map(str, variant.seeds))}", fontsize=7)
    axes.grid(axis="y", visible=False)


def draw_trials(axes, drawn, variant, colors):
    for trials in variant.trials:
        places = range(1, len(trials) + 1)
        axes.plot(places, [weight for weight, _ in trials], color=SOFT, linewidth=0.6, alpha=0.6)
        for outcome in TRIAL_OUTCOMES:
            marked = [(place, weight) for place, (weight, found) in zip(places, trials) if found == outcome]
            axes.plot(*zip(*marked) if marked else ([], []), **outcome_style(outcome, colors))
    axes.set_xlim(0, drawn.most_trials() + 1)
    axes.set_ylim(0, 1.06 * drawn.largest_weight())


def outcome_style(outcome, colors):
    """A filled marker is a right answer, a hollow one is not."""
    slot = OUTCOME_SLOTS[outcome]
    shade = colors[color(slot)]
    face = shade if outcome == "right" else "white"
    return {"color": shade, "marker": marker(slot), "markerfacecolor": face, "markersize": 4, "linestyle": "none"}


def title(variant, is_trials):
    name = shortened(variant.shown, 30)
    if not is_trials:
        return name
    return f"{name}\n{' · '.join(f'{count} {outcome}' for outcome, count in variant.counts().items())}"


def heading(drawn, is_trials, width):
    """The heading of a band of the given width in inches."""
    what = "Trials by largest weight, all depths" if is_trials else f"Heads by mean weight, depth {drawn.depth} %"
    return textwrap.fill(f"{what}: {drawn.length:,} tokens, {drawn.condition}", int(13 * width))


def explanation(evaluation):
    several = len({model["seed"] for model in evaluation.data["models"]}) > 1
    seeds = " Small dots and lines: single seeds." if several else ""
    return f"Heads are layer.head, from 0.{seeds} Shown, not judged: there is no verdict on it."


def draw(evaluation, figure, colors):
    """Draws into `figure`, or a part of one."""
    from matplotlib.lines import Line2D

    drawn = bands(evaluation)
    heights = [band_height(one, is_trials) for one, is_trials, _ in drawn]
    parts = figure.subfigures(len(drawn), 1, squeeze=False, height_ratios=heights)[:, 0]
    across = max(len(variants) for _, _, variants in drawn)
    for part, (one, is_trials, variants) in zip(parts, drawn):
        text = heading(one, is_trials, size(evaluation)[0])
        part.suptitle(text, x=0.01, ha="left", fontsize=9, fontweight="bold")
        grid = part.subplots(1, across, squeeze=False)[0]
        for axes, variant in zip(grid, variants):
            (draw_trials if is_trials else draw_heads)(axes, one, variant, colors)
            axes.set_title(title(variant, is_trials), fontsize=8, fontweight="normal", loc="left")
            axes.set_xlabel("trials, by weight" if is_trials else "weight on the needle", fontsize=8)
            axes.tick_params(axis="both" if is_trials else "x", labelsize=7.5)
        if is_trials:
            grid[0].set_ylabel("weight on the needle", fontsize=8)
        for axes in grid[len(variants) :]:
            axes.set_visible(False)
    entries = [(Line2D([], [], **outcome_style(outcome, colors)), LEGEND[outcome]) for outcome in TRIAL_OUTCOMES]
    legend = add_legend(
        figure,
        entries,
        loc="outside lower center",
        ncols=len(entries),
        frameon=False,
        fontsize=8.5,
        title=explanation(evaluation),
    )
    legend.get_title().set(fontsize=8)

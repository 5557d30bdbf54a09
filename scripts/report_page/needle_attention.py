"""The attention on needles in evaluation.json (figures 7 and 8 of the paper), laid out for drawing. Heads are named
layer.head, both from 0."""

import math

from report_page.evaluation import as_number
from report_page.needle_formats import TRIAL_OUTCOMES

MIDDLE = 50  # per cent: the depth of the paper's figure 7
MOST_SEEDS_NAMED = 4  # up to this many seeds, a label lists each one's head


def is_there(evaluation):
    return evaluation.is_needle and "attention" in evaluation.values(evaluation.data["models"][0])[0]


def drawn_lengths(evaluation):
    """The longest length; with a single condition also, before it, the longest within the trained length, if there is
    one."""
    single = len(evaluation.data["conditions"]) == 1
    within = [length for length in evaluation.lengths if single and length <= evaluation.trained_length]
    return list(dict.fromkeys([*within[-1:], evaluation.lengths[-1]]))


def middle_depth(evaluation):
    return min(evaluation.depths, key=lambda depth: abs(depth - MIDDLE))


def head_name(one):
    return f"{one['layer']}.{one['head']}"


def is_known(trial):
    """Whether the trial's weight and outcome are known: a trial that is not finite has neither."""
    return trial["weight"] is not None and trial["outcome"] is not None


def mean(values):
    return sum(values) / len(values) if values else math.nan


def models_of(evaluation, number, variant):
    """The models of a variant under a condition, one per seed."""
    return [m for m in evaluation.data["models"] if (m["condition"], m["variant"]) == (number, variant)]


def variants_of(evaluation, number):
    return list(dict.fromkeys(m["variant"] for m in evaluation.data["models"] if m["condition"] == number))


class VariantAttention:
    """A variant under one condition at one length: for each seed its heads at the middle depth, by rank, and its trials
    at all depths, each a (weight, outcome), by weight."""

    def __init__(self, evaluation, number, length, variant):
        self.variant, self.shown, self.slot = variant, evaluation.shown[variant], evaluation.slot[variant]
        models = models_of(evaluation, number, variant)
        self.seeds = [model["seed"] for model in models]
        self.heads, self.trials = [], []
        for model in models:
            results = [result for result in model["results"] if result["length"] == length]
            middle = next(result for result in results if result["depth"] == middle_depth(evaluation))
            self.heads.append([(head_name(one), as_number(one["mean"])) for one in middle["attention"]["heads"]])
            trials = [one for result in results for one in result["attention"]["trials"] if is_known(one)]
            self.trials.append(sorted(((one["weight"], one["outcome"]) for one in trials), key=lambda trial: -trial[0]))

    def means(self):
        """The mean over seeds for each rank."""
        return [mean([value for _, value in ranked]) for ranked in zip(*self.heads)]

    def labels(self):
        """For each rank the heads of the seeds, or the rank if there are too many seeds."""
        if len(self.seeds) > MOST_SEEDS_NAMED:
            return [str(rank + 1) for rank in range(len(self.heads[0]))]
        return ["  ".join(name for name, _ in ranked) for ranked in zip(*self.heads)]

    def counts(self):
        """{outcome: number of trials, over all seeds}"""
        outcomes = [outcome for trials in self.trials for _, outcome in trials]
        return {outcome: outcomes.count(outcome) for outcome in TRIAL_OUTCOMES}


class AttentionAtLength:
    """All variants under one condition at one length."""

    def __init__(self, evaluation, number, length):
        self.condition, self.length = evaluation.data["conditions"][number]["title"], length
        self.depth = middle_depth(evaluation)
        variants = variants_of(evaluation, number)
        self.variants = [VariantAttention(evaluation, number, length, variant) for variant in variants]

    def most_heads(self):
        return max(len(heads) for variant in self.variants for heads in variant.heads)

    def most_trials(self):
        """At least one, so that there is an axis."""
        return max(1, *(len(trials) for variant in self.variants for trials in variant.trials))

    def largest_mean(self):
        return largest([value for variant in self.variants for heads in variant.heads for _, value in heads])

    def largest_weight(self):
        return largest([weight for variant in self.variants for trials in variant.trials for weight, _ in trials])


def largest(weights):
    """The largest of the known weights; more than 0, so that an axis may end there."""
    return max((weight for weight in weights if not math.isnan(weight)), default=0.0) or 1.0


def attention_at_lengths(evaluation):
    """{number of a condition: what is drawn for it, by length}"""
    lengths = drawn_lengths(evaluation)
    numbers = [n for n in range(len(evaluation.data["conditions"])) if variants_of(evaluation, n)]
    return {number: [AttentionAtLength(evaluation, number, length) for length in lengths] for number in numbers}


class PointSummary:
    """A variant at one length and depth: the top head of each seed and the mean of their weights, and for each outcome
    the number of trials and the mean of their largest weights, over all seeds."""

    def __init__(self, models, point):
        found = [model["results"][point]["attention"] for model in models]
        tops = [one["heads"][0] for one in found]
        self.heads = [head_name(top) for top in tops]
        self.mean = mean([as_number(top["mean"]) for top in tops])
        trials = [trial for one in found for trial in one["trials"]]
        self.outcomes = {}
        for outcome in TRIAL_OUTCOMES:
            weights = [as_number(trial["weight"]) for trial in trials if trial["outcome"] == outcome]
            self.outcomes[outcome] = (len(weights), mean(weights))

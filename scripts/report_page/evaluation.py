"""evaluation.json, as `ssgpt evaluate position|retrieval|needle|attention --out DIR` writes it, laid out for
drawing."""

import math

from report_page import evaluation_formats
from report_page.elements import is_independent, listed, padded, without_shared_origin
from report_page.styles import slots

TITLES = {"loss": "Loss", "accuracy": "Accuracy", "share_right": "Share right", "margin": "Margin"}
TITLES |= {"entropy": "Entropy", "largest_weight": "Largest weight", "first_token_weight": "Weight of the first token"}
FEWEST_SEEDS = 3  # needed for a verdict
UNITS = {
    "loss": "nats per token",
    "accuracy": "share of the answer's tokens",
    "share_right": "share of trials answered with the number",
    "margin": "log-probability of the number minus that of the likeliest wrong number, nats",
    "entropy": "entropy of attention (nats)",
    "largest_weight": "largest attention weight",
    "first_token_weight": "attention weight of the first token",
}
# For attention, no direction is better.
BETTER = {"loss": "Lower is better.", **dict.fromkeys(("accuracy", "share_right", "margin"), "Higher is better.")}


def as_number(value):
    return math.nan if value is None else value


def range_of(values):
    """Limits that hold all finite values, with some room."""
    finite = [v for v in values if not math.isnan(v)] or [0.0]
    return padded(min(finite), max(finite), 0.07)


def counted(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class Panel:
    """One figure under one condition: the variants' means, each model's curve, and the differences."""

    def __init__(self, evaluation, number, figure):
        self.number = number
        condition = evaluation.data["conditions"][number]
        self.condition, self.figure = condition["title"], figure["figure"]
        self.variants = [
            {**variant, "means": [as_number(v) for v in variant["means"]]} for variant in figure["variants"]
        ]
        self.models = [
            (model["variant"], model["seed"], [as_number(value[self.figure]) for value in evaluation.values(model)])
            for model in evaluation.data["models"]
            if model["condition"] == number
        ]
        self.comparisons = [
            one
            for one in evaluation.data["comparisons"]
            if (one["condition"], one["figure"]) == (number, self.figure)
        ]

    def value_range(self):
        values = [v for _, _, curve in self.models for v in curve]
        return range_of([*values, 0.0, 1.0] if self.figure == "accuracy" else values)

    def difference_range(self):
        values = [0.0]
        for one in self.comparisons:
            for point in one["points"]:
                values += [as_number(point["mean_difference"]), *(as_number(v) for v in interval(point)[:2])]
                values += [as_number(seed["difference"]) for seed in point["seeds"]]
        return range_of(values)

    def seeds_of(self, variant):
        return [curve for name, _, curve in self.models if name == variant]

    def compared_seeds(self, name):
        """The seeds in the mean of a variant."""
        return next(v["seeds"] for v in self.variants if v["variant"] == name)

    def number_of_seeds(self, one):
        """Pairs of a comparison, or runs of the side with fewer, whether or not their values are finite."""
        if one["paired"]:
            return len(one["points"][0]["seeds"])
        return min(len(self.compared_seeds(one[side])) for side in ("candidate", "baseline"))

    def too_few_seeds(self, one):
        """Whether a test is impossible: too few seeds, or runs that are not independent."""
        return self.number_of_seeds(one) < FEWEST_SEEDS or not is_independent(one)

    def other_seeds(self):
        """{candidate: its seeds} for candidates whose differences are over seeds other than those of the baseline's
        mean, so that they are not the differences of the means."""
        return {
            one["candidate"]: self.compared_seeds(one["candidate"])
            for one in self.comparisons
            if one["paired"] and set(self.compared_seeds(one["candidate"])) != set(self.compared_seeds(one["baseline"]))
        }

    def is_finite(self):
        return not any(point["missing"] for one in self.comparisons for point in one["points"])


def is_tested(point):
    return point["p"] is not None


def interval(point):
    """(low, high, whether it is the interval over seeds) of a difference: with too few seeds, one standard error of the
    trials to either side; None if unknown, for example if the seeds do not scatter."""
    if point["low"] is not None:
        return point["low"], point["high"], True
    mean, error = point["mean_difference"], point["trials"]["standard_error"]
    if mean is None or error is None or is_tested(point):
        return None, None, False
    return mean - error, mean + error, False


class Evaluation:
    def __init__(self, directory):
        """Raises schema.Damaged."""
        self.data = evaluation_formats.read(directory)
        self.is_attention = self.data["kind"] == "attention"
        self.is_needle = self.data["kind"] == "needle"
        self.has_bins = self.data["kind"] in ("position", "attention")
        self.trained_length = self.data["trained_length"]
        values = self.values(self.data["models"][0])
        # A bin stands at the middle of its contexts: within the trained length it is then on that side of its line.
        self.places = [(v["first"] + v["last"]) / 2 + 1 if self.has_bins else v["length"] for v in values]
        self.spans = [self.span(v) for v in values]
        # For needles the points are all depths at the first length, then all depths at the next.
        self.lengths = list(dict.fromkeys(v["length"] for v in values)) if self.is_needle else []
        self.depths = list(dict.fromkeys(v["depth"] for v in values)) if self.is_needle else []
        self.names = [self.named([span]) for span in self.spans]
        self.panels = [
            Panel(self, number, figure)
            for number, condition in enumerate(self.data["conditions"])
            for figure in condition["figures"]
        ]
        self.figures = list(dict.fromkeys(panel.figure for panel in self.panels))
        variants = list(dict.fromkeys(model["variant"] for model in self.data["models"]))
        self.slot = slots(variants)  # see styles.py
        self.shown = without_shared_origin(variants)  # in pictures, which have little room

    def span(self, value):
        if self.has_bins:
            return f"{value['first']:,}–{value['last']:,}"
        return f"{value['length']:,} tokens, {value['depth']} %" if self.is_needle else f"{value['length']:,}"

    def named(self, spans):
        """As in "positions 0–7, 8–15", "8, 16 tokens" and "8 tokens, 50 %; 16 tokens, 50 %"."""
        if self.is_needle:
            return "; ".join(spans)
        text = ", ".join(spans)
        return f"positions {text}" if self.has_bins else f"{text} tokens"

    def rows(self, values):
        """For needles: the values of all points, as one list per depth, ordered by length."""
        return [values[i :: len(self.depths)] for i in range(len(self.depths))]

    def values(self, model):
        return model["bins" if self.has_bins else "results"]

    def context_range(self):
        """Limits of the context axis, also around a single point, and including the trained length."""
        low, high = min(*self.places, self.trained_length), max(*self.places, self.trained_length)
        return low / 1.15, high * 1.15

    def title(self):
        names = listed(list(self.slot))
        if self.has_bins:
            return f"{'Attention' if self.is_attention else 'Loss'} by position: {names}"
        if self.is_needle:
            return f"Needle in a haystack: {names}"
        return f"Retrieval by length, task {self.data['task']}: {names}"

    def source(self):
        """A sentence that says what the numbers are over."""
        data = self.data
        if self.has_bins:
            documents = ", each the beginning of a document" if data["documents"] else ""
            apart = ", which do not overlap (overlap 0)" if data["windows"] > 1 else ""
            return (
                f"{counted(data['windows'], 'window')} of {data['max_length']:,} tokens{documents}{apart}, of "
                f"{', '.join(data['data'])}. The models were trained on windows of {self.trained_length:,} tokens."
            )
        if self.is_needle:
            return (
                f"{counted(data['trials'], 'trial')} of each length at each depth (seed {data['seed']}), the same for "
                f"every model, in text of {', '.join(data['data'])}; {counted(data['distractors'], 'wrong number')} "
                f"beside the right one. The models were trained on windows of {self.trained_length:,} tokens."
            )
        return (
            f"{counted(data['trials'], 'trial')} of each length (seed {data['seed']}), the same for every model; each "
            f"trial is a sequence of its own. The models were trained on windows of {self.trained_length:,} tokens."
        )

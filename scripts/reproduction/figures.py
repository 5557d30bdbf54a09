"""Reads single figures, with their errors, from the results of the stages."""

import dataclasses
import math
import pathlib
import statistics

from report_page import comparison_formats, evaluation_formats
from report_page.schema import Damaged
from student import interval, p_value

LEAST_SEEDS = 3  # for a verdict, by docs/statistics.md


@dataclasses.dataclass
class Difference:
    """The difference of a candidate from a baseline, or of one variant between two places."""

    mean: float
    low: float | None  # end of the 95 % interval; None for fewer than LEAST_SEEDS seeds
    high: float | None
    seeds: int
    verdict: str = "no verdict"  # or "lower", "higher"
    is_tested: bool = False  # by compare or evaluate, or by judge_together(); otherwise it is only shown
    p: float | None = None  # corrected
    detectable: float | None = None
    baseline_mean: float | None = None  # both means are over the same seeds, or None
    candidate_mean: float | None = None
    values: tuple = ()  # by seed, if no table has tested it


def read(file_format, folder):
    """A table in the folder, checked. Raises schema.Damaged."""
    try:
        return file_format.read(folder)
    except Damaged as damage:
        raise Damaged(f"{folder}: {damage}") from None


def run_name(path):
    """The name that a sweep gives to the variant of a run, or of a checkpoint below it."""
    folders = [part for part in pathlib.Path(path).parts if "-seed" in part]
    return folders[-1].rsplit("-seed", 1)[0] if folders else None


def from_estimate(estimate, seeds, verdict):
    return Difference(mean=estimate["mean_difference"], low=estimate["low"], high=estimate["high"], seeds=seeds, verdict=verdict,
                      is_tested=seeds >= LEAST_SEEDS, p=estimate["p_corrected"], detectable=estimate["smallest_detectable"])


def from_values(values):
    """A Difference from differences by seed that no table tests; values that are not finite are left out."""
    known = tuple(value for value in values if value is not None and math.isfinite(value))
    if not known:
        return None
    mean, low, high = interval(known)
    if len(known) < LEAST_SEEDS or len(known) < len(values):
        low = high = None
    return Difference(mean=mean, low=low, high=high, seeds=len(known), values=known)


def judge_together(differences):
    """Tests differences that no table tests, by Student's t over their seeds, with p corrected for their number (Holm 1979). A difference stays untested if it
    has too few seeds, lacks a seed, or has no scatter."""
    tests = []
    for one in differences:
        scatter = statistics.stdev(one.values) if len(one.values) >= LEAST_SEEDS and one.low is not None else 0.0
        if scatter > 0.0:
            tests.append((p_value(one.mean * math.sqrt(len(one.values)) / scatter, len(one.values) - 1), one))
    largest = 0.0
    for place, (p, one) in enumerate(sorted(tests, key=lambda test: test[0])):
        largest = max(largest, min(1.0, p * (len(tests) - place)))
        one.is_tested, one.p = True, largest
        one.verdict = "no verdict" if largest >= 0.05 else "lower" if one.mean < 0.0 else "higher"


class Comparison:
    """comparison.json of a sweep or of `ssgpt compare`; variants have the names of the sweep's file."""

    def __init__(self, folder):
        self.data = read(comparison_formats, folder)
        names = {run["label"]: run_name(run["directory"]) for run in self.data["runs"]}
        self.labels = {names[variant["runs"][0]]: variant["label"] for variant in self.data["variants"]}

    def one(self, candidate):
        return next((found for found in self.data["comparisons"] if found["candidate"] == self.labels.get(candidate)), None)

    def difference(self, outcome, candidate, baseline):
        """The difference in "training", "validation", "whole_curve" or "tokens" (in per cent); None if a side is missing."""
        if self.labels.get(baseline) != self.data["baseline"]:
            return self.of_two_candidates(outcome, candidate, baseline)
        one = self.one(candidate)
        if one is None or one[outcome] is None or one[outcome]["mean_difference"] is None:
            return None
        # The training loss decides, unless its verdict is taken away by a failed run or by a validation loss that says the opposite.
        found = from_estimate(one[outcome], len(one["seeds"]), one["verdict"] if outcome == "training" else one[outcome]["verdict"])
        if outcome == "tokens" and one["tokens"]["percent"]:
            percent = one["tokens"]["percent"]
            found.mean, found.low, found.high, found.detectable = (percent[key] for key in ("mean", "low", "high", "smallest_detectable"))
        if outcome == "training" and self.seeds(candidate) == self.seeds(baseline) == len(one["seeds"]):
            found.candidate_mean, found.baseline_mean = (self.variant(name)["window_loss"] for name in (candidate, baseline))
        return found

    def of_two_candidates(self, outcome, candidate, baseline):
        sides = [self.one(name) for name in (candidate, baseline)]
        if None in sides:
            return None
        sides = [{entry["seed"]: entry[outcome] for entry in side["seeds"] if entry[outcome] is not None} for side in sides]
        return from_values([sides[0][seed] - sides[1][seed] for seed in sides[0] if seed in sides[1]])

    def variant(self, name):
        return next(found for found in self.data["variants"] if found["label"] == self.labels[name])

    def seeds(self, name):
        return len(self.variant(name)["runs"])


def figure_of(result, figure):
    """A figure of one point of one model; top_weight: the mean over trials of the head that attends to the needle most."""
    return result["attention"]["heads"][0]["mean"] if figure == "top_weight" else result[figure]


class Evaluation:
    """evaluation.json. Variants have the names of the sweep's file, followed by what was changed on reading: "softmax, row scale 1.5"."""

    def __init__(self, folder):
        self.data = read(evaluation_formats, folder)
        names = {}  # by the title that the evaluation gave them
        for model in self.data["models"]:
            if not any(model["overrides"][key] for key in ("row_scale", "attention")):
                names[model["variant"]] = run_name(model["checkpoint"]) or model["variant"]
        for title in {model["variant"] for model in self.data["models"]} - names.keys():
            unchanged = max((known for known in names if title.startswith(known)), key=len, default="")
            names[title] = names.get(unchanged, "") + title[len(unchanged):]
        for entry in self.data["models"]:
            entry["variant"] = names[entry["variant"]]
        for entry in self.data["comparisons"]:
            entry["candidate"], entry["baseline"] = names[entry["candidate"]], names[entry["baseline"]]

    def condition(self, theta):
        """The number of the condition with this RoPE theta, or of the only one; None if there is none."""
        conditions = self.data["conditions"]
        found = [number for number, condition in enumerate(conditions) if theta is None or f"theta {theta}" in condition["title"] or f"({theta})" in condition["title"]]
        return found[0] if found else None

    def point(self, where):
        """The number of the point: {last: N}, the bin that ends before N; {length: L}; {length: L, depth: D}. None if there is none."""
        model = self.data["models"][0]
        for number, point in enumerate(model.get("bins") or model["results"]):
            if "last" in where and point.get("last") == where["last"] - 1:
                return number
            if "length" in where and point.get("length") == where["length"] and point.get("depth", where.get("depth")) == where.get("depth"):
                return number
        return None

    def values(self, figure, variant, condition, point):
        """{seed: value} over a variant's models."""
        models = [model for model in self.data["models"] if model["variant"] == variant and model["condition"] == condition]
        return {model["seed"]: figure_of((model.get("bins") or model["results"])[point], figure) for model in models}

    def difference(self, figure, candidate, baseline, theta, where):
        """The difference at a point; None if the evaluation lacks the condition, point or variant."""
        number, condition = self.point(where), self.condition(theta)
        if number is None or condition is None:
            return None
        sides = [self.values(figure, name, condition, number) for name in (candidate, baseline)]
        shared = [seed for seed in sides[0] if seed in sides[1] and None not in (sides[0][seed], sides[1][seed])]
        found = from_values([sides[0][seed] - sides[1][seed] for seed in shared])
        for one in self.data["comparisons"]:
            point = one["points"][number]
            if (one["condition"], one["figure"], one["candidate"], one["baseline"]) == (condition, figure, candidate, baseline) and point["mean_difference"] is not None:
                found = from_estimate(point, len(shared), point["verdict"])
        if found is not None:
            found.candidate_mean, found.baseline_mean = (statistics.fmean(side[seed] for seed in shared) for side in sides)
        return found

    def change(self, figure, variant, theta, first, last):
        """The change from one point to another within the same models; None if one is missing."""
        numbers, condition = [self.point(where) for where in (first, last)], self.condition(theta)
        if None in numbers or condition is None:
            return None
        before, after = (self.values(figure, variant, condition, number) for number in numbers)
        shared = [seed for seed in after if None not in (before[seed], after[seed])]
        found = from_values([after[seed] - before[seed] for seed in shared])
        if found is not None:
            found.candidate_mean, found.baseline_mean = (statistics.fmean(side[seed] for seed in shared) for side in (after, before))
        return found

"""Reads single figures, with their errors, out of the results of the stages."""

import dataclasses
import json
import pathlib

from report_page.schema import Damaged
from reproduction.student import interval


@dataclasses.dataclass
class Difference:
    """Of a candidate to a baseline. Without an interval where there are fewer than three pairs of seeds."""

    mean: float
    low: float | None
    high: float | None
    p: float | None  # corrected within its table; None where no table tests it
    detectable: float | None
    seeds: int
    verdict: str  # "lower", "higher" or "no verdict"
    candidate_mean: float | None = None
    baseline_mean: float | None = None


def read_json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Damaged(f"{path}: {error}") from None


def from_estimate(estimate, seeds):
    return Difference(mean=estimate["mean_difference"], low=estimate["low"], high=estimate["high"], p=estimate["p_corrected"],
                      detectable=estimate["smallest_detectable"], seeds=seeds, verdict=estimate["verdict"])


def from_values(values):
    """Of differences by seed that are tested here, by whether their interval excludes 0."""
    mean, low, high = interval(values)
    verdict = "no verdict" if low is None or low <= 0.0 <= high else "lower" if mean < 0.0 else "higher"
    return Difference(mean=mean, low=low, high=high, p=None, detectable=None, seeds=len(values), verdict=verdict)


def run_name(path):
    """What a sweep calls the variant of a run or a checkpoint below it."""
    folders = [part for part in pathlib.Path(path).parts if "-seed" in part]
    return folders[-1].rsplit("-seed", 1)[0] if folders else None


class Comparison:
    """comparison.json of a sweep; variants are called as in the sweep's file."""

    def __init__(self, folder):
        self.data = read_json(folder / "report" / "comparison.json")
        self.names = {}
        for run in self.data["runs"]:
            self.names[run["label"]] = run_name(run["directory"])
        self.labels = {self.names[variant["runs"][0]]: variant["label"] for variant in self.data["variants"]}

    def one(self, candidate):
        for found in self.data["comparisons"]:
            if found["candidate"] == self.labels.get(candidate):
                return found
        raise Damaged(f"the comparison has no {candidate}")

    def difference(self, outcome, candidate, baseline):
        """Of "training", "validation", "whole_curve" or "tokens" (in per cent)."""
        if self.labels.get(baseline) != self.data["baseline"]:
            return self.of_two_candidates(outcome, candidate, baseline)
        one = self.one(candidate)
        found = from_estimate(one[outcome], len(one["seeds"]))
        if outcome == "tokens" and one["tokens"]["percent"]:
            percent = one["tokens"]["percent"]
            found.mean, found.low, found.high, found.detectable = (percent[key] for key in ("mean", "low", "high", "smallest_detectable"))
        if outcome == "training" and self.seeds(candidate) == self.seeds(baseline) == len(one["seeds"]):
            found.candidate_mean, found.baseline_mean = (self.window_loss(label) for label in (one["candidate"], one["baseline"]))
        return found

    def of_two_candidates(self, outcome, candidate, baseline):
        sides = [{entry["seed"]: entry[outcome] for entry in self.one(name)["seeds"]} for name in (candidate, baseline)]
        return from_values([sides[0][seed] - sides[1][seed] for seed in sides[0] if seed in sides[1]])

    def window_loss(self, label):
        return next(variant["window_loss"] for variant in self.data["variants"] if variant["label"] == label)

    def seeds(self, variant):
        return len(next(found["runs"] for found in self.data["variants"] if found["label"] == self.labels.get(variant)))


def figure_of(result, figure):
    """Of one point of one model; top_weight: of the head that attends to the needle most, its mean over trials."""
    return result["attention"]["heads"][0]["mean"] if figure == "top_weight" else result[figure]


class Evaluation:
    """evaluation.json of a stage. Variants are called as in the sweep's file, with what was changed on reading behind it."""

    def __init__(self, folder):
        self.data = read_json(folder / "evaluation.json")
        names = {}  # by the title that the evaluation gave them
        for model in self.data["models"]:
            if not any(value for key, value in model["overrides"].items() if key in ("row_scale", "attention")):
                names[model["variant"]] = run_name(model["checkpoint"]) or model["variant"]
        titles = {model["variant"] for model in self.data["models"]} - names.keys()
        for title in titles:  # "softmax, row scale 1.5"
            plain = max((known for known in names if title.startswith(known)), key=len, default="")
            names[title] = names.get(plain, "") + title[len(plain):]
        for entry in self.data["models"]:
            entry["variant"] = names[entry["variant"]]
        for entry in self.data["comparisons"]:
            entry["candidate"], entry["baseline"] = names[entry["candidate"]], names[entry["baseline"]]

    def condition(self, theta):
        """The number of the condition with this RoPE theta; the only one where theta is None."""
        for number, condition in enumerate(self.data["conditions"]):
            if theta is None or condition["title"].endswith(f"theta {theta}"):
                return number
        raise Damaged(f"no condition has RoPE theta {theta}")

    def points(self):
        model = self.data["models"][0]
        return model.get("bins") or model["results"]

    def point(self, where):
        """The number of the point: {last: N}, the bin that ends before N; {length: L}; {length: L, depth: D}."""
        for number, point in enumerate(self.points()):
            if "last" in where and point.get("last") == where["last"] - 1:
                return number
            if "length" in where and point.get("length") == where["length"] and point.get("depth", where.get("depth")) == where.get("depth"):
                return number
        raise Damaged(f"no point is at {where}")

    def values(self, figure, variant, theta, point):
        """{seed: value} of a variant's models."""
        condition = self.condition(theta)
        models = [model for model in self.data["models"] if model["variant"] == variant and model["condition"] == condition]
        return {model["seed"]: figure_of((model.get("bins") or model["results"])[point], figure) for model in models}

    def difference(self, figure, candidate, baseline, theta, where):
        number, condition = self.point(where), self.condition(theta)
        sides = [self.values(figure, name, theta, number) for name in (candidate, baseline)]
        shared = [seed for seed in sides[0] if seed in sides[1]]
        if not shared:
            raise Damaged(f"{candidate} and {baseline} share no seed")
        found = from_values([sides[0][seed] - sides[1][seed] for seed in shared])
        for one in self.data["comparisons"]:
            if (one["condition"], one["figure"], one["candidate"], one["baseline"]) == (condition, figure, candidate, baseline):
                found = from_estimate(one["points"][number], len(shared))
        found.candidate_mean, found.baseline_mean = (sum(side[seed] for seed in shared) / len(shared) for side in sides)
        return found

    def change(self, figure, variant, theta, first, last):
        """From one point to another, of the same models."""
        before, after = (self.values(figure, variant, theta, self.point(where)) for where in (first, last))
        if not after:
            raise Damaged(f"the evaluation has no {variant}")
        found = from_values([after[seed] - before[seed] for seed in after])
        found.candidate_mean, found.baseline_mean = (sum(side.values()) / len(side) for side in (after, before))
        return found

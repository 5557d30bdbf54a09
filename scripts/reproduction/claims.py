"""The sentences of the abstract, as tests that were fixed before the runs: configs/reproduce/claims.yaml.

A test names one figure, whose difference the paper says a direction of. The first test of a claim decides its answer; the others stand
beside it.
"""

import dataclasses

import yaml

from report_page.schema import Damaged
from reproduction.figures import Comparison, Evaluation

AGREES, DISAGREES, CANNOT_TELL = "agrees", "disagrees", "cannot tell at this scale"


@dataclasses.dataclass
class Outcome:
    """What a test found."""

    text: str
    unit: str
    difference: object  # figures.Difference; None where the plan has no such stage or variant
    answer: str
    sides: tuple  # (candidate, baseline), or the points of a change
    stage: str


class Results:
    """Of the stages of a plan, each read once."""

    def __init__(self, plan):
        self.plan, self.read = plan, {}

    def of(self, name):
        if name not in self.read:
            stage = next((stage for stage in self.plan.stages if stage.name == name), None)
            if stage is None:
                return None
            folder = self.plan.out / name
            self.read[name] = Comparison(folder) if stage.is_sweep else Evaluation(folder)
        return self.read[name]


def load_claims(path):
    claims = yaml.safe_load(path.read_text(encoding="utf-8"))
    for claim in claims:
        missing = {"id", "sentence", "paper", "tests"} - claim.keys()
        if missing:
            raise Damaged(f"{path}: a claim lacks {', '.join(sorted(missing))}")
    return claims


def answer_of(difference, expects):
    """By the rule: a verdict in the paper's direction, one against it, or none; of two that are said to be alike, whether the interval lies within the
    margin. Empty of a figure that only stands beside the others."""
    if expects is None:
        return ""
    if isinstance(expects, dict):
        within = expects["within"]
        if difference.low is None:
            return CANNOT_TELL
        if -within < difference.low and difference.high < within:
            return AGREES
        return DISAGREES if difference.verdict != "no verdict" and abs(difference.mean) >= within else CANNOT_TELL
    if difference.verdict == "no verdict":
        return CANNOT_TELL
    return AGREES if difference.verdict == expects else DISAGREES


def run_test(test, results, plan_points):
    """The Outcome of one test; plan_points: what names as `far` stand for in this size."""
    found = results.of(test["stage"])
    if found is None:
        return None
    where = {key: plan_points.get(value, value) for key, value in test.items() if key in ("last", "length", "depth")}
    if test.get("of") == "change":
        first, last = ({"last": plan_points.get(test[key], test[key])} for key in ("from", "to"))
        difference = found.change(test["figure"], test["variant"], test.get("theta"), first, last)
        sides = (test["variant"], test["variant"])
    elif isinstance(found, Comparison):
        difference = found.difference(test["figure"], test["candidate"], test["baseline"])
        sides = (test["candidate"], test["baseline"])
    else:
        difference = found.difference(test["figure"], test["candidate"], test["baseline"], test.get("theta"), where)
        sides = (test["candidate"], test["baseline"])
    return Outcome(text=test["text"], unit=test.get("unit", ""), difference=difference, answer=answer_of(difference, test.get("expects")),
                   sides=sides, stage=test["stage"])

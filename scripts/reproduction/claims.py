"""The claims of the abstract as tests that were fixed before the runs: configs/reproduce/claims.yaml.

A test names one figure, and the direction that the paper gives for its difference. The first test of a claim decides its answer.
"""

import dataclasses

from reproduction.figures import LEAST_SEEDS, Comparison, Evaluation, judge_together
from reproduction.plan import BadPlan, read_yaml

AGREES, DISAGREES, CANNOT_TELL = "agrees", "disagrees", "cannot tell at this scale"
NEEDED = {"id", "title", "sentence", "paper", "tests"}
KEYS = {"text", "unit", "stage", "figure", "candidate", "baseline", "of", "variant", "from", "to", "theta", "last", "length", "depth", "expects", "tested"}


@dataclasses.dataclass
class Outcome:
    """The finding of a test."""

    text: str
    unit: str
    difference: object  # figures.Difference; None if this size lacks the stage, variant or place
    answer: str  # empty for a figure that only stands beside the others
    stage: str


class Results:
    """The results of a plan's stages, each read once; None for a stage without results."""

    def __init__(self, plan):
        self.plan, self.read = plan, {}

    def of(self, name):
        if name not in self.read:
            self.read[name] = None
            stage = next((stage for stage in self.plan.stages if stage.name == name), None)
            folder = stage and self.plan.results_of(stage)
            for kind, file in ((Comparison, "comparison.json"), (Evaluation, "evaluation.json")):
                if folder is not None and (folder / file).exists():
                    self.read[name] = kind(folder)
        return self.read[name]


def load_claims(plan):
    """The claims that a plan judges. Raises BadPlan if one lacks a key, or names a point that the plan does not have."""
    path = plan.claims
    claims = read_yaml(path)
    if not isinstance(claims, list) or not all(isinstance(claim, dict) for claim in claims):
        raise BadPlan(f"{path}: it must be a list of claims")
    for claim in claims:
        if missing := NEEDED - claim.keys():
            raise BadPlan(f"{path}: claim {claim.get('id', claim)} lacks {', '.join(sorted(missing))}")
        for test in claim["tests"]:
            check_test(path, claim["id"], test, plan.points)
    return claims


def check_test(path, claim, test, points):
    place = f"{path}: claim {claim}, test {test.get('text')!r}"
    if unknown := test.keys() - KEYS:
        raise BadPlan(f"{place}: unknown {', '.join(sorted(unknown))}")
    sides = {"variant", "from", "to"} if test.get("of") == "change" else {"candidate", "baseline"}
    if missing := ({"text", "unit", "stage", "figure"} | sides) - test.keys():
        raise BadPlan(f"{place}: it lacks {', '.join(sorted(missing))}")
    for key in ("last", "length", "from", "to"):
        if isinstance(test.get(key), str) and test[key] not in points:
            raise BadPlan(f"{place}: the plan's points have no {test[key]}")


def difference_of(test, results, points):
    found = results.of(test["stage"])
    if found is None:
        return None
    where = {key: points.get(test[key], test[key]) for key in ("last", "length", "depth") if key in test}
    if test.get("of") == "change":
        first, last = ({"last": points.get(test[key], test[key])} for key in ("from", "to"))
        return found.change(test["figure"], test["variant"], test.get("theta"), first, last)
    if isinstance(found, Comparison):
        return found.difference(test["figure"], test["candidate"], test["baseline"])
    return found.difference(test["figure"], test["candidate"], test["baseline"], test.get("theta"), where)


def answer_of(difference, expects):
    """The answer by the rule: a verdict in the paper's direction, one against it, or none."""
    if difference is None:
        return "not measured"
    if expects is None:
        return ""
    if difference.seeds < LEAST_SEEDS:
        return f"no answer: {difference.seeds} seed{'' if difference.seeds == 1 else 's'}"
    if not difference.is_tested:
        return "not tested"
    if difference.verdict == "no verdict":
        return CANNOT_TELL
    return AGREES if difference.verdict == expects else DISAGREES


def judge(claim, results, points):
    """The Outcome of each test of a claim. Tests with `tested: here` are on figures that no table tests; they are tested together."""
    differences = [difference_of(test, results, points) for test in claim["tests"]]
    judge_together([one for test, one in zip(claim["tests"], differences) if test.get("tested") == "here" and one is not None and not one.is_tested])
    return [Outcome(text=test["text"], unit=test["unit"], difference=one, answer=answer_of(one, test.get("expects")), stage=test["stage"])
            for test, one in zip(claim["tests"], differences)]

"""How scripts/reproduce.sh judges a difference, and estimates the time left."""

import re
import statistics
import sys
import time

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
from reproduction.claims import AGREES, CANNOT_TELL, DISAGREES, answer_of
from reproduction.figures import Difference, from_values, judge_together
from reproduction.progress import Progress
from student import interval, p_value, quantile


def difference(seeds=3, verdict="no verdict", is_tested=True):
    return Difference(mean=0.1, low=None, high=None, seeds=seeds, verdict=verdict, is_tested=is_tested)


@pytest.mark.parametrize("found, expects, answer", [
    (difference(verdict="lower"), "lower", AGREES),
    (difference(verdict="higher"), "lower", DISAGREES),
    (difference(), "lower", CANNOT_TELL),
    (difference(verdict="lower"), None, ""),
    (difference(seeds=2, is_tested=False), "lower", "no answer: 2 seeds"),
    (difference(is_tested=False), "lower", "not tested"),
    (None, "lower", "not measured"),
])  # fmt: skip
def test_the_rule_of_an_answer(found, expects, answer):
    assert answer_of(found, expects) == answer


def test_the_interval_and_p_are_students():
    """Student's own example (1908): the additional sleep of ten patients. R's t.test(sleep) prints t = 4.0621, p-value = 0.002833."""
    sleep = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    assert interval(sleep) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-7)
    assert p_value(4.0621, 9) == pytest.approx(0.002833, abs=1e-6)
    assert [quantile(degrees) for degrees in (1, 3, 30)] == pytest.approx([12.70620, 3.182446, 2.042272], rel=1e-6)  # printed tables
    assert interval([1.0])[1:] == (None, None)


def test_figures_without_a_table_are_tested_together():
    """Holm: the smallest p times 3, the next times 2, the last unchanged, and none below one before it."""
    close, far, weak = from_values([1.0, 1.1, 0.9, 1.05]), from_values([-2.0, -2.02, -1.98, -2.01]), from_values([0.1, -0.3, 0.2, 0.4])
    alone = [p_value(statistics.fmean(one.values) * 2 / statistics.stdev(one.values), 3) for one in (close, far, weak)]
    constant, two, lost = from_values([0.5, 0.5, 0.5]), from_values([0.1, 0.2]), from_values([0.1, None, 0.3, 0.2])
    judge_together([close, far, weak, constant, two, lost])
    assert (far.p, close.p, weak.p) == pytest.approx((3 * alone[1], 2 * alone[0], alone[2]))
    assert (far.verdict, close.verdict, weak.verdict) == ("lower", "higher", "no verdict")
    assert not (constant.is_tested or two.is_tested or lost.is_tested) and lost.low is None and lost.seeds == 3
    assert from_values([None, float("nan")]) is None


class Part:
    def __init__(self, name, minutes):
        self.name, self.minutes = name, minutes


def test_the_rest_of_a_resumed_plan_is_told_by_what_this_call_made(monkeypatch):
    """Ninety minutes of a hundred were made before: the rest takes ten, not the moment in which the ninety were found."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    stages = [Part("text", 95.0), Part("rest", 5.0)]
    progress = Progress("made", stages, [])
    now[0] = 1.0
    progress.line(stages[0], 90 / 95, "text")
    now[0] = 61.0  # a minute later, at half the planned speed
    left = progress.line(stages[0], 90.5 / 95, "text")
    assert left.startswith("made: 90 %") or left.startswith("made: 91 %")
    assert 12 <= float(re.search(r"(\d+) min(?: \d+ s)? left", left)[1]) <= 19

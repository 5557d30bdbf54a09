"""Student's t (Student 1908, Biometrika 6), for figures that no command of ssgpt compares."""

import functools
import math
import statistics

import mpmath


def p_value(t, degrees):
    """P(|T| >= |t|), by the regularized incomplete beta function."""
    return float(mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t * t), regularized=True))


@functools.cache
def quantile(degrees):
    """The t that |T| exceeds with probability 5 %, to ten digits."""
    low, high = 1.0, 13.0  # 12.7 with one degree of freedom
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if p_value(middle, degrees) > 0.05 else (low, middle)
    return low


def interval(values):
    """(mean, low, high) of the mean's 95 % interval; low and high are None for fewer than two values."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None, None
    half = quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half

"""The 95 % interval of a mean over seeds (Student 1908, Biometrika 6), for differences that no evaluation makes itself."""

import math
import statistics

# Quantiles at 97.5 % for 1 to 30 degrees of freedom; beyond, the normal value is within 2 %.
QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
             2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042)


def interval(values):
    """(mean, low, high); low and high are None of fewer than three values, by the rule of docs/statistics.md."""
    mean = statistics.fmean(values)
    if len(values) < 3:
        return mean, None, None
    degrees = len(values) - 1
    quantile = QUANTILES[degrees - 1] if degrees <= len(QUANTILES) else 1.96
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return mean, mean - half, mean + half

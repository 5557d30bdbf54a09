"""Which points of a long curve are kept. A curve has NaN where it has no value, and its line has a gap there."""

import math


def thin(values, most):
    """Indices of at most `most` points, including the last."""
    if len(values) <= most:
        return list(range(len(values)))
    return [round(i * (len(values) - 1) / (most - 1)) for i in range(most)]


def extremes(values, most):
    """Indices of the lowest and highest value of each stretch, so that a thinned line is as ragged as the whole one, and
    of the first absent value of each stretch, so that it has a gap wherever the whole one has."""
    if len(values) <= most:
        return list(range(len(values)))
    picked = []
    buckets = most // 2
    for k in range(buckets):
        stretch = range(len(values) * k // buckets, len(values) * (k + 1) // buckets)
        present = [i for i in stretch if not math.isnan(values[i])]
        found = set(first_absent(values, stretch))
        if present:
            found |= {min(present, key=values.__getitem__), max(present, key=values.__getitem__)}
        picked += sorted(found)
    return picked


def first_absent(values, stretch):
    """The index of the first NaN as a list, which is empty without one."""
    return next(([i] for i in stretch if math.isnan(values[i])), [])


def thin_together(curves, most):
    """Indices as thin() picks them for curves of the same length, and between two of them those of each curve's first
    absent value."""
    picked = thin(curves[0], most) if curves else []
    between = [range(here + 1, following) for here, following in zip(picked, picked[1:]) if following > here + 1]
    absent = {i for curve in curves for stretch in between for i in first_absent(curve, stretch)}
    return sorted({*picked, *absent})

"""How variants are told apart in pictures and pages. A variant has a slot: its remainder modulo six is the colour, its
quotient the line style and the marker."""

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6D00", "#4A4A8A"]
NUM_COLORS = len(COLORS)
# The kinds of attention keep their slots whatever a report shows, both by their name in a sweep and by their title, and
# whatever weights a run began from ("SSMax from RUN").
SLOT_OF_KIND = {
    **{"softmax": 0, "softmax_temperature": 1, "ssmax": 2, "ssmax_fixed": 3, "ssmax_bias": 4, "learned_pn": 5},
    **{"softmax, learned temperature": 1, "ssmax, s fixed at 1": 3, "ssmax with bias": 4, "ssmax, learned p_n": 5},
}
# By quotient, from 0: Matplotlib's line style and marker, and SVG's dashes.
LINES = ["-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2))]
MARKERS = ["o", "s", "^", "D"]
DASHES = ["", "8 4", "2 4", "9 4 2 4"]


def slots(labels):
    """{label: slot}, no slot twice: kinds of attention have their own, the others get the lowest free ones."""
    found = {}
    for label in labels:
        slot = SLOT_OF_KIND.get(label.partition(" from ")[0].lower())
        if slot is not None and slot not in found.values():
            found[label] = slot
    free = (slot for slot in range(len(labels)) if slot not in set(found.values()))
    return {label: found[label] if label in found else next(free) for label in labels}


def color(slot):
    return slot % NUM_COLORS


def line(slot):
    return LINES[slot // NUM_COLORS % len(LINES)]


def marker(slot):
    return MARKERS[slot // NUM_COLORS % len(MARKERS)]


def dashes(slot):
    return DASHES[slot // NUM_COLORS % len(DASHES)]


# Each outcome of a needle trial has its own colour and marker.
OUTCOME_SLOTS = {"right": 0, "wrong": NUM_COLORS + 3, "first digit": 2 * NUM_COLORS + 1}

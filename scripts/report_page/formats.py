"""What the files of comparisons, evaluations and closed forms have in common. Each of the three has a file of its own with the fields that
are drawn, and how they must agree; the fields are described where they are written, in src/report."""

from report_page.schema import (
    FINITE, TEXT, Damaged, choice, count, drawn, fields, flag, known, mapping, name, number, several, share, text, too_large,
)  # fmt: skip

VERDICTS = ("lower", "higher", "no verdict")
METHODS = ("none", "seeds, paired", "seeds, unpaired")

MANY = 200  # comparisons, variants or conditions: with more, no program can display the picture
CURVES = 500  # comparisons of an evaluation, over all conditions
MODELS = 2000  # over all variants, seeds and conditions
NOTES = 5000  # several per run

value = drawn
finite = number(-FINITE, FINITE)  # not drawn
labels = several(name)
seeds = several(count())

ESTIMATE = {
    "mean_difference": value,
    "verdict": choice(*VERDICTS),
    "method": choice(*METHODS),
    "values": count(),
    "missing": count(),
    "sides": known(several(count(), least=2)),
    "standard_error": value,
    "degrees_of_freedom": value,
    "seed_scatter": value,
    "low": value,
    "high": value,
    "p": share,
    "p_corrected": share,
    "smallest_detectable": value,
    "seeds_needed": known(count()),
    "scatter_for_seeds": known(mapping(value)),
}
# Whether each side's runs are independent, and what limits their verdict; files of earlier versions have neither field.
ORIGIN = {"independent": flag, "origin": known(text(TEXT))}
notes = several(fields({"warning": flag, "text": text(TEXT)}), most=NOTES)


def without_large_interval(found):
    """An interval whose mean or one of whose ends is too large to be drawn counts as unknown as a whole."""
    if isinstance(found, dict) and any(too_large(found.get(key)) for key in ("low", "high", "mean_difference")):
        found.update(dict.fromkeys(("low", "high")))


def interval_of(found, where):
    """The ends of an interval come together, in order, and with a mean."""
    if (found["low"] is None) != (found["high"] is None):
        raise Damaged(f"{where} has one end of an interval alone")
    if found["low"] is None:
        return
    if found["low"] > found["high"]:
        raise Damaged(f"{where}.low is above {where}.high")
    if found["mean_difference"] is None:
        raise Damaged(f"{where} has an interval and no mean_difference")


def unique(found, where):
    if len(set(found)) < len(found):
        raise Damaged(f"{where}: a name is listed twice")


def belongs(label, among, where):
    if label not in among:
        raise Damaged(f"{where} is {label!r:.60}, which is none of the variants")

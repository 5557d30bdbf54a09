"""The fields of closed_forms.json that are drawn, and how they must agree."""

from report_page.formats import CURVES, MANY
from report_page.schema import count, fields, name, number, same_length, several

VERSION = 1

weights = several(number(0, 1), least=1)
CLOSED_FORMS = fields(
    {
        "scale": number(),
        "bias": number(),
        "fading": fields(
            {
                "high": number(),
                "low": number(),
                "lengths": several(count(1), least=1),
                "curves": several(fields({"attention": name, "row_scale": name, "weights": weights}), least=1, most=MANY),
            }
        ),
        "focus": fields(
            {
                "spread_below": number(),
                "focused_above": number(),
                "maxima": several(number(), least=1),
                "curves": several(fields({"attention": name, "n": count(3), "weights": weights}), least=1, most=CURVES),
            }
        ),
    }
)


def closed_forms(data, where):
    """Checks a whole closed_forms.json."""
    CLOSED_FORMS(data, where)
    for form, axis in (("fading", "lengths"), ("focus", "maxima")):
        for i, curve in enumerate(data[form]["curves"]):
            same_length(curve["weights"], data[form][axis], f"{form}.curves[{i}].weights")

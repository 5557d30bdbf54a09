"""The attention figures in evaluation.json, laid out for drawing: by context, by variant and layer."""

import math

from report_page.evaluation import TITLES as JUDGED_TITLES
from report_page.evaluation import UNITS as JUDGED_UNITS
from report_page.evaluation import as_number, range_of
from report_page.evaluation_formats import ATTENTION_FIGURES

TITLES = {**JUDGED_TITLES, "effective_row_scale": "Effective row scale"}
UNITS = {**JUDGED_UNITS, "effective_row_scale": "factor on the scores"}
EVEN_KEY = {"entropy": "entropy", "largest_weight": "weight", "first_token_weight": "weight"}


def mean(curves):
    """The mean of the curves, point by point; NaN if one of them is NaN."""
    return [sum(values) / len(values) for values in zip(*curves)]


class AttentionPanel:
    """One figure under one condition: {variant: [the curve of each layer, over heads and seeds]}."""

    def __init__(self, evaluation, number, figure):
        self.number, self.condition, self.figure = number, evaluation.data["conditions"][number]["title"], figure
        models = [model for model in evaluation.data["models"] if model["condition"] == number]
        self.layers = {}
        for name in dict.fromkeys(model["variant"] for model in models):
            of_variant = [model["layers"] for model in models if model["variant"] == name]
            self.layers[name] = [
                mean([[as_number(v) for v in layer[figure]] for layer in seeds]) for seeds in zip(*of_variant)
            ]
        self.evenly = self._spread_evenly(models)

    def _spread_evenly(self, models):
        """What equal weights for all keys would give, if all models see the same keys; None otherwise."""
        if self.figure not in EVEN_KEY:
            return None
        curves = [model["spread_evenly"][EVEN_KEY[self.figure]] for model in models]
        return [as_number(v) for v in curves[0]] if all(curve == curves[0] for curve in curves) else None

    def means(self):
        """{variant: the mean curve over its layers}."""
        return {name: mean(layers) for name, layers in self.layers.items()}

    def is_logarithmic(self):
        """Whether the axis is logarithmic: a weight that fades falls by factors."""
        return self.figure == "largest_weight" and min(self.all_values(), default=0) > 0

    def all_values(self):
        curves = [curve for layers in self.layers.values() for curve in layers] + ([self.evenly] if self.evenly else [])
        return [v for curve in curves for v in curve if not math.isnan(v)]

    def value_range(self):
        return range_of(self.all_values())


def attention_panels(evaluation):
    return [
        AttentionPanel(evaluation, number, figure)
        for number in range(len(evaluation.data["conditions"]))
        for figure in ATTENTION_FIGURES
    ]

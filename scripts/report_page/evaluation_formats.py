"""The fields of evaluation.json that are drawn, and how they must agree; those of needles are in needle_formats.py."""

from report_page.formats import (
    CURVES, ESTIMATE, MANY, MODELS, ORIGIN, belongs, finite, interval_of, labels, notes, seeds, unique, value, without_large_interval,
)  # fmt: skip
from report_page.needle_formats import grid, needle, needle_attention
from report_page.schema import TEXT, Damaged, choice, count, fields, flag, known, name, read_json, same_length, several, text

VERSION = 1

MODEL = fields(
    {
        "condition": count(),
        "variant": name,
        "seed": count(),
        "checkpoint": text(),
        "attention": name,
        "step": known(count()),
        "rope_theta": finite,
        "overrides": fields(
            {
                **dict.fromkeys(("rope_theta", "yarn_factor", "row_scale"), known(finite)),
                "attention": known(name),
            }
        ),
        "pn_fit": known(
            fields({"entries": count(), **dict.fromkeys(("a1", "a2", "rms_residual", "max_residual"), finite)})
        ),
    }
)
BIN = fields({"first": count(), "last": count(), "loss": value})
RESULT = fields({"length": count(1), "accuracy": value, "loss": value})
ATTENTION_FIGURES = ("entropy", "largest_weight", "first_token_weight", "effective_row_scale")
ATTENTION_JUDGED = ATTENTION_FIGURES[:3]
FIGURES = {"position": ("loss",), "retrieval": ("accuracy", "loss"), "needle": ("share_right", "margin"), "attention": ATTENTION_JUDGED}
ANY_FIGURE = choice(*(figure for figures in FIGURES.values() for figure in figures))
FIGURE = fields(
    {
        "figure": ANY_FIGURE,
        "variants": several(fields({"variant": name, "seeds": seeds, "left_out": seeds, "means": several(value)}), least=1),
    }
)
POINT_FIELDS = fields(
    {
        **ESTIMATE,
        "trials": fields({"mean_difference": value, "standard_error": value}),
        "seeds": several(fields({"seed": count(), "difference": value})),
    }
)


def point(found, where):
    without_large_interval(found)
    POINT_FIELDS(found, where)
    interval_of(found, where)


EVALUATION = fields(
    {
        "kind": choice(*FIGURES),
        "trained_length": count(1),
        "max_length": count(1),
        "conditions": several(fields({"title": name, "figures": several(FIGURE, least=1, most=3)}), least=1, most=MANY),
        "models": several(MODEL, least=1, most=MODELS),
        "comparisons": several(
            fields(
                {
                    "condition": count(),
                    "figure": ANY_FIGURE,
                    "candidate": name,
                    "baseline": name,
                    "paired": flag,
                    "points": several(point, least=1),
                    **ORIGIN,
                },
                optional=ORIGIN,
            ),
            most=CURVES,
        ),
        "notes": notes,
    }
)
of_windows = fields({"data": labels, "windows": count(), "documents": flag})
OF_KIND = {
    "position": of_windows,
    "attention": of_windows,
    "retrieval": fields({"task": name, "seed": count(), "trials": count()}),
    "needle": fields({"data": labels, "prompt": text(TEXT), "distractors": count(1), "seed": count(), "trials": count(1)}),
}
VALUES = {
    "position": ("bins", BIN),
    "retrieval": ("results", RESULT),
    "needle": ("results", needle),
    "attention": ("bins", fields({"first": count(), "last": count(), **dict.fromkeys(ATTENTION_FIGURES, value)})),
}
curves = dict.fromkeys(ATTENTION_FIGURES, several(value, least=1))
LAYERS = 1000  # per model
ATTENTION = fields(
    {
        "spread_evenly": fields(dict.fromkeys(("entropy", "weight"), several(value, least=1))),
        "layers": several(fields({**curves, "heads": several(fields(curves), least=1)}), least=1, most=LAYERS),
    }
)


def attention(model, points, where):
    """Checks the attention figures of a model, at the given number of points."""
    ATTENTION(model, where)
    for key in ("entropy", "weight"):
        same_length(model["spread_evenly"][key], points, f"{where}.spread_evenly.{key}")
    for i, layer in enumerate(model["layers"]):
        for key in ATTENTION_FIGURES:
            same_length(layer[key], points, f"{where}.layers[{i}].{key}")
            for j, head in enumerate(layer["heads"]):
                same_length(head[key], points, f"{where}.layers[{i}].heads[{j}].{key}")


def evaluation(data, where):
    """Checks a whole evaluation.json."""
    EVALUATION(data, where)
    kind = data["kind"]
    OF_KIND[kind](data, where)
    key, entry = VALUES[kind]
    for i, model in enumerate(data["models"]):
        fields({key: several(entry, least=1)})(model, f"models[{i}]")
        same_length(model[key], data["models"][0][key], f"models[{i}].{key}")
        if kind == "attention":
            attention(model, model[key], f"models[{i}]")
        if model["condition"] >= len(data["conditions"]):
            raise Damaged(f"models[{i}].condition is {model['condition']}, of {len(data['conditions'])}")
    points = data["models"][0][key]
    if kind == "needle":
        grid(points)
        needle_attention(data["models"])
    variants = {model["variant"] for model in data["models"]}
    panels = {}
    for number, condition in enumerate(data["conditions"]):
        if kind == "attention" and all(model["condition"] != number for model in data["models"]):
            raise Damaged(f"conditions[{number}] has no models")
        for i, figure in enumerate(condition["figures"]):
            place = f"conditions[{number}].figures[{i}]"
            if figure["figure"] not in FIGURES[kind]:
                raise Damaged(f"{place}.figure is none of {', '.join(FIGURES[kind])}, those of kind {kind}")
            panels[number, figure["figure"]] = [variant["variant"] for variant in figure["variants"]]
            unique(panels[number, figure["figure"]], place)
            for j, variant in enumerate(figure["variants"]):
                belongs(variant["variant"], variants, f"{place}.variants[{j}].variant")
                same_length(variant["means"], points, f"{place}.variants[{j}].means")
    for i, one in enumerate(data["comparisons"]):
        place = f"comparisons[{i}]"
        if (one["condition"], one["figure"]) not in panels:
            raise Damaged(f"{place}.condition has no such figure")
        for side in ("candidate", "baseline"):
            belongs(one[side], panels[one["condition"], one["figure"]], f"{place}.{side}")
        same_length(one["points"], points, f"{place}.points")


def read(directory):
    """The evaluation in a directory. Raises schema.Damaged."""
    return read_json(directory / "evaluation.json", "ssgpt-evaluation", VERSION, evaluation)

"""The fields of comparison.json, evaluation.json and closed_forms.json that are drawn, and what must agree between them. The fields
themselves are described where they are written, in src/report."""

from report_page.needle_formats import grid, needle, needle_attention
from report_page.schema import (
    CONFIG, FINITE, TEXT, Damaged, anything, choice, count, drawn, fields, flag, known, mapping, name, number, same_length, several, share,
    text, too_large,
)  # fmt: skip

COMPARISON_VERSION = 2
EVALUATION_VERSION = 1
CLOSED_FORMS_VERSION = 1
OUTCOMES = ("training", "validation", "whole_curve", "tokens")
VERDICTS = ("lower", "higher", "no verdict")
METHODS = ("none", "seeds, paired", "seeds, unpaired")
LARGEST_RATIO = 100.0  # of the logarithms of tokens

MANY = 200  # comparisons, variants or conditions: more make a picture that no program shows
CURVES = 500  # comparisons of an evaluation, of all conditions
MODELS = 2000  # of all variants, seeds and conditions
NOTES = 5000  # several of each run

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
notes = several(fields({"warning": flag, "text": text(TEXT)}), most=NOTES)


def without_large_interval(found):
    """An interval of which an end or the mean is too large to be drawn is not known, as a whole."""
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


def outcome(more, limit=None):
    """One of a comparison's; those of the tokens are logarithms of ratios up to `limit`."""
    checks = {**ESTIMATE, "candidates_corrected_for": count(), **more}
    if limit:
        ratio = known(number(-limit, limit))
        checks |= {"mean_difference": ratio, "low": ratio, "high": ratio}
    check_fields = fields(checks)

    def check(found, where):
        without_large_interval(found)
        check_fields(found, where)
        interval_of(found, where)
        if found["low"] is not None and found["method"] == "none":
            raise Damaged(f"{where} has an interval and no method")

    return check


def curve_noise(found, where):
    fields({"standard_error": value, "points": count()})(found, where)
    if found["standard_error"] is not None:
        fields({"batches": count(), "correlation_points": number()})(found, where)


noisy = {"curve_noise": curve_noise}
percent = fields(dict.fromkeys(("mean", "low", "high", "smallest_detectable"), value))
seed_of_comparison = fields({"seed": count(), **dict.fromkeys(OUTCOMES, value), "tokens": known(number(-LARGEST_RATIO, LARGEST_RATIO))})
ONE_COMPARISON = fields(
    {
        "candidate": name,
        "baseline": name,
        "verdict": choice(*VERDICTS),
        "failed": known(text(TEXT)),
        "paired": flag,
        "attention_alone_differs": flag,
        "training": outcome(noisy),
        "validation": known(outcome(noisy)),
        "whole_curve": outcome({}),
        "tokens": outcome({"percent": percent}, LARGEST_RATIO),
        "token_losses": fields({"highest": value, "lowest": value}),
        "seeds": several(seed_of_comparison),
        "validation_difference": several(value),
        "segments": several(
            fields({"first_step": count(), "last_step": count(), "baseline": value, "candidate": value, "difference": value})
        ),
        "settings": several(fields({"key": name, "baseline": text(CONFIG), "candidate": text(CONFIG), "material": flag})),
    }
)
VARIANT = fields(
    {"label": name, "runs": labels, "averaged_runs": labels, "tokens_to_baseline_final_loss": known(number(0))}
)


def run_record(found, where):
    """Of run.json whatever there is; the command is one text, or a list of words."""
    mapping(anything)(found, where)
    if "command" in found:
        check = several(text(CONFIG)) if isinstance(found["command"], list) else text(CONFIG)
        check(found["command"], f"{where}.command")


RUN = fields(
    {
        "label": text(),
        "directory": text(),
        "seed": count(),
        "last_step": count(),
        "max_steps": count(),
        "run": run_record,
        "config": text(CONFIG),
    }
)
COMPARISON = fields(
    {
        "deciding_outcome": choice("training"),
        "baseline": name,
        "outcomes": several(fields({"name": choice(*OUTCOMES), "title": name}), least=1),
        "comparisons": several(ONE_COMPARISON, least=1, most=MANY),
        "window": fields({"first_step": count(), "last_step": count()}),
        "shared": fields({"tokens": count()}),
        "smoothing_steps": number(0),
        "target_loss": value,
        "variants": several(VARIANT, least=1, most=MANY),
        "validation": fields({"steps": several(count())}),
        "runs": several(RUN, least=1, most=MODELS),
        "settings": mapping(anything),
        "notes": notes,
    }
)


def unique(found, where):
    if len(set(found)) < len(found):
        raise Damaged(f"{where}: a name stands there twice")


def belongs(label, among, where):
    if label not in among:
        raise Damaged(f"{where} is {label!r:.60}, which is none of the variants")


def comparison(data, where):
    """The check of a whole comparison.json."""
    COMPARISON(data, where)
    variants = [variant["label"] for variant in data["variants"]]
    unique(variants, "variants")
    unique([outcome["name"] for outcome in data["outcomes"]], "outcomes")
    if "training" not in [outcome["name"] for outcome in data["outcomes"]]:
        raise Damaged("outcomes lacks training")
    belongs(data["baseline"], variants, "baseline")
    segments = len(data["comparisons"][0]["segments"])
    for i, one in enumerate(data["comparisons"]):
        place = f"comparisons[{i}]"
        belongs(one["candidate"], variants, f"{place}.candidate")
        belongs(one["baseline"], variants, f"{place}.baseline")
        if len(one["segments"]) != segments:
            raise Damaged(f"{place}.segments has {len(one['segments'])} entries, not {segments} as the first")
        if len(one["validation_difference"]) != len(data["validation"]["steps"]):
            raise Damaged(f"{place}.validation_difference is not as long as validation.steps")


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
FIGURES = {"position": ("loss",), "retrieval": ("accuracy", "loss"), "needle": ("share_right", "margin"), "attention": ()}
ANY_FIGURE = choice("loss", "accuracy", "share_right", "margin")
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
        "conditions": several(fields({"title": name, "figures": several(FIGURE, most=2)}), least=1, most=MANY),
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
                }
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
    "attention": ("bins", fields({"first": count(), "last": count()})),
}
ATTENTION_FIGURES = ("entropy", "largest_weight", "first_token_weight", "effective_row_scale")
curves = dict.fromkeys(ATTENTION_FIGURES, several(value, least=1))
LAYERS = 1000  # of a model
ATTENTION = fields(
    {
        "spread_evenly": fields(dict.fromkeys(("entropy", "weight"), several(value, least=1))),
        "layers": several(fields({**curves, "heads": several(fields(curves), least=1)}), least=1, most=LAYERS),
    }
)


def attention(model, points, where):
    """The check of what the attention of a model does at so many points."""
    ATTENTION(model, where)
    for key in ("entropy", "weight"):
        same_length(model["spread_evenly"][key], points, f"{where}.spread_evenly.{key}")
    for i, layer in enumerate(model["layers"]):
        for key in ATTENTION_FIGURES:
            same_length(layer[key], points, f"{where}.layers[{i}].{key}")
            for j, head in enumerate(layer["heads"]):
                same_length(head[key], points, f"{where}.layers[{i}].heads[{j}].{key}")


def evaluation(data, where):
    """The check of a whole evaluation.json."""
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
        if bool(condition["figures"]) == (kind == "attention"):
            raise Damaged(f"conditions[{number}].figures has {len(condition['figures'])} entries")
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
    """The check of a whole closed_forms.json."""
    CLOSED_FORMS(data, where)
    for form, axis in (("fading", "lengths"), ("focus", "maxima")):
        for i, curve in enumerate(data[form]["curves"]):
            same_length(curve["weights"], data[form][axis], f"{form}.curves[{i}].weights")

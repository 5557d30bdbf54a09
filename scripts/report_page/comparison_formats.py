"""The fields of comparison.json that are drawn, and how they must agree."""

from report_page.formats import (
    ESTIMATE, MANY, MODELS, ORIGIN, VERDICTS, belongs, interval_of, labels, notes, unique, value, without_large_interval,
)  # fmt: skip
from report_page.schema import (
    CONFIG, TEXT, Damaged, anything, choice, count, fields, flag, known, mapping, name, number, read_json, several, text,
)  # fmt: skip

VERSION = 2
OUTCOMES = ("training", "validation", "whole_curve", "tokens")
LARGEST_RATIO = 100.0  # of the logarithms of tokens


def outcome(more, limit=None):
    """Checks one outcome of a comparison; those of the tokens are logarithms of ratios up to `limit`."""
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
        **ORIGIN,
    },
    optional=ORIGIN,
)
VARIANT = fields(
    {"label": name, "runs": labels, "averaged_runs": labels, "tokens_to_baseline_final_loss": known(number(0))}
)


def run_record(found, where):
    """Checks what is there of a run.json; the command is one text, or a list of words."""
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


def comparison(data, where):
    """Checks a whole comparison.json."""
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


def read(directory):
    """The comparison in a directory. Raises schema.Damaged."""
    return read_json(directory / "comparison.json", "ssgpt-comparison", VERSION, comparison)

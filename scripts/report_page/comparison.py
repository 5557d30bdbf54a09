"""comparison.json and comparison.csv, as `ssgpt compare --out DIR` writes them, laid out for drawing."""

import csv
import io
import math

from report_page import comparison_formats
from report_page.elements import padded
from report_page.schema import LARGEST, Damaged, read_text
from report_page.styles import color, slots


def as_number(text, place):
    """The number; NaN for an empty cell and for a value that is not finite."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        raise Damaged(f"{place} is {text!r:.60}, not a number")
    return value if abs(value) <= LARGEST else math.nan


def read_columns(path):
    """{name: numbers of that column}, NaN for an empty cell and for a value that is not finite."""
    try:
        names, *rows = csv.reader(io.StringIO(read_text(path), newline=""))
    except (csv.Error, ValueError) as error:
        raise Damaged(f"{path.name} is not a table: {error}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names):
            raise Damaged(f"{path.name}, line {number}: {len(row)} values for {len(names)} columns")
    return {
        name: [as_number(row[i], f"{path.name}, line {number}, {name}") for number, row in enumerate(rows, start=2)]
        for i, name in enumerate(names)
    }


class Comparison:
    """comparison.json, and the columns of comparison.csv as lists with NaN for absent values."""

    def __init__(self, directory):
        """Raises Damaged."""
        self.data = comparison_formats.read(directory)
        columns = read_columns(directory / "comparison.csv")
        self.check_columns(columns)
        trained = [i for i, first in enumerate(columns["first_step"]) if not math.isnan(first)]
        validation = [n for n in columns if n.startswith("validation/")]
        shared = set(self.data["validation"]["steps"])
        validated = [i for i, step in enumerate(columns["step"]) if step in shared]
        self.curves = {n: [v[i] for i in trained] for n, v in columns.items() if n not in validation}
        self.steps = self.curves["step"]
        self.validation = {n: [columns[n][i] for i in validated] for n in validation}
        self.validation_steps = [columns["step"][i] for i in validated]
        self.variants = self.data["variants"]
        self.comparisons = self.data["comparisons"]
        self.color = {label: color(slot) for label, slot in slots([v["label"] for v in self.variants]).items()}
        if not self.steps:
            raise Damaged("comparison.csv has no rows")
        if shared and len(self.validation_steps) != len(self.data["validation"]["steps"]):
            raise Damaged("comparison.csv lacks steps of validation.steps in comparison.json")

    def check_columns(self, columns):
        """Checks that the columns that are drawn exist, and that steps rise."""
        variants, comparisons = self.data["variants"], self.data["comparisons"]
        needed = ["step", "first_step"]
        needed += [f"loss/{run}" for v in variants for run in [*v["runs"], *v["averaged_runs"]]]
        needed += [f"smoothed/{v['label']}" for v in variants]
        needed += [f"{kind}/{one['candidate']}" for one in comparisons for kind in ("difference", "smoothed_difference")]
        if self.data["validation"]["steps"]:
            needed += [f"validation/{run}" for v in variants for run in v["averaged_runs"]]
        for name in needed:
            if name not in columns:
                raise Damaged(f"comparison.csv has no column {name}")
        steps = columns["step"]
        if any(first > step for first, step in zip(columns["first_step"], steps)):
            raise Damaged("comparison.csv: a first_step is after its step")
        if any(not before < after for before, after in zip([-math.inf, *steps], steps)):
            raise Damaged("comparison.csv: its steps do not rise")

    def step_range(self):
        """Limits of the step axis, also around a single step."""
        first, last = self.curves["first_step"][0], self.steps[-1]
        return (first, last) if first < last else (first - 0.5, last + 0.5)

    def validation_mean(self, variant):
        """The mean over the runs that are compared."""
        series = [self.validation[f"validation/{run}"] for run in variant["averaged_runs"]]
        if not series:
            return [math.nan] * len(self.validation_steps)
        return [sum(values) / len(values) for values in zip(*series)]

    def loss_range(self):
        """Limits that show most of the compared curves: from the lowest loss after the first tenth of the steps up to nearly
        all losses of the second tenth, of which a single one may be noise, and the later ones those of a run that diverges."""
        tenth = len(self.steps) // 10
        labels = [run for v in self.variants for run in v["averaged_runs"]]
        curves = [self.curves[f"loss/{run}"] for run in labels]
        raw = [v for c in curves for v in c[tenth:] if not math.isnan(v)]
        second = [sorted(v for v in c[tenth : 2 * tenth + 1] if not math.isnan(v)) for c in curves]
        top = max((values[-1 - len(values) // 50] for values in second if values), default=max(raw, default=1.0))
        return padded(min([*raw, *(v for v in self.validation_values() if v <= top)], default=0.0), top)

    def window_curves(self):
        """(steps, {variant: smoothed loss}) inside the window, for the enlarged view of its end."""
        window = self.data["window"]
        inside = [i for i, s in enumerate(self.steps) if window["first_step"] <= s <= window["last_step"]]
        smoothed = {v["label"]: [self.curves[f"smoothed/{v['label']}"][i] for i in inside] for v in self.variants}
        return [self.steps[i] for i in inside], smoothed

    def validation_values(self):
        return [v for c in self.validation.values() for v in c if not math.isnan(v)]

    def difference_range(self):
        """Limits that hold nearly all of the raw differences, zero and every interval."""
        begin = len(self.steps) // 25
        values = [0.0]
        for one in self.comparisons:
            raw = sorted(v for v in self.curves[f"difference/{one['candidate']}"][begin:] if not math.isnan(v))
            if raw:
                values += [raw[len(raw) // 50], raw[-1 - len(raw) // 50]]
            values += [v for v in self.curves[f"smoothed_difference/{one['candidate']}"][begin:] if not math.isnan(v)]
            values += [one["training"][k] for k in ("low", "high", "mean_difference") if one["training"][k] is not None]
        return padded(min(values), max(values))

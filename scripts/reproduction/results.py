"""Writes what the runs say of the abstract: results.md, with its pictures and figures beside it."""

import shutil

from report import report_directory
from report_page.files import write_text
from reproduction.claims import AGREES, CANNOT_TELL, DISAGREES, Results, load_claims, run_test

RULES = f"""The rules were written down before the runs, in [claims.yaml](CLAIMS): for each sentence one test that decides, and others that stand
beside it. A test is a difference between two kinds of attention, seed by seed, with the direction that the paper says.

- **{AGREES}**: the difference has that direction and a verdict ([statistics.md](STATISTICS): three pairs of seeds or more, p below 5 % after Holm's correction
  over all candidates and points of its table). Where two kinds are said to be alike: its whole 95 % interval lies within the margin that is named.
- **{DISAGREES}**: it has a verdict in the other direction; or, where two are said to be alike, one beyond the margin.
- **{CANNOT_TELL}**: everything else. Beside it stands the smallest difference that these seeds would have shown in 4 of 5 repetitions, where the table knows it.

Two seeds have no verdict, and so no answer; their differences are shown. Where no table tests a difference (to another candidate than the table's
baseline, or between two lengths) the 95 % interval of Student's t over the seeds decides, without a correction."""


def signed(value, digits=4):
    return "" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def digits_of(unit):
    return {"%": 1, "share": 3}.get(unit, 4)


def plain(value, digits):
    return "" if value is None else f"{value:.{digits}f}".replace("-", "−")


def interval_text(difference, digits):
    if difference.low is None:
        return f"none: {difference.seeds} {'seed' if difference.seeds == 1 else 'seeds'}"
    return f"{signed(difference.low, digits)} to {signed(difference.high, digits)}"


def p_text(difference):
    if difference.p is None:
        return ""
    return "< 0.0001" if difference.p < 1e-4 else f"{difference.p:.4f}" if difference.p < 0.01 else f"{difference.p:.2f}"


def test_row(outcome, decides):
    found, digits = outcome.difference, digits_of(outcome.unit)
    cells = [f"**{outcome.text}**" if decides else outcome.text, plain(found.baseline_mean, digits), plain(found.candidate_mean, digits),
             signed(found.mean, digits), interval_text(found, digits), p_text(found), plain(found.detectable, digits), str(found.seeds), outcome.answer]
    return "| " + " | ".join(cells) + " |"


def claim_section(claim, outcomes, pictures):
    head = "| test | baseline | candidate | difference | 95 % interval | p | detectable | seeds | answer |\n|---|---|---|---|---|---|---|---|---|"
    lines = [f"## {claim['title']}", "", f"> {claim['sentence']}", "", f"*The paper:* {claim['paper']}", "",
             f"*Here:* **{outcomes[0].answer if outcomes else 'not part of this size'}**", ""]
    if outcomes:
        lines += [head, *(test_row(outcome, i == 0) for i, outcome in enumerate(outcomes)), ""]
    if claim.get("note"):
        lines += [claim["note"].strip(), ""]
    for title, path in pictures:
        lines += [f"![{title}]({path})", ""]
    return lines


def summary(judged):
    lines = ["| the abstract | here | the deciding difference | 95 % interval | seeds |", "|---|---|---|---|---|"]
    for claim, outcomes in judged:
        if not outcomes:
            lines.append(f"| {claim['sentence']} | not part of this size | | | |")
            continue
        first = outcomes[0]
        digits = digits_of(first.unit)
        lines.append(f"| {claim['sentence']} | **{first.answer}** | {first.text}: {signed(first.difference.mean, digits)} {first.unit} | "
                     f"{interval_text(first.difference, digits)} | {first.difference.seeds} |")
    return lines


def commands(plan):
    lines = ["| stage | what it does | command |", "|---|---|---|"]
    for stage in plan.stages:
        command = plan.fill(stage.command).replace("|", "\\|")
        lines.append(f"| {stage.name} | {stage.title} | `{command}` |")
    return lines


def pn_fits(results):
    """Of learned p_n: the line that was fitted in each seed, from whatever evaluation extends it."""
    lines = []
    for stage in results.plan.stages:
        found = results.of(stage.name) if "--extend-pn" in stage.command else None
        fits = {model["seed"]: model["pn_fit"] for model in found.data["models"] if model.get("pn_fit")} if found else {}
        if not fits:
            continue
        lines += ["| seed | a1 | a2 | rms residual | largest residual |", "|---|---|---|---|---|"]
        lines += [f"| {seed} | {fit['a1']:.4f} | {fit['a2']:.4f} | {fit['rms_residual']:.4f} | {fit['max_residual']:.4f} |" for seed, fit in sorted(fits.items())]
    return lines


TABLES = ("comparison.json", "evaluation.json", "closed_forms.json")


def pictures_of(source):
    """Of a stage's results; drawn where the ones that are there are older than what they show."""
    made = [path for path in source.glob("*.png")]
    newest = max(path.stat().st_mtime_ns for name in TABLES if (path := source / name).exists())
    if not made or min(path.stat().st_mtime_ns for path in made) < newest:
        made = [path for path in report_directory(source) if path.suffix == ".png"]
    return sorted(made)


def draw(plan, folder):
    """Copies the pictures and tables of all stages into the folder; {stage: names of its pictures}."""
    drawn = {}
    for stage in plan.stages:
        source = plan.out / stage.name / ("report" if stage.is_sweep else "")
        tables = [source / name for name in TABLES if (source / name).exists()]
        if not tables:
            continue
        shutil.copyfile(tables[0], folder / f"{stage.name}.json")
        for picture in pictures_of(source):
            name = f"{stage.name}-{picture.stem}.png" if picture.stem == "needle_attention" else f"{stage.name}.png"
            shutil.copyfile(picture, folder / name)
            drawn.setdefault(stage.name, []).append(name)
    return drawn


def build(plan, results, claims, drawn, pictures_in, statistics):
    judged = []
    for claim in claims:
        outcomes = [run_test(test, results, plan.points) for test in claim["tests"]]
        judged.append((claim, [outcome for outcome in outcomes if outcome is not None]))
    lines = [f"# Results: the paper's abstract at the scale of `{plan.name}`", "",
             f"Generated by `scripts/reproduce.sh {plan.name}` from the runs; nothing in it is written by hand but what stands under "
             "[Commentary](#commentary). [The paper](https://arxiv.org/abs/2501.19399) is \"Scalable-Softmax Is Superior for Attention\"; what its abstract says stands here in our words.", ""]
    lines += summary(judged) + ["", "## How each is judged", "", RULES.replace("CLAIMS", f"{statistics}../{plan.claims}" if not plan.claims.is_absolute() else str(plan.claims)).replace("STATISTICS", f"{statistics}statistics.md"), ""]
    shown = set()
    for claim, outcomes in judged:
        stages = dict.fromkeys(outcome.stage for outcome in outcomes)
        pictures = [(f"{stage}: {claim['title']}", f"{pictures_in}/{name}") for stage in stages if stage not in shown for name in drawn.get(stage, [])]
        shown |= set(stages)
        lines += claim_section(claim, outcomes, pictures)
    if fits := pn_fits(results):
        lines += ["## The learned p_n", "", "The paper's Figure 2: of a model that learns one p_n for each n, p_n comes to a1 log n + a2. Here p_n begins flat "
                  "(`model.attention.pn_init: flat`), so that log n is not in it from the start; the fit of each seed:", "", *fits, ""]
    commentary = plan.folder / "commentary.md"
    if commentary.exists():
        lines += ["## Commentary", "", commentary.read_text(encoding="utf-8").strip(), ""]
    lines += ["## How to check", "", f"`scripts/reproduce.sh {plan.name}` runs all of it, some {sum(stage.minutes for stage in plan.stages):.0f} minutes on {plan.machine}; "
              "called again, it makes nothing twice, and after a stop it goes on. Figures are those of float32 on a CPU with the same instruction set, bit for bit, on any number of threads.", "",
              *commands(plan), ""]
    return "\n".join(lines)


def write(plan, docs=None):
    """Writes OUT/results.md with OUT/results/, and with `docs` the same as docs/results.md. Returns what was written. Throws schema.Damaged, OSError."""
    folder = plan.out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(plan, folder)
    results, claims = Results(plan), load_claims(plan.claims)
    written = [plan.out / "results.md"]
    to_docs = "/".join([".."] * len(plan.out.parts)) + "/docs/"
    write_text(written[0], build(plan, results, claims, drawn, "results", to_docs))
    if docs is not None:
        (docs / "results").mkdir(exist_ok=True)
        for file in sorted(folder.iterdir()):
            shutil.copyfile(file, docs / "results" / file.name)
        written.append(docs / "results.md")
        write_text(written[1], build(plan, results, claims, drawn, "results", ""))
    return written

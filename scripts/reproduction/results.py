"""Writes what the runs say of the abstract: results.md, with its pictures and tables beside it."""

import re
import shutil

from report import report_directory
from report_page.elements import signed
from report_page.files import write_text
from reproduction.claims import AGREES, CANNOT_TELL, DISAGREES, Results, judge

TABLES = ("comparison.json", "evaluation.json", "closed_forms.json")
RULES = f"""The rules were written before the runs, in [claims.yaml](CLAIMS). Each claim has one test that decides it and others that stand beside it. A test is the
difference between two kinds of attention, seed by seed, together with the direction that the paper expects.

- **{AGREES}**: the difference has the expected direction and a verdict by [statistics.md](STATISTICS): three pairs of seeds or more, and p below 5 % after Holm's
  correction over all candidates and points of the table that the figure comes from. The tables that decide were kept small for this reason.
- **{DISAGREES}**: the difference has a verdict in the other direction.
- **{CANNOT_TELL}**: there is no verdict. The column *detectable* gives the smallest difference that these seeds would have shown in 4 of 5 repetitions.
- **no answer**: fewer than three seeds. They give a difference and never an effect.

Rows with an empty answer are controls, or figures about which the paper says nothing; where no table tests a figure, its interval is Student's t without a correction. One
figure is tested here, by Student's t over the seeds with Holm's correction over the rows of its claim: the weight that the head which attends to the needle most
pays to it."""


def digits_of(unit):
    return {"%": 1, "share": 3}.get(unit, 4)


def plain(value, digits):
    return "" if value is None else f"{value:.{digits}f}".replace("-", "−")


def interval_text(difference, digits):
    return "" if difference.low is None else f"{signed(difference.low, digits)} to {signed(difference.high, digits)}"


def p_text(p):
    if p is None:
        return ""
    digits = 4 if p < 0.01 else 3 if p < 0.1 else 2  # enough of them to see on which side of 5 % it is
    return "< 0.0001" if p < 1e-4 else f"{p:.{digits}f}"


def test_row(outcome, decides):
    found, digits = outcome.difference, digits_of(outcome.unit)
    text = f"**{outcome.text}**" if decides else outcome.text
    if found is None:
        cells = [text, "", "", "", "", "", "", "", outcome.answer]
    else:
        cells = [text, plain(found.baseline_mean, digits), plain(found.candidate_mean, digits), f"{signed(found.mean, digits)} {outcome.unit}",
                 interval_text(found, digits), p_text(found.p), plain(found.detectable, digits), str(found.seeds), outcome.answer]
    return "| " + " | ".join(cells) + " |"


def summary(judged):
    lines = ["| what the abstract says | here | deciding test | 95 % interval | seeds |", "|---|---|---|---|---|"]
    for claim, outcomes in judged:
        first, found = outcomes[0], outcomes[0].difference
        digits = digits_of(first.unit)
        by = "" if found is None else f"{first.text}: {signed(found.mean, digits)} {first.unit}"
        lines.append(f"| {claim['sentence']} | **{first.answer}** | {by} | {interval_text(found, digits) if found else ''} | {found.seeds if found else ''} |")
    return lines


def claim_section(plan, claim, outcomes, pictures):
    lines = [f"## {claim['title']}", "", f"*The abstract:* {claim['sentence']}", "", f"*The paper's figures:* {claim['paper']}", "", f"*Here:* **{outcomes[0].answer}**", "",
             "| test | baseline | candidate | difference | 95 % interval | p | detectable | seeds | answer |", "|---|---|---|---|---|---|---|---|---|",
             *(test_row(outcome, i == 0) for i, outcome in enumerate(outcomes)), ""]
    for title, path in pictures:
        lines += [f"![{title}]({path})", ""]
    stages = dict.fromkeys(outcome.stage for outcome in outcomes)
    commands = [f"# {stage.name}\n{plan.fill(stage.command)}" for stage in plan.stages if stage.name in stages]
    return [*lines, "```sh", *commands, "```", ""]


def pn_fits(results):
    """Lines on learned p_n: the fit in each seed, from the first evaluation that extends it."""
    for stage in results.plan.stages:
        found = results.of(stage.name) if "--extend-pn" in stage.command else None
        fits = {model["seed"]: model["pn_fit"] for model in found.data["models"] if model.get("pn_fit")} if found else {}
        if fits:
            rows = [f"| {seed} | {fit['a1']:.4f} | {fit['a2']:.4f} | {fit['rms_residual']:.4f} | {fit['max_residual']:.4f} |" for seed, fit in sorted(fits.items())]
            return ["## The learned p_n", "", "This kind learns one number p_n for each n; in the paper's Figure 2 they follow a1 log n + a2. Here p_n starts flat (`model.attention.pn_init: flat`), so "
                    "that log n is not built into it. The table has a least-squares fit for each seed; a1 = 0 would mean that nothing of log n was learned.", "",
                    "| seed | a1 | a2 | rms residual | largest residual |", "|---|---|---|---|---|", *rows, ""]
    return []


def set_up(plan, results):
    """Lines on what was trained, from the records of the runs."""
    lines = ["| sweep | parameters | runs | seeds | steps | machine | revision |", "|---|---|---|---|---|---|---|"]
    for stage in plan.stages:
        found = results.of(stage.name) if stage.is_sweep else None
        if found is not None:
            runs = found.data["runs"]
            record = runs[0]["run"]
            lines.append(f"| {stage.title} | {record['num_parameters']:,} | {len(runs)} | {', '.join(map(str, sorted({run['seed'] for run in runs})))} | {runs[0]['max_steps']:,} | {record['hardware']['cpu']}, "
                         f"{record['hardware']['cpu_capability']} | {record['revision']} |")
    return lines if len(lines) > 2 else []


def pictures_of(source):
    """The pictures of a stage's results, drawn if they are missing; report.html is written last."""
    newest = max(path.stat().st_mtime_ns for name in TABLES if (path := source / name).exists())
    last = source / "report.html" if not (source / "closed_forms.json").exists() else source / "closed_forms.png"
    if not last.exists() or last.stat().st_mtime_ns < newest:
        report_directory(source)
    return sorted(source.glob("*.png"))


def gather(plan, folder):
    """Copies the tables of all stages, and the pictures that are shown, into the folder; returns {stage: names of its pictures}."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    drawn = {}
    for stage in plan.stages:
        source = plan.results_of(stage)
        tables = [source / name for name in TABLES if (source / name).exists()]
        if not tables:
            continue
        # Checkpoints are named from the repository on: its place on this machine is nobody else's.
        table = re.sub(rf'"/[^"]*/(?={re.escape(plan.out.as_posix())}/)', '"', tables[0].read_text(encoding="utf-8"))
        write_text(folder / f"{stage.name}.json", table)
        for picture in pictures_of(source) if stage.has_picture else []:
            name = f"{stage.name}-attention.png" if picture.stem == "needle_attention" else f"{stage.name}.png"
            shutil.copyfile(picture, folder / name)
            drawn.setdefault(stage.name, []).append(name)
    return drawn


def build(results, judged, drawn, beside, docs):
    """The page. `judged`: each claim with its outcomes; `beside`: path to the page's pictures, `docs`: path to the repository's documentation, both relative to
    the page."""
    plan = results.plan
    claims_path = str(plan.claims) if plan.claims.is_absolute() else f"{docs}../{plan.claims}"
    lines = [f"# Results: the paper at the scale of `{plan.name}`", "",
             f"Generated by `scripts/reproduce.sh {plan.name}`. [The paper](https://arxiv.org/abs/2501.19399) is \"Scalable-Softmax Is Superior for Attention\"; what its abstract and its figures "
             "say is given in our words.", ""]
    if missing := [stage.name for stage in plan.stages if plan.missing(stage)]:
        lines += [f"**Not finished:** there are no results yet of {', '.join(missing)}.", ""]
    lines += [*summary(judged), "", "## How each is judged", "", RULES.replace("CLAIMS", claims_path).replace("STATISTICS", f"{docs}statistics.md"), ""]
    shown = set()
    for claim, outcomes in judged:
        stages = dict.fromkeys([*(outcome.stage for outcome in outcomes), *claim.get("pictures", [])])
        pictures = [(f"{claim['title']}: {stage}", f"{beside}/{name}") for stage in stages if stage not in shown for name in drawn.get(stage, [])]
        shown |= set(stages)
        lines += claim_section(plan, claim, outcomes, pictures)
    lines += pn_fits(results)
    commentary = plan.folder / "commentary.md"
    if commentary.exists():
        lines += ["## Commentary", "", "Written by hand after the runs.", "", commentary.read_text(encoding="utf-8").strip(), ""]
    lines += ["## How to check", "", f"`scripts/reproduce.sh {plan.name}` runs all of it, in some {sum(stage.minutes for stage in plan.stages):.0f} minutes on {plan.machine}. "
              f"The same call resumes after a stop and repeats nothing that is done. {plan.note}".strip(), "", *set_up(plan, results), ""]
    lines += ["| stage | what it does |", "|---|---|", *(f"| {stage.name} | {stage.title} |" for stage in plan.stages), ""]
    return "\n".join(lines)


def write(plan, claims, docs=None):
    """Writes OUT/results.md with OUT/results/, and if `docs` is given the same as docs/results.md (docs/results-NAME.md for sizes other than cpu). Returns the
    paths written. Raises schema.Damaged, OSError."""
    results = Results(plan)
    judged = [(claim, judge(claim, results, plan.points)) for claim in claims]
    drawn = gather(plan, plan.out / "results")
    page = plan.out / "results.md"
    write_text(page, build(results, judged, drawn, "results", "../" * len(plan.out.parts) + "docs/"))
    if docs is None:
        return [page]
    name = "results" if plan.name == "cpu" else f"results-{plan.name}"
    docs.mkdir(exist_ok=True)
    shutil.rmtree(docs / name, ignore_errors=True)
    shutil.copytree(plan.out / "results", docs / name)
    write_text(docs / f"{name}.md", build(results, judged, drawn, name, ""))
    return [page, docs / f"{name}.md"]

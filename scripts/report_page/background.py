"""The parts of the page behind the result: settings, method, notes, and where the runs come from."""

import json

from report_page.elements import esc, plain, section, shortened, table

SETTING_NAMES = {
    "hidden_size": "hidden size",
    "num_hidden_layers": "layers",
    "num_attention_heads": "attention heads",
    "intermediate_size": "feed-forward size",
    "vocab_size": "vocabulary",
    "sequence_length": "sequence length",
    "global_batch_size": "sequences per step",
    "tokens_per_step": "tokens per step",
    "positions_per_step": "positions per step",
    "max_steps": "steps",
    "lr": "learning rate",
    "warmup_steps": "warm-up steps",
    "weight_decay": "weight decay",
    "clip_grad_norm": "gradient clipping",
}


LONGEST_CELL = 600  # characters of a value in a table; a command may hold as many words as there are files
LONGEST_COMMAND = 8000


def cell(value):
    return esc(shortened(str(value), LONGEST_CELL))


def settings(comparison):
    parts = ['<div class="columns">']
    for one in comparison.comparisons:
        rows = [(s["material"], [cell(s[k]) for k in ("key", "baseline", "candidate")]) for s in one["settings"]]
        material, other = ([row for is_material, row in rows if is_material == wanted] for wanted in (True, False))
        head = ["setting", esc(one["baseline"]), esc(one["candidate"])]
        said = (
            "Only attention differs."
            if one["attention_alone_differs"]
            else "Nothing but the seed differs."
            if not material
            else "More than attention differs."
        )
        title = "What differs" if len(comparison.comparisons) == 1 else f"What differs: {esc(one['candidate'])}"
        parts.append(
            f"<div><h3>{title}</h3><p>{said}</p>" + (table(head, material, "text keys-table") if material else "")
        )
        if other:
            parts.append(
                f"<details><summary>Settings without effect on what is learnt that differ: {len(other)}</summary>{table(head, other, 'text keys-table')}</details>"
            )
        parts.append("</div>")
    runs = comparison.data["runs"]
    rows = (
        [["parameters", f"{runs[0]['run']['num_parameters']:,}"]]
        if isinstance(runs[0]["run"].get("num_parameters"), int)
        else []
    )
    rows += [
        [SETTING_NAMES.get(k, esc(k)), f"{v:,}" if isinstance(v, int) else cell(v)]
        for k, v in comparison.data["settings"].items()
    ]
    parts.append(f"<div><h3>Set-up of {esc(comparison.data['baseline'])}</h3>{table([], rows, 'text')}</div></div>")
    return section("Settings", "", "".join(parts))


METHOD = """<ul>
<li>Each line of a run’s log holds the mean training loss since the line before. Losses are compared over the stretches of steps that the lines of all runs share
which reached the end of the comparison: the last step of the longest baseline run that a run of another variant reaches too.
Runs of one seed start from the same weights and read the same text in the same order, so both contain most of the noise of a step, and it cancels in their difference.</li>
<li>The difference is candidate minus baseline, averaged over the window, in nats per token.</li>
<li>Runs that differ in anything drift apart and stay apart, so the effect of a change can only be told from several seeds. If both sides have three or more seeds in
common, the 95&nbsp;% interval and p are those of a paired t test on the seeds’ differences; without shared seeds, of Welch’s test on the runs. Fewer seeds give no verdict.</li>
<li>The verdict is “lower” or “higher” if p is below 0.05, no run diverged in the window or stopped before its last step, and the validation loss does not say the opposite; else
there is no verdict. The p values of several candidates are corrected after Holm (Scandinavian Journal of Statistics 6(2), 1979) within each outcome; an interval is for its own candidate alone.</li>
<li>The noise along a curve is the standard error of non-overlapping batch means of the difference in the window (Schmeiser, Operations Research 30(3), 1982), each over
at least three correlation times of the points (Sokal’s window; Wolff, Comput. Phys. Commun. 156, 2004). It holds for this pair of curves and does not include the scatter between seeds.</li>
<li>Tokens to the same loss: each curve is fitted by straight lines in the logarithm of the tokens, each over a fifth of the points. The logarithm of the tokens at which the curve comes down
to a loss is averaged over the losses from the lowest that any compared run has at a quarter of the steps, down to the highest final loss. Shown is the mean difference, in per cent.</li>
<li>The whole curve and the tokens have no verdict if a run has a loss that is not finite anywhere; the other outcomes have none if such a loss is in the window.</li>
<li>Every evaluation reads the same validation text, so the choice of that text is not part of the error of the validation loss.</li>
<li>The smallest difference that the experiment could show is one that 80&nbsp;% of repetitions find, by the noncentral t distribution with the scatter of these seeds,
at 5&nbsp;% divided by the number of candidates. The seeds needed are those for a difference as large as the one observed.</li></ul>"""


def method(comparison):
    rows, noise = [], []
    for one in comparison.comparisons:
        for outcome in comparison.data["outcomes"]:
            e = one[outcome["name"]]
            if e is None:
                continue
            name = f"{esc(one['candidate'])}, {esc(outcome['title'])}"
            figures = [plain(e[k]) for k in ("seed_scatter", "standard_error")]
            rows.append([name, esc(e["method"]), e["values"], *figures, plain(e["degrees_of_freedom"], 1)])
            n = e.get("curve_noise")
            if n and n["standard_error"] is not None:
                noise.append(
                    [name, plain(n["standard_error"]), n["batches"], f"{n['correlation_points']:.1f} of {n['points']}"]
                )
    body = table(["", "error from", "seeds", "scatter of seeds", "std. error", "d.o.f."], rows)
    if noise:
        body += "<h3>Noise along the curve of the difference</h3>" + table(
            ["", "std. error", "batches", "correlated points"], noise
        )
    return section("How the numbers were made", "", METHOD + body)


def notes(comparison):
    items = "".join(
        f'<div class="note{" warning" if n["warning"] else ""}">{esc(n["text"])}</div>'
        for n in comparison.data["notes"]
    )
    return section("Notes", "", items) if items else ""


def flat(value):
    if isinstance(value, dict):
        return ", ".join(f"{k} {flat(v)}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value)


def provenance(comparison):
    parts = []
    for run in comparison.data["runs"]:
        info = run["run"]
        rows = [
            ["directory", esc(run["directory"])],
            ["seed", run["seed"]],
            ["steps", f"{run['last_step']:,} of {run['max_steps']:,}"],
        ]
        rows += [[esc(k), cell(flat(info[k]))] for k in ("run_id", "revision", "versions", "hardware") if k in info]
        parts.append(f"<h3>{esc(run['label'] or run['directory'])}</h3>{table([], rows, 'text')}")
        if "command" in info:
            command = info["command"] if isinstance(info["command"], str) else " ".join(info["command"])
            parts.append(f"<pre>{esc(shortened(command, LONGEST_COMMAND))}</pre>")
        parts.append(f"<details><summary>Config as resolved</summary><pre>{esc(run['config'])}</pre></details>")
    return section("Where it comes from", "", "".join(parts))

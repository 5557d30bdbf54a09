"""The parts of the page behind the result: settings, method, notes, and where the runs come from."""

import json

from report_page.elements import esc, plain, section, table

SETTING_NAMES = {
    "hidden_size": "hidden size",
    "num_hidden_layers": "layers",
    "num_attention_heads": "attention heads",
    "intermediate_size": "feed-forward size",
    "vocab_size": "vocabulary",
    "sequence_length": "sequence length",
    "global_batch_size": "sequences a step",
    "tokens_per_step": "tokens a step",
    "max_steps": "steps",
    "lr": "learning rate",
    "warmup_steps": "warm-up steps",
    "weight_decay": "weight decay",
    "clip_grad_norm": "gradient clipping",
}


def settings(comparison):
    parts = ['<div class="columns">']
    for one in comparison.comparisons:
        material = [[esc(s["key"]), esc(s["baseline"]), esc(s["candidate"])] for s in one["settings"] if s["material"]]
        other = [[esc(s["key"]), esc(s["baseline"]), esc(s["candidate"])] for s in one["settings"] if not s["material"]]
        head = ["setting", esc(one["baseline"]), esc(one["candidate"])]
        said = (
            "Attention alone differs."
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
        [SETTING_NAMES.get(k, esc(k)), f"{v:,}" if isinstance(v, int) else esc(v)]
        for k, v in comparison.data["settings"].items()
    ]
    parts.append(f"<div><h3>Set-up of {esc(comparison.data['baseline'])}</h3>{table([], rows, 'text')}</div></div>")
    return section("Settings", "", "".join(parts))


METHOD = """<ul>
<li>A run’s log holds the mean training loss since its last line. Losses are compared over the stretches of steps that the lines of all runs share.
Runs of one seed start from the same weights and read the same text in the same order, so most of the noise of a step is in both, and cancels in their difference.</li>
<li>The difference is candidate minus baseline, averaged over the window; in nats a token.</li>
<li>With one pair of runs the standard error comes from non-overlapping batch means: the window is cut into up to 20 stretches, whose means scatter as the mean itself would,
however much neighbouring steps depend on each other (Schmeiser, Operations Research 30(3), 1982). Each stretch holds three correlation times of the points or more, estimated from their autocorrelations (Sokal’s window; Wolff, Comput. Phys. Commun. 156, 2004);
where five such stretches do not fit into the window, there is no verdict.
With several seeds it is the scatter of the differences between seeds. The 95&nbsp;% interval is Student’s t.</li>
<li>“Lower” or “higher” is said where that interval lies on one side of zero, the window is long enough, no run diverged in it, and the validation loss does not say the opposite; else there is no verdict.</li>
<li>Every evaluation reads the same validation text, so the choice of that text is not in the error of the validation loss.</li>
<li>The smallest difference that the experiment could show is (t<sub>0.975</sub> + t<sub>0.80</sub>) standard errors: a true difference of that size is found in 80&nbsp;% of repetitions
(Bloom, Evaluation Review 19(5), 1995).</li></ul>"""


def method(comparison):
    rows = []
    for one in comparison.comparisons:
        for name in ("training", "validation"):
            e = one[name]
            if e is None:
                continue
            detail = (
                f"{e['batches']} batches, correlation over {e['correlation_points']:.1f} of {e['values']} points"
                if "batches" in e
                else f"{e['values']} {e['values_are']}"
            )
            rows.append(
                [
                    f"{esc(one['candidate'])}, {name}",
                    esc(e["method"]),
                    detail,
                    plain(e["standard_error"]),
                    plain(e["degrees_of_freedom"], 1),
                ]
            )
    return section(
        "How the numbers were made", "", METHOD + table(["", "error from", "of", "std. error", "d.o.f."], rows)
    )


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
        rows += [[esc(k), esc(flat(info[k]))] for k in ("run_id", "revision", "versions", "hardware") if k in info]
        parts.append(f"<h3>{esc(run['label'] or run['directory'])}</h3>{table([], rows, 'text')}")
        if "command" in info:
            command = info["command"]
            parts.append(f"<pre>{esc(command if isinstance(command, str) else ' '.join(map(str, command)))}</pre>")
        parts.append(f"<details><summary>Config as resolved</summary><pre>{esc(run['config'])}</pre></details>")
    return section("Where it comes from", "", "".join(parts))

"""A study of fine-tuned models: pretrained seeds, each fine-tuned in a second sweep, and what their comparison may claim."""

import json
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT, read_metrics, without_timing
from needle_models import PIECES, copied_models, needle, sentences, step

KINDS = {kind: {"model.attention.kind": kind} for kind in ("softmax", "ssmax")}
SEEDS = (1, 2, 3)
RUNS = [f"{kind}-seed{seed}" for seed in SEEDS for kind in KINDS]


@pytest.fixture(scope="module")
def made(made_once, tmp_path_factory):
    """Softmax and SSMax with three seeds each in `sweep`, and the examples for fine-tuning."""
    program = copied_models(made_once, tmp_path_factory.mktemp("tuned"))
    lines = [{"prompt": sentences(2, seed), "answer": " 3.14 into water."} for seed in range(100, 130)]
    (program.directory / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return program


def sweep_file(program, name, variants=KINDS, **keys):
    """A sweep of fine-tunings for five epochs, starting from `init_from`."""
    base = json.loads((program.directory / "base.json").read_text())
    base["data"] |= {"format": "sft", "train": ["examples.jsonl"]}
    base["train"] |= {"epochs": 5}
    del base["train"]["max_steps"]
    (program.directory / f"{name}-base.json").write_text(json.dumps(base))
    path = program.directory / f"{name}.json"
    path.write_text(json.dumps({"base": f"{name}-base.json", "variants": variants, "seeds": list(SEEDS), "jobs": 1, **keys}))
    return path.name


def tune(program, name, code=0, **keys):
    return program.run("sweep", "--config", sweep_file(program, name, **keys), "--run-dir", name, code=code)


def ask(program, *models, **options):
    checkpoints = [word for model in models for word in ("--checkpoint", model)]
    return needle(program, *checkpoints, "--lengths", 100, "--depths", "0", "--trials", 2, *options.pop("more", []), **options)


def compare(program, *runs, more=("--json",)):
    out, _ = program.run("compare", *runs, *more)
    return json.loads(out)["comparisons"] if "--json" in more else out


@pytest.fixture(scope="module")
def tuned(made):
    tune(made, "tuned", init_from="sweep/{variant}-seed{seed}")
    return made


def test_each_run_begins_with_the_weights_of_its_variant_and_seed(tuned):
    for run in RUNS:
        record = json.loads((tuned.directory / "tuned" / run / "run.json").read_text())
        (parent,) = record["ancestors"]
        assert record["parent"] == parent["checkpoint"] == str(tuned.directory / step(f"sweep/{run}"))
        assert parent["run_id"] == json.loads((tuned.directory / "sweep" / run / "run.json").read_text())["run_id"]
        assert parent["step"] == 4 and f"seed: {run[-1]}\n" in parent["config"]
    # As done by hand.
    config = ["--config", "tuned/configs/ssmax-seed2.yaml", "--init-from", step("sweep/ssmax-seed2")]
    tuned.run("train", *config, "--run-dir", "by-hand")
    curve = read_metrics(tuned.directory / "by-hand")
    assert without_timing(read_metrics(tuned.directory / "tuned/ssmax-seed2")) == without_timing(curve)
    # The epochs are the steps that training itself counts.
    listed = json.loads(tuned.run("sweep", "--config", "tuned.json", "--run-dir", "tuned", "--list", "--json")[0])
    assert [run["max_steps"] for run in listed] == [len(curve)] * 6 and all(run["state"] == "done" for run in listed)


def test_tuned_seeds_are_pairs_of_one_candidate(tuned):
    """The six runs given by themselves, which no sweep holds together."""
    runs = [f"tuned/{run}" for run in RUNS]
    (one,) = compare(tuned, *runs)
    assert [pair["seed"] for pair in one["seeds"]] == list(SEEDS)
    assert one["training"]["method"] == "seeds, paired" and one["training"]["p"] is not None
    assert one["independent"] is True and one["origin"] is None and one["attention_alone_differs"] is True
    result, _ = ask(tuned, *runs, more=["--json"])
    assert [c["figure"] for c in result["comparisons"]] == ["share_right", "margin"]
    names = [f"{title} from 3 runs, step-00000004" for title in ("Softmax", "SSMax")]
    assert [v["variant"] for v in result["conditions"][0]["figures"][0]["variants"]] == names
    for c in result["comparisons"]:
        assert c["independent"] is True and [pair["seed"] for pair in c["points"][0]["seeds"]] == list(SEEDS)
    assert not any("parent" in note["text"] for note in result["notes"])


def test_seeds_of_the_tuning_alone_have_no_verdict(made):
    tune(made, "repeated", init_from="sweep/{variant}-seed1")
    (one,) = compare(made, "repeated")
    assert one["verdict"] == "no verdict" and one["independent"] is False and one["training"]["p"] is None
    assert "began from 1" in one["origin"] and one["origin"] in one["summary"]
    for outcome in ("training", "whole_curve", "tokens"):
        assert one[outcome]["verdict"] == "no verdict" and one[outcome]["low"] is None
    text, _ = ask(made, "repeated", more=["--out", "asked"])
    assert "are not independent samples" in text and "p, Holm" not in text
    result = json.loads((made.directory / "asked/evaluation.json").read_text())
    for c in result["comparisons"]:
        assert all(p["verdict"] == "no verdict" and p["p"] is None for p in c["points"])
    compare(made, "repeated", more=("--out", "compared"))
    for folder in ("asked", "compared"):
        drawn = subprocess.run([sys.executable, ROOT / "scripts/report.py", made.directory / folder], capture_output=True, text=True)
        assert drawn.returncode == 0, drawn.stderr
        page = (made.directory / folder / "report.html").read_text()
        assert "are not independent samples" in page and "three are needed" not in page and "three or more are needed" not in page


def test_copies_of_checkpoints_tell_what_they_began_from(tuned, made):
    """Those of six tunings of two models, each on its own in a folder, and one that continues from such a copy."""
    tune(made, "moved", init_from="sweep/{variant}-seed1")
    newest = [max((made.directory / f"moved/{run}/checkpoints").glob("step-*")) for run in RUNS]
    copies = [shutil.copytree(checkpoint, made.directory / f"copies/{run}") for checkpoint, run in zip(newest, RUNS)]
    shutil.rmtree(made.directory / "moved")
    result, _ = ask(made, *copies, more=["--json"])
    for c in result["comparisons"]:
        assert c["independent"] is False and all(p["verdict"] == "no verdict" and p["p"] is None for p in c["points"])
    assert not any("not known what" in note["text"] for note in result["notes"])
    made.run("train", "--config", "base.json", "--init-from", copies[0], "--run-dir", "of-copy")
    record = json.loads((made.directory / "of-copy/run.json").read_text())
    state = json.loads((made.directory / step("of-copy") / "trainer/state.json").read_text())
    assert [one["checkpoint"] for one in record["ancestors"]] == [str(made.directory / step("sweep/softmax-seed1")), str(copies[0])]
    assert state["beginning"] == {key: record[key] for key in ("first_step", "parent", "ancestors")}


def test_a_verdict_from_one_checkpoint_is_said_to_hold_for_it(made):
    rates = {"slow": {"optimizer.lr": 1e-4}, "fast": {"optimizer.lr": 1e-2}}
    tune(made, "rates", variants=rates, init_from=step("sweep/softmax-seed1"))
    (one,) = compare(made, "rates")
    assert one["independent"] is True and one["training"]["p"] is not None
    said = f"the same checkpoint, {made.directory / step('sweep/softmax-seed1')}: a verdict holds for that checkpoint"
    assert said in one["origin"] and one["origin"] in one["summary"]
    assert said in ask(made, "rates")[0]


def test_records_of_an_earlier_version_are_told_by_their_paths(tuned):
    shutil.copytree(tuned.directory / "tuned", tuned.directory / "earlier")
    for run in RUNS:
        path = tuned.directory / "earlier" / run / "run.json"
        record = json.loads(path.read_text())
        del record["ancestors"]
        path.write_text(json.dumps(record))
    found = compare(tuned, *(f"earlier/{run}" for run in RUNS))
    assert len(found) == 5 and all(one["verdict"] == "no verdict" for one in found)


def test_what_no_run_can_begin_from_is_refused_by_name(tuned):
    def refused(code=2, **keys):
        _, err = tune(tuned, "refused", code=code, **keys)
        assert not (tuned.directory / "refused").exists() or not list((tuned.directory / "refused").glob("*seed*"))
        return err

    shutil.copytree(tuned.directory / "sweep", tuned.directory / "parents")
    shutil.rmtree(tuned.directory / "parents/ssmax-seed2")
    shutil.rmtree(tuned.directory / "parents/softmax-seed3/checkpoints")
    err = refused(init_from="parents/{variant}-seed{seed}")
    assert "ssmax-seed2: parents/ssmax-seed2 is no such run" in err
    assert "softmax-seed3: parents/softmax-seed3 holds no complete checkpoint" in err
    assert "ssmax-seed1:" not in err
    err = refused(init_from="sweep/softmax-seed{seed}")
    assert "has attention kind softmax, and the run begins with ssmax" in err
    err = refused(init_from="sweep/{variant}-seed{seed}", variants={"ssmax": {**KINDS["ssmax"], "model.hidden_size": 64}})
    assert "model.hidden_size: 32 in the checkpoint, 64 in the config" in err
    assert f"model.vocab_size: {PIECES}" not in err
    assert 'init_from = "sweep/{kind}": expected' in refused(init_from="sweep/{kind}")
    tuned.run("train", "--resume", "parents/ssmax-seed1", "--set", "train.max_steps=6")
    shutil.copytree(tuned.directory / "sweep/ssmax-seed2", tuned.directory / "parents/ssmax-seed2")
    err = refused(init_from="parents/{variant}-seed{seed}", variants={"ssmax": KINDS["ssmax"]})
    assert "ssmax: its seeds would begin at different steps (seed 1: 6, seed 2: 4, seed 3: 4)" in err
    # Runs that have begun keep their starting point.
    file = sweep_file(tuned, "changed", init_from="sweep/{variant}-seed1")
    err = tuned.run("sweep", "--config", file, "--run-dir", "tuned", code=2)[1]
    assert f"ssmax-seed2: it began from {tuned.directory / step('sweep/ssmax-seed2')}, not sweep/ssmax-seed1" in err

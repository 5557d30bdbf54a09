"""scripts/reproduce.py: a plan runs to its results, resumes after SIGKILL to the same ones, and judges by its rules."""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import BINARY, ROOT
from documented import blocks, commands_of
from made_plan import write_plan

SCRIPT = ROOT / "scripts" / "reproduce.py"
sys.path.insert(0, str(ROOT / "scripts"))
from reproduction.claims import AGREES, CANNOT_TELL, DISAGREES, load_claims
from reproduction.figures import Comparison
from reproduction.plan import load_plan

STAGES = len(yaml.safe_load((ROOT / "configs/reproduce/stages.yaml").read_text()))


def start(folder, *arguments):
    return subprocess.Popen([sys.executable, SCRIPT, *map(str, arguments)], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env={**os.environ, "SSGPT_BIN": str(BINARY)})


def reproduce(folder, *arguments, code=0):
    process = start(folder, *arguments)
    out, err = process.communicate()
    assert process.returncode == code, out + err
    return out + err


PLAN = "plan"


def make(folder):
    write_plan(folder)
    (folder / "printed.txt").write_text(reproduce(folder, PLAN))


@pytest.fixture
def made(made_once):
    """A folder in which the plan has run; read-only."""
    return made_once("reproduction", make)


def section(text, title):
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def row(text, name):
    line = next(line for line in text.splitlines() if line.startswith("|") and name in line.split("|")[1])
    return [cell.strip().strip("*").replace("−", "-") for cell in line.strip("|").split("|")]


def test_a_plan_comes_to_an_answer_for_each_claim(made):
    text = (made / "runs/reproduce-made/results.md").read_text()
    claims = yaml.safe_load((ROOT / "configs/reproduce/claims.yaml").read_text())
    for claim in claims:
        answers = re.findall(r"\*Here:\* \*\*(.*)\*\*", section(text, claim["title"]))
        assert len(answers) == 1 and answers[0] in (AGREES, DISAGREES, CANNOT_TELL)
        assert section(text, claim["title"]).count("\n| ") == 1 + len(claim["tests"])
        assert "not measured" not in section(text, claim["title"])  # each test finds its stage, variants and place
    assert len(re.findall(r"\]\((results/.*?\.png)\)", text)) >= 6
    for picture in re.findall(r"\]\((results/.*?\.png)\)", text):
        assert (made / "runs/reproduce-made" / picture).stat().st_size > 1000
    tables = "".join(path.read_text() for path in (made / "runs/reproduce-made/results").glob("*.json"))
    assert '"runs/reproduce-made/text/' in tables and str(made) not in tables
    assert "Not finished" not in text and section(text, "The learned p_n").count("\n| ") == 2  # the header, and one seed
    assert re.search(rf"made: \d %, stage \d of {STAGES}, \w+, \d+ min( \d\d s)? left", (made / "printed.txt").read_text())


def test_the_published_commands_are_those_of_the_plan(monkeypatch):
    """Of which the made plan runs every stage, with other numbers."""
    monkeypatch.chdir(ROOT)
    plan = load_plan(Path("configs/reproduce/cpu"))  # as scripts/reproduce.py calls it
    known = {(stage.name, plan.fill(stage.command)) for stage in plan.stages}
    published = set(re.findall(r"^# ([\w-]+)\n(build/release/ssgpt .*)$", "\n".join(blocks(ROOT / "docs/results.md", "sh")), flags=re.M))
    assert published <= known, published - known
    assert len(published) == len({command for block in blocks(ROOT / "docs/results.md", "sh") for command in commands_of(block)}) > 10


@pytest.mark.parametrize("size", ["cpu", "cpu-short", "gpu"])
def test_each_committed_size_has_the_stages_and_points_of_the_claims(size, monkeypatch):
    monkeypatch.chdir(ROOT)
    plan = load_plan(ROOT / "configs/reproduce" / size)
    stages = {stage.name for stage in plan.stages}
    assert {test["stage"] for claim in load_claims(plan) for test in claim["tests"]} <= stages
    assert all((ROOT / plan.fill(path)).is_file() for stage in plan.stages for path in stage.reads)
    # The needles start from the models that this size trained.
    assert f"runs/reproduce-{size}/text/" in (plan.folder / "needles/sweep.yaml").read_text()


def by_seed(data, variant, value, condition=0):
    """{seed: value(model)}. The evaluation names models by their attention if they are given one by one, the results by the sweep's variants."""
    return {m["seed"]: value(m) for m in data["models"] if m["condition"] == condition and m["checkpoint"].split("/")[-3].startswith(f"{variant}-seed")}


def ends(cell):
    return [float(end) for end in cell.split(" to ")]


def test_its_figures_are_those_of_the_evaluations(made):
    """The mean, the interval and p of a difference that a table tests."""
    results = made / "runs/reproduce-made"
    data = json.loads((results / "position/evaluation.json").read_text())
    theta = next(i for i, condition in enumerate(data["conditions"]) if condition["title"].endswith("500000"))
    losses = [by_seed(data, name, lambda m: next(b["loss"] for b in m["bins"] if b["last"] == 511), theta) for name in ("ssmax", "softmax")]
    point = next(p for c in data["comparisons"] if (c["condition"], c["candidate"]) == (theta, "SSMax") for p in c["points"] if p["last"] == 511)
    shown = row(section((results / "results.md").read_text(), "Long contexts"), "SSMax against Softmax, loss far beyond")
    difference = statistics.fmean(losses[0][seed] - losses[1][seed] for seed in (1, 2, 3))
    # Printed with four decimals.
    assert float(shown[3].split()[0]) == pytest.approx(difference, abs=5e-5) == pytest.approx(point["mean_difference"], abs=1e-6)
    assert ends(shown[4]) == pytest.approx([point["low"], point["high"]], abs=5e-5)
    decimals = 2 if point["p_corrected"] >= 0.1 else 3
    assert shown[5] == f"{point['p_corrected']:.{decimals}f}" and shown[7] == "3"
    assert float(shown[1]) == pytest.approx(statistics.fmean(losses[1].values()), abs=5e-5)


def test_what_no_table_tests_has_students_interval(made):
    """From one place to another; and the weight on the needle, tested over the rows of its claim."""
    results = made / "runs/reproduce-made"
    text = (results / "results.md").read_text()
    data = json.loads((results / "attention/evaluation.json").read_text())
    weights = [by_seed(data, "softmax", lambda m, last=last: next(b["largest_weight"] for b in m["bins"] if b["last"] == last)) for last in (511, 255)]
    values = [weights[0][seed] - weights[1][seed] for seed in (1, 2, 3)]
    half = 4.302653 * statistics.stdev(values) / 3**0.5  # t at 97.5 % with 2 degrees of freedom
    shown = row(section(text, "Attention fades"), "Softmax, largest weight, from the first half")
    assert ends(shown[4]) == pytest.approx([statistics.fmean(values) - half, statistics.fmean(values) + half], abs=6e-4)  # three decimals
    assert shown[5] == "" and shown[8] == ""
    needles = section(text, "Attention on key information")
    tested = [row(needles, name)[5] for name in ("SSMax against Softmax, largest", "the same at the theta", "within the trained", "the control")]
    assert all(re.fullmatch(r"[01]\.\d+|< 0.0001", p) for p in tested)


def test_one_seed_has_no_answer_and_no_interval(made):
    text = section((made / "runs/reproduce-made/results.md").read_text(), "Faster loss reduction in pretraining")
    shown = row(text, "SSMax with a bias against Softmax")
    assert shown[4] == shown[5] == "" and shown[7:] == ["1", "no answer: 1 seed"]
    assert shown[1] == shown[2] == ""  # means would be over other seeds


def test_the_same_call_again_makes_nothing_and_changes_nothing(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "again")  # with the timestamps of its files
    results = folder / "runs/reproduce-made"
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(results.glob("*/*/metrics.jsonl"))}
    text, log = (results / "results.md").read_text(), (results / "log.txt").read_text()
    pictures = {path: path.read_bytes() for path in (results / "results").iterdir()}
    printed = reproduce(folder, PLAN)
    assert (results / "results.md").read_text() == text and (results / "log.txt").read_text() == log
    assert {path: path.read_bytes() for path in (results / "results").iterdir()} == pictures
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before and len(before) > 20
    assert printed.count(" done ") == STAGES


def test_killed_in_the_middle_it_goes_on_to_the_same_results(made, tmp_path):
    """SIGKILL in the middle of a sweep: no run outlives the call, and the next call arrives at the same figures."""
    plan = write_plan(tmp_path)
    process = start(tmp_path, plan)
    text = tmp_path / "runs/reproduce-made/text"
    while not any(text.glob("*-seed2/checkpoints/step-*/manifest.json")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "runs/reproduce-made/text/report/comparison.json").exists()
    deadline = time.monotonic() + 60
    while subprocess.run([BINARY, "sweep", "--config", plan / "text/sweep.yaml", "--run-dir", "runs/reproduce-made/text", "--list"], cwd=tmp_path,
                         capture_output=True, text=True, check=True).stdout.count("elsewhere"):
        assert time.monotonic() < deadline, "a run outlived the call"
        time.sleep(0.1)
    printed = reproduce(tmp_path, plan)
    assert re.search(r"shards +done", printed) and not re.search(r"text +done", printed)
    assert (tmp_path / "runs/reproduce-made/results.md").read_text() == (made / "runs/reproduce-made/results.md").read_text()


def test_a_signal_saves_and_stops_it(tmp_path):
    plan = write_plan(tmp_path)
    process = start(tmp_path, plan)
    while not any((tmp_path / "runs/reproduce-made/text").glob("*/metrics.jsonl")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM and "run the same command again" in err
    assert "Continue with the same command" in (tmp_path / "runs/reproduce-made/log.txt").read_text()


def test_another_setting_makes_a_stage_and_those_behind_it_anew(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "again")
    content = (folder / PLAN / "stages.yaml").read_text()
    stages = yaml.safe_load(content)
    copies = next(stage for stage in stages if stage["name"] == "copies")
    copies["run"] = copies["run"].replace("--lengths 1024", "--lengths 512")
    (folder / PLAN / "stages.yaml").write_text(yaml.safe_dump(stages))
    listed = reproduce(folder, PLAN, "--list")
    assert not re.search(r" copies +done", listed) and listed.count(" done ") == STAGES - 1
    (folder / PLAN / "stages.yaml").write_text(content)
    plan = (folder / PLAN / "plan.yaml").read_text()
    (folder / PLAN / "plan.yaml").write_text(plan.replace("trials: 2", "trials: 3").replace("text: 5", "text: 6"))
    listed = reproduce(folder, PLAN, "--list")
    assert not re.search(r" (needles-found|needles-others) +done", listed) and listed.count(" done ") == STAGES - 2  # minutes change nothing
    (folder / PLAN / "plan.yaml").write_text(plan)
    base = (folder / PLAN / "text/base.yaml").read_text()
    (folder / PLAN / "text/base.yaml").write_text(base.replace("max_steps: 40", "max_steps: 41"))
    listed = reproduce(folder, PLAN, "--list")
    # The text, and what depends on it; the base configs of copying and needles include its base.
    assert not re.search(r" (text|loss|position|attention|needles|needles-found|copying|copies) +done", listed)
    assert re.search(r" shards +done", listed)


def test_a_result_that_is_gone_is_made_again_with_what_follows_from_it(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "again")
    results = folder / "runs/reproduce-made"
    text = (results / "results.md").read_text()
    shutil.rmtree(results / "copies")
    shutil.rmtree(results / "needles")
    listed = reproduce(folder, PLAN, "--list")
    assert not re.search(r" (copies|needles) +done", listed) and listed.count(" done ") == STAGES - 2
    before = (results / "needles-found/evaluation.json").stat().st_mtime_ns
    reproduce(folder, PLAN)
    assert (results / "results.md").read_text() == text
    assert (results / "needles-found/evaluation.json").stat().st_mtime_ns > before  # of models that were trained again


def edit(path, change):
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def test_values_that_are_missing_or_not_finite_take_a_row_and_not_the_page(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "again")
    results = folder / "runs/reproduce-made"

    def lose_a_value(data):
        for model in data["models"]:
            if model["seed"] == 2 and "row scale" not in model["variant"]:
                model["bins"][-1]["loss"] = None
        for comparison in data["comparisons"]:
            if comparison["candidate"] in ("ssmax", "ssmax_fixed"):
                comparison["points"][-1].update(mean_difference=None, low=None, high=None, p=None, p_corrected=None, verdict="no verdict")

    def lose_the_baseline(data):
        data.update(comparisons=[], models=[m for m in data["models"] if "ssmax" in m["checkpoint"]])
        for condition in data["conditions"]:
            for figure in condition["figures"]:
                figure["variants"] = [v for v in figure["variants"] if v["variant"] == "SSMax"]

    edit(results / "position-others/evaluation.json", lose_a_value)
    edit(results / "copies-control/evaluation.json", lose_the_baseline)
    shutil.rmtree(results / "needles-others")
    (results / "needles-others").mkdir()
    (results / "needles-others/notes.json").write_text("{}")  # as if it existed, but without its table
    reproduce(folder, PLAN)
    text = (results / "results.md").read_text()
    assert row(section(text, "Long contexts"), "SSMax against Softmax, both with QK-norm, far")[8] == ""
    assert row(section(text, "Length generalisation"), "SSMax against that control")[8] == "not measured"
    assert row(section(text, "Replacing Softmax during pretraining"), "fine-tuned, margin")[8] == "not measured"


def test_a_stage_that_fails_says_why_and_the_rest_is_shown(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "again")
    results = folder / "runs/reproduce-made"
    (results / "marks/copies-swapped").unlink()
    with open(results / "log.txt", "a") as log:
        log.write("caf\u00e9 \u2713 " * 300)  # more bytes than characters
    stages = (folder / PLAN / "stages.yaml").read_text()
    (folder / PLAN / "stages.yaml").write_text(stages.replace("--apply-to Softmax\n    --task copy", "--apply-to Sofmax\n    --task copy"))
    told = reproduce(folder, PLAN, code=1)
    assert "ended with exit code 2" in told and "--apply-to Sofmax" in told.split("the end of")[1]
    shutil.rmtree(results / "copies-swapped")
    told = reproduce(folder, PLAN, code=1)
    text = (results / "results.md").read_text()
    assert "**Not finished:** there are no results yet of copies-swapped." in text
    assert row(section(text, "Replacing Softmax after pretraining"), "Softmax replaced after training")[8] == "not measured"


def test_two_calls_do_not_work_on_the_same_runs(tmp_path):
    plan = write_plan(tmp_path)
    first = start(tmp_path, plan)
    while not (tmp_path / "runs/reproduce-made/marks/corpus").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    assert "another call is working on runs/reproduce-made" in reproduce(tmp_path, plan, code=1)
    first.send_signal(signal.SIGTERM)
    first.communicate()


def test_publishing_writes_the_same_page_beside_the_documentation(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "again")
    (folder / "docs/results-made").mkdir(parents=True)
    (folder / "docs/results-made/old.png").touch()
    reproduce(folder, PLAN, "--publish")
    page = (folder / "docs/results-made.md").read_text()
    inner = (folder / "runs/reproduce-made/results.md").read_text()
    assert page == inner.replace("(results/", "(results-made/").replace("../../docs/", "")
    assert {path.name for path in (folder / "docs/results-made").iterdir()} == {path.name for path in (folder / "runs/reproduce-made/results").iterdir()}


def test_a_signal_that_nohup_has_set_aside_does_not_stop_it(tmp_path):
    plan = write_plan(tmp_path)
    process = subprocess.Popen(["nohup", sys.executable, SCRIPT, plan], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={**os.environ, "SSGPT_BIN": str(BINARY)})
    while not (tmp_path / "runs/reproduce-made/marks/corpus").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    while not (tmp_path / "runs/reproduce-made/marks/shards").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize("change, told", [
    (lambda plan, stages: plan.pop("claims"), "a plan must be a mapping with name, claims and stages"),
    (lambda plan, stages: plan.update(stages="nowhere.yaml"), "plan/nowhere.yaml: no such file"),
    (lambda plan, stages: stages[2].update(needs=["nowhere"]), "stage shards needs nowhere, which do not come before it"),
    (lambda plan, stages: stages[2].update(name="tokenizer"), "stage tokenizer: two stages have this name"),
    (lambda plan, stages: stages[0].pop("run"), "stage corpus must have either sweep or run"),
    (lambda plan, stages: stages[0].update(minuets=1), "unknown minuets"),
    (lambda plan, stages: stages[0].update(title=3), "title = 3 has the wrong type"),
    (lambda plan, stages: stages[0].update(run="{ssgtp} version"), "one of ssgpt, python, out, data, plan: 'ssgtp'"),
    (lambda plan, stages: stages[0].update(run="{ssgpt version"), "has a placeholder that is neither"),
    (lambda plan, stages: plan["values"].pop("vocabulary"), "stage tokenizer: 'Tokenizer of {vocabulary:,} pieces' has a placeholder that is neither"),
    (lambda plan, stages: plan.update(minutes={"text": 0}), "minutes of text are 0, not a number above 0"),
    (lambda plan, stages: plan.update(minutes={"txet": 1}), "minutes of txet, which are not stages"),
    (lambda plan, stages: plan.update(minutes=3), "minutes = 3 has the wrong type"),
    (lambda plan, stages: plan["points"].pop("far"), "has a placeholder that is neither of the plan's points and values"),
    (lambda plan, stages: plan.update(needs_gpu=True), "needs an NVIDIA GPU"),
])  # fmt: skip
def test_a_wrong_plan_is_refused(tmp_path, change, told):
    folder = tmp_path / write_plan(tmp_path)
    files = {name: yaml.safe_load((folder / f"{name}.yaml").read_text()) for name in ("plan", "stages")}
    change(**files)
    for name, data in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(data))
    if "GPU" in told and os.path.exists("/dev/nvidiactl"):
        pytest.skip("there is a GPU")
    assert told in reproduce(tmp_path, PLAN, code=2)
    assert not (tmp_path / "runs").exists()


def test_claims_of_a_point_that_the_plan_has_not_are_refused(tmp_path):
    folder = tmp_path / write_plan(tmp_path)
    plan = yaml.safe_load((folder / "plan.yaml").read_text())
    claims = (ROOT / "configs/reproduce/claims.yaml").read_text().replace("last: far", "last: farther")
    (folder / "claims.yaml").write_text(claims)
    (folder / "plan.yaml").write_text(yaml.safe_dump({**plan, "claims": "claims.yaml"}))
    assert "the plan's points have no farther" in reproduce(tmp_path, PLAN, code=2)


def test_a_folder_without_a_plan_is_refused(tmp_path):
    assert "cpu-short, cpu, gpu" in reproduce(tmp_path, "nowhere", code=2)


@pytest.mark.parametrize("arguments, told", [(["nowhere"], "nowhere: neither cpu-short"), (["--publsh"], "--publsh: neither cpu-short")])
def test_the_script_refuses_wrong_words_before_it_installs_anything(tmp_path, arguments, told):
    done = subprocess.run([ROOT / "scripts/reproduce.sh", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and told in done.stderr and "Set-up" not in done.stdout


def test_the_script_lists_a_folder_from_where_one_stands(tmp_path):
    plan = write_plan(tmp_path)
    done = subprocess.run([ROOT / "scripts/reproduce.sh", plan, "--list"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("made, some ") and "Set-up" not in done.stdout


def test_a_validation_that_says_the_opposite_takes_the_verdict(made, tmp_path):
    """The comparison's overall verdict, as `ssgpt compare` prints it, is used."""
    folder = shutil.copytree(made / "runs/reproduce-made/loss", tmp_path / "loss")

    def oppose(data):
        one = next(one for one in data["comparisons"] if one["candidate"] == "SSMax")
        one["training"]["verdict"], one["validation"]["verdict"], one["verdict"] = "lower", "higher", "no verdict"

    edit(folder / "comparison.json", oppose)
    assert Comparison(folder).difference("training", "ssmax", "softmax").verdict == "no verdict"

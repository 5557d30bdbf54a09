"""scripts/reproduce.py: a plan runs to its results, goes on after SIGKILL to the same, and judges by its rules."""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time

import pytest
import yaml
from conftest import BINARY, ROOT
from made_plan import write_plan

SCRIPT = ROOT / "scripts" / "reproduce.py"
sys.path.insert(0, str(ROOT / "scripts"))
from reproduction.claims import AGREES, CANNOT_TELL, DISAGREES, answer_of
from reproduction.figures import Difference
from reproduction.student import interval


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
    """A folder in which the plan has run, not to be written into."""
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
    for picture in re.findall(r"\]\((results/.*?\.png)\)", text):
        assert (made / "runs/reproduce-made" / picture).stat().st_size > 1000
    assert "stage 1 of 14" in (made / "printed.txt").read_text()


def test_its_figures_are_those_of_the_evaluations(made):
    """The mean, the interval and p of a difference that a table tests, and of one that none does."""
    results = made / "runs/reproduce-made"
    text = section((results / "results.md").read_text(), "Long contexts")
    data = json.loads((results / "position/evaluation.json").read_text())
    theta = next(i for i, condition in enumerate(data["conditions"]) if condition["title"].endswith("500000"))

    # The evaluation names models by their attention where they are given one by one, the results by the sweep's variants.
    titles = {m["variant"]: m["checkpoint"].split("/")[-3].split("-seed")[0] for m in data["models"]}

    def losses(variant):
        return {m["seed"]: next(b["loss"] for b in m["bins"] if b["last"] == 511) for m in data["models"]
                if (m["condition"], titles[m["variant"]]) == (theta, variant)}

    tested = row(text, "SSMax against Softmax, loss far beyond")
    point = next(p for c in data["comparisons"] if (c["condition"], titles[c["candidate"]]) == (theta, "ssmax") for p in c["points"] if p["last"] == 511)
    difference = statistics.fmean(losses("ssmax")[seed] - losses("softmax")[seed] for seed in (1, 2, 3))
    # Printed with four decimals.
    assert float(tested[3]) == pytest.approx(difference, abs=5e-5) == pytest.approx(point["mean_difference"], abs=1e-6)
    assert [float(end) for end in tested[4].split(" to ")] == pytest.approx([point["low"], point["high"]], abs=5e-5)
    assert tested[5] == f"{point['p_corrected']:.2f}" and tested[7] == "3"
    untested = row(text, "SSMax against that control")
    values = [losses("ssmax")[seed] - losses("softmax_temperature")[seed] for seed in (1, 2, 3)]
    half = 4.3027 * statistics.stdev(values) / 3**0.5  # t at 97.5 % with 2 degrees of freedom
    mean = statistics.fmean(values)
    assert [float(end) for end in untested[4].split(" to ")] == pytest.approx([mean - half, mean + half], abs=6e-5)
    one_seed = row(text, "both with QK-norm")
    assert one_seed[4] == "none: 1 seed" and one_seed[8] == CANNOT_TELL


def test_the_same_call_again_makes_nothing_and_changes_nothing(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "again")  # with the times of its files
    results = folder / "runs/reproduce-made"
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in sorted(results.glob("*/*/metrics.jsonl"))}
    text, log = (results / "results.md").read_text(), (results / "log.txt").read_text()
    pictures = {path: path.read_bytes() for path in (results / "results").iterdir()}
    printed = reproduce(folder, PLAN)
    assert (results / "results.md").read_text() == text and (results / "log.txt").read_text() == log
    assert {path: path.read_bytes() for path in (results / "results").iterdir()} == pictures
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before and len(before) > 20
    assert printed.count(" done ") == 14


def test_killed_in_the_middle_it_goes_on_to_the_same_results(made, tmp_path):
    """SIGKILL in the middle of a sweep: no run outlives the call, and the next one comes to the same figures."""
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
    while subprocess.run([BINARY, "sweep", "--config", plan / "text-sweep.yaml", "--run-dir", "runs/reproduce-made/text", "--list"], cwd=tmp_path,
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
    assert process.returncode == 128 + signal.SIGTERM and "the same command goes on" in err
    assert "Continue with the same command" in (tmp_path / "runs/reproduce-made/log.txt").read_text()


def test_another_setting_makes_a_stage_and_those_behind_it_anew(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "again")
    content = (folder / PLAN / "plan.yaml").read_text()
    (folder / PLAN / "plan.yaml").write_text(content.replace("--trials 2\n      --rope", "--trials 3\n      --rope").replace("--trials 2 --rope", "--trials 3 --rope"))
    listed = reproduce(folder, PLAN, "--list")
    assert re.search(r"copies +1 min", listed) and listed.count(" done ") == 12  # two of them ask for copies
    (folder / PLAN / "plan.yaml").write_text(content)
    base = (folder / PLAN / "base.yaml").read_text()
    (folder / PLAN / "base.yaml").write_text(base.replace("max_steps: 40", "max_steps: 41"))
    listed = reproduce(folder, PLAN, "--list")
    # The text, and what follows from it; the base of the copying is the same file.
    assert not re.search(r"(text|position|attention|needles|needles-found|copying|copies) +done", listed)
    assert re.search(r"shards +done", listed)


def test_a_stage_that_fails_says_why(tmp_path):
    plan = write_plan(tmp_path)
    (tmp_path / "data/corpus.jsonl").write_text("not JSON\n")
    told = reproduce(tmp_path, plan, code=1)
    assert "tokenizer ended with exit code 3" in told and "corpus.jsonl" in told.split("the end of")[1]


@pytest.mark.parametrize("change, told", [
    (lambda plan: plan.pop("claims"), "a plan is a mapping with name, claims and stages"),
    (lambda plan: plan["stages"][1].update(needs=["nowhere"]), "stage shards needs nowhere"),
    (lambda plan: plan["stages"][1].update(name="tokenizer"), "two stages are called tokenizer"),
    (lambda plan: plan["stages"][0].pop("run"), "stage tokenizer has one of sweep and run"),
    (lambda plan: plan["stages"][0].update(minuets=1), "unknown minuets"),
])  # fmt: skip
def test_a_wrong_plan_is_refused(tmp_path, change, told):
    plan = write_plan(tmp_path)
    data = yaml.safe_load((tmp_path / plan / "plan.yaml").read_text())
    change(data)
    (tmp_path / plan / "plan.yaml").write_text(yaml.safe_dump(data))
    assert told in reproduce(tmp_path, plan, code=2)
    assert not (tmp_path / "runs").exists()


def test_a_folder_without_a_plan_is_refused(tmp_path):
    assert "cpu-short, cpu, gpu" in reproduce(tmp_path, "nowhere", code=2)


@pytest.mark.parametrize("low, high, verdict, expects, answer", [
    (-0.3, -0.1, "lower", "lower", AGREES),
    (0.1, 0.3, "higher", "lower", DISAGREES),
    (-0.3, -0.1, "no verdict", "lower", CANNOT_TELL),  # p corrected is above 5 %
    (-0.1, 0.3, "no verdict", "lower", CANNOT_TELL),
    (None, None, "no verdict", "lower", CANNOT_TELL),
    (-0.01, 0.02, "no verdict", {"within": 0.05}, AGREES),
    (0.01, 0.02, "higher", {"within": 0.05}, AGREES),  # surely other, and surely by less than the margin
    (-0.01, 0.06, "no verdict", {"within": 0.05}, CANNOT_TELL),
    (0.05, 0.09, "higher", {"within": 0.05}, DISAGREES),
    (None, None, "no verdict", {"within": 0.05}, CANNOT_TELL),
])  # fmt: skip
def test_the_rule_of_an_answer(low, high, verdict, expects, answer):
    mean = 0.0 if low is None else (low + high) / 2
    assert answer_of(Difference(mean=mean, low=low, high=high, p=None, detectable=None, seeds=3, verdict=verdict), expects) == answer


def test_the_interval_is_students():
    """Student's own example (1908, table of the additional sleep of ten patients): mean 1.58, standard deviation 1.23, 9 degrees of freedom."""
    sleep = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    mean, low, high = interval(sleep)
    assert mean == pytest.approx(1.58)
    assert (low, high) == pytest.approx((0.7001, 2.4599), abs=5e-4)  # as R's t.test(sleep) prints them
    assert interval([1.0, 2.0])[1:] == (None, None)

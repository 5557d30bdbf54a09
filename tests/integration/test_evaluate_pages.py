"""What ssgpt evaluate shows while it measures, and what scripts/report.py draws from its output."""

import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from conftest import ROOT, VOCAB, write_shard
from evaluated_models import model, position, retrieval
from test_compare import References
from test_terminal import CLEAR, Terminal, screen


def test_a_signal_stops_it_without_output(trained):
    shards = np.arange(256 * 1024 + 1) % VOCAB
    write_shard(trained.directory / "long.bin", shards)
    arguments = ["--checkpoint", "sweep", "--data", "long.bin", "--max-length", 1024, "--out", "out", "--json"]
    process = trained.start("evaluate", "position", *arguments)
    for line in process.stderr:
        if "model 1 of 6" in line:
            break
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert out == "" and not (trained.directory / "out").exists()


def test_the_first_signal_is_answered_and_a_second_ends_it(trained):
    write_shard(trained.directory / "long.bin", np.arange(65536 + 1) % VOCAB)
    # One window takes far longer than both signals.
    arguments = ["--checkpoint", "sweep", "--data", "long.bin", "--max-length", 65536]
    terminal = Terminal(trained, 80, "evaluate", "position", *arguments)
    terminal.read_until("model 1 of 6")
    terminal.process.send_signal(signal.SIGINT)
    terminal.read_until("a second signal ends it at once")
    terminal.process.send_signal(signal.SIGTERM)
    terminal.finish(128 + signal.SIGTERM)


def test_a_terminal_shows_one_line_that_goes_again(trained):
    arguments = ["evaluate", "position", "--data", "train.bin", "--max-length", 64, "--checkpoint"]
    output = Terminal(trained, 80, *arguments, model("softmax"), model("ssmax")).finish(0)
    lines = re.findall(r"\r(model [^\r\n\x1b]*)" + re.escape(CLEAR), output)
    assert any(line.startswith("model 1 of 2: Softmax, seed 1, 0 %") for line in lines)
    assert any(re.fullmatch(r"model 2 of 2: SSMax, seed 1, \d+ %, .* left", line) for line in lines)
    assert "model" not in "".join(screen(output))


def draw(program, name):
    command = [sys.executable, ROOT / "scripts" / "report.py", program.directory / name]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    page = (program.directory / name / "report.html").read_text()
    assert (program.directory / name / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    references = References()
    references.feed(page)
    assert references.fetched == [] and references.open == []
    assert not re.search(r"https?://|@import|url\((?!#clip)|fetch\(|XMLHttpRequest", page)
    assert "nan" not in "".join(re.findall(r'd="[^"]*"', page))
    return page, " ".join(" ".join(references.text).split())


def test_the_page_says_what_the_json_says(trained):
    arguments = ["--checkpoint", "sweep", "--max-length", 64, "--rope-theta", "10000,500000", "--json", "--out", "out"]
    result, _ = position(trained, *arguments)
    page, text = draw(trained, "out")
    verdicts = [p["verdict"] for c in result["comparisons"] for p in c["points"]]
    assert page.count('<span class="none">no verdict</span>') == verdicts.count("no verdict")
    assert page.count('<span class="lower">lower</span>') == verdicts.count("lower")
    assert page.count('<span class="higher">higher</span>') == verdicts.count("higher")
    assert "Loss, RoPE theta 10000" in text and "Loss, RoPE theta 500000" in text
    assert "95 % interval over seeds" in text and "positions 16–31" in text and "trained length" in text
    charts = [json.loads(d) for d in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    assert len(charts) == 4
    means = result["conditions"][0]["figures"][0]["variants"][1]["means"]
    assert charts[0]["series"][1]["name"] == "ssmax"
    assert charts[0]["series"][1]["values"] == pytest.approx(means, abs=1e-5)


def test_pages_of_a_retrieval_and_of_one_model(trained):
    retrieval(trained, "--checkpoint", model("softmax"), model("ssmax"), "--trials", 4, "--out", "pair")
    _, text = draw(trained, "pair")
    assert "Accuracy, RoPE theta as trained (10000)" in text
    assert "one standard error of the trials" in text and "1 seed: three or more are needed" in text
    position(trained, "--checkpoint", model("softmax"), "--out", "single")
    page, text = draw(trained, "single")
    assert "verdict" not in text and "Difference" not in text
    shutil.copy(trained.directory / "pair/evaluation.json", trained.directory / "single/comparison.json")
    command = [sys.executable, ROOT / "scripts/report.py", trained.directory / "single"]
    assert "directory of its own" in subprocess.run(command, capture_output=True, text=True).stderr

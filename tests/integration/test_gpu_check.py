"""scripts/gpu_check.sh, in a bundle of stand-ins that fail, crash or hang: every stage leaves its line and its file."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from conftest import BINARY, ROOT

FAILURES = {
    "fails": "echo 'it could not do this' >&2; exit 1",
    "crashes": "echo '[ RUN      ] Suite.Name'; kill -ABRT $$",
    "waits": "echo waiting; exec sleep 1000",
    "hangs": "trap '' TERM; echo waiting; while :; do sleep 0.2; done",
}
STEPS = ["step", "step-untuned", "step-flash", "step-efficient", "step-float32", "step-blocking"]
TESTS = [f"tests-{name}" for name in ("attention", "norms", "rope", "losses", "model", "repeats", "trainer", "rest")]
# In the order of the summary.
STAGES = ["facts", *STEPS, *TESTS, "curves", "compile-cache", "tests-large", "rank", "products", "kernels", "attention", "peers", "memcheck"]
FILES = {"summary.txt", "facts.log", "step.log", "tests.log", "products.log", "kernels.log", "peers.log"}


def write_program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def stand_ins(directory, body):
    """A bundle in which every program does `body`, and a PATH with GPU tools that do the same. Each records its process id."""
    bundle, tools = directory / "bundle", directory / "tools"
    noted = f"echo $$ >>{directory}/pids; {body}"
    for name in ("ssgpt", "ssgpt_cuda_tests"):
        write_program(bundle / "bin" / name, noted)
    shutil.copytree(ROOT / "scripts", bundle / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "scripts/bundle_run.sh", bundle / "run.sh")
    write_program(tools / "nvidia-smi", "echo A GPU")
    write_program(tools / "compute-sanitizer", f"if [[ $1 == --help ]]; then echo --kernel-name; else {noted}; fi")
    # What torch_environment.sh asks python3 for: version, folders, prefix.
    write_program(tools / "python3", f"if [[ $1 == - ]]; then echo '2.11.0|{directory}/none|{directory}'; exit; fi; {noted}")
    return bundle, {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SSGPT_PYTHON": str(tools / "python3")}


def check(bundle, environment, *arguments, code):
    """The lines of the summary by stage: code, seconds, headline."""
    out = bundle.parent / "a result"
    process = subprocess.run([bundle / "scripts/gpu_check.sh", out, *map(str, arguments)], cwd="/", env=environment,
                             capture_output=True, text=True, timeout=120)
    assert process.returncode == code, process.stdout + process.stderr
    assert {path.name for path in out.iterdir()} <= FILES | {"peers.json"}
    return lines_of(out, process.stdout), out


def lines_of(out, printed):
    text = (out / "summary.txt").read_text()
    assert printed.endswith(f"\n== {out}/summary.txt\n{text}")
    lines = [re.fullmatch(r"(\S+) +(\d+|-) +(\d+\.\d)  (\S.*)", line).groups() for line in text.splitlines()]
    return {name: (code, float(seconds), headline) for name, code, seconds, headline in lines}


def no_process_is_left(directory):
    for pid in map(int, (directory / "pids").read_text().split()):
        try:
            state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        assert state == "Z", pid


def test_every_stage_that_fails_has_a_line_and_its_output(tmp_path):
    """The program fails, and the tests crash."""
    bundle, environment = stand_ins(tmp_path, FAILURES["fails"])
    write_program(bundle / "bin/ssgpt_cuda_tests", FAILURES["crashes"])
    lines, out = check(bundle, environment, code=1)
    assert list(lines) == STAGES
    for name, (code, _, text) in lines.items():
        if name.startswith("tests-"):
            assert code == "134" and text.startswith("ended in Suite.Name"), name
        else:
            assert code == "1" and text == "it could not do this", name
    assert {path.name for path in out.iterdir()} == FILES
    marked = {"facts.log": ["facts"], "step.log": [*STEPS, "rank", "attention"], "tests.log": [*TESTS, "curves", "tests-large", "memcheck"],
              "products.log": ["products"], "kernels.log": ["kernels"], "peers.log": ["compile-cache", "peers"]}
    for file, names in marked.items():
        text = (out / file).read_text()
        assert sorted(re.findall(r"^== ([\w-]+): ", text, flags=re.M)) == sorted(names), file
        assert "it could not do this" in text


def test_what_hangs_is_ended_at_its_limit_and_the_rest_still_runs(tmp_path):
    """Processes that ignore requests to end, with a hundredth of each limit."""
    bundle, environment = stand_ins(tmp_path, FAILURES["hangs"])
    begin = time.monotonic()
    lines, _ = check(bundle, environment, 7, "--pace", 1, code=1)
    elapsed = time.monotonic() - begin
    assert list(lines) == STAGES
    for name, (code, _, text) in lines.items():
        if code == "-":  # a slow machine: stages that did not fit are reported
            assert "skipped" in text, name
        else:
            assert code in ("124", "137") and text.startswith("stopped at its limit"), name
    assert lines["step"][0] == "137" and elapsed < 20
    no_process_is_left(tmp_path)


def test_what_does_not_fit_is_skipped_and_says_so(tmp_path):
    bundle, environment = stand_ins(tmp_path, FAILURES["waits"])
    lines, out = check(bundle, environment, 5, code=0)
    assert list(lines) == STAGES
    assert all(code == "-" and "skipped" in text for code, _, text in lines.values())
    assert not (tmp_path / "pids").exists() and "skipped" in (out / "step.log").read_text()


def test_a_script_that_is_ended_says_how_far_it_came(tmp_path):
    bundle, environment = stand_ins(tmp_path, FAILURES["waits"])
    out = tmp_path / "result"
    process = subprocess.Popen([bundle / "scripts/gpu_check.sh", "--only", "tests", out], env=environment, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < len(TESTS):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    lines = lines_of(out, printed)
    assert set(lines) == set(TESTS) and all(code == "143" for code, _, _ in lines.values())
    deadline = time.monotonic() + 10
    while True:
        try:
            return no_process_is_left(tmp_path)
        except AssertionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_tests_side_by_side_share_the_cores(tmp_path):
    bundle, environment = stand_ins(tmp_path, "exit 0")
    write_program(bundle / "bin/ssgpt_cuda_tests", f"echo $OMP_NUM_THREADS $OMP_WAIT_POLICY >>{tmp_path}/threads")
    check(bundle, environment, "--only", "tests", code=0)
    assert (tmp_path / "threads").read_text().splitlines() == ["2 passive"] * len(TESTS)


def gpu_tests():
    """Their names, from the sources, since the test program is not built everywhere."""
    names = [f"{suite}.{name}" for path in (ROOT / "tests/cuda").glob("*.cpp")
             for suite, name in re.findall(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", path.read_text(), flags=re.M)]
    assert len(names) > 60
    return names


def matches(name, pattern):
    """As gtest does, but for what follows a '-'."""
    return any(re.fullmatch(re.escape(part).replace(r"\*", ".*"), name) for part in pattern.split(":"))


def test_every_pattern_of_a_gtest_filter_matches_a_test():
    script = (ROOT / "scripts/gpu_check.sh").read_text()
    filters = re.findall(r"'([^']+)'", re.search(r"test_filters=\((.*?)\)", script, flags=re.S)[1])
    filters += re.findall(r"readonly large='(.*)'", script) + re.findall(r"--gtest_filter='(.*)'", script)
    assert len(filters) == 9
    names = gpu_tests()
    # The name of a parametrised test begins and ends with more, which the patterns' asterisks stand for.
    patterns = {pattern for one in filters for side in one.split("-") for pattern in side.split(":")}
    assert not [pattern for pattern in patterns if not any(matches(name, pattern) for name in names)]


def test_every_gpu_test_is_in_one_group():
    script = (ROOT / "scripts/gpu_check.sh").read_text()
    patterns = re.findall(r"'([^']+)'", re.search(r"test_filters=\((.*?)\)", script, flags=re.S)[1])
    large = re.search(r"readonly large='(.*)'", script)[1]
    names = gpu_tests()

    def groups(name):
        trainer, repeats = patterns[-1], patterns[-2]
        found = [pattern for pattern in patterns if matches(name, pattern) and not (pattern == trainer and matches(name, repeats))]
        return [] if matches(name, large) else found

    counts = {name: len(groups(name)) for name in names}
    assert max(counts.values()) == 1
    alone = {name for name, count in counts.items() if count == 0 and not matches(name, large)}  # in `rest`
    assert {name.split(".")[0] for name in alone} == {"FlatOnGpu", "Gpu"}
    assert all(any(groups(name) == [pattern] for name in names) for pattern in patterns)


@pytest.mark.parametrize("arguments, word", [
    ([], "DIR is missing"), (["out", "soon"], "soon"), (["--only", "step,stop", "out"], "stop"), (["--only"], "needs a value"),
    (["--device", "tpu", "out"], "tpu"), (["--fast", "out"], "--fast"),
])
def test_wrong_usage_is_told(tmp_path, arguments, word):
    process = subprocess.run([ROOT / "scripts/gpu_check.sh", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert process.returncode == 2 and word in process.stderr.splitlines()[0]
    assert list(tmp_path.iterdir()) == []


def test_the_program_itself_without_a_gpu(tmp_path):
    """The parts that need no PyTorch, on a CPU with a small model."""
    bundle = tmp_path / "bundle"
    (bundle / "bin").mkdir(parents=True)
    write_program(bundle / "bin/ssgpt", f'exec {BINARY} "$@"')
    shutil.copytree(ROOT / "scripts", bundle / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "scripts/bundle_run.sh", bundle / "run.sh")
    environment = {**os.environ, "SSGPT_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    lines, out = check(bundle, environment, "--device", "cpu", "--shape", "tiny", "--only", "facts,step,rank,products,kernels,attention",
                       "--pace", 400, 1800, code=0)
    assert list(lines) == ["facts", "step", "step-untuned", "rank", "products", "kernels", "attention"]
    assert lines["products"][2].startswith("a micro-batch of quickstart, ")
    for name in ("step", "step-untuned", "rank"):
        assert "tokens/s" in lines[name][2]
    assert "ssgpt" in lines["facts"][2] and " x" in lines["attention"][2]
    assert "swiglu_backward/paper" in (out / "kernels.log").read_text()

"""The shell and YAML blocks of docs/ and data/README.md run as they stand, with small models; test_readme.py runs README's."""

import os
import json
import pathlib
import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from conftest import BINARY, ROOT, default_environment
from documented import CHECKS, PAGES, README, RUN_ELSEWHERE, blocks, commands_of, runs_elsewhere
from made_quickstart import make_quickstart, small

# What would take minutes, and what is not there, in the words of the pages.
SMALLER = {
    r"(--lengths \d+,\d+)[\d,]*": r"\1",
    r"--lengths 1024,4096": "--lengths 256,512",
    r"--max-length \d+": "--max-length 512",
    r"--trials \d+": "--trials 1",
    r"--examples \d+": "--examples 40",
    r"--windows \d{5,}": "--windows 200",
    r"/shared/runs": "shared/runs",
    r"bench step --shape paper": "bench step --config my/config.yaml --steps 1 --warmup 0",
    r"train.device=cuda": "train.device=cpu",
    r"train.dtype=bfloat16": "train.dtype=float32",
    r"--device cuda --filter": "--device cpu --min-time 0.001 --filter",
    r"bench kernels --device cuda": "bench kernels --device cpu --min-time 0.001 --filter swiglu",
    r"bench products --device cuda": "bench products --device cpu --min-time 0.001 --filter 'down.*quickstart'",
}
SHELL_PAGES = [page for page in PAGES if page != README and any(not runs_elsewhere(command) for block in blocks(page, "sh") for command in commands_of(block))]
LAUNCHERS = ("torchrun", "srun", "mpirun", "setsid", "nsys")
NEW_RUN = re.compile(r"ssgpt train (?!.*--resume).*--run-dir (\S+)")
SQUAD = {"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": "The loss fell.", "qas": [
    {"id": str(i), "question": f"What fell in step {i}?", "answers": [{"text": "The loss", "answer_start": 0}], "is_impossible": False} for i in range(9)]}]}]}  # fmt: skip


def write_programs(folder):
    """ssgpt itself, and in place of each launcher one that starts a single process and nothing else."""
    folder.mkdir()
    (folder / "ssgpt").symlink_to(BINARY)
    for name in LAUNCHERS:
        (folder / name).write_text('#!/bin/bash\nwhile [[ $1 != ssgpt ]]; do shift; done\nexec "$@"\n')
    (folder / "scontrol").write_text("#!/bin/bash\necho localhost\n")
    for program in folder.iterdir():
        if not program.is_symlink():
            program.chmod(0o755)


def write_configs(folder):
    """Those that the pages tell the reader to write, small; those of the repository are so already."""
    config = small(yaml.safe_load(blocks(README, "yaml")[0]))
    tuned = {**config, "data": {**config["data"], "format": "sft", "train": ["data/squad/train-v2.0.json"], "validation": ["data/squad/dev-v2.0.json"]}}
    named = {"my/config.yaml": config, "my/base.yaml": config, "my/fine-tune.yaml": tuned}
    for page in SHELL_PAGES:
        for block in blocks(page, "yaml"):
            if name := re.match(r"# (my/\S+)\n", block):
                named[name[1]] = small(yaml.safe_load(block))
    for name, content in named.items():
        (folder / name).write_text(yaml.safe_dump(content))


def make_documented(folder):
    make_quickstart(folder)
    shutil.rmtree(folder / "data/copying")  # which the pages make
    write_programs(folder / "bin")
    for path, target in {"my/tokenizer.model": "../data/bible/tokenizer.model", "my/shards": "../data/bible/tokens",
                         "data/slimpajama": "bible/tokens", "data/bible/tokens/tokenizer.model": "../tokenizer.model",
                         "runs/sweep": "quickstart"}.items():  # fmt: skip
        (folder / path).symlink_to(target)
    (folder / "data/squad").mkdir()
    for name in ("train", "dev"):
        (folder / f"data/squad/{name}-v2.0.json").write_text(json.dumps(SQUAD).replace("step", name))
    write_configs(folder)
    run_block(folder, "ssgpt train --config configs/paper/b-ssmax.yaml --run-dir runs/paper\n"
                      "ssgpt convert --checkpoint runs/paper/checkpoints/step-00000002 --attention ssmax --out runs/paper-b-ssmax/checkpoints/step-00200000")  # fmt: skip


def run_block(folder, text):
    home = folder / "home"
    (home / ".zsh/completions").mkdir(parents=True, exist_ok=True)
    (home / ".config/fish/completions").mkdir(parents=True, exist_ok=True)
    environment = {**default_environment(), "HOME": str(home), "PATH": f"{folder}/bin:/usr/bin:/bin", "SLURM_JOB_NODELIST": "localhost"}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def documented(made_once, tmp_path):
    return pathlib.Path(shutil.copytree(made_once("documented", make_documented), tmp_path / "repository", symlinks=True))


@pytest.fixture
def without_runs(made_once, tmp_path):
    """The same without its runs, which are most of its size."""
    made = made_once("documented", make_documented)
    return pathlib.Path(shutil.copytree(made, tmp_path / "repository", symlinks=True, ignore=shutil.ignore_patterns("runs")))


@pytest.mark.parametrize("page", SHELL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_in_its_order(page, documented):
    for block in blocks(page, "sh"):
        text = "\n".join(command for command in commands_of(block) if not runs_elsewhere(command))
        for committed, here in SMALLER.items():
            text = re.sub(committed, here, text)
        for run in NEW_RUN.findall(text):  # which an earlier block made, for another launcher
            shutil.rmtree(documented / run, ignore_errors=True)
        run_block(documented, text)


def test_what_is_made_smaller_is_on_a_page():
    text = "".join(page.read_text() for page in SHELL_PAGES)
    assert not [committed for committed in SMALLER if not re.search(committed, text)]


YAML_BLOCKS = [(page, number) for page in PAGES for number in range(len(blocks(page, "yaml")))]


@pytest.mark.parametrize("page, number", YAML_BLOCKS, ids=lambda value: str(value.relative_to(ROOT)) if value in PAGES else str(value))
def test_the_yaml_of_a_page_is_read(page, number, without_runs):
    """As it stands, with what a page leaves out put before it. A sweep lists its runs, and a config is resolved."""
    text = blocks(page, "yaml")[number]
    given = yaml.safe_load(text)
    if "variants" in given:
        defaults = {"base": "fine-tune.yaml" if "init_from" in text else "base.yaml", "seeds": 1}
        command = "ssgpt sweep --config my/block.yaml --run-dir runs/block --list"
    else:
        defaults = {"include": "base.yaml"}
        command = "ssgpt train --config my/block.yaml --dry-run"
    (without_runs / "my/block.yaml").write_text("".join(f"{key}: {value}\n" for key, value in defaults.items() if key not in given) + text)
    run_block(without_runs, command)


def test_launchers_know_the_options_that_the_pages_give_them():
    """torchrun's own parser; its stand-in here reads none."""
    from torch.distributed.run import parse_args  # takes seconds to load

    lines = [command for page in PAGES for block in blocks(page, "sh") for command in commands_of(block) if "torchrun " in command]
    assert len(lines) > 4
    for line in lines:
        words = shlex.split(line.split("torchrun ")[1], comments=True)
        arguments = parse_args(words)
        assert arguments.no_python and arguments.training_script.endswith("ssgpt") and arguments.training_script_args[0] == "train"


def test_the_table_of_checks_names_what_is_run():
    rows = re.findall(r"^\| (`.*?) \|", README.with_name("CONTRIBUTING.md").read_text().split("## Layers")[0], flags=re.M)
    checks = [check for row in rows for check in re.findall(r"`([^`]+)`", row)]
    assert len(checks) > 12
    for check in checks:
        assert any(check.startswith(beginning) for beginning in CHECKS), check
    for beginning in CHECKS:
        assert any(check.startswith(beginning) for check in checks), beginning


@pytest.mark.parametrize("beginning", [*RUN_ELSEWHERE, *CHECKS])
def test_what_is_left_out_here_is_run_elsewhere(beginning):
    path, words = {**RUN_ELSEWHERE, **CHECKS}[beginning]
    assert words in (ROOT / path).read_text()
    commands = [command for page in PAGES for block in blocks(page, "sh") for command in commands_of(block)]
    assert beginning in CHECKS or any(command.startswith(beginning) for command in commands)

"""README's commands run as they stand, in its order; those of the other pages name options, configs and keys that exist; docs/reference.md says what the program does."""

import json
import random
import re
import shlex
import subprocess
import textwrap

import pytest
import yaml
from conftest import BINARY, ROOT, run_in_fork_server

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
SAVE_AS = re.compile(r"[Ss]ave this as `(my/[\w.]+)`")
# They install, and take a quarter of an hour; .ci/run is the second, and it runs this.
NOT_HERE = ("scripts/quickstart.sh", "scripts/test.sh")
# What would take minutes in README's own size.
SMALLER = {
    "hidden_size: 256, num_hidden_layers: 6, num_attention_heads: 4, intermediate_size: 688": "hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 24",
    "sequence_length: 512": "sequence_length: 64",
}


def blocks(text, language):
    return [(match.start(), match[2]) for match in BLOCK.finditer(text) if match[1] == language]


def write_texts(folder):
    """Enough different words for 4,096 pieces."""
    draw = random.Random(1)
    syllables = [first + vowel for first in "bcdfghjklmnprstvwz" for vowel in "aeiou"]
    words = ["".join(draw.choice(syllables) for _ in range(draw.randint(1, 4))) for _ in range(6000)]
    folder.mkdir(parents=True)
    for name in ("first", "second"):
        lines = [" ".join(draw.choice(words) for _ in range(12)) + "." for _ in range(3000)]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "third.jsonl").write_text(json.dumps({"text": " ".join(draw.choice(words) for _ in range(400))}) + "\n")


@pytest.fixture
def repository(tmp_path):
    """A folder that looks like the repository once it is built, with texts of one's own."""
    (tmp_path / "build/release").mkdir(parents=True)
    (tmp_path / "build/release/ssgpt").symlink_to(BINARY)
    for name in ("scripts", "configs", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    write_texts(tmp_path / "my/texts")
    return tmp_path


def save_config_files(folder):
    """The YAML of README, under the names that it gives; returns the names."""
    names = []
    for start, text in blocks(README, "yaml"):
        name = SAVE_AS.findall(README[:start])[-1]
        for committed, here in SMALLER.items():
            text = text.replace(committed, here)
        (folder / name).write_text(text)
        names.append(name)
    return names


def test_the_commands_of_the_readme_run_in_its_order(repository):
    assert save_config_files(repository) == ["my/config.yaml", "my/sweep.yaml"]
    assert all(committed in README for committed in SMALLER)
    commands = [text for _, text in blocks(README, "sh") if not text.startswith(NOT_HERE)]
    assert sum(len(text.splitlines()) for text in commands) > 20
    for text in commands:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", f"ssgpt=build/release/ssgpt\n{text}"], cwd=repository, capture_output=True, text=True)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    for path in ("runs/a/checkpoints/step-00000200", "runs/a-ssmax/checkpoints/step-00000300", "my/ssmax/config.json", "my/report/report.html",
                 "runs/sweep/report/comparison.json", "my/position/report.html", "my/needle/evaluation.json"):
        assert (repository / path).exists(), path
    swapped = json.loads((repository / "runs/a-ssmax/checkpoints/step-00000300/config.json").read_text())
    assert swapped["attention_kind"] == "ssmax"


PAGES = [*(ROOT / "docs").glob("*.md"), ROOT / "data/README.md"]
# Measurements of minutes, what installs or builds, and the kind of attention that docs/your-own-attention.md adds, with which test_your_own_attention.py trains.
NOT_IN_A_TEST = re.compile(r"ssgpt bench |scripts/\w+\.sh|ssmax_root")


def without_redirections(words):
    redirections = {i for i, word in enumerate(words) if re.match(r"\d?[<>]", word)}
    targets = {i + 1 for i in redirections if words[i] in ("<", ">", ">>", "2>")}
    return [word for i, word in enumerate(words) if i not in redirections | targets]


def commands_of(page):
    """Each call of ssgpt in a page's shell blocks, as words without its launcher and its redirections."""
    for _, text in blocks(page.read_text(), "sh"):
        for line in text.replace("\\\n", " ").splitlines():
            for part in line.split(" && "):
                words = without_redirections(shlex.split(part, comments=True))
                calls = [i for i, word in enumerate(words) if word in ("ssgpt", "$ssgpt", "build/release/ssgpt")]
                if calls and not NOT_IN_A_TEST.search(part.replace("$ssgpt", "ssgpt")):
                    yield words[calls[0] + 1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_the_documentation_are_understood(page, tmp_path):
    """Each in a folder of its own without the files that it reads, so that it fails for them alone, and not for an option, a key or a choice."""
    for number, words in enumerate(commands_of(page)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "configs").symlink_to(ROOT / "configs")
        code, _, err = run_in_fork_server(words, folder)
        assert code == 0 or re.search(r"no such|not a checkpoint|matches no|nothing matches", err), f"ssgpt {shlex.join(words)}: {err}"


def test_the_reference_lists_every_key_as_the_program_does(program):
    table, _ = program.run("keys", "--markdown")
    assert (ROOT / "docs/reference.md").read_text().split("<!-- keys -->\n")[1] == table
    keys = json.loads(program.run("keys", "--json")[0])
    assert len(keys) == table.count("\n") - 2 and {"name": "train.max_steps", "required": True, "default": None}.items() <= next(key for key in keys if key["name"] == "train.max_steps").items()
    text, _ = program.run("keys")
    assert text in program.run("train", "--help")[0]


def names_in(section):
    """The names in the first column of the tables of a section of the reference."""
    text = (ROOT / "docs/reference.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    return {name for row in re.findall(r"^\| (.*?) \|", text, flags=re.M) for name in re.findall(r"`([^`]+)`", row)}


def test_the_reference_lists_every_metric_and_file_of_a_run(finished_run):
    lines = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    metrics = {re.sub(r"attention/scale/\d+", "attention/scale/LAYER", name) for line in lines for name in line}
    assert metrics <= names_in("Metrics") and len(metrics) > 5
    described = names_in("Run directory")
    files = {path.name for path in finished_run.iterdir()} - {".lock"}
    assert {re.sub(r"tfevents\..*", "tfevents.*", name) for name in files} <= described | {"checkpoints"}
    checkpoint = next((finished_run / "checkpoints").iterdir())
    held = {str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*") if path.is_file()}
    assert held <= names_in("Checkpoints")


def test_the_reference_lists_the_exit_codes_of_the_help(program):
    help_text = " ".join(program.run("--help")[0].split())
    told = dict(re.findall(r"(\d) (done|failed while running|wrong usage or config|unreadable or corrupt input)", help_text))
    text = (ROOT / "docs/reference.md").read_text()
    assert len(told) == 4
    for code, meaning in told.items():
        assert re.search(rf"^\| {code} \| {meaning}", text, flags=re.M), code


def test_the_nanogpt_table_names_keys_that_exist(program):
    keys = {key["name"] for key in json.loads(program.run("keys", "--json")[0])}
    table = README.split("\n## Coming from nanoGPT\n")[1].split("\n## ")[0]
    named = re.findall(r"`((?:model|data|train|optimizer|evaluate|log)\.[\w.{}, ]+)`", table)
    assert len(named) > 10
    for name in named:
        prefix, _, several = name.partition("{")
        for one in several.rstrip("}").split(", ") if several else [""]:
            assert prefix + one in keys, name


def test_the_files_to_read_first_are_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)", README)
    assert links and not [link for link in links if not (ROOT / link).exists()]


def test_the_yaml_of_the_readme_is_what_an_editor_would_take():
    for _, text in blocks(README, "yaml"):
        assert isinstance(yaml.safe_load(textwrap.dedent(text)), dict)

"""README's commands run as they stand, in its order, and its tables name what exists."""

import json
import re
import subprocess

import pytest
from conftest import BINARY, ROOT, default_environment
from documented import BLOCK, README, blocks, runs_elsewhere
from made_quickstart import write_texts

TEXT = README.read_text()
SAVE_AS = re.compile(r"[Ss]ave this as `(my/[\w.]+)`")
# What would take minutes in README's own size.
SMALLER = {
    "hidden_size: 256, num_hidden_layers: 6, num_attention_heads: 4, intermediate_size: 688": "hidden_size: 16, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 24",
    "sequence_length: 512": "sequence_length: 64",
}


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
    for block in (match for match in BLOCK.finditer(TEXT) if match[1] == "yaml"):
        name, text = SAVE_AS.findall(TEXT[: block.start()])[-1], block[2]
        for committed, here in SMALLER.items():
            text = text.replace(committed, here)
        (folder / name).write_text(text)
        names.append(name)
    return names


def test_the_commands_of_the_readme_run_in_its_order(repository):
    assert save_config_files(repository) == ["my/config.yaml", "my/sweep.yaml"]
    assert all(committed in TEXT for committed in SMALLER)
    commands = [text for text in blocks(README, "sh") if not all(map(runs_elsewhere, text.splitlines()))]
    assert sum(len(text.splitlines()) for text in commands) > 20
    for text in commands:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", f"ssgpt=build/release/ssgpt\n{text}"], cwd=repository, capture_output=True, text=True, env=default_environment())
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    for path in ("runs/a/checkpoints/step-00000200", "runs/a-ssmax/checkpoints/step-00000300", "my/ssmax/config.json", "my/report/report.html",
                 "runs/sweep/report/comparison.json", "my/position/report.html", "my/needle/evaluation.json"):
        assert (repository / path).exists(), path
    swapped = json.loads((repository / "runs/a-ssmax/checkpoints/step-00000300/config.json").read_text())
    assert swapped["attention_kind"] == "ssmax"


def test_the_nanogpt_table_names_keys_that_exist(program):
    keys = {key["name"] for key in json.loads(program.run("keys", "--json")[0])}
    table = TEXT.split("\n## Coming from nanoGPT\n")[1].split("\n## ")[0]
    named = re.findall(r"`((?:model|data|train|optimizer|evaluate|log)\.[\w.{}, ]+)`", table)
    assert len(named) > 10
    for name in named:
        prefix, _, several = name.partition("{")
        for one in several.rstrip("}").split(", ") if several else [""]:
            assert prefix + one in keys, name
